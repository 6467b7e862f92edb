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


def waits_until(run: StageRun | None, now: datetime) -> datetime | None:
    """Return until when a fetch that failed is not tried again, None where none failed.

    One that failed later than now did so before the clock was set back: nothing waits for it.
    """
    if run is None or run.status != RunStatus.FAILED or run.finished_at is None:
        return None
    if run.finished_at > now:
        return None
    return run.finished_at + PAUSES[min(run.attempts, len(PAUSES)) - 1]


def settle(
    context: Context, market: Market, following: date | None, *, urgent: bool = False
) -> bool:
    """Confirm the last published session if it is time to; return whether anything was published.

    Parameters
    ----------
    following : date or None
        The session that is due after it, if one is; then this is the last look at the old one.
    urgent : bool
        Whether an operator will not wait after a fetch that failed.

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
    told = published.detail or {}
    if told.get("restored") and told.get("confirmed"):
        return False  # it was final; the ledger that is restored has only asked for it once
    if (published.detail or {}).get("ingest_revision", 0) == ingested.revision:
        facts = ingested.detail or {}
        if not _is_time(context, market, facts, None if urgent else newest):
            return False
        if not _confirmed(context, market, session, facts, following):
            return False
    publish.run(context, market, session, "confirmation")
    return True


def _is_time(
    context: Context, market: Market, facts: Mapping[str, Any], newest: StageRun | None
) -> bool:
    now = context.clock.now()
    due, wait = live_again.confirmation_due(facts), waits_until(newest, now)
    if due is None:
        resolve_alert(context, market.name, "unconfirmed")
        return False
    was_set_back = due - now > live_again.CONFIRM_AFTER
    return (now >= due or was_set_back) and (wait is None or now >= wait)


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
