"""Rolling sums, means and products; the rules of their windows are in `signals.windows`."""

from __future__ import annotations

import numpy as np

from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.windows import Part, Row, Rows, needed, present, stack, tile, value


@row_kernel
def _add(row: FloatArray, newer: Row, older: Row) -> None:
    for a in range(row.size):
        v = np.float64(row[a])
        older[a] = newer[a] + value(v)


@row_kernel
def _sums(
    x: FloatArray,
    nothing: FloatArray,
    part: Part,
    mean: int,
    suffix: Rows,
    prefix: Row,
    count: Row,
    out: FloatArray,
) -> None:
    """Fill in one part; row i of `suffix` belongs to its session i."""
    start, end, first, last, w, need = part
    for t in range(start, end):
        row, above, target = x[t, first:last], suffix[t - start], out[t, first:last]
        gone = x[t - w, first:last] if t >= w else nothing
        for a in range(row.size):
            v, g = np.float64(row[a]), gone[a]
            n = count[a] + present(v) - present(g)
            s = prefix[a] + value(v)
            count[a] = n
            prefix[a] = s
            r = out.dtype.type((above[a] + s) / (n if mean else 1.0))
            target[a] = r if n >= need and r - r == 0.0 else np.nan


@jit
def _rolling_sum(x: FloatArray, w: int, origin: int, need: int, mean: int, out: FloatArray) -> None:
    n_sessions, n_assets = x.shape
    width = tile(n_assets, w, 1)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(1, w + 1, width)[0], stack(1, 2, width)[0]
    prefix, count = state[0], state[1]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], state[:] = 0.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                prefix[:] = 0.0
                for back in range(1, min(w, t + 1)):
                    _add(x[t - back, first:last], suffix[w - back + 1], suffix[w - back])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            _sums(x, nothing, part, mean, suffix[place + 1 :], prefix, count, out)
            t = end
    out[: w - 1] = np.nan


@row_kernel
def _multiply(row: FloatArray, newer: Row, older: Row) -> None:
    for a in range(row.size):
        v = np.float64(row[a])
        older[a] = newer[a] * (1.0 if np.isnan(v) else v)


@row_kernel
def _products(
    x: FloatArray,
    nothing: FloatArray,
    part: Part,
    suffix: Rows,
    prefix: Row,
    count: Row,
    out: FloatArray,
) -> None:
    start, end, first, last, w, need = part
    for t in range(start, end):
        row, above, target = x[t, first:last], suffix[t - start], out[t, first:last]
        gone = x[t - w, first:last] if t >= w else nothing
        for a in range(row.size):
            v, g = np.float64(row[a]), gone[a]
            n = count[a] + present(v) - present(g)
            p = prefix[a] * (1.0 if np.isnan(v) else v)
            count[a] = n
            prefix[a] = p
            r = out.dtype.type(above[a] * p)
            target[a] = r if n >= need and r - r == 0.0 else np.nan


@jit
def _rolling_product(x: FloatArray, w: int, origin: int, need: int, out: FloatArray) -> None:
    n_sessions, n_assets = x.shape
    width = tile(n_assets, w, 1)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(1, w + 1, width)[0], stack(1, 2, width)[0]
    prefix, count = state[0], state[1]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], prefix[:], count[:] = 1.0, 1.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                prefix[:] = 1.0
                for back in range(1, min(w, t + 1)):
                    _multiply(x[t - back, first:last], suffix[w - back + 1], suffix[w - back])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            _products(x, nothing, part, suffix[place + 1 :], prefix, count, out)
            t = end
    out[: w - 1] = np.nan


def rolling_sum(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the sum of the finite values of each window."""
    _rolling_sum(values, window, origin, needed(window), 0, out)
    return out


def rolling_mean(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the mean of the finite values of each window."""
    _rolling_sum(values, window, origin, needed(window), 1, out)
    return out


def rolling_product(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the product of the finite values of each window.

    The two parts of a window are multiplied in float64; NaN where one of them overflows.
    """
    _rolling_product(values, window, origin, needed(window), out)
    return out
