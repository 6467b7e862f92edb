"""What an expression is measured in, so that a search compares like with like.

The unit of a value is the pair of exponents of (price, shares): `$close` is (1, 0), `$volume` (0,
1), `$amount` (1, 1), a return (0, 0). An expression of unit (0, 0) does not change when all prices
or all volumes of one asset are multiplied by a constant. Only such an expression may become a
factor: the level of an adjusted price depends on the adjustment's anchor, and on panels that
arrive back-adjusted it even depends on later events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from signals.expression import Call, Constant, Expression, Field

#: Exponents of (price, shares).
Unit: TypeAlias = tuple[int, int]

RATIO: Unit = (0, 0)
PRICE: Unit = (1, 0)
SHARES: Unit = (0, 1)
MONEY: Unit = (1, 1)

FIELD_UNITS: dict[str, Unit] = {
    "open": PRICE,
    "high": PRICE,
    "low": PRICE,
    "close": PRICE,
    "vwap": PRICE,
    "volume": SHARES,
    "amount": MONEY,
}

#: How the unit of a call follows from its arguments; a call of any other operator has none.
RULES: dict[str, str] = {
    **dict.fromkeys(("ABS", "DELAY", "DELTA", "DECAYLINEAR", "EMA"), "keeps"),
    **dict.fromkeys(("TS_MEAN", "TS_SUM", "TS_STD", "TS_MAX", "TS_MIN", "TS_MEDIAN"), "keeps"),
    **dict.fromkeys(("SIGN", "TS_ZSCORE", "TS_RANK", "TS_ARGMAX", "TS_ARGMIN"), "scale free"),
    **dict.fromkeys(("TS_PCTCHANGE", "TS_CORR"), "scale free"),
    **dict.fromkeys(("RANK", "ZSCORE", "LOG", "EXP", "SQRT", "POW"), "pure number"),
    **dict.fromkeys(("ADD", "SUBTRACT", "MAX", "MIN"), "alike"),
    "MULTIPLY": "product",
    "DIVIDE": "quotient",
    "TS_VAR": "square",
    "TS_COVARIANCE": "product",
}


def unit(expression: Expression) -> Unit | None:
    """Return the unit of `expression`, None of what has none: price plus volume, RANK($close)."""
    if isinstance(expression, Field):
        return FIELD_UNITS.get(expression.name)
    if isinstance(expression, Constant):
        return RATIO
    units = [unit(arg) for arg in expression.args]
    known = [u for u in units if u is not None]
    return _combined(expression, known) if len(known) == len(units) else None


def is_scale_free(expression: Expression) -> bool:
    """Return whether rescaling one asset's prices or volumes leaves every value as it is."""
    return unit(expression) == RATIO


def _combined(node: Call, units: Sequence[Unit]) -> Unit | None:
    """Return the unit of `node` given those of its arguments."""
    first = units[0]
    fitting = {
        "keeps": first,
        "scale free": RATIO,
        "pure number": RATIO if all(u == RATIO for u in units) else None,
        "alike": first if all(u == first for u in units) else None,
        "product": (first[0] + units[-1][0], first[1] + units[-1][1]),
        "quotient": (first[0] - units[-1][0], first[1] - units[-1][1]),
        "square": (2 * first[0], 2 * first[1]),
    }
    return fitting.get(RULES.get(node.op, ""))
