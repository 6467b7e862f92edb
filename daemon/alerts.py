"""Alerts outside a stage's transaction: kept in the database, and said in the log."""

from __future__ import annotations

import structlog

from daemon.context import Context
from daemon.failpoints import failpoint
from daemon.redaction import REDACTOR
from signals.errors import StorageError
from storage import alerts

log = structlog.get_logger()


def raise_alert(context: Context, market: str, key: str, severity: str, message: str) -> None:
    """Open an alert; when the database itself fails, the log is what is left to say it in."""
    message = REDACTOR.text(message)
    try:
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            fresh = alerts.raise_alert(conn, market, key, severity, message, context.clock.now())
        failpoint("alert.after_commit")
    except StorageError as error:
        log.error("the alert could not be stored", market=market, key=key, error=str(error))
        fresh = True
    if fresh:
        log.error("alert", market=market, key=key, severity=severity, message=message)


def resolve_alert(context: Context, market: str, key: str) -> None:
    """Close an alert if it is open."""
    with context.database.read() as conn:
        if not any(alert.key == key for alert in alerts.open_alerts(conn, market)):
            return
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        alerts.resolve(conn, market, key, context.clock.now())
    log.info("alert resolved", market=market, key=key)
