"""Ingest from a live feed: the session past the gate, restatements found, a second fetch to agree.

The first fetch of a session is provisional. It is final when a second one, half an hour later,
tells the same; or at once where the next session has opened already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow.compute as pc
from sqlalchemy import Connection

from daemon.backfill import Backfilled, backfill, ever_members, history_span, missing_spans
from daemon.context import Context, Market
from daemon.gate import Judged, judge
from daemon.history_gate import limits_of
from daemon.market_wide import traded_share
from daemon.members import Members, find_members, write_members
from daemon.stages.live_fetch import TRAILING, Told, ask, ask_again, window_of
from daemon.stages.restated import Restated, between, find_restated, keep, of_assets
from daemon.stages.stage import Result, fingerprint, perform
from daemon.verdicts import as_said, refuse
from signals.errors import BarsError, FeedError
from storage import alerts, data, ledger
from storage.data import Said
from storage.membership import Membership, load
from storage.tables import StageRun, Vintage

#: Between two fetches that are to agree.
CONFIRM_AFTER = timedelta(minutes=30)
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
    stored = _stored(
        context, market, market.calendar.previous_session(session, 2 * TRAILING), before
    )
    told = _asked(context, market, session, today)
    limits = limits_of(market.calendar.name, today, session)
    restated = _restated(context, market, session, stored, told)
    expected = set(today) & set(pc.unique(between(stored, window[0], before)["asset"]).to_pylist())
    if restated.distrusted:
        told = replace(told, today=of_assets(told.today, set(restated.distrusted), without=True))
    judged = judge(
        told.today,
        sessions=[session],
        min_assets=market.settings.ingest.min_assets,
        max_quarantined=market.settings.ingest.max_quarantined,
        expected=expected or None,
        before=between(restated.over(stored), window[0], before) if stored.num_rows else None,
        limits=limits,
        sources=told.sources,
    )
    _hint_provisional(market, session, judged)
    refuse(context, market, session, judged)
    vintages = [*keep(context, market, restated), *_session_vintages(context, market, judged)]
    following = market.calendar.next_session(session)
    detail |= {
        **_facts(market, session, judged, told.missing, told.received_at),
        **restated.facts(len(expected)),
        "provisional_session": market.calendar.is_provisional(session),
        "confirmed": told.received_at >= market.calendar.open(following),
        "fetches": 1,
        "probed": len(told.probed),
        "warnings": [*told.warnings, *restated.warnings, *_warnings(judged)],
    }
    said = [*as_said(judged.verdicts), *restated.said()]

    def write(conn: Connection) -> None:
        write_members(conn, context, market, session, members)
        _record(conn, context, market, session, vintages, said, detail)
        tell_unknown(conn, context, market, session, restated)

    return Result(detail, write)


def confirm(context: Context, market: Market, session: date) -> None:
    """Fetch a session again; the result is the next revision of its ingestion.

    Raises
    ------
    FeedError, BarsError
        Nothing was told that could be compared; the session stays as it was.
    """
    with context.database.read() as conn:
        earlier = ledger.latest_succeeded(conn, market.name, session, "ingest")
    if earlier is None:
        return
    fetches = int((earlier.detail or {})["fetches"])
    inputs = fingerprint(
        market.feed.name, session, market.config_sha256, "confirmation", fetches + 1
    )
    perform(
        context, market, session, "ingest", inputs,
        lambda: _compute_again(context, market, session, earlier), cause="confirmation",
    )  # fmt: skip


def _compute_again(context: Context, market: Market, session: date, earlier: StageRun) -> Result:
    detail: dict[str, Any] = dict(earlier.detail or {})
    with context.database.read() as conn:
        today = load(conn, market.name).members(session)
    window = window_of(market, session)
    before = market.calendar.previous_session(session)
    stored = _stored(context, market, window[0], session)
    parsed = ask_again(market, session, today)
    received = context.clock.now()
    earlier_rows, now_rows = between(stored, session, session), between(stored, window[0], before)
    expected = set(today) & set(pc.unique(now_rows["asset"]).to_pylist())
    judged = judge(
        between(parsed.table, session, session),
        sessions=[session],
        min_assets=market.settings.ingest.min_assets,
        max_quarantined=market.settings.ingest.max_quarantined,
        expected=expected or None,
        before=now_rows if now_rows.num_rows else None,
        limits=limits_of(market.calendar.name, today, session),
        sources=parsed.sources,
    )
    refuse(context, market, session, judged)
    table = judged.checked.table if judged.checked is not None else earlier_rows
    names = set(pc.unique(earlier_rows["asset"]).to_pylist())
    late = of_assets(table, names, without=True)
    restated = find_restated(
        [(earlier_rows, of_assets(table, names), now_rows)],
        limits_of(market.calendar.name, today, session),
    )
    vintages = keep(context, market, restated)
    if late.num_rows:
        vintages += _append(context, market, late, "correction")
    facts = _facts(market, session, judged, parsed.missing, received)
    differed = sum(restated.bars.values()) + late.num_rows
    fetches = int(detail["fetches"]) + 1
    complete = (facts["coverage"] or 0.0) >= market.settings.ingest.min_coverage
    missed = fetches == 2 and received >= market.calendar.open(
        market.calendar.next_session(session)
    )
    share = restated.facts(len(expected))["restated"]
    counted = dict(detail.get("restated_bars", {}))
    for cause, n_bars in restated.bars.items():
        counted[cause] = counted.get(cause, 0) + n_bars
    detail |= {
        **facts,
        "restated": max(float(detail.get("restated", 0.0)), share),
        "restated_bars": counted,
        "confirmed": missed or (not differed and complete),
        "differed": differed,
        "fetches": fetches,
    }
    said = [*as_said(judged.verdicts), *restated.said()]

    def write(conn: Connection) -> None:
        _record(conn, context, market, session, vintages, said, detail)
        if restated.unknown is not None:
            tell_unknown(conn, context, market, session, restated)

    return Result(detail, write)


def unconfirmed(facts: Mapping[str, Any]) -> str | None:
    """Return why the bars of a session are not final, None where they are or need no second look.

    Parameters
    ----------
    facts : mapping
        The detail of the session's ingestion.
    """
    if facts.get("confirmed", True):
        return None
    if facts.get("fetches", 1) == 1:
        return "not confirmed yet: the source has told these bars once"
    if facts.get("differed"):
        n_bars, n_fetches = facts["differed"], facts["fetches"]
        return f"not confirmed yet: fetch {n_fetches} told {n_bars} bars otherwise"
    return "not confirmed yet: too few of the expected assets have a bar"


def confirmation_due(facts: Mapping[str, Any]) -> datetime | None:
    """Return when a session's bars are to be fetched again, None when they need not be."""
    if unconfirmed(facts) is None:
        return None
    return datetime.fromisoformat(facts["received_at"]) + CONFIRM_AFTER


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
        lately = _stored(context, market, window_of(market, session)[0], before)
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


def _stored(context: Context, market: Market, first: date, last: date) -> Any:
    return context.bars.bars(market.name, as_of=context.clock.now(), first=first, last=last)


def _restated(context: Context, market: Market, session: date, stored: Any, told: Told) -> Restated:
    """Compare trailing sessions and probed histories with what is stored."""
    window, before = window_of(market, session), market.calendar.previous_session(session)
    span = history_span(market, before)
    if span is None:
        return Restated()
    probed, snapshot = set(told.probed), market.settings.feed.kind == "akshare"
    history = context.bars.bars(
        market.name, as_of=context.clock.now(), first=span[0], last=before, assets=probed
    )
    lately = of_assets(between(stored, window[0], before), probed, without=True)
    older = between(stored, date.min, market.calendar.previous_session(window[0]))
    return find_restated(
        [(lately, told.trailing, older if older.num_rows else None), (history, told.probe, None)],
        limits_of(market.calendar.name, [*probed, *lately["asset"].unique().to_pylist()], session),
        flags_told=not snapshot,
    )


def _session_vintages(context: Context, market: Market, judged: Judged) -> list[Vintage]:
    """Write the session's bars; those that bring a split are a vintage of their own."""
    if judged.checked is None:
        return []
    table = judged.checked.table
    is_split = pc.not_equal(table["split"], 1.0)
    return [
        *_append(context, market, table.filter(pc.invert(is_split)), "session"),
        *_append(context, market, table.filter(is_split), "split"),
    ]


def _append(context: Context, market: Market, table: Any, cause: str) -> list[Vintage]:
    if not table.num_rows:
        return []
    now = context.clock.now()
    return [
        context.bars.append(
            market.name, table, source=market.feed.name, known_at=now, reconstructed=False,
            cause=cause,
        )
    ]  # fmt: skip


def _facts(
    market: Market,
    session: date,
    judged: Judged,
    missing: Mapping[str, str],
    received_at: datetime,
) -> dict[str, Any]:
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
        "quarantined": len(checked.quarantined),
        "broken": [f"{row.asset}: {row.rule}" for row in checked.quarantined[:NAMED_ROWS]],
        "missing": [f"{asset}: {why}" for asset, why in list(missing.items())[:NAMED_ROWS]],
    }


def _warnings(judged: Judged) -> tuple[str, ...]:
    return judged.checked.warnings if judged.checked is not None else ()


def _record(
    conn: Connection,
    context: Context,
    market: Market,
    session: date,
    vintages: Sequence[Vintage],
    said: Sequence[Said],
    detail: dict[str, Any],
) -> None:
    for vintage in vintages:
        detail["vintage"] = context.bars.record(conn, vintage).number
    data.append_verdicts(conn, market.name, session, context.clock.now(), said)
