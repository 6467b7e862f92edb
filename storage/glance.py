"""Bounded reads for the status page and the read API: each ends after a number of rows.

A market may have lived for years; what is shown of it is a page of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, func, select

from storage.tables import (
    Alert,
    DataVerdict,
    Factor,
    MonitorRecord,
    PublicationRecord,
    PublicationStatus,
    RemineJob,
    RunStatus,
    StageRun,
    Vintage,
    record,
    table,
)

_ALERTS = table(Alert)
_FACTORS = table(Factor)
_JOBS = table(RemineJob)
_PUBLICATIONS = table(PublicationRecord)
_RUNS = table(StageRun)
_STATES = table(MonitorRecord)
_VERDICTS = table(DataVerdict)
_VINTAGES = table(Vintage)

#: Causes of vintages that bring new sessions; every other one tells stored bars anew.
_NEW_BARS = ("session", "backfill")
#: Revisions of one session that are looked through at most, on the mean of a page.
_REVISIONS = 4


class Standing(NamedTuple):
    """Where a factor's monitor stands."""

    session: date
    verdict: str
    evidence: float
    threshold: float


class SetAside(NamedTuple):
    """What one rule of the gate did since a session."""

    outcome: str
    rule: str
    verdicts: int
    rows: int
    last: date


class JobFacts(NamedTuple):
    """A re-mining without its checkpoint, which is as large as all it has tried."""

    id: int
    opened_session: date
    trigger: dict[str, Any]
    status: str
    counts: dict[str, Any] | None
    result: dict[str, Any] | None
    joined_session: date | None
    opened_at: datetime
    finished_at: datetime | None


def published_between(
    connection: Connection, market: str, first: date, last: date, limit: int
) -> list[PublicationRecord]:
    """Return the newest publication of each of the first `limit` sessions of a closed range."""
    within = (
        _PUBLICATIONS.c.market == market,
        _PUBLICATIONS.c.status == PublicationStatus.PUBLISHED,
        _PUBLICATIONS.c.session >= first,
        _PUBLICATIONS.c.session <= last,
    )
    newest = (
        select(_PUBLICATIONS.c.session, func.max(_PUBLICATIONS.c.publish_id).label("publish_id"))
        .where(*within)
        .group_by(_PUBLICATIONS.c.session)
        .order_by(_PUBLICATIONS.c.session)
        .limit(limit)
        .subquery()
    )
    query = (
        select(_PUBLICATIONS)
        .join(newest, _PUBLICATIONS.c.publish_id == newest.c.publish_id)
        .where(_PUBLICATIONS.c.market == market)
        .order_by(_PUBLICATIONS.c.session)
    )
    rows = connection.execute(query).mappings().all()
    return [record(PublicationRecord, row) for row in rows]


def recent_publications(
    connection: Connection, market: str, limit: int, *, before: str | None = None
) -> list[PublicationRecord]:
    """Return the last publications, newest id first; those before an id if one is given."""
    query = select(_PUBLICATIONS).where(
        _PUBLICATIONS.c.market == market, _PUBLICATIONS.c.status == PublicationStatus.PUBLISHED
    )
    if before is not None:
        query = query.where(_PUBLICATIONS.c.publish_id < before)
    query = query.order_by(_PUBLICATIONS.c.publish_id.desc()).limit(limit)
    return [record(PublicationRecord, row) for row in connection.execute(query).mappings().all()]


def recent_jobs(connection: Connection, market: str, limit: int) -> list[JobFacts]:
    """Return the last re-minings, newest first."""
    columns = [_JOBS.c[name] for name in JobFacts._fields]
    query = select(*columns).where(_JOBS.c.market == market)
    rows = connection.execute(query.order_by(_JOBS.c.id.desc()).limit(limit))
    return [JobFacts(*row) for row in rows]


def recent_alerts(connection: Connection, market: str, limit: int) -> list[Alert]:
    """Return the alerts that were resolved last, newest first."""
    query = select(_ALERTS).where(_ALERTS.c.market == market, _ALERTS.c.resolved_at.is_not(None))
    query = query.order_by(_ALERTS.c.number.desc()).limit(limit)
    return [record(Alert, row) for row in connection.execute(query).mappings().all()]


def recent_details(
    connection: Connection, market: str, stage: str, limit: int
) -> list[tuple[date, dict[str, Any]]]:
    """Return what the newest result of a stage says of each of the last sessions, oldest first."""
    query = (
        select(_RUNS.c.session, _RUNS.c.detail)
        .where(
            _RUNS.c.market == market,
            _RUNS.c.stage == stage,
            _RUNS.c.status == RunStatus.SUCCEEDED,
        )
        .order_by(_RUNS.c.session.desc(), _RUNS.c.revision.desc())
        .limit(limit * _REVISIONS)
    )
    found: dict[date, dict[str, Any]] = {}
    for session, detail in connection.execute(query):
        found.setdefault(session, detail or {})
    return sorted(found.items())[-limit:]


def set_aside(connection: Connection, market: str, since: date, limit: int) -> list[SetAside]:
    """Return what the gate set aside or changed since a session, by rule, most rows first."""
    rows = func.sum(_VERDICTS.c.n_rows)
    query = (
        select(
            _VERDICTS.c.outcome,
            _VERDICTS.c.rule,
            func.count(),
            rows,
            func.max(_VERDICTS.c.session),
        )
        .where(_VERDICTS.c.market == market, _VERDICTS.c.session >= since, _VERDICTS.c.rule != "")
        .group_by(_VERDICTS.c.outcome, _VERDICTS.c.rule)
        .order_by(rows.desc())
        .limit(limit)
    )
    return [
        SetAside(outcome, rule, int(n), int(n_rows), last)
        for outcome, rule, n, n_rows, last in connection.execute(query)
    ]


def restated(connection: Connection, market: str, limit: int) -> list[Vintage]:
    """Return the last vintages that told stored bars anew, newest first."""
    query = (
        select(_VINTAGES)
        .where(_VINTAGES.c.market == market, _VINTAGES.c.cause.not_in(_NEW_BARS))
        .order_by(_VINTAGES.c.number.desc())
        .limit(limit)
    )
    return [record(Vintage, row) for row in connection.execute(query).mappings().all()]


def standings(connection: Connection, market: str, factors: Sequence[str]) -> dict[str, Standing]:
    """Return where the monitors of some factors stand, by id; their states are not read."""
    other = _STATES.alias("other")
    newest = select(func.max(other.c.session)).where(
        other.c.market == _FACTORS.c.market, other.c.factor == _FACTORS.c.id
    )
    joined = and_(
        _STATES.c.market == _FACTORS.c.market,
        _STATES.c.factor == _FACTORS.c.id,
        _STATES.c.session == newest.scalar_subquery(),
    )
    query = (
        select(_FACTORS.c.id, *(_STATES.c[name] for name in Standing._fields))
        .select_from(_FACTORS.outerjoin(_STATES, joined))  # outer: one index search for each factor
        .where(_FACTORS.c.market == market, _FACTORS.c.id.in_(list(factors)))
    )
    rows = connection.execute(query).all()
    return {row[0]: Standing(*row[1:]) for row in rows if row[1] is not None}


def factor_counts(connection: Connection, market: str) -> dict[str, int]:
    """Return how many factors there are in each state of life."""
    query = (
        select(_FACTORS.c.state, func.count())
        .where(_FACTORS.c.market == market)
        .group_by(_FACTORS.c.state)
    )
    return {state: int(n) for state, n in connection.execute(query)}


def factor_ids(connection: Connection, market: str) -> list[tuple[str, str]]:
    """Return the id and state of every factor, in order of id."""
    query = select(_FACTORS.c.id, _FACTORS.c.state).where(_FACTORS.c.market == market)
    return sorted((str(row[0]), str(row[1])) for row in connection.execute(query))


def some_factors(connection: Connection, market: str, ids: Sequence[str]) -> list[Factor]:
    """Return some factors in the order they are asked for."""
    query = select(_FACTORS).where(_FACTORS.c.market == market, _FACTORS.c.id.in_(list(ids)))
    found = {row["id"]: record(Factor, row) for row in connection.execute(query).mappings()}
    return [found[each] for each in ids if each in found]


def mined_by(connection: Connection, market: str, jobs: Sequence[int]) -> dict[int, list[str]]:
    """Return the factors that some re-minings brought, by id of the job."""
    if not jobs:
        return {}
    number = _FACTORS.c.detail["job"].as_integer()
    query = (
        select(number, _FACTORS.c.id)
        .where(_FACTORS.c.market == market, _FACTORS.c.origin == "mined", number.in_(list(jobs)))
        .order_by(_FACTORS.c.id)
    )
    found: dict[int, list[str]] = {}
    for job, factor in connection.execute(query):
        found.setdefault(int(job), []).append(factor)
    return found
