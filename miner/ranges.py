"""What values an expression can take, as far as its tree proves it.

Prices are positive, volumes are not negative, of any other field nothing is known. Rounding is left
out: a quotient of positive values counts as positive however small it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from signals.expression import Call, Constant, Expression, Field
from signals.operators import OPERATORS


class Range(NamedTuple):
    """All values of an expression lie in [low, high].

    Parameters
    ----------
    low, high : float
        Bounds; infinite where nothing is known.
    zero : bool
        Whether 0 may be among the values.
    """

    low: float
    high: float
    zero: bool

    @property
    def positive(self) -> bool:
        """Whether every value is above 0."""
        return self.low >= 0 and not self.zero

    @property
    def of_one_sign(self) -> bool:
        """Whether no value is 0, and no two differ in sign."""
        return (self.low >= 0 or self.high <= 0) and not self.zero


_ANY = Range(-math.inf, math.inf, zero=True)
_POSITIVE = Range(0.0, math.inf, zero=False)
_NOT_NEGATIVE = Range(0.0, math.inf, zero=True)
_CORRELATION = Range(-1.0, 1.0, zero=True)
_RANK = Range(0.0, 1.0, zero=False)

_FIELDS = dict.fromkeys(("open", "high", "low", "close", "vwap"), _POSITIVE) | dict.fromkeys(
    ("volume", "amount"), _NOT_NEGATIVE
)
#: Ranges that do not depend on the arguments.
_FIXED = (
    dict.fromkeys(("RANK", "TS_RANK", "GROUP_RANK"), _RANK)
    | dict.fromkeys(("TS_CORR", "SIGN"), _CORRELATION)
    | dict.fromkeys(("TS_STD", "TS_VAR", "TS_MAD", "STD", "SQRT"), _NOT_NEGATIVE)
    | dict.fromkeys(("TS_ARGMAX", "TS_ARGMIN"), _NOT_NEGATIVE)
)
#: Operators whose values lie between values of their first argument.
_BETWEEN = frozenset({"DELAY", "TS_MEAN", "TS_MAX", "TS_MIN", "TS_MEDIAN", "TS_QUANTILE"}) | {
    *("DECAYLINEAR", "EMA", "SMA", "MEAN", "MEDIAN", "CS_MAX", "CS_MIN", "GROUP_MEAN"),
}


@lru_cache(maxsize=1 << 13)
def value_range(node: Expression) -> Range:
    """Return the range of the values of `node`."""
    if isinstance(node, Constant):
        return Range(node.value, node.value, zero=node.value == 0)
    if isinstance(node, Field):
        return _FIELDS.get(node.name, _ANY)
    if node.op in _FIXED:
        return _FIXED[node.op]
    if OPERATORS[node.op].boolean:
        return Range(0.0, 1.0, zero=True)
    if node.op in _BETWEEN:
        return value_range(node.args[0])
    return _computed(node)


def _computed(node: Call) -> Range:
    """Return the range of a call that computes with the ranges of its arguments."""
    grown = _growth(node) if node.op == "ADD" else None
    if grown is not None:
        return grown
    rule = _RULES.get(node.op)
    ranges = [value_range(arg) for arg in node.args]
    return _ANY if rule is None else rule(ranges[0], ranges[-1])


def _growth(node: Call) -> Range | None:
    """Return the range of 1 + TS_PCTCHANGE(x, n), which is x over an earlier x."""
    one, change = node.args
    if one is Constant(1.0) and isinstance(change, Call) and change.op == "TS_PCTCHANGE":
        base = value_range(change.args[0])
        return _quotient(base, base)
    return None


def _sum(x: Range, y: Range) -> Range:
    alike = (x.low >= 0 and y.low >= 0) or (x.high <= 0 and y.high <= 0)
    return _bounded(x.low + y.low, x.high + y.high, zero=not alike or (x.zero and y.zero))


def _product(x: Range, y: Range) -> Range:
    ends = [a * b if a and b else 0.0 for a, b in product(x[:2], y[:2])]
    return Range(min(ends), max(ends), zero=x.zero or y.zero)


def _quotient(x: Range, y: Range) -> Range:
    """Return the range of x / y; where y is 0 there is no value."""
    if y.low == y.high != 0:
        return _product(x, Range(1.0 / y.low, 1.0 / y.low, zero=False))
    if y.low < 0 < y.high:
        return Range(-math.inf, math.inf, x.zero)
    if y.high <= 0:
        x = Range(-x.high, -x.low, x.zero)
    low = 0.0 if x.low >= 0 else -math.inf
    return Range(low, 0.0 if x.high <= 0 else math.inf, x.zero)


def _extreme(chosen: Callable[[float, float], float], x: Range, y: Range) -> Range:
    return _bounded(chosen(x.low, y.low), chosen(x.high, y.high), zero=x.zero or y.zero)


def _magnitude(x: Range) -> Range:
    ends = (abs(x.low), abs(x.high))
    return Range(0.0 if x.low <= 0 <= x.high else min(ends), max(ends), x.zero)


def _window_sum(x: Range) -> Range:
    """Return the range of a sum of one value or more."""
    low = x.low if x.low >= 0 else -math.inf
    return Range(low, x.high if x.high <= 0 else math.inf, x.zero)


def _bounded(low: float, high: float, *, zero: bool) -> Range:
    return Range(low, high, zero and low <= 0 <= high)


#: Range of a call from the ranges of its first and its last argument.
_RULES: dict[str, Callable[[Range, Range], Range]] = {
    "ADD": _sum,
    "SUBTRACT": lambda x, y: _sum(x, Range(-y.high, -y.low, y.zero)),
    "MULTIPLY": _product,
    "DIVIDE": _quotient,
    "MAX": lambda x, y: _extreme(max, x, y),
    "MIN": lambda x, y: _extreme(min, x, y),
    "ABS": lambda x, _: _magnitude(x),
    "TS_SUM": lambda x, _: _window_sum(x),
}
