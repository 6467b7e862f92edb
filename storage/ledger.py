"""The ledger of stage runs: at most one succeeded run per market, session, stage and input hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from signals.errors import ReservationError
from storage.tables import RunStatus, StageRun, record, table

_RUNS = table(StageRun)


def begin(
    connection: Connection,
    market: str,
    session: date,
    stage: str,
    input_hash: str,
    now: datetime,
    cause: str = "first",
) -> StageRun:
    """Begin a run and return it, `running`.

    A run that did not succeed is taken up again under its own revision; after a succeeded one with
    another input hash the next revision begins.

    Parameters
    ----------
    input_hash : str
        What the run depends on: the same hash means the same result.
    now : datetime
        Aware UTC.
    cause : str
        Why a revision is needed, such as `first`, `final` or `restatement`.

    Raises
    ------
    ReservationError
        A run with this input hash has succeeded already.
    """
    query = (
        select(_RUNS)
        .where(_RUNS.c.market == market, _RUNS.c.stage == stage, _RUNS.c.session == session)
        .order_by(_RUNS.c.revision.desc())
        .with_for_update()
    )
    earlier = [record(StageRun, row) for row in connection.execute(query).mappings().all()]
    for run in earlier:
        if run.status == RunStatus.SUCCEEDED and run.input_hash == input_hash:
            raise ReservationError(
                f"stage {stage} of {market} {session} has succeeded with the same input "
                f"(revision {run.revision}, {run.finished_at})",
                rule="at most one succeeded run per market, session, stage and input hash",
                hint="nothing is to be done for this session",
            )
    fresh: dict[str, Any] = {
        "input_hash": input_hash,
        "status": RunStatus.RUNNING.value,
        "cause": cause,
        "attempts": 1,
        "started_at": now,
        "finished_at": None,
        "detail": None,
        "error": None,
    }
    key: dict[str, Any] = {"market": market, "stage": stage, "session": session, "revision": 0}
    if earlier:
        key["revision"] = earlier[0].revision
    if earlier and earlier[0].status != RunStatus.SUCCEEDED:
        fresh["attempts"] = earlier[0].attempts + 1
        connection.execute(
            update(_RUNS).where(*(_RUNS.c[name] == value for name, value in key.items())), fresh
        )
    else:
        key["revision"] += 1 if earlier else 0
        connection.execute(insert(_RUNS), {**key, **fresh})
    return StageRun(**key, **fresh)


def succeed(
    connection: Connection, run: StageRun, now: datetime, detail: Mapping[str, Any] | None = None
) -> StageRun:
    """Mark a running run as succeeded and return it so.

    Raises
    ------
    ReservationError
        The run is no longer ours: it was abandoned, or another attempt has begun.
    """
    return _finish(
        connection,
        run,
        RunStatus.SUCCEEDED,
        now,
        {"detail": None if detail is None else {**detail}},
    )


def fail(connection: Connection, run: StageRun, now: datetime, error: str) -> StageRun:
    """Mark a running run as failed, with the error's text, and return it so."""
    return _finish(connection, run, RunStatus.FAILED, now, {"error": error})


def adopt(
    connection: Connection,
    market: str,
    session: date,
    stage: str,
    revision: int,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> bool:
    """Mark an interrupted run as succeeded because its result was found complete.

    Returns
    -------
    bool
        False when there is no such run, or it has succeeded already.
    """
    done = connection.execute(
        update(_RUNS).where(
            _RUNS.c.market == market,
            _RUNS.c.stage == stage,
            _RUNS.c.session == session,
            _RUNS.c.revision == revision,
            _RUNS.c.status != RunStatus.SUCCEEDED,
        ),
        {
            "status": RunStatus.SUCCEEDED.value,
            "finished_at": now,
            "detail": None if detail is None else {**detail},
            "error": None,
        },
    )
    return done.rowcount == 1


def abandon_running(connection: Connection, now: datetime, market: str | None = None) -> int:
    """Mark every running run as abandoned (its process is gone); return how many there were."""
    query = update(_RUNS).where(_RUNS.c.status == RunStatus.RUNNING)
    if market is not None:
        query = query.where(_RUNS.c.market == market)
    values = {
        "status": RunStatus.ABANDONED.value,
        "finished_at": now,
        "error": "the process that ran it is gone",
    }
    return connection.execute(query, values).rowcount


def latest(connection: Connection, market: str, session: date, stage: str) -> StageRun | None:
    """Return the run with the highest revision of a session, None when there is none."""
    query = (
        select(_RUNS)
        .where(_RUNS.c.market == market, _RUNS.c.stage == stage, _RUNS.c.session == session)
        .order_by(_RUNS.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else record(StageRun, row)


def latest_succeeded(
    connection: Connection, market: str, session: date, stage: str
) -> StageRun | None:
    """Return the succeeded run with the highest revision of a session, None without one."""
    query = (
        select(_RUNS)
        .where(
            _RUNS.c.market == market,
            _RUNS.c.stage == stage,
            _RUNS.c.session == session,
            _RUNS.c.status == RunStatus.SUCCEEDED,
        )
        .order_by(_RUNS.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else record(StageRun, row)


def last_results(connection: Connection, market: str, stage: str, n: int) -> list[StageRun]:
    """Return the newest succeeded run of each of the last `n` sessions, newest session first."""
    days = _succeeded(_RUNS.c.session, market, stage).distinct()
    days = days.order_by(_RUNS.c.session.desc()).limit(n)
    sessions = connection.execute(days).scalars().all()
    found = (latest_succeeded(connection, market, session, stage) for session in sessions)
    return [run for run in found if run is not None]


def succeeded(
    connection: Connection, market: str, stage: str, since: date | None = None
) -> set[date]:
    """Return the sessions for which a stage has succeeded, from `since` on."""
    query = _succeeded(_RUNS.c.session, market, stage).distinct()
    if since is not None:
        query = query.where(_RUNS.c.session >= since)
    return set(connection.execute(query).scalars())


def last_session(connection: Connection, market: str, stage: str) -> date | None:
    """Return the last session for which a stage has succeeded."""
    return connection.execute(_succeeded(func.max(_RUNS.c.session), market, stage)).scalar()


def first_session(connection: Connection, market: str, stage: str) -> date | None:
    """Return the first session for which a stage has succeeded."""
    return connection.execute(_succeeded(func.min(_RUNS.c.session), market, stage)).scalar()


def history(
    connection: Connection,
    market: str,
    *,
    stage: str | None = None,
    session: date | None = None,
    limit: int | None = None,
) -> list[StageRun]:
    """Return runs, newest session and revision first."""
    query = select(_RUNS).where(_RUNS.c.market == market)
    if stage is not None:
        query = query.where(_RUNS.c.stage == stage)
    if session is not None:
        query = query.where(_RUNS.c.session == session)
    query = query.order_by(_RUNS.c.session.desc(), _RUNS.c.started_at.desc(), _RUNS.c.stage)
    if limit is not None:
        query = query.limit(limit)
    return [record(StageRun, row) for row in connection.execute(query).mappings().all()]


def _finish(
    connection: Connection, run: StageRun, status: RunStatus, now: datetime, values: dict[str, Any]
) -> StageRun:
    values = {"status": status.value, "finished_at": now, **values}
    done = connection.execute(
        update(_RUNS).where(
            _RUNS.c.market == run.market,
            _RUNS.c.stage == run.stage,
            _RUNS.c.session == run.session,
            _RUNS.c.revision == run.revision,
            _RUNS.c.status == RunStatus.RUNNING,
            _RUNS.c.attempts == run.attempts,
        ),
        values,
    )
    if done.rowcount != 1:
        raise ReservationError(
            f"attempt {run.attempts} of stage {run.stage} of {run.market} {run.session} "
            "is no longer running",
            rule="only the attempt that the ledger shows as running may finish",
            hint="another instance has taken over; end this one",
        )
    return StageRun(**{**run.model_dump(), **values})


def _succeeded(column: Any, market: str, stage: str) -> Select[Any]:
    return select(column).where(
        _RUNS.c.market == market, _RUNS.c.stage == stage, _RUNS.c.status == RunStatus.SUCCEEDED
    )
