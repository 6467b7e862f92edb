"""The declared seed books: classical factors a market starts with."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from miner.hypothesis import Hypothesis
from signals.errors import ConfigError
from signals.expression import Expression, fields
from signals.grammar import parse
from signals.operators import lookback


@dataclass(frozen=True, slots=True)
class Seed:
    """One factor of a seed book, oriented so that its expected RankIC is positive.

    Parameters
    ----------
    id : str
        Unique in its book.
    expression : Expression
        In canonical form.
    hypothesis : Hypothesis
        Why it should work.
    source : str
        Where it was published.
    """

    id: str
    expression: Expression
    hypothesis: Hypothesis
    source: str


def seed_books() -> tuple[str, ...]:
    """Return the names of the declared books."""
    return tuple(_declared()["books"])


def seed_book(name: str) -> tuple[Seed, ...]:
    """Return the declared book of `name`, in its declared order.

    Raises
    ------
    ConfigError
        If no such book is declared.
    """
    declared = _declared()
    if name not in declared["books"]:
        raise ConfigError(
            f"there is no seed book {name!r}",
            rule=f"the declared books are {', '.join(declared['books'])}",
            hint="name one of them, or give a path to your own",
        )
    return tuple(_seed(row, declared["factors"][row]) for row in declared["books"][name])


def parse_book(text: str) -> tuple[Seed, ...]:
    """Return the factors of a book a user wrote: the `[factors.<id>]` tables of the same form.

    Raises
    ------
    ConfigError
        If it is no TOML, or a factor lacks a key.
    ExpressionError
        If an expression is none.
    """
    try:
        rows = tomllib.loads(text)["factors"]
        return tuple(_seed(name, row) for name, row in rows.items())
    except (tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as exc:
        raise ConfigError(
            f"the seed book cannot be read: {exc}",
            rule="a book is TOML with a table [factors.<id>] for each factor",
            hint="each has expression, observation, knowledge, justification and source",
        ) from exc


@cache
def _declared() -> dict[str, Any]:
    return tomllib.loads(files("miner").joinpath("data/seed_books.toml").read_text("utf-8"))


def _seed(name: str, row: dict[str, str]) -> Seed:
    expression = parse(row["expression"])
    hypothesis = Hypothesis(
        observation=row["observation"],
        knowledge=row["knowledge"],
        justification=row["justification"],
        specification=f"assets are ranked by {expression}",
        fields=tuple(fields(expression)),
        direction=1,
        horizon=lookback(expression),
    )
    return Seed(name, expression, hypothesis, row["source"])
