"""Cross-sectional operators: one session at a time, over the assets of its universe.

Assets are summed one after the other in column order: a column that is missing or outside the
universe leaves every bit of the others' values as it was, wherever it stands.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.jit import jit
from signals.keys import MISSING, sort_keys
from signals.moments import VARIANCE_FLOOR
from signals.panel import BoolArray, FloatArray

IntArray = npt.NDArray[np.int32]
WordArray = npt.NDArray[np.uint64]

#: Sorts behind every asset that has a value.
_LAST = np.uint64(0xFFFFFFFFFFFFFFFF)

#: Sessions ranked at a time: few enough to stay in the cache between packing and unpacking.
_CHUNK = 32


@jit
def _pack(keys: IntArray, universe: BoolArray, packed: WordArray, counts: IntArray) -> None:
    """Pack key and column into one word, so that sorting words sorts keys and remembers columns."""
    n_sessions, n_assets = keys.shape
    for t in range(n_sessions):
        row, member, words = keys[t], universe[t], packed[t]
        count = 0
        for a in range(n_assets):
            ok = member[a] and row[a] != MISSING
            word = (
                np.uint64(np.int64(row[a]) + np.int64(0x80000000)) << np.uint64(32)
            ) | np.uint64(a)
            words[a] = word if ok else _LAST
            count += ok
        counts[t] = count


@jit
def _unpack(packed: WordArray, counts: IntArray, out: FloatArray) -> None:
    """Write the mean percentile rank of each run of equal keys to the columns of the run."""
    n_sessions, n_assets = out.shape
    for t in range(n_sessions):
        words, ranks = packed[t], out[t]
        for a in range(n_assets):
            ranks[a] = np.nan
        count = counts[t]
        start = 0
        while start < count:
            key = words[start] >> np.uint64(32)
            stop = start + 1
            while stop < count and words[stop] >> np.uint64(32) == key:
                stop += 1
            rank = 0.5 * (start + 1 + stop) / count
            for i in range(start, stop):
                ranks[np.int64(words[i] & np.uint64(0xFFFFFFFF))] = rank
            start = stop


def rank(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the percentile rank in (0, 1] of each asset in its session; ties get their mean rank.

    Values are compared after rounding to 20 significant bits (`signals.keys`). Missing values and
    assets outside the universe give NaN and are not counted.
    """
    packed = np.empty((_CHUNK, values.shape[1]), dtype=np.uint64)
    counts = np.empty(_CHUNK, dtype=np.int32)
    for start in range(0, len(values), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(values)))
        words = packed[: rows.stop - rows.start]
        _pack(sort_keys(values[rows]), universe[rows], words, counts)
        words.sort(axis=1)
        _unpack(words, counts, out[rows])
    return out


@jit
def _zscore(values: FloatArray, universe: BoolArray, out: FloatArray) -> None:
    n_sessions, n_assets = values.shape
    for t in range(n_sessions):
        row, member, result = values[t], universe[t], out[t]
        first = -1
        count = 0
        total = 0.0
        shift = 0.0
        for a in range(n_assets):
            v = np.float64(row[a])
            if member[a] and v - v == 0.0:
                if first < 0:
                    first = a
                    shift = v
                count += 1
                total += v - shift
        mean = total / count if count > 0 else 0.0
        square = 0.0
        for a in range(n_assets):
            v = np.float64(row[a])
            if member[a] and v - v == 0.0:
                deviation = (v - shift) - mean
                square += deviation * deviation
        centre = mean + shift
        constant = square <= VARIANCE_FLOOR * (count * centre * centre + square)
        sd = np.nan if count < 2 or constant else np.sqrt(square / (count - 1))
        for a in range(n_assets):
            v = np.float64(row[a])
            result[a] = ((v - shift) - mean) / sd if member[a] else np.nan


def zscore(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return (x - mean) / sd of each session over its universe; sd has n - 1 in its denominator.

    NaN where fewer than two assets are there or all are equal. Deviations are taken from the
    session's first asset, so that a constant cross-section has a deviation of exactly 0.
    """
    _zscore(values, universe, out)
    return out
