"""What was asked of language models and what it cost, one row a request.

::

    reserved (at its worst) ──> settled (as it was)

A request is written before it is sent, so that no crash forgets one that was paid for: what was
never settled counts at its worst.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, insert, select, text, update

from signals.errors import ReservationError
from storage.tables import ModelUsage, record, table

_USAGE = table(ModelUsage)

#: Job of what is asked outside any job.
NO_JOB = 0


class Spent(NamedTuple):
    """What some requests have used up.

    Parameters
    ----------
    requests : int
        Their number.
    input_tokens, output_tokens : int
        Tokens sent and received.
    cost : float
        Money, in the currency of the prices in the settings.
    seconds : float
        Time waited for answers.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens in both directions."""
        return self.input_tokens + self.output_tokens


def lock(connection: Connection) -> None:
    """Let nobody else reserve until this transaction ends, so that two cannot spend one rest."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text("LOCK TABLE model_usage IN EXCLUSIVE MODE"))


def reserve(
    connection: Connection,
    market: str,
    job: int,
    *,
    at: datetime,
    model: str,
    kind: str,
    worst: Spent,
) -> ModelUsage:
    """Write a request that is about to be sent and return it.

    Parameters
    ----------
    market, job : str, int
        Of the run; `NO_JOB` outside any job.
    at : datetime
        When; its UTC day is the day it counts for.
    model, kind : str
        Who is asked, and for what: `idea`, `factors`, `repair`, `judge`.
    worst : Spent
        The most it can use up.
    """
    values: dict[str, Any] = {
        "market": market,
        "job": job,
        "at": at,
        "model": model,
        "kind": kind,
        "input_tokens": worst.input_tokens,
        "output_tokens": worst.output_tokens,
        "cost": worst.cost,
        "seconds": worst.seconds,
        "outcome": None,
        "settled_at": None,
    }
    number = connection.execute(insert(_USAGE).returning(_USAGE.c.number), values).scalar()
    return ModelUsage(number=number, **values)


def settle(
    connection: Connection, request: ModelUsage, spent: Spent, outcome: str, now: datetime
) -> None:
    """Write what a request has used up, and how it ended.

    Raises
    ------
    ReservationError
        It was settled before.
    """
    done = connection.execute(
        update(_USAGE).where(_USAGE.c.number == request.number, _USAGE.c.settled_at.is_(None)),
        {
            "input_tokens": spent.input_tokens,
            "output_tokens": spent.output_tokens,
            "cost": spent.cost,
            "seconds": spent.seconds,
            "outcome": outcome,
            "settled_at": now,
        },
    )
    if done.rowcount != 1:
        raise ReservationError(
            f"request {request.number} to {request.model} is settled or unknown",
            rule="a request is settled exactly once",
        )


def of_run(connection: Connection, market: str, job: int, since: datetime | None = None) -> Spent:
    """Return what a run has used up, what a former process of it has asked included.

    Parameters
    ----------
    since : datetime, optional
        Leave out what was asked before: for runs that have no job of their own.
    """
    where = [_USAGE.c.market == market, _USAGE.c.job == job]
    if since is not None:
        where.append(_USAGE.c.at >= since)
    return _sum(connection, *where)


def of_day(connection: Connection, at: datetime) -> Spent:
    """Return what all markets have used up in the UTC day of `at`."""
    start = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return _sum(connection, _USAGE.c.at >= start, _USAGE.c.at < start + timedelta(days=1))


def requests(connection: Connection, market: str, job: int) -> list[ModelUsage]:
    """Return the requests of a run, oldest first."""
    query = select(_USAGE).where(_USAGE.c.market == market, _USAGE.c.job == job)
    rows = connection.execute(query.order_by(_USAGE.c.number)).mappings()
    return [record(ModelUsage, row) for row in rows]


def _sum(connection: Connection, *where: ColumnElement[bool]) -> Spent:
    query = select(
        func.count(),
        func.coalesce(func.sum(_USAGE.c.input_tokens), 0),
        func.coalesce(func.sum(_USAGE.c.output_tokens), 0),
        func.coalesce(func.sum(_USAGE.c.cost), 0.0),
        func.coalesce(func.sum(_USAGE.c.seconds), 0.0),
    ).where(*where)
    row = connection.execute(query).one()
    return Spent(int(row[0]), int(row[1]), int(row[2]), float(row[3]), float(row[4]))
