"""IC (Pearson), RankIC (Spearman), ICIR, and the mean of a series with its HAC interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.errors import DataError
from signals.jit import jit
from signals.panel import FloatArray

IndexArray = npt.NDArray[np.intp]

#: Two-sided 95 % point of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True, eq=False)
class RankedRows:
    """Rows with their sort order: a label sorted once ranks against any number of factors.

    Parameters
    ----------
    values : ndarray of shape (n_sessions, n_assets)
        The values; what is not finite is missing.
    order : ndarray of int, shape (n_sessions, n_assets)
        Columns of each row by ascending value, missing ones last.
    """

    values: FloatArray
    order: IndexArray


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """A mean with its standard error, its 95 % interval, its t-statistic and its count."""

    mean: float
    se: float
    low: float
    high: float
    t: float
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields as JSON values; NaN becomes null."""
        numbers = {"mean": self.mean, "se": self.se, "low": self.low, "high": self.high}
        numbers["t"] = self.t
        return {k: v if math.isfinite(v) else None for k, v in numbers.items()} | {"n": self.n}


def ranked_rows(values: FloatArray) -> RankedRows:
    """Sort each row of `values`, shape (n_sessions, n_assets), once, for `rank_ic`."""
    sortable = np.where(np.isfinite(values), values, np.inf)
    return RankedRows(np.ascontiguousarray(values), np.argsort(sortable, axis=1))


def ic(factor: FloatArray, label: FloatArray, *, min_assets: int = 30) -> FloatArray:
    """Return the IC of each session.

    Parameters
    ----------
    factor : ndarray of shape (n_sessions, n_assets)
        Values known at the close of each session; what is not finite is missing.
    label : ndarray of shape (n_sessions, n_assets)
        Forward returns as fractions; row t is earned after row t of `factor`.
    min_assets : int
        Sessions with fewer assets finite in both give NaN.

    Returns
    -------
    ndarray of float64, shape (n_sessions,)
        Pearson correlation in [-1, 1]; NaN where either side does not vary. Sums run over the
        assets in order, so that missing columns appended at the right change no bit.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    _same_shape(factor, label)
    return _pearson_rows(
        np.ascontiguousarray(factor), np.ascontiguousarray(label), max(min_assets, 2)
    )


def rank_ic(
    factor: FloatArray | RankedRows, label: FloatArray | RankedRows, *, min_assets: int = 30
) -> FloatArray:
    """Return the RankIC of each session.

    Parameters
    ----------
    factor : ndarray of shape (n_sessions, n_assets), or RankedRows
        Values known at the close of each session; what is not finite is missing.
    label : ndarray of shape (n_sessions, n_assets), or RankedRows
        Forward returns as fractions (0.01 is 1 %); row t is earned after row t of `factor`.
        Give `ranked_rows(label)` where many factors meet one label: it is then sorted once.
    min_assets : int
        Sessions with fewer assets finite in both give NaN.

    Returns
    -------
    ndarray of float64, shape (n_sessions,)
        Spearman correlation in [-1, 1]; ties get their mean rank; NaN where either side does not
        vary. Twice a mean rank is an integer, so every sum is exact.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    left = factor if isinstance(factor, RankedRows) else ranked_rows(factor)
    right = label if isinstance(label, RankedRows) else ranked_rows(label)
    _same_shape(left.values, right.values)
    return _spearman_rows(left.values, left.order, right.values, right.order, max(min_assets, 2))


def icir(series: FloatArray) -> float:
    """Return mean / standard deviation (ddof 1) of a per-session series, not annualised.

    NaN is skipped; NaN if fewer than two values are finite or if they do not vary.
    """
    finite = series[np.isfinite(series)]
    if len(finite) < 2 or finite.min() == finite.max():
        return math.nan
    return float(finite.mean() / finite.std(ddof=1))


def autocorrelation(series: FloatArray, lag: int) -> float:
    """Return the autocorrelation at `lag` over the pairs that are both finite, 0 without a pair."""
    deviation = series - np.nanmean(series)
    products = deviation[lag:] * deviation[: len(series) - lag]
    if not np.isfinite(products).any():
        return 0.0
    return float(np.nanmean(products) / np.nanmean(deviation**2))


def hac_lags(n: int, *, horizon: int = 1) -> int:
    """Return ``max(horizon - 1, floor(4 (n / 100)^(2/9)))``.

    The second term is Newey and West's (1994) rule for the Bartlett kernel; the first covers the
    overlap of labels that are held `horizon` sessions.
    """
    return max(horizon - 1, math.floor(4 * math.pow(n / 100, 2 / 9)))


def mean_with_interval(series: FloatArray, *, lags: int) -> MeanEstimate:
    """Return the mean of a series with a standard error that stands autocorrelation.

    Newey and West (1987): ``se^2 = (g_0 + 2 sum_{l=1..lags} (1 - l / (lags + 1)) g_l) / (n - 1)``
    with ``g_l`` the autocovariance at lag l (sum of products / n). With no lags it is the classic
    standard error of a mean. The interval is ``mean +- 1.96 se``.

    Parameters
    ----------
    series : ndarray of shape (n,)
        NaN is skipped: the values on its two sides become neighbours.
    lags : int
        Bartlett lags; see `hac_lags`.

    Returns
    -------
    MeanEstimate
        `se`, `low`, `high` and `t` are NaN below two values; `t` is NaN where `se` is 0.
    """
    finite = np.asarray(series, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if n == 0:
        return MeanEstimate(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    mean = float(finite.mean())
    if n == 1:
        return MeanEstimate(mean, math.nan, math.nan, math.nan, math.nan, 1)
    if finite.min() == finite.max():
        return MeanEstimate(mean, 0.0, mean, mean, math.nan, n)
    deviation = finite - mean
    total = float(deviation @ deviation)
    lags = min(lags, n - 1)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(deviation[lag:] @ deviation[:-lag])
    se = math.sqrt(max(total, 0.0) / n / (n - 1))
    t = mean / se if se > 0 else math.nan
    return MeanEstimate(mean, se, mean - Z95 * se, mean + Z95 * se, t, n)


def warm_up() -> None:
    """Compile the kernels for float32 and float64 into numba's cache on disk."""
    for left in (np.float32, np.float64):
        for right in (np.float32, np.float64):
            a: FloatArray = np.eye(3, dtype=left)
            b: FloatArray = np.eye(3, dtype=right)
            ic(a, b, min_assets=2)
            rank_ic(a, b, min_assets=2)


def _same_shape(factor: FloatArray, label: FloatArray) -> None:
    if factor.shape != label.shape or factor.ndim != 2:
        raise DataError(
            f"factor has shape {factor.shape}, label {label.shape}",
            rule="both are (n_sessions, n_assets)",
        )


@jit
def _pearson_rows(x: FloatArray, y: FloatArray, min_assets: int) -> FloatArray:
    """Two passes a row: means, then products of deviations, in order of the assets."""
    n_sessions, n_assets = x.shape
    out = np.full(n_sessions, np.nan)
    for t in range(n_sessions):
        n = 0
        sum_x = sum_y = 0.0
        low_x = low_y = np.inf
        high_x = high_y = -np.inf
        for i in range(n_assets):
            if np.isfinite(x[t, i]) and np.isfinite(y[t, i]):
                n += 1
                a, b = np.float64(x[t, i]), np.float64(y[t, i])
                sum_x += a
                sum_y += b
                low_x, high_x = min(low_x, a), max(high_x, a)
                low_y, high_y = min(low_y, b), max(high_y, b)
        if n < min_assets or low_x == high_x or low_y == high_y:
            continue
        mean_x, mean_y = sum_x / n, sum_y / n
        xx = yy = xy = 0.0
        for i in range(n_assets):
            if np.isfinite(x[t, i]) and np.isfinite(y[t, i]):
                a, b = x[t, i] - mean_x, y[t, i] - mean_y
                xx += a * a
                yy += b * b
                xy += a * b
        scale = math.sqrt(xx) * math.sqrt(yy)
        if scale > 0:
            out[t] = min(max(xy / scale, -1.0), 1.0)
    return out


@jit
def _spearman_rows(
    x: FloatArray, x_order: IndexArray, y: FloatArray, y_order: IndexArray, min_assets: int
) -> FloatArray:
    """Correlate the ranks of two rows among the columns they have in common.

    Ranks are doubled, so that a mean rank is an integer; `y_rank` is 0 where a side is missing.
    """
    n_sessions, n_assets = x.shape
    out = np.full(n_sessions, np.nan)
    y_rank = np.zeros(n_assets, dtype=np.int64)
    picked = np.empty(n_assets, dtype=np.int64)
    for t in range(n_sessions):
        n = 0
        for k in range(n_assets):
            j = y_order[t, k]
            y_rank[j] = 0
            picked[n] = j
            n += np.isfinite(x[t, j]) & np.isfinite(y[t, j])
        if n < min_assets:
            continue
        yy = 0
        start = 0
        while start < n:
            stop = start + 1
            while stop < n and y[t, picked[stop]] == y[t, picked[start]]:
                stop += 1
            rank = start + stop + 1  # twice the mean of start + 1 .. stop
            for k in range(start, stop):
                y_rank[picked[k]] = rank
            yy += (stop - start) * rank * rank
            start = stop
        xx = xy = 0
        start = stop = 0  # a group of ties is start .. stop - 1
        in_group = 0
        value = np.inf
        for k in range(n_assets):
            j = x_order[t, k]
            rank = y_rank[j]
            if rank == 0:
                continue
            if x[t, j] != value:
                xx += (stop - start) * (start + stop + 1) * (start + stop + 1)
                xy += in_group * (start + stop + 1)
                value, start, in_group = x[t, j], stop, 0
            stop += 1
            in_group += rank
        xx += (stop - start) * (start + stop + 1) * (start + stop + 1)
        xy += in_group * (start + stop + 1)
        centre = n * (n + 1) * (n + 1)  # n times the square of the doubled mean rank
        xx, yy, xy = xx - centre, yy - centre, xy - centre
        if xx > 0 and yy > 0:
            # equal sums have an exact root of their product
            out[t] = xy / xx if xx == yy else xy / (math.sqrt(xx) * math.sqrt(yy))
    return out
