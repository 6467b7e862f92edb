"""`alphad notify`: what was told and what waits, or a test of the channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from daemon.inspection import opened, say
from daemon.notify import send_test
from daemon.notify_channels import load_channels
from daemon.refusals import listed, nearest
from daemon.settings import load_settings
from signals.errors import ConfigError
from storage import outbox
from storage.outbox import DEAD_MAN
from storage.tables import Notification

#: How many messages are listed.
RECENT = 50


def show(path: Path | None, *, as_json: bool) -> int:
    """List the newest messages: what was sent, what waits for another attempt, what was given up.

    Raises
    ------
    ConfigError
        There is no state yet.
    """
    context = opened(path)
    with context.database.read() as conn:
        rows = outbox.notifications(conn, limit=RECENT)
        pending = outbox.pending_count(conn)
        failed = outbox.failures(conn)
        lost = outbox.given_up(conn)
    found = [as_row(row) for row in rows]
    if as_json:
        say({"pending": pending, "failed_attempts": failed, "given_up": lost, "messages": found})
        return 0
    table = Table("at", "channel", "market", "about", "what", "severity", "outcome")
    for row, plain in zip(rows, found, strict=True):
        table.add_row(
            f"{row.created_at:%Y-%m-%d %H:%M}",
            row.channel, row.market, row.key, row.kind, row.severity, plain["outcome"],
        )  # fmt: skip
    Console().print(table if rows else "nothing was to be told yet")
    Console().print(f"{pending} wait, {sum(failed.values())} attempts failed, "
                    f"{sum(lost.values())} given up", highlight=False)  # fmt: skip
    return 0


def as_row(row: Notification) -> dict[str, Any]:
    """Return a message as plain values, with what came of it in words."""
    plain = {name: getattr(row, name) for name in Notification.model_fields}
    return plain | {"outcome": outcome_of(row)}


def outcome_of(row: Notification) -> str:
    """Return what came of a message."""
    after = f" after {row.attempts} attempts" if row.attempts > 1 else ""
    because = f": {row.error}" if row.error else ""
    if row.sent_at is not None:
        return f"sent {row.sent_at:%H:%M}{after}"
    if row.given_up_at is not None:
        return f"given up{after}{because}"
    if row.attempts:
        return f"{row.attempts} failed, next {row.next_attempt_at:%H:%M}{because}"
    return "waits"


def test(path: Path | None, name: str | None, *, as_json: bool) -> int:
    """Send a test message through each channel now; the exit code is 1 if one failed.

    The dead-man URL is asked for only where it is named: a ping says that something was published.

    Raises
    ------
    ConfigError
        No such channel, or none at all.
    """
    settings = load_settings(path, os.environ).notify
    channels = load_channels(settings)
    known = sorted(channels.addresses)
    if name is not None and name not in known:
        raise ConfigError(
            f"there is no channel {name!r}; there are: {listed(known)}",
            rule="a channel has an address in the environment or in notify.urls_file",
            hint=nearest(name, known) or f"set ALPHAD_NOTIFY__CHANNELS__{name.upper()}",
        )
    names = [name] if name is not None else [n for n in known if n != DEAD_MAN]
    if not names:
        raise ConfigError(
            "no channel is configured",
            rule="a channel has an address in the environment or in notify.urls_file",
            hint="set ALPHAD_NOTIFY__CHANNELS__OPS, as docs/notifications.md shows",
        )
    errors = send_test(channels, names, settings.deadline_seconds)
    if as_json:
        say([{"channel": n, "sent": not error, "error": error} for n, error in errors.items()])
    else:
        table = Table("channel", "outcome", "why")
        for n, error in errors.items():
            table.add_row(n, "FAILED" if error else "sent", error)
        Console().print(table)
    return 1 if any(errors.values()) else 0
