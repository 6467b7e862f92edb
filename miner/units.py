"""What an expression is measured in, so that a search compares like with like.

The unit of a value is the pair of exponents of (price, shares): `$close` is (1, 0), `$volume` (0,
1), `$amount` (1, 1), a return (0, 0). An expression of unit (0, 0) does not change when all prices
or all volumes of one asset are multiplied by a constant. Only such an expression may become a
factor: the level of an adjusted price depends on the adjustment's anchor, and on panels that
arrive back-adjusted it even depends on later events.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from signals.expression import Constant, Expression, Field
from signals.operators import OPERATORS

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
#: Fields whose values only tell groups of assets apart: no number, and so without a unit.
GROUPS = frozenset({"industry", "sector", "subindustry"})

_WITHIN_GROUPS = frozenset({"GROUP_MEAN", "GROUP_RANK", "GROUP_ZSCORE"})
#: How the unit of a call follows from its arguments; a call of any other operator has none.
RULES: dict[str, str] = {
    **dict.fromkeys(("ABS", "DELAY", "DELTA", "DECAYLINEAR", "EMA", "SMA", "REGRESI"), "keeps"),
    **dict.fromkeys(("TS_MEAN", "TS_SUM", "TS_STD", "TS_MAX", "TS_MIN", "TS_MEDIAN"), "keeps"),
    **dict.fromkeys(("TS_QUANTILE", "TS_MAD"), "keeps"),
    **dict.fromkeys(("SIGN", "TS_ZSCORE", "TS_RANK", "TS_ARGMAX", "TS_ARGMIN"), "scale free"),
    **dict.fromkeys(("TS_PCTCHANGE", "TS_CORR", "TS_SKEW", "TS_KURT"), "scale free"),
    **dict.fromkeys(("SEQUENCE", "AND", "OR"), "scale free"),
    **dict.fromkeys(("RANK", "ZSCORE", "SCALE", "MEAN", "STD", "SKEW", "KURT"), "pure number"),
    **dict.fromkeys(("MEDIAN", "CS_MAX", "CS_MIN"), "pure number"),
    **dict.fromkeys(("LOG", "EXP", "SQRT", "POW", "FLOOR", "PROD"), "pure number"),
    **dict.fromkeys(("ADD", "SUBTRACT", "MAX", "MIN"), "alike"),
    **dict.fromkeys(("GT", "GE", "EQ", "NE"), "compared"),
    "WHERE": "chosen",
    "MULTIPLY": "product",
    "DIVIDE": "quotient",
    "REGBETA": "quotient",
    "TS_VAR": "square",
    "TS_COVARIANCE": "product",
}


@lru_cache(maxsize=1 << 14)  # asked again for every node above
def unit(expression: Expression) -> Unit | None:
    """Return the unit of `expression`, None of what has none: price plus volume, RANK($close)."""
    if isinstance(expression, Field):
        return FIELD_UNITS.get(expression.name)
    if isinstance(expression, Constant):
        return RATIO
    if expression.op in _WITHIN_GROUPS:
        values, groups = expression.args
        told = isinstance(groups, Field) and groups.name in GROUPS
        return RATIO if told and unit(values) == RATIO else None
    kinds = OPERATORS[expression.op].arguments
    series = [x for kind, x in zip(kinds, expression.args, strict=True) if kind == "series"]
    units = [unit(x) for x in series]
    known = [u for u in units if u is not None]
    return _combined(RULES.get(expression.op, ""), series, known) if known == units else None


def is_scale_free(expression: Expression) -> bool:
    """Return whether rescaling one asset's prices or volumes leaves every value as it is."""
    return unit(expression) == RATIO


def _combined(rule: str, series: Sequence[Expression], units: Sequence[Unit]) -> Unit | None:
    """Return the unit of a call given its series and their units."""
    if rule == "scale free":
        return RATIO
    if rule == "compared":
        return None if _common(series, units) is None else RATIO
    if rule == "chosen":
        return _common(series[1:], units[1:]) if units[0] == RATIO else None
    first, last = units[0], units[-1]
    fitting = {
        "keeps": first,
        "alike": _common(series, units),
        "pure number": RATIO if all(u == RATIO for u in units) else None,
        "product": (first[0] + last[0], first[1] + last[1]),
        "quotient": (first[0] - last[0], first[1] - last[1]),
        "square": (2 * first[0], 2 * first[1]),
    }
    return fitting.get(rule)


def _common(series: Sequence[Expression], units: Sequence[Unit]) -> Unit | None:
    """Return the unit that all share, None if they do not; 0 is 0 in every unit."""
    shared = {u for x, u in zip(series, units, strict=True) if x is not _ZERO}
    return RATIO if not shared else shared.pop() if len(shared) == 1 else None


_ZERO = Constant(0.0)
