"""Expressions as a list of steps that is run on one block of sessions after the other.

A block is computed from the rows behind it that its windows reach, each node from those that its
users need and no more. As a tail of the panel gives the same bits as the whole, so does a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from signals.expression import Call, Constant, Expression, Field, lookback
from signals.jit import jit
from signals.operators import OPERATORS, Kind, Operator
from signals.panel import BoolArray, FloatArray


class Workspace:
    """Memory of the blocks of one thread; what was given back last is taken first."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._free: list[FloatArray] = []

    def take(self, size: int) -> FloatArray:
        """Return an array of at least `size` arbitrary values."""
        array = self._free.pop() if self._free else None
        return array if array is not None and array.size >= size else self._new(size)

    def give(self, array: FloatArray) -> None:
        """Take back an array that nobody will look at any more."""
        self._free.append(array)

    def _new(self, size: int) -> FloatArray:
        return np.empty(size, dtype=self._dtype)


@dataclass(frozen=True, slots=True)
class _Step:
    """One node.

    Parameters
    ----------
    node : Expression
        What is computed.
    operator : Operator or None
        Of a call.
    args : tuple of (int or None, float)
        Its arguments: the place of a step, or None and a number.
    reach : int
        Rows before the block that are computed as well, for those who use them or to fill the
        operator's own window.
    behind : int
        Rows at the start of the panel that lack the lookback.
    target : ndarray or None
        Where the values of a root go.
    only : bool
        Whether the values go nowhere else.
    frees : tuple of int
        Places of the steps whose values are used here for the last time.
    """

    node: Expression
    operator: Operator | None
    args: tuple[tuple[int | None, float], ...]
    reach: int
    behind: int
    target: FloatArray | None
    only: bool
    frees: tuple[int, ...]


class Program:
    """The steps of some expressions, shared sub-expressions once.

    Parameters
    ----------
    roots : mapping of Expression to ndarray of shape (n_sessions - first, n_assets)
        What is wanted, and the arrays it goes to.
    field : callable of str to ndarray of shape (n_sessions, n_assets)
        A field of the panel: contiguous, finite or NaN.
    universe : ndarray of bool, shape (n_sessions, n_assets)
        Of the panel.
    origin : int
        Absolute number of the panel's first session.
    first : int
        Row of the panel that the arrays start with.
    """

    def __init__(
        self,
        roots: Mapping[Expression, FloatArray],
        field: Callable[[str], FloatArray],
        universe: BoolArray,
        *,
        origin: int,
        first: int,
    ) -> None:
        self._universe = universe
        self._everyone = bool(universe.all())
        self._origin = origin
        self._first = first
        self._steps = _steps(roots)
        self._fields = {
            step.node: field(step.node.name) for step in self._steps if isinstance(step.node, Field)
        }

    @property
    def mean_reach(self) -> float:
        """Rows that are computed again before a block, on average over the steps."""
        return sum(step.reach for step in self._steps) / max(len(self._steps), 1)

    def run(self, begin: int, end: int, workspace: Workspace) -> None:
        """Fill in the rows `begin` to `end` of the panel."""
        values: list[FloatArray] = []
        memory: list[FloatArray | None] = []
        starts: list[int] = []
        for step in self._steps:
            start = max(0, begin - step.reach)
            if step.node in self._fields:
                out = self._fields[step.node][start:end]
                memory.append(None)
            else:
                out, taken = self._output(step, start, begin, end, workspace)
                memory.append(taken)
                args = [
                    number if place is None else values[place][start - starts[place] :]
                    for place, number in step.args
                ]
                self._compute(step, args, start, out)
            values.append(out)
            starts.append(start)
            if step.target is not None:
                self._finish(step, out[begin - start :], begin, end)
            for place in step.frees:
                given = memory[place]
                if given is not None:
                    workspace.give(given)

    def _output(
        self, step: _Step, start: int, begin: int, end: int, workspace: Workspace
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return where a step's values go, and the memory that is given back later."""
        if step.target is not None and step.only and start == begin:
            return step.target[begin - self._first : end - self._first], None
        shape = (end - start, self._universe.shape[1])
        taken = workspace.take(shape[0] * shape[1])
        return taken[: shape[0] * shape[1]].reshape(shape), taken

    def _compute(self, step: _Step, args: list[Any], start: int, out: FloatArray) -> None:
        operator = step.operator
        if operator is None:
            out[:] = step.args[0][1]
        elif operator.kind is Kind.ELEMENTWISE:
            operator.kernel(*args, out=out)
        elif operator.kind is Kind.CROSS_SECTION:
            operator.kernel(*args, universe=self._universe[start : start + len(out)], out=out)
        else:
            operator.kernel(*args, origin=self._origin + start, out=out)
        if start < step.behind:
            out[: step.behind - start] = np.nan

    def _finish(self, step: _Step, values: FloatArray, begin: int, end: int) -> None:
        """Copy the rows of a root, NaN outside the universe."""
        target: Any = step.target
        rows = target[begin - self._first : end - self._first]
        restricted = step.operator is not None and step.operator.kind is Kind.CROSS_SECTION
        if not (restricted or self._everyone):
            _restrict(values, self._universe[begin:end], rows)
        elif not np.shares_memory(values, rows):
            np.copyto(rows, values)


def _steps(roots: Mapping[Expression, FloatArray]) -> list[_Step]:
    order = list(dict.fromkeys(node for root in roots for node in _series(root)))
    place = {node: i for i, node in enumerate(order)}
    wanted = dict.fromkeys(order, 0)  # rows before the block that users read
    reach = dict.fromkeys(order, 0)
    last = dict(place)  # the step that uses a node last
    for node in reversed(order):
        reach[node] = wanted[node] + _own_lookback(node)
        for arg in node.args:
            if arg in place:
                wanted[arg] = max(wanted[arg], reach[node])
                last[arg] = max(last[arg], place[node])
    frees: list[list[int]] = [[] for _ in order]
    for node, step in last.items():
        frees[step].append(place[node])
    return [
        _Step(
            node=node,
            operator=OPERATORS[node.op] if isinstance(node, Call) else None,
            args=_arguments(node, place),
            reach=reach[node],
            behind=lookback(node),
            target=roots.get(node),
            only=last[node] == i,
            frees=tuple(frees[i]),
        )
        for i, node in enumerate(order)
    ]


def _series(root: Expression) -> Iterator[Expression]:
    """Yield the nodes that have a value per asset and session, arguments before their call."""
    for arg in root.args:
        if not isinstance(arg, Constant):
            yield from _series(arg)
    yield root


def _own_lookback(node: Expression) -> int:
    return OPERATORS[node.op].lookback(node.args) if isinstance(node, Call) else 0


def _arguments(
    node: Expression, place: Mapping[Expression, int]
) -> tuple[tuple[int | None, float], ...]:
    """Return the arguments of a call; of a constant that is a root, its number."""
    if isinstance(node, Constant):
        return ((None, node.value),)
    if not isinstance(node, Call):
        return ()
    kinds = OPERATORS[node.op].arguments
    return tuple(
        (place[arg], 0.0)
        if not isinstance(arg, Constant)
        else (None, int(arg.value) if kind == "window" else arg.value)
        for kind, arg in zip(kinds, node.args, strict=True)
    )


@jit
def _restrict(values: FloatArray, universe: BoolArray, out: FloatArray) -> None:
    """Copy what is in the universe, NaN elsewhere; `out` may be `values`."""
    for t in range(len(values)):
        row, member, target = values[t], universe[t], out[t]
        for a in range(row.size):
            target[a] = row[a] if member[a] else np.nan
