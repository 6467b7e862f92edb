"""Bars from a snapshot of the whole market, which carries no date and no factor.

The previous close in it is the exchange's, adjusted on ex-dates. Beside the last close that was
stored it tells the day's event: adjustment = stored close / previous close, within the rounding of
the latter (half a cent over the price), and it tells a snapshot of another session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from daemon.feeds.boards import is_st, is_unlimited, limit_flags, price_limits
from daemon.feeds.eastmoney import Snapshot
from daemon.feeds.eastmoney_events import CASH_ONLY, HALF_CENT
from daemon.feeds.eastmoney_history import MIN_TRADING, by_session, suspended_rows, told
from signals.errors import BarsError
from storage.bars import in_schema

#: Largest share of assets with an ex-date; beyond it a snapshot is of another session.
MAX_EX_DATES = 0.2

FloatArray = npt.NDArray[np.float64]


def check_session(snapshot: Snapshot, closes: Mapping[str, float], session: date) -> None:
    """Raise a BarsError if the previous closes are not those before the session."""
    stored = np.array([closes.get(code, np.nan) for code in snapshot.codes], dtype=np.float64)
    judged = np.isfinite(stored) & np.isfinite(snapshot.previous_close) & (snapshot.volume > 0.0)
    apart = np.abs(stored - snapshot.previous_close)[judged] >= HALF_CENT
    if apart.sum() > max(2.0, MAX_EX_DATES * len(apart)):
        raise BarsError(
            f"the snapshot is not of {session}: {apart.sum()} of {len(apart)} previous closes are"
            " not the last ones stored",
            rule="a snapshot follows on the bars of the session before",
            hint="wait for the source, or fetch the session's history",
            retryable=True,
        )


def snapshot_bars(
    snapshot: Snapshot, assets: Sequence[str], closes: Mapping[str, float], session: date
) -> tuple[Any, dict[str, str], tuple[str, ...]]:
    """Return the bars of a session, why assets have none, and what is doubtful.

    Parameters
    ----------
    assets : sequence of str
        In order; every one is in the table or missing.
    closes : mapping of str to float
        The last close as traded of each asset ever stored, NaN where sessions are lacking since. An
        asset that was never stored has its first bar here, without an event.

    Notes
    -----
    Without volume an asset is suspended, if `MIN_TRADING` of the whole snapshot traded; its row
    has no event, because the first session it trades on again tells it.
    """
    place = {code: row for row, code in enumerate(snapshot.codes)}
    missing = {asset: "empty: not in the snapshot" for asset in assets if asset not in place}
    idle = ~(snapshot.volume > 0.0)
    suspended = [asset for asset in assets if asset in place and idle[place[asset]]]
    warnings = []
    if 1.0 - idle.mean() < MIN_TRADING:
        missing |= dict.fromkeys(suspended, "empty: no volume, like much of the market")
        warnings.append(f"{idle.sum()} of {len(idle)} shares in the snapshot have no volume")
        suspended = []
    factors: dict[str, float] = {}
    for asset in assets:
        if asset in place and not idle[place[asset]]:
            event = _factor(closes.get(asset), float(snapshot.previous_close[place[asset]]))
            if isinstance(event, str):
                missing[asset] = event
            else:
                factors[asset] = event
    rows = np.array([place[asset] for asset in factors], dtype=np.int64)
    table = _rows(snapshot, rows, np.array(list(factors.values())), session)
    shared = [asset for asset, factor in factors.items() if factor > CASH_ONLY]
    warnings += told(shared, "events may hold bonus shares: split is 1 until a history is read")
    day = np.array([session], dtype="datetime64[D]")
    return by_session([table, suspended_rows(suspended, day)]), missing, tuple(warnings)


def _factor(stored: float | None, previous: float) -> float | str:
    """Return an event's factor, or why it cannot be told."""
    if stored is None:
        return 1.0
    if not np.isfinite(stored):
        return "adjustment undetermined: sessions before this one are not stored"
    if not previous > 0.0:
        return "failed: traded without a previous close"
    if abs(stored - previous) < HALF_CENT:
        return 1.0
    if previous > stored:
        return f"adjustment undetermined: previous close {previous:g} above the stored {stored:g}"
    return stored / previous


def _rows(
    snapshot: Snapshot, rows: npt.NDArray[np.int64], factors: FloatArray, session: date
) -> Any:
    names = [snapshot.names[row] for row in rows]
    codes = [snapshot.codes[row] for row in rows]
    st = [is_st(name) for name in names]
    prices, previous = snapshot.prices[rows], snapshot.previous_close[rows]
    flag_up, flag_down = limit_flags(
        prices[:, 1],
        prices[:, 2],
        prices[:, 3],
        previous,
        _percents(codes, names, st, session),
    )
    cash = (factors > 1.0) & (factors <= CASH_ONLY)
    columns = {
        "session": np.full(len(rows), np.datetime64(session, "D")),
        "asset": pa.array(codes, pa.string()),
        **{
            name: pa.array(prices[:, column], from_pandas=True)
            for column, name in enumerate(("open", "high", "low", "close"))
        },
        "volume": pa.array(snapshot.volume[rows], from_pandas=True),
        "amount": pa.array(snapshot.amount[rows], from_pandas=True),
        "adjustment": factors,
        "dividend": np.where(cash, np.round(previous * (factors - 1.0), 2), 0.0),
        "st": pa.array(st, pa.bool_()),
        "limit_up": flag_up,
        "limit_down": flag_down,
    }
    return in_schema(pa.table(columns))


def _percents(
    codes: Sequence[str], names: Sequence[str], st: Sequence[bool], session: date
) -> npt.NDArray[np.int64]:
    """Return each asset's limit in percent, 0 where it has none."""
    day = np.array([session], dtype="datetime64[D]")
    return np.array(
        [
            0 if is_unlimited(name) else int(price_limits(code, day, st=warned)[0])
            for code, name, warned in zip(codes, names, st, strict=True)
        ],
        dtype=np.int64,
    )
