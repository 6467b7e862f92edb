"""The shifts of rolling moments, and when a variance counts as 0."""

from __future__ import annotations

import numpy as np

from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.windows import Row, value

#: A variance below this share of the mean square is rounding noise and counts as 0: deviations
#: below 1e-13 of the values, and below 3e-7 of them where these are in float32.
VARIANCE_FLOOR, VARIANCE_FLOOR_SINGLE = 1e-26, 1e-13


@jit
def variance_floor(x: FloatArray) -> float:
    """Return the floor of values of the dtype of x."""
    return VARIANCE_FLOOR_SINGLE if x.itemsize == 4 else VARIANCE_FLOOR


@row_kernel
def _fill(row: FloatArray, other: FloatArray, k: Row) -> int:
    """Fill gaps of k with values of a row that are finite in both; return how many gaps remain."""
    gaps = 0
    for a in range(row.size):
        v = np.nan if np.isnan(other[a]) else np.float64(row[a])
        v = v if np.isnan(k[a]) else k[a]
        k[a] = v
        gaps += 1 if np.isnan(v) else 0
    return gaps


@jit
def newest(x: FloatArray, y: FloatArray, t: int, w: int, first: int, last: int, k: Row) -> None:
    """Fill k with the newest x before t in its block at which y is finite too, else with 0."""
    k[:] = np.nan
    for back in range(1, min(w, t + 1)):
        if _fill(x[t - back, first:last], y[t - back, first:last], k) == 0:
            break
    for a in range(k.size):
        k[a] = value(k[a])


@jit
def spread(n: float, k: float, s: float, q: float, floor: float) -> float:
    """Return n times the sum of squared deviations, 0 for what is rounding noise."""
    square = n * q - s * s
    total = n * k + s
    return 0.0 if square < floor * (total * total) else square
