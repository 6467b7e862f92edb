"""RankIC by horizon: how long after it is known a factor still ranks what assets earn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from signals.ic import MeanEstimate, hac_lags, mean_with_interval, rank_ic
from signals.labels import forward_returns
from signals.panel import FloatArray

#: Sessions held.
HORIZONS = (1, 2, 3, 5, 10, 20)
#: Realised sessions of the recent mean.
RECENT = 250


@dataclass(frozen=True, slots=True)
class HorizonEstimate:
    """The mean RankIC against returns of one horizon, lately and over the baseline.

    Parameters
    ----------
    horizon : int
        Sessions held.
    recent, baseline : MeanEstimate
        With 95 % HAC intervals that cover the overlap of labels; `n` is 0 where there is none.
    """

    horizon: int
    recent: MeanEstimate
    baseline: MeanEstimate

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; NaN becomes null."""
        return {
            "horizon": self.horizon,
            "recent": self.recent.to_json(),
            "baseline": self.baseline.to_json(),
        }


def rank_ic_by_horizon(
    factor: FloatArray,
    close: FloatArray,
    *,
    baseline: slice,
    lag: int = 1,
    horizons: Sequence[int] = HORIZONS,
    recent: int = RECENT,
    min_assets: int = 30,
) -> tuple[HorizonEstimate, ...]:
    """Return the mean RankIC of a factor against the returns of several horizons.

    Parameters
    ----------
    factor : ndarray of shape (n_sessions, n_assets)
        Values known at the close of each session.
    close : ndarray of shape (n_sessions, n_assets)
        Closing prices adjusted forward.
    baseline : slice
        Rows of the baseline, in steps of 1.
    lag : int
        Sessions between knowing and trading; a label of horizon h is
        ``close[t + lag + h] / close[t + lag] - 1``.
    horizons : sequence of int
        Sessions held.
    recent : int
        Sessions of the recent mean: the last so many whose label of that horizon is realised.
    min_assets : int
        Sessions with fewer assets finite in both have no RankIC, and are left out of the means.

    Returns
    -------
    tuple of HorizonEstimate
        In the order of `horizons`.

    Raises
    ------
    DataError
        If the shapes differ, `lag` is negative or a horizon is below 1.
    """
    found = []
    for horizon in horizons:
        label = forward_returns(close, lag=lag, horizon=horizon)
        series = rank_ic(factor, label, min_assets=min_assets)
        realised = series[: max(len(series) - lag - horizon, 0)]
        lately, before = realised[max(len(realised) - recent, 0) :], realised[baseline]
        found.append(HorizonEstimate(horizon, _mean(lately, horizon), _mean(before, horizon)))
    return tuple(found)


def _mean(series: FloatArray, horizon: int) -> MeanEstimate:
    return mean_with_interval(series, lags=hac_lags(len(series), horizon=horizon))
