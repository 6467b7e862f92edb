"""Expressions: frozen trees in which equal formulas are one object.

`call` is the only constructor that should be used for a call: it completes defaults, folds
constants, regroups and sorts what may be regrouped and sorted, and refuses what is no call. What it
returns is canonical: its text parses back into the same tree. `signals.algebra` knows the rules of
sums, products and signs.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from signals import algebra
from signals.errors import ExpressionError
from signals.nodes import (
    Call,
    Constant,
    Expression,
    Field,
    depth,
    fields,
    free_parameters,
    size,
    walk,
)
from signals.operators import OPERATORS, Kind, Operator, fault, lookback

__all__ = [
    "Call",
    "Constant",
    "Expression",
    "Field",
    "call",
    "constant",
    "depth",
    "fields",
    "free_parameters",
    "lookback",
    "negate",
    "size",
    "walk",
    "windows",
]


def constant(value: float) -> Constant:
    """Return a number as an expression; -0 is 0.

    Raises
    ------
    ExpressionError
        If the number is not finite.
    """
    if not math.isfinite(value):
        raise ExpressionError(
            f"the constant {value} is not finite",
            rule="the constants of an expression are finite numbers",
            hint="write it with fewer digits",
        )
    return Constant(float(value) + 0.0)


def call(op: str, *args: Expression) -> Expression:
    """Return the canonical expression of operator `op` on canonical `args`.

    Arguments that are left out get their defaults, and calls on constants alone become a constant.
    A sum is its positive terms less its negative ones, so that a - b is a + (-1 * b); a product has
    at most one constant, in front. Both are regrouped from the left and sorted (constants, fields,
    calls; then by text), as are the operands of every commutative operator. x + 0 and 1 * x are x,
    -1 * (x - y) is y - x, MAX(x, x) is x. `LT` and `LE` are `GT` and `GE` with their sides swapped.

    Raises
    ------
    ExpressionError
        If there is no such operator, or it does not take these arguments.
    """
    if op in _MIRRORED:
        return call(_MIRRORED[op], *reversed(args))
    operator = OPERATORS.get(op)
    if operator is not None:
        args = operator.complete(args)
    wrong = fault(op, args)
    if operator is None or wrong is not None:
        assert wrong is not None  # noqa: S101 - an unknown operator is a fault
        raise ExpressionError(wrong.fact, rule=wrong.rule, hint=wrong.hint)
    if operator.kind is Kind.ELEMENTWISE and all(isinstance(arg, Constant) for arg in args):
        return _fold(operator, args)
    if op in _ALGEBRA:
        return _ALGEBRA[op](*args)
    return _simpler(op, args) or _sorted(operator, args)


def negate(expression: Expression) -> Expression:
    """Return -1 * expression."""
    return call("MULTIPLY", Constant(-1.0), expression)


def windows(expression: Expression) -> tuple[int, ...]:
    """Return the window of every call that has one, in the order of `walk`."""
    return tuple(
        int(arg.value)
        for node in walk(expression)
        if isinstance(node, Call)
        for kind, arg in zip(OPERATORS[node.op].arguments, node.args, strict=True)
        if kind == "window" and isinstance(arg, Constant)
    )


_ZERO = Constant(0.0)

#: Comparisons that are written but not kept.
_MIRRORED = {"LT": "GT", "LE": "GE"}

_ALGEBRA = {
    "ADD": lambda x, y: algebra.total(((1, x), (1, y))),
    "SUBTRACT": lambda x, y: algebra.total(((1, x), (-1, y))),
    "MULTIPLY": lambda x, y: algebra.product((x, y)),
    "DIVIDE": algebra.quotient,
}


def _simpler(op: str, args: tuple[Expression, ...]) -> Expression | None:
    """Return what a choice by a constant, or a question whether 0 or 1 is not 0, comes to."""
    if op == "WHERE" and isinstance(args[0], Constant):
        return args[1] if args[0].value != 0 else args[2]
    if op == "NE" and _ZERO in args:
        other = args[0] if args[1] is _ZERO else args[1]
        if isinstance(other, Call) and OPERATORS[other.op].boolean:
            return other
    return None


def _sorted(operator: Operator, args: tuple[Expression, ...]) -> Expression:
    """Return one call, its operands regrouped and sorted where that is allowed."""
    if operator.associative:
        return _regroup(operator, args)
    if operator.commutative:
        series = sum(kind == "series" for kind in operator.arguments)
        args = (*sorted(args[:series], key=algebra.order), *args[series:])
    return Call(operator.name, args)


def _regroup(operator: Operator, args: tuple[Expression, ...]) -> Expression:
    """Return nested calls of an associative operator as one chain, a constant first."""
    operands = [part for arg in args for part in algebra.operands(operator.name, arg)]
    if operator.idempotent:
        operands = list(dict.fromkeys(operands))
    numbers = [part for part in operands if isinstance(part, Constant)]
    others: list[Expression]
    others = sorted((x for x in operands if not isinstance(x, Constant)), key=algebra.order)
    if numbers:
        others.insert(0, reduce(lambda a, b: _fold(operator, (a, b)), numbers))
    return reduce(lambda a, b: Call(operator.name, (a, b)), others)


def _fold(operator: Operator, args: tuple[Expression, ...]) -> Constant:
    """Return a call on constants as the constant it gives."""
    values = [np.array([[arg.value]]) for arg in args if isinstance(arg, Constant)]
    result = float(operator.kernel(*values, out=np.empty((1, 1)))[0, 0])
    if not math.isfinite(result):
        raise ExpressionError(
            f"{Call(operator.name, args)} is not defined",
            rule="the constants of an expression are finite numbers",
            hint="look for a division by zero or an overflow between constants",
        )
    return constant(result)
