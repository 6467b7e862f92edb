"""Turnover: how much of what a factor ranks first and last changes from session to session."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from signals.errors import DataError
from signals.ic import rank_ic
from signals.panel import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Turnover:
    """What changes from one session to the next, on average.

    Parameters
    ----------
    top, bottom : float or None
        Share of the assets ranked in the top (bottom) part that were not there the session before,
        in [0, 1].
    rank_autocorrelation : float or None
        Spearman correlation of the values of two neighbouring sessions.
    n : int
        Pairs of neighbouring sessions that were compared. Without one the others are None.
    """

    top: float | None
    bottom: float | None
    rank_autocorrelation: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return the fields as JSON values."""
        return asdict(self)


def mean_turnover(factor: FloatArray, *, share: float = 0.2, min_assets: int = 30) -> Turnover:
    """Return how much of a factor's top and bottom changes per session.

    Parameters
    ----------
    factor : ndarray of shape (n_sessions, n_assets)
        Values known at the close of each session; NaN where missing. Consecutive sessions.
    share : float
        Part of the assets that is the top, and the bottom; rounded down, at least one asset. Of
        equal values at its edge those of the first columns are in the bottom, in every session.
    min_assets : int
        A pair of sessions is compared where each has so many assets.

    Raises
    ------
    DataError
        If `share` is not above 0 and at most 1/2.
    """
    if not 0 < share <= 0.5:
        raise DataError(f"a share of {share:g}", rule="0 < share <= 1/2 of the assets")
    counts = np.isfinite(factor).sum(axis=1)
    enough = counts >= max(min_assets, 2)
    pairs = enough[1:] & enough[:-1]
    n = int(pairs.sum())
    if not n:
        return Turnover(None, None, None, 0)
    places = np.argsort(np.where(np.isfinite(factor), factor, np.inf), axis=1, kind="stable")
    place = np.empty_like(places)
    np.put_along_axis(place, places, np.arange(factor.shape[1])[None], axis=1)
    size = np.maximum((counts * share).astype(np.int64), 1)[:, None]
    bottom = place < size
    top = (place >= counts[:, None] - size) & (place < counts[:, None])
    correlation = rank_ic(factor[1:], factor[:-1], min_assets=min_assets)
    known = correlation[np.isfinite(correlation)]
    return Turnover(
        top=_changed(top, pairs),
        bottom=_changed(bottom, pairs),
        rank_autocorrelation=float(known.mean()) if len(known) else None,
        n=n,
    )


def _changed(member: BoolArray, pairs: BoolArray) -> float:
    """Return the mean share of members that were none in the session before."""
    new = (member[1:] & ~member[:-1]).sum(axis=1)
    return float((new / np.maximum(member[1:].sum(axis=1), 1))[pairs].mean())
