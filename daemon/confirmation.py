"""When a live session is fetched again, and what follows: a revision that is final or not yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from daemon.alerts import raise_alert, resolve_alert
from daemon.context import Context, Market
from daemon.stages import live_again, publish
from signals.errors import AlphadError
from storage import ledger
from storage.tables import RunStatus, StageRun

#: How long a failed fetch is followed by none, after the first attempt, the second, …
PAUSES = tuple(timedelta(minutes=minutes) for minutes in (2, 5, 15, 30, 60))


def waits_until(run: StageRun | None) -> datetime | None:
    """Return until when a fetch that failed is not tried again, None where none failed."""
    if run is None or run.status != RunStatus.FAILED or run.finished_at is None:
        return None
    return run.finished_at + PAUSES[min(run.attempts, len(PAUSES)) - 1]


def settle(context: Context, market: Market, following: date | None) -> bool:
    """Confirm the last published session if it is time to; return whether anything was published.

    Parameters
    ----------
    following : date or None
        The session that is due after it, if one is; then this is the last look at the old one.

    Raises
    ------
    AlphadError
        The second fetch failed and no other session waits.
    """
    name = market.name
    with context.database.read() as conn:
        session = ledger.last_session(conn, name, "publish")
        if session is None:
            return False
        ingested = ledger.latest_succeeded(conn, name, session, "ingest")
        published = ledger.latest_succeeded(conn, name, session, "publish")
        newest = ledger.latest(conn, name, session, "ingest")
    if ingested is None or published is None:
        return False
    if (published.detail or {}).get("ingest_revision", 0) == ingested.revision:
        facts = ingested.detail or {}
        if not _is_time(context, market, facts, newest):
            return False
        if not _confirmed(context, market, session, facts, following):
            return False
    publish.run(context, market, session, "confirmation")
    return True


def _is_time(
    context: Context, market: Market, facts: Mapping[str, Any], newest: StageRun | None
) -> bool:
    due, wait = live_again.confirmation_due(facts), waits_until(newest)
    if due is None:
        resolve_alert(context, market.name, "unconfirmed")
        return False
    now = context.clock.now()
    return now >= due and (wait is None or now >= wait)


def _confirmed(
    context: Context,
    market: Market,
    session: date,
    facts: Mapping[str, Any],
    following: date | None,
) -> bool:
    """Fetch the session again; return whether there is a new revision."""
    if following is not None and facts["fetches"] > 1:
        _give_up(context, market, session, "two fetches never agreed")
        return False
    try:
        live_again.confirm(context, market, session)
    except AlphadError as error:
        if following is None:
            raise
        _give_up(context, market, session, error.fact)
        return False
    return True


def _give_up(context: Context, market: Market, session: date, why: str) -> None:
    message = f"{market.name} {session} stays provisional: {why}"
    raise_alert(context, market.name, "unconfirmed", "warning", message)
