"""Ingest: fetch a session's bars, put them through the gate, keep them as a vintage.

Here from files and simulated feeds; what a live feed needs beside that is in `daemon.stages.live`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.feeds.protocol import LiveFeed, Request
from daemon.market_wide import MAX_REPEATED, MIN_TRADED, MIN_VOLUME, repeated_share, traded_share
from daemon.settings import IngestSettings
from daemon.stages import live
from daemon.stages.stage import Result, fingerprint, perform
from daemon.validation import Checked, check_bars
from signals.panel import Panel
from storage import ledger, membership
from storage.bars import NOW, last_vintage
from storage.files import disk_errors, sha256_of
from storage.tables import Vintage

#: An asset with a bar in one of so many last sessions is expected to have one again.
EXPECTED_SESSIONS = 10
#: Share of the expected assets whose earlier bars were corrected, above which judgement waits.
MAX_RESTATED = 0.05
#: Broken rows named in the ledger; all of them are counted.
NAMED_ROWS = 20


def run(context: Context, market: Market, session: date) -> None:
    """Ingest one session; the first one of a market brings its history along."""
    if isinstance(market.feed, LiveFeed):
        live.run(context, market, session)
        return
    inputs = fingerprint(market.feed.name, session, market.config_sha256)
    perform(context, market, session, "ingest", inputs, lambda: compute(context, market, session))


def compute(context: Context, market: Market, session: date) -> Result:
    """Fetch and check; the files are written, the rows that make them count are not yet."""
    with context.database.read() as conn:
        stored = last_vintage(conn, market.name)
    vintages: list[Vintage] = []
    detail: dict[str, Any] = {}
    members = changed_members(context, market, detail)
    if stored is None:
        vintages += backfill(context, market, session, detail)
        before = None
    else:
        last = market.calendar.previous_session(session)
        panel = context.bars.panel(market.name, as_of=NOW, last_session=last)
        before = panel.rows(panel.n_sessions - EXPECTED_SESSIONS, panel.n_sessions)
    checked = fetch(market, [session], expected_assets(context, market, session, before))
    vintages.append(keep(context, market, checked, cause="session", reconstructed=False))
    detail |= {
        "source": market.feed.name,
        "reconstructed": market.feed.reconstructed,
        "bars": checked.table.num_rows,
        "coverage": checked.coverage.get(session),
        "repeated": repeated_share(checked.table, before),
        "traded": traded_share(checked.table),
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
        known_at=context.known_at(market.name),
        reconstructed=reconstructed,
        cause=cause,
    )


def expected_assets(
    context: Context, market: Market, session: date, before: Panel | None
) -> set[str] | None:
    """Return the members that had a bar in the sessions before; None without any history."""
    if before is None:
        return None
    lately = before.universe.any(axis=0)
    day = np.array([session], dtype="datetime64[D]")
    with context.database.read() as conn:
        lately = lately & membership.universe(conn, market.name, day, before.assets)[0]
    return {asset for asset, there in zip(before.assets, lately, strict=True) if there}


def changed_members(
    context: Context, market: Market, detail: dict[str, Any]
) -> Sequence[membership.Spell] | None:
    """Return the spells of the membership file if it is not the one of the session before."""
    path = market.settings.membership
    if path is None:
        return None
    with disk_errors(f"reading {path}"):
        detail["membership_sha256"] = sha256_of(path)
    with context.database.read() as conn:
        last = ledger.last_session(conn, market.name, "ingest")
        run = ledger.latest_succeeded(conn, market.name, last, "ingest") if last else None
    known = (run.detail or {}).get("membership_sha256") if run is not None else None
    return None if known == detail["membership_sha256"] else membership.read_membership(path)


def data_fault(facts: Mapping[str, Any], settings: IngestSettings) -> str | None:
    """Return why the bars of an ingested session are not to be judged by, if they are not."""
    coverage, repeated = facts.get("coverage"), facts.get("repeated")
    traded, restated = facts.get("traded"), facts.get("restated")
    volume = facts.get("volume") if not facts.get("half_day") else None
    if coverage is not None and coverage < settings.min_coverage:
        return f"coverage {coverage:.3f} below {settings.min_coverage:.3f}"
    if repeated is not None and repeated > MAX_REPEATED:
        return f"{repeated:.0%} of the bars repeat those of the session before"
    if traded is not None and traded < MIN_TRADED:
        return f"only {traded:.0%} of the bars traded: was the exchange closed?"
    if volume is not None and volume < MIN_VOLUME:
        return f"volumes are {volume:.0%} of the usual: are these bars of a whole session?"
    if restated is not None and restated > MAX_RESTATED:
        return f"the history of {restated:.0%} of the assets was corrected"
    return None
