"""What operators ask for: written by a command, applied once, by the daemon or with the writing.

::

    asked ──> settled (applied, or refused: `outcome` says which)

Nothing is ever deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from signals.errors import ReservationError
from storage.tables import OperatorRequest, record, table

_REQUESTS = table(OperatorRequest)


def ask(
    connection: Connection,
    market: str,
    command: str,
    arguments: Mapping[str, Any],
    *,
    reason: str,
    who: str,
    now: datetime,
) -> OperatorRequest:
    """Write a request and return it; numbers ascend over all markets.

    Raises
    ------
    ReservationError
        The same command with the same arguments waits already.
    """
    for other in pending(connection, market):
        if (other.command, other.arguments) == (command, {**arguments}):
            raise ReservationError(
                f"request {other.number} of {other.who} asks for the same and is not applied yet",
                rule="a request is applied once",
                hint="wait for it: alphad requests shows the outcome",
            )
    values: dict[str, Any] = {
        "market": market,
        "command": command,
        "arguments": {**arguments},
        "reason": reason,
        "who": who,
        "requested_at": now,
        "applied_at": None,
        "applied_session": None,
        "outcome": None,
    }
    number = connection.execute(insert(_REQUESTS).returning(_REQUESTS.c.number), values).scalar()
    return OperatorRequest(number=number, **values)


def settle(
    connection: Connection,
    request: OperatorRequest,
    session: date | None,
    outcome: str,
    now: datetime,
) -> None:
    """Mark a request as dealt with, by the observation of `session` where it was one.

    Raises
    ------
    ReservationError
        It was dealt with before.
    """
    done = connection.execute(
        update(_REQUESTS).where(
            _REQUESTS.c.number == request.number, _REQUESTS.c.applied_at.is_(None)
        ),
        {"applied_at": now, "applied_session": session, "outcome": outcome},
    )
    if done.rowcount != 1:
        raise ReservationError(
            f"request {request.number} of {request.market} has been dealt with",
            rule="a request is applied exactly once",
        )


def pending(
    connection: Connection, market: str, commands: Iterable[str] | None = None
) -> list[OperatorRequest]:
    """Return what has not been dealt with, of some commands or of all, oldest first."""
    query = select(_REQUESTS).where(_REQUESTS.c.market == market, _REQUESTS.c.applied_at.is_(None))
    if commands is not None:
        query = query.where(_REQUESTS.c.command.in_([*commands]))
    rows = connection.execute(query.order_by(_REQUESTS.c.number)).mappings()
    return [record(OperatorRequest, row) for row in rows]


def requests(connection: Connection, market: str | None = None) -> list[OperatorRequest]:
    """Return every request, oldest first."""
    query = select(_REQUESTS)
    if market is not None:
        query = query.where(_REQUESTS.c.market == market)
    rows = connection.execute(query.order_by(_REQUESTS.c.number)).mappings()
    return [record(OperatorRequest, row) for row in rows]
