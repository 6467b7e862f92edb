"""Events of a Chinese share, told from its prices as traded and adjusted backward.

The ratio of the two gives the factor (see `daemon.feeds.steps`). It does not say how much of an
event was cash and how much bonus shares; the traded shares do: volume over turnover, both rounded,
confines them to an interval in each session, before an ex-date and after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.feeds.eastmoney import LOT, History
from daemon.feeds.steps import Steps, fit_steps
from signals.errors import BarsError

FloatArray = npt.NDArray[np.float64]

#: Half of the last decimal of a price in yuan, and of a turnover in percent.
HALF_CENT = 0.005
#: A factor up to this is taken for cash: bonus shares come by the tenth, 1.1 and more.
CASH_ONLY = 1.05
#: Share multipliers of bonus issues, 1 to 30 for 10.
_BONUSES = tuple(1.0 + tenths / 10.0 for tenths in range(1, 31))
#: Sessions before and after an ex-date in which the traded shares are looked for.
_AROUND = 20


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """What happened on each session, and what could not be told.

    Parameters
    ----------
    adjustment, split, dividend : ndarray of shape (n_sessions,)
        As in `storage.bars.BAR_SCHEMA`: 1, 1 and 0 where nothing happened. `dividend` is the cash
        that the factor implies; a rights issue up to `CASH_ONLY` is read as cash.
    undivided : tuple of int
        Rows of events that may hold bonus shares the volume does not tell: `split` is 1 and
        `dividend` 0 there, while `adjustment` is right.
    """

    adjustment: FloatArray
    split: FloatArray
    dividend: FloatArray
    undivided: tuple[int, ...]


def find_events(traded: History, adjusted: History) -> Events:
    """Return the events of a share.

    Prices as traded lie on the tick of 0.01 and are taken as exact; where no steps fit so, as
    rounded. How far a factor may be off is told by `Steps.bounds`: between two steps of 60 sessions
    at 20 yuan, adjusted to 25, it is known to 3e-5; where the level before it is 1, to 5e-4 (the
    estimate is within 1e-5 in both); where prices are taken as rounded, to 1e-3.

    Parameters
    ----------
    traded, adjusted : History
        On the same sessions: unadjusted and "hfq".

    Raises
    ------
    BarsError
        Different sessions, or no steps: see `fit_steps`. Quarantine the asset.
    """
    if not np.array_equal(traded.days, adjusted.days):
        raise BarsError(
            f"adjustment undetermined: {len(np.setxor1d(traded.days, adjusted.days))} sessions are"
            " only in the traded or only in the adjusted prices",
            rule="both are of the same sessions",
            hint="fetch both again",
        )
    steps = _steps(traded, adjusted)
    n = len(traded.days)
    adjustment, split, dividend = np.ones(n), np.ones(n), np.zeros(n)
    undivided = []
    stops = [*steps.starts[1:].tolist(), n]
    highest = steps.bounds()[1]
    for number, factor in enumerate(steps.factors().tolist()):
        begun, row, stop = int(steps.starts[number]), stops[number], stops[number + 1]
        adjustment[row] = factor
        multiplier = _multiplier(traded, begun, row, stop, float(highest[number]))
        if multiplier is None:
            undivided.append(row)
            continue
        split[row] = multiplier
        closes = traded.close[:row]
        last = closes[np.isfinite(closes)][-1]
        dividend[row] = max(last * (1.0 - multiplier / factor), 0.0)
    return Events(adjustment, split, dividend, tuple(undivided))


def _steps(traded: History, adjusted: History) -> Steps:
    try:
        return fit_steps(traded.prices, adjusted.prices, adjusted_error=HALF_CENT)
    except BarsError:
        return fit_steps(
            traded.prices, adjusted.prices, traded_error=HALF_CENT, adjusted_error=HALF_CENT
        )


def _multiplier(traded: History, begun: int, row: int, stop: int, highest: float) -> float | None:
    """Return the share multiplier of the event on a row, None where the volume does not tell."""
    if highest <= CASH_ONLY:
        return 1.0
    before = _shares(traded, max(begun, row - _AROUND), row)
    after = _shares(traded, row, min(stop, row + _AROUND))
    if before is None or after is None:
        return None
    low, high = after[0] / before[1], after[1] / before[0]
    fitting = [bonus for bonus in (1.0, *_BONUSES) if low <= bonus <= min(high, highest)]
    return fitting[0] if len(fitting) == 1 else None


def _shares(traded: History, start: int, stop: int) -> tuple[float, float] | None:
    """Return the least and the largest number of shares that may be traded on all of some rows."""
    volume, turnover = traded.volume[start:stop], traded.turnover[start:stop]
    usable = (volume > LOT) & (turnover > 2 * HALF_CENT)
    volume, percent = volume[usable], turnover[usable] / 100.0
    if not len(volume):
        return None
    half = HALF_CENT / 100.0
    low = ((volume - LOT / 2) / (percent + half)).max()
    high = ((volume + LOT / 2) / (percent - half)).min()
    return (float(low), float(high)) if low <= high else None
