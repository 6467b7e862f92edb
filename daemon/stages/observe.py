"""Observe: measure the RankICs that became known, judge each factor, ask for re-mining."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.stages.book import Factor, declared_factors, load_factors, seed_factors, stored_panel
from daemon.stages.ingest import data_fault
from daemon.stages.judgement import Observation, alert_verdict, explained, judge, wanted_job
from daemon.stages.measure import first_needed, measure, measure_score, undefined
from daemon.stages.stage import Result, fingerprint, perform
from signals.errors import IntegrityError
from storage import alerts, history, jobs, ledger, registry
from storage.bars import last_vintage
from storage.history import ICRow, StateRow
from storage.tables import FactorState

#: States whose ICs are measured.
MEASURED = (FactorState.CANDIDATE, FactorState.SHADOW, FactorState.LIVE)


def run(context: Context, market: Market, session: date) -> None:
    """Observe one session."""
    with context.database.read() as conn:
        factors = load_factors(conn, market, MEASURED)
        declared = bool(factors) or bool(registry.factors(conn, market.name))
        newest = last_vintage(conn, market.name)
        label = market.settings.label
        ingested = ledger.last_results(conn, market.name, "ingest", label.lag + label.horizon + 1)
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
