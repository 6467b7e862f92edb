"""A live session fetched again, to agree with the first fetch: what makes a session final."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow.compute as pc
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.gate import judge
from daemon.history_gate import limits_of
from daemon.stages.live import record_session, session_facts, stored_bars, tell_unknown
from daemon.stages.live_fetch import ask_again, window_of
from daemon.stages.restated import (
    between,
    find_restated,
    keep,
    of_assets,
    otherwise_flagged,
    with_flags,
)
from daemon.stages.stage import Result, fingerprint, perform
from daemon.switching import (
    append_told,
    kept_switches,
    providers_of,
    record_switches,
    switches_of,
)
from daemon.verdicts import as_said, refuse
from storage import ledger
from storage.membership import load
from storage.tables import StageRun

#: Between two fetches that are to agree.
CONFIRM_AFTER = timedelta(minutes=30)


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
    stored = stored_bars(context, market, window[0], session)
    parsed = ask_again(market, session, today)
    received = context.clock.now()
    distrusted = set(detail.get("distrusted", ()))  # their histories were told otherwise today
    asked = of_assets(between(parsed.table, session, session), distrusted, without=True)
    earlier_rows, now_rows = between(stored, session, session), between(stored, window[0], before)
    expected = set(today) & set(pc.unique(now_rows["asset"]).to_pylist())
    judged = judge(
        asked,
        sessions=[session],
        min_assets=market.settings.ingest.min_assets,
        max_quarantined=market.settings.ingest.max_quarantined,
        expected=expected or None,
        before=now_rows if now_rows.num_rows else None,
        limits=limits_of(market.settings, today, session),
        sources=parsed.sources,
    )
    refuse(context, market, session, judged)
    table = judged.checked.table if judged.checked is not None else earlier_rows
    names = set(pc.unique(earlier_rows["asset"]).to_pylist())
    late = of_assets(table, names, without=True)
    # flags that are told now for the first time, or otherwise, are no doubt about the prices
    flagged = otherwise_flagged(earlier_rows, table)
    restated = find_restated(
        [(with_flags(earlier_rows, table), of_assets(table, names), now_rows)],
        limits_of(market.settings, today, session),
    )
    providers = providers_of(parsed)
    switches = kept_switches(switches_of(parsed), late)
    vintages = append_told(context, market, flagged, cause="correction", providers=providers)
    vintages += keep(context, market, restated, providers)
    vintages += append_told(context, market, late, cause="correction", providers=providers)
    facts = session_facts(market, session, judged, parsed.missing, received)
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
        record_session(conn, context, market, session, vintages, said, detail)
        if switches:
            record_switches(conn, context, market, session, switches)
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
