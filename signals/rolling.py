"""Rolling sums and averages by two stacks: exact windows without drift.

The rows of a window of `w` sessions are split at a multiple of `w` of the *absolute* session number
(`origin` is that of row 0): a suffix of the block before and a prefix of the block after. Both are
plain float64 additions of what is in the window and of nothing else, so that a spike leaves nothing
behind, and the result of a session is bit for bit the same wherever a panel starts.

Every kernel skips what is not finite and gives NaN unless `need` values of the window are finite.
All loops run along a row, with assets as SIMD lanes, and touch few arrays each: beyond eight
possible overlaps the compiler would stop vectorising.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.jit import jit
from signals.panel import FloatArray

Row = npt.NDArray[np.float64]

#: Spans in the window of an exponential average: weights beyond it would sum to less than 3e-9.
EMA_SPANS = 10

#: What `_rolling_sum` gives.
SUM, MEAN = 0, 1


def needed(window: int, least: int = 1) -> int:
    """Return how many values of a window must be finite: 80 %, rounded up, at least `least`."""
    return max((4 * window + 4) // 5, least)


@jit
def _value(v: float) -> float:
    return v if v - v == 0.0 else 0.0


@jit
def _present(v: float) -> float:
    return 1.0 if v - v == 0.0 else 0.0


@jit
def _enter(x: FloatArray, t: int, w: int, count: Row) -> None:
    """Count what enters the window with row t and what leaves it; whole numbers, so exactly."""
    row = x[t]
    for a in range(count.size):
        count[a] += _present(row[a])
    if t >= w:
        gone = x[t - w]
        for a in range(count.size):
            count[a] -= _present(gone[a])


@jit
def _rolling_sum(
    x: FloatArray, w: int, origin: int, need: int, result: int, out: FloatArray
) -> None:
    n_sessions, n_assets = x.shape
    suffix = np.zeros((w + 1, n_assets))
    prefix = np.zeros(n_assets)
    count = np.zeros(n_assets)
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            prefix[:] = 0.0
            for back in range(1, min(w, t + 1)):
                row, older, newer = x[t - back], suffix[w - back], suffix[w - back + 1]
                for a in range(n_assets):
                    older[a] = newer[a] + _value(row[a])
        _enter(x, t, w, count)
        row, target, older = x[t], out[t], suffix[place + 1]
        for a in range(n_assets):
            prefix[a] += _value(row[a])
        if t < w - 1:
            target[:] = np.nan
        elif result == MEAN:
            for a in range(n_assets):
                v = (older[a] + prefix[a]) / count[a]
                target[a] = v if count[a] >= need else np.nan
        else:
            for a in range(n_assets):
                target[a] = older[a] + prefix[a] if count[a] >= need else np.nan


@jit
def _rolling_linear(x: FloatArray, w: int, origin: int, need: int, out: FloatArray) -> None:
    """Weights 1..w, the newest session's is w: all of a suffix's weights grow by one a row."""
    n_sessions, n_assets = x.shape
    # the first of two holds values, the second the weights of those that are present
    plain = np.zeros((2, w + 1, n_assets))
    weighted = np.zeros((2, w + 1, n_assets))
    prefix = np.zeros((2, n_assets))
    prefix_weighted = np.zeros((2, n_assets))
    count = np.zeros(n_assets)
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            prefix[:] = 0.0
            prefix_weighted[:] = 0.0
            for back in range(1, min(w, t + 1)):
                i = w - back
                row = x[t - back]
                older, newer, heavy, heavier = (
                    plain[0, i + 1],
                    plain[0, i],
                    weighted[0, i + 1],
                    weighted[0, i],
                )
                for a in range(n_assets):
                    v = older[a] + _value(row[a])
                    newer[a] = v
                    heavier[a] = heavy[a] + v
                older, newer, heavy, heavier = (
                    plain[1, i + 1],
                    plain[1, i],
                    weighted[1, i + 1],
                    weighted[1, i],
                )
                for a in range(n_assets):
                    v = older[a] + _present(row[a])
                    newer[a] = v
                    heavier[a] = heavy[a] + v
        _enter(x, t, w, count)
        row, target = x[t], out[t]
        sums, weights, heavy, heavy_weights = (
            prefix[0],
            prefix[1],
            prefix_weighted[0],
            prefix_weighted[1],
        )
        weight = np.float64(place + 1)
        for a in range(n_assets):
            v = _value(row[a])
            sums[a] += v
            heavy[a] += weight * v
        for a in range(n_assets):
            v = _present(row[a])
            weights[a] += v
            heavy_weights[a] += weight * v
        if t < w - 1:
            target[:] = np.nan
            continue
        above, below = weighted[0, place + 1], weighted[1, place + 1]
        weight = np.float64(w - 1 - place)
        for a in range(n_assets):
            v = above[a] + (heavy[a] + weight * sums[a])
            v /= below[a] + (heavy_weights[a] + weight * weights[a])
            target[a] = v if count[a] >= need else np.nan


@jit
def _rolling_exponential(
    x: FloatArray, w: int, keep: float, origin: int, need: int, out: FloatArray
) -> None:
    """Weights keep**age: a suffix ages as a whole, by one factor, as the prefix grows."""
    n_sessions, n_assets = x.shape
    powers = np.empty(w + 1)
    powers[0] = 1.0
    for age in range(1, w + 1):
        powers[age] = powers[age - 1] * keep
    suffix = np.zeros((w + 1, n_assets))
    suffix_weights = np.zeros((w + 1, n_assets))
    prefix = np.zeros(n_assets)
    prefix_weights = np.zeros(n_assets)
    count = np.zeros(n_assets)
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            prefix[:] = 0.0
            prefix_weights[:] = 0.0
            for back in range(1, min(w, t + 1)):
                i = w - back
                weight = powers[back - 1]
                row, older, newer = x[t - back], suffix[i], suffix[i + 1]
                older_weights, newer_weights = suffix_weights[i], suffix_weights[i + 1]
                for a in range(n_assets):
                    older[a] = newer[a] + weight * _value(row[a])
                    older_weights[a] = newer_weights[a] + weight * _present(row[a])
        _enter(x, t, w, count)
        row, target = x[t], out[t]
        for a in range(n_assets):
            prefix[a] = keep * prefix[a] + _value(row[a])
            prefix_weights[a] = keep * prefix_weights[a] + _present(row[a])
        if t < w - 1:
            target[:] = np.nan
            continue
        above, below = suffix[place + 1], suffix_weights[place + 1]
        weight = powers[place + 1]
        for a in range(n_assets):
            v = (prefix[a] + weight * above[a]) / (prefix_weights[a] + weight * below[a])
            target[a] = v if count[a] >= need else np.nan


def rolling_sum(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the sum of the finite values of each window."""
    _rolling_sum(values, window, origin, needed(window), SUM, out)
    return out


def rolling_mean(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the mean of the finite values of each window."""
    _rolling_sum(values, window, origin, needed(window), MEAN, out)
    return out


def rolling_linear(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the average with weights 1..w, newest heaviest, renormalised over finite values."""
    _rolling_linear(values, window, origin, needed(window), out)
    return out


def rolling_exponential(
    values: FloatArray, span: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the average with weights (1 - alpha)**age, alpha = 2 / (span + 1).

    The window is 10 spans long and the weights are renormalised over its finite values.
    """
    window = EMA_SPANS * span
    keep = 1.0 - 2.0 / (span + 1.0)
    _rolling_exponential(values, window, keep, origin, needed(window), out)
    return out
