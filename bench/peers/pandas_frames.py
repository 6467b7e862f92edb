"""pandas: wide float64 frames, sessions down, assets across."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from bench.peers.base import TreeEngine, least
from bench.peers.glue import extreme_age
from signals.panel import FloatArray


def _rolling(x: Any, window: int, fewest: int = 1) -> Any:
    return x.rolling(window, min_periods=least(window, fewest))


def _argmax(x: Any, window: int, sign: float) -> Any:
    """Return the age of the extreme; `rolling.apply(np.argmax)` takes seconds."""
    ages = extreme_age(x.to_numpy(), window, least(window), sign)
    return pd.DataFrame(ages, index=x.index, columns=x.columns)


def _linear(x: Any, window: int) -> Any:
    """Return the linearly weighted mean from four rolling sums; `rolling.apply` takes seconds."""
    row = pd.Series(np.arange(len(x), dtype=float), index=x.index)
    there = x.notna().astype(float)
    first = row - window
    weighted = _rolling(x.mul(row, axis=0), window).sum() - _rolling(x, window).sum().mul(
        first, axis=0
    )
    held = there.rolling(window).sum()
    weights = there.mul(row, axis=0).rolling(window).sum() - held.mul(first, axis=0)
    return weighted / weights


def _pairs(y: Any, x: Any, window: int) -> tuple[Any, Any, Any]:
    """Return y and x where both are there, and the slope of y on x."""
    both = y.notna() & x.notna()
    y, x = y.where(both), x.where(both)
    slope = _rolling(y, window, 3).cov(x, pairwise=False) / _rolling(x, window, 3).var()
    return y, x, slope


def _residual(y: Any, x: Any, window: int) -> Any:
    y, x, slope = _pairs(y, x, window)
    return y - _rolling(y, window, 3).mean() - slope * (x - _rolling(x, window, 3).mean())


def _quantile(x: Any, window: int, q: float) -> Any:
    return _rolling(x, window).quantile(q)


class PandasFrames(TreeEngine):
    """Rolling methods of a frame, ranks across columns."""

    name = "pandas"
    about = f"{pd.__version__}, float64, wide frames"
    operators: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "ADD": lambda x, y: x + y,
        "SUBTRACT": lambda x, y: x - y,
        "MULTIPLY": lambda x, y: x * y,
        "DIVIDE": lambda x, y: x / y,
        "ABS": lambda x: x.abs(),
        "SIGN": np.sign,
        "LOG": np.log,
        "SQRT": np.sqrt,
        "POW": lambda x, p: x**p,
        "RANK": lambda x: x.rank(axis=1, pct=True),
        "ZSCORE": lambda x: x.sub(x.mean(axis=1), axis=0).div(x.std(axis=1), axis=0),
        "DELAY": lambda x, n: x.shift(n),
        "DELTA": lambda x, n: x.diff(n),
        "TS_PCTCHANGE": lambda x, n: x.pct_change(n, fill_method=None),
        "TS_SUM": lambda x, w: _rolling(x, w).sum(),
        "TS_MEAN": lambda x, w: _rolling(x, w).mean(),
        "TS_STD": lambda x, w: _rolling(x, w, 2).std(),
        "TS_MAX": lambda x, w: _rolling(x, w).max(),
        "TS_MIN": lambda x, w: _rolling(x, w).min(),
        "TS_ARGMAX": lambda x, w: _argmax(x, w, 1.0),
        "TS_ARGMIN": lambda x, w: _argmax(x, w, -1.0),
        "TS_RANK": lambda x, w: _rolling(x, w, 2).rank(pct=True),
        "TS_QUANTILE": _quantile,
        "TS_CORR": lambda x, y, w: _rolling(x, w, 3).corr(y, pairwise=False),
        "TS_COVARIANCE": lambda x, y, w: _rolling(x, w, 2).cov(y, pairwise=False),
        "REGBETA": lambda y, x, w: _pairs(y, x, w)[2],
        "REGRESI": _residual,
        "DECAYLINEAR": _linear,
        "EMA": lambda x, s: x.ewm(span=s, min_periods=least(s)).mean(),
    }

    def load(self, values: FloatArray) -> Any:
        """Return a frame."""
        return pd.DataFrame(values.astype(np.float64))

    def unload(self, values: Any) -> FloatArray:
        """Return its values."""
        array: FloatArray = values.to_numpy()
        return array
