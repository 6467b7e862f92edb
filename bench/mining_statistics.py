"""Shares with exact intervals, deciles, and means of runs that share markets and years."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from signals.panel import FloatArray

#: Resamples of a bootstrap.
DRAWS = 4000


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its exact 95 % interval."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself; NaN of nothing."""
        return self.hits / self.n if self.n else math.nan

    def __str__(self) -> str:
        if not self.n:
            return "-"
        return (
            f"{self.hits} of {self.n} = {100 * self.value:.1f} % "
            f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"
        )


def share(hits: int, n: int, *, level: float = 0.95) -> Share:
    """Return hits / n with the interval of Clopper and Pearson (1934); [0, 1] of nothing."""
    tail = (1.0 - level) / 2.0
    low, high = 0.0, 1.0
    if hits > 0:
        low = _root(lambda p: 1.0 - binomial_cdf(hits - 1, n, p) - tail)
    if hits < n:
        high = _root(lambda p: tail - binomial_cdf(hits, n, p))
    return Share(hits, n, low, high)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(X <= k) of n trials of chance p."""
    if k >= n or p <= 0.0:
        return 1.0
    if k < 0 or p >= 1.0:
        return 0.0
    terms = (
        math.lgamma(n + 1)
        - math.lgamma(i + 1)
        - math.lgamma(n - i + 1)
        + i * math.log(p)
        + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return math.fsum(map(math.exp, terms))


def _root(rising: Callable[[float], float]) -> float:
    """Return where a rising function on [0, 1] crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def deciles(values: Sequence[float]) -> list[float]:
    """Return the 11 deciles from least to largest; [] of nothing."""
    finite = [value for value in values if math.isfinite(value)]
    return [float(q) for q in np.quantile(finite, np.linspace(0, 1, 11))] if finite else []


def median(values: Sequence[float]) -> float:
    """Return the median of what is finite, NaN of nothing."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan


def text(value: float, digits: int) -> str:
    """Return a number as a table has it; `-` of what is not known."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


@dataclass(frozen=True, slots=True)
class Clustered:
    """A mean of runs, each cluster with equal weight, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    runs: int
    clusters: int

    def __str__(self) -> str:
        if not self.runs:
            return "-"
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def clustered(groups: Mapping[Hashable, Sequence[float]], *, seed: int) -> Clustered:
    """Return the mean over clusters of their mean, with an interval.

    Runs of one market and year differ in the seed alone: they were judged by the same returns. So
    the clusters are resampled first, then the runs in each that was drawn.

    Parameters
    ----------
    groups : mapping of hashable to sequence of float
        Runs by cluster; what is not finite is left out.
    seed : int
        Of the resampling.
    """
    kept = [np.array([v for v in runs if math.isfinite(v)]) for runs in groups.values()]
    kept = [runs for runs in kept if len(runs)]
    if not kept:
        return Clustered(math.nan, math.nan, math.nan, 0, 0)
    rng = np.random.default_rng(seed)
    means = [_resampled(kept, rng) for _ in range(DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975])
    mean = float(np.mean([runs.mean() for runs in kept]))
    return Clustered(mean, float(low), float(high), sum(map(len, kept)), len(kept))


def _resampled(clusters: Sequence[FloatArray], rng: np.random.Generator) -> float:
    drawn = rng.integers(len(clusters), size=len(clusters))
    total = 0.0
    for place in drawn.tolist():
        runs = clusters[place]
        total += float(runs[rng.integers(len(runs), size=len(runs))].mean())
    return total / len(clusters)


def slope(values: Sequence[float]) -> float:
    """Return the least-squares slope over 0, 1, 2 …; NaN below two finite values."""
    y = np.asarray(values, dtype=np.float64)
    x = np.flatnonzero(np.isfinite(y)).astype(np.float64)
    if len(x) < 2:
        return math.nan
    x_centred = x - x.mean()
    return float(x_centred @ y[np.isfinite(y)] / (x_centred @ x_centred))
