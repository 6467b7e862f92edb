"""Evaluating expressions on a panel: whole, or the tail that a day needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.errors import DataError, ExpressionError
from signals.expression import Call, Constant, Expression, Field, lookback
from signals.jit import jit
from signals.operators import OPERATORS, Kind
from signals.panel import BoolArray, FloatArray, Panel


class Buffers:
    """Arrays that are used again: fresh memory costs more than most kernels.

    One belongs to one thread at a time.
    """

    def __init__(self) -> None:
        self._free: defaultdict[tuple[tuple[int, ...], np.dtype[Any]], list[FloatArray]]
        self._free = defaultdict(list)

    def take(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> FloatArray:
        """Return an array with arbitrary values."""
        free = self._free[shape, dtype]
        return free.pop() if free else np.empty(shape, dtype=dtype)

    def give(self, array: FloatArray) -> None:
        """Take back an array that nobody will look at any more."""
        self._free[array.shape, array.dtype].append(array)


def evaluate(
    expressions: Sequence[Expression],
    panel: Panel,
    *,
    first: int = 0,
    dtype: npt.DTypeLike = np.float64,
    buffers: Buffers | None = None,
) -> list[FloatArray]:
    """Return the factor values of each expression, from row `first` of the panel on.

    Parameters
    ----------
    expressions : sequence of Expression
        Canonical ones; sub-expressions they share are computed once.
    panel : Panel
        Only rows from `first` minus the longest lookback on are read.
    first : int
        First row wanted. Values are bit for bit those of a call with `first=0`.
    dtype : float32 or float64
        Of what is returned and of intermediate values; windows are summed in float64 anyway.
    buffers : Buffers, optional
        Where arrays come from and intermediate ones go back to. A caller that evaluates often keeps
        one per thread and gives results back once they are used.

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
    if not 0 <= first <= panel.n_sessions:
        raise DataError(
            f"first={first} in a panel of {panel.n_sessions} sessions",
            rule="the first row wanted lies in the panel",
        )
    roots = Counter(expressions)
    order = list(dict.fromkeys(node for root in roots for node in _series(root)))
    uses = Counter(arg for node in order for arg in set(node.args))
    uses.update(roots.keys())
    start = max(0, first - max(map(lookback, roots), default=0))
    machine = _Machine(panel, start, np.dtype(dtype), Buffers() if buffers is None else buffers)
    results: dict[Expression, FloatArray] = {}
    for node in order:
        machine.compute(node)
        if node in roots:
            results[node] = machine.result(node, first)
            uses[node] -= 1
        uses.subtract(set(node.args))
        for done in {node, *node.args}:
            if uses[done] == 0:
                machine.forget(done)
    return [results[root] for root in expressions]


@jit
def _clean(values: FloatArray) -> None:
    """Replace ±inf by NaN."""
    for i in range(values.size):
        v = values[i]
        values[i] = v if v - v == 0.0 else np.nan


@jit
def _restrict(values: FloatArray, universe: BoolArray, out: FloatArray) -> None:
    """Copy what is in the universe, NaN elsewhere."""
    for t in range(len(values)):
        row, member, target = values[t], universe[t], out[t]
        for a in range(row.size):
            target[a] = row[a] if member[a] else np.nan


def _series(root: Expression) -> Iterator[Expression]:
    """Yield the nodes that have a value per asset and session, arguments before their call."""
    for arg in root.args:
        if not isinstance(arg, Constant):
            yield from _series(arg)
    yield root


class _Machine:
    """Computes nodes on the rows of a panel from `start` on, and keeps them until told."""

    def __init__(self, panel: Panel, start: int, dtype: np.dtype[Any], buffers: Buffers) -> None:
        self._panel = panel
        self._start = start
        self._dtype = dtype
        self._buffers = buffers
        self._shape = (panel.n_sessions - start, panel.n_assets)
        self._universe: BoolArray = np.array(panel.universe[start:], order="C")
        self._values: dict[Expression, FloatArray] = {}

    def compute(self, node: Expression) -> None:
        """Compute `node`, whose arguments have been computed."""
        out = self._buffers.take(self._shape, self._dtype)
        with np.errstate(all="ignore"):
            if isinstance(node, Field):
                self._load(node.name, out)
            elif isinstance(node, Constant):
                out[:] = node.value
            else:
                self._call(node, out)
                out[: lookback(node)] = np.nan
        _clean(out.reshape(-1))
        self._values[node] = out

    def result(self, node: Expression, first: int) -> FloatArray:
        """Return the values of `node` from row `first` of the panel on, in the universe."""
        skip = first - self._start
        out = self._buffers.take((self._shape[0] - skip, self._shape[1]), self._dtype)
        _restrict(self._values[node][skip:], self._universe[skip:], out)
        return out

    def forget(self, node: Expression) -> None:
        """Give back the array of `node`."""
        values = self._values.pop(node, None)
        if values is not None:
            self._buffers.give(values)

    def _load(self, name: str, out: FloatArray) -> None:
        """Copy a field: kernels are compiled for writable, contiguous arrays and nothing else."""
        stored = self._panel.fields.get(name)
        if stored is None:
            raise ExpressionError(
                f"the panel has no field {name!r}",
                rule=f"its fields are {', '.join(sorted(self._panel.fields))}",
                hint="use one of them, or add the column to the bars",
            )
        np.copyto(out, stored[self._start :], casting="same_kind")

    def _call(self, node: Call, out: FloatArray) -> None:
        operator = OPERATORS[node.op]
        args: list[FloatArray | float] = []
        for kind, arg in zip(operator.arguments, node.args, strict=True):
            if isinstance(arg, Constant):
                args.append(int(arg.value) if kind == "window" else arg.value)
            else:
                args.append(self._values[arg])
        if operator.kind is Kind.ELEMENTWISE:
            operator.kernel(*args, out=out)
        elif operator.kind is Kind.CROSS_SECTION:
            operator.kernel(*args, universe=self._universe, out=out)
        else:
            operator.kernel(*args, origin=self._panel.origin + self._start, out=out)
