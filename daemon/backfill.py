"""Histories of a live feed: fetched in chunks of assets, each kept at once, so that it resumes.

A chunk is one reconstructed vintage and the marks of its assets, in one transaction. What an asset
lacks follows from its mark alone: nothing, the sessions since, or everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from daemon.context import Context, Market
from daemon.failpoints import failpoint
from daemon.feeds.protocol import FAILURES, LiveFeed, Parsed, Request
from daemon.feeds.switch import Switch
from daemon.gate import Judged
from daemon.history_gate import judge_history, limits_of
from daemon.switching import (
    append_told,
    kept_switches,
    providers_of,
    record_switches,
    refused_switches,
    switches_of,
)
from daemon.verdicts import as_said
from signals.errors import FeedError
from storage import data
from storage.bars import NOW
from storage.data import Said
from storage.membership import Membership, Spell
from storage.tables import FetchMark, Vintage

#: Assets whose histories are fetched, judged and kept together.
CHUNK = 25
#: Largest share of the assets that may be left without an answer.
MAX_LEFT = 0.02

#: Told of each chunk: assets done, assets in all, what was just done.
OnChunk = Callable[[int, int, str], None]
Span = tuple[date, date]


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill brought.

    Parameters
    ----------
    assets, bars, chunks : int
        Assets asked for, bars and vintages kept.
    quarantined : mapping of str to int
        Rows set aside, by rule.
    left : mapping of str to str
        Assets still to be asked for, and why.
    """

    assets: int
    bars: int
    chunks: int
    quarantined: Mapping[str, int]
    left: Mapping[str, str]


def history_span(market: Market, last: date, first: date | None = None) -> Span | None:
    """Return the first and last session of a market's history up to `last`, None without any."""
    start = max(first, market.settings.feed.start) if first else market.settings.feed.start
    sessions = market.calendar.sessions(start, last) if start <= last else []
    return (sessions[0], sessions[-1]) if sessions else None


def missing_spans(
    marks: Mapping[str, FetchMark], assets: Sequence[str], span: Span, market: Market
) -> dict[Span, list[str]]:
    """Return which sessions which assets lack, by what their marks say."""
    wanted: dict[Span, list[str]] = {}
    first, last = span
    for asset in assets:
        mark = marks.get(asset)
        if mark is None or mark.first_session > first:
            lacking = span
        elif mark.last_session < last:
            lacking = (market.calendar.next_session(mark.last_session), last)
        else:
            continue
        wanted.setdefault(lacking, []).append(asset)
    return wanted


def ever_members(spells: Sequence[Spell], span: Span) -> tuple[str, ...]:
    """Return who belonged on any day of a span."""
    return Membership(spells).anyone(*span)


def backfill(
    context: Context,
    market: Market,
    wanted: Mapping[Span, Sequence[str]],
    on_chunk: OnChunk = lambda *_: None,
) -> Backfilled:
    """Fetch, judge and keep what assets lack; a second pass asks for what the first left out.

    Raises
    ------
    FeedError
        The provider does not answer, or leaves more than `MAX_LEFT` of the assets unanswered. What
        was kept stays; the same call goes on from there.
    """
    total = sum(len(assets) for assets in wanted.values())
    tally = _Tally()
    left: dict[str, str] = {}
    for span, chunk in _chunks(wanted):
        left |= _fetch_chunk(context, market, span, chunk, tally)
        tally.done += len(chunk)
        on_chunk(min(tally.done, total), total, f"{chunk[0]} … {chunk[-1]}")
    if left:
        again = {span: [a for a in assets if a in left] for span, assets in wanted.items()}
        left = {}
        for span, chunk in _chunks(again):
            left |= _fetch_chunk(context, market, span, chunk, tally)
    if len(left) > max(1, MAX_LEFT * total):
        name, why = next(iter(left.items()))
        raise FeedError(
            f"{len(left)} of {total} histories of {market.name} are still missing; {name}: {why}",
            rule=f"at most {MAX_LEFT:.0%} of the assets may be without an answer",
            hint="the same command asks for these alone",
            retryable=True,
        )
    return Backfilled(total, tally.bars, tally.chunks, tally.quarantined, left)


class _Tally:
    def __init__(self) -> None:
        self.done = self.bars = self.chunks = 0
        self.quarantined: dict[str, int] = {}

    def add(self, judged: Judged) -> None:
        for row in judged.checked.quarantined if judged.checked else ():
            self.quarantined[row.rule] = self.quarantined.get(row.rule, 0) + 1


def _chunks(wanted: Mapping[Span, Sequence[str]]) -> Iterator[tuple[Span, list[str]]]:
    for span, assets in wanted.items():
        for start in range(0, len(assets), CHUNK):
            yield span, list(assets[start : start + CHUNK])


def _fetch_chunk(
    context: Context, market: Market, span: Span, assets: Sequence[str], tally: _Tally
) -> dict[str, str]:
    """Fetch and keep one chunk; return the assets that were left without an answer."""
    sessions = tuple(market.calendar.sessions(*span))
    request = Request(market.name, sessions, tuple(assets))
    feed = market.feed
    if not isinstance(feed, LiveFeed):
        raise FeedError(
            f"{market.name} has no live feed",
            rule="a backfill asks a provider",
            hint="a file's history comes along with its first session",
        )
    parsed = feed.fetch_parsed(request)
    failed = {
        asset: reason
        for asset, reason in parsed.missing.items()
        if reason.partition(":")[0] in FAILURES
    }
    said = refused_switches(parsed.missing, span[1])
    vintages: list[Vintage] = []
    switches: list[Switch] = []
    if parsed.table.num_rows:
        judged = judge_history(
            parsed.table,
            limits=limits_of(market.settings, assets, span[1]),
            sources=parsed.sources,
        )
        said += as_said(judged.verdicts)
        tally.add(judged)
        table = judged.checked.table if judged.checked is not None else None
        if table is not None and table.num_rows:
            table = _without_stored(context, market, table, assets, span)
        if table is not None and table.num_rows:
            switches = kept_switches(switches_of(parsed), table)
            vintages = append_told(
                context,
                market,
                table,
                cause="backfill",
                providers=providers_of(parsed),
                reconstructed=True,
            )
            tally.bars += sum(vintage.n_rows for vintage in vintages)
            tally.chunks += len(vintages)
    done = [asset for asset in assets if asset not in failed]
    _keep(context, market, span, parsed, done, said, vintages, switches)
    failpoint("backfill.after_chunk")
    return failed


def _without_stored(
    context: Context, market: Market, table: Any, assets: Sequence[str], span: Span
) -> Any:
    """Return the rows whose asset has no bar of their session yet.

    Rows of a backfill count as known at their own session: were they to stand over a bar that was
    told then, what was known then would change.
    """
    with context.database.read() as conn:
        known = data.marks(conn, market.name)
    again = [asset for asset in assets if asset in known]
    if not again:
        return table
    stored = context.bars.bars(market.name, as_of=NOW, first=span[0], last=span[1], assets=again)
    keys = ["session", "asset"]
    new = table.select(keys).append_column("row", pa.array(range(table.num_rows)))
    rows = new.join(stored.select(keys), keys, join_type="left anti", use_threads=False)["row"]
    return table.take(rows.combine_chunks().sort())


def _keep(
    context: Context,
    market: Market,
    span: Span,
    parsed: Parsed,
    assets: Sequence[str],
    said: Sequence[Said],
    vintages: Sequence[Vintage],
    switches: Sequence[Switch],
) -> None:
    """Record a chunk: its vintages, verdicts, switches and marks, in one transaction."""
    now = context.clock.now()
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        known = data.marks(conn, market.name)
        for vintage in vintages:
            context.bars.record(conn, vintage)
        if switches:
            record_switches(conn, context, market, span[1], switches)
        data.append_verdicts(conn, market.name, span[1], now, said)
        data.save_marks(
            conn,
            [
                FetchMark(
                    market=market.name,
                    asset=asset,
                    first_session=min(span[0], known[asset].first_session)
                    if asset in known
                    else span[0],
                    last_session=span[1],
                    outcome="ok" if asset in parsed.sources else parsed.missing[asset],
                    payload=parsed.sources.get(asset, ""),
                    at=now,
                )
                for asset in assets
            ],
        )
