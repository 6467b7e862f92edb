"""What a series of returns was worth: annual return, information ratio, drawdown.

By qlib's definitions (`risk_analysis`, mode `sum`): returns add up instead of compounding, so that
figures stand beside published ones. qlib counts 238 sessions a year; most others 252.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signals.panel import FloatArray

#: Sessions of a year in qlib, and in most other places.
QLIB_YEAR, USUAL_YEAR = 238, 252


@dataclass(frozen=True)
class Performance:
    """Figures of one series of returns.

    Parameters
    ----------
    annual_return : float
        Mean return times the sessions of a year, as a fraction.
    volatility : float
        Standard deviation (n - 1) times the root of the sessions of a year.
    information_ratio : float
        Mean over standard deviation, annualised; NaN where nothing varies.
    max_drawdown : float
        Largest fall of the sum of returns from its highest point so far; 0 or below.
    n_sessions : int
        Returns that are defined.
    """

    annual_return: float
    volatility: float
    information_ratio: float
    max_drawdown: float
    n_sessions: int


def performance(returns: FloatArray, *, year: int = QLIB_YEAR) -> Performance:
    """Return the figures of a series of returns.

    Parameters
    ----------
    returns : ndarray of shape (n_sessions,)
        Fractions, mostly in excess of a benchmark; NaN are left out.
    year : int
        Sessions of a year.
    """
    known = returns[np.isfinite(returns)]
    if len(known) < 2:
        return Performance(np.nan, np.nan, np.nan, np.nan, len(known))
    mean, deviation = float(known.mean()), float(known.std(ddof=1))
    total = known.cumsum()
    return Performance(
        annual_return=mean * year,
        volatility=deviation * year**0.5,
        information_ratio=mean / deviation * year**0.5 if deviation > 0.0 else np.nan,
        max_drawdown=float((total - np.maximum.accumulate(total)).min()),
        n_sessions=len(known),
    )
