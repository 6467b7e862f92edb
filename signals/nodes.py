"""The nodes of an expression tree, their text and the measures that are sums over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

#: Symbol and binding strength of the operators written between their operands.
INFIX = {
    "ADD": ("+", 1),
    "SUBTRACT": ("-", 1),
    "MULTIPLY": ("*", 2),
    "DIVIDE": ("/", 2),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the panel; `Field("close")` is written `$close`."""

    args: ClassVar[tuple[Expression, ...]] = ()
    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Constant:
    """A number: an operand, or an operator's window or parameter."""

    args: ClassVar[tuple[Expression, ...]] = ()
    value: float

    def __str__(self) -> str:
        if self.value.is_integer() and abs(self.value) < 1e15:
            return str(int(self.value))
        return repr(float(self.value))


@dataclass(frozen=True, slots=True)
class Call:
    """An operator and its arguments; built by `signals.expression.call`, which canonicalises."""

    op: str
    args: tuple[Expression, ...]

    def __str__(self) -> str:
        if self.op not in INFIX:
            return f"{self.op}({', '.join(map(str, self.args))})"
        symbol, strength = INFIX[self.op]
        left, right = self.args
        # The operators are left-associative: an equal on the right needs its parentheses.
        return f"{_operand(left, strength)} {symbol} {_operand(right, strength + 1)}"


Expression = Field | Constant | Call


def _operand(node: Expression, strength: int) -> str:
    """Return the text of an operand, in parentheses if it binds weaker than `strength`."""
    bare = not isinstance(node, Call) or INFIX.get(node.op, ("", 3))[1] >= strength
    return str(node) if bare else f"({node})"


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield every node, the root first, arguments from left to right."""
    yield expression
    for arg in expression.args:
        yield from walk(arg)


def size(expression: Expression) -> int:
    """Return the number of nodes."""
    return sum(1 for _ in walk(expression))


def depth(expression: Expression) -> int:
    """Return the number of nodes on the longest path from the root; 1 for a field."""
    return 1 + max(map(depth, expression.args), default=0)


def fields(expression: Expression) -> frozenset[str]:
    """Return the names of the fields that are read, without `$`."""
    return frozenset(node.name for node in walk(expression) if isinstance(node, Field))


def free_parameters(expression: Expression) -> tuple[float, ...]:
    """Return every number of the expression, windows included, in the order of `walk`."""
    return tuple(node.value for node in walk(expression) if isinstance(node, Constant))
