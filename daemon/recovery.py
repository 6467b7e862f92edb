"""At start: whatever the last instance left half done is finished, or swept."""

from __future__ import annotations

import structlog
from sqlalchemy import Connection

from daemon.context import Context
from daemon.stages import publish
from storage import ledger
from storage.tables import PublicationRecord

log = structlog.get_logger()


def recover(context: Context) -> None:
    """Abandon dead runs, sweep torn files, adopt complete publications, rebuild the pointer."""
    now = context.clock.now()
    with context.database.transaction() as conn:
        abandoned = ledger.abandon_running(conn, now)

    def mark(conn: Connection, published: PublicationRecord) -> None:
        publish.adopt(conn, context, published)

    for market in context.markets:
        swept = context.bars.sweep(market)
        found = context.publisher.recover(market, now, mark)
        if abandoned or swept or found.swept or found.adopted or found.pointer_changed:
            log.info(
                "recovered",
                market=market,
                abandoned_runs=abandoned,
                swept=len(swept) + len(found.swept),
                adopted=[row.publish_id for row in found.adopted],
                pointer_changed=found.pointer_changed,
            )
