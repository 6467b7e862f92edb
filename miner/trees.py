"""Places in a tree: walking over them, and putting something else there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from miner.originality import core
from signals.expression import Call, Constant, Expression, call
from signals.operators import OPERATORS

#: Position of a node from the root: argument numbers.
Path: TypeAlias = tuple[int, ...]


def nodes(expression: Expression) -> Iterator[tuple[Path, Expression]]:
    """Yield every node with its path, the root first."""
    yield (), expression
    for number, arg in enumerate(expression.args):
        for path, node in nodes(arg):
            yield (number, *path), node


def rebuilt(expression: Expression, path: Path, new: Expression) -> Expression:
    """Return `expression` in canonical form with the node at `path` replaced by `new`.

    Raises
    ------
    ExpressionError
        If an operator does not take what it is given then.
    """
    if not path:
        return new
    assert isinstance(expression, Call)  # noqa: S101 - a path comes from `nodes`
    args = list(expression.args)
    args[path[0]] = rebuilt(args[path[0]], path[1:], new)
    return call(expression.op, *args)


def shape(expression: Expression) -> str:
    """Return what is left of an expression without its numbers and what stands around its core.

    Two expressions have one shape where they are the same factor up to windows and constants.
    """
    return _shape(core(expression))


def _shape(node: Expression) -> str:
    if isinstance(node, Constant):
        return "#"
    if not isinstance(node, Call):
        return str(node)
    parts = [_shape(arg) for arg in node.args]
    if OPERATORS[node.op].commutative:
        parts.sort()
    return f"{node.op}({','.join(parts)})"
