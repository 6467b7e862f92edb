"""The real panels, read where they lie."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

from daemon.calendar import MarketCalendar
from daemon.feeds.parquet import ParquetFeed
from daemon.feeds.protocol import Request
from signals.errors import ConfigError
from signals.panel import Panel
from storage.assembly import FIELDS, assemble
from storage.membership import Membership, read_membership

#: File of bars, file of constituents and calendar by market.
MARKETS = {
    "cn": ("cn_2013_2019.parquet", "csi500_intervals.csv", "XSHG"),
    "us": ("us_2010_2022.parquet", "sp500_intervals.csv", "XNYS"),
}


def shared_folder() -> Path:
    """Return where the real bars lie beside the repository."""
    return Path(__file__).resolve().parents[2] / "shared" / "data"


def load_panel(folder: Path, market: str, last: date | None = None) -> Panel:
    """Return the bars of a market with the members of each session as its universe.

    Parameters
    ----------
    folder : Path
        Holds the files of `MARKETS`.
    last : date, optional
        Last session; all of them when not given.

    Raises
    ------
    ConfigError
        The folder is not there.
    """
    bars, members, exchange = MARKETS[market]
    if not (folder / bars).exists():
        raise ConfigError(
            f"{folder / bars} does not exist",
            rule="this bench reads real bars where they lie; none are part of the repository",
            hint="name their folder with --shared",
        )
    feed = ParquetFeed(folder / bars)
    end = last or date(2100, 1, 1)
    first = feed.history(end)
    if first is None:
        raise ConfigError(f"{bars} begins after {end}", rule="a panel has at least one session")
    sessions = MarketCalendar(exchange).sessions(first, min(end, date(2022, 12, 31)))
    rows = assemble([(1, feed.fetch(Request(market, tuple(sessions))))])
    panel = Panel(
        sessions=rows.sessions,
        assets=tuple(rows.columns),
        fields={name: rows.values[:, plane].copy() for plane, name in enumerate(FIELDS)},
        universe=rows.present,
    )
    membership = Membership(read_membership(folder / members))
    return replace(
        panel, universe=panel.universe & membership.universe(panel.sessions, panel.assets)
    )
