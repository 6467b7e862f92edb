"""The outbox: what is told to whom, written with what it tells of and sent until it arrives.

What a channel was told last and how the alert stands decide what it is told next, whoever asks:
the transaction of the alert, or a later look at alerts that another process has written. A key is
told as raised once, again when it becomes more severe, as a reminder while an error stays open,
and as resolved. One that is raised again soon after its recovery is told as flapping; from then on
nothing is said until it has been quiet for as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import Database
from storage.tables import Alert, Notification, PublicationRecord, record, table

#: Severities, the least first.
SEVERITIES = ("info", "warning", "error")
#: The channel that is told of publications and of nothing else.
DEAD_MAN = "dead-man"
#: What a channel is told of an alert.
RAISED, FLAPPING, CHANGED, REMINDER, RESOLVED = (
    "raised", "flapping", "changed", "reminder", "resolved",
)  # fmt: skip
#: What the dead-man channel is told.
PUBLISHED = "published"
#: The first pause after an attempt that failed, and the longest; each is twice the one before.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=30)
#: Most rows that are looked at in one go.
PAGE = 1000

_OUTBOX = table(Notification)
_ALERTS = table(Alert)
_OPTION = "alphad_outbox"
_A_DAY = timedelta(days=1)
_PENDING = and_(_OUTBOX.c.sent_at.is_(None), _OUTBOX.c.given_up_at.is_(None))
#: A recovery that was given up is not told again: it is no trouble any more.
_HEARD = or_(_OUTBOX.c.given_up_at.is_(None), _OUTBOX.c.kind == RESOLVED)


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel by name; its address is nothing the database knows."""

    name: str
    min_severity: str = "warning"

    def wants(self, severity: str) -> bool:
        """Say whether an alert of this severity is told here."""
        return rank(severity) >= rank(self.min_severity)


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is told of alerts, and how often; without channels no row is ever written."""

    channels: tuple[Channel, ...] = ()
    #: An alert that comes back sooner flaps.
    damp: timedelta = timedelta(hours=1)
    #: After so long an error that is still open is told again; None: never.
    remind: timedelta | None = _A_DAY
    #: Whether publications are told to the channel `DEAD_MAN`.
    pings: bool = False

    def alone(self, name: str) -> Policy:
        """Return the same for one channel."""
        return replace(self, channels=tuple(c for c in self.channels if c.name == name))


NOBODY = Policy()


def rank(severity: str) -> int:
    """Return how severe it is; an unknown word counts as an error, so that it is told."""
    return SEVERITIES.index(severity if severity in SEVERITIES else "error")


def attach(database: Database, policy: Policy) -> None:
    """Let every transaction of this database, from now on, write what its alerts have to tell."""
    database.engine.update_execution_options(**{_OPTION: policy})


def policy_of(connection: Connection) -> Policy:
    """Return who is told of what this connection writes."""
    policy = connection.get_execution_options().get(_OPTION, NOBODY)
    assert isinstance(policy, Policy)  # noqa: S101 - `attach` alone sets it
    return policy


def enqueue(connection: Connection, market: str, key: str, now: datetime) -> int:
    """Write what the channels are to be told of an alert as it stands; return how many rows.

    Called in the transaction that raises, changes or resolves it.
    """
    policy = policy_of(connection)
    return _write(connection, _wanted(connection, policy, market, key, now), now)


def sweep(database: Database, policy: Policy, now: datetime) -> int:
    """Write what is still to be told of any alert; return how many rows.

    Reminders, recoveries that have lasted, alerts of processes that know no channel, and those
    that were open when a channel was added. Nothing is locked where nothing is to be written.
    """
    with database.read() as connection:
        subjects = [s for s in _subjects(connection) if _any(connection, policy, s, now)]
    if not subjects:
        return 0
    with database.transaction() as connection:
        return sum(
            _write(connection, _wanted(connection, policy, *subject, now), now)
            for subject in subjects
        )


def enqueue_published(connection: Connection, published: PublicationRecord, now: datetime) -> int:
    """Write the ping of a publication, in its own transaction; an older one is superseded."""
    if not policy_of(connection).pings:
        return 0
    market, publish_id = published.market, published.publish_id
    older = (
        _PENDING,
        _OUTBOX.c.channel == DEAD_MAN,
        _OUTBOX.c.market == market,
        _OUTBOX.c.key != publish_id,
    )
    connection.execute(
        update(_OUTBOX).where(*older), {"given_up_at": now, "error": "a later publication"}
    )
    text = f"{market} {published.session} published as {publish_id}, {published.status_text}"
    row = _row(DEAD_MAN, market, publish_id, PUBLISHED, "info", text, f"{market}:{publish_id}")
    return _write(connection, [row], now)


def due(connection: Connection, channel: str, now: datetime) -> list[Notification]:
    """Return what is to be sent through a channel now, oldest first.

    Messages about one alert keep their order: while the oldest waits for its next attempt, the
    later ones wait behind it. An attempt further away than the longest pause was set before the
    clock was set back: nothing waits for it.
    """
    query = select(_OUTBOX).where(_PENDING, _OUTBOX.c.channel == channel)
    query = query.order_by(_OUTBOX.c.market, _OUTBOX.c.key, _OUTBOX.c.number).limit(PAGE)
    rows = [record(Notification, row) for row in connection.execute(query).mappings()]
    found = []
    for _, group in groupby(rows, key=lambda row: (row.market, row.key)):
        of_alert = list(group)
        if not now < of_alert[0].next_attempt_at <= now + LONGEST_PAUSE:
            found += of_alert
    return sorted(found, key=lambda row: row.number or 0)


def claim(connection: Connection, rows: Sequence[Notification], now: datetime) -> bool:
    """Set the next attempt of what is about to be sent; False where another sender was first."""
    for row in rows:
        pause = min(FIRST_PAUSE * 2 ** min(row.attempts, 20), LONGEST_PAUSE)
        done = connection.execute(
            update(_OUTBOX).where(
                _PENDING,
                _OUTBOX.c.number == row.number,
                _OUTBOX.c.next_attempt_at == row.next_attempt_at,
            ),
            {"next_attempt_at": now + pause},
        )
        if done.rowcount != 1:
            return False
    return True


def mark_sent(connection: Connection, rows: Iterable[Notification], now: datetime) -> None:
    """Note that a channel has taken messages; they are never sent again."""
    numbers = [row.number for row in rows]
    done = update(_OUTBOX).where(_OUTBOX.c.number.in_(numbers))
    connection.execute(done.values(attempts=_OUTBOX.c.attempts + 1, sent_at=now, error=None))


def mark_failed(
    connection: Connection,
    rows: Sequence[Notification],
    now: datetime,
    error: str,
    give_up: timedelta,
) -> list[Notification]:
    """Note an attempt that failed; return the messages that are too old for another one."""
    numbers = [row.number for row in rows]
    tried = update(_OUTBOX).where(_OUTBOX.c.number.in_(numbers))
    connection.execute(tried.values(attempts=_OUTBOX.c.attempts + 1, error=error))
    late = [row for row in rows if row.created_at + give_up <= now]
    abandon(connection, late, now, error)
    return late


def abandon(
    connection: Connection, rows: Iterable[Notification], now: datetime, error: str
) -> None:
    """Give messages up, with the reason."""
    numbers = [row.number for row in rows]
    values = {"given_up_at": now, "error": error}
    connection.execute(update(_OUTBOX).where(_OUTBOX.c.number.in_(numbers)), values)


def orphans(
    connection: Connection, channels: Iterable[str], before: datetime
) -> list[Notification]:
    """Return what waits since before a time for a channel that is none of these."""
    query = select(_OUTBOX).where(
        _PENDING, _OUTBOX.c.channel.not_in([*channels]), _OUTBOX.c.created_at <= before
    )
    return [record(Notification, row) for row in connection.execute(query).mappings()]


def pending_count(connection: Connection) -> int:
    """Return how many messages wait to be sent."""
    query = select(func.count()).select_from(_OUTBOX).where(_PENDING)
    return int(connection.execute(query).scalar_one())


def failures(connection: Connection) -> dict[str, int]:
    """Return how many attempts have failed in all, by channel."""
    sent = case((_OUTBOX.c.sent_at.is_not(None), 1), else_=0)
    query = select(_OUTBOX.c.channel, func.sum(_OUTBOX.c.attempts - sent))
    query = query.group_by(_OUTBOX.c.channel).order_by(_OUTBOX.c.channel)
    return {channel: int(n) for channel, n in connection.execute(query)}


def given_up(connection: Connection) -> dict[str, int]:
    """Return how many messages were given up after attempts or for want of a channel."""
    query = select(_OUTBOX.c.channel, func.count()).where(
        _OUTBOX.c.given_up_at.is_not(None), _OUTBOX.c.kind != PUBLISHED
    )
    query = query.group_by(_OUTBOX.c.channel).order_by(_OUTBOX.c.channel)
    return {channel: int(n) for channel, n in connection.execute(query)}


def notifications(connection: Connection, *, limit: int | None = None) -> list[Notification]:
    """Return the newest messages, the oldest of them first."""
    query = select(_OUTBOX).order_by(_OUTBOX.c.number.desc()).limit(limit)
    rows = [record(Notification, row) for row in connection.execute(query).mappings()]
    return rows[::-1]


def prune(connection: Connection, before: datetime) -> int:
    """Delete what was sent or superseded before a time; return how many rows.

    What a channel was told last of a key stays: it says what it is told next. So does whatever has
    ever failed: a count of failures that falls would read as many new ones.
    """
    sent = and_(_OUTBOX.c.sent_at < before, _OUTBOX.c.attempts == 1)
    old = (or_(sent, and_(_OUTBOX.c.given_up_at < before, _OUTBOX.c.attempts == 0)),)
    kept = and_(_OUTBOX.c.number.in_(_told_last()), _OUTBOX.c.kind.not_in((RESOLVED, PUBLISHED)))
    return connection.execute(delete(_OUTBOX).where(*old, ~kept)).rowcount


def _subjects(connection: Connection) -> list[tuple[str, str]]:
    """Return market and key of every alert that is open, or that a channel thinks is."""
    opened = select(_ALERTS.c.market, _ALERTS.c.key).where(_ALERTS.c.resolved_at.is_(None))
    told = select(_OUTBOX.c.market, _OUTBOX.c.key).where(
        _OUTBOX.c.number.in_(_told_last()), _OUTBOX.c.kind.not_in((RESOLVED, PUBLISHED))
    )
    return sorted((row[0], row[1]) for row in connection.execute(opened.union(told)))


def _any(connection: Connection, policy: Policy, subject: tuple[str, str], now: datetime) -> bool:
    return next(_wanted(connection, policy, *subject, now), None) is not None


def _wanted(
    connection: Connection, policy: Policy, market: str, key: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the rows that are due about a key: what each channel does not know yet."""
    if not policy.channels:
        return
    mine = (_ALERTS.c.market == market, _ALERTS.c.key == key)
    newest_first = select(_ALERTS).where(*mine).order_by(_ALERTS.c.number.desc()).limit(2)
    rows = [record(Alert, row) for row in connection.execute(newest_first).mappings()]
    if not rows:
        return
    alert = rows[0]
    before = rows[1].resolved_at if len(rows) > 1 else None
    flapped = before is not None and alert.at - before < policy.damp
    today = select(func.count()).select_from(_ALERTS).where(*mine, _ALERTS.c.at > now - _A_DAY)
    for channel in policy.channels:
        last = _last(connection, channel.name, market, key)
        if alert.resolved_at is None:
            kind = _of_open(policy, channel, alert, last, now)
        else:
            kind = _of_resolved(policy, alert.resolved_at, last, now, flapped=flapped)
        if kind is not None:
            times = int(connection.execute(today).scalar_one())
            text = _text(kind, alert, last, policy, times)
            after = _newest(connection, channel.name, market, key)
            dedupe = f"{market}:{key}:{alert.number}:{kind}:{after}"
            yield _row(channel.name, market, key, kind, alert.severity, text, dedupe)


def _of_open(
    policy: Policy, channel: Channel, alert: Alert, last: Notification | None, now: datetime
) -> str | None:
    """Return what to tell of an open alert, None where all is said."""
    if last is None or last.kind == RESOLVED:
        if not channel.wants(alert.severity):
            return None
        soon = last is not None and now - last.created_at < policy.damp
        return FLAPPING if soon else RAISED
    if rank(alert.severity) > rank(last.severity):
        return CHANGED
    old = policy.remind is not None and now - last.created_at >= policy.remind
    return REMINDER if old and rank(alert.severity) >= rank("error") else None


def _of_resolved(
    policy: Policy,
    resolved_at: datetime,
    last: Notification | None,
    now: datetime,
    *,
    flapped: bool,
) -> str | None:
    """Return whether to tell a recovery: at once, or, of what flapped, once it has lasted."""
    if last is None or last.kind == RESOLVED:
        return None
    return RESOLVED if not flapped or now - resolved_at >= policy.damp else None


def _text(kind: str, alert: Alert, last: Notification | None, policy: Policy, times: int) -> str:
    often = f"It was raised {times} times within 24 hours." if times > 1 else ""
    said = {
        CHANGED: f"It was of severity {last.severity} before." if last else "",
        REMINDER: f"It is open since {alert.at:%Y-%m-%d %H:%M} UTC. {often}",
        FLAPPING: f"It is back soon after its recovery. {often} What follows is not told until "
        f"it has been quiet for {_minutes(policy.damp)} minutes.",
    }
    if kind == RESOLVED:
        return f"Resolved at {alert.resolved_at:%Y-%m-%d %H:%M} UTC. {often}".strip() + (
            f"\nIt said: {alert.message}"
        )
    return "\n".join(part for part in (alert.message, said.get(kind, "").strip()) if part)


def _minutes(span: timedelta) -> int:
    return round(span / timedelta(minutes=1))


def _last(connection: Connection, channel: str, market: str, key: str) -> Notification | None:
    """Return what a channel was told last, or will be; what was given up it has not heard."""
    query = (
        select(_OUTBOX)
        .where(
            _OUTBOX.c.channel == channel, _OUTBOX.c.market == market, _OUTBOX.c.key == key, _HEARD
        )
        .order_by(_OUTBOX.c.number.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else record(Notification, row)


def _newest(connection: Connection, channel: str, market: str, key: str) -> int:
    """Return the number of the last row there is, 0 before the first: what comes after it."""
    query = select(func.coalesce(func.max(_OUTBOX.c.number), 0)).where(
        _OUTBOX.c.channel == channel, _OUTBOX.c.market == market, _OUTBOX.c.key == key
    )
    return int(connection.execute(query).scalar_one())


def _told_last() -> Any:
    """Select the number of what each channel was told last of each key."""
    by = (_OUTBOX.c.market, _OUTBOX.c.key, _OUTBOX.c.channel)
    return select(func.max(_OUTBOX.c.number)).where(_HEARD).group_by(*by)


def _row(
    channel: str, market: str, key: str, kind: str, severity: str, message: str, dedupe_key: str
) -> dict[str, Any]:
    return {
        "channel": channel,
        "market": market,
        "key": key,
        "kind": kind,
        "severity": severity,
        "message": message,
        "dedupe_key": dedupe_key,
        "attempts": 0,
    }


def _write(connection: Connection, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Write rows, each once: a second one with its channel and dedupe key is left out."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    written = 0
    for row in [*rows]:
        statement = insert(_OUTBOX).values(**row, created_at=now, next_attempt_at=now)
        statement = statement.on_conflict_do_nothing(index_elements=["dedupe_key", "channel"])
        written += len(connection.execute(statement.returning(_OUTBOX.c.number)).all())
    return written
