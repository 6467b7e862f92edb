"""Alerts: at most one open alert per market and key; a repeated one is the same alert.

What the channels are told of it is written in the same transaction (`storage.outbox`).
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Connection, insert, select, update

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
    known = [alert for alert in open_alerts(connection, market) if alert.key == key]
    if known:
        if (known[0].message, known[0].severity) == (message, severity):
            return False
        connection.execute(
            update(_ALERTS).where(_ALERTS.c.number == known[0].number),
            {"message": message, "severity": severity, "session": session},
        )
        enqueue(connection, market, key, now)
        return True
    connection.execute(
        insert(_ALERTS),
        {
            "market": market,
            "key": key,
            "severity": severity,
            "message": message,
            "session": session,
            "at": now,
            "resolved_at": None,
        },
    )
    enqueue(connection, market, key, now)
    return True


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
