"""Which way an expression points: whether it rises with the quantity a concept is about."""

from __future__ import annotations

from miner.traits import shown_by
from miner.units import RATIO, unit
from signals.expression import Call, Constant, Expression, Field, fields, lookback

#: Operators that rise with their first argument, whatever the others are.
_RISING = frozenset(
    {
        "TS_MEAN", "TS_SUM", "TS_MEDIAN", "EMA", "SMA", "DECAYLINEAR", "DELAY", "TS_MAX", "TS_MIN",
        "TS_QUANTILE", "RANK", "ZSCORE", "SCALE", "SIGN", "LOG", "EXP", "SQRT", "FLOOR",
    }
)  # fmt: skip
_POSITIVE = frozenset({"TS_STD", "TS_VAR", "TS_MAD", "ABS"})
#: The side of a difference or a ratio on which more of a field is more of the quantity.
_UPPER = {"range": "high", "intraday": "close", "overnight": "open"}


def orientation(expression: Expression, concept: str) -> int:
    """Return +1 where `expression` rises with the quantity of `concept`, -1 where it falls.

    The quantity is a rise (`change`), the move of a session or of a night, the width of a range,
    the place in it from its low, illiquidity, a deviation, the largest value or the skewness, or a
    correlation. 0 where it is not there, there twice with contrary signs, or under an operator
    that need not rise with it.
    """
    return _sign(expression, concept) or 0


def _sign(node: Expression, concept: str) -> int | None:
    """Return the orientation, None where the concept is not there at all."""
    if not isinstance(node, Call):
        return None
    if concept in shown_by(node):
        return _own(node, concept)
    below = [_sign(arg, concept) for arg in node.args]
    found = {sign * _through(node, i) for i, sign in enumerate(below) if sign is not None}
    if not found:
        return None
    return found.pop() if len(found) == 1 else 0


def _own(node: Call, concept: str) -> int:
    """Return the orientation of a call that shows the concept itself."""
    if concept in _UPPER:
        return 1 if _UPPER[concept] in fields(node.args[0]) else -1
    if concept == "position":
        above = node.args[0]
        return 1 if isinstance(above, Call) and above.args[1] in _ends(node)[1:] else -1
    if concept == "change" and node.op in ("SUBTRACT", "DIVIDE"):
        newer, older = map(lookback, node.args)
        return 1 if newer <= older else -1
    if concept == "lottery" and node.op == "TS_MIN":
        return 0
    return 1


def _ends(node: Call) -> tuple[Expression, ...]:
    """Return the upper and the lower end of the span that `node` divides by."""
    return node.args[1].args


def _through(node: Call, i: int) -> int:
    """Return the sign with which a call passes on its argument `i`, 0 where that is open."""
    if node.op in _RISING:
        return 1 if i == 0 else 0
    if node.op in ("ADD", "MAX", "MIN"):
        return 1
    if node.op == "SUBTRACT":
        return 1 if i == 0 else -1
    other = node.args[1 - i] if len(node.args) == 2 else None
    if node.op == "MULTIPLY" and isinstance(other, Constant):
        return 1 if other.value > 0 else -1
    if node.op == "DIVIDE" and i == 0 and other is not None:
        return 1 if _is_positive(other) else 0
    return 0


def _is_positive(node: Expression) -> bool:
    """Return whether a value is never negative: a level, its average, or a deviation."""
    if isinstance(node, Constant):
        return node.value > 0
    if isinstance(node, Field):
        return unit(node) != RATIO
    if node.op in _POSITIVE:
        return True
    kept = node.op in _RISING and node.op not in ("LOG", "ZSCORE")
    return (kept or node.op == "DIVIDE") and all(
        _is_positive(arg) for arg in (node.args if node.op == "DIVIDE" else node.args[:1])
    )
