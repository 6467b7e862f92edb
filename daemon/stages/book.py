"""The book as the stages see it: parsed factors, the panel with its universe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from daemon.context import Context, Market
from miner.books import Seed, parse_book, seed_book, seed_books
from signals.decay import Verdict
from signals.errors import ConfigError, ExpressionError
from signals.expression import Expression, fields
from signals.grammar import parse
from signals.panel import BoolArray, Panel
from signals.watch import Watch
from storage import history, membership, registry
from storage.assembly import FIELDS
from storage.bars import NOW
from storage.tables import FactorState


@dataclass(frozen=True)
class Factor:
    """One factor of the registry, ready to be evaluated."""

    id: str
    expression: Expression
    state: FactorState
    origin: str
    joined_session: date | None
    baseline_start: date | None
    watch: Watch | None

    @property
    def verdict(self) -> Verdict | None:
        """What its watch says; None before it is live."""
        return self.watch.verdict if self.watch is not None else None


@lru_cache(maxsize=4096)
def parsed(text: str) -> Expression:
    """Return the expression of a stored factor; every stage asks for the same few."""
    return parse(text)


def load_factors(conn: Connection, market: Market, states: Iterable[FactorState]) -> list[Factor]:
    """Return the factors in these states, ordered by id, with their monitors."""
    monitors = history.last_states(conn, market.name)
    return [
        Factor(
            id=row.id,
            expression=parsed(row.expression),
            state=FactorState(row.state),
            origin=row.origin,
            joined_session=row.joined_session,
            baseline_start=row.baseline_start,
            watch=Watch.from_json(monitors[row.id].state) if row.id in monitors else None,
        )
        for row in registry.factors(conn, market.name, states)
    ]


def declared_factors(market: Market) -> tuple[Seed, ...]:
    """Return the market's seed book: a packaged one by name, or a user's own file.

    Raises
    ------
    ConfigError
        When it is neither, or the file holds no book.
    ExpressionError
        When a factor of the file is no valid expression.
    """
    name = market.settings.seed_book
    if name in seed_books():
        return seed_book(name)
    try:
        book = parse_book(Path(name).read_text(encoding="utf-8"))
        check_fields((seed.id, seed.expression) for seed in book)
    except ExpressionError as exc:
        raise ExpressionError(
            f"seed book {name}: {exc.fact}", rule=exc.rule, hint=exc.hint
        ) from exc
    except ConfigError as exc:
        raise ConfigError(f"{name}: {exc.fact}", rule=exc.rule, hint=exc.hint) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"seed_book {name!r} is no packaged book, and no file that can be read",
            rule=f"packaged are {', '.join(seed_books())}",
            hint="name one of them, or the path of a TOML file with a table [factors.<id>] each",
        ) from exc
    return book


def check_fields(formulas: Iterable[tuple[str, Expression]]) -> None:
    """Raise an ExpressionError for the first formula that speaks of a field bars do not have."""
    for name, expression in formulas:
        unknown = sorted(set(fields(expression)) - set(FIELDS))
        if unknown:
            raise ExpressionError(
                f"{name} uses the field ${unknown[0]}",
                rule=f"bars have {', '.join(f'${name}' for name in FIELDS)}",
                hint="use one of them, or remove the entry",
            )


def seed_factors(declared: Iterable[Seed]) -> list[Factor]:
    """Return declared factors as candidates, before they are in the registry."""
    return [
        Factor(
            id=factor.id,
            expression=factor.expression,
            state=FactorState.CANDIDATE,
            origin="seed",
            joined_session=None,
            baseline_start=None,
            watch=None,
        )
        for factor in declared
    ]


def stored_panel(
    context: Context, market: Market, session: date, as_of: datetime | None = None
) -> Panel:
    """Return the bars up to `session` as known at `as_of` (now); membership is not applied yet."""
    return context.bars.panel(market.name, as_of=as_of or NOW, last_session=session)


def tail_with_universe(
    context: Context,
    market: Market,
    panel: Panel,
    start: int,
    stop: int,
    *,
    as_of: datetime | None = None,
) -> Panel:
    """Return the rows `start` to `stop` with the members of each session as its universe.

    An asset takes part where it is a member on the session and has a bar in it, and, unless
    `universe.exclude_st` is off, is under no risk warning then.
    """
    tail = panel.rows(start, stop)
    universe = tail.universe & members_of(context, market, tail, as_of)
    if market.settings.universe.exclude_st:
        universe &= ~tail.flagged("st")
    return replace(tail, universe=universe)


def members_of(
    context: Context, market: Market, panel: Panel, as_of: datetime | None = None
) -> BoolArray:
    """Return who is a member on each session, bar or not; everybody where there is no list."""
    if market.settings.membership is None and market.lists is None:
        return np.ones((panel.n_sessions, panel.n_assets), dtype=np.bool_)
    with context.database.read() as conn:
        return membership.load(conn, market.name, as_of).universe(panel.sessions, panel.assets)
