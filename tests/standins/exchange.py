"""When the two exchanges trade: the sessions of a stand-in's market, their opens and closes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

SessionArray = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Exchange:
    """One market's exchange.

    Parameters
    ----------
    code : str
        As exchange_calendars knows it.
    zone : ZoneInfo
    opens, closes : time
        Of a usual session, local.
    index : str
        The index whose members the market's assets are.
    """

    code: str
    zone: ZoneInfo
    opens: time
    closes: time
    index: str


EXCHANGES = {
    "us": Exchange("XNYS", ZoneInfo("America/New_York"), time(9, 30), time(16), "^GSPC"),
    "cn": Exchange("XSHG", ZoneInfo("Asia/Shanghai"), time(9, 30), time(15), "000905"),
}


def sessions_between(market: str, first: date, last: date) -> tuple[date, ...]:
    """Return the sessions of a market; beyond the exchange's calendar, its weekdays."""
    known, end = _known(market, first, last)
    beyond = (end + timedelta(days=n) for n in range(1, (last - end).days + 1))
    return (*known, *(day for day in beyond if day >= first and day.weekday() < 5))


def trading_hours(market: str, sessions: Sequence[date]) -> tuple[SessionArray, SessionArray]:
    """Return the opens and closes of sessions in UTC, half days as the exchange has them.

    Returns
    -------
    ndarray of datetime64[s], shape (n_sessions,), twice
    """
    exchange = EXCHANGES[market]
    known, _ = _known(market, sessions[0], sessions[-1])
    opens = [_utc(day, exchange.opens, exchange.zone) for day in sessions]
    closes = [known.get(day) or _utc(day, exchange.closes, exchange.zone) for day in sessions]
    return np.array(opens, dtype="datetime64[s]"), np.array(closes, dtype="datetime64[s]")


def _utc(day: date, local: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, local, zone).astimezone(UTC).replace(tzinfo=None)


def _known(market: str, first: date, last: date) -> tuple[dict[date, datetime], date]:
    """Return the closes that the exchange's own calendar has, and the last day it covers."""
    import exchange_calendars

    code = EXCHANGES[market].code
    with warnings.catch_warnings():  # its own calls into pandas 3 are deprecated (4.13.2)
        warnings.simplefilter("ignore", DeprecationWarning)
        bound = exchange_calendars.get_calendar(code).bound_max()
        end = last if bound is None else min(last, bound.date())
        if end < first:
            return {}, end
        # a margin, because it wants two sessions at least
        calendar = exchange_calendars.get_calendar(code, start=first - timedelta(20), end=end)
    days = calendar.sessions_nanos.astype("datetime64[ns]").astype("datetime64[D]").tolist()
    closes = calendar.closes_nanos.astype("datetime64[ns]").astype("datetime64[s]").tolist()
    return {day: close for day, close in zip(days, closes, strict=True) if day >= first}, end
