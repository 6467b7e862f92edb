"""Rolling variances and covariances: two stacks of mergeable moments.

Each stack holds count, mean and centred second moments (Welford's update), merged by the formula of
Chan, Golub and LeVeque (1979). Blocks, missing values and row loops are those of `signals.rolling`:
a window of equal values has a variance of exactly 0, a spike that has left leaves nothing behind.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.jit import jit
from signals.panel import FloatArray
from signals.rolling import needed

Row = npt.NDArray[np.float64]
State = npt.NDArray[np.float64]

#: A variance below this share of the mean square is rounding noise and counts as 0.
VARIANCE_FLOOR = 1e-13

#: What `_rolling_moments` and `_rolling_comoments` give.
VARIANCE, DEVIATION, STANDARD_SCORE = 0, 1, 2
COVARIANCE, CORRELATION = 0, 1


@jit
def _count(x: FloatArray, y: FloatArray, n: Row, share: Row) -> None:
    """Count the pairs that are finite; `share` is 1 / n where this one is, else 0."""
    for a in range(n.size):
        d = np.float64(x[a]) + np.float64(y[a])
        ok = d - d == 0.0
        n[a] += 1.0 if ok else 0.0
        share[a] = 1.0 / n[a] if ok else 0.0


@jit
def _move_mean(x: FloatArray, share: Row, mean: Row, deviation: Row) -> None:
    """Move the mean towards x; `deviation` is x minus the old mean, 0 for what is not counted."""
    for a in range(mean.size):
        s = share[a]
        d = np.float64(x[a]) - mean[a] if s > 0.0 else 0.0
        deviation[a] = d
        mean[a] += d * s


@jit
def _add_product(moment: Row, dx: Row, dy: Row, share: Row) -> None:
    for a in range(moment.size):
        moment[a] += (dx[a] * dy[a]) * (1.0 - share[a])


@jit
def _merge_square(
    na: float, ma: float, ca: float, nb: float, mb: float, cb: float
) -> tuple[float, float, float]:
    """Return count, mean and squared deviations of two parts, 0 for what is rounding noise."""
    n = na + nb
    share = nb / n
    gap = mb - ma
    mean = ma + gap * share
    square = ca + cb + (gap * gap) * (na * share)
    noise = VARIANCE_FLOOR * (n * mean * mean + square)
    return n, mean, square if square > noise else 0.0


@jit
def _add_value(x: FloatArray, count: Row, mean: Row, square: Row) -> None:
    for a in range(count.size):
        v = np.float64(x[a])
        ok = v - v == 0.0
        n = count[a] + 1.0
        share = 1.0 / n if ok else 0.0
        d = v - mean[a] if ok else 0.0
        count[a] = n if ok else count[a]
        mean[a] += d * share
        square[a] += (d * d) * (1.0 - share)


@jit
def _rolling_moments(
    x: FloatArray, w: int, origin: int, need: int, result: int, out: FloatArray
) -> None:
    n_sessions, n_assets = x.shape
    suffix = np.zeros((w + 1, 3, n_assets))  # count, mean, sum of squared deviations
    prefix = np.zeros((3, n_assets))
    nb, mb, cb = prefix[0], prefix[1], prefix[2]
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            for back in range(1, min(w, t + 1)):
                state = suffix[w - back]
                state[:] = suffix[w - back + 1]
                _add_value(x[t - back], state[0], state[1], state[2])
            prefix[:] = 0.0
        row, target = x[t], out[t]
        _add_value(row, nb, mb, cb)
        na, ma, ca = suffix[place + 1, 0], suffix[place + 1, 1], suffix[place + 1, 2]
        if t < w - 1:
            target[:] = np.nan
        elif result == VARIANCE:
            for a in range(n_assets):
                n, _, square = _merge_square(na[a], ma[a], ca[a], nb[a], mb[a], cb[a])
                target[a] = square / (n - 1.0) if n >= need else np.nan
        elif result == DEVIATION:
            for a in range(n_assets):
                n, _, square = _merge_square(na[a], ma[a], ca[a], nb[a], mb[a], cb[a])
                target[a] = np.sqrt(square / (n - 1.0)) if n >= need else np.nan
        else:
            for a in range(n_assets):
                n, mean, square = _merge_square(na[a], ma[a], ca[a], nb[a], mb[a], cb[a])
                score = (np.float64(row[a]) - mean) / np.sqrt(square / (n - 1.0))
                target[a] = score if n >= need else np.nan


@jit
def _add_pair(x: FloatArray, y: FloatArray, state: State, work: State) -> None:
    """Add a row of pairs to count, mean of x and y, centred sums of xy, xx and yy."""
    share, dx, dy = work[0], work[1], work[2]
    _count(x, y, state[0], share)
    _move_mean(x, share, state[1], dx)
    _move_mean(y, share, state[2], dy)
    _add_product(state[3], dx, dy, share)
    if len(state) == 6:
        _add_product(state[4], dx, dx, share)
        _add_product(state[5], dy, dy, share)


@jit
def _merge_squares(na: Row, ma: Row, ca: Row, nb: Row, mb: Row, cb: Row, square: Row) -> None:
    for a in range(square.size):
        square[a] = _merge_square(na[a], ma[a], ca[a], nb[a], mb[a], cb[a])[2]


@jit
def _merge_products(older: State, newer: State, need: int, degrees: float, out: FloatArray) -> None:
    """Fill in the sums of xy; `degrees` 1 divides them by n - 1."""
    na, mxa, mya, ca = older[0], older[1], older[2], older[3]
    nb, mxb, myb, cb = newer[0], newer[1], newer[2], newer[3]
    for a in range(out.size):
        n = na[a] + nb[a]
        gaps = (mxb[a] - mxa[a]) * (myb[a] - mya[a])
        v = ca[a] + cb[a] + gaps * (na[a] * (nb[a] / n))
        v = v / (n - 1.0) if degrees > 0.0 else v
        out[a] = v if n >= need else np.nan


@jit
def _rolling_comoments(
    x: FloatArray, y: FloatArray, w: int, origin: int, need: int, result: int, out: FloatArray
) -> None:
    n_sessions, n_assets = x.shape
    both = result == CORRELATION
    states = 6 if both else 4
    suffix = np.zeros((w + 1, states, n_assets))
    prefix = np.zeros((states, n_assets))
    work = np.empty((3, n_assets))
    xy, xx, yy = work[0], work[1], work[2]
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            for back in range(1, min(w, t + 1)):
                suffix[w - back] = suffix[w - back + 1]
                _add_pair(x[t - back], y[t - back], suffix[w - back], work)
            prefix[:] = 0.0
        _add_pair(x[t], y[t], prefix, work)
        target, older = out[t], suffix[place + 1]
        if t < w - 1:
            target[:] = np.nan
        elif both:
            _merge_products(older, prefix, need, 0.0, xy)
            _merge_squares(older[0], older[1], older[4], prefix[0], prefix[1], prefix[4], xx)
            _merge_squares(older[0], older[2], older[5], prefix[0], prefix[2], prefix[5], yy)
            for a in range(n_assets):
                r = xy[a] / (np.sqrt(xx[a]) * np.sqrt(yy[a]))
                r = max(-1.0, min(1.0, r))
                target[a] = r if xx[a] > 0.0 and yy[a] > 0.0 and xy[a] == xy[a] else np.nan
        else:
            _merge_products(older, prefix, need, 1.0, target)


def _moments(
    values: FloatArray, window: int, origin: int, result: int, out: FloatArray
) -> FloatArray:
    _rolling_moments(values, window, origin, needed(window, 2), result, out)
    return out


def rolling_variance(
    values: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the variance of each window, with n - 1 in the denominator."""
    return _moments(values, window, origin, VARIANCE, out)


def rolling_deviation(
    values: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the standard deviation of each window, with n - 1 in the denominator."""
    return _moments(values, window, origin, DEVIATION, out)


def rolling_zscore(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return (x - mean) / sd over each window; NaN if today's value is missing or sd is 0."""
    return _moments(values, window, origin, STANDARD_SCORE, out)


def rolling_covariance(
    x: FloatArray, y: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the covariance over the sessions on which both are finite, with n - 1."""
    _rolling_comoments(x, y, window, origin, needed(window, 2), COVARIANCE, out)
    return out


def rolling_correlation(
    x: FloatArray, y: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return Pearson's correlation over the sessions on which both are finite; at least three.

    NaN if either is constant in the window.
    """
    _rolling_comoments(x, y, window, origin, needed(window, 3), CORRELATION, out)
    return out
