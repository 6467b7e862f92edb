"""A step function from two rounded series: the adjustment factor between its events.

A source gives prices as traded and the same prices adjusted backward ("hfq"), both rounded. If the
adjustment multiplies, their ratio is constant between ex-dates, and each session confines it to an
interval that follows from the rounding alone. A step lasts as long as the intervals of its
sessions have a point in common. Where adjusted prices are not a multiple of the traded ones (cash
dividends added to the price instead), no such steps exist, and that is an error, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from signals.errors import BarsError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Fewest sessions between two ex-dates of an asset; closer ones are a ratio that drifts.
MIN_SESSIONS = 10
#: Relative slack for what binary floating point adds to decimal rounding.
_BINARY = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A piecewise constant ratio.

    Parameters
    ----------
    starts : ndarray of int, shape (n_steps,)
        Row at which each step begins; the first is 0.
    levels : ndarray of shape (n_steps,)
        The ratio: least squares over the step's prices, inside [`low`, `high`].
    low, high : ndarray of shape (n_steps,)
        The ratio is certainly between them, given the errors that were stated.
    """

    starts: IntArray
    levels: FloatArray
    low: FloatArray
    high: FloatArray

    def factors(self) -> FloatArray:
        """Return, for each step but the first, its level relative to the one before."""
        return self.levels[1:] / self.levels[:-1]

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Return the least and the largest value that each of `factors` can have."""
        return self.low[1:] / self.high[:-1], self.high[1:] / self.low[:-1]


def fit_steps(
    traded: FloatArray,
    adjusted: FloatArray,
    *,
    traded_error: float = 0.0,
    adjusted_error: float = 0.005,
    min_sessions: int = MIN_SESSIONS,
) -> Steps:
    """Return the fewest steps whose ratio agrees with every price within rounding.

    Each step reaches as far as it can. A step that differs from the one before by less than the
    rounding of its first sessions is therefore found some sessions late; the ratio is right within
    the rounding of every session all the same: low ≤ ratio ≤ high with
    low = (adjusted − adjusted_error) / (traded + traded_error), and high with the signs turned.

    Parameters
    ----------
    traded, adjusted : ndarray of shape (n_sessions, n_prices)
        The same prices; columns are open, high, low, close or some of them. NaN is no evidence.
    traded_error, adjusted_error : float
        Largest error of a price in yuan: half of its last decimal, 0 if it is exact.
    min_sessions : int
        A shorter step between two others is an error; the first and the last may be shorter.

    Raises
    ------
    BarsError
        No price; the prices of one session allow no common ratio; a step too short; a ratio that
        falls (ex-dates of dividends, bonus shares and rights only raise it).
    """
    low, high = _intervals(traded, adjusted, traded_error, adjusted_error)
    known = np.isfinite(low)
    if not known.any():
        raise _undetermined("there is no price")
    crossed = np.flatnonzero(low > high)
    if len(crossed):
        raise _undetermined(f"the prices of row {crossed[0]} have no ratio in common")
    starts, lows, highs = _greedy(low.tolist(), high.tolist())
    short = [
        number
        for number, (start, stop) in enumerate(pairwise(starts))
        if number and known[start:stop].sum() < min_sessions
    ]
    if short:
        raise _undetermined(f"{len(short)} of {len(starts)} steps are too short for ex-dates")
    if any(later < earlier for earlier, later in pairwise(lows)):
        raise _undetermined("the ratio falls")
    bounds = np.array(lows), np.array(highs)
    levels = np.clip(_least_squares(traded, adjusted, starts), *bounds)
    return Steps(np.array(starts, dtype=np.int64), levels, *bounds)


def _intervals(
    traded: FloatArray, adjusted: FloatArray, traded_error: float, adjusted_error: float
) -> tuple[FloatArray, FloatArray]:
    """Return the ratio's interval of each session; infinite where there is no price."""
    usable = (traded > traded_error) & (adjusted > adjusted_error)
    below = np.where(usable, traded - traded_error, 1.0)
    above = np.where(usable, traded + traded_error, 1.0)
    low = np.where(usable, (adjusted - adjusted_error) / above, -np.inf).max(axis=1)
    high = np.where(usable, (adjusted + adjusted_error) / below, np.inf).min(axis=1)
    return low * (1.0 - _BINARY), high * (1.0 + _BINARY)


def _greedy(low: list[float], high: list[float]) -> tuple[list[int], list[float], list[float]]:
    """Return where steps start and the intersection of the intervals of each."""
    starts, lows, highs = [0], [low[0]], [high[0]]
    for row in range(1, len(low)):
        joint_low, joint_high = max(lows[-1], low[row]), min(highs[-1], high[row])
        if joint_low <= joint_high:
            lows[-1], highs[-1] = joint_low, joint_high
        else:
            starts.append(row)
            lows.append(low[row])
            highs.append(high[row])
    return starts, lows, highs


def _least_squares(traded: FloatArray, adjusted: FloatArray, starts: list[int]) -> FloatArray:
    both = np.isfinite(traded) & np.isfinite(adjusted)
    products = np.where(both, traded * adjusted, 0.0).sum(axis=1)
    squares = np.where(both, traded * traded, 0.0).sum(axis=1)
    levels: FloatArray = np.add.reduceat(products, starts) / np.add.reduceat(squares, starts)
    return levels


def _undetermined(fact: str) -> BarsError:
    return BarsError(
        f"adjustment undetermined: {fact}",
        rule="adjusted over traded price is constant between ex-dates, within rounding",
        hint="take the asset's factors from a second source",
    )
