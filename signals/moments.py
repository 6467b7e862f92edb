"""Rolling variances: two stacks of shifted sums.

Blocks, missing values and row loops are those of `signals.windows`. A part of a window (the suffix
of one block, the prefix of the next) holds its count and its sums of x - K and of products of such
differences, where the shift K is a value of that part: the newest finite one of the suffix, the
oldest of the prefix. Cancellation is thus bounded by what is in the window. When parts are merged,
the suffix is moved to the K of the prefix. A window of equal values has a variance of exactly 0, a
spike that has left leaves nothing behind.
"""

from __future__ import annotations

import numpy as np

from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.shifts import newest, spread, variance_floor
from signals.windows import Part, Row, Rows, needed, present, stack, tile, value

#: What `_rolling_moments` gives.
VARIANCE, DEVIATION, STANDARD_SCORE = 0, 1, 2


@row_kernel
def _add(row: FloatArray, k: Row, s: Row, q: Row, older_s: Row, older_q: Row) -> None:
    for a in range(row.size):
        d = value(np.float64(row[a]) - k[a])
        older_s[a] = s[a] + d
        older_q[a] = q[a] + d * d


@row_kernel
def _moments(
    x: FloatArray,
    nothing: FloatArray,
    part: Part,
    result: int,
    sums: Rows,
    squares: Rows,
    n1: Row,
    k1: Row,
    n2: Row,
    k2: Row,
    s2: Row,
    q2: Row,
    out: FloatArray,
) -> None:
    """Fill in one part: 1 is the suffix of the block before, 2 the prefix that grows."""
    start, end, first, last, w, need = part
    floor = variance_floor(x)
    for t in range(start, end):
        row, target = x[t, first:last], out[t, first:last]
        s1, q1 = sums[t - start], squares[t - start]
        gone = x[t - w, first:last] if t >= w else nothing
        for a in range(row.size):
            v, g = np.float64(row[a]), gone[a]
            ok = not np.isnan(v)
            old, new = n1[a] - present(g), n2[a]
            k = v if ok and new == 0.0 else k2[a]
            new += 1.0 if ok else 0.0
            d = v - k if ok else 0.0
            s, q = s2[a] + d, q2[a] + d * d
            n1[a] = old
            n2[a] = new
            k2[a] = k
            s2[a] = s
            q2[a] = q
            gap = k1[a] - k
            moved = s1[a] + old * gap
            q += q1[a] + gap * (s1[a] + moved)
            s += moved
            n = old + new
            square = spread(n, k, s, q, floor)
            if result == STANDARD_SCORE:
                r = (n * (v - k) - s) * np.sqrt((n - 1.0) / (n * square))
            elif result == DEVIATION:
                r = np.sqrt(square / (n * (n - 1.0)))
            else:
                r = square / (n * (n - 1.0))
            f = out.dtype.type(r)
            target[a] = f if n >= need and f - f == 0.0 else np.nan


@jit
def _rolling_moments(
    x: FloatArray, w: int, origin: int, need: int, result: int, out: FloatArray
) -> None:
    n_sessions, n_assets = x.shape
    width = tile(n_assets, w, 2)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(2, w + 1, width), stack(1, 6, width)[0]
    sums, squares = suffix[0], suffix[1]
    n1, k1, n2, k2, s2, q2 = state[0], state[1], state[2], state[3], state[4], state[5]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], state[:] = 0.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                newest(x, x, t, w, first, last, k1)
                n1[:], k2[:] = n2, k1
                n2[:], s2[:], q2[:] = 0.0, 0.0, 0.0
                for i in range(w - 1, max(0, w - 1 - t), -1):
                    row = x[t - w + i, first:last]
                    _add(row, k1, sums[i + 1], squares[i + 1], sums[i], squares[i])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            s1, q1 = sums[place + 1 :], squares[place + 1 :]
            _moments(x, nothing, part, result, s1, q1, n1, k1, n2, k2, s2, q2, out)
            t = end
    out[: w - 1] = np.nan


def rolling_variance(
    values: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the variance of each window, with n - 1 in the denominator."""
    _rolling_moments(values, window, origin, needed(window, 2), VARIANCE, out)
    return out


def rolling_deviation(
    values: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the standard deviation of each window, with n - 1 in the denominator."""
    _rolling_moments(values, window, origin, needed(window, 2), DEVIATION, out)
    return out


def rolling_zscore(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return (x - mean) / sd over each window; NaN if today's value is missing or sd is 0."""
    _rolling_moments(values, window, origin, needed(window, 2), STANDARD_SCORE, out)
    return out
