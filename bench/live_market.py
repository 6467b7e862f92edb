"""Markets for the benches of live data: books of bars, settings, an opened state directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.live_sent import Recording, Sent
from bench.panels import MARKETS, shared_folder
from daemon.clock import ReplayClock
from daemon.context import build_market, open_context
from daemon.settings import Settings, build_settings
from tests.daemon.live import CALENDARS, INDEX_NAMES, KINDS, LiveMarket, small_index
from tests.standins.book import MarketBook

#: Mean seconds between two requests: none to speak of.
PACE = 0.001
#: Members of an invented index: as many as its list is believed to have.
MEMBERS = {"us": 503, "cn": 500}


@dataclass(frozen=True)
class Chosen:
    """Which bars a bench is run on.

    Parameters
    ----------
    market : str
        "us" or "cn".
    assets : int or None
        None takes all: of the files those that were ever members, of an invented market 4 % more
        than its index has.
    years : float
        Of history, where the bars reach back so far.
    invented : bool
        An invented market that trades until today, in place of the files.
    shared : Path or None
        Where the files lie; None takes the folder beside the repository.
    """

    market: str
    assets: int | None = None
    years: float = 10.0
    invented: bool = False
    shared: Path | None = None

    def book(self, more: int = 0) -> MarketBook:
        """Return the bars of the last `years` and `more` sessions."""
        span = timedelta(days=365.25 * self.years + 366 * more / 240)
        if self.invented:
            today = datetime.now(UTC).date()
            n_members = min(MEMBERS[self.market], self.assets or MEMBERS[self.market])
            return MarketBook.synthetic(
                self.market, n_members + max(1, n_members // 25), today - span, today,
                n_members=n_members,
            )  # fmt: skip
        bars, members, _ = MARKETS[self.market]
        folder = self.shared or shared_folder()
        last = MarketBook.from_parquet(folder / bars, self.market, n_assets=1).days[-1]
        return MarketBook.from_parquet(
            folder / bars, self.market, first=last - span, n_assets=self.assets,
            membership=folder / members,
        )  # fmt: skip


def settings_table(book: MarketBook, start: date, /, **groups: Any) -> dict[str, Any]:
    """Return the table [markets.…] of a live market whose pace is no matter."""
    return {
        "calendar": CALENDARS[book.market],
        "seed_book": book.market,
        "mining": {"enabled": False},
        "ingest": {"min_assets": max(2, min(30, len(book.assets) // 2))},
        **groups,
        "feed": {
            "kind": KINDS[book.market], "start": start, "pace_seconds": PACE,
            **groups.get("feed", {}),
        },
    }  # fmt: skip


def write_membership(path: Path, book: MarketBook) -> Path:
    """Write the book's spells as an operator's own file and return its path."""
    rows = [f"{spell.asset},{spell.start},{spell.end or ''}" for spell in book.spells]
    path.write_text("\n".join(["asset,start_date,end_date", *rows, ""]), encoding="utf-8")
    return path


@contextmanager
def opened(
    folder: Path,
    book: MarketBook,
    number: int,
    /,
    overlay: Path | None = None,
    **groups: Any,
) -> Iterator[tuple[LiveMarket, Recording]]:
    """Open a market whose session `number` has just become final; nothing has been done yet."""
    table = settings_table(book, book.days[0], universe=_universe(book), **groups)
    settings: Settings = build_settings(
        {
            "state_dir": folder / "state",
            "publish_dir": folder / "published",
            "calendar_overlay": overlay,
            "markets": {book.market: table},
        }
    )
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    with (
        Recording(book, None, Sent(book), one_page=True) as standin,
        open_context(settings, clock) as whole,
    ):
        market = build_market(
            book.market, settings, clock, whole.bars, environment=standin.environment
        )
        lists = replace(market.lists, index=small_index(book)) if market.lists else None
        market = replace(market, lists=lists)
        context = replace(whole, markets={market.name: market})
        alive = LiveMarket(context, market, clock, standin)
        alive.until(number)
        yield alive, standin


def _universe(book: MarketBook) -> dict[str, str]:
    return {"index": INDEX_NAMES[book.market]}
