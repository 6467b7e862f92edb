from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.alerts import raise_alert
from daemon.calendar import PROVISIONAL_DAYS, MarketCalendar, Overlay
from daemon.health import assess
from daemon.heartbeat import HEARTBEAT_LIMIT, ages, beat, heartbeat_path
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, living


def beating(alive: Living, *, heartbeat: float = 0.0, tick: float = 0.0) -> None:
    """Beat so many seconds ago."""
    now = alive.clock.now()
    path = heartbeat_path(alive.context.settings.state_dir)
    beat(path, now - timedelta(seconds=heartbeat), {MARKET: now - timedelta(seconds=tick)})


def tick(alive: Living) -> None:
    Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)


def test_up_to_date(tmp_path: Path) -> None:
    """Beating and with everything published it is alive and ready, and says what it looked at."""
    with living(tmp_path) as alive:
        tick(alive)
        beating(alive, heartbeat=1, tick=2)
        found = assess(alive.context)
    assert (found.alive, found.ready) == (True, True)
    said = json.loads(json.dumps(found.to_json()))
    assert (said["heartbeat_age_seconds"], said["last_tick_age_seconds"]) == (1.0, 2.0)
    day = SESSIONS[FIRST].isoformat()
    assert said[MARKET] == {
        "published": day, "due": day, "sessions_behind": 0, "alerts": [], "control": "running",
    }  # fmt: skip


def test_behind_is_alive_but_not_ready(tmp_path: Path) -> None:
    """A market that is behind its calendar, or has published nothing, is not ready."""
    with living(tmp_path) as alive:
        beating(alive)
        assert (assess(alive.context).alive, assess(alive.context).ready) == (True, False)
        tick(alive)
        alive.until(FIRST + 3)
        beating(alive)
        found = assess(alive.context)
    assert (found.alive, found.ready) == (True, False)
    assert found.facts[MARKET]["sessions_behind"] == 3


@pytest.mark.parametrize(
    ("heartbeat", "ticked", "alive"),
    [
        (HEARTBEAT_LIMIT, 0.0, True),
        (HEARTBEAT_LIMIT + 1, 0.0, False),
        (0.0, 630.0, True),
        (0.0, 631.0, False),
    ],
)
def test_limits(tmp_path: Path, heartbeat: float, ticked: float, alive: bool) -> None:
    """A dead scheduler and a stuck loop are told apart from a slow one by their limits."""
    with living(tmp_path) as found:
        tick(found)
        beating(found, heartbeat=heartbeat, tick=ticked)
        assert assess(found.context).alive is alive
        assert assess(found.context).ready is alive


@pytest.mark.parametrize("text", [None, "", "{", "{}", "[]", '{"at": "noon", "ticked": {}}'])
def test_no_heartbeat(tmp_path: Path, text: str | None) -> None:
    """Without a heartbeat that can be read nothing is alive, and JSON can still say so."""
    with living(tmp_path) as found:
        path = heartbeat_path(found.context.settings.state_dir)
        if text is not None:
            path.write_text(text)
        health = assess(found.context)
    assert not health.alive
    assert (
        json.loads(json.dumps(health.to_json(), allow_nan=False))["heartbeat_age_seconds"] is None
    )


def test_market_that_is_last_counts(tmp_path: Path) -> None:
    """Of several markets the one that came round longest ago gives the age of the tick."""
    file = tmp_path / "heartbeat.json"
    now = datetime(2024, 1, 2, tzinfo=UTC)
    beat(file, now, {"us": now - timedelta(seconds=5), "cn": now - timedelta(seconds=900)})
    assert ages(file, now) == (0.0, 900.0)


def test_heartbeat_from_the_future(tmp_path: Path) -> None:
    """After the clock was set back an old heartbeat does not pass for a fresh one."""
    file = tmp_path / "heartbeat.json"
    now = datetime(2024, 1, 2, tzinfo=UTC)
    beat(file, now, {"us": now})
    assert ages(file, now - timedelta(days=1)) == (float("inf"), float("inf"))


def test_open_alerts_are_named(tmp_path: Path) -> None:
    """An open alert is shown; it does not make the daemon unready by itself."""
    with living(tmp_path) as alive:
        tick(alive)
        raise_alert(alive.context, MARKET, "disk", "error", "the disk is full")
        beating(alive)
        found = assess(alive.context)
    assert found.facts[MARKET]["alerts"] == ["disk"]
    assert found.ready


def test_calendar_that_has_ended(tmp_path: Path) -> None:
    """Where its calendar presumes no more sessions a market is an error, not a guess."""
    with living(tmp_path) as alive:
        tick(alive)
        calendar = MarketCalendar("XSHG", Overlay(), alive.clock)  # it has an end of its own
        ended = alive.changed(replace(alive.market, calendar=calendar))
        last = calendar.horizon + timedelta(days=PROVISIONAL_DAYS)
        alive.clock.advance(timedelta(days=(last - SESSIONS[FIRST]).days + 5))
        beating(ended)
        found = assess(ended.context)
    assert (found.alive, found.ready) == (False, False)
    assert "is outside the calendar of XSHG" in found.facts[MARKET]["error"]
