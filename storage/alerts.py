"""Alerts: at most one open alert per market and key; a repeated one is the same alert.

What the channels are told of it is written in the same transaction (`storage.outbox`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.outbox import enqueue
from storage.tables import Alert, record, table

_ALERTS = table(Alert)


def raise_alert(
    connection: Connection,
    market: str,
    key: str,
    severity: str,
    message: str,
    now: datetime,
    session: date | None = None,
) -> bool:
    """Open an alert, or let an open one with this key say what is true now.

    Returns
    -------
    bool
        False when it is open already with the same message and severity.
    """
    says = {"severity": severity, "message": message, "session": session}
    while not (known := [a for a in open_alerts(connection, market) if a.key == key]):
        row = {"market": market, "key": key, **says, "at": now, "resolved_at": None}
        if _open(connection, row):
            enqueue(connection, market, key, now)
            return True
    if (known[0].message, known[0].severity) == (message, severity):
        return False
    connection.execute(update(_ALERTS).where(_ALERTS.c.number == known[0].number), says)
    enqueue(connection, market, key, now)
    return True


def _open(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Write a new alert; False where another process has opened the same one in the meantime."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(_ALERTS).on_conflict_do_nothing().returning(_ALERTS.c.number)
    return connection.execute(statement, row).first() is not None


def resolve(connection: Connection, market: str, key: str, now: datetime) -> bool:
    """Resolve an open alert; return False when none was open."""
    done = connection.execute(
        update(_ALERTS).where(
            _ALERTS.c.market == market, _ALERTS.c.key == key, _ALERTS.c.resolved_at.is_(None)
        ),
        {"resolved_at": now},
    )
    if done.rowcount == 1:
        enqueue(connection, market, key, now)
    return done.rowcount == 1


def open_alerts(connection: Connection, market: str | None = None) -> list[Alert]:
    """Return the open alerts, oldest first."""
    query = select(_ALERTS).where(_ALERTS.c.resolved_at.is_(None))
    if market is not None:
        query = query.where(_ALERTS.c.market == market)
    rows = connection.execute(query.order_by(_ALERTS.c.number)).mappings()
    return [record(Alert, row) for row in rows]


def alerts(connection: Connection, market: str) -> list[Alert]:
    """Return every alert of a market, resolved ones too, oldest first."""
    query = select(_ALERTS).where(_ALERTS.c.market == market).order_by(_ALERTS.c.number)
    return [record(Alert, row) for row in connection.execute(query).mappings().all()]
