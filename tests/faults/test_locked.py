"""A database that another process holds: waited for, then tried again; the heartbeat shows it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.health import assess
from daemon.heartbeat import beat, heartbeat_path
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from storage.bars import BarStore
from storage.database import Database
from storage.ledger import succeeded
from storage.publishing import Publisher
from tests.daemon.small import FIRST, MARKET, Living, living


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Living]:
    """Yield a market with one published session and another one due."""
    with living(tmp_path) as opened:
        Reconciler(opened.context, InlineReminer(opened.context)).tick(opened.market)
        opened.until(FIRST + 1)
        yield opened


def impatient(alive: Living, seconds: float) -> Living:
    """Return the same with a database that waits so long for a lock."""
    context = alive.context
    database = Database(str(context.database.engine.url), busy_seconds=seconds)
    bars = BarStore(context.settings.state_dir, database)
    publisher = Publisher(context.settings.publish_dir, database)
    changed = replace(context, database=database, bars=bars, publisher=publisher)
    return replace(alive, context=changed)


def holder(alive: Living) -> sqlite3.Connection:
    """Return a connection that has locked the database for writing."""
    path = alive.context.database.path
    assert path is not None
    held = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    return held


def published(alive: Living) -> int:
    with alive.context.database.read() as conn:
        return len(succeeded(conn, MARKET, "publish"))


def tick(alive: Living) -> None:
    Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)


def test_short_lock_is_waited_for(alive: Living) -> None:
    """A stage that finds the database locked goes on when it is free."""
    with closing(holder(alive)) as held:
        ending = threading.Timer(0.3, held.rollback)
        ending.start()
        tick(alive)
        ending.join()
    assert published(alive) == 2


def test_long_lock_fails_the_stage_and_the_next_tick_does_it(alive: Living) -> None:
    """Health says meanwhile that the session is late; nothing is lost, nothing done twice."""
    hasty = impatient(alive, 0.02)
    now = alive.clock.now()
    with closing(holder(alive)) as held:
        for _ in range(3):
            tick(hasty)
        beat(heartbeat_path(alive.context.settings.state_dir), now, {MARKET: now}, limit=600.0)
        health = assess(hasty.context)
        assert health.alive
        assert not health.ready
        assert health.facts[MARKET]["sessions_behind"] == 1
        held.rollback()
    tick(hasty)
    assert published(alive) == 2
    assert assess(hasty.context).ready
    hasty.context.database.close()
