"""A label prepared once, to be correlated with any number of factors.

The label is masked by the universe, and its order, ranks and sums of squares are kept. Where a
factor lacks assets that the label has, those that are left are ranked again by a walk along the
label's order; nothing of it is sorted twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.cross_section import fixed_one
from signals.jit import jit
from signals.ordering import (
    CountArray,
    KeyArray,
    Scratch,
    WordArray,
    doubled_ranks,
    index_bits,
    share_ranks,
)
from signals.panel import BoolArray, FloatArray

#: Distances outside have a reciprocal or a square that float64 does not hold.
_NEAR, _FAR = 1e-300, 1e300


@dataclass(frozen=True, slots=True, eq=False)
class PreparedLabel:
    """A label in the universe with its ranks; made by `prepare`.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n_sessions, n_assets)
        NaN where the label is missing or the asset outside the universe.
    order : ndarray of int32, shape (n_sessions, n_assets)
        Columns by ascending value; the first `counts` of a row mean something.
    ranks : ndarray of int32, shape (n_sessions, n_assets)
        Twice the mean rank, which is an integer; 0 where `values` is NaN.
    counts : ndarray of int32, shape (n_sessions,)
        Values that are not NaN.
    n_ties : ndarray of int32, shape (n_sessions,)
        Values equal to the one before them in the order.
    squares : ndarray of int64, shape (n_sessions,)
        Sum of the squares of `ranks`.
    """

    values: FloatArray
    order: CountArray
    ranks: CountArray
    counts: CountArray
    n_ties: CountArray
    squares: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sessions and assets."""
        return self.values.shape

    def rows(self, start: int, stop: int) -> PreparedLabel:
        """Return the rows `start` to `stop` (a view)."""
        rows = slice(start, stop)
        return PreparedLabel(
            self.values[rows],
            self.order[rows],
            self.ranks[rows],
            self.counts[rows],
            self.n_ties[rows],
            self.squares[rows],
        )


def prepare(label: FloatArray, universe: BoolArray | None = None) -> PreparedLabel:
    """Return a label that is ready to meet factors.

    Parameters
    ----------
    label : ndarray of shape (n_sessions, n_assets)
        Forward returns as fractions; what is not finite is missing.
    universe : ndarray of bool, shape (n_sessions, n_assets), optional
        Assets outside are missing.
    """
    label = _plain(label)
    member = np.ones(label.shape, dtype=np.bool_) if universe is None else universe
    prepared = PreparedLabel(
        values=np.empty_like(label),
        order=np.empty(label.shape, dtype=np.int32),
        ranks=np.empty(label.shape, dtype=np.int32),
        counts=np.empty(len(label), dtype=np.int32),
        n_ties=np.empty(len(label), dtype=np.int32),
        squares=np.empty(len(label), dtype=np.int64),
    )
    scratch = Scratch.of(label.shape, _key_type(label))
    bits = index_bits(label.shape[1])
    for rows, part in scratch.chunks(len(label)):
        # a mask does for ranks: both are positive where a label may be
        prepared.ranks[rows] = member[rows]
        _exact_keys(_bits(label[rows]), prepared.ranks[rows], part.keys)
        part.sort()
        prepared.counts[rows], prepared.n_ties[rows] = part.counts, part.n_ties
        _rank_label(
            label[rows],
            part.keys,
            part.words,
            bits,
            part.counts,
            part.n_ties,
            prepared.values[rows],
            prepared.order[rows],
            prepared.ranks[rows],
            prepared.squares[rows],
        )
    return prepared


def pearson(factor: FloatArray, label: FloatArray, min_assets: int) -> FloatArray:
    """Return the Pearson correlation of each row over what both sides have; see `signals.ic`."""
    out = np.empty(len(factor))
    _pearson(_plain(factor), _plain(label), min_assets, out)
    return out


def spearman(factor: FloatArray, label: PreparedLabel, min_assets: int) -> FloatArray:
    """Return the Spearman correlation of each row over what both sides have; see `signals.ic`."""
    factor = _plain(factor)
    out = np.empty(len(factor))
    scratch = Scratch.of(factor.shape, _key_type(factor))
    bits = index_bits(factor.shape[1])
    for rows, part in scratch.chunks(len(factor)):
        _exact_keys(_bits(factor[rows]), label.ranks[rows], part.keys)
        part.sort()
        _spearman(
            part.keys,
            part.words,
            bits,
            part.counts,
            part.n_ties,
            part.ties,
            label.values[rows],
            label.order[rows],
            label.ranks[rows],
            label.counts[rows],
            label.n_ties[rows],
            label.squares[rows],
            min_assets,
            out[rows],
        )
    return out


def _plain(values: FloatArray) -> FloatArray:
    """Return the values as the kernels take them: contiguous, float32 or float64."""
    kind = np.float32 if values.dtype == np.float32 else np.float64
    return np.ascontiguousarray(values, dtype=kind)


def _key_type(values: FloatArray) -> type[np.int32 | np.int64]:
    return np.int32 if values.dtype == np.float32 else np.int64


def _bits(values: FloatArray) -> KeyArray:
    return values.view(_key_type(values))


@jit
def _exact_keys(bits: KeyArray, label_ranks: CountArray, keys: KeyArray) -> None:
    """Turn the bits of numbers into integers that compare as they do, where there is a label."""
    n_rows, n_assets = bits.shape
    kind = keys.dtype.type
    missing = kind(np.iinfo(keys.dtype).min)
    infinite = kind(np.int64(0x7F800000) if keys.itemsize == 4 else np.int64(0x7FF0000000000000))
    for t in range(n_rows):
        row, ranks, target = bits[t], label_ranks[t], keys[t]
        for a in range(n_assets):
            word = row[a]
            magnitude = word & kind(~missing)
            key = kind(-magnitude) if word < 0 else kind(magnitude)
            target[a] = key if (ranks[a] > 0) & (magnitude < infinite) else missing


@jit
def _rank_label(
    label: FloatArray,
    keys: KeyArray,
    words: WordArray,
    bits: int,
    counts: CountArray,
    n_ties: CountArray,
    values: FloatArray,
    order: CountArray,
    ranks: CountArray,
    squares: npt.NDArray[np.int64],
) -> None:
    """Write what `PreparedLabel` keeps about some rows."""
    n_rows, n_assets = keys.shape
    missing = np.iinfo(keys.dtype).min
    mask = np.uint32((1 << bits) - 1)
    doubled = np.empty(n_assets, dtype=np.int32)
    for t in range(n_rows):
        row, line, columns, places = keys[t], words[t], order[t], ranks[t]
        n = int(counts[t])
        for a in range(n_assets):
            values[t, a] = label[t, a] if row[a] != missing else np.nan
            columns[a] = line[a] & mask if a < n else 0
            places[a] = 0
        if n_ties[t] > 0:
            squares[t] = _rank_ties(label[t], columns[:n], doubled, places)
            continue
        for i in range(n):
            places[line[i] & mask] = 2 * (i + 1)
        squares[t] = _square_sum(n)


@jit
def _square_sum(n: int) -> int:
    """Return the sum of the squares of 2, 4, .. 2 n."""
    return 2 * n * (n + 1) * (2 * n + 1) // 3


@jit
def _rank_ties(row: FloatArray, order: CountArray, doubled: CountArray, ranks: CountArray) -> int:
    """Write twice the mean rank of the columns in order, and return the sum of its squares."""
    for i in range(len(order)):
        doubled[i] = i > 0 and row[np.uint32(order[i])] == row[np.uint32(order[i - 1])]
    share_ranks(doubled[: len(order)])
    square = 0
    for i in range(len(order)):
        rank = int(doubled[i])
        ranks[np.uint32(order[i])] = rank
        square += rank * rank
    return square


@jit
def _spearman(
    keys: KeyArray,
    words: WordArray,
    bits: int,
    counts: CountArray,
    n_ties: CountArray,
    ties: CountArray,
    label_values: FloatArray,
    label_order: CountArray,
    label_ranks: CountArray,
    label_counts: CountArray,
    label_n_ties: CountArray,
    label_squares: npt.NDArray[np.int64],
    min_assets: int,
    out: FloatArray,
) -> None:
    """Add products of ranks along the order of the factor; every sum is an exact integer."""
    n_rows, n_assets = keys.shape
    missing = np.iinfo(keys.dtype).min
    mask = np.uint32((1 << bits) - 1)
    again = np.empty(n_assets, dtype=np.int32)
    doubled = np.empty(n_assets, dtype=np.int32)
    common = np.empty(n_assets, dtype=np.int32)
    for t in range(n_rows):
        row, line, order = keys[t], words[t], label_order[t]
        n = int(counts[t])
        out[t] = np.nan
        if n < min_assets:
            continue
        ranks = label_ranks[t]
        yy = int(label_squares[t])
        if n < label_counts[t]:
            ranks = again
            kept = 0
            if label_n_ties[t] == 0:
                for i in range(label_counts[t]):
                    a = np.uint32(order[i])
                    kept += row[a] != missing
                    again[a] = 2 * kept
                yy = _square_sum(n)
            else:
                for i in range(label_counts[t]):
                    common[kept] = order[i]
                    kept += row[np.uint32(order[i])] != missing
                yy = _rank_ties(label_values[t], common[:kept], doubled, again)
        xy = 0
        if n_ties[t] == 0:
            xx = _square_sum(n)
            for i in range(n):
                xy += 2 * (i + 1) * int(ranks[line[i] & mask])
        else:
            xx = 0
            doubled_ranks(ties[t, : n_ties[t]], doubled[:n])
            for i in range(n):
                rank = int(doubled[i])
                xx += rank * rank
                xy += rank * int(ranks[line[i] & mask])
        centre = n * (n + 1) * (n + 1)  # n times the square of the doubled mean rank
        xx, yy, xy = xx - centre, yy - centre, xy - centre
        if xx > 0 and yy > 0:
            # equal sums have an exact root of their product
            out[t] = xy / xx if xx == yy else xy / (math.sqrt(xx) * math.sqrt(yy))


@jit
def _pearson(x: FloatArray, y: FloatArray, min_assets: int, out: FloatArray) -> None:
    """Correlate rows in fixed point (see `signals.cross_section`), in one pass after a look."""
    n_sessions, n_assets = x.shape
    for t in range(n_sessions):
        left, right = x[t], y[t]
        out[t] = np.nan
        x0 = y0 = 0.0
        for a in range(n_assets):
            v, w = np.float64(left[a]), np.float64(right[a])
            if v - v == 0.0 and w - w == 0.0:
                x0, y0 = v, w
                break
        n = 0
        far_x = far_y = np.int64(0)
        for a in range(n_assets):
            v, w = np.float64(left[a]), np.float64(right[a])
            ok = (v - v == 0.0) & (w - w == 0.0)
            n += ok
            far_x = max(far_x, np.float64(abs(v - x0) if ok else 0.0).view(np.int64))
            far_y = max(far_y, np.float64(abs(w - y0) if ok else 0.0).view(np.int64))
        x1, y1 = np.int64(far_x).view(np.float64), np.int64(far_y).view(np.float64)
        if n < min_assets or not (_NEAR < x1 < _FAR and _NEAR < y1 < _FAR):
            continue
        unit_x, unit_y = 1.0 / x1, 1.0 / y1
        one = fixed_one(n)
        sx = sy = sxx = syy = sxy = np.int64(0)
        for a in range(n_assets):
            v, w = np.float64(left[a]), np.float64(right[a])
            ok = (v - v == 0.0) & (w - w == 0.0)
            u = (v - x0) * unit_x if ok else 0.0
            z = (w - y0) * unit_y if ok else 0.0
            scaled_u, scaled_z = u * one, z * one
            sx += np.int64(scaled_u)
            sy += np.int64(scaled_z)
            sxx += np.int64(u * scaled_u)
            syy += np.int64(z * scaled_z)
            sxy += np.int64(u * scaled_z)
        mean_x, mean_y = sx / one / n, sy / one / n
        xx = sxx / one / n - mean_x * mean_x
        yy = syy / one / n - mean_y * mean_y
        xy = sxy / one / n - mean_x * mean_y
        scale = math.sqrt(xx) * math.sqrt(yy)
        if scale > 0:
            out[t] = min(max(xy / scale, -1.0), 1.0)
