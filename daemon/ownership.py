"""Who owns the database: one life of the daemon at a time, by an epoch that it keeps renewing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from daemon import restore
from daemon.context import Context
from daemon.failpoints import failpoint
from signals.errors import AlreadyRunningError, ReservationError, StorageError
from storage import epochs

log = structlog.get_logger()


@contextmanager
def owned(context: Context) -> Iterator[Context]:
    """Begin an epoch, and end it with the block; the context given back writes in it alone.

    Raises
    ------
    AlreadyRunningError
        Another instance owns the database; its lease has not run out.
    ReservationError
        Another instance has begun while the ledger of a server was brought up to date.
    """
    clock = context.clock
    # a database in the state directory is guarded by its lock: whoever had it is gone
    within = context.settings.database_url is None
    with context.database.transaction() as conn:
        number = epochs.begin_epoch(
            conn,
            instance=epochs.instance_of(context.settings.state_dir),
            host=socket.gethostname(),
            pid=os.getpid(),
            state_dir=str(context.settings.state_dir.resolve()),
            version=context.code["version"],
            now=clock.now(),
            lease=timedelta(0) if within else epochs.LEASE,
        )
    failpoint("start.after_epoch")
    log.info("epoch begun", epoch=number)
    try:
        if context.database.path is None:  # behind what is published, as `open_context` mends it
            restore.account(context.settings, context.database, clock.now(), None, epoch=number)
        yield context.of_epoch(number)
    finally:
        try:
            with context.database.transaction() as conn:
                epochs.end(conn, number, clock.now())
        except StorageError as error:  # whoever comes next waits for the lease
            log.warning("the epoch could not be ended", epoch=number, error=str(error))


def renew(context: Context) -> AlreadyRunningError | None:
    """Renew the lease; return why this instance has to leave, if it has.

    A database that does not answer is no reason: nobody can write to it, and a later epoch would
    be seen by the next write.
    """
    if context.epoch is None:
        return None
    try:
        with context.database.transaction() as conn:
            epochs.renew(conn, context.epoch, context.clock.now())
    except ReservationError as error:
        return AlreadyRunningError(error.fact, rule=error.rule, hint=error.hint)
    except StorageError as error:
        log.error("the lease could not be renewed", epoch=context.epoch, error=str(error))
    return None
