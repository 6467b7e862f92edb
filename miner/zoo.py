"""The factor zoo: published formulas a candidate must differ from, and a user's own.

A zoo file is TOML: a `source`, where the formulas were published; a table `[factors]` of names and
expressions; and, where wanted, a table `[left_out]` of names and reasons.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from signals.errors import ConfigError, ExpressionError
from signals.expression import Expression
from signals.grammar import parse

#: The packaged zoos, in the order in which they are read.
ZOOS = ("alpha101", "alpha158")


class Entry(NamedTuple):
    """One formula of a zoo.

    Parameters
    ----------
    name : str
        Unique in its file.
    expression : Expression
        In canonical form.
    source : str
        Where it was published.
    """

    name: str
    expression: Expression
    source: str


@cache
def zoo(name: str) -> tuple[Entry, ...]:
    """Return a packaged zoo, in the order of its source.

    Raises
    ------
    ConfigError
        If no such zoo is packaged.
    """
    if name not in ZOOS:
        raise ConfigError(
            f"there is no zoo {name!r}",
            rule=f"the packaged zoos are {', '.join(ZOOS)}",
            hint="name one of them, or give a path to your own",
        )
    return parse_zoo(_packaged(name), file=f"{name}.toml")


@cache
def left_out(name: str) -> Mapping[str, str]:
    """Return what of its source a packaged zoo does not hold: name and reason."""
    reasons: dict[str, str] = tomllib.loads(_packaged(name)).get("left_out", {})
    return MappingProxyType(reasons)


def parse_zoo(text: str, *, file: str) -> tuple[Entry, ...]:
    """Return the entries of a zoo file, in its order.

    Parameters
    ----------
    text : str
        Its content. Expressions may be written in any dialect (`signals.dialects`).
    file : str
        What errors call it.

    Raises
    ------
    ConfigError
        If it is no TOML of that form.
    ExpressionError
        If an expression is none; the error names the file, the entry and the column.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _malformed(f"{file} is no TOML: {exc}") from exc
    unknown = content.keys() - {"source", "factors", "left_out"}
    if unknown:
        raise _malformed(f"{file} has the unknown key {min(unknown)!r}")
    source, rows = content.get("source"), content.get("factors")
    if not isinstance(source, str) or not source.strip():
        raise _malformed(f"{file} names no source")
    if not isinstance(rows, dict) or not rows:
        raise _malformed(f"{file} has no factors")
    return tuple(Entry(name, _expression(file, name, row), source) for name, row in rows.items())


def _packaged(name: str) -> str:
    return files("miner").joinpath(f"data/{name}.toml").read_text("utf-8")


def _expression(file: str, name: str, text: object) -> Expression:
    if not isinstance(text, str):
        raise _malformed(f"{file}, entry {name!r}: {text!r} is no text")
    try:
        return parse(text)
    except ExpressionError as error:
        raise ExpressionError(
            f"{file}, entry {name!r}: {error.fact}", rule=error.rule, hint=error.hint
        ) from None


def _malformed(fact: str) -> ConfigError:
    return ConfigError(
        fact,
        rule="a zoo is TOML with a source and a table [factors] of names and expressions",
        hint='write for instance: source = "mine", then [factors], then slow = "EMA($close, 50)"',
    )
