"""Coats: operators around a factor that leave how it ranks assets as it is.

A coat is taken off only where the tree proves that it is strictly monotone on every value its
argument can take, and missing exactly where the argument is. So LOG(x) is a coat where x is made
of prices and positive constants, and none where x may be 0, because the logarithm would drop such
assets from the ranking. Proven is the order of exact values; as with any sum, rounding may make
ties of values that differ in their last bits, powers may leave the range of a float, and ZSCORE has
no value where all assets are equal.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from miner.ranges import value_range
from signals.algebra import negated, operands
from signals.expression import Call, Constant, Expression, call, size

#: Coats of one session: they move all its assets alike, but no two sessions.
_OF_SESSION = frozenset({"RANK", "ZSCORE", "SCALE"})
#: Largest |x| for which e to the power of x is an ordinary float32.
_EXPONENT = 80.0

#: 1 where an expression ranks as its inner one does, -1 where it ranks in the contrary order.
Peeled: TypeAlias = tuple[int, Expression]


def core(expression: Expression) -> Expression:
    """Return what is left when the root is stripped of all that leaves |RankIC| as it is.

    RANK, ZSCORE and SCALE of x, x times or over a number, x plus or minus a number rank assets as x
    does, or in the contrary order; so do LOG, SQRT, EXP, powers and the reciprocal where x is
    proven to lie where they are monotone. x over an earlier x is TS_PCTCHANGE, a variance is a
    deviation; of x - y and y - x one is chosen, and of x / y and y / x if neither changes its sign.
    """
    return peel(expression)[1]


@lru_cache(maxsize=1 << 13)
def peel(expression: Expression, *, of_session: bool = True) -> Peeled:
    """Return the direction and the core.

    Parameters
    ----------
    expression : Expression
        In canonical form.
    of_session : bool
        Whether coats that compare assets of one session are taken off too: right under what
        compares assets, wrong under what compares sessions.
    """
    sign, inner = 1, expression
    while isinstance(inner, Call):
        if inner.op in _OF_SESSION:
            coat = _session_coat(inner) if of_session else None
        else:
            coat = _coat(inner) or _turned(inner)
        if coat is None:
            break
        sign, inner = sign * coat[0], coat[1]
    return sign, inner


def _turned(node: Call) -> Peeled | None:
    """Return -1 times `node` where that costs no node and is first by its text."""
    if node.op not in ("SUBTRACT", "MULTIPLY", "DIVIDE") or isinstance(node.args[0], Constant):
        return None
    turned = negated(node)
    return (-1, turned) if (size(turned), str(turned)) < (size(node), str(node)) else None


def _session_coat(node: Call) -> Peeled | None:
    if node.op != "SCALE":
        return 1, node.args[0]
    target = node.args[1]
    value = target.value if isinstance(target, Constant) else 0.0
    return (_sign(value), node.args[0]) if value else None


def _coat(node: Call) -> Peeled | None:
    """Return the argument `node` is a monotone function of at each value, if it is one."""
    if node.op in ("ADD", "SUBTRACT"):
        return _sum(node)
    if node.op == "MULTIPLY":
        return _without_factor(node)
    if node.op == "DIVIDE":
        return _quotient(node)
    if node.op == "POW":
        return _power(*node.args)
    if node.op == "TS_VAR":
        return 1, call("TS_STD", *node.args)
    inner = node.args[0]
    known = value_range(inner)
    monotone = {
        "LOG": known.positive,
        "SQRT": known.low >= 0,
        "ABS": known.low >= 0,
        "EXP": known.low >= -_EXPONENT and known.high <= _EXPONENT,
    }
    return (1, inner) if monotone.get(node.op, False) else None


def _sum(node: Call) -> Peeled | None:
    """Return a sum without its number."""
    number = _number_of(node)
    if number:
        return 1, call("SUBTRACT", node, Constant(number))
    return None


def _number_of(node: Expression) -> float:
    """Return the number in a sum, 0 where there is none."""
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Call) and node.op in ("ADD", "SUBTRACT"):
        left, right = map(_number_of, node.args)
        return left + (right if node.op == "ADD" else -right)
    return 0.0


def _without_factor(node: Expression) -> Peeled | None:
    """Return a product without its number."""
    number = operands("MULTIPLY", node)[0]
    if not isinstance(number, Constant) or number is node or not number.value:
        return None
    rest = operands("MULTIPLY", node)[1:]
    inner = rest[0]
    for part in rest[1:]:
        inner = call("MULTIPLY", inner, part)
    return _sign(number.value), inner


def _quotient(node: Call) -> Peeled | None:
    above, below = node.args
    if isinstance(below, Constant):
        return _sign(below.value), above
    if isinstance(above, Constant):
        return _reciprocal(above.value, below)
    for place, part in enumerate(node.args):
        bare = _without_factor(part)
        if bare is not None:
            pair = (bare[1], below) if place == 0 else (above, bare[1])
            return bare[0], call("DIVIDE", *pair)
    return _ratio(above, below)


def _reciprocal(number: float, below: Expression) -> Peeled | None:
    """Return x of number / x where x keeps its sign, else 1 / x."""
    if number and value_range(below).of_one_sign:
        return -_sign(number), below
    one = call("DIVIDE", Constant(1.0), below)
    return (_sign(number), one) if number not in (0.0, 1.0) else None


def _ratio(above: Expression, below: Expression) -> Peeled | None:
    """Return a quotient as a change, or the other way up."""
    if isinstance(below, Call) and below.op == "DELAY" and below.args[0] is above:
        return 1, call("TS_PCTCHANGE", above, below.args[1])
    whole = value_range(above).of_one_sign and value_range(below).of_one_sign
    if whole and _turns(above, below):
        return -1, call("DIVIDE", below, above)
    return None


def _turns(above: Expression, below: Expression) -> bool:
    """Return whether a quotient of values that keep their sign is written the other way up."""
    if isinstance(above, Call) and above.op == "DELAY" and above.args[0] is below:
        return True
    return str(below) < str(above)


def _power(base: Expression, exponent: Expression) -> Peeled | None:
    if not isinstance(exponent, Constant) or exponent.value == 0:
        return None
    known, number = value_range(base), exponent.value
    rising = number > 0 and (known.low >= 0 or number % 2 == 1)
    if rising:
        return 1, base
    return (-1, base) if number < 0 and known.positive else None


def _sign(value: float) -> int:
    return 1 if value > 0 else -1
