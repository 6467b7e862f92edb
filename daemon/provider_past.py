"""What a fallback is to know of the past: the stored bars, and who told them since when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow.compute as pc

from daemon.clock import Clock
from daemon.feeds.switch import Switch, Switches
from storage import data
from storage.bars import NOW, BarStore, last_told
from storage.database import Database

#: How far back stored bars are read: well over the sessions that two providers are compared on.
RECENT = timedelta(days=300)


def stored_reader(bars: BarStore, market: str, clock: Clock) -> Callable[[Sequence[str]], Any]:
    """Return what reads the stored bars of some assets, as a fallback is to compare with.

    Those of the last `RECENT` are enough, and of an asset that has none of these all there are.
    """

    def stored(assets: Sequence[str]) -> Any:
        def since(first: date, some: Sequence[str]) -> Any:
            return bars.bars(market, as_of=NOW, first=first, last=date.max, assets=list(some))

        lately = since((clock.now() - RECENT).date(), assets)
        there = set(pc.unique(lately["asset"]).to_pylist())
        others = [asset for asset in assets if asset not in there]
        return last_told([lately, since(date.min, others)]) if others else lately

    return stored


def switch_reader(database: Database, market: str) -> Callable[[], Switches]:
    """Return what reads every stored change of provider."""

    def switched() -> Switches:
        with database.read() as conn:
            rows = data.switches(conn, market)
        found: dict[str, tuple[Switch, ...]] = {}
        for row in rows:
            switch = Switch(row.asset, row.before, row.after, row.session, None)
            found[row.asset] = (*found.get(row.asset, ()), switch)
        return found

    return switched
