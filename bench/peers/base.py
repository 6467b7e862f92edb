"""What an engine of the benchmark is, and what engines that walk our tree have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from signals.expression import Call, Constant, Expression, Field, walk
from signals.operators import OPERATORS
from signals.panel import FloatArray


def least(window: int, fewest: int = 1) -> int:
    """Return how many values of a window must be there: 80 %, as in our own rule."""
    return max(fewest, math.ceil(0.8 * window))


class Engine(ABC):
    """One engine with the panel loaded in its own form.

    Parameters
    ----------
    fields : mapping of str to ndarray of float32, shape (n_sessions, n_assets)
        The panel.
    threads : int
        How many it may use.
    folder : Path
        Where it may keep files.
    """

    #: How the tables call it.
    name: ClassVar[str]
    #: Precision and way of use, for the tables.
    about: ClassVar[str]
    #: Whether results go to arrays that are kept, so that any batch fits into memory.
    whole: ClassVar[bool] = False

    def __init__(self, fields: Mapping[str, FloatArray], threads: int, folder: Path) -> None:
        self.fields = fields
        self.threads = threads
        self.folder = folder
        self.expressions: dict[str, Expression] = {}

    @abstractmethod
    def unsupported(self, expression: Expression) -> str:
        """Return why `expression` cannot be computed, "" if it can."""

    def prepare(self, names: Sequence[str]) -> None:
        """Compile what `run(names)` needs; not part of its time."""
        del names

    @abstractmethod
    def run(self, names: Sequence[str]) -> Any:
        """Compute the expressions and return the results in the engine's own form."""

    @abstractmethod
    def values(self, results: Any, names: Sequence[str]) -> dict[str, FloatArray]:
        """Return the results of `run(names)` as arrays of shape (n_sessions, n_assets)."""


class TreeEngine(Engine):
    """An engine that computes node by node, each node of an expression once.

    It has no threads of its own: two expressions at a time where two threads are allowed.
    """

    #: The operators it has: arrays of its own kind, numbers, windows as int.
    operators: ClassVar[Mapping[str, Callable[..., Any]]]

    def __init__(self, fields: Mapping[str, FloatArray], threads: int, folder: Path) -> None:
        super().__init__(fields, threads, folder)
        self.loaded = {name: self.load(values) for name, values in fields.items()}
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @abstractmethod
    def load(self, values: FloatArray) -> Any:
        """Return a field in the engine's own form."""

    @abstractmethod
    def unload(self, values: Any) -> FloatArray:
        """Return a result as an array of shape (n_sessions, n_assets)."""

    def unsupported(self, expression: Expression) -> str:
        """Return why `expression` cannot be computed, "" if it can."""
        lacking = {
            node.op
            for node in walk(expression)
            if isinstance(node, Call) and node.op not in self.operators
        }
        return f"no {', '.join(sorted(lacking))}" if lacking else ""

    def run(self, names: Sequence[str]) -> list[Any]:
        """Compute the expressions."""
        trees = [self.expressions[name] for name in names]
        if self._pool is None or len(trees) == 1:
            return [self.compute(tree) for tree in trees]
        return list(self._pool.map(self.compute, trees))

    def values(self, results: Any, names: Sequence[str]) -> dict[str, FloatArray]:
        """Return the results as arrays."""
        return {name: self.unload(one) for name, one in zip(names, results, strict=True)}

    def compute(self, tree: Expression) -> Any:
        """Compute one expression; a sub-expression that occurs twice is computed once."""
        return fold(tree, self.loaded.__getitem__, self.apply, {})

    def apply(self, op: str, args: list[Any]) -> Any:
        """Apply one operator."""
        return self.operators[op](*args)


def fold(
    node: Expression,
    leaf: Callable[[str], Any],
    apply: Callable[[str, list[Any]], Any],
    done: dict[Expression, Any],
) -> Any:
    """Compute a tree from the leaves up: `leaf(field)`, `apply(operator, arguments)`.

    Constants come as floats, windows as int.
    """
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Field):
        return leaf(node.name)
    if node not in done:
        kinds = OPERATORS[node.op].arguments
        args = [
            int(arg.value)
            if kind == "window" and isinstance(arg, Constant)
            else fold(arg, leaf, apply, done)
            for kind, arg in zip(kinds, node.args, strict=True)
        ]
        done[node] = apply(node.op, args)
    return done[node]
