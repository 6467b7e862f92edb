"""What a re-mining is told: bars, book, what is known already, and what earlier ones have seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
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

    Nothing that became known after `session` is in it, so that a job that is resumed later is told
    the same.
    """
    settings = market.settings.mining.search(market.settings.ingest.min_assets)
    label = market.settings.label
    known = market.calendar.finality(session, market.settings.ingest.finality_minutes)
    stored = stored_panel(context, market, session, as_of=known)
    purge = label.lag + label.horizon
    wanted = settings.train_sessions + settings.valid_sessions + settings.embargo + 2 * purge + LEAD
    start = max(stored.n_sessions - wanted, 0)
    panel = tail_with_universe(context, market, stored, start, stored.n_sessions)
    bare = Problem(panel=panel, label_lag=label.lag, horizon=label.horizon)
    first_judged = panel.sessions[bare.split(settings).valid.start].item()
    with context.database.read() as conn:
        rows = [
            row for row in registry.factors(conn, market.name) if row.created_session <= session
        ]
        factors = {f.id: f.expression for f in load_factors(conn, market, FactorState)}
        alive = book_of(rows, job)
        retired = lately_retired(market, rows, alive, session)
        earlier = earlier_jobs(conn, market, job)
        decayed = [mourned(conn, market, row, factors[row.id]) for row in retired[-MEMORABLE:]]
        heard = heard_since(conn, market, earlier, first_judged)
    gone = {row.id for row in retired}
    others = {row.id: factors[row.id] for row in rows if row.id not in alive | gone}
    problem = Problem(
        panel=panel,
        label_lag=label.lag,
        horizon=label.horizon,
        book={name: factors[name] for name in sorted(alive)},
        references=known_formulas(market) | others,
        retired={name: factors[name] for name in sorted(gone)},
        earlier_trials=sum(
            int((other.result or {}).get("tried", 0))
            for other in earlier
            if other.opened_session >= first_judged
        ),
        heard=heard,
        decayed=decayed,
        experience=experience(earlier),
    )
    return problem, settings


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


def mourned(conn: Connection, market: Market, row: Factor, expression: Expression) -> Decayed:
    """Return a retired factor and why it died, as the registry has it."""
    last = [e for e in registry.events(conn, market.name, row.id) if e.to_state == "retired"]
    mechanism = (row.hypothesis or {}).get("mechanism", "")
    return Decayed(expression, mechanism, last[-1].rule if last else "retired")


def earlier_jobs(conn: Connection, market: Market, job: RemineJob | None) -> list[RemineJob]:
    """Return the finished re-minings before `job`; all of them when it is none."""
    return [
        other
        for other in jobs.jobs(conn, market.name)
        if other.status not in jobs.OPEN and (job is None or other.id < job.id)
    ]


def heard_since(
    conn: Connection, market: Market, earlier: Iterable[RemineJob], first: date
) -> list[Expression]:
    """Return the finalists whose validation was looked at on any session from `first` on."""
    texts = {
        trial.expression: None
        for job in earlier
        if job.opened_session >= first
        for trial in jobs.trials(conn, market.name, job.id, decisions=HEARD)
    }
    return [parse(text) for text in texts]


def experience(earlier: Iterable[RemineJob]) -> Mapping[str, Tally]:
    """Return what earlier searches saw on train, by mechanism."""
    total: dict[str, Tally] = {}
    for job in earlier:
        for name, told in ((job.result or {}).get("tallies") or {}).items():
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
    if mining.zoo is not None:
        own = parse_zoo(read_text(mining.zoo), file=str(mining.zoo))
        found |= {f"{mining.zoo.stem} {entry.name}": entry.expression for entry in own}
    return found


def read_text(path: Path) -> str:
    """Return the text of a zoo file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"the zoo {path} cannot be read: {exc}",
            rule="mining.zoo names a TOML file in UTF-8",
            hint="correct the path, or leave the setting out",
        ) from exc


def tallies_of(measured: Mapping[str, Tally]) -> dict[str, Any]:
    """Return tallies as plain values, for the job's result."""
    return {
        name: {"measured": t.measured, "survived": t.survived, "best": t.best}
        for name, t in measured.items()
    }
