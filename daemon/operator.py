"""What an operator asks of a factor: `alphad rollback`, `revive`, `retire`, and their outcome.

A command only writes the request, also while the daemon runs; the next observation of the market
applies it in its own transaction, exactly once, or refuses it with a reason.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import inspect

from daemon.context import Context
from daemon.inspection import chosen, only, opened, say
from daemon.stages.requested import plan
from signals.errors import DataError, StorageError
from storage import requests
from storage.tables import OperatorRequest


def request(path: Path | None, name: str | None, command: str, factor: str, reason: str) -> int:
    """Write a request, unless it is known already that it would be refused.

    Parameters
    ----------
    path : Path or None
        The settings file.
    name : str or None
        The market; None for the only one.
    command : str
        One of `daemon.stages.requested.COMMANDS`.
    factor : str
        Id of the factor.
    reason : str
        For the registry.

    Raises
    ------
    DataError
        An unknown factor, nothing to do or to undo, or no reason.
    ReservationError
        The same is asked for already.
    StorageError
        The tables are those of an earlier release.
    """
    context = opened(path)
    market = only(context, name)
    if not reason.strip():
        raise DataError(
            "no reason is given",
            rule="what is done by command is explained in the registry",
            hint='as in: --reason "its data are wrong"',
        )
    check_tables(context)
    arguments = {"factor": factor}
    now, who = context.clock.now(), operating_user()
    with context.database.transaction() as conn:
        asked = OperatorRequest(
            market=market.name,
            command=command,
            arguments=arguments,
            reason=reason,
            who=who,
            requested_at=now,
        )
        intended = plan(conn, market.name, asked)
        written = requests.ask(
            conn, market.name, command, arguments, reason=reason, who=who, now=now
        )
    Console().print(
        f"request {written.number}: {intended.outcome}. The next observation of {market.name} "
        "applies it; alphad requests shows the outcome.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def show_requests(path: Path | None, name: str | None, *, as_json: bool) -> int:
    """List what was asked for, by whom and why, and what came of it."""
    context = opened(path)
    check_tables(context)
    with context.database.read() as conn:
        rows = [row for m in chosen(context, name) for row in requests.requests(conn, m.name)]
    rows.sort(key=lambda row: row.number or 0)
    if as_json:
        say([as_row(row) for row in rows])
        return 0
    table = Table("number", "market", "request", "by", "at", "because", "outcome")
    for row in rows:
        when = f" ({row.applied_session})" if row.applied_session else ""
        table.add_row(
            str(row.number),
            row.market,
            f"{row.command} {row.arguments['factor']}",
            row.who,
            f"{row.requested_at:%Y-%m-%d %H:%M}",
            row.reason,
            (row.outcome or "waits for the next observation") + when,
        )
    Console().print(table if rows else "nothing was asked for")
    return 0


def as_row(row: OperatorRequest) -> dict[str, Any]:
    """Return a request as plain values, in the order of its table."""
    return {name: getattr(row, name) for name in OperatorRequest.model_fields}


def check_tables(context: Context) -> None:
    """Raise a StorageError where the tables are older than requests are."""
    with context.database.read() as conn:
        if not inspect(conn).has_table("operator_requests"):
            raise StorageError(
                f"database {context.database.name} has no table of requests yet",
                rule="the daemon brings the tables up to date when it starts",
                hint="restart it with this release, then ask again",
            )


def operating_user() -> str:
    """Return the name of the user this process runs as, its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
