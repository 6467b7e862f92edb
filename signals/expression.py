"""Expressions: frozen trees in which equal formulas are equal objects.

`call` is the only constructor that should be used for a call: it completes defaults, folds
constants, regroups and sorts what may be regrouped and sorted, and refuses what is no call. What it
returns is canonical: its text parses back into the same tree.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

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

#: The right operand (either, of + and *) that leaves the other as it is.
_NEUTRAL = {"ADD": 0.0, "SUBTRACT": 0.0, "MULTIPLY": 1.0, "DIVIDE": 1.0}


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

    Arguments that are left out get their defaults; calls on constants alone become a constant;
    operands of an associative operator are regrouped from the left, those of a commutative one are
    sorted (constants, fields, calls; then by text); x + 0, x - 0, 1 * x and x / 1 are x, 0 - x
    is -1 * x, and -1 * (x - y) is y - x.

    Raises
    ------
    ExpressionError
        If there is no such operator, or it does not take these arguments.
    """
    operator = OPERATORS.get(op)
    if operator is not None:
        args = operator.complete(args)
    wrong = fault(op, args)
    if operator is None or wrong is not None:
        assert wrong is not None  # noqa: S101 - an unknown operator is a fault
        raise ExpressionError(wrong.fact, rule=wrong.rule, hint=wrong.hint)
    if operator.associative:
        return _regroup(operator, args)
    return _single(operator, args)


def negate(expression: Expression) -> Expression:
    """Return -1 * expression."""
    return call("MULTIPLY", constant(-1.0), expression)


def windows(expression: Expression) -> tuple[int, ...]:
    """Return the window of every call that has one, in the order of `walk`."""
    return tuple(
        int(arg.value)
        for node in walk(expression)
        if isinstance(node, Call)
        for kind, arg in zip(OPERATORS[node.op].arguments, node.args, strict=True)
        if kind == "window" and isinstance(arg, Constant)
    )


def _single(operator: Operator, args: tuple[Expression, ...]) -> Expression:
    """Return one call, its constants folded and its operands sorted."""
    if operator.kind is Kind.ELEMENTWISE and all(isinstance(arg, Constant) for arg in args):
        return _fold(operator, args)
    neutral = _NEUTRAL.get(operator.name)
    if neutral is not None and args[1] == Constant(neutral):
        return args[0]
    if operator.name == "SUBTRACT" and args[0] == Constant(0.0):
        return negate(args[1])
    if operator.commutative:
        series = sum(kind == "series" for kind in operator.arguments)
        args = (*sorted(args[:series], key=_order), *args[series:])
    return Call(operator.name, args)


def _regroup(operator: Operator, args: tuple[Expression, ...]) -> Expression:
    """Return nested calls of an associative operator as one chain, constants first."""
    operands = [part for arg in args for part in _operands(operator.name, arg)]
    numbers = tuple(part for part in operands if isinstance(part, Constant))
    others: list[Expression]
    others = sorted((part for part in operands if not isinstance(part, Constant)), key=_order)
    if numbers:
        folded = reduce(lambda a, b: _fold(operator, (a, b)), numbers)
        if not others:
            return folded
        first = others[0]
        sign = operator.name == "MULTIPLY" and folded == Constant(-1.0) and len(others) == 1
        if sign and isinstance(first, Call) and first.op == "SUBTRACT":
            return call("SUBTRACT", first.args[1], first.args[0])
        if folded != Constant(_NEUTRAL.get(operator.name, math.nan)):
            others.insert(0, folded)
    return reduce(lambda a, b: Call(operator.name, (a, b)), others)


def _operands(op: str, node: Expression) -> list[Expression]:
    if isinstance(node, Call) and node.op == op:
        return [part for arg in node.args for part in _operands(op, arg)]
    return [node]


def _fold(operator: Operator, args: tuple[Expression, ...]) -> Constant:
    """Return a call on constants as the constant it gives."""
    kinds = operator.arguments
    values = [
        np.array([arg.value]) if kind == "series" else arg.value
        for kind, arg in zip(kinds, args, strict=True)
        if isinstance(arg, Constant)
    ]
    with np.errstate(all="ignore"):
        result = float(operator.kernel(*values, out=np.empty(1))[0])
    if not math.isfinite(result):
        raise ExpressionError(
            f"{Call(operator.name, args)} is not defined",
            rule="the constants of an expression are finite numbers",
            hint="look for a division by zero or an overflow between constants",
        )
    return constant(result)


def _order(node: Expression) -> tuple[int, str]:
    """Return the key operands are sorted by: constants, fields, calls; then by text."""
    kind = 0 if isinstance(node, Constant) else 1 if isinstance(node, Field) else 2
    return kind, str(node)
