"""What is overdue, and why: from the ledger, the calendar, the heartbeat and the operator."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from daemon.explain import missing
from daemon.heartbeat import beat, heartbeat_path
from daemon.inspection import owing
from daemon.operator import set_control
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from daemon.stages import ingest
from daemon.standing import Overdue, overdue
from storage import ledger
from storage.tables import ControlState
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, TroubledFeed, living


def tick(alive: Living) -> None:
    Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
    beating(alive)


def beating(alive: Living) -> None:
    beat(heartbeat_path(alive.context.settings.state_dir), alive.clock.now(), {})


def owed(alive: Living) -> Overdue:
    found = overdue(alive.context, alive.market)
    assert found is not None
    return found


def said(alive: Living, number: int) -> str:
    return missing(alive.context, alive.market, SESSIONS[number])


def test_nothing_is_owed_before_it_is_due(tmp_path: Path) -> None:
    """Everything is published; a session to come, a holiday and one before the start are told."""
    with living(tmp_path, mining={"enabled": False}) as alive:
        tick(alive)
        assert overdue(alive.context, alive.market) is None
        assert owing(alive.context, alive.market) is None
        assert said(alive, FIRST + 1) == "it is not due yet"
        assert "before the first session" in said(alive, FIRST - 1)
        day = SESSIONS[FIRST] + timedelta(days=1)
        assert missing(alive.context, alive.market, day) == f"{day} is no session of XNYS"


def test_stage_that_fails(tmp_path: Path) -> None:
    """The oldest session says which stage failed with what; the ones after it wait for it."""
    feed = TroubledFeed()
    with living(tmp_path, feed, mining={"enabled": False}) as alive:
        tick(alive)
        feed.silent.add(SESSIONS[FIRST + 1])
        alive.until(FIRST + 3)
        tick(alive)
        found = owed(alive)
        assert (found.sessions, found.oldest) == (3, SESSIONS[FIRST + 1])
        assert found.why == (
            "its ingest failed (attempt 1): the source is silent. It is tried again with the "
            "next tick"
        )
        assert f"{SESSIONS[FIRST + 1]} (and 2 after it) was due at" in found.sentence
        assert said(alive, FIRST + 3).startswith(f"{SESSIONS[FIRST + 1]} comes first.")
        assert "the source is silent" in str(owing(alive.context, alive.market))


def test_daemon_that_does_not_run(tmp_path: Path) -> None:
    """Without a fresh heartbeat the reason is that nobody is at work."""
    with living(tmp_path, mining={"enabled": False}) as alive:
        assert owed(alive).why == "no daemon runs: it never beat"
        assert owing(alive.context, alive.market) is None  # as after a replay
        tick(alive)
        alive.until(FIRST + 1)
        assert owed(alive).why.startswith("no daemon runs: it last beat at 2023-")


def test_stage_that_is_on_its_way(tmp_path: Path) -> None:
    """What runs says since when; what is next says so; an operator's stop goes before both."""
    with living(tmp_path, mining={"enabled": False}) as alive:
        tick(alive)
        session = alive.until(FIRST + 1)
        beating(alive)
        assert owed(alive).why == "its ingest begins with the next tick"
        ingest.run(alive.context, alive.market, session)
        with alive.context.database.transaction() as conn:
            ledger.begin(conn, MARKET, session, "observe", "x", alive.clock.now())
        assert owed(alive).why.startswith("its observe runs since")
        set_control(alive.context, MARKET, ControlState.PAUSED, reason="wait", who="ops")
        assert owed(alive).why.startswith("us is paused by ops since")
