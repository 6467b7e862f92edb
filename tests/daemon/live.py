"""A small live market: synthetic bars behind the stand-ins, real clients, a passed clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from daemon.clock import ReplayClock
from daemon.constituents import INDICES
from daemon.context import Context, Market, build_market, open_context
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from daemon.settings import Settings, build_settings
from storage import alerts, data, ledger
from storage.bars import vintages
from storage.publishing import publications
from storage.tables import PublicationRecord, StageRun, Vintage
from tests.daemon.small import TABLES
from tests.standins.baostock import BaostockStandIn
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

CALENDARS = {"us": "XNYS", "cn": "XSHG"}
KINDS = {"us": "yahoo", "cn": "akshare"}
INDEX_NAMES = {"us": "sp500", "cn": "csi500"}
N_ASSETS = 40
#: Factors of which one has ranked the invented assets of each market by chance.
BOOK = """
[factors.continuation]
expression = "TS_PCTCHANGE($close, 5)"
observation = "what rose goes on rising"
knowledge = "none"
justification = "chance"
source = "tests"

[factors.calm]
expression = "-1 * ($high - $low) / $close"
observation = "what is calm rises"
knowledge = "none"
justification = "chance"
source = "tests"
"""


@cache
def small_book(
    market: str = "us",
    first: date = date(2023, 1, 3),
    last: date = date(2023, 12, 29),
    n_assets: int = N_ASSETS,
) -> MarketBook:
    """Return a year of forty assets, nearly all of them members all the time."""
    return MarketBook.synthetic(market, n_assets, first, last, seed=0, n_members=n_assets - 1)


def live_settings(path: Path, book: MarketBook, **tables: Mapping[str, Any]) -> Settings:
    """Return the settings of a market that asks the provider its book stands in for."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "book.toml").write_text(BOOK)
    name = book.market
    market: dict[str, Any] = {
        "calendar": CALENDARS[name],
        "feed": {"kind": KINDS[name], "start": book.days[0], "pace_seconds": 0.001},
        "universe": {"index": INDEX_NAMES[name]},
        "seed_book": str(path / "book.toml"),
    }
    for group in {**TABLES, **tables}:
        market[group] = {
            **market.get(group, {}), **TABLES.get(group, {}), **tables.get(group, {})
        }  # fmt: skip
    market["mining"]["enabled"] = False
    return build_settings(
        {
            "state_dir": path / "state",
            "publish_dir": path / "published",
            "markets": {name: market},
        }
    )


@dataclass
class LiveMarket:
    """An opened state directory with one live market, and the provider it asks."""

    context: Context
    market: Market
    clock: ReplayClock
    standin: StandIn
    #: The second source of the Chinese market; that of the US is behind `standin`.
    second: BaostockStandIn | None = None

    @property
    def name(self) -> str:
        return self.market.name

    @property
    def book(self) -> MarketBook:
        return self.standin.book

    def session(self, number: int) -> date:
        return self.book.days[number]

    def at(self, moment: datetime) -> None:
        """Let it be `moment` for the daemon and for the provider."""
        self.clock.set(moment)
        self.standin.now = moment
        if self.second is not None:
            self.second.now = moment

    def until(self, number: int) -> date:
        """Let session `number` just have become final and return it."""
        session = self.session(number)
        minutes = self.market.settings.ingest.finality_minutes
        self.at(self.market.calendar.finality(session, minutes))
        return session

    def later(self, **step: float) -> None:
        """Let some time pass."""
        self.at(self.clock.now() + timedelta(**step))

    def tick(self) -> None:
        """Let the reconcile loop come round once."""
        Reconciler(self.context, InlineReminer(self.context)).tick(self.market)

    def lived(self, number: int) -> None:
        """Live through session `number` and its confirmation."""
        self.until(number)
        self.tick()
        self.later(minutes=31)
        self.tick()

    def publications(self) -> list[PublicationRecord]:
        with self.context.database.read() as conn:
            return publications(conn, self.name)

    def statuses(self) -> list[tuple[str, int, str | None]]:
        """Return session, revision and status of each publication."""
        return [(f"{p.session}", p.revision, p.status_text) for p in self.publications()]

    def runs(self, stage: str = "ingest") -> list[StageRun]:
        with self.context.database.read() as conn:
            return ledger.history(conn, self.name, stage=stage)

    def facts(self) -> dict[str, Any]:
        """Return the detail of the newest ingestion that succeeded."""
        with self.context.database.read() as conn:
            (run,) = ledger.last_results(conn, self.name, "ingest", 1)
        return dict(run.detail or {})

    def vintages(self, cause: str | None = None) -> list[Vintage]:
        with self.context.database.read() as conn:
            return [v for v in vintages(conn, self.name) if cause in (None, v.cause)]

    def alerts(self) -> dict[str, str]:
        """Return the open alerts by key."""
        with self.context.database.read() as conn:
            return {alert.key: alert.message for alert in alerts.open_alerts(conn, self.name)}

    def switches(self) -> list[tuple[date, str, str]]:
        """Return session and providers of each switch, one row for all assets of a session."""
        with self.context.database.read() as conn:
            found = data.switches(conn, self.name)
        return sorted({(each.session, each.before, each.after) for each in found})

    def verdicts(self, *outcomes: str) -> list[tuple[str, str, str]]:
        """Return outcome, asset and rule of verdicts."""
        with self.context.database.read() as conn:
            found = data.verdicts(conn, self.name, outcomes=outcomes or None)
        return [(each.outcome, each.asset, each.rule) for each in found]


@contextmanager
def live_market(
    path: Path,
    book: MarketBook,
    number: int,
    *,
    second: BaostockStandIn | None = None,
    **tables: Mapping[str, Any],
) -> Iterator[LiveMarket]:
    """Open a market whose session `number` has just become final; nothing has been done yet."""
    settings = live_settings(path, book, **tables)
    clock = ReplayClock(datetime.fromisoformat("1990-01-01T00:00:00+00:00"))
    with StandIn(book, None) as standin, open_context(settings, clock) as whole:
        market = build_market(
            book.market,
            settings,
            clock,
            whole.bars,
            environment={**standin.environment, **(second.environment if second else {})},
        )
        lists = replace(market.lists, index=small_index(book)) if market.lists else None
        market = replace(market, lists=lists)
        context = replace(whole, markets={market.name: market})
        alive = LiveMarket(context, market, clock, standin, second)
        alive.until(number)
        yield alive


def small_index(book: MarketBook) -> Any:
    """Return the book's index, which has fewer members than the real one."""
    index = INDICES[INDEX_NAMES[book.market]]
    return replace(index, fewest=2, most=len(book.assets))
