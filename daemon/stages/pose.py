"""What a re-mining is told: bars, book, what is known already, and what earlier ones have seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.stages.book import load_factors, stored_panel, tail_with_universe
from miner.memory import Decayed, Tally
from miner.problem import Problem, SearchSettings
from miner.zoo import parse_zoo, zoo
from signals.errors import ConfigError
from signals.expression import Expression
from signals.grammar import parse
from storage import jobs, registry
from storage.tables import Factor, FactorState, RemineJob

#: Sessions before the first row of train, for lookbacks.
LEAD = 120
#: Decisions on finalists whose validation was looked at.
HEARD = ("validation", "accepted", "surplus")
#: Factors that died last, of whose death a proposer is told.
MEMORABLE = 20


def pose(
    context: Context, market: Market, session: date, job: RemineJob | None = None
) -> tuple[Problem, SearchSettings]:
    """Return the problem a search at the close of `session` has to solve, and its budget.

    A job is told what was known when it was opened, however late it is resumed; without one, what
    is known now.
    """
    settings = market.settings.mining.search(market.settings.ingest.min_assets)
    label = market.settings.label
    known = job.opened_at if job is not None else context.clock.now()
    stored = stored_panel(context, market, session, as_of=known)
    purge = label.lag + label.horizon
    wanted = settings.train_sessions + settings.valid_sessions + settings.embargo + 2 * purge + LEAD
    start = max(stored.n_sessions - wanted, 0)
    panel = tail_with_universe(context, market, stored, start, stored.n_sessions, as_of=known)
    bare = Problem(panel=panel, label_lag=label.lag, horizon=label.horizon)
    first_judged = first_judged_session(bare, settings)
    with context.database.read() as conn:
        rows = [
            row for row in registry.factors(conn, market.name) if row.created_session <= session
        ]
        factors = {f.id: f.expression for f in load_factors(conn, market, FactorState)}
        alive = book_of(rows, job)
        retired = lately_retired(market, rows, alive, session)
        earlier = earlier_jobs(conn, market, job)
        # what died on the rows that judge is not told: their outcome would steer the proposer
        dead = [row for row in retired if died_before(row, first_judged)][-MEMORABLE:]
        decayed = [mourned(conn, market, row, factors[row.id], session) for row in dead]
    gone = {row.id for row in retired}
    others = {row.id: factors[row.id] for row in rows if row.id not in alive | gone}
    problem = Problem(
        panel=panel,
        label_lag=label.lag,
        horizon=label.horizon,
        book={name: factors[name] for name in sorted(alive & factors.keys())},
        references=known_formulas(market) | others,
        retired={name: factors[name] for name in sorted(gone)},
        decayed=decayed,
        experience=experience(earlier, first_judged),
    )
    return problem, settings


def with_heard(
    context: Context,
    market: Market,
    problem: Problem,
    settings: SearchSettings,
    job: RemineJob | None = None,
) -> Problem:
    """Return the problem with all that was heard on its validation by now: to be concluded.

    The search itself needs none of it, and others may have looked while it ran.
    """
    first = first_judged_session(problem, settings)
    with context.database.read() as conn:
        others = [
            other
            for other in jobs.jobs(conn, market.name)
            if other.status not in jobs.OPEN
            and other.opened_session >= first
            and (job is None or other.id != job.id)
        ]
        heard = heard_by(conn, market, others)
    tried = sum(int((other.result or {}).get("tried", 0)) for other in others)
    return replace(problem, heard=heard, earlier_trials=tried)


def first_judged_session(problem: Problem, settings: SearchSettings) -> date:
    """Return the first session of validation."""
    session: date = problem.panel.sessions[problem.split(settings).valid.start].item()
    return session


def last_trained_session(problem: Problem, settings: SearchSettings) -> date:
    """Return the session whose close ends the last label of train."""
    parts = problem.split(settings)
    session: date = problem.panel.sessions[parts.train.stop - 1 + parts.purge].item()
    return session


def book_of(rows: Iterable[Factor], job: RemineJob | None) -> frozenset[str]:
    """Return who is alive; for a job, who was when it was opened."""
    if job is not None and "book" in job.trigger:
        return frozenset(job.trigger["book"])
    return frozenset(row.id for row in rows if row.state in (FactorState.LIVE, FactorState.SHADOW))


def lately_retired(
    market: Market, rows: Iterable[Factor], alive: frozenset[str], session: date
) -> list[Factor]:
    """Return the factors retired in the sessions they may still revive in, the last one last."""
    span = market.settings.book.revival_sessions
    since = market.calendar.previous_session(session, span) if span else session
    gone = [
        row
        for row in rows
        if row.id not in alive
        and row.retired_session is not None
        and since <= row.retired_session <= session
    ]
    return sorted(gone, key=lambda row: (row.retired_session, row.id))


def died_before(row: Factor, first: date) -> bool:
    """Return whether a factor was retired before a session."""
    return row.retired_session is not None and row.retired_session < first


def mourned(
    conn: Connection, market: Market, row: Factor, expression: Expression, session: date
) -> Decayed:
    """Return a retired factor and why it died, as the registry had it at `session`."""
    events = registry.events(conn, market.name, row.id, last=session)
    last = [event for event in events if event.to_state == FactorState.RETIRED]
    mechanism = (row.hypothesis or {}).get("mechanism", "")
    return Decayed(expression, mechanism, last[-1].rule if last else "retired")


def earlier_jobs(conn: Connection, market: Market, job: RemineJob | None) -> list[RemineJob]:
    """Return the finished re-minings before `job`; all of them when it is none."""
    return [
        other
        for other in jobs.jobs(conn, market.name)
        if other.status not in jobs.OPEN and (job is None or other.id < job.id)
    ]


def heard_by(conn: Connection, market: Market, others: Iterable[RemineJob]) -> list[Expression]:
    """Return the finalists whose validation some re-minings have looked at."""
    texts = {
        trial.expression: None
        for job in others
        for trial in jobs.trials(conn, market.name, job.id, decisions=HEARD)
    }
    return [parse(text) for text in texts]


def experience(earlier: Iterable[RemineJob], first: date) -> Mapping[str, Tally]:
    """Return what earlier searches saw on train, by mechanism, of sessions before `first` alone."""
    total: dict[str, Tally] = {}
    for job in earlier:
        result = job.result or {}
        if result.get("trained_until", first.isoformat()) >= first.isoformat():
            continue  # its train reached into what judges now
        for name, told in result.get("tallies", {}).items():
            total[name] = total.get(name, Tally()) + Tally(**told)
    return total


def known_formulas(market: Market) -> dict[str, Expression]:
    """Return the formulas of the zoos a find must differ from, by name.

    Raises
    ------
    ConfigError
        When the user's own zoo cannot be read.
    ExpressionError
        When an entry of it is no expression.
    """
    mining = market.settings.mining
    found = {
        f"{name} {entry.name}": entry.expression for name in mining.zoos for entry in zoo(name)
    }
    if mining.zoo is not None and market.zoo is not None:
        try:
            text = market.zoo.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise ConfigError(
                f"the zoo {mining.zoo} cannot be read: {exc}",
                rule="mining.zoo names a TOML file in UTF-8",
                hint="correct the file, or leave the setting out",
            ) from exc
        own = parse_zoo(text, file=str(mining.zoo))
        found |= {f"{mining.zoo.stem} {entry.name}": entry.expression for entry in own}
    return found


def tallies_of(measured: Mapping[str, Tally]) -> dict[str, Any]:
    """Return tallies as plain values, for the job's result."""
    return {
        name: {"measured": t.measured, "survived": t.survived, "best": t.best}
        for name, t in measured.items()
    }
