"""Observe: measure the RankICs that became known, judge each factor, ask for re-mining."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import Connection

from daemon import life
from daemon.context import Context, Market
from daemon.stages.book import (
    Factor,
    declared_factors,
    load_factors,
    seed_factors,
    stored_panel,
    tail_with_universe,
)
from daemon.stages.ingest import data_fault
from daemon.stages.published import load_published
from daemon.stages.stage import Result, fingerprint, perform
from miner.books import Seed
from signals.decay import MonitorState, Verdict, false_alarm_threshold, with_threshold
from signals.errors import IntegrityError
from signals.evaluate import evaluate
from signals.ic import ic, rank_ic
from signals.labels import forward_returns
from signals.operators import lookback
from signals.panel import FloatArray, Panel
from storage import alerts, history, jobs, ledger, registry
from storage.bars import last_vintage
from storage.history import ICRow, ScoreICRow, StateRow
from storage.tables import FactorState

#: States whose ICs are measured.
MEASURED = (FactorState.CANDIDATE, FactorState.SHADOW, FactorState.LIVE)


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


def run(context: Context, market: Market, session: date) -> None:
    """Observe one session."""
    with context.database.read() as conn:
        factors = load_factors(conn, market, MEASURED)
        declared = bool(factors) or bool(registry.factors(conn, market.name))
        newest = last_vintage(conn, market.name)
        label = market.settings.label
        ingested = ledger.history(
            conn, market.name, stage="ingest", limit=label.lag + label.horizon + 1
        )
    faults = (data_fault(run.detail or {}, market.settings.ingest) for run in ingested)
    # an IC is realised with the bars of all sessions from its factor's to its label's end
    suspended = next((fault for fault in faults if fault is not None), None)
    inputs = fingerprint(
        newest.chain if newest else None,
        market.config_sha256,
        [(f.id, f.state, str(f.expression)) for f in factors],
    )

    def compute() -> Result:
        found = observe(context, market, session, factors if declared else None, suspended)
        return Result(
            detail={
                "ics": len(found.ics),
                "moves": [f"{name} → {move.to_state}" for name, move in found.moves],
                "verdicts": [f"{name} {after}" for name, _, after in found.verdicts],
                "job": found.job,
                "label": [label.lag, label.horizon],
            },
            write=lambda conn: write(conn, context, market, session, found),
        )

    perform(context, market, session, "observe", inputs, compute)


def observe(
    context: Context,
    market: Market,
    session: date,
    factors: list[Factor] | None,
    suspended: str | None,
) -> Observation:
    """Return what became known at the close of `session`; nothing is written.

    Parameters
    ----------
    factors : list of Factor or None
        Those that are measured; None before the seed book has been declared.
    suspended : str or None
        Why the ICs realised now may not be judged by, if they may not: stored as undefined.
    """
    found = Observation()
    if factors is None:
        found.declared = declared_factors(market)
        factors = seed_factors(found.declared)
    settings = market.settings
    panel = stored_panel(context, market, session)
    last = panel.row_of(session)
    realised = last - settings.label.lag - settings.label.horizon
    if realised < 0:
        return found
    since = first_needed(factors, panel, market, realised)
    with context.database.read() as conn:
        known = history.book_ics(conn, market.name, from_session=since)
    new = measure(context, market, panel, factors, known, realised)
    if suspended is not None:
        new = {name: [*rows[:-1], undefined(rows[-1])] for name, rows in new.items()}
    for factor_id, rows in new.items():
        found.ics += [
            ICRow(market.name, factor_id, day, session, value, rank, count)
            for day, value, rank, count in rows
        ]
    try:
        found.score_ics = measure_score(context, market, panel, realised, session)
    except IntegrityError as error:  # an old folder may not stand in the way of today's
        found.damaged = str(error)
    judge(market, found, factors, known, new, suspended)
    found.job = wanted_job(context, market, session, panel, factors, found)
    return found


def first_needed(factors: Sequence[Factor], panel: Panel, market: Market, realised: int) -> date:
    """Return the first session whose stored ICs this observation has to read."""
    row = realised - 30
    if any(factor.state is FactorState.CANDIDATE for factor in factors):
        row = realised - market.settings.monitor.baseline_sessions - life.PATIENCE
    sessions: list[date] = [panel.sessions[max(row, 0)].item()]
    sessions += [
        factor.baseline_start
        for factor in factors
        if factor.state is FactorState.SHADOW and factor.baseline_start is not None
    ]
    return min(sessions)


Row = tuple[date, float, float, int]
Measured = list[Row]


def undefined(row: Row) -> Row:
    """Return a session whose IC is not to be trusted."""
    return (row[0], math.nan, math.nan, row[3])


def measure(
    context: Context,
    market: Market,
    panel: Panel,
    factors: Sequence[Factor],
    known: dict[str, history.ICSeries],
    realised: int,
) -> dict[str, Measured]:
    """Return the ICs that each factor lacks up to row `realised`, oldest first.

    Factors that lack the same rows are evaluated together: usually one row for the whole book, the
    whole history for one that has just been declared.
    """
    groups: dict[int, list[Factor]] = {}
    for factor in factors:
        groups.setdefault(first_missing(factor, known, panel), []).append(factor)
    new: dict[str, Measured] = {}
    settings = market.settings
    for first, group in sorted(groups.items()):
        if first > realised:
            continue
        behind = max(lookback(factor.expression) for factor in group)
        start = max(first - behind, 0)
        ahead = settings.label.lag + settings.label.horizon
        tail = tail_with_universe(context, market, panel, start, realised + 1)
        values = evaluate([factor.expression for factor in group], tail, first=first - start)
        close = np.asarray(panel.fields["close"][first : realised + ahead + 1])
        label = forward_returns(close, lag=settings.label.lag, horizon=settings.label.horizon)
        label = label[: realised + 1 - first]
        days = panel.sessions[first : realised + 1].tolist()
        for factor, value in zip(group, values, strict=True):
            new[factor.id] = list(
                zip(days, *cross_sections(value, label, settings.ingest.min_assets), strict=True)
            )
    return new


def cross_sections(
    value: FloatArray, label: FloatArray, min_assets: int
) -> tuple[list[float], list[float], list[int]]:
    """Return IC, RankIC and the number of assets of each session."""
    counts = (np.isfinite(value) & np.isfinite(label)).sum(axis=1)
    pearson = ic(value, label, min_assets=min_assets)
    spearman = rank_ic(value, label, min_assets=min_assets)
    return pearson.tolist(), spearman.tolist(), counts.tolist()


def first_missing(factor: Factor, known: dict[str, history.ICSeries], panel: Panel) -> int:
    """Return the first row whose IC a factor lacks."""
    if factor.id in known and len(known[factor.id].sessions):
        return panel.row_of(known[factor.id].sessions[-1].item()) + 1
    if factor.baseline_start is not None:
        return panel.row_of(factor.baseline_start)
    return 0


def measure_score(
    context: Context, market: Market, panel: Panel, realised: int, session: date
) -> list[ScoreICRow]:
    """Return the IC of the score that was published for the session realised now, if one was."""
    day = panel.sessions[realised].item()
    published = load_published(context, market, day)
    if published is None:
        return []
    settings = market.settings
    column = {asset: number for number, asset in enumerate(panel.assets)}
    score = np.full((1, panel.n_assets), np.nan)
    for asset, value in zip(published.instruments, published.score, strict=True):
        score[0, column[asset]] = value
    ahead = settings.label.lag + settings.label.horizon
    close = np.asarray(panel.fields["close"][realised : realised + ahead + 1])
    label = forward_returns(close, lag=settings.label.lag, horizon=settings.label.horizon)[:1]
    pearson, spearman, counts = cross_sections(score, label, settings.ingest.min_assets)
    return [
        ScoreICRow(
            market.name, day, session, published.publish_id, pearson[0], spearman[0], counts[0]
        )
    ]


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


def write(
    conn: Connection, context: Context, market: Market, session: date, found: Observation
) -> None:
    """Write an observation; the caller's transaction makes it one."""
    now = context.clock.now()
    for factor in found.declared:
        registry.add(
            conn,
            market.name,
            factor.id,
            str(factor.expression),
            origin="seed",
            session=session,
            now=now,
            hypothesis=factor.hypothesis.to_json(),
            detail={"source": factor.source},
        )
    history.append_ics(conn, found.ics)
    history.append_score_ics(conn, found.score_ics)
    for name, move in found.moves:
        registry.transition(
            conn,
            market.name,
            name,
            move.to_state,
            session=session,
            rule=move.rule,
            now=now,
            evidence=move.evidence,
        )
    history.append_states(
        conn,
        [
            StateRow(
                market.name,
                name,
                session,
                state.verdict,
                state.evidence,
                state.threshold,
                state.to_json(),
            )
            for name, state in found.monitors.items()
        ],
    )
    for name, before, after in found.verdicts:
        state = found.monitors[name]
        history.append_verdict(
            conn, market.name, name, session, before, after, explained(state), now
        )
        alert_verdict(conn, context, market, session, name, state)
    for name, move in found.moves:
        if move.to_state == "retired":  # it weighs nothing any more: nobody has to act
            alerts.resolve(conn, market.name, f"decayed:{name}", now)
    if found.damaged is None:
        alerts.resolve(conn, market.name, "published-damaged", now)
    else:
        alerts.raise_alert(
            conn, market.name, "published-damaged", "error", found.damaged, now, session
        )
    if found.job is not None:
        seed = market.settings.mining.seed + session.toordinal()
        jobs.open_job(conn, market.name, session, found.job, seed, now)


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
