"""Who belongs to the market's index: fetched once a session, compared, kept or held."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date
from typing import Any

import structlog
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.index_lists import IndexLists
from daemon.universe import MembershipChange, Refreshed, refresh
from signals.errors import AlphadError, DataError, FeedError, MembershipError
from storage import alerts, data, ledger, membership
from storage.files import disk_errors, sha256_of
from storage.membership import Spell

log = structlog.get_logger()

#: Sessions in a row without a fetched list before somebody has to look.
MAX_FAILURES = 5


@dataclass(frozen=True)
class Members:
    """The membership a session is ingested with; `write_members` makes it count.

    Parameters
    ----------
    spells : tuple of Spell
        In force from this session on.
    changed : bool
        Whether they are to be stored.
    source : str
        Where they come from.
    held : MembershipChange or None
        A change that waits for an operator.
    applied : str
        Digest of a held change that is made now, "" without one.
    facts : dict
        For the run's detail.
    message : str
        One line about what happened, "" where nothing did.
    """

    spells: tuple[Spell, ...]
    changed: bool
    source: str
    held: MembershipChange | None = None
    applied: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    message: str = ""


def find_members(context: Context, market: Market, session: date) -> Members:
    """Return who belongs on a session: by the fetched list, or by the operator's file.

    Raises
    ------
    FeedError, MembershipError
        There is no list yet and none was to be had. Later ones that fail change nothing.
    """
    with context.database.read() as conn:
        known = membership.load(conn, market.name).spells
        last = ledger.last_session(conn, market.name, "ingest")
        run = ledger.latest_succeeded(conn, market.name, last, "ingest") if last else None
    before = dict((run.detail if run is not None else None) or {})
    if market.lists is None:
        return _from_file(market, known, before)
    try:
        found = _refreshed(context, market, market.lists, session, known)
    except (FeedError, MembershipError) as error:
        if not known:
            raise
        return _unfetched(market.lists, known, before, error)
    facts: dict[str, Any] = {"survivorship": found.universe.note, "membership": found.outcome}
    if found.warnings:
        facts["membership_warnings"] = list(found.warnings)
    digest = found.change.digest
    changed = found.outcome in ("first", "changed")
    return Members(
        spells=found.universe.spells,
        changed=changed,
        source=f"fetched: {market.lists.index.title}",
        held=found.change if found.outcome == "held" else None,
        applied=digest if changed else "",
        facts=facts,
        message=found.message if found.outcome != "unchanged" else "",
    )


def write_members(
    conn: Connection, context: Context, market: Market, session: date, members: Members
) -> None:
    """Store what `find_members` found, and open or close its alerts."""
    now, name = context.clock.now(), market.name
    if members.changed:
        membership.save(conn, name, members.spells, members.source, now)
        if members.applied:
            data.applied(conn, name, members.applied, now)
    if market.lists is None:
        return
    if members.held is not None:
        digest = members.held.digest
        data.hold(
            conn, name, digest, session=session, joined=members.held.joined,
            left=members.held.left, now=now,
        )  # fmt: skip
        message = f"{members.message}; to confirm it: alphad data confirm-members --market {name} "
        alerts.raise_alert(conn, name, "membership-held", "error", message + digest, now, session)
    elif "membership_failures" not in members.facts:
        alerts.resolve(conn, name, "membership-held", now)
    if members.facts.get("membership_failures", 0) >= MAX_FAILURES:
        alerts.raise_alert(conn, name, "membership-stale", "warning", members.message, now, session)
    elif "membership_failures" not in members.facts:
        alerts.resolve(conn, name, "membership-stale", now)


def _refreshed(
    context: Context,
    market: Market,
    lists: IndexLists,
    session: date,
    known: tuple[Spell, ...],
) -> Refreshed:
    """Return what the list as it is told now does to the stored membership."""
    with context.database.read() as conn:
        since = membership.first_known(conn, market.name)
        confirmed = {
            change.digest
            for change in data.held(conn, market.name)
            if change.confirmed_at is not None and change.applied_at is None
        }
    fetched = lists.fetch()
    whole: dict[str, Any] = {
        "on": session,
        "previous": market.calendar.previous_session(session),
        "first": market.settings.feed.start,
        "since": since.astimezone(UTC).date() if since is not None else None,
        "overrides": lists.overrides(),
    }
    found = refresh(lists.index, known, fetched, **whole)
    if found.outcome == "held" and found.change.digest in confirmed:
        return refresh(lists.index, known, fetched, confirmed=found.change.digest, **whole)
    return found


def _unfetched(
    lists: IndexLists, known: tuple[Spell, ...], before: dict[str, Any], error: AlphadError
) -> Members:
    """Return the membership as it was, with the count of failures in a row."""
    n = int(before.get("membership_failures", 0)) + 1
    log.warning("the list of members was not to be had", failures=n, error=str(error))
    facts = {
        "membership": "not fetched",
        "membership_failures": n,
        "membership_warnings": [error.fact],
        "survivorship": before.get("survivorship"),
    }
    message = (
        f"the {lists.index.title} has not been fetched for {n} sessions; the last good list stays "
        f"in force. {error.fact}"
    )
    return Members(known, changed=False, source="", facts=facts, message=message)


def _from_file(market: Market, known: tuple[Spell, ...], before: dict[str, Any]) -> Members:
    path = market.settings.membership
    if path is None:
        raise DataError(
            f"nobody says which assets {market.name} has",
            rule="a provider is asked asset by asset",
            hint="set universe.index, or membership to a file",
        )
    with disk_errors(f"reading {path}"):
        digest = sha256_of(path)
    facts = {"membership_sha256": digest}
    if known and before.get("membership_sha256") == digest:
        return Members(known, changed=False, source=str(path), facts=facts)
    spells = membership.read_membership(path)
    return Members(tuple(spells), changed=True, source=str(path), facts=facts)
