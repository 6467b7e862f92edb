"""The ledger's contract."""

from __future__ import annotations

import pytest

from signals.errors import ReservationError, StorageError
from storage import ledger
from storage.database import Database
from storage.tables import RunStatus
from tests.storage.build import at, day


class TestLedger:
    """What holds on every database."""

    def test_first_run_has_revision_0(self, database: Database) -> None:
        """The first run of a session is revision 0, its first attempt, and running."""
        with database.transaction() as c:
            run = ledger.begin(c, "us", day(1), "ingest", "h", at(1))
        assert (run.revision, run.attempts, run.status) == (0, 1, RunStatus.RUNNING)
        with database.read() as c:
            assert ledger.latest(c, "us", day(1), "ingest") == run

    def test_same_input_succeeds_once(self, database: Database) -> None:
        """A second run with the input hash of a succeeded one is refused."""
        with database.transaction() as c:
            ledger.succeed(c, ledger.begin(c, "us", day(1), "ingest", "h", at(1)), at(1), {"n": 1})
        with (
            pytest.raises(ReservationError, match="has succeeded with the same input"),
            database.transaction() as c,
        ):
            ledger.begin(c, "us", day(1), "ingest", "h", at(2))

    def test_other_input_is_next_revision(self, database: Database) -> None:
        """After a success, another input hash begins the next revision with its cause."""
        with database.transaction() as c:
            ledger.succeed(c, ledger.begin(c, "us", day(1), "ingest", "h", at(1)), at(1))
            run = ledger.begin(c, "us", day(1), "ingest", "i", at(2), "restatement")
        assert (run.revision, run.attempts, run.cause) == (1, 1, "restatement")

    def test_old_input_stays_refused_after_revision(self, database: Database) -> None:
        """An input that succeeded as revision 0 is refused after revision 1, too."""
        with database.transaction() as c:
            for name in ("h", "i"):
                ledger.succeed(c, ledger.begin(c, "us", day(1), "ingest", name, at(1)), at(1))
            with pytest.raises(ReservationError):
                ledger.begin(c, "us", day(1), "ingest", "h", at(2))

    def test_failed_run_is_taken_up_again(self, database: Database) -> None:
        """A failed run keeps its revision, counts the attempt and forgets its error."""
        with database.transaction() as c:
            run = ledger.begin(c, "us", day(1), "ingest", "h", at(1))
            failed = ledger.fail(c, run, at(1), "no bars")
            again = ledger.begin(c, "us", day(1), "ingest", "i", at(2))
        assert (failed.status, failed.error) == (RunStatus.FAILED, "no bars")
        assert (again.revision, again.attempts, again.error) == (0, 2, None)

    def test_rolled_back_run_leaves_nothing(self, database: Database) -> None:
        """A run begun in a transaction that fails was never begun."""

        def interrupted() -> None:
            with database.transaction() as c:
                ledger.begin(c, "us", day(1), "ingest", "h", at(1))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with database.read() as c:
            assert ledger.latest(c, "us", day(1), "ingest") is None

    def test_overtaken_attempt_cannot_succeed(self, database: Database) -> None:
        """An attempt that was abandoned and begun again elsewhere cannot finish."""
        with database.transaction() as c:
            old = ledger.begin(c, "us", day(1), "ingest", "h", at(1))
            assert ledger.abandon_running(c, at(2)) == 1
            new = ledger.begin(c, "us", day(1), "ingest", "h", at(3))
            with pytest.raises(ReservationError, match="no longer running"):
                ledger.succeed(c, old, at(4))
            assert ledger.succeed(c, new, at(4)).finished_at == at(4)

    def test_adopted_run_counts_as_succeeded(self, database: Database) -> None:
        """A run whose result was found complete is marked succeeded, once."""
        with database.transaction() as c:
            ledger.begin(c, "us", day(1), "publish", "h", at(1))
            ledger.abandon_running(c, at(2))
            assert ledger.adopt(c, "us", day(1), "publish", 0, at(3), {"adopted": True})
            assert not ledger.adopt(c, "us", day(1), "publish", 0, at(3))
            assert ledger.succeeded(c, "us", "publish") == {day(1)}

    def test_sessions_done(self, database: Database) -> None:
        """Only succeeded sessions of the market and stage count as done."""
        with database.transaction() as c:
            for number in (3, 1, 2):
                run = ledger.begin(c, "us", day(number), "ingest", "h", at(number))
                if number != 3:
                    ledger.succeed(c, run, at(number))
            ledger.succeed(c, ledger.begin(c, "cn", day(9), "ingest", "h", at(9)), at(9))
            assert ledger.succeeded(c, "us", "ingest") == {day(1), day(2)}
            assert ledger.succeeded(c, "us", "ingest", since=day(2)) == {day(2)}
            assert ledger.first_session(c, "us", "ingest") == day(1)
            assert ledger.last_session(c, "us", "ingest") == day(2)
            assert ledger.last_session(c, "us", "publish") is None

    def test_history_is_newest_first(self, database: Database) -> None:
        """History can be narrowed to a stage or a session and cut."""
        with database.transaction() as c:
            for number in range(4):
                for stage in ("ingest", "observe"):
                    ledger.begin(c, "us", day(number), stage, "h", at(number))
            assert [r.session for r in ledger.history(c, "us", stage="observe", limit=2)] == [
                day(3),
                day(2),
            ]
            assert len(ledger.history(c, "us", session=day(1))) == 2

    def test_naive_time_is_refused(self, database: Database) -> None:
        """A time without its zone cannot be stored."""
        with pytest.raises(StorageError, match="cannot be stored"), database.transaction() as c:
            ledger.begin(c, "us", day(1), "ingest", "h", at(1).replace(tzinfo=None))

    def test_nan_in_detail_is_refused(self, database: Database) -> None:
        """Detail is strict JSON: NaN cannot be stored."""
        with database.transaction() as c:
            run = ledger.begin(c, "us", day(1), "ingest", "h", at(1))
        with pytest.raises(StorageError, match="cannot be stored"), database.transaction() as c:
            ledger.succeed(c, run, at(1), {"mean_ic": float("nan")})
