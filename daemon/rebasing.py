"""Whether a history was restated onto another basis: by a split, by a dividend, or by no rule.

A source that restates divides every price before an event's session by the event's factor, and for
a split multiplies the volumes by it. The ratio of what is told now to what is stored is then a
step function that comes down to 1 at the event, or after the last session compared. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Steps shorter than this are single bars, unless the ratio is one that splits have.
MIN_STEP = 3
#: How far volumes may be from the ratio of a split, as a log; they are rounded to shares.
VOLUME_TOLERANCE = 0.02
#: Volumes below this are too coarse to tell a ratio.
MIN_VOLUME = 100.0
#: Largest factor of a dividend: half of the price.
MAX_DIVIDEND_FACTOR = 2.0
#: Ratios that splits have: whole numbers over these.
SPLIT_DENOMINATORS = (1, 2, 3, 4)

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Rebase:
    """A change of basis of an asset's rows.

    Parameters
    ----------
    price : ndarray of shape (n_rows,)
        Multiplies prices told now back to those as traded.
    shares : ndarray of shape (n_rows,)
        Divides volumes told now back to those as traded.
    events : tuple of (int, float, float)
        Row of an event, its factor of shares (1: none) and of price beyond that (1: no dividend);
        row n_rows is an event after the last row.
    """

    price: FloatArray
    shares: FloatArray
    events: tuple[tuple[int, float, float], ...]


def find_rebase(ratio: FloatArray, volumes: FloatArray, *, tolerance: float) -> Rebase | None:
    """Return the change of basis that explains the ratios, None where there is none.

    Parameters
    ----------
    ratio : ndarray of shape (4, n_rows)
        Log ratio of open, high, low and close told now to those stored, in time.
    volumes : ndarray of shape (n_rows,)
        The same of volumes; NaN where a volume is too small to tell.
    tolerance : float
        How far a log price ratio may be from another and still be the same.
    """
    close = ratio[-1]
    steps = np.flatnonzero(np.abs(np.diff(close)) > tolerance) + 1
    starts, ends = [0, *steps.tolist()], [*steps.tolist(), len(close)]
    price, shares = np.zeros(len(close)), np.zeros(len(close))
    for start, end in zip(starts, ends, strict=True):
        level = float(np.median(close[start:end]))
        based = abs(level) > tolerance
        if not based and end == len(close):
            continue
        split = _split_of(volumes[start:end])
        if not based or split is None or (np.abs(ratio[:, start:end] - level) > tolerance).any():
            return None
        if abs(level + split) <= tolerance:
            split = -level  # prices are told more exactly than volumes
        if end - start < MIN_STEP and not (abs(level + split) <= tolerance and _is_usual(split)):
            return None
        price[start:end], shares[start:end] = -level, split
    if not price.any():
        return None
    events = []
    for row in ends:
        after = (price[row], shares[row]) if row < len(close) else (0.0, 0.0)
        split = shares[row - 1] - after[1]
        dividend = price[row - 1] - after[0] - split
        if abs(split) <= tolerance and not tolerance < dividend <= np.log(MAX_DIVIDEND_FACTOR):
            if row == len(close) and not price[row - 1]:
                continue
            return None
        if dividend < -tolerance or dividend > np.log(MAX_DIVIDEND_FACTOR):
            return None
        paid = float(np.exp(dividend)) if dividend > tolerance else 1.0
        events.append((row, _exact(split, tolerance), paid))
    return Rebase(np.exp(price), np.exp(shares), tuple(events))


def _split_of(volumes: FloatArray) -> float | None:
    """Return the log ratio that all volumes of a step share, None where they share none."""
    told = volumes[np.isfinite(volumes)]
    if not len(told):
        return None
    ratio = float(np.median(told))
    if (np.abs(told - ratio) > VOLUME_TOLERANCE).any():
        return None
    return ratio if abs(ratio) > VOLUME_TOLERANCE else 0.0


def same_factor(one: float, other: float) -> bool:
    """Return whether two factors of an event mean the same; volumes tell them only roughly."""
    return abs(float(np.log(one / other))) <= VOLUME_TOLERANCE


def _is_usual(split: float) -> bool:
    return _usual(float(np.exp(abs(split))), 1e-3) is not None


def _usual(ratio: float, tolerance: float) -> float | None:
    """Return the ratio above 1 that splits have nearest to one, None where none is near."""
    for m in SPLIT_DENOMINATORS:
        whole = round(ratio * m)
        if whole > m and abs(ratio * m - whole) < tolerance * whole:
            return whole / m
    return None


def _exact(log_factor: float, tolerance: float) -> float:
    """Return a split without the payload's rounding where it is 1 or one that splits have."""
    if abs(log_factor) <= tolerance:
        return 1.0
    ratio = float(np.exp(abs(log_factor)))
    ratio = _usual(ratio, tolerance) or ratio
    return ratio if log_factor > 0.0 else 1.0 / ratio
