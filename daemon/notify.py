"""Sends what the outbox holds: a job of its own for each channel, so that nothing waits for it.

A message is marked after it was sent. A kill between the two sends it once more after the next
start, and never a third time: at least once, at most once more for each kill.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor as Threads
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from pydantic import SecretStr

from daemon.alerts import raise_alert
from daemon.context import Context
from daemon.courier import START_SECONDS, Courier
from daemon.notify_channels import Channels, load_channels
from daemon.notify_child import UNKNOWN
from daemon.notify_settings import NotifySettings
from daemon.redaction import REDACTOR
from signals.errors import AlphadError, ConfigError, StorageError
from storage import outbox
from storage.outbox import DEAD_MAN, RESOLVED
from storage.pointer import POINTER
from storage.publishing import publications
from storage.tables import Notification

log = structlog.get_logger()

#: Seconds between two looks into the outbox.
NOTIFY_SECONDS = 10
#: Threads that send; a channel never takes more than one.
THREADS = 8
#: As many messages of a channel are sent one by one; more of them at once become one.
SINGLE = 5
#: Characters of one message, and of a line of a digest; services cut long ones anyway.
BODY_LENGTH, LINE_LENGTH, DIGEST_LINES = 3000, 160, 20


@dataclass(frozen=True)
class Message:
    """What one sending tells: one row of the outbox, or many of them as a digest."""

    rows: Sequence[Notification]
    title: str
    body: str
    kind: str


@dataclass
class Notifier:
    """Brings messages to their channels.

    Parameters
    ----------
    context : Context
        Whose database holds the outbox, and whose settings name the channels.
    stopping : threading.Event
        When it is set, nothing more is sent, and what is being sent is broken off.
    """

    context: Context
    stopping: threading.Event = field(default_factory=threading.Event)
    channels: Channels = field(default_factory=Channels)
    _read: NotifySettings | None = None

    def attach(self) -> None:
        """Let alerts be told from now on, and give up what nobody is left to be told.

        Raises
        ------
        ConfigError, StorageError
            A channel cannot be used, or the database cannot be written; nothing has changed then.
        """
        settings = self.context.settings.notify
        channels = load_channels(settings)
        check_addresses(channels)
        REDACTOR.learn_all(channels.secrets())  # those of the file are in no setting
        self.take(channels)
        self._read = settings

    def take(self, channels: Channels) -> None:
        """Go by these channels, which have been checked."""
        now = self.context.clock.now()
        with self.context.database.transaction() as conn:
            gone = outbox.orphans(conn, channels.addresses, now - self._patience)
            outbox.abandon(conn, gone, now, "no such channel is configured")
        self.channels = channels
        outbox.attach(self.context.database, channels.policy)
        _tell_given_up(gone)

    def start(self, scheduler: Any) -> None:
        """Let a scheduler tend each channel, in threads that nothing else runs in."""
        scheduler.add_executor(ThreadPoolExecutor(THREADS), "notify")
        self._tend_all(scheduler)
        self._add(scheduler, self.follow, [scheduler], "notify")

    def follow(self, scheduler: Any) -> None:
        """Go by settings that were loaded again; where that fails the channels stay as they are.

        A database that fails is tried again with the next look; settings that are refused are not,
        and have their alert.
        """
        wanted = self.context.settings.notify
        if wanted is self._read:
            return
        before = set(self.channels.addresses)
        try:
            self.attach()
        except StorageError as error:
            log.error("new channels wait for the database", error=str(error))
            return
        except AlphadError as error:
            self._read = wanted
            log.error("the channels stay as they are", error=str(error))
            for market in self.context.markets:
                raise_alert(self.context, market, "config-reload", "error", str(error))
            return
        for name in before:
            scheduler.remove_job(f"notify {name}")
        self._tend_all(scheduler)

    def _tend_all(self, scheduler: Any) -> None:
        for name in self.channels.addresses:
            self._add(scheduler, self.tend, [name], f"notify {name}")

    def _add(
        self, scheduler: Any, job: Callable[..., object], arguments: list[Any], name: str
    ) -> None:
        scheduler.add_job(
            job,
            "interval",
            args=arguments,
            seconds=NOTIFY_SECONDS,
            id=name,
            executor="notify",
            next_run_time=self.context.clock.now(),
        )

    def tend(self, name: str) -> int:
        """Send what is due through a channel; return how many messages it took.

        The first failure ends the round: a channel that is down is asked once, and a message it
        refuses stands in no other's way for longer than that.
        """
        address = self.channels.addresses.get(name)
        if address is None:
            return 0  # removed since this was due
        try:
            policy = self.channels.policy.alone(name)
            outbox.sweep(self.context.database, policy, self.context.clock.now())
            with self.context.database.read() as conn:
                rows = outbox.due(conn, name, self.context.clock.now())
            return self._send(name, address, self._ready(rows)) if rows else 0
        except StorageError as error:
            log.error("notifications wait for the database", channel=name, error=str(error))
            return 0

    @property
    def _patience(self) -> timedelta:
        return timedelta(hours=self.context.settings.notify.give_up_hours)

    def _send(self, name: str, address: SecretStr, rows: Sequence[Notification]) -> int:
        settings, taken = self.context.settings.notify, 0
        with Courier(settings.deadline_seconds, self.stopping.is_set) as courier:
            for message in compose(rows, settings.runbook_url):
                with self.context.database.transaction() as conn:
                    self.context.require_epoch(conn)
                    if not outbox.claim(conn, message.rows, self.context.clock.now()):
                        return taken
                if name == DEAD_MAN:
                    error = courier.ping(address)
                else:
                    error = courier.send(address, message.title, message.body, message.kind)
                if error is None:
                    return taken
                self._mark(name, message, error)
                if error:
                    return taken
                taken += 1
        return taken

    def _mark(self, name: str, message: Message, error: str) -> None:
        now = self.context.clock.now()
        with self.context.database.transaction() as conn:
            if not error:
                outbox.mark_sent(conn, message.rows, now)
                gone = []
            else:
                gone = outbox.mark_failed(conn, message.rows, now, error, self._patience)
        say = log.warning if error else log.info
        about = [f"{row.market} {row.key} {row.kind}" for row in message.rows]
        outcome = "a notification failed" if error else "notified"
        say(outcome, channel=name, about=about, **({"error": error} if error else {}))
        _tell_given_up(gone)

    def _ready(self, rows: Sequence[Notification]) -> list[Notification]:
        """Return the rows without pings of publications that consumers cannot see yet."""
        now = self.context.clock.now()
        unseen = [row for row in rows if row.kind == outbox.PUBLISHED and not self._is_seen(row)]
        gone = [row for row in unseen if row.created_at + self._patience <= now]
        if gone:
            with self.context.database.transaction() as conn:
                outbox.abandon(conn, gone, now, "latest.json has never named this publication")
            _tell_given_up(gone)
        return [row for row in rows if row not in unseen]

    def _is_seen(self, row: Notification) -> bool:
        """Say whether the pointer names this publication, or one of a later session."""
        path = self.context.settings.publish_dir / row.market / "v1" / POINTER
        try:
            named = json.loads(path.read_bytes())
            shown = (str(named["session"]), str(named["publish_id"]))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        with self.context.database.read() as conn:
            of = [p for p in publications(conn, row.market) if p.publish_id == row.key]
        return any(shown >= (p.session.isoformat(), p.publish_id) for p in of)


def compose(rows: Sequence[Notification], runbook: str) -> Iterator[Message]:
    """Yield the messages that tell rows: each its own, or, of a storm, one for all."""
    if len(rows) <= SINGLE:
        for row in rows:
            yield Message([row], title_of(row), body_of(row, runbook), _type([row]))
        return
    lines = [f"{title_of(row)}: {row.message.splitlines()[0][:LINE_LENGTH]}" for row in rows]
    more = [f"and {len(lines) - DIGEST_LINES} more"] if len(lines) > DIGEST_LINES else []
    ways = ["Look: alphad status, alphad notify", f"Runbook: {runbook}"]
    body = "\n".join([*lines[:DIGEST_LINES], *more, *ways])
    yield Message(rows, f"[alphad] {len(rows)} messages", body, _type(rows))


def title_of(row: Notification) -> str:
    """Return the title of a message about one alert."""
    stands = RESOLVED if row.kind == RESOLVED else row.severity
    return f"[alphad] {row.market} {row.key}: {stands}"


def body_of(row: Notification, runbook: str) -> str:
    """Return the text: what is the matter, how to look, what to do."""
    text = row.message
    if len(text) > BODY_LENGTH:
        text = text[:BODY_LENGTH] + "…"
    return f"{text}\nLook: alphad status\nRunbook: {runbook}#{row.key.partition(':')[0]}"


def _type(rows: Sequence[Notification]) -> str:
    """Return apprise's word for the worst of rows."""
    if all(row.kind == RESOLVED for row in rows):
        return "success"
    worst = max(outbox.rank(row.severity) for row in rows if row.kind != RESOLVED)
    return ("info", "warning", "failure")[worst]


def check_addresses(channels: Channels) -> None:
    """Refuse an address nothing could ever be sent to; ConfigError names its channel alone."""
    with Courier(START_SECONDS) as courier:
        for name, address in channels.addresses.items():
            error = "" if name == DEAD_MAN else courier.check(address)
            if error == UNKNOWN:
                raise ConfigError(
                    f"the address of channel {name} cannot be used: {error}",
                    rule="an address is one apprise knows, as in json://host/path",
                    hint="correct it, then try: alphad notify --test",
                )
            if error:  # a slow machine is no reason not to start
                log.warning("a channel could not be checked", channel=name, error=error)


def send_test(channels: Channels, names: Sequence[str], seconds: float) -> dict[str, str]:
    """Send a test message through channels, side by side; return by name why it failed, or ""."""

    def one(name: str) -> str:
        address = channels.addresses[name]
        with Courier(seconds) as courier:
            if name == DEAD_MAN:
                return courier.ping(address) or ""
            body = f"A test of channel {name}. Nothing is the matter.\nLook: alphad status"
            return courier.send(address, "[alphad] test", body, "info") or ""

    with Threads(max(len(names), 1)) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def _tell_given_up(rows: Sequence[Notification]) -> None:
    for row in rows:
        log.error(
            "a notification is given up",
            channel=row.channel,
            market=row.market,
            key=row.key,
            kind=row.kind,
        )
