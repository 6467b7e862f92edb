"""When many factors decay at once: one search, one alert each, the most urgent first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.stages.book import Factor, load_factors, stored_panel
from daemon.stages.judgement import wanted_job
from daemon.stages.observation import Observation
from signals.decay import Verdict, start_monitor
from signals.watch import Watch
from storage import alerts, history, jobs, registry
from storage.tables import FactorState, JobStatus
from tests.daemon.small import BOOK, DYING, FIRST, MARKET, SESSIONS, Living, TroubledFeed, living
from tests.daemon.test_stages import live_on
from tests.daemon.watches import watch_of

#: The first session with bars enough for a search.
ENOUGH = FIRST + 5
#: Five ways to say the same, which live and die together.
STORM = "".join(
    BOOK[: BOOK.index("[factors.continuation]")]
    .replace("[factors.reversal]", f"[factors.reversal{n}]")
    .replace("$close, 5", f"$close, {n}")
    for n in (4, 5, 6, 7, 8)
)


def monitor(mean: float, strain: float = 0.0) -> Watch:
    """Return a watch with evidence so many times its threshold; decayed from 1 on."""
    state = start_monitor(np.random.default_rng(0).normal(mean, 0.1, 200), threshold=63.0)
    verdict = Verdict.DECAYED if strain >= 1 else Verdict.HEALTHY
    changed = replace(state, evidence=strain * 63.0, mean=mean, verdict=verdict, standing=verdict)
    return watch_of(changed)


def wanted(alive: Living, number: int, watches: dict[str, Watch]) -> dict[str, Any] | None:
    """Return the trigger of a job at a session, were these the watches over the live factors."""
    with alive.context.database.read() as conn:
        [any_live] = load_factors(conn, alive.market, [FactorState.LIVE])
    factors: Sequence[Factor] = [replace(any_live, id=name) for name in watches]
    session = SESSIONS[number]
    panel = stored_panel(alive.context, alive.market, session)
    found = Observation(watches=watches)
    return wanted_job(alive.context, alive.market, session, panel, factors, found)


def test_trigger_lists_the_decayed_by_urgency(tmp_path: Path) -> None:
    """One job for all of them; the order is weight lost times evidence over threshold."""
    book = {
        "faint": monitor(0.02, 2.0),
        "heavy": monitor(0.06, 3.0),
        "sure": monitor(0.02, 50.0),
        "well": monitor(0.05),
    }
    with living(tmp_path, TroubledFeed()) as alive:
        live_on(alive, ENOUGH)
        trigger = wanted(alive, ENOUGH, book)
    assert trigger is not None
    assert trigger["reason"] == "3 decayed"
    assert trigger["decayed"] == ["sure", "heavy", "faint"]
    assert trigger["book"] == ["faint", "heavy", "sure", "well"]


def test_flapping_factor_opens_one_job(tmp_path: Path) -> None:
    """While a job is open, and in the cooldown after it, no verdict opens another."""
    ill, well = {"a": monitor(0.05, 2.0)}, {"a": monitor(0.05)}
    with living(tmp_path, TroubledFeed(), book={"cooldown_sessions": 10}) as alive:
        live_on(alive, ENOUGH)
        trigger = wanted(alive, ENOUGH, ill)
        assert trigger is not None
        with alive.context.database.transaction() as conn:
            job = jobs.open_job(conn, MARKET, SESSIONS[ENOUGH], trigger, 1, alive.clock.now())
        live_on(alive, ENOUGH + 1)
        for book in (ill, well, ill):
            assert wanted(alive, ENOUGH + 1, book) is None
        with alive.context.database.transaction() as conn:
            job = jobs.get(conn, MARKET, job.id) or job
            if job.status in jobs.OPEN:
                jobs.finish(conn, job, JobStatus.SUCCEEDED, alive.clock.now(),
                            result={"accepted": ["x"]})  # fmt: skip
        live_on(alive, ENOUGH + 2)
        for book in (ill, well, ill):
            assert wanted(alive, ENOUGH + 2, book) is None


def test_decay_storm(tmp_path: Path) -> None:
    """Every factor of a book dies: one search is opened, and one alert for each, once."""
    with living(tmp_path, TroubledFeed(DYING), book={"cooldown_sessions": 60}) as alive:
        (tmp_path / "book.toml").write_text(STORM)
        live_on(alive, FIRST + 30)
        with alive.context.database.read() as conn:
            verdicts = history.verdict_events(conn, MARKET)
            raised = alerts.alerts(conn, MARKET)
            opened = jobs.jobs(conn, MARKET)
            seeds = [f.id for f in registry.factors(conn, MARKET) if f.live_session is not None]
    fallen = {event.factor for event in verdicts if event.to_verdict == "decayed"}
    assert len(seeds) >= 4
    assert fallen == set(seeds)
    assert len(opened) == 1
    for name in seeds:
        assert [alert.key for alert in raised].count(f"decayed:{name}") == 1
