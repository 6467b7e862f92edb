"""The concepts that the structure of an expression shows.

`miner.alignment` asks for what a concept cannot do without; this is stricter: a concept is shown
only where the tree is built the way it is computed. The names are those of `miner.concepts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from miner.units import RATIO, unit
from signals.expression import Call, Expression, fields, lookback, walk

#: From this lookback on a past return is momentum, below it reversal: the literature has one month
#: as reversal and three months as momentum (Jegadeesh 1990; Jegadeesh and Titman 1993).
MOMENTUM_SESSIONS = 40

_PRICES = frozenset({"open", "high", "low", "close", "vwap"})
_ACTIVITY = frozenset({"volume", "amount"})
_CHANGES = frozenset({"TS_PCTCHANGE", "DELTA"})
_SMOOTHERS = frozenset({"TS_MEAN", "EMA", "SMA", "DECAYLINEAR", "TS_MEDIAN", "TS_SUM"})
_COMOVEMENT = frozenset({"TS_CORR", "TS_COVARIANCE", "REGRESI", "REGBETA"})
_DEVIATIONS = frozenset({"TS_STD", "TS_VAR", "TS_MAD"})
_EXTREMES = frozenset({"TS_MAX", "TS_MIN", "TS_ARGMAX", "TS_ARGMIN"})
_PLACES = frozenset({"TS_RANK", "TS_ZSCORE"})
_PAIRS = frozenset({"SUBTRACT", "DIVIDE"})


@lru_cache(maxsize=1 << 12)  # asked by description, hypothesis and alignment in turn
def shown(expression: Expression) -> frozenset[str]:
    """Return the names of the concepts that the structure of `expression` shows."""
    found = {name for node in walk(expression) if isinstance(node, Call) for name in _of(node)}
    used = fields(expression)
    found |= {"price"} if used & _PRICES else set()
    found |= {"activity"} if used & _ACTIVITY else set()
    if "change" in found:
        found |= {"momentum" if lookback(expression) >= MOMENTUM_SESSIONS else "reversal"}
    return frozenset(found)


def shown_by(node: Call) -> frozenset[str]:
    """Return the names of the concepts that one call shows, whatever is below it."""
    return frozenset(_of(node))


def _of(node: Call) -> Iterator[str]:
    """Yield the concepts that one call shows."""
    used, op = fields(node), node.op
    of_prices = bool(used) and used <= _PRICES
    if op in _PAIRS:
        yield from _of_pair(node, *node.args)
    if op in _COMOVEMENT and all(map(fields, node.args[:2])):
        yield "correlation"
        yield from _of_price_and_volume(*node.args[:2])
    if op in _DEVIATIONS:
        yield "volatility"
    if op in _EXTREMES:
        yield "extremes"
    if op in ("TS_MAX", "TS_MIN", "TS_SKEW") and of_prices and unit(node.args[0]) == RATIO:
        yield "lottery"
    if op in _CHANGES and of_prices:
        yield "change"
    if op in _PLACES and of_prices and unit(node.args[0]) != RATIO:
        yield "trend"


def _of_pair(node: Call, left: Expression, right: Expression) -> Iterator[str]:
    """Yield the concepts that a difference or ratio of two series shows."""
    a, b = fields(left), fields(right)
    if a and b and a <= _PRICES and b <= _PRICES:
        yield from _of_prices(left, right)
    if node.op == "DIVIDE" and _is_span(right) and _reads_more_than_ends(left, right):
        yield "position"
    if node.op == "DIVIDE" and a and a <= _PRICES and b & _ACTIVITY and b <= _ACTIVITY | _PRICES:
        yield from ("liquidity",) if _is_size(left) else ()
    if node.op == "SUBTRACT":
        met = tuple(_of_price_and_volume(left, right))
        yield from (*met, "divergence") if met else ()


def _of_price_and_volume(left: Expression, right: Expression) -> Iterator[str]:
    """Yield what a series of prices and one of volumes show beside each other."""
    a, b = fields(left), fields(right)
    if a and b and ((a <= _PRICES and b <= _ACTIVITY) or (a <= _ACTIVITY and b <= _PRICES)):
        yield "price with volume"


def _of_prices(left: Expression, right: Expression) -> Iterator[str]:
    """Yield the concepts that two prices, or two averages of prices, show beside each other."""
    a, b = fields(left), fields(right)
    if {a, b} == {frozenset({"high"}), frozenset({"low"})}:
        yield "range"
    of_one_session = lookback(left) == 0 == lookback(right)
    if of_one_session and a != b:
        yield "bar shape"
    if {a, b} == {frozenset({"open"}), frozenset({"close"})}:
        opened, closed = (left, right) if "open" in a else (right, left)
        if of_one_session:
            yield "intraday"
        elif lookback(opened) == 0 and isinstance(closed, Call) and closed.op == "DELAY":
            yield "overnight"
    if a == b and any(isinstance(x, Call) and x.op == "DELAY" for x in (left, right)):
        yield "change"
    if any(isinstance(x, Call) and x.op in _SMOOTHERS and unit(x) != RATIO for x in (left, right)):
        yield "trend"


def _is_span(expression: Expression) -> bool:
    """Return whether it is a highest price less a lowest one."""
    if not isinstance(expression, Call) or expression.op != "SUBTRACT":
        return False
    top, bottom = expression.args
    if isinstance(top, Call) and isinstance(bottom, Call):
        return (top.op, bottom.op) == ("TS_MAX", "TS_MIN") and fields(expression) <= _PRICES
    return fields(top) == {"high"} and fields(bottom) == {"low"}


def _reads_more_than_ends(left: Expression, right: Expression) -> bool:
    """Return whether a difference sets a price against one end of the span `right`."""
    if not isinstance(left, Call) or left.op != "SUBTRACT":
        return False
    return bool(set(left.args) & set(right.args)) and left is not right


def _is_size(expression: Expression) -> bool:
    """Return whether it is the size of a move: an absolute value, a deviation or a range."""
    return any(
        isinstance(node, Call)
        and (
            node.op in _DEVIATIONS
            or node.op == "ABS"
            or (
                node.op in _PAIRS
                and {fields(x) for x in node.args} == {frozenset({"high"}), frozenset({"low"})}
            )
        )
        for node in walk(expression)
    )
