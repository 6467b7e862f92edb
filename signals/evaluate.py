"""Evaluating expressions on a panel: whole, or the tail that a day needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from signals.errors import DataError, ExpressionError
from signals.expression import Expression, lookback
from signals.jit import jit
from signals.panel import BoolArray, FloatArray, Panel
from signals.program import Program, Workspace

T = TypeVar("T")

#: Bytes of values that are kept at a time.
_SLAB = 1 << 26


def evaluate(
    expressions: Sequence[Expression],
    panel: Panel,
    *,
    first: int = 0,
    dtype: npt.DTypeLike = np.float64,
    threads: int = 1,
) -> list[FloatArray]:
    """Return the factor values of each expression, from row `first` of the panel on.

    What is evaluated more than once on a panel is cheaper through one `Evaluator`.

    Parameters
    ----------
    expressions : sequence of Expression
        Canonical ones; sub-expressions they share are computed once.
    panel : Panel
        Only rows from `first` minus the longest lookback on are read. A panel without a field
        `vwap` gives the typical price (high + low + close) / 3 for it.
    first : int
        First row wanted. Values are bit for bit those of a call with `first=0`.
    dtype : float32 or float64
        Of what is returned and of intermediate values; windows are summed in float64 anyway.
    threads : int
        Parts of the panel computed at a time; the values do not depend on it.

    Returns
    -------
    list of ndarray of shape (n_sessions - first, n_assets)
        NaN where the lookback is not there yet, the asset is outside the universe of the session,
        or the formula is not defined: fewer than 80 % of a window finite, a division by zero, an
        overflow. Never ±inf. Time-series operators run on all assets, cross-sectional ones on the
        universe of each session.

    Raises
    ------
    ExpressionError
        If a field is not in the panel.
    DataError
        If `first` is not a row of the panel.
    """
    return Evaluator(panel, dtype=dtype, threads=threads).evaluate(expressions, first=first)


class Evaluator:
    """Evaluates expressions on one panel, and keeps its fields and its memory between calls.

    Threads share the sessions: each takes a block, and what its windows reach behind it, which
    gives the same bits. An evaluator is used by one caller at a time.

    Parameters
    ----------
    panel, dtype, threads
        As of `evaluate`.
    """

    def __init__(
        self, panel: Panel, *, dtype: npt.DTypeLike = np.float64, threads: int = 1
    ) -> None:
        self.panel = panel
        self.dtype = np.dtype(dtype)
        # kernels are compiled for writable arrays, and nothing else
        self._universe: BoolArray = np.require(panel.universe, requirements=["C", "W"])
        self._fields: dict[str, FloatArray] = {}
        self._threads = max(threads, 1)
        self._helpers = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._lock = Lock()
        self._workspaces: list[Workspace] = []
        self._results: dict[tuple[int, int], list[FloatArray]] = {}

    def evaluate(
        self,
        expressions: Sequence[Expression],
        *,
        first: int = 0,
        out: Sequence[FloatArray] | None = None,
    ) -> list[FloatArray]:
        """Return the values of each expression: arrays that are the caller's own.

        With `out`, an array of the result's shape and dtype for each expression, no memory is
        taken: fresh pages cost more than most kernels.
        """
        shape = self._shape(first)
        if out is None:
            out = [np.empty(shape, dtype=self.dtype) for _ in expressions]
        for array in out:
            if array.shape != shape or array.dtype != self.dtype:
                raise DataError(
                    f"out has shape {array.shape} and dtype {array.dtype}",
                    rule=f"the values have shape {shape} and dtype {self.dtype}",
                )
        values = dict(zip(expressions, out, strict=True))
        self._fill(values, first)
        for expression, array in zip(expressions, out, strict=True):
            if values[expression] is not array:  # the expression is given twice
                array[:] = values[expression]
        return list(out)

    def map(
        self,
        function: Callable[[Expression, FloatArray], T],
        expressions: Sequence[Expression],
        *,
        first: int = 0,
    ) -> list[T]:
        """Return `function(expression, values)` of each.

        The array is used again as soon as `function` returns; it may be called from any thread.
        """
        shape = self._shape(first)
        arrays = self._results.setdefault(shape, [])
        size = max(shape[0] * shape[1] * self.dtype.itemsize, 1)
        step = max(_SLAB // size, self._threads)
        roots = list(dict.fromkeys(expressions))
        while len(arrays) < min(step, len(roots)):
            arrays.append(np.empty(shape, dtype=self.dtype))
        results: dict[Expression, T] = {}

        def use(root: Expression, values: FloatArray) -> None:
            results[root] = function(root, values)

        for start in range(0, len(roots), step):
            values = dict(zip(roots[start : start + step], arrays, strict=False))
            self._fill(values, first)
            self._share([partial(use, root, array) for root, array in values.items()])
        return [results[expression] for expression in expressions]

    def field(self, name: str) -> FloatArray:
        """Return a field of the panel in this dtype, contiguous, with NaN for what is not finite.

        Raises
        ------
        ExpressionError
            If the panel does not have it.
        """
        with self._lock:
            values = self._fields.get(name)
            if values is None:
                values = np.array(self._stored(name), dtype=self.dtype, order="C")
                _clean(values.reshape(-1))
                self._fields[name] = values
            return values

    def _stored(self, name: str) -> FloatArray:
        fields = self.panel.fields
        if name in fields:
            return fields[name]
        if name == "vwap":
            return (fields["high"] + fields["low"] + fields["close"]) / 3
        raise ExpressionError(
            f"the panel has no field {name!r}",
            rule=f"its fields are {', '.join(sorted(fields))}",
            hint="use one of them, or add the column to the bars",
        )

    def _shape(self, first: int) -> tuple[int, int]:
        if not 0 <= first <= self.panel.n_sessions:
            raise DataError(
                f"first={first} in a panel of {self.panel.n_sessions} sessions",
                rule="the first row wanted lies in the panel",
            )
        return self.panel.n_sessions - first, self.panel.n_assets

    def _fill(self, values: Mapping[Expression, FloatArray], first: int) -> None:
        """Compute each root from row `first` on into its array."""
        n_sessions, _ = self._shape(first)
        alike: defaultdict[int, dict[Expression, FloatArray]] = defaultdict(dict)
        for root, array in values.items():
            alike[self._n_blocks(n_sessions, lookback(root))][root] = array
        tasks = []
        for n_blocks, roots in alike.items():
            program = Program(
                roots, self.field, self._universe, origin=self.panel.origin, first=first
            )
            # only the first block has nothing to compute again: it may be longer
            ahead = int(program.mean_reach)
            rest = n_sessions - ahead
            ends = [first + ahead + i * rest // n_blocks for i in range(1, n_blocks + 1)]
            tasks += [partial(self._run, program, b, e) for b, e in pairwise([first, *ends])]
        self._share(tasks)

    def _n_blocks(self, n_sessions: int, behind: int) -> int:
        """Return into how many blocks sessions are cut, for expressions of this lookback."""
        # what is computed again before a block costs at most a quarter of it
        return max(min(self._threads, n_sessions // (4 * behind + 1)), 1)

    def _run(self, program: Program, begin: int, end: int) -> None:
        with self._lock:
            workspace = self._workspaces.pop() if self._workspaces else Workspace(self.dtype)
        program.run(begin, end, workspace)
        with self._lock:
            self._workspaces.append(workspace)

    def _share(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Do the tasks in order, as many at a time as there are threads."""
        left = iter(tasks)

        def work() -> None:
            while True:
                with self._lock:
                    task = next(left, None)
                if task is None:
                    return
                task()

        others: list[Future[None]] = []
        if self._helpers is not None and len(tasks) > 1:
            others = [self._helpers.submit(work) for _ in range(self._threads - 1)]
        try:
            work()
        finally:
            wait(others)
        for other in others:
            other.result()


@jit
def _clean(values: FloatArray) -> None:
    """Replace ±inf by NaN."""
    for i in range(values.size):
        v = values[i]
        values[i] = v if v - v == 0.0 else np.nan
