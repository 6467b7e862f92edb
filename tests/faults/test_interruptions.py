"""A replay that stops wherever it asks for the time ends in the bytes of an undisturbed one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.kills import published_files
from daemon.clock import ReplayClock
from daemon.context import open_context
from daemon.replay import drive
from daemon.settings import Settings
from daemon.summary import Summary
from storage import history, integrity, jobs, registry
from storage.database import Database
from tests.faults.market import BEGIN, MARKET, SESSIONS, settings_of


class Interrupted(BaseException):
    """The process is gone; nothing of ours catches it."""


class FragileClock(ReplayClock):
    """A clock that ends the process at one of its readings: every ledger write takes one."""

    def __init__(self, readings: int) -> None:
        super().__init__(datetime(1990, 1, 1, tzinfo=UTC))
        self.readings = readings

    def now(self) -> datetime:
        self.readings -= 1
        if self.readings < 0:
            raise Interrupted
        return super().now()


def live(settings: Settings, sessions: Sequence[date], readings: int = 1_000_000) -> bool:
    """Go on with the replay and return whether it came to its end."""
    clock = FragileClock(readings)
    try:
        with open_context(settings, clock) as context:
            market = context.markets[MARKET]
            drive(context, market, sessions, clock, lambda *_: None, None)
    except Interrupted:
        return False
    return True


def remembered(settings: Settings) -> list[Any]:
    """Return what the database knows of factors, their ICs, their verdicts and the jobs."""
    database = Database.file(settings.state_dir / "alphad.db")
    with database.read() as conn:
        factors = [
            (f.id, f.expression, f.state, f.joined_session, f.baseline_start)
            for f in registry.factors(conn, MARKET)
        ]
        ics = history.book_ics(conn, MARKET)
        measured = {name: (s.sessions.tolist(), s.rank_ic.tolist()) for name, s in ics.items()}
        verdicts = [
            (e.factor, e.session, e.to_verdict) for e in history.verdict_events(conn, MARKET)
        ]
        done = [(job.id, job.status, job.result, job.joined_session) for job in jobs.jobs(conn)]
    database.close()
    return [factors, repr(measured), verdicts, done]


@pytest.mark.slow
def test_interrupted_anywhere_around_a_remining_it_ends_in_the_same_bytes(
    config: Path, bars: Path, tmp_path: Path, reference: dict[str, bytes], undisturbed: Summary
) -> None:
    """At each write from the session that opens a job to the one after: nothing lost or changed."""
    opened = SESSIONS.index(date.fromisoformat(undisturbed.jobs[0].opened))
    span = SESSIONS[BEGIN : opened + 4]
    days = {day.isoformat() for day in span}
    wanted = {n: data for n, data in reference.items() if Path(n).parent.parent.name in days}
    before = settings_of(config, bars, tmp_path / "before")
    live(before, SESSIONS[BEGIN:opened])
    undivided = settings_of(config, bars, tmp_path / "undivided")
    live(undivided, span)
    readings, ended = 1, False
    while not ended:
        out = tmp_path / f"stopped-{readings}"
        shutil.copytree(tmp_path / "before", out)
        settings = settings_of(config, bars, out)
        ended = live(settings, SESSIONS[BEGIN : opened + 2], readings)
        live(settings, span)
        files = published_files(out)
        assert {n: data for n, data in files.items() if "latest" not in n} == wanted, readings
        assert remembered(settings) == remembered(undivided), readings
        assert integrity.verify(settings.publish_dir) == []
        readings += 1
    assert readings > 20
