"""What only a session's bars as a whole can tell: that they are stale, or of another day. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from daemon.series import BoolArray, FloatArray, Series
from signals.errors import BarsError
from signals.panel import BASE_FIELDS, Panel

#: Share of bars that repeat the session before above which the feed is stale; by chance none does.
MAX_REPEATED = 0.05
#: Share of bars that traded below which the exchange was probably closed.
MIN_TRADED = 0.5
#: Largest distance between the cross-sectional median return and an index's.
MAX_INDEX_GAP = 0.05
#: Median ratio of volume to the last one that no session's trading explains.
MAX_VOLUME_RATIO = 30.0
#: Multiple of the usual volume below which a whole session's bars are hardly of all of it. In the
#: US until 2017, half days aside, 3 of 2,008 sessions were below; in China until 2016 1 of 966, the
#: one that the exchange broke off.
MIN_VOLUME = 0.5
#: The median of fewer rows says nothing about a market.
MIN_COMPARED = 10


def repeated_share(table: Any, before: Panel | None) -> float | None:
    """Return the share of traded assets whose volume and shape of the bar repeat the last ones.

    The shape is high/close, low/close and open/close, which no adjustment factor changes.
    """
    if before is None or not before.n_sessions:
        return None
    column = {asset: number for number, asset in enumerate(before.assets)}
    rows = [column.get(asset, -1) for asset in table.column("asset").to_pylist()]
    at = np.array(rows, dtype=np.int64)
    now = {name: np.asarray(table.column(name), dtype=np.float64) for name in BASE_FIELDS}
    last = {name: np.asarray(before.fields[name][-1])[at] for name in BASE_FIELDS}
    traded = (at >= 0) & (now["volume"] > 0) & np.isfinite(last["close"])
    same = traded & _repeats(now, last)
    return float(same.sum() / traded.sum()) if traded.any() else None


def traded_share(table: Any) -> float | None:
    """Return the share of the bars not suspended that traded at all; None without such a bar."""
    volume = np.asarray(table.column("volume"), dtype=np.float64)
    open_to_trade = ~np.asarray(table.column("suspended"), dtype=bool)
    if not open_to_trade.any():
        return None
    return float((volume[open_to_trade] > 0).mean())


def repeated_shares(series: Series) -> dict[date, float]:
    """Return, for each session with bars of the one before, the share that repeats them.

    As `repeated_share`, but beside bars as traded.
    """
    volume = series.column("volume")
    traded = series.next_day & (volume > 0)
    rows = np.flatnonzero(traded[1:] & (volume[1:] == volume[:-1])) + 1
    values = {name: series.column(name) for name in BASE_FIELDS}
    same = np.zeros_like(traded)
    same[rows] = _repeats(
        {name: value[rows] for name, value in values.items()},
        {name: value[rows - 1] for name, value in values.items()},
    )
    n_rows = series.per_day(traded)
    compared = np.flatnonzero(n_rows)
    shares = series.per_day(same)[compared] / n_rows[compared]
    return dict(zip(series.keys.days[compared].tolist(), shares.tolist(), strict=True))


def check_fresh(shares: Mapping[date, float], limit: float) -> None:
    """Raise a retryable BarsError naming the first session whose bars repeat the one before."""
    for session, share in shares.items():
        if share > limit:
            raise BarsError(
                f"{share:.0%} of the bars of {session} repeat those of the session before",
                rule=f"at most {limit:.0%} of a session's bars repeat volume and shape",
                hint="the source has not moved on: ask again later, or another source",
                retryable=True,
            )


def check_index(
    series: Series, good: BoolArray, index_returns: Mapping[date, float], gap: float
) -> None:
    """Raise a BarsError naming the first session whose median return is not like the index's.

    Parameters
    ----------
    good : ndarray of bool
        Rows of the series to count.
    index_returns : mapping of date to float
        Simple returns; sessions without one are not checked.
    gap : float
        Largest distance of the two.
    """
    moves = np.expm1(series.moves)
    for session, median in _medians(series, good, moves, index_returns.keys()).items():
        index = index_returns[session]
        if abs(median - index) > gap:
            raise BarsError(
                f"the median return of {session} is {median:.2%}, the index's {index:.2%}",
                rule=f"they are at most {gap:.0%} apart",
                hint="compare with a second source: the bars may be of another session",
            )


def check_volumes(series: Series, good: BoolArray) -> None:
    """Raise a BarsError naming the first session whose volumes are in another unit.

    Only where there is no amount, which tells the unit of each bar: see `daemon.units`.
    """
    volume = series.column("volume")
    told = good & (volume > 0) & ~(series.column("amount") > 0)
    told[1:] &= volume[:-1] > 0
    ratio = np.zeros_like(volume)
    rows = np.flatnonzero(told)
    ratio[rows] = np.log(volume[rows] / volume[rows - 1]) - series.split[rows]
    for session, median in _medians(series, told, ratio).items():
        if abs(median) > np.log(MAX_VOLUME_RATIO):
            raise BarsError(
                f"volumes of {session} are {np.exp(median):.3g} times the last ones",
                rule="volume is in shares",
                hint="the source may have gone from shares to lots, or back: correct the feed",
            )


def median_volumes(series: Series, beyond_usual: FloatArray) -> dict[date, float]:
    """Return, for each session of the batch, the median of volume over the usual one.

    Parameters
    ----------
    beyond_usual : ndarray
        As `daemon.series.against_usual` returns it.
    """
    told = series.batch & np.isfinite(beyond_usual)
    medians = _medians(series, told, beyond_usual)
    return {session: float(np.exp(median)) for session, median in medians.items()}


def _repeats(now: Mapping[str, FloatArray], last: Mapping[str, FloatArray]) -> BoolArray:
    same: BoolArray = now["volume"] == last["volume"]
    for name in ("open", "high", "low"):
        with np.errstate(invalid="ignore", divide="ignore"):
            same &= np.isclose(now[name] / now["close"], last[name] / last["close"], rtol=1e-12)
    return same


def _medians(
    series: Series, rows: BoolArray, values: FloatArray, sessions: Any = None
) -> dict[date, float]:
    """Return the median of some rows' values for each session that has enough, in time."""
    at = np.flatnonzero(rows)
    at = at[np.argsort(series.day[at].astype(np.int16), kind="stable")]
    counts = np.bincount(series.day[at], minlength=len(series.keys.days))
    parts = np.split(values[at], np.cumsum(counts)[:-1])
    days = series.keys.days.tolist()
    return {
        day: float(np.median(part))
        for day, part in zip(days, parts, strict=True)
        if len(part) >= MIN_COMPARED and (sessions is None or day in sessions)
    }
