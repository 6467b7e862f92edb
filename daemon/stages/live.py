"""Ingest from a live feed: the session past the gate, restatements found.

The first fetch of a session is provisional. It is final when a second one, half an hour later,
tells the same; or at once where the next session has opened already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pyarrow.compute as pc
from sqlalchemy import Connection

from daemon.backfill import Backfilled, backfill, ever_members, history_span, missing_spans
from daemon.context import Context, Market
from daemon.feeds.switch import Switch
from daemon.gate import Judged, judge
from daemon.history_gate import limits_of
from daemon.market_wide import traded_share
from daemon.members import Members, find_members, write_members
from daemon.stages.live_fetch import TRAILING, Told, ask, window_of
from daemon.stages.restated import (
    Restated,
    between,
    find_restated,
    keep,
    of_assets,
)
from daemon.stages.stage import Result, fingerprint, perform
from daemon.switching import (
    append_told,
    counted,
    kept_switches,
    record_switches,
    refused_switches,
)
from daemon.verdicts import as_said, refuse
from signals.errors import BarsError, FeedError
from storage import alerts, data, ledger
from storage.bars import NOW
from storage.data import Said
from storage.membership import Membership
from storage.tables import Vintage

#: Broken rows named in the ledger; all of them are counted.
NAMED_ROWS = 20


def run(context: Context, market: Market, session: date) -> None:
    """Ingest one session; the first one of a market brings its history along."""
    inputs = fingerprint(market.feed.name, session, market.config_sha256)
    perform(context, market, session, "ingest", inputs, lambda: compute(context, market, session))


def compute(context: Context, market: Market, session: date) -> Result:
    """Fetch, judge and compare; the files are written, the rows that make them count are not."""
    members = find_members(context, market, session)
    today = Membership(members.spells).members(session)
    detail: dict[str, Any] = dict(members.facts)
    complete_histories(context, market, session, members, today, detail)
    before = market.calendar.previous_session(session)
    window = window_of(market, session)
    stored = stored_bars(
        context, market, market.calendar.previous_session(session, 2 * TRAILING), before
    )
    told = _asked(context, market, session, today)
    limits = limits_of(market.settings, today, session)
    restated = _restated(context, market, session, stored, told)
    expected = set(today) & set(pc.unique(between(stored, window[0], before)["asset"]).to_pylist())
    if restated.distrusted:
        told = replace(told, today=of_assets(told.today, set(restated.distrusted), without=True))
    index_returns = _index_returns(told.index, before, session)
    judged = judge(
        told.today,
        sessions=[session],
        min_assets=market.settings.ingest.min_assets,
        max_quarantined=market.settings.ingest.max_quarantined,
        expected=expected or None,
        before=between(restated.over(stored), window[0], before) if stored.num_rows else None,
        limits=limits,
        index_returns=index_returns,
        sources=told.sources,
    )
    _hint_provisional(market, session, judged)
    refuse(context, market, session, judged)
    table = judged.checked.table if judged.checked is not None else told.today
    switches = kept_switches(told.switches, restated.over(table))
    # what was told of earlier sessions of a series that changes hands now is the former provider's
    former = {each.asset: each.before for each in told.switches if each.before}
    vintages = [
        *keep(context, market, restated, {**told.providers, **former}),
        *_session_vintages(context, market, judged, told.providers),
    ]
    following = market.calendar.next_session(session)
    detail |= {
        **session_facts(market, session, judged, told.missing, told.received_at),
        **_joined_facts(market, table, told.providers, switches),
        **restated.facts(len(expected)),
        "distrusted": sorted(restated.distrusted),
        "index_return": index_returns.get(session),
        "provisional_session": market.calendar.is_provisional(session),
        "confirmed": told.received_at >= market.calendar.open(following),
        "fetches": 1,
        "probed": len(told.probed),
        "warnings": [*told.warnings, *restated.warnings, *_warnings(judged)],
    }
    said = [
        *as_said(judged.verdicts), *restated.said(), *refused_switches(told.missing, session)
    ]  # fmt: skip

    def write(conn: Connection) -> None:
        write_members(conn, context, market, session, members)
        record_session(conn, context, market, session, vintages, said, detail)
        record_switches(conn, context, market, session, switches)
        tell_unknown(conn, context, market, session, restated)

    return Result(detail, write)


def complete_histories(
    context: Context,
    market: Market,
    session: date,
    members: Members,
    today: Sequence[str],
    detail: dict[str, Any],
) -> None:
    """Fetch the histories that a session needs and the store lacks, each kept at once."""
    before = market.calendar.previous_session(session)
    span = history_span(market, before)
    if span is None:
        return
    with context.database.read() as conn:
        begun = ledger.last_session(conn, market.name, "ingest") is not None
        marks = data.marks(conn, market.name)
    if begun:
        lately = stored_bars(context, market, window_of(market, session)[0], before)
        there = set(pc.unique(lately["asset"]).to_pylist())
        assets = [
            asset
            for asset in today
            if asset not in there and (asset not in marks or marks[asset].outcome == "ok")
        ]
    else:
        assets = list(ever_members(members.spells, span))
    wanted = missing_spans(marks, assets, span, market)
    if wanted:
        found: Backfilled = backfill(context, market, wanted)
        detail["backfill"] = {
            "assets": found.assets,
            "bars": found.bars,
            "chunks": found.chunks,
            "quarantined": dict(found.quarantined),
            "left": dict(found.left),
        }


def tell_unknown(
    conn: Connection, context: Context, market: Market, session: date, restated: Restated
) -> None:
    """Open the alert for what was restated by no rule; close it with a session that has none."""
    now, name = context.clock.now(), market.name
    if restated.unknown is None:
        alerts.resolve(conn, name, "restated-unknown", now)
        return
    changes = restated.unknown.changes
    named = ", ".join(change.asset for change in changes[:5])
    message = (
        f"{name} {session}: {restated.unknown.table.num_rows} stored bars of {len(changes)} assets "
        f"({named}) are told otherwise by no rule; nothing of it was taken. Compare with a second "
        f"source; alphad data --market {name} lists what was set aside"
    )
    alerts.raise_alert(conn, name, "restated-unknown", "error", message, now, session)


def _asked(context: Context, market: Market, session: date, assets: Sequence[str]) -> Told:
    try:
        return ask(context, market, session, assets)
    except FeedError as error:
        if market.calendar.is_provisional(session):
            raise FeedError(
                error.fact, rule=error.rule, hint=_holiday(market, session), retryable=True
            ) from error
        raise


def _hint_provisional(market: Market, session: date, judged: Judged) -> None:
    """Say how to name a holiday, where a presumed session has no bars."""
    error = judged.error
    if error is not None and error.retryable and market.calendar.is_provisional(session):
        hint = _holiday(market, session)
        raise BarsError(error.fact, rule=error.rule, hint=hint, retryable=True) from error


def _holiday(market: Market, session: date) -> str:
    return (
        f"{session} is presumed to be a session: if it was a holiday, put it into `removed` of "
        f"[{market.calendar.name}] in the calendar overlay (setting calendar_overlay); else wait"
    )


def stored_bars(context: Context, market: Market, first: date, last: date) -> Any:
    """Return the bars as traded of some sessions as they are known now."""
    return context.bars.bars(market.name, as_of=NOW, first=first, last=last)


def _restated(context: Context, market: Market, session: date, stored: Any, told: Told) -> Restated:
    """Compare trailing sessions and probed histories with what is stored."""
    window, before = window_of(market, session), market.calendar.previous_session(session)
    span = history_span(market, before)
    if span is None:
        return Restated()
    probed, snapshot = set(told.probed), market.settings.feed.kind == "akshare"
    history = context.bars.bars(market.name, as_of=NOW, first=span[0], last=before, assets=probed)
    lately = of_assets(between(stored, window[0], before), probed, without=True)
    older = between(stored, date.min, market.calendar.previous_session(window[0]))
    return find_restated(
        [(lately, told.trailing, older if older.num_rows else None), (history, told.probe, None)],
        limits_of(market.settings, [*probed, *lately["asset"].unique().to_pylist()], session),
        flags_told=not snapshot,
    )


def _index_returns(index: Mapping[date, float], before: date, session: date) -> dict[date, float]:
    """Return the index's return of a session, nothing where either close is not told."""
    first, last = index.get(before, 0.0), index.get(session, 0.0)
    return {session: last / first - 1.0} if first > 0.0 and last > 0.0 else {}


def _session_vintages(
    context: Context, market: Market, judged: Judged, providers: Mapping[str, str]
) -> list[Vintage]:
    """Write the session's bars; those that bring a split are a vintage of their own."""
    if judged.checked is None:
        return []
    table = judged.checked.table
    is_split = pc.not_equal(table["split"], 1.0)
    usual, splits = table.filter(pc.invert(is_split)), table.filter(is_split)
    return [
        *append_told(context, market, usual, cause="session", providers=providers),
        *append_told(context, market, splits, cause="split", providers=providers),
    ]


def _joined_facts(
    market: Market, table: Any, providers: Mapping[str, str], switches: Sequence[Switch]
) -> dict[str, Any]:
    """Return who told the session's bars, where there are two providers."""
    if market.settings.feed.fallback == "none":
        return {}
    told = counted(table, providers, market.feed.name)
    return {"providers": told, "switched": len(switches)}


def session_facts(
    market: Market,
    session: date,
    judged: Judged,
    missing: Mapping[str, str],
    received_at: datetime,
) -> dict[str, Any]:
    """Return what the run's detail keeps of a judged session."""
    checked = judged.checked
    if checked is None:
        return {}
    return {
        "source": market.feed.name,
        "provider": market.feed.name,
        "reconstructed": False,
        "received_at": received_at.isoformat(),
        "bars": checked.table.num_rows,
        "coverage": checked.coverage.get(session),
        "repeated": (judged.repeated or {}).get(session),
        "traded": traded_share(checked.table),
        "volume": (judged.volumes or {}).get(session),
        "half_day": market.calendar.is_half_day(session),
        "quarantined": len(checked.quarantined),
        "broken": [f"{row.asset}: {row.rule}" for row in checked.quarantined[:NAMED_ROWS]],
        "missing": [f"{asset}: {why}" for asset, why in list(missing.items())[:NAMED_ROWS]],
    }


def _warnings(judged: Judged) -> tuple[str, ...]:
    return judged.checked.warnings if judged.checked is not None else ()


def record_session(
    conn: Connection,
    context: Context,
    market: Market,
    session: date,
    vintages: Sequence[Vintage],
    said: Sequence[Said],
    detail: dict[str, Any],
) -> None:
    """Let vintages count, note the newest in the detail, and store the gate's verdicts."""
    for vintage in vintages:
        detail["vintage"] = context.bars.record(conn, vintage).number
    data.append_verdicts(conn, market.name, session, context.clock.now(), said)
