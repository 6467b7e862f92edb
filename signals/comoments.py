"""Rolling covariances, correlations and regressions of one series on another.

Sums, shifts and merging are those of `signals.moments`, over the sessions on which both are finite.
"""

from __future__ import annotations

import numpy as np

from signals.jit import jit, row_kernel
from signals.panel import FloatArray
from signals.shifts import newest, spread, variance_floor
from signals.windows import Part, Row, Rows, needed, present, stack, tile

#: What `_rolling_comoments` gives.
COVARIANCE, CORRELATION, SLOPE, RESIDUAL = 0, 1, 2, 3

#: A covariance below this part of the product of deviations is rounding noise and counts as 0, so
#: that it ties with others; of float32 input, whose own rounding is larger, below this part.
NOISE, NOISE_SINGLE = 1e-13, 1e-6


@row_kernel
def _add_pair(
    x: FloatArray,
    y: FloatArray,
    kx: Row,
    ky: Row,
    sx: Row,
    sy: Row,
    xy: Row,
    older_x: Row,
    older_y: Row,
    older_xy: Row,
) -> None:
    for a in range(x.size):
        dx, dy = np.float64(x[a]) - kx[a], np.float64(y[a]) - ky[a]
        both = not np.isnan(dx + dy)
        dx, dy = dx if both else 0.0, dy if both else 0.0
        older_x[a] = sx[a] + dx
        older_y[a] = sy[a] + dy
        older_xy[a] = xy[a] + dx * dy


@row_kernel
def _add_squares(
    x: FloatArray, y: FloatArray, kx: Row, ky: Row, xx: Row, yy: Row, older_xx: Row, older_yy: Row
) -> None:
    for a in range(x.size):
        dx, dy = np.float64(x[a]) - kx[a], np.float64(y[a]) - ky[a]
        both = not np.isnan(dx + dy)
        dx, dy = dx if both else 0.0, dy if both else 0.0
        older_xx[a] = xx[a] + dx * dx
        older_yy[a] = yy[a] + dy * dy


@row_kernel
def _relations(
    x: FloatArray,
    y: FloatArray,
    nothing: FloatArray,
    part: Part,
    result: int,
    noise: float,
    x1: Rows,
    y1: Rows,
    xy1: Rows,
    xx1: Rows,
    yy1: Rows,
    n1: Row,
    kx1: Row,
    ky1: Row,
    n2: Row,
    kx2: Row,
    ky2: Row,
    x2: Row,
    y2: Row,
    xy2: Row,
    xx2: Row,
    yy2: Row,
    out: FloatArray,
) -> None:
    start, end, first, last, w, need = part
    floor = variance_floor(x)
    for t in range(start, end):
        i = t - start
        row, other, target = x[t, first:last], y[t, first:last], out[t, first:last]
        gone = x[t - w, first:last] if t >= w else nothing
        gone_other = y[t - w, first:last] if t >= w else nothing
        sx1, sy1, p1, px1, py1 = x1[i], y1[i], xy1[i], xx1[i], yy1[i]
        for a in range(row.size):
            v, u, g, h = np.float64(row[a]), np.float64(other[a]), gone[a], gone_other[a]
            ok = not (np.isnan(v) or np.isnan(u))
            old, new = n1[a] - present(g) * present(h), n2[a]
            begun = ok and new == 0.0
            kx, ky = v if begun else kx2[a], u if begun else ky2[a]
            new += 1.0 if ok else 0.0
            dx, dy = v - kx if ok else 0.0, u - ky if ok else 0.0
            sx, sy, xy = x2[a] + dx, y2[a] + dy, xy2[a] + dx * dy
            xx, yy = xx2[a] + dx * dx, yy2[a] + dy * dy
            n1[a] = old
            n2[a] = new
            kx2[a] = kx
            ky2[a] = ky
            x2[a] = sx
            y2[a] = sy
            xy2[a] = xy
            xx2[a] = xx
            yy2[a] = yy
            gx, gy = kx1[a] - kx, ky1[a] - ky
            mx, my = sx1[a] + old * gx, sy1[a] + old * gy
            xy += p1[a] + (gx * sy1[a] + gy * mx)
            xx += px1[a] + gx * (sx1[a] + mx)
            yy += py1[a] + gy * (sy1[a] + my)
            sx += mx
            sy += my
            n = old + new
            square, other_square = spread(n, kx, sx, xx, floor), spread(n, ky, sy, yy, floor)
            product = n * xy - sx * sy
            squared = product * product
            # 0, or NaN where the double range is exceeded
            product = product if squared > noise * square * other_square else 0.0 * squared
            if result == COVARIANCE:
                r = product / (n * (n - 1.0))
            elif result == CORRELATION:
                r = product / (np.sqrt(square) * np.sqrt(other_square))
                r = max(-1.0, min(1.0, r)) if r - r == 0.0 else np.nan
            elif result == SLOPE:
                r = product / square
            else:
                r = (n * (u - ky) - sy - product / square * (n * (v - kx) - sx)) / n
            f = out.dtype.type(r)
            target[a] = f if n >= need and f - f == 0.0 else np.nan


@jit
def _rolling_comoments(
    x: FloatArray, y: FloatArray, w: int, origin: int, need: int, result: int, out: FloatArray
) -> None:
    n_sessions, n_assets = x.shape
    # float32 input carries rounding of its own
    noise = NOISE_SINGLE if x.itemsize == 4 else NOISE
    width = tile(n_assets, w, 5)
    nothing = np.full(width, np.nan, x.dtype)
    suffix, state = stack(5, w + 1, width), stack(1, 11, width)[0]
    sx, sy, xy, xx, yy = suffix[0], suffix[1], suffix[2], suffix[3], suffix[4]
    n1, kx1, ky1, n2, kx2, ky2 = state[0], state[1], state[2], state[3], state[4], state[5]
    x2, y2, xy2, xx2, yy2 = state[6], state[7], state[8], state[9], state[10]
    for first in range(0, n_assets, width):
        last = min(first + width, n_assets)
        suffix[:], state[:] = 0.0, 0.0
        t = 0
        while t < n_sessions:
            place = (origin + t) % w
            if place == 0:
                newest(x, y, t, w, first, last, kx1)
                newest(y, x, t, w, first, last, ky1)
                n1[:], kx2[:], ky2[:] = n2, kx1, ky1
                n2[:], state[6:] = 0.0, 0.0
                for i in range(w - 1, max(0, w - 1 - t), -1):
                    row, other = x[t - w + i, first:last], y[t - w + i, first:last]
                    _add_pair(
                        row, other, kx1, ky1, sx[i + 1], sy[i + 1], xy[i + 1], sx[i], sy[i], xy[i]
                    )
                    _add_squares(row, other, kx1, ky1, xx[i + 1], yy[i + 1], xx[i], yy[i])
            end = min(n_sessions, t + w - place)
            part = (t, end, first, last, w, need)
            p = place + 1
            older = (sx[p:], sy[p:], xy[p:], xx[p:], yy[p:], n1, kx1, ky1)
            newer = (n2, kx2, ky2, x2, y2, xy2, xx2, yy2)
            _relations(x, y, nothing, part, result, noise * noise, *older, *newer, out)
            t = end
    out[: w - 1] = np.nan


def session_number(_: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Fill in the absolute number of each session: 1 to n within a window, but for a shift."""
    out[:] = np.arange(origin, origin + len(out))[:, None]
    return out


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


def rolling_slope(
    y: FloatArray, x: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return the least-squares slope of y on x, with an intercept, over each window.

    Over the sessions on which both are finite, at least two; NaN if x is constant in the window.
    """
    _rolling_comoments(x, y, window, origin, needed(window, 2), SLOPE, out)
    return out


def rolling_residual(
    y: FloatArray, x: FloatArray, window: int, *, origin: int, out: FloatArray
) -> FloatArray:
    """Return today's y minus the least-squares fit of y on x, with an intercept, over each window.

    Over the sessions on which both are finite, at least three; NaN if one of them is missing today
    or x is constant in the window.
    """
    _rolling_comoments(x, y, window, origin, needed(window, 3), RESIDUAL, out)
    return out
