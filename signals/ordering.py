"""Columns of each row by ascending key: the sort behind ranks.

A key's leading bits and its column go into one 32-bit word, because words that short sort several
times as fast as anything longer. What the leading bits cannot tell apart is put right afterwards;
it is seldom more than true ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.jit import jit
from signals.panel import BoolArray

KeyArray = npt.NDArray[np.signedinteger[Any]]
WordArray = npt.NDArray[np.uint32]
CountArray = npt.NDArray[np.int32]

#: Cells sorted at a time: few enough to stay in the cache between one pass and the next.
CHUNK_CELLS = 32_768

#: Sorts behind every word of a key.
_LAST = np.uint32(0xFFFFFFFF)

#: Beyond every key.
_NONE = np.int64(0x7FFFFFFFFFFFFFFF)

#: Runs of up to so many words are put right by insertion.
_SHORT = 24


@dataclass(frozen=True, slots=True, eq=False)
class Scratch:
    """Memory to sort some rows in, and what was found about them.

    Parameters
    ----------
    keys : ndarray of int32 or int64, shape (n_rows, n_assets)
        To be filled before `sort`; the lowest number of its type stands for what is missing.
    words : ndarray of uint32, shape (n_rows, n_assets)
        The columns by ascending key, in their lowest `index_bits(n_assets)` bits; ties are in the
        order of columns. The first `counts` of a row mean something.
    counts : ndarray of int32, shape (n_rows,)
        Keys that are not missing.
    n_ties : ndarray of int32, shape (n_rows,)
        Keys that equal the one before them in the order.
    ties : ndarray of int32, shape (n_rows, n_assets)
        The places of these keys in the order, ascending; the first `n_ties` mean something.
    """

    keys: KeyArray
    words: WordArray
    counts: CountArray
    n_ties: CountArray
    ties: CountArray

    @classmethod
    def of(cls, shape: tuple[int, ...], keys: type[np.int32 | np.int64]) -> Scratch:
        """Return memory for `CHUNK_CELLS` of arrays of this shape."""
        n_sessions, n_assets = shape
        n_rows = min(rows_at_a_time(n_assets), n_sessions)
        return cls(
            keys=np.empty((n_rows, n_assets), dtype=keys),
            words=np.empty((n_rows, n_assets), dtype=np.uint32),
            counts=np.empty(n_rows, dtype=np.int32),
            n_ties=np.empty(n_rows, dtype=np.int32),
            ties=np.empty((n_rows, n_assets), dtype=np.int32),
        )

    def chunks(self, n_sessions: int) -> Iterator[tuple[slice, Scratch]]:
        """Yield slices that make up `n_sessions` rows, each with as many rows of memory."""
        n_rows = max(len(self.keys), 1)
        for start in range(0, n_sessions, n_rows):
            rows = slice(start, min(start + n_rows, n_sessions))
            yield rows, self if rows.stop - start == n_rows else self._first(rows.stop - start)

    def sort(self) -> None:
        """Sort the rows of `keys`."""
        bits = index_bits(self.keys.shape[1])
        rough = np.empty(len(self.keys), dtype=np.bool_)
        _pack(self.keys, bits, self.words, self.counts, rough)
        self.words.sort(axis=1)
        _settle(self.keys, bits, self.words, self.counts, rough, self.n_ties, self.ties)

    def _first(self, n: int) -> Scratch:
        return Scratch(
            self.keys[:n], self.words[:n], self.counts[:n], self.n_ties[:n], self.ties[:n]
        )


def index_bits(n_assets: int) -> int:
    """Return the number of bits that hold any column of `n_assets`."""
    return max(n_assets - 1, 1).bit_length()


def rows_at_a_time(n_assets: int) -> int:
    """Return the number of rows that make up `CHUNK_CELLS`, at least 1."""
    return max(CHUNK_CELLS // max(n_assets, 1), 1)


@jit
def doubled_ranks(places: CountArray, ranks: CountArray) -> None:
    """Write twice the mean rank of each place in an order; its ties are at `places`."""
    for i in range(len(ranks)):
        ranks[i] = 0
    for i in places:
        ranks[i] = 1
    share_ranks(ranks)


@jit
def share_ranks(ranks: CountArray) -> None:
    """Turn marks of what equals the one before it into twice the mean rank of each place.

    There is no branch that ties could mislead: where they are many, that is what costs.
    """
    start = 0
    for i in range(len(ranks)):
        start = start if ranks[i] else i
        ranks[i] = start
    start = last = len(ranks)
    for i in range(len(ranks) - 1, -1, -1):
        last = last if ranks[i] == start else i
        start = ranks[i]
        ranks[i] = start + last + 2


@jit
def _pack(
    keys: KeyArray, bits: int, words: WordArray, counts: CountArray, rough: BoolArray
) -> None:
    """Write leading bits of key and column into words."""
    n_rows, n_assets = keys.shape
    missing = np.int64(np.iinfo(keys.dtype).min)
    room = np.uint64(0xFFFFFFFF) >> np.uint64(bits)
    for t in range(n_rows):
        row, target = keys[t], words[t]
        count = 0
        low, high = _NONE, -_NONE
        small = _NONE
        for a in range(n_assets):
            key = np.int64(row[a])
            ok = key != missing
            count += ok
            high = max(high, key)
            low = min(low, key if ok else _NONE)
            small = min(small, abs(key) if ok & (key != 0) else _NONE)
        counts[t] = count
        rough[t] = False
        if count == 0:
            target[:] = _LAST
            continue
        # between 0 and the smallest magnitude there is nothing: leave nearly all of that out
        gap = small - (small >> 10) - 1
        low -= min(max(low, -gap), gap)
        high -= min(max(high, -gap), gap)
        span = np.uint64(high) - np.uint64(low)
        shift = np.uint64(0)
        while span >> shift > room:
            shift += np.uint64(1)
        rough[t] = shift > 0
        for a in range(n_assets):
            key = np.int64(row[a])
            lead = (np.uint64(key - min(max(key, -gap), gap)) - np.uint64(low)) >> shift
            word = np.uint32((lead << np.uint64(bits)) | np.uint64(a))
            target[a] = word if key != missing else _LAST


@jit
def _settle(
    keys: KeyArray,
    bits: int,
    words: WordArray,
    counts: CountArray,
    rough: BoolArray,
    n_ties: CountArray,
    ties: CountArray,
) -> None:
    """Order runs of equal leading bits by the whole key, and note what is equal then."""
    n_rows, n_assets = keys.shape
    drop = np.uint32(bits)
    mask = np.uint32((1 << bits) - 1)
    scratch = np.empty(n_assets + 1, dtype=np.int32)
    for t in range(n_rows):
        row, line = keys[t], words[t]
        count = counts[t]
        n = 0
        for i in range(1, count):
            n += (line[i] ^ line[i - 1]) >> drop == 0
        n_ties[t] = n
        if n == 0:
            continue
        places = scratch if rough[t] else ties[t]
        n = 0
        for i in range(1, count):
            places[n] = i
            n += (line[i] ^ line[i - 1]) >> drop == 0
        if rough[t]:
            wrong, n_ties[t] = _compare(row, line, mask, places[:n], ties[t])
            if wrong > 0:
                _repair(row, line[:count], mask, places[:n])
                _, n_ties[t] = _compare(row, line, mask, places[:n], ties[t])


@jit
def _compare(
    row: KeyArray, line: WordArray, mask: np.uint32, places: CountArray, ties: CountArray
) -> tuple[int, int]:
    """Return how many places are out of order, and how many tie: these are noted."""
    wrong = n = 0
    for i in places:
        key, before = row[line[i] & mask], row[line[i - 1] & mask]
        ties[n] = i
        n += key == before
        wrong += key < before
    return wrong, n


@jit
def _repair(row: KeyArray, line: WordArray, mask: np.uint32, places: CountArray) -> None:
    """Sort every run of equal leading bits by the key; ties keep the order of columns."""
    k = 0
    while k < len(places):
        start = places[k] - 1
        stop = start + 1
        while k < len(places) and places[k] == stop:
            stop += 1
            k += 1
        _sort_run(row, line[start:stop], mask)


@jit
def _sort_run(row: KeyArray, run: WordArray, mask: np.uint32) -> None:
    """Sort words by the key of their column; ties keep the order of columns."""
    if len(run) > _SHORT:
        picked = np.empty(len(run), dtype=np.int64)
        for i in range(len(run)):
            picked[i] = row[run[i] & mask]
        run[:] = run[np.argsort(picked, kind="mergesort")]
        return
    for i in range(1, len(run)):
        word = run[i]
        key = row[word & mask]
        j = i - 1
        while j >= 0 and row[run[j] & mask] > key:
            run[j + 1] = run[j]
            j -= 1
        run[j + 1] = word
