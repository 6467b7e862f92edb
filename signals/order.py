"""Rolling extremes and ranks, and shifts: operators that pick or compare values of a window.

Windows, blocks and missing values are those of `signals.windows`; inputs are finite or NaN.
Positions and ranks compare the keys of `signals.keys`, so they are the same in float32 and float64
up to the edge of a bin.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from signals.jit import jit, row_kernel
from signals.keys import MISSING, KeyArray, sort_key
from signals.panel import FloatArray
from signals.windows import needed

#: What `_shift` gives.
DELAY, DELTA, RELATIVE_CHANGE = range(3)


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
def _count(x: FloatArray, t: int, w: int, count: KeyArray) -> None:
    """Count the values of the window that ends with row t."""
    row = x[t]
    if t < w:
        for a in range(count.size):
            count[a] += row[a] == row[a]
    else:
        gone = x[t - w]
        for a in range(count.size):
            count[a] += np.int32(row[a] == row[a]) - np.int32(gone[a] == gone[a])


@row_kernel
def _older_wins(key: KeyArray, place: KeyArray, newer: KeyArray, newer_place: KeyArray) -> None:
    for a in range(key.size):
        # all is read, then chosen, then written: a store in between would stop vectorisation
        mine, other, my_place, other_place = key[a], newer[a], place[a], newer_place[a]
        kept = max(mine, other)
        kept_place = my_place if mine >= other else other_place
        key[a] = kept
        place[a] = kept_place


@row_kernel
def _enter(
    row: FloatArray,
    sign: np.floating[Any],
    place: np.int32,
    slot: KeyArray,
    slot_place: KeyArray,
    prefix: KeyArray,
    prefix_place: KeyArray,
) -> None:
    for a in range(row.size):
        key = sort_key(sign * row[a])
        best, best_place = prefix[a], prefix_place[a]
        kept = max(best, key)
        kept_place = place if key > best else best_place
        slot[a] = key
        slot_place[a] = place
        prefix[a] = kept
        prefix_place[a] = kept_place


@row_kernel
def _ages(
    key: KeyArray,
    place: KeyArray,
    prefix: KeyArray,
    prefix_place: KeyArray,
    today: np.int32,
    w: np.int32,
    count: KeyArray,
    need: int,
    target: FloatArray,
) -> None:
    nan = target.dtype.type(np.nan)
    for a in range(target.size):
        before, since = np.int32(place[a] - w), prefix_place[a]
        chosen = before if key[a] >= prefix[a] else since
        age = target.dtype.type(np.int32(today - chosen))
        target[a] = age if count[a] >= need else nan


@jit
def _rolling_position(
    x: FloatArray, w: int, origin: int, need: int, sign: float, out: FloatArray
) -> None:
    """Keep the greatest key of sign × x and its place in the block, the oldest of equals.

    When a block is over, its rows of keys become, in place, those of its suffixes; the sessions of
    the next block overwrite the suffixes that have left the window.
    """
    n_sessions, n_assets = x.shape
    turn = x.dtype.type(sign)
    keys = np.full((w + 1, n_assets), np.int32(MISSING))
    places = np.zeros((w + 1, n_assets), dtype=np.int32)
    prefix = np.full(n_assets, np.int32(MISSING))
    prefix_place = np.zeros(n_assets, dtype=np.int32)
    count = np.zeros(n_assets, dtype=np.int32)
    for t in range(n_sessions):
        place = np.int32((origin + t) % w)
        if place == 0:
            prefix[:] = MISSING
            for i in range(w - 2, 0, -1):
                _older_wins(keys[i], places[i], keys[i + 1], places[i + 1])
        _count(x, t, w, count)
        _enter(x[t], turn, place, keys[place], places[place], prefix, prefix_place)
        if t < w - 1:
            out[t] = np.nan
            continue
        # slot w is always empty: what is before a block's last session has left the window
        _ages(
            keys[place + 1],
            places[place + 1],
            prefix,
            prefix_place,
            place,
            np.int32(w),
            count,
            need,
            out[t],
        )


@jit
def _not_above(other: np.int32, today: np.int32) -> np.int32:
    """Return 2 for a lower key, 1 for an equal one."""
    return np.int32(np.int32(other < today) + np.int32(other <= today))


@row_kernel
def _compare(
    today: KeyArray,
    a: KeyArray,
    b: KeyArray,
    c: KeyArray,
    d: KeyArray,
    twice: KeyArray,
) -> None:
    for i in range(today.size):
        key = today[i]
        two = np.int32(_not_above(a[i], key) + _not_above(b[i], key))
        twice[i] += np.int32(two + np.int32(_not_above(c[i], key) + _not_above(d[i], key)))


@row_kernel
def _replace(row: FloatArray, slot: KeyArray, today: KeyArray, count: KeyArray) -> None:
    for a in range(row.size):
        key = sort_key(row[a])
        count[a] += np.int32(key != MISSING) - np.int32(slot[a] != MISSING)
        slot[a] = key
        today[a] = key


@row_kernel
def _finish_rank(
    today: KeyArray,
    twice: KeyArray,
    count: KeyArray,
    n_slots: np.int32,
    need: np.int32,
    target: FloatArray,
) -> None:
    nan, half = target.dtype.type(np.nan), target.dtype.type(0.5)
    for a in range(target.size):
        # an empty slot compared as lower, which is 2; today's value with itself is 1
        empty = np.int32(n_slots - count[a])
        doubled = np.int32(twice[a] - np.int32(empty + empty) + np.int32(1))
        v = half * target.dtype.type(doubled) / target.dtype.type(count[a])
        ok = (count[a] >= need) & (today[a] != MISSING)
        target[a] = v if ok else nan


@jit
def _rolling_rank(x: FloatArray, w: int, need: int, out: FloatArray) -> None:
    """Compare today's key with every one of the window: w rows of SIMD beat a sorted window."""
    n_sessions, n_assets = x.shape
    n_slots = (w + 3) // 4 * 4
    ring = np.full((n_slots, n_assets), np.int32(MISSING))
    today = np.empty(n_assets, dtype=np.int32)
    twice = np.empty(n_assets, dtype=np.int32)
    count = np.zeros(n_assets, dtype=np.int32)
    for t in range(n_sessions):
        _replace(x[t], ring[t % w], today, count)
        target = out[t]
        if t < w - 1:
            target[:] = np.nan
            continue
        twice[:] = 0
        for i in range(0, n_slots, 4):
            _compare(today, ring[i], ring[i + 1], ring[i + 2], ring[i + 3], twice)
        _finish_rank(today, twice, count, np.int32(n_slots), np.int32(need), target)


@jit
def _shift(x: FloatArray, sessions: int, result: int, out: FloatArray) -> None:
    one = x.dtype.type(1.0)
    for t in range(len(x)):
        target = out[t]
        if t < sessions:
            target[:] = np.nan
            continue
        row, past = x[t], x[t - sessions]
        if result == DELAY:
            for a in range(target.size):
                target[a] = past[a]
        elif result == DELTA:
            for a in range(target.size):
                v = row[a] - past[a]
                target[a] = v - (v - v)
        else:
            for a in range(target.size):
                v = row[a] / past[a] - one
                target[a] = v - (v - v)


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
    _rolling_position(values, window, origin, needed(window), 1.0, out)
    return out


def rolling_argmin(values: FloatArray, window: int, *, origin: int, out: FloatArray) -> FloatArray:
    """Return the sessions since the smallest value, 0 for today; the oldest of equals."""
    _rolling_position(values, window, origin, needed(window), -1.0, out)
    return out


def rolling_rank(
    values: FloatArray,
    window: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return today's percentile rank in (0, 1] among its window; ties get their mean rank.

    NaN if today's value is missing.
    """
    _rolling_rank(values, window, needed(window), out)
    return out


def delay(
    values: FloatArray,
    sessions: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the value of `sessions` sessions ago."""
    _shift(values, sessions, DELAY, out)
    return out


def delta(
    values: FloatArray,
    sessions: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the value minus that of `sessions` sessions ago."""
    _shift(values, sessions, DELTA, out)
    return out


def relative_change(
    values: FloatArray,
    sessions: int,
    *,
    origin: int,  # noqa: ARG001
    out: FloatArray,
) -> FloatArray:
    """Return the value over that of `sessions` sessions ago, minus 1; NaN where that was 0."""
    _shift(values, sessions, RELATIVE_CHANGE, out)
    return out
