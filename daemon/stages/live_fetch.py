"""What a session asks of a live feed: the session, the ones before it, and a history or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from daemon.backfill import history_span
from daemon.context import Context, Market
from daemon.feeds.protocol import LiveFeed, Parsed, Request
from daemon.feeds.switch import Switch
from daemon.stages.restated import between, of_assets
from daemon.switching import providers_of, switches_of
from signals.errors import FeedError
from storage.bars import BAR_SCHEMA

#: Sessions up to the one at hand that are asked for with it.
TRAILING = 10
#: The whole history of an asset is asked for once in so many sessions.
ROTATION = 25


@dataclass(frozen=True)
class Told:
    """What a feed told for a session.

    Parameters
    ----------
    today : pyarrow.Table
        Bars of the session, in `BAR_SCHEMA`.
    trailing : pyarrow.Table
        Bars of the sessions before it that were asked for, of assets not in `probed`.
    probe : pyarrow.Table
        Whole histories up to the session before, of the assets in `probed`.
    probed : tuple of str
    sources, missing, warnings
        As in `daemon.feeds.protocol.Parsed`.
    received_at : datetime
    index : mapping of date to float
        Closes of the market's index, where they were to be had.
    switches, providers
        As in `daemon.feeds.fallback.Joined`; empty of a feed that has one provider.
    """

    today: Any
    trailing: Any
    probe: Any
    probed: tuple[str, ...]
    sources: dict[str, str]
    missing: dict[str, str]
    warnings: list[str]
    received_at: datetime
    index: Mapping[date, float] = field(default_factory=dict)
    switches: tuple[Switch, ...] = ()
    providers: Mapping[str, str] = field(default_factory=dict)


def live_feed(market: Market) -> LiveFeed:
    """Return a market's feed as a live one."""
    if isinstance(market.feed, LiveFeed):
        return market.feed
    raise FeedError(f"{market.name} has no live feed", rule="a provider is asked by a live feed")


def window_of(market: Market, session: date) -> tuple[date, ...]:
    """Return the trailing sessions, the last of which is `session`."""
    first = market.calendar.previous_session(session, TRAILING - 1)
    return tuple(market.calendar.sessions(first, session))


def rotation(market: Market, session: date, assets: Sequence[str]) -> tuple[str, ...]:
    """Return the assets whose whole history is asked for on a session."""
    since = market.calendar.sessions(market.settings.feed.start, session)
    return tuple(assets[len(since) % ROTATION :: ROTATION])


def ask(context: Context, market: Market, session: date, assets: Sequence[str]) -> Told:
    """Return what the feed tells for a session.

    Where one snapshot tells the session, the sessions before it are asked for only of the assets
    whose turn it is and of those with an event.

    Raises
    ------
    FeedError
        The session itself was not to be had. A history that was not is a warning.
    """
    if market.settings.feed.kind == "akshare":
        return _by_snapshot(context, market, session, assets)
    feed = live_feed(market)
    window, index = window_of(market, session), market.settings.gate.index_check
    parsed = feed.fetch_parsed(Request(market.name, window, tuple(assets), index))
    received = context.clock.now()
    probed = rotation(market, session, assets)
    before = market.calendar.previous_session(session)
    histories, warnings = _histories(market, before, probed)
    return Told(
        today=between(parsed.table, session, session),
        trailing=of_assets(between(parsed.table, date.min, before), set(probed), without=True),
        probe=between(histories, date.min, before),
        probed=probed,
        sources=dict(parsed.sources),
        missing=dict(parsed.missing),
        warnings=[*parsed.warnings, *warnings],
        received_at=received,
        index=parsed.index,
        switches=switches_of(parsed),
        providers=providers_of(parsed),
    )


def ask_again(market: Market, session: date, assets: Sequence[str]) -> Parsed:
    """Return what the feed tells of a session alone, to confirm what it told before."""
    parsed = live_feed(market).fetch_parsed(Request(market.name, (session,), tuple(assets)))
    wanted = _untold(parsed)
    if market.settings.feed.kind != "akshare" or not wanted:
        return parsed
    histories, warnings = _histories(market, session, wanted, window_of(market, session))
    return _completed(parsed, between(histories, session, session), warnings)


def _by_snapshot(context: Context, market: Market, session: date, assets: Sequence[str]) -> Told:
    index = market.settings.gate.index_check
    parsed = live_feed(market).fetch_parsed(Request(market.name, (session,), tuple(assets), index))
    received = context.clock.now()
    before = market.calendar.previous_session(session)
    probed = rotation(market, session, assets)
    wanted = _untold(parsed)
    histories, warnings = _histories(market, before, probed)
    events, more = _histories(market, session, wanted, window_of(market, session))
    parsed = _completed(parsed, between(events, session, session), [*warnings, *more])
    return Told(
        today=between(parsed.table, session, session),
        trailing=of_assets(between(events, date.min, before), set(probed), without=True),
        probe=between(histories, date.min, before),
        probed=probed,
        sources=dict(parsed.sources),
        missing=dict(parsed.missing),
        warnings=list(parsed.warnings),
        received_at=received,
        index=parsed.index,
        switches=switches_of(parsed),
        providers=providers_of(parsed),
    )


def _untold(parsed: Parsed) -> tuple[str, ...]:
    """Return the assets whose event or factor a snapshot cannot tell."""
    table = parsed.table
    events = {
        asset
        for asset, factor in zip(
            table["asset"].to_pylist(), table["adjustment"].to_pylist(), strict=True
        )
        if factor != 1.0
    }
    unfactored = {
        asset for asset, reason in parsed.missing.items() if reason.startswith("adjustment")
    }
    return tuple(sorted(events | unfactored))


def _completed(parsed: Parsed, rows: Any, warnings: Sequence[str]) -> Parsed:
    """Return a snapshot with some assets' rows in place of its own."""
    named = set(rows["asset"].to_pylist())
    table = pa.concat_tables([of_assets(parsed.table, named, without=True), rows])
    return replace(
        parsed,
        table=table.sort_by([("session", "ascending"), ("asset", "ascending")]).combine_chunks(),
        missing={asset: why for asset, why in parsed.missing.items() if asset not in named},
        warnings=(*parsed.warnings, *warnings),
    )


def _histories(
    market: Market,
    last: date,
    assets: Sequence[str],
    sessions: Sequence[date] | None = None,
) -> tuple[Any, list[str]]:
    """Return bars of some assets, by default of all sessions up to `last`, and what went wrong."""
    if not assets:
        return BAR_SCHEMA.empty_table(), []
    if sessions is None:
        span = history_span(market, last)
        sessions = market.calendar.sessions(*span) if span is not None else []
    try:
        request = Request(market.name, tuple(sessions), tuple(assets))
        return live_feed(market).fetch(request), []
    except FeedError as error:
        return BAR_SCHEMA.empty_table(), [f"{len(assets)} histories were not had: {error.fact}"]
