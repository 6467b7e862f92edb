"""bottleneck: its moving windows on float64 arrays, numpy between them.

Arrays lie asset by asset, the order in which its windows run fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import bottleneck as bn
import numpy as np

from bench.peers.base import TreeEngine, least
from signals.panel import FloatArray


def _lag(x: FloatArray, n: int) -> FloatArray:
    out = np.full_like(x, np.nan)
    out[:, n:] = x[:, :-n]
    return out


def _move(function: Any, x: FloatArray, window: int, fewest: int = 1, **more: int) -> FloatArray:
    result: FloatArray = function(x, window, min_count=least(window, fewest), axis=1, **more)
    return result


def _moments(x: FloatArray, y: FloatArray, w: int) -> tuple[FloatArray, ...]:
    """Return what correlations and slopes are made of, of centred values of pairs."""
    both = x + y
    hole = np.isnan(both)
    x = np.where(hole, np.nan, x - np.nanmean(x, axis=1, keepdims=True))
    y = np.where(hole, np.nan, y - np.nanmean(y, axis=1, keepdims=True))
    mean_x, mean_y = _move(bn.move_mean, x, w, 3), _move(bn.move_mean, y, w, 3)
    return x, y, mean_x, mean_y, _move(bn.move_mean, x * y, w, 3) - mean_x * mean_y


def _correlation(x: FloatArray, y: FloatArray, w: int) -> FloatArray:
    x, y, _, _, product = _moments(x, y, w)
    return product / (_move(bn.move_std, x, w, 3) * _move(bn.move_std, y, w, 3))


def _covariance(x: FloatArray, y: FloatArray, w: int) -> FloatArray:
    x, _, _, _, product = _moments(x, y, w)
    n = _move(bn.move_sum, (~np.isnan(x)).astype(float), w)
    return product * n / (n - 1)


def _slope(y: FloatArray, x: FloatArray, w: int) -> FloatArray:
    x, _, _, _, product = _moments(x, y, w)
    return product / _move(bn.move_var, x, w, 3)


def _residual(y: FloatArray, x: FloatArray, w: int) -> FloatArray:
    x, y, mean_x, mean_y, product = _moments(x, y, w)
    return y - mean_y - product / _move(bn.move_var, x, w, 3) * (x - mean_x)


def _linear(x: FloatArray, w: int) -> FloatArray:
    """Return the linearly weighted mean from four moving sums."""
    row = np.arange(x.shape[1], dtype=float)
    there = (~np.isnan(x)).astype(float)
    weighted = _move(bn.move_sum, x * row, w) - _move(bn.move_sum, x, w) * (row - w)
    weights = _move(bn.move_sum, there * row, w) - _move(bn.move_sum, there, w) * (row - w)
    return weighted / weights


def _ema(x: FloatArray, span: int) -> FloatArray:
    """Return the exponential average, session by session."""
    keep = 1.0 - 2.0 / (span + 1.0)
    rows = np.ascontiguousarray(x.T)
    there = ~np.isnan(rows)
    filled = np.where(there, rows, 0.0)
    total = np.zeros(rows.shape[1])
    weight = np.zeros(rows.shape[1])
    out = np.empty_like(rows)
    for t in range(len(rows)):
        total *= keep
        total += filled[t]
        weight *= keep
        weight += there[t]
        np.divide(total, weight, out=out[t])
    return np.ascontiguousarray(out.T)


def _rank(x: FloatArray) -> FloatArray:
    """Return percentile ranks across the assets."""
    rows = np.ascontiguousarray(x.T)
    ranks: FloatArray = bn.nanrankdata(rows, axis=1)
    ranks /= np.count_nonzero(~np.isnan(rows), axis=1)[:, None]
    return np.ascontiguousarray(ranks.T)


def _zscore(x: FloatArray) -> FloatArray:
    result: FloatArray = (x - bn.nanmean(x, axis=0)) / bn.nanstd(x, axis=0, ddof=1)
    return result


def _moving_rank(x: FloatArray, w: int) -> FloatArray:
    """Return percentile ranks of today in its window; bottleneck scales them to [-1, 1]."""
    n = _move(bn.move_sum, (~np.isnan(x)).astype(float), w)
    return ((_move(bn.move_rank, x, w, 2) + 1) / 2 * (n - 1) + 1) / n


class BottleneckArrays(TreeEngine):
    """Moving windows along the rows of (n_assets, n_sessions)."""

    name = "bottleneck"
    about = f"{bn.__version__}, float64, numpy between"
    operators: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "ADD": np.add,
        "SUBTRACT": np.subtract,
        "MULTIPLY": np.multiply,
        "DIVIDE": np.divide,
        "ABS": np.abs,
        "SIGN": np.sign,
        "LOG": np.log,
        "SQRT": np.sqrt,
        "POW": np.power,
        "RANK": _rank,
        "ZSCORE": _zscore,
        "DELAY": _lag,
        "DELTA": lambda x, n: x - _lag(x, n),
        "TS_PCTCHANGE": lambda x, n: x / _lag(x, n) - 1,
        "TS_SUM": lambda x, w: _move(bn.move_sum, x, w),
        "TS_MEAN": lambda x, w: _move(bn.move_mean, x, w),
        "TS_STD": lambda x, w: _move(bn.move_std, x, w, 2, ddof=1),
        "TS_MAX": lambda x, w: _move(bn.move_max, x, w),
        "TS_MIN": lambda x, w: _move(bn.move_min, x, w),
        "TS_ARGMAX": lambda x, w: _move(bn.move_argmax, x, w),
        "TS_ARGMIN": lambda x, w: _move(bn.move_argmin, x, w),
        "TS_RANK": _moving_rank,
        "TS_CORR": _correlation,
        "TS_COVARIANCE": _covariance,
        "REGBETA": _slope,
        "REGRESI": _residual,
        "DECAYLINEAR": _linear,
        "EMA": _ema,
    }

    def load(self, values: FloatArray) -> FloatArray:
        """Return the field asset by asset."""
        return np.ascontiguousarray(values.T, dtype=np.float64)

    def unload(self, values: Any) -> FloatArray:
        """Return it session by session."""
        array: FloatArray = values.T
        return array

    def compute(self, tree: Any) -> Any:
        """Compute one expression without numpy's warnings."""
        with np.errstate(all="ignore"):
            return super().compute(tree)
