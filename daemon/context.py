"""What the stages work with: one opened state directory, its markets, a clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path

import daemon
import miner
import signals
import storage
from daemon.calendar import MarketCalendar, load_overlay
from daemon.clock import Clock
from daemon.feeds.open import open_feed
from daemon.feeds.protocol import Feed
from daemon.settings import MarketSettings, Settings, config_hash
from storage.bars import BarStore
from storage.database import Database
from storage.lock import StateLock
from storage.publishing import Publisher


@dataclass(frozen=True)
class Market:
    """One market: its settings, calendar and source of bars."""

    name: str
    settings: MarketSettings
    calendar: MarketCalendar
    feed: Feed

    @cached_property
    def config_sha256(self) -> str:
        """What of the settings can change a result, as one hash."""
        return config_hash(self.settings)


@dataclass(frozen=True)
class Context:
    """Everything a stage may touch; passed in, never looked up."""

    settings: Settings
    clock: Clock
    database: Database
    bars: BarStore
    publisher: Publisher
    markets: Mapping[str, Market]
    code: Mapping[str, str]


@contextmanager
def open_context(settings: Settings, clock: Clock) -> Iterator[Context]:
    """Open the state directory as its only owner and bring its tables up to date.

    Raises
    ------
    AlreadyRunningError
        When another instance holds the directory.
    StorageError
        When the disk or the database fails.
    """
    with StateLock(settings.state_dir):
        context = build_context(settings, clock)
        try:
            context.database.migrate()
            yield context
        finally:
            context.database.close()


def build_context(settings: Settings, clock: Clock) -> Context:
    """Return a context without owning the directory: for commands that only read."""
    database = (
        Database(settings.database_url)
        if settings.database_url
        else Database.file(settings.state_dir / "alphad.db")
    )
    return Context(
        settings=settings,
        clock=clock,
        database=database,
        bars=BarStore(settings.state_dir, database),
        publisher=Publisher(settings.publish_dir, database),
        markets={name: build_market(name, of, settings) for name, of in settings.markets.items()},
        code=code_version(),
    )


def build_market(name: str, settings: MarketSettings, whole: Settings) -> Market:
    """Return one market with its calendar and feed; no bars are read yet."""
    overlay = load_overlay(settings.calendar, whole.calendar_overlay)
    calendar = MarketCalendar(settings.calendar, overlay)
    return Market(name, settings, calendar, open_feed(settings.feed, calendar))


@cache
def code_version() -> dict[str, str]:
    """Return the version of the code and the sha256 of its sources, for manifests."""
    digest = hashlib.sha256()
    for room in (daemon, miner, signals, storage):
        root = Path(str(room.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(str(path.relative_to(root.parent)).encode())
            digest.update(path.read_bytes())
    return {"version": version("alphad"), "sources_sha256": digest.hexdigest()}
