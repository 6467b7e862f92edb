"""From settings to a feed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from daemon.calendar import MarketCalendar
from daemon.clock import Clock, SystemClock
from daemon.feeds.akshare import AkshareProvider, PreviousCloses
from daemon.feeds.child import Limits
from daemon.feeds.extras import open_fallback
from daemon.feeds.fallback import Stored
from daemon.feeds.parquet import ParquetFeed
from daemon.feeds.protocol import Feed, Provider
from daemon.feeds.provider import OnAnswer, Pacing, ProviderFeed
from daemon.feeds.simulated import SimulatedFeed
from daemon.feeds.switch import Switches
from daemon.feeds.yahoo import YahooProvider
from daemon.settings import FeedSettings
from signals.errors import ConfigError
from storage.bars import BAR_SCHEMA

#: Seconds between two requests that each provider is known to bear.
PACE_SECONDS = {"yahoo": 1.0, "akshare": 2.5}
#: Deadlines of queries that take many requests: akshare's snapshot is some 60, a second apart.
KIND_SECONDS = (("spot", 240.0),)


def open_feed(
    settings: FeedSettings,
    calendar: MarketCalendar,
    *,
    clock: Clock | None = None,
    finality_minutes: int = 90,
    universe: Callable[[Sequence[date]], Sequence[str]] | None = None,
    index: str = "none",
    previous_close: PreviousCloses | None = None,
    stored: Stored | None = None,
    switched: Callable[[], Switches] | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_answer: OnAnswer | None = None,
) -> Feed:
    """Return the feed that `settings` describe; nothing is read before the first fetch.

    Parameters
    ----------
    settings : FeedSettings
        One of its kinds.
    calendar : MarketCalendar
        Of the market.
    clock : Clock or None
        Of a provider's feed; None takes the machine's.
    finality_minutes : int
        Minutes after the close at which a provider's bars count as final.
    previous_close : callable or None
        See `daemon.feeds.akshare.AkshareProvider`; None knows no close.
    stored, switched : callable or None
        See `daemon.feeds.fallback.FallbackFeed`; None knows no bar and no switch.
    universe, index, folder, environment, on_answer
        See `daemon.feeds.provider.ProviderFeed`.
    """
    if settings.kind == "simulated":
        return SimulatedFeed(
            calendar, seed=settings.seed, n_assets=settings.assets, start=settings.start
        )
    if settings.kind == "parquet":
        if settings.path is None:
            raise ConfigError(
                "feed.path is not set", rule="a `parquet` feed reads a file or a folder"
            )
        return ParquetFeed(settings.path, calendar)
    clock = clock or SystemClock()

    def finality(session: date) -> datetime:
        return calendar.finality(session, finality_minutes)

    provider: Provider
    if settings.kind == "yahoo":
        provider = YahooProvider(finality)
    else:
        provider = AkshareProvider(finality, clock, previous_close or _unknown)
    primary = ProviderFeed(
        provider,
        clock=clock,
        start=settings.start,
        universe=universe,
        index=index,
        limits=Limits(
            request_seconds=settings.request_seconds,
            kind_seconds=KIND_SECONDS,
            memory_mb=settings.memory_mb,
        ),
        pacing=Pacing(seconds=settings.pace_seconds or PACE_SECONDS[settings.kind]),
        folder=folder,
        environment=environment,
        on_answer=on_answer,
    )
    if settings.fallback == "none":
        return primary
    key = settings.api_key
    return open_fallback(
        settings.fallback,
        primary,
        clock=clock,
        finality=finality,
        start=settings.start,
        stored=stored or _no_bars,
        switched=switched or dict,
        api_key=key.get_secret_value() if key is not None else None,
        universe=universe,
        limits=Limits(request_seconds=settings.request_seconds, memory_mb=settings.memory_mb),
        pace_seconds=settings.pace_seconds,
        folder=folder,
        environment=environment,
        on_answer=on_answer,
    )


def _no_bars(assets: Sequence[str]) -> Any:  # noqa: ARG001
    """Return that nothing is stored of any asset."""
    return BAR_SCHEMA.empty_table()


def _unknown(session: date) -> Mapping[str, float]:  # noqa: ARG001
    """Return no close before any session."""
    return {}
