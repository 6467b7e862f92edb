"""The contract of what metrics count."""

from __future__ import annotations

import math

import numpy as np

from storage import alerts, history, jobs, ledger, model_usage, registry, tallies
from storage.database import Database
from storage.history import BookRow, ICRow, StateRow
from storage.model_usage import Spent
from tests.storage.build import at, day


class TestTallies:
    """What holds on every database."""

    def test_attempts_are_counted_whatever_came_of_them(self, database: Database) -> None:
        """Every attempt is a success, a failure, or running; a failed one leaves its row."""
        with database.transaction() as c:
            ledger.succeed(c, ledger.begin(c, "us", day(1), "ingest", "a", at(1)), at(1.5))
            for number in (2, 3):
                ledger.fail(c, ledger.begin(c, "us", day(2), "ingest", "a", at(number)), at(3), "x")
            ledger.begin(c, "us", day(2), "ingest", "a", at(4))
            ledger.begin(c, "cn", day(9), "ingest", "a", at(9))
        with database.read() as c:
            (found,) = tallies.stages(c, "us").values()
        assert (found.succeeded, found.failed) == (1, 2)
        assert (found.last_attempt, found.last_success) == (at(4), at(1.5))
        assert found.last_result is not None
        assert found.last_result.session == day(1)

    def test_last_result_is_of_the_last_session(self, database: Database) -> None:
        """A restatement of an older session does not hide the newest one."""
        with database.transaction() as c:
            for number, input_hash, when in ((2, "a", 2), (1, "a", 3), (1, "b", 4)):
                run = ledger.begin(c, "us", day(number), "publish", input_hash, at(when))
                ledger.succeed(c, run, at(when))
        with database.read() as c:
            found = tallies.stages(c, "us")["publish"]
        assert found.last_result is not None
        assert (found.last_result.session, found.last_success) == (day(2), at(4))

    def test_only_live_factors_are_told(self, database: Database) -> None:
        """A live factor has its last state, none before its first; others are left out."""
        with database.transaction() as c:
            for name in ("b", "a", "shadow"):
                registry.add(c, "us", name, "$close", origin="seed", session=day(1), now=at(1))
                to = "shadow" if name == "shadow" else "live"
                registry.transition(c, "us", name, to, session=day(2), rule="r", now=at(2))
            rows = [StateRow("us", "b", day(n), "warning", n / 3, 60.0, {}) for n in (1, 3, 2)]
            history.append_states(c, rows)
        with database.read() as c:
            first, second = tallies.live_factors(c, "us")
        assert (first.id, first.live_session, first.verdict) == ("a", day(2), None)
        assert (second.id, second.evidence, second.threshold) == ("b", 1.0, 60.0)

    def test_every_move_is_a_later_one(self, database: Database) -> None:
        """Whoever has seen the last move of a market knows whether there was another."""
        with database.transaction() as c:
            seen = [tallies.last_move(c, "us")]
            registry.add(c, "us", "a", "$close", origin="seed", session=day(1), now=at(1))
            seen.append(tallies.last_move(c, "us"))
            registry.transition(c, "us", "a", "live", session=day(2), rule="r", now=at(2))
            seen.append(tallies.last_move(c, "us"))
            assert tallies.last_move(c, "cn") == seen[0] == 0
        assert seen == sorted(set(seen))

    def test_rank_ics_since_a_session(self, database: Database) -> None:
        """They are in order of session, NaN where undefined; a factor without any has none."""
        with database.transaction() as c:
            for name in ("a", "new", "shadow"):
                registry.add(c, "us", name, "$close", origin="seed", session=day(1), now=at(1))
                to = "shadow" if name == "shadow" else "live"
                registry.transition(c, "us", name, to, session=day(2), rule="r", now=at(2))
            ics = ((4, math.nan), (2, 0.5), (3, 0.25), (1, 9.0))
            for name in ("a", "shadow"):
                rows = [ICRow("us", name, day(n), day(n), v, v, 5) for n, v in ics]
                history.append_ics(c, rows)
        with database.read() as c:
            found = tallies.live_rank_ics(c, "us", day(2))
        assert set(found) == {"a", "new"}
        np.testing.assert_array_equal(found["a"], [0.5, 0.25, np.nan])
        assert not np.isfinite(found["new"]).any()

    def test_book_stands_where_it_was_last(self, database: Database) -> None:
        """The newest state of the book-level test counts."""
        with database.transaction() as c:
            assert tallies.last_book(c, "us") is None
            for number, verdict in ((2, "weakening"), (1, "healthy")):
                row = BookRow("us", day(number), verdict, float(number), 60.0, {})
                history.append_book_state(c, row)
            assert tallies.last_book(c, "us") == ("weakening", 2.0, 60.0)

    def test_re_minings_add_up(self, database: Database) -> None:
        """Candidates of all jobs are counted by gate; the last success tells its duration."""
        with database.transaction() as c:
            for number, status in ((1, "failed"), (3, "succeeded")):
                job = jobs.open_job(c, "us", day(number), {}, 7, at(number))
                counts = {"proposed": 10, "complexity": number}
                jobs.finish(c, job, status, at(number + 0.5), counts=counts)
            jobs.start(c, jobs.open_job(c, "us", day(5), {}, 7, at(5)))
        with database.read() as c:
            found = tallies.remining(c, "us")
        assert found.runs == {"queued": 0, "running": 1, "succeeded": 1, "stopped": 0, "failed": 1}
        assert found.candidates == {"complexity": 4, "proposed": 20}
        assert (found.last_success, found.last_seconds) == (at(3.5), 43_200.0)

    def test_open_alerts_by_severity(self, database: Database) -> None:
        """Resolved alerts are not counted."""
        with database.transaction() as c:
            for key, severity in (
                ("a", "error"),
                ("b", "warning"),
                ("c", "warning"),
                ("d", "error"),
            ):
                alerts.raise_alert(c, "us", key, severity, "m", at(1))
            alerts.resolve(c, "us", "a", at(2))
        with database.read() as c:
            assert tallies.open_alerts(c) == {("us", "error"): 1, ("us", "warning"): 2}

    def test_model_counts_what_has_ended(self, database: Database) -> None:
        """A request that nobody saw the end of would fall when it settles: it is left out."""
        with database.transaction() as c:
            for outcome in ("answered", "timeout", None):
                worst = Spent(1, 1000, 500, 0.25, 60.0)
                asked = model_usage.reserve(
                    c, "us", 1, at=at(1), model="m", kind="idea", worst=worst
                )
                if outcome is not None:
                    model_usage.settle(c, asked, Spent(1, 10, 5, 0.125, 2.0), outcome, at(1))
        with database.read() as c:
            assert tallies.model(c, "us") == ({"answered": 1, "timeout": 1}, 20, 10, 0.25)
            assert tallies.model(c, "cn") == ({}, 0, 0, 0)
