"""Rolling quantiles: the sorted window of every asset at once.

Row i of the sorted window holds the i-th smallest value of each asset's window; what is missing is
sorted as inf, behind every value (inputs are finite or NaN). A session replaces one value of each
window by another in one pass over the rows, without a branch: the value that leaves is cut out, the
one that enters is put between its neighbours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.errors import DataError
from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.windows import needed

CountArray = npt.NDArray[np.int32]
Index = npt.NDArray[np.int64]
Row = npt.NDArray[np.float64]

#: Rows of the sorted window that one loop renews.
_ROWS = 4


@jit
def _next(mine: float, following: float, leaving: float) -> float:
    """Return what stands in a row after the leaving value is cut out."""
    return mine if mine < leaving else following


@jit
def _between(v: float, low: float, high: float) -> float:
    """Return the middle one of three, low ≤ high."""
    return max(low, min(high, v))


@row_kernel
def _renew(
    row_0: FloatArray,
    row_1: FloatArray,
    row_2: FloatArray,
    row_3: FloatArray,
    following: FloatArray,
    leaving: FloatArray,
    entering: FloatArray,
    below: FloatArray,
) -> None:
    """Renew four rows; `below` carries the row before, as it is without the leaving value."""
    for a in range(below.size):
        gone, v = leaving[a], entering[a]
        x_1, x_2, x_3 = row_1[a], row_2[a], row_3[a]
        left_0 = _next(row_0[a], x_1, gone)
        left_1 = _next(x_1, x_2, gone)
        left_2 = _next(x_2, x_3, gone)
        left_3 = _next(x_3, following[a], gone)
        y_0 = _between(v, below[a], left_0)
        y_1 = _between(v, left_0, left_1)
        y_2 = _between(v, left_1, left_2)
        y_3 = _between(v, left_2, left_3)
        row_0[a] = y_0
        row_1[a] = y_1
        row_2[a] = y_2
        row_3[a] = y_3
        below[a] = left_3


@row_kernel
def _exchange(
    row: FloatArray,
    gone: FloatArray,
    entering: FloatArray,
    leaving: FloatArray,
    count: CountArray,
) -> None:
    missing, zero = row.dtype.type(np.inf), row.dtype.type(0.0)
    for a in range(count.size):
        # -0 becomes 0, so that equal values are equal bits, whichever of them is cut out
        new, old = row[a] + zero, gone[a] + zero
        here, there = new - new == 0.0, old - old == 0.0
        n = np.int32(count[a] + np.int32(np.int32(here) - np.int32(there)))
        new = new if here else missing
        old = old if there else missing
        entering[a] = new
        leaving[a] = old
        count[a] = n


@jit
def _slide(
    window: FloatArray, entering: FloatArray, leaving: FloatArray, below: FloatArray
) -> None:
    """Replace the leaving value of each asset by the entering one; `below` is scratch."""
    below[:] = -np.inf
    for i in range(0, len(window) - 1, _ROWS):
        _renew(
            window[i],
            window[i + 1],
            window[i + 2],
            window[i + 3],
            window[i + 4],
            leaving,
            entering,
            below,
        )


@row_kernel
def _interpolate(flat: FloatArray, q: float, count: CountArray, result: Row) -> None:
    """Write the quantile of each asset's count of values; `flat` is the sorted window."""
    n_assets = result.size
    for a in range(n_assets):
        place = q * max(np.int32(count[a] - np.int32(1)), np.int32(0))
        row = np.int64(place)
        share = place - row
        i = row * n_assets + a
        low, high = np.float64(flat[i]), np.float64(flat[i + n_assets])
        v = low + (high - low) * share
        # at a share of 0 the next one may be missing
        result[a] = v if share > 0.0 else low


@row_kernel
def _narrow(flat: FloatArray, count: CountArray, centre: Row, low: Index, high: Index) -> None:
    """Halve the rows in which the nearest values of `centre` may begin."""
    n_assets = centre.size
    for a in range(n_assets):
        start, stop, half = low[a], high[a], (np.int64(count[a]) + 1) >> 1
        middle = (start + stop) >> 1
        first = np.float64(flat[middle * n_assets + a])
        last = np.float64(flat[(middle + half - 1) * n_assets + a])
        far = last - centre[a] >= centre[a] - first
        above = min(middle + 1, stop)
        new_stop = middle if far else stop
        new_start = start if far else above
        low[a] = new_start
        high[a] = new_stop


@row_kernel
def _distance(flat: FloatArray, count: CountArray, centre: Row, low: Index, result: Row) -> None:
    """Write the median distance, given the first row whose last value is as far as its first."""
    n_assets = centre.size
    for a in range(n_assets):
        m, n, i = centre[a], np.int64(count[a]), low[a]
        half = (n + 1) >> 1
        # the nearest begin here or one row before
        here = max(m - flat[i * n_assets + a], flat[(i + half - 1) * n_assets + a] - m)
        j = max(i - 1, 0)
        before = m - flat[j * n_assets + a] if i > 0 else np.inf
        i = j if before < here else i
        nearest = min(before, here)
        # of an even number the next nearest counts too: one row before, or one behind
        j = max(i - 1, 0)
        before = m - flat[j * n_assets + a] if i > 0 else np.inf
        behind = flat[(i + half) * n_assets + a] - m
        following = min(before, behind)
        result[a] = nearest if n & 1 else 0.5 * (nearest + following)


@jit
def _rolling_quantile(
    x: FloatArray,
    w: int,
    q: float,
    need: int,
    distance: bool,  # noqa: FBT001
    out: FloatArray,
) -> None:
    """Write the quantile of each window or the median distance from it.

    The h values nearest to a centre are neighbours in the sorted window. As their first row moves
    up, it comes nearer and the last one goes away: where the two meet is found by bisection.
    """
    n_sessions, n_assets = x.shape
    nan, missing = x.dtype.type(np.nan), x.dtype.type(np.inf)
    # whole groups of rows, and one more that stays missing
    window = np.full(((w + _ROWS - 1) // _ROWS * _ROWS + 1, n_assets), missing)
    flat = window.reshape(-1)
    change = np.empty((3, n_assets), dtype=x.dtype)
    nothing = np.full(n_assets, nan)
    count = np.zeros(n_assets, dtype=np.int32)
    centre, result = np.empty(n_assets), np.empty(n_assets)
    low, high = np.empty(n_assets, dtype=np.int64), np.empty(n_assets, dtype=np.int64)
    steps = 0
    while w // 2 >> steps:
        steps += 1
    for t in range(n_sessions):
        _exchange(x[t], x[t - w] if t >= w else nothing, change[0], change[1], count)
        _slide(window, change[0], change[1], change[2])
        target = out[t]
        if t < w - 1:
            target[:] = np.nan
            continue
        _interpolate(flat, q, count, centre)
        if distance:
            for a in range(n_assets):
                low[a] = 0
                high[a] = count[a] // 2
            for _ in range(steps):
                _narrow(flat, count, centre, low, high)
            _distance(flat, count, centre, low, result)
        final = result if distance else centre
        for a in range(n_assets):
            v = x.dtype.type(final[a])
            target[a] = v - (v - v) if count[a] >= need else nan


def rolling_quantile(
    values: FloatArray,
    window: int,
    q: float,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the q-quantile of each window's finite values, as pandas' rolling quantile.

    Parameters
    ----------
    values : ndarray of shape (n_sessions, n_assets)
        Finite or NaN.
    window : int
        Sessions.
    q : float
        In [0, 1]; between two values the quantile is interpolated linearly, in float64.
    origin : int
        Absolute number of row 0; nothing depends on it.
    out : ndarray of the shape and dtype of `values`
        Overwritten.

    Returns
    -------
    ndarray
        `out`; NaN unless 80 % of the window are finite.

    Raises
    ------
    DataError
        If `q` is outside [0, 1].
    """
    if not 0.0 <= q <= 1.0:
        raise DataError(f"a quantile of {q}", rule="a quantile lies between 0 and 1")
    _rolling_quantile(values, window, q, needed(window), False, out)  # noqa: FBT003
    return out


def rolling_median(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the median of each window's finite values."""
    return rolling_quantile(values, window, 0.5, origin=origin, out=out)


def rolling_mad(
    values: FloatArray,
    window: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the median of |x - median| over each window's finite values.

    Distances are taken in float64, and not scaled to a standard deviation.
    """
    _rolling_quantile(values, window, 0.5, needed(window), True, out)  # noqa: FBT003
    return out
