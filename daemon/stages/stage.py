"""How every stage runs: begun in the ledger, computed, written and marked in one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from time import monotonic
from typing import Any

import structlog
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.failpoints import failpoint
from daemon.logs import speaking_of
from daemon.redaction import REDACTOR
from signals.errors import AlphadError, StorageError
from storage import ledger
from storage.tables import StageRun

log = structlog.get_logger()


def write_nothing(_conn: Connection) -> None:
    """Leave the database alone."""


@dataclass(frozen=True)
class Result:
    """What a stage found: its detail for the ledger and its database effects, not yet applied."""

    detail: dict[str, Any] = field(default_factory=dict)
    write: Callable[[Connection], None] = write_nothing


def fingerprint(*parts: Any) -> str:
    """Return the sha256 of a stage's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def at_work(market: Market, session: date, stage: str) -> Iterator[None]:
    """Let every line of the log say what is at work, and say how it ended."""
    with speaking_of(market.name, session, stage):
        started = monotonic()
        try:
            yield
        except AlphadError as error:
            log.warning("stage failed", error=str(error))
            raise
        log.info("stage done", seconds=round(monotonic() - started, 3))


def begin(
    context: Context,
    market: Market,
    session: date,
    stage: str,
    input_hash: str,
    cause: str = "first",
) -> StageRun:
    """Open the run in the ledger."""
    now = context.clock.now()
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        return ledger.begin(conn, market.name, session, stage, input_hash, now, cause)


def fail(context: Context, run: StageRun, error: Exception) -> None:
    """Mark the run as failed, with what the operator should read; never in the error's place."""
    text = str(error) if isinstance(error, AlphadError) else f"{type(error).__name__}: {error}"
    try:
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            ledger.fail(conn, run, context.clock.now(), REDACTOR.text(text))
    except StorageError as second:
        error.add_note(f"the ledger could not take note of it: {second}")


def perform(
    context: Context,
    market: Market,
    session: date,
    stage: str,
    input_hash: str,
    compute: Callable[[], Result],
    *,
    cause: str = "first",
) -> Result:
    """Run a stage whose effects are all in the database.

    Nothing but the ledger's `running` mark is visible until the one transaction that holds all
    effects and the success; a kill at any instruction leaves a run that is simply done again.
    """
    with at_work(market, session, stage):
        run = begin(context, market, session, stage, input_hash, cause)
        result = _performed(context, run, stage, compute)
    failpoint(f"{stage}.after_commit")
    return result


def _performed(
    context: Context, run: StageRun, stage: str, compute: Callable[[], Result]
) -> Result:
    """Compute, write and mark a run that has begun."""
    try:
        result = compute()
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            result.write(conn)
            ledger.succeed(conn, run, context.clock.now(), result.detail)
            failpoint(f"{stage}.before_commit")
    except Exception as error:  # one nobody foresaw, too: a run left `running` has no pause
        fail(context, run, error)
        raise
    return result
