"""Observe: measure the RankICs that became known, judge each factor, ask for re-mining."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from daemon.context import Context, Market
from daemon.life import Move
from daemon.stages.book import Factor, declared_factors, seed_factors, stored_panel
from daemon.stages.book_watch import rows_needed, watch_book
from daemon.stages.facts import NO_FACTS, Facts, load_facts, measured_factors
from daemon.stages.ingest import data_fault
from daemon.stages.judgement import News, alarm_threshold, judge, wanted_job
from daemon.stages.measure import first_needed, holes, measure, measure_score, undefined
from daemon.stages.monitored import begin_watches, monitored_today
from daemon.stages.observation import Observation, write
from daemon.stages.stage import Result, fingerprint, perform
from signals.decay import MIN_BASELINE
from signals.errors import IntegrityError
from signals.panel import Panel
from storage import history, ledger, registry
from storage.bars import last_vintage
from storage.history import ICRow, MonitoredRow
from storage.tables import FactorState


def run(context: Context, market: Market, session: date) -> None:
    """Observe one session."""
    with context.database.read() as conn:
        factors = measured_factors(conn, market, session)
        facts = load_facts(conn, market, session)
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
        [plan.request.number for plan in facts.plans],
    )

    def compute() -> Result:
        found = observe(context, market, session, factors if declared else None, suspended, facts)
        return Result(
            detail={
                "ics": len(found.ics),
                "moves": [f"{name} → {move.to_state}" for name, move in found.moves],
                "requests": [plan.request.number for plan in found.settled],
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
    facts: Facts = NO_FACTS,
) -> Observation:
    """Return what became known at the close of `session`; nothing is written.

    Parameters
    ----------
    factors : list of Factor or None
        Those that are measured; None before the seed book has been declared.
    suspended : str or None
        Why the ICs realised now may not be judged by, if they may not: stored as undefined.
    facts : Facts
        What else the registry says.
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
    live = [factor for factor in factors if factor.state is FactorState.LIVE]
    with context.database.read() as conn:
        before = history.last_book_state(conn, market.name)
        since = min(
            first_needed(factors, panel, market, realised),
            panel.sessions[max(realised - rows_needed(before, live), 0)].item(),
        )
        known = history.book_ics(conn, market.name, from_session=since)
        measured = history.last_measured(conn, market.name)
    new = measure(context, market, panel, factors, measured, realised)
    hollow = holes(new, known) if suspended is None else {}
    new = {
        name: [*rows[:-1], undefined(rows[-1])] if suspended or name in hollow else rows
        for name, rows in new.items()
    }
    for factor_id, rows in new.items():
        found.ics += [
            ICRow(market.name, factor_id, day, session, value, rank, count)
            for day, value, rank, count in rows
        ]
    try:
        found.score_ics = measure_score(context, market, panel, realised, session)
    except IntegrityError as error:  # an old folder may not stand in the way of today's
        found.damaged = str(error)
    news = News(suspended=suspended, holes=hollow)
    if suspended is None:
        watched = [f for f in factors if f.state is FactorState.LIVE or f.id in facts.recovering]
        news = monitor(context, market, panel, watched, found, news)
    judge(market, found, factors, known, new, news, facts)
    begin(context, market, panel, factors, found)
    if suspended is None:
        budget = settings.monitor.sessions_per_book_alarm
        found.book = watch_book(before, live, found.watches, known, new, budget)
        found.job = wanted_job(context, market, session, panel, factors, found)
    return found


def monitor(
    context: Context,
    market: Market,
    panel: Panel,
    watched: Sequence[Factor],
    found: Observation,
    news: News,
) -> News:
    """Measure the monitored RankICs that became known with the panel's end."""
    realised = monitored_today(context, market, panel, watched)
    if realised is None:
        return news
    day, values = realised
    values = {name: value for name, value in values.items() if name not in news.holes}
    last = panel.sessions[-1].item()
    found.monitored += [
        MonitoredRow(market.name, name, day, last, value) for name, value in values.items()
    ]
    return News(values, news.suspended, news.holes)


def begin(
    context: Context, market: Market, panel: Panel, factors: Sequence[Factor], found: Observation
) -> None:
    """Begin the watches over the factors that go live."""
    if not found.beginnings:
        return
    threshold = alarm_threshold(market, factors)
    last = panel.sessions[-1].item()
    begun = begin_watches(context, market, panel, found.beginnings, threshold)
    for name, beginning in begun.items():
        if beginning is None:
            refuse(found, name)
            continue
        found.watches[name] = beginning.watch
        found.monitored += [
            MonitoredRow(market.name, name, day, last, value)
            for day, value in zip(
                beginning.sessions.tolist(), beginning.rank_ics.tolist(), strict=True
            )
        ]


def refuse(found: Observation, name: str) -> None:
    """Reject a factor that cannot be watched; an incumbent it was to replace stays."""
    rule = f"fewer than {MIN_BASELINE} RankICs of one session in its baseline, or they do not vary"
    found.moves = [
        (moved, move)
        for moved, move in found.moves
        if moved != name and move.evidence.get("replaced_by") != name
    ]
    found.moves.append((name, Move("rejected", rule, {})))
