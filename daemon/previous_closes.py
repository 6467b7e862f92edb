"""The last closes as traded before a session, from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow.compute as pc

from daemon.calendar import MarketCalendar
from daemon.validation import keys_of, numbers_of
from storage.bars import NOW, BarStore

#: Sessions that are looked at first; only a longer suspension needs older ones.
WINDOW = 40


@dataclass(frozen=True)
class PreviousCloseReader:
    """Reads what `daemon.feeds.akshare.PreviousCloses` is to tell."""

    bars: BarStore
    market: str
    calendar: MarketCalendar

    def __call__(self, session: date) -> Mapping[str, float]:
        """Return the last close as traded before a session of each asset ever stored.

        NaN where the store lacks a session since then; one of a suspension is not lacking.
        """
        last = self.calendar.previous_session(session)
        before = self._rows(self.calendar.previous_session(session, WINDOW), last)
        names = self.bars.assets(self.market, as_of=NOW, last_session=last)
        closes = dict.fromkeys(names, float("nan"))
        closes |= last_closes(before, self.calendar, last)
        idle = [
            asset
            for asset in pc.unique(before["asset"]).to_pylist()
            if not np.isfinite(closes[asset]) and _all_suspended(before, asset, WINDOW)
        ]
        if idle:
            older = self._rows(date.min, last, idle)
            closes |= last_closes(older, self.calendar, last)
        return closes

    def _rows(self, first: date, last: date, assets: list[str] | None = None) -> Any:
        return self.bars.bars(self.market, as_of=NOW, first=first, last=last, assets=assets)


def last_closes(table: Any, calendar: MarketCalendar, last: date) -> dict[str, float]:
    """Return the last traded close of each asset that has a row in every session after it."""
    if not table.num_rows:
        return {}
    keys = keys_of(table)
    sessions = np.array(calendar.sessions(keys.days[0].item(), last), dtype="datetime64[D]")
    rows_left = len(sessions) - np.searchsorted(sessions, keys.days)
    traded = ~numbers_of(table, "suspended").astype(bool)
    close = numbers_of(table, "close")
    closes = {}
    order = np.lexsort((keys.day, keys.asset))
    for part in np.split(order, np.flatnonzero(np.diff(keys.asset[order])) + 1):
        at = np.flatnonzero(traded[part])
        if not len(at):
            continue
        row = part[at[-1]]
        whole = len(part) - at[-1] == rows_left[keys.day[row]]
        closes[keys.names[keys.asset[row]]] = float(close[row]) if whole else float("nan")
    return closes


def _all_suspended(table: Any, asset: str, n_sessions: int) -> bool:
    rows = table.filter(pc.equal(table["asset"], asset))
    return rows.num_rows >= n_sessions and bool(pc.all(rows["suspended"]).as_py())
