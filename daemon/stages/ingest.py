"""Ingest: fetch a session's bars, put them through the gate, keep them as a vintage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.feeds.protocol import Request
from daemon.settings import config_hash
from daemon.stages.stage import Result, fingerprint, perform
from daemon.validation import Checked, check_bars
from storage import membership
from storage.bars import last_vintage
from storage.tables import Vintage

#: An asset with a bar in one of so many last sessions is expected to have one again.
EXPECTED_SESSIONS = 10
#: Broken rows named in the ledger; all of them are counted.
NAMED_ROWS = 20


def run(context: Context, market: Market, session: date) -> None:
    """Ingest one session; the first one of a market brings its history along."""
    inputs = fingerprint(market.feed.name, session, config_hash(market.settings))
    perform(context, market, session, "ingest", inputs, lambda: compute(context, market, session))


def compute(context: Context, market: Market, session: date) -> Result:
    """Fetch and check; the files are written, the rows that make them count are not yet."""
    with context.database.read() as conn:
        stored = last_vintage(conn, market.name)
    vintages: list[Vintage] = []
    members = None
    if stored is None and market.settings.membership is not None:
        members = membership.read_membership(market.settings.membership)
    detail: dict[str, Any] = {}
    if stored is None:
        vintages += backfill(context, market, session, detail)
    checked = fetch(market, [session], expected_assets(context, market, session, stored))
    vintages.append(keep(context, market, checked, cause="session", reconstructed=False))
    detail |= {
        "source": market.feed.name,
        "reconstructed": market.feed.reconstructed,
        "bars": checked.table.num_rows,
        "coverage": checked.coverage.get(session),
        "quarantined": len(checked.quarantined),
        "broken": [f"{row.asset}: {row.rule}" for row in checked.quarantined[:NAMED_ROWS]],
        "warnings": list(checked.warnings),
    }

    def write(conn: Connection) -> None:
        if members is not None:
            path = str(market.settings.membership)
            membership.save(conn, market.name, members, path, context.clock.now())
        for vintage in vintages:
            detail["vintage"] = context.bars.record(conn, vintage).number

    return Result(detail, write)


def backfill(
    context: Context, market: Market, session: date, detail: dict[str, Any]
) -> list[Vintage]:
    """Fetch everything the feed has before `session`, as one reconstructed vintage."""
    first = market.feed.history(session)
    if first is None or first >= session:
        return []
    sessions = market.calendar.sessions(first, market.calendar.previous_session(session))
    checked = fetch(market, sessions, None)
    detail["backfill"] = {
        "sessions": len(sessions),
        "bars": checked.table.num_rows,
        "quarantined": dict(Counter(row.rule for row in checked.quarantined)),
    }
    return [keep(context, market, checked, cause="backfill", reconstructed=True)]


def fetch(market: Market, sessions: Sequence[date], expected: set[str] | None) -> Checked:
    """Return the bars of some sessions, past the gate."""
    table = market.feed.fetch(Request(market.name, tuple(sessions)))
    settings = market.settings.ingest
    return check_bars(
        table,
        sessions=sessions,
        min_assets=settings.min_assets,
        max_quarantined=settings.max_quarantined,
        expected=expected,
    )


def keep(
    context: Context, market: Market, checked: Checked, *, cause: str, reconstructed: bool
) -> Vintage:
    """Write the vintage's file."""
    return context.bars.append(
        market.name,
        checked.table,
        source=market.feed.name,
        known_at=context.clock.now(),
        reconstructed=reconstructed,
        cause=cause,
    )


def expected_assets(
    context: Context, market: Market, session: date, stored: Vintage | None
) -> set[str] | None:
    """Return the members that had a bar lately; None before there is any history."""
    if stored is None:
        return None
    last = market.calendar.previous_session(session)
    panel = context.bars.panel(market.name, as_of=context.clock.now(), last_session=last)
    tail = panel.rows(panel.n_sessions - EXPECTED_SESSIONS, panel.n_sessions)
    lately = tail.universe.any(axis=0)
    day = np.array([session], dtype="datetime64[D]")
    with context.database.read() as conn:
        lately = lately & membership.universe(conn, market.name, day, panel.assets)[0]
    return {asset for asset, there in zip(panel.assets, lately, strict=True) if there}
