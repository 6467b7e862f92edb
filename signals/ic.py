"""IC (Pearson), RankIC (Spearman), ICIR, and the mean of a series with its HAC interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from signals.errors import DataError
from signals.panel import FloatArray
from signals.prepared import PreparedLabel, pearson, prepare, spearman

#: Two-sided 95 % point of the normal distribution.
Z95 = 1.959963984540054


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


def ic(
    factor: FloatArray, label: FloatArray | PreparedLabel, *, min_assets: int = 30
) -> FloatArray:
    """Return the IC of each session.

    Parameters
    ----------
    factor : ndarray of shape (n_sessions, n_assets)
        Values known at the close of each session; what is not finite is missing.
    label : ndarray of shape (n_sessions, n_assets), or PreparedLabel
        Forward returns as fractions; row t is earned after row t of `factor`.
    min_assets : int
        Sessions with fewer assets finite in both give NaN.

    Returns
    -------
    ndarray of float64, shape (n_sessions,)
        Pearson correlation in [-1, 1]; NaN where either side does not vary. Sums are taken in
        fixed point, so that missing columns, wherever they stand, change no bit.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    _same_shape(factor.shape, label.shape)
    values = label.values if isinstance(label, PreparedLabel) else label
    return pearson(factor, values, max(min_assets, 2))


def rank_ic(
    factor: FloatArray, label: FloatArray | PreparedLabel, *, min_assets: int = 30
) -> FloatArray:
    """Return the RankIC of each session.

    Parameters
    ----------
    factor : ndarray of shape (n_sessions, n_assets)
        Values known at the close of each session; what is not finite is missing.
    label : ndarray of shape (n_sessions, n_assets), or PreparedLabel
        Forward returns as fractions (0.01 is 1 %); row t is earned after row t of `factor`.
        Give `prepare(label)` where many factors meet one label: it is then ranked once.
    min_assets : int
        Sessions with fewer assets finite in both give NaN.

    Returns
    -------
    ndarray of float64, shape (n_sessions,)
        Spearman correlation in [-1, 1]; exact ties get their mean rank; NaN where either side does
        not vary. Twice a mean rank is an integer, so every sum is exact.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    _same_shape(factor.shape, label.shape)
    prepared = label if isinstance(label, PreparedLabel) else prepare(label)
    return spearman(factor, prepared, max(min_assets, 2))


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


def _same_shape(factor: tuple[int, ...], label: tuple[int, ...]) -> None:
    if factor != label or len(factor) != 2:
        raise DataError(
            f"factor has shape {factor}, label {label}",
            rule="both are (n_sessions, n_assets)",
        )
