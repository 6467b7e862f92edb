from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.alerts import raise_alert, resolve_alert
from daemon.ownership import owned
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import InlineReminer
from signals.errors import FeedError, ReservationError
from storage import alerts, ledger
from storage.publishing import publications
from storage.tables import RunStatus
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, TroubledFeed, living, names


def reconciler(alive: Living) -> Reconciler:
    return Reconciler(alive.context, InlineReminer(alive.context))


def published(alive: Living) -> list[str]:
    with alive.context.database.read() as conn:
        return [row.session.isoformat() for row in publications(conn, MARKET)]


def days(first: int, stop: int) -> list[str]:
    return [day.isoformat() for day in SESSIONS[first:stop]]


def test_first_session_is_the_last_final_one(tmp_path: Path) -> None:
    """A new market begins with the session that is final now, its history behind it."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        assert loop.due(alive.market) == SESSIONS[FIRST]
        loop.tick(alive.market)
        assert published(alive) == days(FIRST, FIRST + 1)
        assert loop.due(alive.market) is None


def test_nothing_is_due_before_finality(tmp_path: Path) -> None:
    """A session is due at its close plus the minutes to finality, not before."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        loop.tick(alive.market)
        final = alive.market.calendar.finality(SESSIONS[FIRST + 1], 90)
        alive.clock.set(final - timedelta(seconds=1))
        assert loop.due(alive.market) is None
        alive.clock.set(final)
        assert loop.due(alive.market) == SESSIONS[FIRST + 1]


def test_catches_up_oldest_first(tmp_path: Path) -> None:
    """After downtime every missed session is published, in order, once."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        loop.tick(alive.market)
        alive.until(FIRST + 4)
        loop.tick(alive.market)
        loop.tick(alive.market)
        assert published(alive) == days(FIRST, FIRST + 5)


def test_stops_between_sessions_when_asked(tmp_path: Path) -> None:
    """A daemon that is stopping finishes the session it is in, and begins no other."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        loop.tick(alive.market)
        alive.until(FIRST + 4)
        loop.tick(alive.market, lambda: len(published(alive)) < 3)
        assert published(alive) == days(FIRST, FIRST + 3)


def test_stops_between_stages_when_asked(tmp_path: Path) -> None:
    """What a stopping daemon leaves of a session is done at the next start, and nothing twice."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        answers = iter([True, True, False])
        assert not loop.step(alive.market, lambda: next(answers))
        with alive.context.database.read() as conn:
            stages = {run.stage for run in ledger.history(conn, MARKET)}
        assert stages == {"ingest", "observe"}
        loop.tick(alive.market)
        with alive.context.database.read() as conn:
            runs = ledger.history(conn, MARKET)
        assert sorted(run.stage for run in runs) == ["ingest", "observe", "publish"]
        assert {run.attempts for run in runs} == {1}


def test_failure_is_alerted_once_and_resolved(tmp_path: Path) -> None:
    """A source that is silent opens one alert however often it is asked, until it answers."""
    feed = TroubledFeed()
    with living(tmp_path, feed) as alive:
        loop = reconciler(alive)
        loop.tick(alive.market)
        feed.silent.add(alive.until(FIRST + 1))
        loop.tick(alive.market)
        loop.tick(alive.market)
        with alive.context.database.read() as conn:
            [alert] = alerts.open_alerts(conn, MARKET)
            failed = ledger.latest(conn, MARKET, SESSIONS[FIRST + 1], "ingest")
        assert (alert.key, alert.severity) == ("stage-failed", "error")
        assert alert.message == "the source is silent\n  Rule: a source answers\n  Way out: wait"
        assert failed is not None
        assert (failed.status, failed.attempts, failed.error) == ("failed", 2, alert.message)
        assert published(alive) == days(FIRST, FIRST + 1)
        feed.silent.clear()
        loop.tick(alive.market)
        with alive.context.database.read() as conn:
            assert alerts.open_alerts(conn, MARKET) == []
        assert published(alive) == days(FIRST, FIRST + 2)


def test_step_raises_what_tick_alerts(tmp_path: Path) -> None:
    """In a replay the error of a stage ends the command."""
    feed = TroubledFeed()
    with living(tmp_path, feed) as alive:
        feed.silent.add(SESSIONS[FIRST])
        with pytest.raises(FeedError, match="silent"):
            reconciler(alive).step(alive.market)


def test_only_missing_stages_are_done(tmp_path: Path) -> None:
    """A session that was ingested before the crash is not fetched again."""
    feed = TroubledFeed()
    with living(tmp_path, feed) as alive:
        reconciler(alive).tick(alive.market)
        session = alive.until(FIRST + 1)
        from daemon.stages import ingest

        ingest.run(alive.context, alive.market, session)
        asked = len(feed.asked)
        reconciler(alive).tick(alive.market)
        assert len(feed.asked) == asked
        assert published(alive) == days(FIRST, FIRST + 2)


def test_recovery_abandons_dead_runs_and_the_next_tick_redoes_them(tmp_path: Path) -> None:
    """A run whose process is gone is marked so, and is simply done again."""
    with living(tmp_path) as alive:
        database = alive.context.database
        with database.transaction() as conn:
            ledger.begin(conn, MARKET, SESSIONS[FIRST], "ingest", "x", alive.clock.now())
        recover(alive.context)
        with database.read() as conn:
            [run] = ledger.history(conn, MARKET)
        assert run.status == RunStatus.ABANDONED
        reconciler(alive).tick(alive.market)
        assert published(alive) == days(FIRST, FIRST + 1)


def test_recovery_adopts_a_publication_the_ledger_did_not_see(tmp_path: Path) -> None:
    """A folder that is complete though its run is not marked counts, and is not published twice."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        loop.tick(alive.market)
        alive.until(FIRST + 1)
        loop.tick(alive.market)
        pointer = alive.context.publisher.root / MARKET / "v1" / "latest.json"
        wanted = pointer.read_bytes()
        forget_the_last_publication(alive)
        pointer.unlink()
        assert loop.due(alive.market) == SESSIONS[FIRST + 1]
        recover(alive.context)
        assert loop.due(alive.market) is None
        assert pointer.read_bytes() == wanted
        assert published(alive) == days(FIRST, FIRST + 2)


def test_market_that_cannot_be_recovered(tmp_path: Path) -> None:
    """The other markets are recovered; the next start or tick that succeeds closes its alert."""
    with living(tmp_path) as alive:
        markets = {name: replace(alive.market, name=name) for name in (MARKET, "zz")}
        both = replace(alive.context, markets=markets)
        root = alive.context.publisher.root
        stray = root / "zz" / "v1" / ".torn.tmp"
        halted = root / MARKET / "v1" / "halted.json"

        def told() -> list[str]:
            with alive.context.database.read() as conn:
                return names(alerts.open_alerts(conn))

        mends: list[Callable[[], None]] = [
            lambda: recover(both),
            lambda: reconciler(alive).tick(alive.market),
        ]
        for mend in mends:
            stray.parent.mkdir(parents=True, exist_ok=True)
            stray.touch()
            halted.mkdir(parents=True)  # what is no file cannot be withdrawn
            recover(both)
            assert not stray.exists()
            assert told() == ["recovery"]
            halted.rmdir()
            mend()
            assert told() == []


def test_recovery_leaves_to_another_instance(tmp_path: Path) -> None:
    """A later epoch is no trouble of a market: it ends the start."""
    with living(tmp_path) as alive, owned(alive.context) as ours:
        with owned(alive.context), pytest.raises(ReservationError, match="has taken over"):
            recover(ours)
        with alive.context.database.read() as conn:
            assert alerts.open_alerts(conn) == []


def forget_the_last_publication(alive: Living) -> None:
    """Put the database where it was when the folder had been renamed and nothing marked."""
    from sqlalchemy import update

    from storage.tables import PublicationRecord, StageRun, table

    runs, rows = table(StageRun), table(PublicationRecord)
    session = SESSIONS[FIRST + 1]
    with alive.context.database.transaction() as conn:
        conn.execute(
            update(runs).where(runs.c.stage == "publish", runs.c.session == session),
            {"status": "running", "finished_at": None, "detail": None},
        )
        conn.execute(
            update(rows).where(rows.c.session == session),
            {"status": "reserved", "manifest_sha256": None, "published_at": None},
        )


def test_alerts_outside_a_stage(tmp_path: Path) -> None:
    """An alert is open once per key until it is resolved; resolving none is no error."""
    with living(tmp_path) as alive:
        for _ in range(2):
            raise_alert(alive.context, MARKET, "disk", "error", "the disk is full")
        with alive.context.database.read() as conn:
            assert names(alerts.open_alerts(conn, MARKET)) == ["disk"]
        for _ in range(2):
            resolve_alert(alive.context, MARKET, "disk")
        with alive.context.database.read() as conn:
            assert alerts.open_alerts(conn, MARKET) == []


def test_alert_that_cannot_be_stored_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the database itself is the trouble, the log says both."""
    with living(tmp_path) as alive:
        raise_alert(alive.context, None, "disk", "error", "the disk is full")  # type: ignore[arg-type]
    said = capsys.readouterr().out
    assert "the disk is full" in said
    assert "the alert could not be stored" in said
