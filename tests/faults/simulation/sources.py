"""The two markets' sources of bars: what is true, and how it is told while something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daemon.calendar import MarketCalendar, Overlay
from daemon.feeds.protocol import Parsed, Request
from daemon.feeds.simulated import SimulatedFeed
from daemon.simulation import PlantedAlpha
from signals.errors import FeedError
from storage.bars import BAR_SCHEMA
from tests.faults.simulation.edges import World

CALENDARS = {"us": "XNYS", "cn": "XSHG"}
#: Which market asks a provider, whose first telling is provisional.
LIVE = "us"
N_ASSETS = 30
#: Minutes after the close at which bars are final.
FINALITY = 90
#: Strong enough to be seen among few assets, until it dies; and one that is found by mining.
ALPHAS = (
    PlantedAlpha("reversal", "-1 * TS_PCTCHANGE($close, 5)", ((150, 0.25), (170, 0.0))),
    PlantedAlpha("newcomer", "($high - $close) / ($high - $low)", ((0, 0.2),)),
)
#: Sessions of the markets before the simulation begins.
HISTORY = 104
_KNOWN: dict[str, MarketCalendar] = {
    name: MarketCalendar(exchange, Overlay()) for name, exchange in CALENDARS.items()
}


@cache
def truth(name: str, first: date, last: date) -> dict[date, Any]:
    """Return the bars of each session of the exchange, without any closure."""
    calendar = _KNOWN[name]
    feed = SimulatedFeed(
        calendar, seed=4 + len(name), n_assets=N_ASSETS, start=first, alphas=ALPHAS
    )
    days = calendar.sessions(first, last)
    return {day: feed.fetch(Request(name, (day,))) for day in days}


def exchange(name: str) -> MarketCalendar:
    """Return the calendar of a market's exchange before any ad hoc closure."""
    return _KNOWN[name]


@dataclass
class Source:
    """What a market's provider knows, and what is wrong with it.

    Parameters
    ----------
    name : str
        The market.
    world : World
        Tells the true time: a bar is told once its session is final, whatever the daemon's clock.
    bars : mapping of date to pyarrow.Table
        What is true; corrections change it.
    """

    name: str
    world: World
    bars: dict[date, Any]
    #: Days on which the exchange was closed after all.
    closed: set[date] = field(default_factory=set)
    #: What is wrong now: a key of `TROUBLES`.
    trouble: str | None = None
    #: Said by a provider's error, as a careless client would.
    secret: str = ""
    #: Sessions told falsely once, to be told right from then on.
    corrected: set[date] = field(default_factory=set)

    def is_final(self, day: date) -> bool:
        """Return whether the bars of a session are to be had by now."""
        close = exchange(self.name).finality(day, FINALITY)
        return day not in self.closed and close <= self.world.true_time

    def tell(self, sessions: Sequence[date]) -> Any:
        """Return the bars of those sessions that there are, as the provider tells them now."""
        there = [day for day in sessions if day in self.bars and self.is_final(day)]
        if self.trouble is not None:
            return TROUBLES[self.trouble](self, there)
        return _joined([self.bars[day] for day in there])

    def correct(self, day: date, column: int, factor: float) -> None:
        """Change what is true of one asset's bar of a session by a factor."""
        self.bars[day] = scaled(self.bars[day], column, factor)


def _joined(tables: Sequence[Any]) -> Any:
    return pa.concat_tables(tables).combine_chunks() if tables else BAR_SCHEMA.empty_table()


def scaled(table: Any, row: int, factor: float) -> Any:
    """Return bars with the prices of one row multiplied."""
    change = np.ones(table.num_rows)
    change[row] = factor
    for name in ("open", "high", "low", "close"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, BAR_SCHEMA.field(name), pc.multiply(table[name], change))
    return table


def _silent(source: Source, _there: Sequence[date]) -> Any:
    raise FeedError(
        f"the provider of {source.name} does not answer: https://api/?token={source.secret}",
        rule="a source answers",
        hint="wait",
        retryable=True,
    )


def _unforeseen(source: Source, _there: Sequence[date]) -> Any:
    raise KeyError(f"nobody foresaw this of {source.name}")


def _without_last(source: Source, there: Sequence[date]) -> Any:
    return _joined([source.bars[day] for day in there[:-1]])


def _last(source: Source, there: Sequence[date]) -> tuple[list[Any], Any]:
    """Return the bars before the last session asked for, and its own."""
    if not there:
        return [], BAR_SCHEMA.empty_table()
    return [source.bars[day] for day in there[:-1]], source.bars[there[-1]]


def _partial(source: Source, there: Sequence[date]) -> Any:
    before, last = _last(source, there)
    return _joined([*before, last.slice(0, last.num_rows // 3)])


def _thin(source: Source, there: Sequence[date]) -> Any:
    before, last = _last(source, there)
    return _joined([*before, last.slice(0, last.num_rows * 4 // 5)])


def _stale(source: Source, there: Sequence[date]) -> Any:
    before, last = _last(source, there)
    days = sorted(day for day in source.bars if day < there[-1]) if there else []
    if not days:
        return _joined([*before, last])
    old = source.bars[days[-1]]
    day = pa.repeat(pa.scalar(there[-1], pa.date32()), old.num_rows)
    return _joined([*before, old.set_column(0, BAR_SCHEMA.field("session"), day)])


def _nan(source: Source, there: Sequence[date]) -> Any:
    before, last = _last(source, there)
    table = last
    for row in range(min(2, last.num_rows)):
        table = scaled(table, row, float("nan"))
    return _joined([*before, table])


def _nan_all(source: Source, there: Sequence[date]) -> Any:
    before, last = _last(source, there)
    table = last
    for row in range(last.num_rows):
        table = scaled(table, row, float("nan"))
    return _joined([*before, table])


def _duplicated(source: Source, there: Sequence[date]) -> Any:
    before, last = _last(source, there)
    return _joined([*before, last, last.slice(0, 3)])


def _false_once(source: Source, there: Sequence[date]) -> Any:
    """Tell one bar of the last session falsely, the first time that it is told."""
    before, last = _last(source, there)
    if not there or there[-1] in source.corrected:
        return _joined([*before, last])
    source.corrected.add(there[-1])
    return _joined([*before, scaled(last, 5, 1.01)])


#: What a provider may do wrong.
TROUBLES = {
    "silent": _silent,
    "unforeseen": _unforeseen,
    "missing session": _without_last,
    "partial": _partial,
    "thin": _thin,
    "stale": _stale,
    "NaN": _nan,
    "all NaN": _nan_all,
    "duplicated": _duplicated,
    "false once": _false_once,
}


class FileFeed:
    """A market whose bars are final at once, as those of files are."""

    reconstructed = False

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = "simulated"

    def history(self, last: date) -> date | None:
        first = min(self.source.bars)
        return first if first <= last else None

    def fetch(self, request: Request) -> Any:
        table = self.source.tell(request.sessions)
        if request.assets is None:
            return table
        return table.filter(pc.is_in(table["asset"], value_set=pa.array(request.assets)))


class ProviderFeed(FileFeed):
    """A market that asks a provider: provisional first, final when a second telling agrees."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.name = "yahoo"

    def fetch_parsed(self, request: Request) -> Parsed:
        table = self.fetch(request)
        there = set(pc.unique(table["asset"]).to_pylist())
        missing = {a: "empty: nothing told" for a in request.assets or () if a not in there}
        return Parsed(table, missing, dict.fromkeys(there, f"{len(there):064x}"), ())


def begin_of(first: date) -> date:
    """Return the first session that is lived through; one of both markets."""
    common = sorted(
        set(exchange("us").sessions(first, first + timedelta(days=400)))
        & set(exchange("cn").sessions(first, first + timedelta(days=400)))
    )
    return common[HISTORY]
