"""What the loop does about a newest publication that is damaged, or cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.health import assess
from daemon.heartbeat import beat, heartbeat_path
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from storage import alerts
from storage.tables import Alert
from tests.daemon.small import FIRST, MARKET, Living, living


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Living]:
    """Yield a market with two published sessions."""
    with living(tmp_path) as opened:
        tick(opened)
        opened.until(FIRST + 1)
        tick(opened)
        yield opened


def tick(alive: Living) -> dict[str, Alert]:
    """Let the market come round and return its open alerts by key."""
    Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
    with alive.context.database.read() as conn:
        return {alert.key: alert for alert in alerts.open_alerts(conn, MARKET)}


def ready(alive: Living) -> bool:
    now = alive.clock.now()
    beat(heartbeat_path(alive.context.settings.state_dir), now, {MARKET: now})
    return assess(alive.context).ready


def pointer(alive: Living) -> bytes:
    return (alive.context.settings.publish_dir / MARKET / "v1/latest.json").read_bytes()


def newest(alive: Living) -> Path:
    home = alive.context.settings.publish_dir / MARKET / "v1"
    return home / str(json.loads(pointer(alive))["path"]) / "signals.csv"


def test_damage_is_told_until_it_is_mended(alive: Living) -> None:
    """The pointer stays, the alert names the folder and the ways out, and nobody is ready."""
    before, file = pointer(alive), newest(alive)
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    alert = tick(alive)["damaged-publication"]
    assert alert.severity == "error"
    assert str(file.parent) in alert.message
    assert "alphad halt" in alert.message
    assert pointer(alive) == before
    assert not ready(alive)
    file.write_bytes(data)
    assert "damaged-publication" not in tick(alive)
    assert ready(alive)


def test_next_session_is_published_beside_a_damaged_one(alive: Living) -> None:
    """Whatever has become of the newest publication, the next one takes its place."""
    before = newest(alive)
    before.write_bytes(b"torn")
    tick(alive)
    alive.until(FIRST + 2)
    tick(alive)
    assert newest(alive) != before
    assert "damaged-publication" not in tick(alive)


def test_what_cannot_be_read_is_tried_again_and_holds_nothing_up(alive: Living) -> None:
    """A file that the disk refuses is no damage: the pointer stays, and publishing goes on."""
    before, file = pointer(alive), newest(alive)
    file.unlink()
    file.symlink_to(file.name)  # links that lead round in a circle cannot be read
    told = tick(alive)
    assert "cannot be read" in told["stage-failed"].message
    assert "damaged-publication" not in told
    assert pointer(alive) == before
    alive.until(FIRST + 2)
    tick(alive)
    assert pointer(alive) != before
    assert "stage-failed" not in tick(alive)
