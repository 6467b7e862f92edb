"""Metrics of the bars of a market and of those who deliver them."""

from __future__ import annotations

from sqlalchemy import Connection

from daemon.context import Market
from daemon.feeds.fallback import FallbackFeed
from daemon.feeds.provider import ProviderFeed
from daemon.metrics.sheet import Sheet
from daemon.restatement import CAUSES
from daemon.switching import away_assets
from storage import data
from storage.tallies import StageTally


def add_data(conn: Connection, market: Market, ingested: StageTally | None, sheet: Sheet) -> None:
    """Write what is known of the last session ingested, and of bars written anew."""
    name = market.name
    last = ingested.last_result if ingested is not None else None
    facts = (last.detail or {}) if last is not None else {}
    for key, family in (
        ("coverage", "data_coverage_ratio"),
        ("bars", "data_bars"),
        ("quarantined", "data_quarantined_rows"),
        ("confirmed", "data_confirmed"),
    ):
        if facts.get(key) is not None:
            sheet.add(family, float(facts[key]), name)
    written = data.bars_by_cause(conn, name)
    for cause in CAUSES:
        if cause in written:
            sheet.add("restated_bars_total", written[cause], name, cause)
    if market.settings.feed.fallback != "none":
        away = away_assets(data.switches(conn, name), market.feed.name)
        sheet.add("provider_away_assets", len(away), name)


def add_providers(market: Market, sheet: Sheet) -> None:
    """Write what live feeds know of themselves; that is of this process, not of the database."""
    feeds = market.feed.sources if isinstance(market.feed, FallbackFeed) else (market.feed,)
    for feed in feeds:
        if not isinstance(feed, ProviderFeed):
            continue
        facts = feed.facts()
        for outcome, n_requests in facts.requests.items():
            sheet.add("provider_requests_total", n_requests, market.name, feed.name, outcome)
        is_open = facts.breaker_until is not None
        sheet.add("provider_breaker_open", float(is_open), market.name, feed.name)
