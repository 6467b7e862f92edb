"""Sums, products and signs in their one form, so that rewriting a formula does not renew it.

A sum is a chain of its positive terms, less its negative ones; a product is a chain with at most
one constant, in front. A sign moves outwards where that costs no node: into a constant, a
difference, or the numerator of a quotient. Only rules that hold for every finite value are applied:
nothing moves across a division, and like terms are not collected. A sum is added up in its one
order: where terms cancel, the last bits may be others than those of the order it was written in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache, reduce

from signals.errors import ExpressionError
from signals.nodes import Call, Constant, Expression, Field


def order(node: Expression) -> tuple[int, str]:
    """Return the key operands are sorted by: constants, fields, calls; then by text."""
    kind = 0 if isinstance(node, Constant) else 1 if isinstance(node, Field) else 2
    return kind, str(node)


def operands(op: str, node: Expression) -> list[Expression]:
    """Return the operands of nested calls of `op`, from left to right; the node if it is none."""
    found: list[Expression] = []
    left = [node]
    while left:
        part = left.pop()
        if isinstance(part, Call) and part.op == op:
            left.extend(reversed(part.args))
        else:
            found.append(part)
    return found


def number(value: float) -> Constant:
    """Return a constant; one that is not finite is an ExpressionError."""
    if not math.isfinite(value):
        raise ExpressionError(
            f"a constant of the expression comes to {value}",
            rule="the constants of an expression are finite numbers",
            hint="look for a division by zero or an overflow between constants",
        )
    return Constant(value + 0.0)


def total(terms: Iterable[tuple[int, Expression]]) -> Expression:
    """Return the sum of terms, each with its sign (1 or -1)."""
    constant = 0.0
    parts: dict[int, list[Expression]] = {1: [], -1: []}
    for sign, term in terms:
        for side, part in _terms(sign, term):
            if isinstance(part, Constant):
                constant += side * part.value
            else:
                parts[side].append(part)
    if constant:
        parts[-1 if constant < 0 else 1].append(number(abs(constant)))
    added = sorted(parts[1], key=order)
    taken = sorted(parts[-1], key=order)
    if not taken and not added:
        return Constant(0.0)
    if not added:
        return negated(_chain("ADD", taken))
    return reduce(lambda a, b: Call("SUBTRACT", (a, b)), taken, _chain("ADD", added))


def product(factors: Iterable[Expression]) -> Expression:
    """Return the product of factors."""
    constant = 1.0
    others: list[Expression] = []
    for part in (part for factor in factors for part in operands("MULTIPLY", factor)):
        if isinstance(part, Constant):
            constant *= part.value
        else:
            sign, plainer = _plainer(part)
            constant *= sign
            others.append(plainer)
    if not others:
        return number(constant)
    others.sort(key=order)
    if constant < 0:
        turned = ((i, _turned(part)) for i, part in enumerate(others))
        place, other = next(((i, x) for i, x in turned if x is not None), (0, None))
        if other is not None:
            constant, others[place] = -constant, other
            others.sort(key=order)
    if constant != 1.0:
        others.insert(0, number(constant))
    return _chain("MULTIPLY", others)


def quotient(x: Expression, y: Expression) -> Expression:
    """Return x / y, with no sign in the denominator and none alone in the numerator."""
    if y is Constant(1.0):
        return x
    if isinstance(x, Constant) and isinstance(y, Constant):
        return number(x.value / y.value if y.value else math.nan)
    if _leading(y) < 0:
        return quotient(negated(x), negated(y))
    if isinstance(x, Call) and operands("MULTIPLY", x)[0] is Constant(-1.0):
        return negated(quotient(negated(x), y))
    return Call("DIVIDE", (x, y))


def negated(node: Expression) -> Expression:
    """Return -1 times `node`."""
    turned = _turned(node)
    return _minus(node) if turned is None else turned


@lru_cache(maxsize=1 << 12)  # asked again for every node above
def _turned(node: Expression) -> Expression | None:
    """Return -1 times `node` where the sign costs no node, else None."""
    if isinstance(node, Constant):
        return number(0.0 - node.value)
    if not isinstance(node, Call):
        return None
    if node.op == "SUBTRACT":
        return total([(-1, node)])
    if node.op == "DIVIDE":
        turned = _turned(node.args[0])
        return None if turned is None else quotient(turned, node.args[1])
    if node.op == "MULTIPLY":
        parts = operands("MULTIPLY", node)
        if any(_turned(part) is not None for part in parts):
            return product((Constant(-1.0), *parts))
    return None


@lru_cache(maxsize=1 << 12)
def _plainer(node: Expression) -> tuple[int, Expression]:
    """Return the plainer of `node` and its turned form, with the sign that makes it `node`."""
    turned = None if isinstance(node, Constant) else _turned(node)
    if turned is None:
        return 1, node
    plainer = min((node, turned), key=lambda x: (_leading(x) < 0, str(x)))
    return (1, node) if plainer is node else (-1, plainer)


def _terms(sign: int, node: Expression) -> list[tuple[int, Expression]]:
    """Return the signed terms of a sum; a term that may turn is turned to its plainer form."""
    if isinstance(node, Call) and node.op in ("ADD", "SUBTRACT"):
        left, right = node.args
        other = sign if node.op == "ADD" else -sign
        return [*_terms(sign, left), *_terms(other, right)]
    turn, plainer = _plainer(node)
    return [(sign, node)] if turn > 0 else _terms(-sign, plainer)


def _leading(node: Expression) -> float:
    """Return the constant in front of a product or of its quotient, 1 where there is none."""
    while isinstance(node, Call) and node.op in ("DIVIDE", "MULTIPLY"):
        node = node.args[0]
    return node.value if isinstance(node, Constant) else 1.0


def _minus(node: Expression) -> Expression:
    """Return -1 * node, for a node that cannot turn."""
    return _chain("MULTIPLY", [Constant(-1.0), *operands("MULTIPLY", node)])


def _chain(op: str, parts: list[Expression]) -> Expression:
    return reduce(lambda a, b: Call(op, (a, b)), parts)
