"""Re-mining jobs and the candidates they tried.

::

    queued ──> running ──> succeeded | stopped | failed
       └─────────────────> stopped | failed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from signals.errors import ReservationError
from storage.tables import JobStatus, RemineJob, Trial, record, table

_JOBS = table(RemineJob)
_TRIALS = table(Trial)

#: A job in one of these is not finished.
OPEN = (JobStatus.QUEUED.value, JobStatus.RUNNING.value)


#: `trigger["by"]` of a search an operator has looked at; nothing waits for its outcome.
OPERATOR = "operator"


class TrialRow(NamedTuple):
    """One candidate with the decision on it; `detail` is strict JSON."""

    number: int
    expression: str
    decision: str
    detail: Mapping[str, Any] | None = None


def open_job(
    connection: Connection,
    market: str,
    session: date,
    trigger: Mapping[str, Any],
    seed: int,
    now: datetime,
) -> RemineJob:
    """Queue a re-mining and return it; ids count from 1 in each market."""
    last = connection.execute(select(func.max(_JOBS.c.id)).where(_JOBS.c.market == market)).scalar()
    values: dict[str, Any] = {
        "market": market,
        "id": (last or 0) + 1,
        "opened_session": session,
        "trigger": {**trigger},
        "seed": seed,
        "status": JobStatus.QUEUED.value,
        "checkpoint": None,
        "counts": None,
        "result": None,
        "joined_session": None,
        "opened_at": now,
        "finished_at": None,
    }
    connection.execute(insert(_JOBS), values)
    return RemineJob(**values)


def start(connection: Connection, job: RemineJob) -> RemineJob:
    """Mark a job as running; one that runs already stays so (it is resumed)."""
    return _change(connection, job, {"status": JobStatus.RUNNING.value})


def save_checkpoint(
    connection: Connection,
    job: RemineJob,
    checkpoint: Mapping[str, Any],
    counts: Mapping[str, Any] | None = None,
) -> RemineJob:
    """Store the state after a round, from which a killed run goes on."""
    return _change(
        connection,
        job,
        {"checkpoint": {**checkpoint}, "counts": None if counts is None else {**counts}},
    )


def finish(
    connection: Connection,
    job: RemineJob,
    status: JobStatus | str,
    now: datetime,
    *,
    result: Mapping[str, Any] | None = None,
    counts: Mapping[str, Any] | None = None,
    joined_session: date | None = None,
) -> RemineJob:
    """Finish a job.

    Parameters
    ----------
    joined_session : date, optional
        The session at which what it accepted joins the book.
    """
    values: dict[str, Any] = {
        "status": JobStatus(status).value,
        "checkpoint": None,  # as large as all that was tried, and of no more use
        "finished_at": now,
        "result": None if result is None else {**result},
        "joined_session": joined_session,
    }
    if counts is not None:
        values["counts"] = {**counts}
    return _change(connection, job, values)


def get(connection: Connection, market: str, job_id: int) -> RemineJob | None:
    """Return one job, None when there is no such id."""
    query = select(_JOBS).where(_JOBS.c.market == market, _JOBS.c.id == job_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else record(RemineJob, row)


def jobs(
    connection: Connection, market: str | None = None, *, open_only: bool = False
) -> list[RemineJob]:
    """Return jobs in order of id."""
    query = select(_JOBS)
    if market is not None:
        query = query.where(_JOBS.c.market == market)
    if open_only:
        query = query.where(_JOBS.c.status.in_(OPEN))
    rows = connection.execute(query.order_by(_JOBS.c.market, _JOBS.c.id)).mappings()
    return [record(RemineJob, row) for row in rows]


def last_job(connection: Connection, market: str) -> RemineJob | None:
    """Return the job the daemon opened last in a market; an operator's own searches are none."""
    query = select(_JOBS).where(_JOBS.c.market == market).order_by(_JOBS.c.id.desc())
    for row in connection.execute(query).mappings():
        job = record(RemineJob, row)
        if job.trigger.get("by") != OPERATOR:
            return job
    return None


def record_trials(connection: Connection, job: RemineJob, rows: Iterable[TrialRow]) -> None:
    """Write the candidates of a job."""
    values = [
        {
            "market": job.market,
            "job": job.id,
            **row._asdict(),
            "detail": None if row.detail is None else {**row.detail},
        }
        for row in rows
    ]
    if values:
        connection.execute(insert(_TRIALS), values)


def trials(
    connection: Connection, market: str, job_id: int, *, decisions: Sequence[str] | None = None
) -> list[Trial]:
    """Return the candidates of a job in the order they were tried.

    Parameters
    ----------
    decisions : sequence of str, optional
        Only those on which one of these was taken.
    """
    query = select(_TRIALS).where(_TRIALS.c.market == market, _TRIALS.c.job == job_id)
    if decisions is not None:
        query = query.where(_TRIALS.c.decision.in_(decisions))
    rows = connection.execute(query.order_by(_TRIALS.c.number)).mappings()
    return [record(Trial, row) for row in rows]


def _change(connection: Connection, job: RemineJob, values: dict[str, Any]) -> RemineJob:
    done = connection.execute(
        update(_JOBS).where(
            _JOBS.c.market == job.market, _JOBS.c.id == job.id, _JOBS.c.status.in_(OPEN)
        ),
        values,
    )
    if done.rowcount != 1:
        raise ReservationError(
            f"re-mining {job.id} of {job.market} is finished or unknown",
            rule="a finished job never changes",
        )
    return RemineJob(**{**job.model_dump(), **values})
