"""What the stages work with: one opened state directory, its markets, a clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection

import daemon
import miner
import signals
import storage
from daemon import restore
from daemon.calendar import MarketCalendar, load_overlay
from daemon.clock import Clock
from daemon.constituents import INDICES
from daemon.failpoints import enter, failpoint
from daemon.feeds.open import open_feed
from daemon.feeds.protocol import Feed
from daemon.index_lists import IndexLists
from daemon.previous_closes import PreviousCloseReader
from daemon.process import Process
from daemon.provider_past import stored_reader, switch_reader
from daemon.settings import MarketSettings, Settings, config_hash
from signals.errors import ConfigError
from storage import epochs, membership
from storage.bars import BarStore, last_vintage
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
    #: Where lists of its index's members come from; None for a file of yours, or none.
    lists: IndexLists | None = None

    @cached_property
    def config_sha256(self) -> str:
        """What of the settings can change a result, as one hash."""
        known = self.settings.mining.zoo is not None and self.settings.mining.zoo.is_file()
        return config_hash(self.settings, self.zoo if known else None)

    @cached_property
    def zoo(self) -> bytes | None:
        """The user's own zoo, read once: what is searched beside is what the hash is of.

        Raises
        ------
        ConfigError
            It cannot be read.
        """
        path = self.settings.mining.zoo
        try:
            return None if path is None else path.read_bytes()
        except OSError as exc:
            raise ConfigError(
                f"the zoo {path} cannot be read: {exc}",
                rule="mining.zoo names a TOML file in UTF-8",
                hint="correct the path, or leave the setting out",
            ) from exc


@dataclass(frozen=True)
class Context:
    """Everything a stage may touch; passed in, never looked up."""

    process: Process
    clock: Clock
    database: Database
    bars: BarStore
    publisher: Publisher
    #: A reload puts a market with other settings into the place of the one before.
    markets: dict[str, Market]
    code: Mapping[str, str]
    #: When each market last showed that it gets on; a long fetch does so with every answer.
    ticked: dict[str, datetime] = field(default_factory=dict)
    #: This life of the daemon; None where nobody else can be at work: replay, demo, looking.
    epoch: int | None = None

    @property
    def settings(self) -> Settings:
        """The settings that hold now."""
        return self.process.settings

    def known_at(self, market: str) -> datetime:
        """Return when what is learnt now counts as known: now, and no earlier than what was before.

        The clock may have been set back since; what is known only grows.
        """
        now = self.clock.now()
        with self.database.read() as conn:
            newest = last_vintage(conn, market)
        return now if newest is None else max(now, newest.known_at)

    def require_epoch(self, conn: Connection) -> None:
        """Refuse to write once another instance has taken over (ReservationError)."""
        if self.epoch is not None:
            epochs.require_current(conn, self.epoch)

    def of_epoch(self, number: int) -> Context:
        """Return the same context, whose writes count as long as this epoch is the newest."""
        return replace(self, epoch=number, publisher=self.publisher.of_epoch(number))


@contextmanager
def open_context(settings: Settings, clock: Clock) -> Iterator[Context]:
    """Open the state directory as its only owner and bring its tables up to date.

    A database that is broken is replaced by its newest backup first, and one that is behind what
    is published is brought up to it (`daemon.restore`). One that other hosts can reach is left as
    it is while another instance lives.

    Raises
    ------
    AlreadyRunningError
        When another instance holds the directory, or owns the database.
    StorageError
        When the disk or the database fails, or the database is broken and there is no backup.
    """
    enter(enabled=settings.test.enabled, text=settings.test.failpoint)
    with StateLock(settings.state_dir):
        context = build_context(settings, clock)
        try:
            now = clock.now()
            swapped = restore.heal(settings, context.database, now)
            if settings.database_url:  # the lock above guards no more than the directory
                refuse_owned(settings, context.database, now)
            context.database.migrate(passing=failpoint)
            if context.database.path is not None:  # a server's waits until it is ours: `owned`
                restore.account(settings, context.database, now, swapped)
            yield context
        finally:
            context.database.close()


def refuse_owned(settings: Settings, database: Database, now: datetime) -> None:
    """Refuse a database that another instance owns (AlreadyRunningError)."""
    instance = epochs.instance_of(settings.state_dir)
    with database.read() as conn:
        epochs.check_lease(conn, instance=instance, now=now)


def build_context(settings: Settings, clock: Clock, names: Sequence[str] | None = None) -> Context:
    """Return a context without owning the directory: for commands that only read.

    Parameters
    ----------
    names : sequence of str, optional
        The markets to build; without it all. None of them for what needs no calendar and no feed.
    """
    database = (
        Database(settings.database_url)
        if settings.database_url
        else Database.file(settings.state_dir / "alphad.db")
    )
    bars = BarStore(settings.state_dir, database, passing=failpoint)
    ticked: dict[str, datetime] = {}
    return Context(
        process=Process(settings),
        clock=clock,
        database=database,
        bars=bars,
        publisher=Publisher(settings.publish_dir, database, passing=failpoint),
        markets={
            name: build_market(name, settings, clock, bars, on_answer=_pulse(name, clock, ticked))
            for name in (settings.markets if names is None else names)
        },
        code=code_version(),
        ticked=ticked,
    )


def build_market(
    name: str,
    whole: Settings,
    clock: Clock,
    bars: BarStore,
    *,
    environment: Mapping[str, str] | None = None,
    on_answer: Callable[[int, int, str], None] | None = None,
) -> Market:
    """Return one market with its calendar and feed; no bars are read yet.

    Parameters
    ----------
    bars : BarStore
        Tells a feed what is stored already.
    environment : mapping of str to str, optional
        Given to the processes that ask providers, beside this one's own.
    on_answer : callable, optional
        Told of each answer of a provider.
    """
    settings = whole.markets[name]
    load_overlay(settings.calendar, whole.calendar_overlay)  # a broken file stops the start
    calendar = MarketCalendar(settings.calendar, whole.calendar_overlay, clock)
    folder = whole.state_dir / "providers" / name
    feed = open_feed(
        settings.feed,
        calendar,
        clock=clock,
        finality_minutes=settings.ingest.finality_minutes,
        universe=_members(bars, name),
        index=settings.universe.index,
        previous_close=PreviousCloseReader(bars, name, calendar),
        stored=stored_reader(bars, name, clock),
        switched=switch_reader(bars.database, name),
        folder=folder,
        environment=environment,
        on_answer=on_answer,
    )
    lists = None
    if settings.universe.index != "none":
        lists = IndexLists(
            INDICES[settings.universe.index],
            overrides_path=settings.universe.overrides,
            request_seconds=settings.feed.request_seconds,
            folder=folder,
            environment=dict(environment or {}),
        )
    return Market(name, settings, calendar, feed, lists)


def _members(bars: BarStore, name: str) -> Callable[[Sequence[date]], Sequence[str]]:
    """Return what tells who belongs on any of some sessions."""

    def universe(sessions: Sequence[date]) -> Sequence[str]:
        with bars.database.read() as conn:
            known = membership.load(conn, name)
        return known.anyone(min(sessions), max(sessions))

    return universe


def _pulse(name: str, clock: Clock, ticked: dict[str, datetime]) -> Callable[[int, int, str], None]:
    """Return what notes that a market gets on."""

    def on_answer(_done: int, _of: int, _outcome: str) -> None:
        ticked[name] = clock.now()

    return on_answer


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
