"""Whether two sources tell the same about an asset, so that one may go on where the other ends.

Pure. Sources may have their prices on different bases; their adjusted returns must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from daemon.series import FloatArray, Series, build_series
from daemon.validation import IntArray
from signals.errors import BarsError
from signals.panel import SessionArray


@dataclass(frozen=True, slots=True)
class Overlap:
    """How two sources agree on the sessions both have.

    Parameters
    ----------
    n_assets : int
    n_sessions : int
        Fewest common sessions of an asset.
    gap : float
        Largest distance of two adjusted returns, as a fraction.
    asset : str
        Whose that is.
    session : date
        When it is.
    """

    n_assets: int
    n_sessions: int
    gap: float
    asset: str
    session: date


def overlap_check(a: Any, b: Any, *, min_sessions: int = 60, bound: float = 5e-4) -> Overlap:
    """Return how two sources agree, or refuse to put one behind the other.

    Parameters
    ----------
    a, b : pyarrow.Table
        Bars in `storage.bars.BAR_SCHEMA`, as traded with their factors. Every asset of `b` that
        `a` has is compared, from each common session to the next one; sessions on which one of
        them is suspended are not common.
    min_sessions : int
        Fewest common sessions of an asset.
    bound : float
        Largest distance of two adjusted simple returns; 5e-4 is 5 basis points.

    Raises
    ------
    BarsError
        No common asset; an asset with too few common sessions; returns further apart, naming the
        asset and session where they are furthest.
    """
    one, other = build_series(a, None), build_series(b, None)
    known = set(one.keys.names)
    common = [name for name in other.keys.names if name in known]
    if not common:
        raise BarsError(
            "the two sources have no asset in common",
            rule="a source goes on where another ends only for assets both have",
            hint="check the mapping of symbols",
        )
    days = np.union1d(one.keys.days, other.keys.days)
    shared, in_one, in_other = np.intersect1d(
        _numbers(one, common, days),
        _numbers(other, common, days),
        assume_unique=True,
        return_indices=True,
    )
    ours = shared >= 0
    shared, in_one, in_other = shared[ours], in_one[ours], in_other[ours]
    asset, day = np.divmod(shared, len(days))
    n_shared = np.bincount(asset, minlength=len(common))
    few = int(np.argmin(n_shared))
    if n_shared[few] < min_sessions:
        last = day[asset == few]
        until = f", the last on {days[last[-1]]}" if len(last) else ""
        raise BarsError(
            f"{common[few]} has {n_shared[few]} sessions in both sources{until}",
            rule=f"two sources are compared on at least {min_sessions} sessions of each asset",
            hint="fetch a longer window from the second source",
        )
    returns = [
        np.expm1(np.diff(level[rows]))
        for level, rows in ((_levels(one), in_one), (_levels(other), in_other))
    ]
    gap = np.where(asset[1:] == asset[:-1], np.abs(returns[0] - returns[1]), 0.0)
    worst = int(np.argmax(gap))
    name, session = common[asset[worst + 1]], days[day[worst + 1]].item()
    if gap[worst] > bound:
        n_off = int((gap > bound).sum())
        raise BarsError(
            f"{name} returns {returns[0][worst]:.4%} on {session} in one source and "
            f"{returns[1][worst]:.4%} in the other ({n_off} returns differ in all)",
            rule=f"adjusted returns of two sources are within {bound * 1e4:g} basis points",
            hint="keep the first source for this asset, or load its whole history from the second",
        )
    return Overlap(len(common), int(n_shared[few]), float(gap[worst]), name, session)


def _numbers(series: Series, common: list[str], days: SessionArray) -> IntArray:
    """Return the key of each traded row as one number; rows of other assets are negative."""
    place = {name: number for number, name in enumerate(common)}
    asset = np.array([place.get(name, -1) for name in series.keys.names], dtype=np.int64)
    day = np.searchsorted(days, series.keys.days)[series.day]
    numbers = asset[series.asset] * len(days) + day
    return np.where(asset[series.asset] < 0, -1 - np.arange(len(numbers)), numbers)


def _levels(series: Series) -> FloatArray:
    """Return the log of the adjusted close, up to a constant for each asset."""
    return series.price + series.idle + np.cumsum(series.event)
