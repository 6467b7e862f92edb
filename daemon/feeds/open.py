"""From settings to a feed."""

from __future__ import annotations

from daemon.calendar import MarketCalendar
from daemon.feeds.parquet import ParquetFeed
from daemon.feeds.protocol import Feed
from daemon.feeds.simulated import SimulatedFeed
from daemon.settings import FeedSettings
from signals.errors import ConfigError


def open_feed(settings: FeedSettings, calendar: MarketCalendar) -> Feed:
    """Return the feed that `settings` describe; nothing is read before the first fetch."""
    if settings.kind == "simulated":
        return SimulatedFeed(
            calendar, seed=settings.seed, n_assets=settings.assets, start=settings.start
        )
    if settings.path is None:
        raise ConfigError("feed.path is not set", rule="a `parquet` feed reads a file or a folder")
    return ParquetFeed(settings.path, calendar)
