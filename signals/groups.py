"""Cross-sectional operators within groups: assets of a session that share a value.

Assets are summed one after the other in column order, each group on its own: a column that is
missing or outside the universe leaves every bit of the others' values as it was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.cross_section import write_keys
from signals.jit import jit
from signals.ordering import CountArray, Scratch, WordArray, index_bits
from signals.panel import BoolArray, FloatArray
from signals.shifts import variance_floor

#: The bits of a float64.
BitArray = npt.NDArray[np.int64]


@jit
def _number(bits_of: BitArray, missing: np.int64, numbers: CountArray) -> None:
    """Write the number of each asset's group in its row, from 0; -1 where there is none.

    Groups are found by hashing; a row with the groups of the row before it costs a comparison.
    """
    n_rows, n_assets = bits_of.shape
    bits = 1
    while (1 << bits) < 2 * n_assets:
        bits += 1
    holder = np.empty(1 << bits, dtype=np.int64)
    number = np.empty(1 << bits, dtype=np.int32)
    for t in range(n_rows):
        row, target = bits_of[t], numbers[t]
        if t > 0:
            changes = 0
            for a in range(n_assets):
                changes += row[a] != bits_of[t - 1, a]
            if changes == 0:
                target[:] = numbers[t - 1]
                continue
        number[:] = -1
        n_groups = 0
        for a in range(n_assets):
            key = row[a]
            target[a] = -1
            if key == missing:
                continue
            folded = np.uint64(key) ^ (np.uint64(key) >> np.uint64(32))
            place = (folded * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
            place >>= np.uint64(32 - bits)
            while number[place] >= 0 and holder[place] != key:
                place = (place + np.uint64(1)) & np.uint64((1 << bits) - 1)
            if number[place] < 0:
                holder[place] = key
                number[place] = n_groups
                n_groups += 1
            target[a] = number[place]


def _groups(groups: FloatArray, universe: BoolArray) -> CountArray:
    """Return the number of each asset's group in its session; -1 where there is none."""
    numbers = np.empty(groups.shape, dtype=np.int32)
    exact = np.where(universe, groups, np.nan).astype(np.float64)
    exact += 0.0  # -0 is 0
    exact[np.isnan(exact)] = np.nan  # one pattern of bits
    _number(exact.view(np.int64), np.float64(np.nan).view(np.int64), numbers)
    return numbers


@jit
def _standardise(values: FloatArray, numbers: CountArray, least: int, out: FloatArray) -> None:
    """Write the mean of each group of 1 at least, or the standard scores in each of 2 at least.

    What is missing is added up in a place of its own, the last, instead of being branched around.
    """
    n_rows, n_assets = values.shape
    place = np.empty(n_assets, dtype=np.uint32)
    count = np.empty(n_assets + 1, dtype=np.int64)
    shift = np.empty(n_assets + 1)
    total = np.empty(n_assets + 1)
    square = np.empty(n_assets + 1)
    kind = out.dtype.type
    for t in range(n_rows):
        row, group, result = values[t], numbers[t], out[t]
        n_groups = 0
        for a in range(n_assets):
            v = np.float64(row[a])
            ok = (group[a] >= 0) & (v - v == 0.0)
            place[a] = group[a] if ok else n_assets
            n_groups = max(n_groups, group[a] + 1)
        for a in range(n_assets - 1, -1, -1):
            shift[place[a]] = row[a]  # at last the first of the group
        count[:n_groups] = 0
        total[:n_groups] = 0.0
        square[:n_groups] = 0.0
        for a in range(n_assets):
            g = place[a]
            count[g] += 1
            total[g] += np.float64(row[a]) - shift[g]
        for g in range(n_groups):
            n = count[g]
            total[g] = total[g] / n if n > 0 else np.nan
        if least > 1:
            for a in range(n_assets):
                g = place[a]
                deviation = (np.float64(row[a]) - shift[g]) - total[g]
                square[g] += deviation * deviation
            for g in range(n_groups):
                n, centre = count[g], shift[g] + total[g]
                varies = square[g] > variance_floor(values) * (n * centre * centre + square[g])
                square[g] = np.sqrt(square[g] / (n - 1)) if n >= least and varies else np.nan
            square[n_assets] = np.nan
            for a in range(n_assets):
                g = place[a]
                number = kind(((np.float64(row[a]) - shift[g]) - total[g]) / square[g])
                result[a] = number if number - number == 0.0 else np.nan
        else:
            for g in range(n_groups):
                square[g] = shift[g] + total[g]
            square[n_assets] = np.nan
            for a in range(n_assets):
                number = kind(square[place[a]])
                result[a] = number if number - number == 0.0 else np.nan


def group_mean(
    values: FloatArray, groups: FloatArray, *, universe: BoolArray, out: FloatArray
) -> FloatArray:
    """Return the mean of `values` over the assets of the session that have equal `groups`.

    Parameters
    ----------
    values, groups : ndarray of shape (n_sessions, n_assets)
        Groups are equal if their 20 significant bits are (`signals.keys`).
    universe : ndarray of bool, shape (n_sessions, n_assets)
        Assets outside take no part.
    out : ndarray of shape (n_sessions, n_assets)
        NaN where `values` or `groups` is missing, and outside the universe.
    """
    _standardise(values, _groups(groups, universe), 1, out)
    return out


def group_zscore(
    values: FloatArray, groups: FloatArray, *, universe: BoolArray, out: FloatArray
) -> FloatArray:
    """Return (x - mean) / sd within the group; arguments are those of `group_mean`.

    NaN where the group has fewer than two values or all are equal.
    """
    _standardise(values, _groups(groups, universe), 2, out)
    return out


@jit
def _unpack(
    words: WordArray,
    bits: int,
    counts: CountArray,
    n_ties: CountArray,
    ties: CountArray,
    numbers: CountArray,
    out: FloatArray,
) -> None:
    """Write mean percentile ranks within groups, from the order of the whole session."""
    n_rows, n_assets = out.shape
    mask = np.uint32((1 << bits) - 1)
    size = np.empty(n_assets, dtype=np.int64)
    below = np.empty(n_assets, dtype=np.int64)
    equal = np.empty(n_assets, dtype=np.int64)
    for t in range(n_rows):
        line, places, group, ranks = words[t], ties[t], numbers[t], out[t]
        ranks[:] = np.nan
        size[:] = 0
        below[:] = 0
        equal[:] = 0
        for i in range(counts[t]):
            size[group[line[i] & mask]] += 1
        k = 0
        start = 0
        while start < counts[t]:
            # up to the next tie every rank is its own
            until = places[k] - 1 if k < n_ties[t] else counts[t]
            for i in range(start, until):
                a = line[i] & mask
                g = np.uint32(group[a])
                below[g] += 1
                ranks[a] = below[g] / size[g]
            start = stop = until
            while k < n_ties[t] and places[k] == stop + 1:
                stop += 1
                k += 1
            if start == counts[t]:
                break
            stop += 1
            for i in range(start, stop):
                equal[group[line[i] & mask]] += 1
            for i in range(start, stop):
                a = line[i] & mask
                g = group[a]
                ranks[a] = (below[g] + 0.5 * (equal[g] + 1)) / size[g]
            for i in range(start, stop):
                g = group[line[i] & mask]
                below[g] += equal[g]
                equal[g] = 0
            start = stop


def group_rank(
    values: FloatArray, groups: FloatArray, *, universe: BoolArray, out: FloatArray
) -> FloatArray:
    """Return the percentile rank in (0, 1] within the group; ties get their mean rank.

    Arguments are those of `group_mean`; values are compared by `signals.keys`.
    """
    bits = index_bits(values.shape[1])
    numbers = _groups(groups, universe)
    scratch = Scratch.of(values.shape, np.int32)
    for rows, part in scratch.chunks(len(values)):
        write_keys(values[rows], numbers[rows] >= 0, part.keys)
        part.sort()
        _unpack(part.words, bits, part.counts, part.n_ties, part.ties, numbers[rows], out[rows])
    return out
