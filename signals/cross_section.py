"""Cross-sectional operators: one session at a time, over the assets of its universe.

Sums over a session are taken in fixed point: terms are divided by the largest distance from the
session's first value, and become integers of 62 bits less those that their number needs. Integers
may be added in any order, so a column that is missing or outside the universe leaves every bit of
the others' values as it was, wherever it stands; and additions without an order run side by side.
"""

from __future__ import annotations

import numpy as np

from signals.jit import jit
from signals.keys import MISSING, sort_key
from signals.ordering import (
    CountArray,
    KeyArray,
    Scratch,
    WordArray,
    doubled_ranks,
    index_bits,
    rows_at_a_time,
)
from signals.panel import BoolArray, FloatArray
from signals.shifts import variance_floor

#: Distances below this have no square in float64; values so close together are equal.
_CLOSE = 1e-150

#: Distances above this have none either.
_FAR = 1e150


@jit
def write_keys(values: FloatArray, universe: BoolArray, keys: KeyArray) -> None:
    """Write the key of each value as `signals.keys` defines it, `MISSING` outside the universe."""
    n_rows, n_assets = values.shape
    for t in range(n_rows):
        row, member, target = values[t], universe[t], keys[t]
        for a in range(n_assets):
            target[a] = sort_key(row[a]) if member[a] else MISSING


@jit
def _unpack(
    words: WordArray,
    bits: int,
    counts: CountArray,
    n_ties: CountArray,
    ties: CountArray,
    table: FloatArray,
    doubled: CountArray,
    out: FloatArray,
) -> None:
    """Write mean percentile ranks to the columns in sorted order."""
    n_rows = len(out)
    mask = np.uint32((1 << bits) - 1)
    kind = table.dtype.type
    filled = -1
    for t in range(n_rows):
        line, ranks = words[t], out[t]
        ranks[:] = np.nan
        count = counts[t]
        if count != filled:
            # whole numbers of 24 bits: the quotient in float32 is that of float64, rounded once
            divisor = kind(count)
            for i in range(count):
                table[i] = kind(i + 1) / divisor
            filled = count
        if n_ties[t] < count // 8:
            for i in range(count):
                ranks[line[i] & mask] = table[i]
            _correct(line[:count], mask, ties[t, : n_ties[t]], ranks)
        else:
            doubled_ranks(ties[t, : n_ties[t]], doubled[:count])
            for i in range(count):
                ranks[line[i] & mask] = 0.5 * doubled[i] / count


@jit
def _correct(line: WordArray, mask: np.uint32, places: CountArray, ranks: FloatArray) -> None:
    """Overwrite the ranks of ties, where they are few, by their mean."""
    k = 0
    while k < len(places):
        start = places[k] - 1
        stop = start + 1
        while k < len(places) and places[k] == stop:
            stop += 1
            k += 1
        for i in range(start, stop):
            ranks[line[i] & mask] = 0.5 * (start + 1 + stop) / len(line)


def rank(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the percentile rank in (0, 1] of each asset in its session; ties get their mean rank.

    Values are compared after rounding to 20 significant bits (`signals.keys`). Missing values and
    assets outside the universe give NaN and are not counted.
    """
    n_assets = values.shape[1]
    bits = index_bits(n_assets)
    scratch = Scratch.of(values.shape, np.int32)
    table = np.empty(n_assets, dtype=out.dtype)
    doubled = np.empty(n_assets, dtype=np.int32)
    for rows, part in scratch.chunks(len(values)):
        write_keys(values[rows], universe[rows], part.keys)
        part.sort()
        _unpack(part.words, bits, part.counts, part.n_ties, part.ties, table, doubled, out[rows])
    return out


@jit
def _first(row: FloatArray, member: BoolArray) -> float:
    """Return the first value, 0 if there is none."""
    for a in range(row.size):
        v = np.float64(row[a])
        if member[a] and v - v == 0.0:
            return v
    return 0.0


@jit
def _extent(row: FloatArray, member: BoolArray, shift: float) -> tuple[int, float]:
    """Return the count of values, and the largest distance of any from `shift`."""
    count = 0
    far = np.int64(0)
    for a in range(row.size):
        v = np.float64(row[a])
        ok = member[a] & (v - v == 0.0)
        count += ok
        # numbers that are not negative compare as their bits do, and integers have no NaN
        far = max(far, np.float64(abs(v - shift) if ok else 0.0).view(np.int64))
    return count, np.int64(far).view(np.float64)


@jit
def fixed_one(count: int) -> float:
    """Return the integer that stands for 1 where `count` terms of at most 1 are added."""
    one = 4611686018427387904.0
    while count > 0:
        count >>= 1
        one *= 0.5
    return one


@jit
def _two_moments(
    row: FloatArray, member: BoolArray, count: int, shift: float, far: float
) -> tuple[float, float]:
    """Return the mean and the mean square of (x - shift) / far."""
    one = fixed_one(count)
    unit = 1.0 / far
    first = second = np.int64(0)
    for a in range(row.size):
        v = np.float64(row[a])
        u = (v - shift) * unit if member[a] & (v - v == 0.0) else 0.0
        first += np.int64(u * one)
        second += np.int64(u * u * one)
    return first / one / count, second / one / count


@jit
def _central_moments(
    row: FloatArray, member: BoolArray, count: int, centre: float, far: float
) -> tuple[float, float, float]:
    """Return the mean square, cube and fourth power of (x - centre) / far."""
    one = fixed_one(count)
    unit = 1.0 / far
    second = third = fourth = np.int64(0)
    for a in range(row.size):
        v = np.float64(row[a])
        u = (v - centre) * unit if member[a] & (v - v == 0.0) else 0.0
        second += np.int64(u * u * one)
        third += np.int64(u * u * u * one)
        fourth += np.int64(u * u * u * u * one)
    return second / one / count, third / one / count, fourth / one / count


@jit
def _varies(centre: float, variance: float, floor: float) -> bool:
    """Whether a variance (divided by n) is more than the rounding of values of this size."""
    return variance > floor * (centre * centre + variance)


@jit
def _zscore(values: FloatArray, universe: BoolArray, out: FloatArray) -> None:
    n_sessions, n_assets = values.shape
    for t in range(n_sessions):
        row, member, result = values[t], universe[t], out[t]
        shift = _first(row, member)
        count, far = _extent(row, member, shift)
        result[:] = np.nan
        if count < 2 or not _CLOSE < far < _FAR:
            continue
        mean, square = _two_moments(row, member, count, shift, far)
        variance = square - mean * mean
        if not _varies(mean + shift / far, variance, variance_floor(values)):
            continue
        unit = 1.0 / (far * np.sqrt(variance * (count / (count - 1))))
        away = far * mean
        for a in range(n_assets):
            v = np.float64(row[a])
            result[a] = ((v - shift) - away) * unit if member[a] & (v - v == 0.0) else np.nan


def zscore(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return (x - mean) / sd of each session over its universe; sd has n - 1 in its denominator.

    NaN where fewer than two assets are there or all are equal.
    """
    _zscore(values, universe, out)
    return out


@jit
def _scale(values: FloatArray, target: float, universe: BoolArray, out: FloatArray) -> None:
    n_sessions, n_assets = values.shape
    kind = out.dtype.type
    for t in range(n_sessions):
        row, member, result = values[t], universe[t], out[t]
        count, far = _extent(row, member, 0.0)
        result[:] = np.nan
        if far == 0.0:
            continue
        one = fixed_one(count)
        total = np.int64(0)
        for a in range(n_assets):
            v = np.float64(row[a])
            u = abs(v) / far if member[a] & (v - v == 0.0) else 0.0
            total += np.int64(u * one)
        factor = target / (total / one)
        for a in range(n_assets):
            scaled = kind(np.float64(row[a]) / far * factor)
            result[a] = scaled if member[a] & (scaled - scaled == 0.0) else np.nan


def scale(values: FloatArray, target: float, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return x · target / Σ|x| over the universe of each session; NaN where all are 0."""
    _scale(values, float(target), universe, out)
    return out


@jit
def _fill(number: float, member: BoolArray, result: FloatArray) -> None:
    """Write one number to every asset of the universe, NaN to the others."""
    v = result.dtype.type(number)
    v = v if v - v == 0.0 else result.dtype.type(np.nan)
    for a in range(result.size):
        result[a] = v if member[a] else np.nan


@jit
def _moment(values: FloatArray, degree: int, universe: BoolArray, out: FloatArray) -> None:
    """Write mean, deviation, skewness or kurtosis, as `degree` says."""
    for t in range(len(values)):
        row, member = values[t], universe[t]
        shift = _first(row, member)
        n, far = _extent(row, member, shift)
        number = np.nan
        if n >= degree and far < _FAR:
            mean = square = 0.0
            if far > _CLOSE:
                mean, square = _two_moments(row, member, n, shift, far)
            variance = square - mean * mean
            varies = far > _CLOSE and _varies(mean + shift / far, variance, variance_floor(values))
            if degree == 1:
                number = shift + far * mean
            elif degree == 2:
                number = far * np.sqrt(variance * (n / (n - 1))) if varies else 0.0
            elif varies:
                # twice as far is further than any value can be from the mean
                m2, m3, m4 = _central_moments(row, member, n, shift + far * mean, 2.0 * far)
                if degree == 3:
                    number = np.sqrt(n * (n - 1.0)) / (n - 2) * m3 / (m2 * np.sqrt(m2))
                else:
                    peak = (n + 1) * m4 / (m2 * m2) - 3.0 * (n - 1)
                    number = (n - 1.0) / ((n - 2.0) * (n - 3.0)) * peak
        _fill(number, member, out[t])


def mean(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the mean of each session over its universe, at every asset of the universe."""
    _moment(values, 1, universe, out)
    return out


def deviation(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the standard deviation (n - 1) of each session, at every asset of the universe.

    NaN where fewer than two values are there; exactly 0 where all are equal.
    """
    _moment(values, 2, universe, out)
    return out


def skewness(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the unbiased skewness of each session, at every asset of the universe.

    ``√(n (n - 1)) / (n - 2) · m₃ / m₂^1.5`` with central moments m divided by n, as pandas has it.
    NaN where fewer than three values are there or all are equal.
    """
    _moment(values, 3, universe, out)
    return out


def kurtosis(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the unbiased excess kurtosis of each session, at every asset of the universe.

    ``(n - 1) / ((n - 2) (n - 3)) · ((n + 1) m₄ / m₂² - 3 (n - 1))``, as pandas has it. NaN where
    fewer than four values are there or all are equal.
    """
    _moment(values, 4, universe, out)
    return out


@jit
def _present(values: FloatArray, universe: BoolArray, present: FloatArray) -> None:
    """Copy the values of the universe; what is missing sorts behind them."""
    n_rows, n_assets = values.shape
    for t in range(n_rows):
        row, member, target = values[t], universe[t], present[t]
        for a in range(n_assets):
            v = row[a]
            target[a] = v if member[a] & (v - v == 0.0) else np.inf


@jit
def _middle(present: FloatArray, universe: BoolArray, out: FloatArray) -> None:
    n_rows, n_assets = present.shape
    for t in range(n_rows):
        row = present[t]
        count = 0
        for a in range(n_assets):
            count += row[a] < np.inf
        number = np.nan
        if count > 0:
            number = 0.5 * np.float64(row[(count - 1) // 2]) + 0.5 * np.float64(row[count // 2])
        _fill(number, universe[t], out[t])


def median(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the median of each session over its universe, at every asset of the universe."""
    n_rows = rows_at_a_time(values.shape[1])
    present = np.empty((min(n_rows, len(values)), values.shape[1]), dtype=values.dtype)
    for start in range(0, len(values), n_rows):
        rows = slice(start, min(start + n_rows, len(values)))
        part = present[: rows.stop - start]
        _present(values[rows], universe[rows], part)
        part.sort(axis=1)
        _middle(part, universe[rows], out[rows])
    return out


@jit
def _extreme(values: FloatArray, sign: int, universe: BoolArray, out: FloatArray) -> None:
    """Write the largest of sign · x, times sign."""
    lowest = np.int64(-0x7FFFFFFFFFFFFFFF)
    for t in range(len(values)):
        row, member = values[t], universe[t]
        best = lowest
        for a in range(row.size):
            v = np.float64(row[a])
            bits = np.float64(sign * v).view(np.int64)
            # as integers that compare like the numbers
            bits ^= (bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF)
            best = max(best, bits if member[a] & (v - v == 0.0) else lowest)
        bits = best ^ ((best >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))
        number = sign * np.int64(bits).view(np.float64) if best > lowest else np.nan
        _fill(number, member, out[t])


def largest(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the largest value of each session, at every asset of the universe."""
    _extreme(values, 1, universe, out)
    return out


def smallest(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Return the smallest value of each session, at every asset of the universe."""
    _extreme(values, -1, universe, out)
    return out
