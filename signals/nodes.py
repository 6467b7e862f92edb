"""The nodes of an expression tree, their text and what is measured by walking over them.

Nodes are hash-consed: there is one object for each formula, so that equality is identity, a set of
expressions costs no comparison of trees, and a sub-expression that two factors share is one node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ClassVar, TypeVar
from weakref import WeakValueDictionary

#: Symbol and binding strength of the operators written between their operands.
INFIX = {
    "OR": ("||", 1),
    "AND": ("&&", 2),
    "GT": (">", 3),
    "GE": (">=", 3),
    "EQ": ("==", 3),
    "NE": ("!=", 3),
    "ADD": ("+", 4),
    "SUBTRACT": ("-", 4),
    "MULTIPLY": ("*", 5),
    "DIVIDE": ("/", 5),
}

#: Binding strength of `condition ? x : y` and of what needs no parentheses.
_CONDITIONAL, _ATOM = 0, 6

T = TypeVar("T")

_nodes: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()
_lock = Lock()


class _HashConsed(type):
    """Returns the node that is there already instead of an equal one."""

    def __call__(cls: type[T], *args: Any) -> T:
        key = (cls, *args)
        node: T | None = _nodes.get(key)
        if node is None:
            with _lock:
                node = _nodes.get(key)
                if node is None:
                    node = _nodes[key] = super().__call__(*args)  # type: ignore[misc]
        return node


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Field(metaclass=_HashConsed):
    """One field of the panel; `Field("close")` is written `$close`."""

    args: ClassVar[tuple[Expression, ...]] = ()
    n_nodes: ClassVar[int] = 1
    n_levels: ClassVar[int] = 1
    name: str

    def __str__(self) -> str:
        return f"${self.name}"

    def __reduce__(self) -> tuple[type[Field], tuple[str]]:
        return Field, (self.name,)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Constant(metaclass=_HashConsed):
    """A number: an operand, or an operator's window or parameter."""

    args: ClassVar[tuple[Expression, ...]] = ()
    n_nodes: ClassVar[int] = 1
    n_levels: ClassVar[int] = 1
    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))

    def __str__(self) -> str:
        if self.value.is_integer() and abs(self.value) < 1e15:
            return str(int(self.value))
        return repr(self.value)

    def __reduce__(self) -> tuple[type[Constant], tuple[float]]:
        return Constant, (self.value,)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Call(metaclass=_HashConsed):
    """An operator and its arguments; built by `signals.expression.call`, which canonicalises."""

    op: str
    args: tuple[Expression, ...]
    n_nodes: int = field(init=False, repr=False)
    n_levels: int = field(init=False, repr=False)
    _text: str | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        nodes = 1 + sum(arg.n_nodes for arg in self.args)
        levels = 1 + max((arg.n_levels for arg in self.args), default=0)
        object.__setattr__(self, "n_nodes", nodes)
        object.__setattr__(self, "n_levels", levels)

    def __str__(self) -> str:
        if self._text is None:
            object.__setattr__(self, "_text", _text(self.op, self.args))
        return str(self._text)

    def __reduce__(self) -> tuple[type[Call], tuple[str, tuple[Expression, ...]]]:
        return Call, (self.op, self.args)


Expression = Field | Constant | Call


def _text(op: str, args: tuple[Expression, ...]) -> str:
    """Return a call as it is written."""
    if op == "WHERE":
        condition, yes, no = args
        return f"{_operand(condition, 1)} ? {_operand(yes, 1)} : {_operand(no, _CONDITIONAL)}"
    if op not in INFIX:
        return f"{op}({', '.join(map(str, args))})"
    symbol, strength = INFIX[op]
    left, right = args
    # The operators are left-associative: an equal on the right needs its parentheses.
    return f"{_operand(left, strength)} {symbol} {_operand(right, strength + 1)}"


def _operand(node: Expression, strength: int) -> str:
    """Return the text of an operand, in parentheses if it binds weaker than `strength`."""
    op = node.op if isinstance(node, Call) else ""
    own = _CONDITIONAL if op == "WHERE" else INFIX.get(op, ("", _ATOM))[1]
    return str(node) if own >= strength else f"({node})"


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield every node, the root first, arguments from left to right."""
    yield expression
    for arg in expression.args:
        yield from walk(arg)


def size(expression: Expression) -> int:
    """Return the number of nodes."""
    return expression.n_nodes


def depth(expression: Expression) -> int:
    """Return the number of nodes on the longest path from the root; 1 for a field."""
    return expression.n_levels


def fields(expression: Expression) -> frozenset[str]:
    """Return the names of the fields that are read, without `$`."""
    return frozenset(node.name for node in walk(expression) if isinstance(node, Field))


def free_parameters(expression: Expression) -> tuple[float, ...]:
    """Return every number of the expression, windows included, in the order of `walk`."""
    return tuple(node.value for node in walk(expression) if isinstance(node, Constant))
