"""Rolling extremes and ranks, and shifts: operators that pick or compare values of a window.

Blocks, missing values and row loops are those of `signals.rolling`. Positions and ranks compare the
keys of `signals.keys`, so they are the same in float32 and float64 up to the edge of a bin.
"""

from __future__ import annotations

import numpy as np

from signals.jit import jit
from signals.keys import MISSING, KeyArray, sort_keys
from signals.panel import FloatArray
from signals.rolling import needed

#: Lower than every packed key and age.
_NOTHING = np.int64(-(2**63))


@jit
def _rolling_extreme(
    x: FloatArray, w: int, origin: int, need: int, sign: float, out: FloatArray
) -> None:
    """Take the maximum of sign × x; everything happens in the dtype of x, nothing is rounded."""
    n_sessions, n_assets = x.shape
    low = x.dtype.type(-np.inf)
    turn = x.dtype.type(sign)
    suffix = np.full((w + 1, n_assets), low)
    prefix = np.full(n_assets, low)
    count = np.zeros(n_assets, dtype=np.int32)
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            prefix[:] = low
            for back in range(1, min(w, t + 1)):
                row, older, newer = x[t - back], suffix[w - back], suffix[w - back + 1]
                for a in range(n_assets):
                    v = turn * row[a]
                    v = v if v - v == 0.0 else low
                    older[a] = max(newer[a], v)
        row = x[t]
        for a in range(n_assets):
            v = turn * row[a]
            ok = v - v == 0.0
            v = v if ok else low
            prefix[a] = max(prefix[a], v)
            count[a] += ok
        if t >= w:
            gone = x[t - w]
            for a in range(n_assets):
                count[a] -= gone[a] - gone[a] == 0.0
        target, older = out[t], suffix[place + 1]
        if t < w - 1:
            target[:] = np.nan
            continue
        for a in range(n_assets):
            v = max(prefix[a], older[a])
            target[a] = turn * v if count[a] >= need else np.nan


@jit
def _rolling_position(
    keys: KeyArray, w: int, origin: int, need: int, sign: int, out: FloatArray
) -> None:
    """Take the maximum of (sign × key, age) packed into one word, so that the oldest wins a tie."""
    n_sessions, n_assets = keys.shape
    suffix = np.full((w + 1, n_assets), _NOTHING)
    prefix = np.full(n_assets, _NOTHING)
    count = np.zeros(n_assets, dtype=np.int32)
    for t in range(n_sessions):
        place = (origin + t) % w
        if place == 0:
            prefix[:] = _NOTHING
            for back in range(1, min(w, t + 1)):
                row, older, newer = keys[t - back], suffix[w - back], suffix[w - back + 1]
                low = np.int64(0x7FFFFFFF - (t - back))
                for a in range(n_assets):
                    word = (np.int64(sign * row[a]) << np.int64(32)) | low
                    word = word if row[a] != MISSING else _NOTHING
                    older[a] = max(word, newer[a])
        row = keys[t]
        low = np.int64(0x7FFFFFFF - t)
        for a in range(n_assets):
            word = (np.int64(sign * row[a]) << np.int64(32)) | low
            word = word if row[a] != MISSING else _NOTHING
            prefix[a] = max(word, prefix[a])
            count[a] += row[a] != MISSING
        if t >= w:
            gone = keys[t - w]
            for a in range(n_assets):
                count[a] -= gone[a] != MISSING
        target, older = out[t], suffix[place + 1]
        if t < w - 1:
            target[:] = np.nan
            continue
        for a in range(n_assets):
            word = max(older[a], prefix[a])
            age = t - (np.int64(0x7FFFFFFF) - (word & np.int64(0xFFFFFFFF)))
            target[a] = age if count[a] >= need else np.nan


@jit
def _rolling_rank(keys: KeyArray, w: int, need: int, out: FloatArray) -> None:
    """Compare today's key with every other of the window: w passes of SIMD beat a sorted window."""
    n_sessions, n_assets = keys.shape
    count = np.zeros(n_assets, dtype=np.int32)
    twice = np.empty(n_assets, dtype=np.int32)
    for t in range(n_sessions):
        today = keys[t]
        for a in range(n_assets):
            count[a] += today[a] != MISSING
        if t >= w:
            gone = keys[t - w]
            for a in range(n_assets):
                count[a] -= gone[a] != MISSING
        target = out[t]
        if t < w - 1:
            target[:] = np.nan
            continue
        twice[:] = 0
        for back in range(1, w):
            other = keys[t - back]
            for a in range(n_assets):
                twice[a] += np.int32(other[a] < today[a]) + np.int32(other[a] <= today[a])
        for a in range(n_assets):
            # What is missing compared as lower, twice; today's own place is not counted yet.
            below = 0.5 * (twice[a] - 2 * (w - count[a]))
            ok = count[a] >= need and today[a] != MISSING
            target[a] = (below + 1.0) / count[a] if ok else np.nan


def rolling_max(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the largest finite value of each window."""
    _rolling_extreme(values, window, origin, needed(window), 1.0, out)
    return out


def rolling_min(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the smallest finite value of each window."""
    _rolling_extreme(values, window, origin, needed(window), -1.0, out)
    return out


def rolling_argmax(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the sessions since the largest value, 0 for today; the oldest of equals."""
    _rolling_position(sort_keys(values), window, origin, needed(window), 1, out)
    return out


def rolling_argmin(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the sessions since the smallest value, 0 for today; the oldest of equals."""
    _rolling_position(sort_keys(values), window, origin, needed(window), -1, out)
    return out


def rolling_rank(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:  # noqa: ARG001
    """Return today's percentile rank in (0, 1] among its window; ties get their mean rank.

    NaN if today's value is missing.
    """
    _rolling_rank(sort_keys(values), window, needed(window), out)
    return out


def delay(
    values: FloatArray,
    sessions: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the value of `sessions` sessions ago."""
    out[:sessions] = np.nan
    out[sessions:] = values[:-sessions]
    return out


def delta(
    values: FloatArray,
    sessions: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the value minus that of `sessions` sessions ago."""
    out[:sessions] = np.nan
    np.subtract(values[sessions:], values[:-sessions], out=out[sessions:])
    return out


def relative_change(
    values: FloatArray,
    sessions: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the value over that of `sessions` sessions ago, minus 1."""
    out[:sessions] = np.nan
    np.divide(values[sessions:], values[:-sessions], out=out[sessions:])
    out[sessions:] -= 1.0
    return out
