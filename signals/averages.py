"""Rolling averages with weights that fall with age; windows are those of `signals.windows`."""

from __future__ import annotations

import math

import numpy as np

from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.windows import Part, Row, Rows, needed, present, stack, tile, value

#: Spans in the window of an exponential average: weights beyond it would sum to less than 3e-9.
EMA_SPANS = 10


@row_kernel
def _add_linear(row: FloatArray, plain: Row, weighted: Row, sums: Row, heavy: Row) -> None:
    """Add a row to the plain sum, and all rows so far once more to the weighted one."""
    for a in range(row.size):
        v = np.float64(row[a])
        s = plain[a] + value(v)
        sums[a] = s
        heavy[a] = weighted[a] + s


@row_kernel
def _linear(
    x: FloatArray,
    nothing: FloatArray,
    part: Part,
    place: int,
    suffix: Rows,
    prefix: Row,
    heavy: Row,
    weights: Row,
    count: Row,
    out: FloatArray,
) -> None:
    start, end, first, last, w, need = part
    for t in range(start, end):
        row, above, target = x[t, first:last], suffix[t - start], out[t, first:last]
        gone = x[t - w, first:last] if t >= w else nothing
        whole, young = np.float64(w), np.float64(place + 1 + t - start)
        old = whole - young
        for a in range(row.size):
            v, g = np.float64(row[a]), gone[a]
            n = count[a]
            below = weights[a] - n + whole * present(v)
            n = n + present(v) - present(g)
            s = prefix[a] + value(v)
            h = heavy[a] + young * value(v)
            count[a] = n
            weights[a] = below
            prefix[a] = s
            heavy[a] = h
            r = out.dtype.type((above[a] + (h + old * s)) / below)
            target[a] = r if n >= need and r - r == 0.0 else np.nan


@jit
def _rolling_linear(x: FloatArray, w: int, origin: int, need: int, out: FloatArray) -> None:
    """Weights 1..w, the newest session's is w: all of a suffix's weights grow by one a row."""
    n_sessions, n_assets = x.shape
    width = tile(n_assets, w, 2)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(2, w + 1, width), stack(1, 4, width)[0]
    plain, heavy = suffix[0], suffix[1]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], state[:] = 0.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                state[:2] = 0.0
                for i in range(w - 1, max(0, w - 1 - t), -1):
                    row = x[t - w + i, first:last]
                    _add_linear(row, plain[i + 1], heavy[i + 1], plain[i], heavy[i])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            above = heavy[place + 1 :]
            _linear(x, nothing, part, place, above, state[0], state[1], state[2], state[3], out)
            t = end
    out[: w - 1] = np.nan


@row_kernel
def _add_aged(row: FloatArray, weight: float, sums: Row, weights: Row, s: Row, b: Row) -> None:
    for a in range(row.size):
        v = np.float64(row[a])
        s[a] = sums[a] + weight * value(v)
        b[a] = weights[a] + weight * present(v)


@row_kernel
def _exponential(
    x: FloatArray,
    nothing: FloatArray,
    part: Part,
    keep: float,
    powers: Row,
    suffix: Rows,
    suffix_weights: Rows,
    prefix: Row,
    prefix_weights: Row,
    count: Row,
    out: FloatArray,
) -> None:
    """Fill in one part; `powers` are the factors by which its sessions age the suffix."""
    start, end, first, last, w, need = part
    for t in range(start, end):
        row, target = x[t, first:last], out[t, first:last]
        above, below, weight = suffix[t - start], suffix_weights[t - start], powers[t - start]
        gone = x[t - w, first:last] if t >= w else nothing
        for a in range(row.size):
            v, g = np.float64(row[a]), gone[a]
            n = count[a] + present(v) - present(g)
            s = keep * prefix[a] + value(v)
            b = keep * prefix_weights[a] + present(v)
            count[a] = n
            prefix[a] = s
            prefix_weights[a] = b
            r = out.dtype.type((s + weight * above[a]) / (b + weight * below[a]))
            target[a] = r if n >= need and r - r == 0.0 else np.nan


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
    width = tile(n_assets, w, 2)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(2, w + 1, width), stack(1, 3, width)[0]
    sums, weights = suffix[0], suffix[1]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], state[:] = 0.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                state[:2] = 0.0
                for i in range(w - 1, max(0, w - 1 - t), -1):
                    row, weight = x[t - w + i, first:last], powers[w - 1 - i]
                    _add_aged(row, weight, sums[i + 1], weights[i + 1], sums[i], weights[i])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            now = place + 1
            _exponential(
                x,
                nothing,
                part,
                keep,
                powers[now:],
                sums[now:],
                weights[now:],
                state[0],
                state[1],
                state[2],
                out,
            )
            t = end
    out[: w - 1] = np.nan


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


def smoothing_window(m: float, n: float) -> int:
    """Return the window of `rolling_smoothed`: 10 spans of 2 m / n - 1 sessions, rounded up."""
    return max(1, math.ceil(round(EMA_SPANS * (2.0 * m / n - 1.0), 9)))


def rolling_smoothed(
    values: FloatArray, m: float, n: float, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the average with weights (1 - alpha)**age, alpha = n / m, with 0 < n <= m.

    The window is that of the exponential average of the same alpha, `smoothing_window` sessions.
    """
    window = smoothing_window(m, n)
    _rolling_exponential(values, window, 1.0 - n / m, origin, needed(window), out)
    return out
