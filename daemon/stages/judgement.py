"""Judge: what each factor's ICs say, which factor moves, whether the book needs re-mining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import Connection

from daemon import life
from daemon.context import Context, Market
from daemon.stages.book import Factor
from daemon.stages.measure import Measured
from miner.books import Seed
from signals.decay import MonitorState, Verdict, false_alarm_threshold, with_threshold
from signals.panel import FloatArray, Panel
from storage import alerts, history, jobs
from storage.history import ICRow, ScoreICRow
from storage.tables import FactorState


@dataclass
class Observation:
    """What a session's observation found; written in one transaction at its end."""

    declared: tuple[Seed, ...] = ()
    ics: list[ICRow] = field(default_factory=list)
    score_ics: list[ScoreICRow] = field(default_factory=list)
    moves: list[tuple[str, life.Move]] = field(default_factory=list)
    monitors: dict[str, MonitorState] = field(default_factory=dict)
    verdicts: list[tuple[str, Verdict, Verdict]] = field(default_factory=list)
    job: dict[str, Any] | None = None
    damaged: str | None = None


def judge(
    market: Market,
    found: Observation,
    factors: Sequence[Factor],
    known: dict[str, history.ICSeries],
    new: dict[str, Measured],
    suspended: str | None,
) -> None:
    """Fill in the moves, monitors and verdicts that follow from the ICs."""
    settings, horizon = market.settings, market.settings.label.horizon
    live = sum(factor.state is FactorState.LIVE for factor in factors)
    threshold = false_alarm_threshold(max(live, 1), settings.monitor.sessions_per_false_alarm)
    for factor in factors:
        fresh = new.get(factor.id, [])
        if factor.state is FactorState.LIVE and factor.monitor is not None:
            ranks = [rank for _, _, rank, _ in fresh]
            watched = life.watch(factor.monitor, ranks, threshold, suspended)
            found.monitors[factor.id] = watched.state
            found.verdicts += [(factor.id, *change) for change in watched.changes]
            if watched.retire is not None:
                found.moves.append((factor.id, watched.retire))
            continue
        days, ranks_seen = joined(known.get(factor.id), fresh)
        if factor.state is FactorState.CANDIDATE:
            move, monitor = life.judge_candidate(ranks_seen, horizon, settings.monitor)
        else:
            forward = days >= np.datetime64(factor.joined_session, "D")
            move, monitor = life.judge_challenger(
                ranks_seen[~forward], ranks_seen[forward], horizon, settings.book
            )
        promoted = move is not None and move.to_state == "live" and factor.origin == "mined"
        if promoted and full(found, live, market):
            continue  # it waits in shadow for a place
        if move is not None:
            found.moves.append((factor.id, move))
        if monitor is not None:
            found.monitors[factor.id] = with_threshold(monitor, threshold)
    replace_decayed(found, factors)


def full(found: Observation, live: int, market: Market) -> bool:
    """Return whether the book has no place for another live factor, not even a decayed one's."""
    joining = sum(move.to_state == "live" for _, move in found.moves)
    decayed = sum(monitor.verdict is Verdict.DECAYED for monitor in found.monitors.values())
    return live + joining - decayed >= market.settings.book.max_live


def joined(known: history.ICSeries | None, fresh: Measured) -> tuple[Any, FloatArray]:
    """Return sessions and RankICs, stored and new, oldest first."""
    days = np.array([row[0] for row in fresh], dtype="datetime64[D]")
    ranks = np.array([row[2] for row in fresh], dtype=np.float64)
    if known is None:
        return days, ranks
    return np.concatenate([known.sessions, days]), np.concatenate([known.rank_ic, ranks])


def replace_decayed(found: Observation, factors: Sequence[Factor]) -> None:
    """Retire one decayed factor, the one with most evidence, for each challenger that went live."""
    origin = {factor.id: factor for factor in factors}
    leaving = {name for name, move in found.moves if move.to_state == "retired"}
    decayed = sorted(
        (
            (monitor.evidence, name)
            for name, monitor in found.monitors.items()
            if monitor.verdict is Verdict.DECAYED and name not in leaving
        ),
        reverse=True,
    )
    for name, move in list(found.moves):
        if move.to_state == "live" and origin[name].origin == "mined" and decayed:
            evidence, old = decayed.pop(0)
            found.moves.append(
                (old, life.Move("retired", f"replaced by {name}", {"evidence": evidence}))
            )


def wanted_job(
    context: Context,
    market: Market,
    session: date,
    panel: Panel,
    factors: Sequence[Factor],
    found: Observation,
) -> dict[str, Any] | None:
    """Return the trigger of a re-mining job if one is to be opened now."""
    settings = market.settings
    mining = settings.mining
    state = {factor.id: str(factor.state) for factor in factors}
    state |= {name: move.to_state for name, move in found.moves}
    live = [name for name, where in state.items() if where == "live"]
    decayed = [n for n in live if found.monitors[n].standing is Verdict.DECAYED]
    count = life.BookCount(
        healthy=len(live) - len(decayed),
        decayed=len(decayed),
        shadow=sum(where == "shadow" for where in state.values()),
    )
    reason = life.remining_reason(count, settings.book)
    purge = settings.label.lag + settings.label.horizon
    needed = mining.train_sessions + mining.valid_sessions + 2 * purge
    waiting = any(where == "candidate" for where in state.values())
    if reason is None or not mining.enabled or panel.n_sessions < needed or waiting:
        return None
    with context.database.read() as conn:
        last = jobs.last_job(conn, market.name)
    if last is not None:
        if last.status in jobs.OPEN:
            return None
        passed = len(market.calendar.sessions(last.opened_session, session)) - 1
        if passed < life.cooldown(bool((last.result or {}).get("accepted")), settings):
            return None
    book = sorted(name for name, where in state.items() if where in {"live", "shadow"})
    return {"reason": reason, "decayed": decayed, "book": book}


def explained(state: MonitorState) -> dict[str, Any]:
    """Return the numbers behind a verdict."""
    return {
        "reason": state.reason,
        "evidence": state.evidence,
        "threshold": state.threshold,
        "onset_sessions_ago": state.n - state.last_clear,
        "running_mean": state.ewma,
        "tested_mean": state.mean,
    }


def alert_verdict(
    conn: Connection,
    context: Context,
    market: Market,
    session: date,
    name: str,
    state: MonitorState,
) -> None:
    """Open an alert when a factor has decayed, close it when it has recovered."""
    key, now = f"decayed:{name}", context.clock.now()
    if state.verdict is Verdict.DECAYED:
        message = (
            f"{name} has decayed: evidence {state.evidence:.3g} of {state.threshold:.0f} allowed, "
            f"mean RankIC {state.ewma:.4f} where {state.mean:.4f} was expected, since about "
            f"{state.n - state.last_clear} sessions. Its weight is cut; re-mining looks for a "
            f"successor. Look: alphad explain {name}"
        )
        alerts.raise_alert(conn, market.name, key, "warning", message, now, session)
    elif state.verdict is Verdict.HEALTHY:
        alerts.resolve(conn, market.name, key, now)
