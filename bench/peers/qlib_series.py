"""qlib: its expression engine, one asset at a time, with the panel in memory.

It is given what its own data loader gives it: one process per allowed thread, each with its share
of the assets, values back to the parent as float32. Its cache of sub-expressions is on and cleared
after each asset. Reading its files is not counted.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from qlib.data import ops
from qlib.data.base import Feature
from qlib.data.cache import H

from bench.peers.base import Engine, fold
from signals.expression import Call, Expression, walk
from signals.panel import FloatArray


class _Held(Feature):  # type: ignore[misc]
    """A field that is in memory."""

    series: ClassVar[dict[str, list[Any]]] = {}

    def _load_internal(self, instrument: Any, start: Any, end: Any, freq: Any) -> Any:
        del start, end, freq
        return self.series[self._name][instrument]


def _slope(y: Any, x: Any, w: int) -> Any:
    return ops.Div(ops.Cov(y, x, w), ops.Var(x, w))


def _residual(y: Any, x: Any, w: int) -> Any:
    fitted = ops.Mul(_slope(y, x, w), ops.Sub(x, ops.Mean(x, w)))
    return ops.Sub(ops.Sub(y, ops.Mean(y, w)), fitted)


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "ADD": ops.Add,
    "SUBTRACT": ops.Sub,
    "MULTIPLY": ops.Mul,
    "DIVIDE": ops.Div,
    "ABS": ops.Abs,
    "SIGN": ops.Sign,
    "LOG": ops.Log,
    "SQRT": lambda x: ops.Power(x, 0.5),
    "POW": ops.Power,
    "DELAY": ops.Ref,
    "DELTA": lambda x, n: ops.Sub(x, ops.Ref(x, n)),
    "TS_PCTCHANGE": lambda x, n: ops.Sub(ops.Div(x, ops.Ref(x, n)), 1.0),
    "TS_SUM": ops.Sum,
    "TS_MEAN": ops.Mean,
    "TS_STD": ops.Std,
    "TS_MAX": ops.Max,
    "TS_MIN": ops.Min,
    "TS_ARGMAX": lambda x, w: ops.Sub(float(w), ops.IdxMax(x, w)),
    "TS_ARGMIN": lambda x, w: ops.Sub(float(w), ops.IdxMin(x, w)),
    "TS_RANK": ops.Rank,
    "TS_QUANTILE": ops.Quantile,
    "TS_CORR": ops.Corr,
    "TS_COVARIANCE": ops.Cov,
    "REGBETA": _slope,
    "REGRESI": _residual,
    # its weighted mean divides by the sum of the weights and by the window too
    "DECAYLINEAR": lambda x, w: ops.Mul(ops.WMA(x, w), float(w)),
    "EMA": ops.EMA,
}


def _compute(work: tuple[tuple[Any, ...], range]) -> list[FloatArray]:
    """Load every expression of every asset of a share."""
    trees, assets = work
    results = []
    for asset in assets:
        columns = [tree.load(asset, None, None, "day").to_numpy(np.float32) for tree in trees]
        results.append(np.stack(columns))
        H.clear()
    return results


class QlibSeries(Engine):
    """Its expression objects over the series of each asset."""

    name = "qlib"
    about = f"{version('pyqlib')}, expression engine, float64, windows with any value count"

    def __init__(self, fields: Mapping[str, FloatArray], threads: int, folder: Path) -> None:
        super().__init__(fields, threads, folder)
        self._shape = fields["close"].shape
        for name, values in fields.items():
            _Held.series[name] = [pd.Series(column) for column in values.T.copy()]
        self._pool: Pool | None = None
        if threads > 1:
            self._pool = multiprocessing.get_context("fork").Pool(threads)

    def unsupported(self, expression: Expression) -> str:
        """Return why `expression` cannot be computed, "" if it can."""
        used = {node.op for node in walk(expression) if isinstance(node, Call)}
        lacking = used - _OPERATORS.keys()
        return f"no {', '.join(sorted(lacking))}" if lacking else ""

    def run(self, names: Sequence[str]) -> Any:
        """Load the expressions."""
        trees = tuple(
            fold(self.expressions[n], _Held, lambda op, args: _OPERATORS[op](*args), {})
            for n in names
        )
        n_assets = self._shape[1]
        if self._pool is None:
            return _compute((trees, range(n_assets)))
        step = -(-n_assets // (4 * self.threads))
        shares = [range(i, min(i + step, n_assets)) for i in range(0, n_assets, step)]
        parts = self._pool.map(_compute, [(trees, share) for share in shares], chunksize=1)
        return [one for part in parts for one in part]

    def values(self, results: Any, names: Sequence[str]) -> dict[str, FloatArray]:
        """Return the series as columns."""
        stacked = np.stack(results, axis=-1)
        return {name: stacked[i] for i, name in enumerate(names)}
