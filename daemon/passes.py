"""`alphad run-now`: a pass over a market that does not wait after a fetch that failed.

The command writes a request; the next tick does the pass and answers the request with what came of
it. A request whose pass was cut off by a kill is taken up by the next one: a pass may be repeated,
its stages may not, and the ledger sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from daemon.context import Context
from signals.errors import StorageError
from storage import requests
from storage.tables import OperatorRequest

log = structlog.get_logger()

#: The command, in the table of requests.
RUN_NOW = "run-now"


def pending_passes(context: Context, market: str) -> list[OperatorRequest]:
    """Return the requests for a pass that wait; none where the database does not answer."""
    try:
        with context.database.read() as conn:
            return requests.pending(conn, market, [RUN_NOW])
    except StorageError as error:
        log.error("requests cannot be read", market=market, error=str(error))
        return []


def answer_passes(context: Context, asked: Sequence[OperatorRequest], said: str | None) -> None:
    """Answer requests with what came of the pass; None leaves them for another."""
    if not asked or said is None:
        return
    try:
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            for request in asked:
                requests.settle(conn, request, None, said, context.clock.now())
    except StorageError as error:
        log.error("a request cannot be answered", market=asked[0].market, error=str(error))
