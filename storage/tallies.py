"""What metrics count, added up by the database: nothing that grows with the years is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, and_, case, func, select

from storage import ledger
from storage.tables import (
    Alert,
    BookRecord,
    Factor,
    FactorEvent,
    FactorIC,
    FactorState,
    JobStatus,
    ModelUsage,
    MonitorRecord,
    RemineJob,
    RunStatus,
    StageRun,
    table,
)

_RUNS = table(StageRun)
_FACTORS = table(Factor)
_ICS = table(FactorIC)
_STATES = table(MonitorRecord)
_BOOK = table(BookRecord)
_EVENTS = table(FactorEvent)
_JOBS = table(RemineJob)
_ALERTS = table(Alert)
_USAGE = table(ModelUsage)

#: Statuses whose last attempt has not failed.
_UNDECIDED = (RunStatus.SUCCEEDED.value, RunStatus.RUNNING.value)


class StageTally(NamedTuple):
    """The runs of one stage of one market.

    Parameters
    ----------
    succeeded : int
        Sessions and revisions done.
    failed : int
        Attempts that failed, or whose process was gone.
    last_attempt : datetime
        When a run began last.
    last_success : datetime or None
        When a run last succeeded.
    last_result : StageRun or None
        The newest result of the last session done.
    """

    succeeded: int
    failed: int
    last_attempt: datetime
    last_success: datetime | None
    last_result: StageRun | None


class LiveFactor(NamedTuple):
    """A live factor and the last state of its monitor; None where it has none yet."""

    id: str
    live_session: date | None
    verdict: str | None
    evidence: float | None
    threshold: float | None


class BookStanding(NamedTuple):
    """Where the book-level test of a market stands."""

    verdict: str
    evidence: float
    threshold: float


class ModelTally(NamedTuple):
    """What was asked of a language model and answered, or given up."""

    requests: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    cost: float


class RemineTally(NamedTuple):
    """The re-minings of one market.

    Parameters
    ----------
    runs : mapping of str to int
        By status, those without any included.
    candidates : mapping of str to int
        By the gate at which they ended; `proposed` is all of them.
    last_success : datetime or None
        When one last came to its end.
    last_seconds : float or None
        How long that one took, from being opened.
    """

    runs: Mapping[str, int]
    candidates: Mapping[str, int]
    last_success: datetime | None
    last_seconds: float | None


def stages(connection: Connection, market: str) -> dict[str, StageTally]:
    """Return the tally of each stage that ever ran."""
    succeeded = _RUNS.c.status == RunStatus.SUCCEEDED
    query = (
        select(
            _RUNS.c.stage,
            func.sum(case((succeeded, 1), else_=0)),
            func.sum(_RUNS.c.attempts - case((_RUNS.c.status.in_(_UNDECIDED), 1), else_=0)),
            func.max(_RUNS.c.started_at),
            func.max(case((succeeded, _RUNS.c.finished_at))),
            func.max(case((succeeded, _RUNS.c.session))),
        )
        .where(_RUNS.c.market == market)
        .group_by(_RUNS.c.stage)
        .order_by(_RUNS.c.stage)
    )
    found = {}
    for stage, n, failed, began, finished, session in connection.execute(query).all():
        last = session and ledger.latest_succeeded(connection, market, session, stage)
        found[stage] = StageTally(int(n), int(failed), began, finished, last)
    return found


def live_factors(connection: Connection, market: str) -> list[LiveFactor]:
    """Return the live factors with the last state of their monitors, in order of id."""
    other = _STATES.alias("other")
    newest = (
        select(func.max(other.c.session))
        .where(other.c.market == _FACTORS.c.market, other.c.factor == _FACTORS.c.id)
        .scalar_subquery()
    )
    joined = and_(
        _STATES.c.market == _FACTORS.c.market,
        _STATES.c.factor == _FACTORS.c.id,
        _STATES.c.session == newest,
    )
    query = (
        select(
            _FACTORS.c.id,
            _FACTORS.c.live_session,
            _STATES.c.verdict,
            _STATES.c.evidence,
            _STATES.c.threshold,
        )
        .select_from(_FACTORS.outerjoin(_STATES, joined))  # outer: one index search for each
        .where(_FACTORS.c.market == market, _FACTORS.c.state == FactorState.LIVE)
    )
    found = [LiveFactor(*row) for row in connection.execute(query)]
    return sorted(found, key=lambda factor: factor.id)


def live_rank_ics(
    connection: Connection, market: str, since: date
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the RankICs of each live factor from a session on, oldest first, NaN: undefined."""
    joined = and_(
        _ICS.c.market == _FACTORS.c.market,
        _ICS.c.factor == _FACTORS.c.id,
        _ICS.c.session >= since,
    )
    query = (
        select(_FACTORS.c.id, _ICS.c.rank_ic)
        .select_from(_FACTORS.outerjoin(_ICS, joined))  # outer: one index search for each
        .where(_FACTORS.c.market == market, _FACTORS.c.state == FactorState.LIVE)
        .order_by(_FACTORS.c.id, _ICS.c.session)
    )
    rows = connection.execute(query).all()
    return {
        factor: np.array([row[1] for row in group], dtype=np.float64)  # None becomes NaN
        for factor, group in groupby(rows, key=lambda row: row[0])
    }


def last_move(connection: Connection, market: str) -> int:
    """Return the number of the last change of a factor's state, 0 before the first."""
    query = select(func.max(_EVENTS.c.number)).where(_EVENTS.c.market == market)
    return connection.execute(query).scalar() or 0


def last_book(connection: Connection, market: str) -> BookStanding | None:
    """Return where the book-level test stands, None before its first session."""
    columns = [_BOOK.c[name] for name in BookStanding._fields]
    query = select(*columns).where(_BOOK.c.market == market)
    row = connection.execute(query.order_by(_BOOK.c.session.desc()).limit(1)).first()
    return None if row is None else BookStanding(*row)


def remining(connection: Connection, market: str) -> RemineTally:
    """Return the tally of a market's re-minings; an operator's own searches count too."""
    query = (
        select(_JOBS.c.status, _JOBS.c.counts, _JOBS.c.opened_at, _JOBS.c.finished_at)
        .where(_JOBS.c.market == market)
        .order_by(_JOBS.c.id)
    )
    runs = dict.fromkeys(JobStatus, 0)
    candidates = Counter[str]()
    last_success, last_seconds = None, None
    for status, counts, opened, finished in connection.execute(query):
        runs[JobStatus(status)] += 1
        candidates.update(counts or {})
        if status == JobStatus.SUCCEEDED:
            last_success = finished
            last_seconds = (finished - opened).total_seconds()
    named = {status.value: n for status, n in runs.items()}
    return RemineTally(named, dict(sorted(candidates.items())), last_success, last_seconds)


def open_alerts(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how many alerts are open, by market and severity."""
    query = (
        select(_ALERTS.c.market, _ALERTS.c.severity, func.count())
        .where(_ALERTS.c.resolved_at.is_(None))
        .group_by(_ALERTS.c.market, _ALERTS.c.severity)
        .order_by(_ALERTS.c.market, _ALERTS.c.severity)
    )
    return {(market, severity): int(n) for market, severity, n in connection.execute(query)}


def model(connection: Connection, market: str) -> ModelTally:
    """Return what a market's requests to language models have come to.

    Requests whose end nobody saw are left out: they count at their worst, and a counter may not
    fall when they settle.
    """
    query = (
        select(
            _USAGE.c.outcome,
            func.count(),
            func.sum(_USAGE.c.input_tokens),
            func.sum(_USAGE.c.output_tokens),
            func.sum(_USAGE.c.cost),
        )
        .where(_USAGE.c.market == market, _USAGE.c.settled_at.is_not(None))
        .group_by(_USAGE.c.outcome)
        .order_by(_USAGE.c.outcome)
    )
    rows = connection.execute(query).all()
    return ModelTally(
        {row[0]: int(row[1]) for row in rows},
        sum(int(row[2]) for row in rows),
        sum(int(row[3]) for row in rows),
        sum(float(row[4]) for row in rows),
    )
