"""Rolling skewness and kurtosis: two stacks of shifted sums of powers up to the fourth.

Blocks, missing values, shifts and merging are those of `signals.moments`.
"""

from __future__ import annotations

import numpy as np

from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.shifts import newest, spread, variance_floor
from signals.windows import Part, Row, Rows, needed, present, stack, tile, value

#: What `_rolling_shape` gives.
SKEWNESS, KURTOSIS = 0, 1


@row_kernel
def _add(
    row: FloatArray,
    k: Row,
    p1: Row,
    p2: Row,
    p3: Row,
    p4: Row,
    older_1: Row,
    older_2: Row,
    older_3: Row,
    older_4: Row,
) -> None:
    for a in range(row.size):
        d = value(np.float64(row[a]) - k[a])
        e = d * d
        older_1[a] = p1[a] + d
        older_2[a] = p2[a] + e
        older_3[a] = p3[a] + d * e
        older_4[a] = p4[a] + e * e


@row_kernel
def _shapes(
    x: FloatArray,
    nothing: FloatArray,
    part: Part,
    result: int,
    a1: Rows,
    a2: Rows,
    a3: Rows,
    a4: Rows,
    n1: Row,
    k1: Row,
    n2: Row,
    k2: Row,
    b1: Row,
    b2: Row,
    b3: Row,
    b4: Row,
    out: FloatArray,
) -> None:
    """Fill in one part: a are the sums of powers of the suffix, b those of the prefix."""
    start, end, first, last, w, need = part
    floor = variance_floor(x)
    for t in range(start, end):
        i = t - start
        row, target = x[t, first:last], out[t, first:last]
        gone = x[t - w, first:last] if t >= w else nothing
        above_1, above_2, above_3, above_4 = a1[i], a2[i], a3[i], a4[i]
        for a in range(row.size):
            v, g = np.float64(row[a]), gone[a]
            ok = not np.isnan(v)
            old, new = n1[a] - present(g), n2[a]
            k = v if ok and new == 0.0 else k2[a]
            new += 1.0 if ok else 0.0
            d = v - k if ok else 0.0
            e = d * d
            p1, p2, p3, p4 = b1[a] + d, b2[a] + e, b3[a] + d * e, b4[a] + e * e
            n1[a] = old
            n2[a] = new
            k2[a] = k
            b1[a] = p1
            b2[a] = p2
            b3[a] = p3
            b4[a] = p4
            s, q, c, f = above_1[a], above_2[a], above_3[a], above_4[a]
            gap = k1[a] - k
            square = gap * gap
            p4 += f + 4.0 * gap * c + 6.0 * square * q + square * gap * (4.0 * s + old * gap)
            p3 += c + 3.0 * gap * q + square * (3.0 * s + old * gap)
            p2 += q + gap * (2.0 * s + old * gap)
            p1 += s + old * gap
            n = old + new
            mean = p1 / n
            m2 = spread(n, k, p1, p2, floor) / n
            if result == SKEWNESS:
                m3 = p3 - mean * (3.0 * p2 - 2.0 * mean * p1)
                r = n * np.sqrt(n - 1.0) / (n - 2.0) * m3 / (m2 * np.sqrt(m2))
            else:
                m4 = p4 - mean * (4.0 * p3 - mean * (6.0 * p2 - 3.0 * mean * p1))
                r = (n + 1.0) * n * m4 / (m2 * m2) - 3.0 * (n - 1.0)
                r *= (n - 1.0) / ((n - 2.0) * (n - 3.0))
            z = out.dtype.type(r)
            target[a] = z if n >= need and z - z == 0.0 else np.nan


@jit
def _rolling_shape(
    x: FloatArray, w: int, origin: int, need: int, result: int, out: FloatArray
) -> None:
    n_sessions, n_assets = x.shape
    width = tile(n_assets, w, 4)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(4, w + 1, width), stack(1, 8, width)[0]
    a1, a2, a3, a4 = suffix[0], suffix[1], suffix[2], suffix[3]
    n1, k1, n2, k2 = state[0], state[1], state[2], state[3]
    b1, b2, b3, b4 = state[4], state[5], state[6], state[7]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], state[:] = 0.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                newest(x, x, t, w, first, last, k1)
                n1[:], k2[:] = n2, k1
                n2[:], state[4:] = 0.0, 0.0
                for i in range(w - 1, max(0, w - 1 - t), -1):
                    row, j = x[t - w + i, first:last], i + 1
                    _add(row, k1, a1[j], a2[j], a3[j], a4[j], a1[i], a2[i], a3[i], a4[i])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            p = place + 1
            _shapes(
                x,
                nothing,
                part,
                result,
                a1[p:],
                a2[p:],
                a3[p:],
                a4[p:],
                n1,
                k1,
                n2,
                k2,
                b1,
                b2,
                b3,
                b4,
                out,
            )
            t = end
    out[: w - 1] = np.nan


def rolling_skewness(
    values: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the skewness of each window, adjusted for bias; NaN if the window is constant.

    sqrt(n (n - 1)) / (n - 2) · m3 / m2^1.5 with the central moments m of n >= 3 finite values.
    """
    _rolling_shape(values, window, origin, needed(window, 3), SKEWNESS, out)
    return out


def rolling_kurtosis(
    values: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the excess kurtosis of each window, adjusted for bias; NaN if the window is constant.

    (n - 1) / ((n - 2) (n - 3)) · ((n + 1) m4 / m2² - 3 (n - 1)) with the central moments m of
    n >= 4 finite values.
    """
    _rolling_shape(values, window, origin, needed(window, 4), KURTOSIS, out)
    return out
