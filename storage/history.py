"""What was measured, session by session: ICs of factors and of the score, monitor states, verdicts.

A later measurement of the same session replaces the earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    Table,
    and_,
    func,
    insert,
    select,
    type_coerce,
)

from signals.panel import SessionArray
from storage.database import upsert
from storage.tables import (
    BookRecord,
    Factor,
    FactorIC,
    MonitoredIC,
    MonitorRecord,
    ScoreIC,
    VerdictEvent,
    record,
    table,
)

_ICS = table(FactorIC)
_MONITORED = table(MonitoredIC)
_SCORES = table(ScoreIC)
_STATES = table(MonitorRecord)
_BOOK = table(BookRecord)
_VERDICTS = table(VerdictEvent)
_FACTORS = table(Factor)


class ICRow(NamedTuple):
    """The IC of one factor at one session; NaN where it is not defined."""

    market: str
    factor: str
    session: date
    realised_session: date
    ic: float
    rank_ic: float
    n_assets: int


class ScoreICRow(NamedTuple):
    """The IC of the score published for one session; NaN where it is not defined."""

    market: str
    session: date
    realised_session: date
    publish_id: str
    ic: float
    rank_ic: float
    n_assets: int


class MonitoredRow(NamedTuple):
    """The monitored RankIC of one live factor at one session; NaN where it is not defined."""

    market: str
    factor: str
    session: date
    realised_session: date
    rank_ic: float


class BookRow(NamedTuple):
    """The book-level test after the RankICs realised at `session`; `state` is strict JSON."""

    market: str
    session: date
    verdict: str
    evidence: float
    threshold: float
    state: Mapping[str, Any]


class StateRow(NamedTuple):
    """A monitor's state after the IC realised at `session`; `state` is strict JSON."""

    market: str
    factor: str
    session: date
    verdict: str
    evidence: float
    threshold: float
    state: Mapping[str, Any]


class ICSeries(NamedTuple):
    """ICs and the assets in them; arrays of shape (n_sessions,), ascending, NaN: not defined."""

    sessions: SessionArray
    rank_ic: npt.NDArray[np.float64]
    ic: npt.NDArray[np.float64]
    n_assets: npt.NDArray[np.int64]


class MonitoredSeries(NamedTuple):
    """Monitored RankICs, each array of shape (n_sessions,), ascending, NaN where not defined."""

    sessions: SessionArray
    rank_ic: npt.NDArray[np.float64]


class StateCurve(NamedTuple):
    """The course of a monitor, each of length n_sessions, ascending."""

    sessions: SessionArray
    evidence: npt.NDArray[np.float64]
    threshold: npt.NDArray[np.float64]
    verdicts: tuple[str, ...]


def append_ics(connection: Connection, rows: Iterable[ICRow]) -> None:
    """Write the ICs of factors; each factor must be registered."""
    upsert(connection, FactorIC, [_without_nan(row._asdict()) for row in rows])


def append_score_ics(connection: Connection, rows: Iterable[ScoreICRow]) -> None:
    """Write the ICs of published scores."""
    upsert(connection, ScoreIC, [_without_nan(row._asdict()) for row in rows])


def append_states(connection: Connection, rows: Iterable[StateRow]) -> None:
    """Write the states of monitors; each factor must be registered."""
    upsert(connection, MonitorRecord, [{**row._asdict(), "state": {**row.state}} for row in rows])


def append_monitored(connection: Connection, rows: Iterable[MonitoredRow]) -> None:
    """Write the monitored RankICs of factors; each factor must be registered."""
    upsert(connection, MonitoredIC, [_without_nan(row._asdict()) for row in rows])


def append_book_state(connection: Connection, row: BookRow) -> None:
    """Write the state of a book-level test."""
    upsert(connection, BookRecord, [{**row._asdict(), "state": {**row.state}}])


def last_book_state(
    connection: Connection, market: str, *, until: date | None = None
) -> BookRecord | None:
    """Return the latest state of a book-level test (not after `until`), None without one."""
    query = select(_BOOK).where(_BOOK.c.market == market)
    if until is not None:
        query = query.where(_BOOK.c.session <= until)
    row = connection.execute(query.order_by(_BOOK.c.session.desc()).limit(1)).mappings().first()
    return None if row is None else record(BookRecord, row)


def monitored_ics(
    connection: Connection,
    market: str,
    factor: str,
    from_session: date | None = None,
    to_session: date | None = None,
) -> MonitoredSeries:
    """Return the monitored RankICs of a factor for sessions in a closed range."""
    query = select(_raw(_MONITORED.c.session), _MONITORED.c.rank_ic).where(
        _MONITORED.c.market == market, _MONITORED.c.factor == factor
    )
    query = query.where(*_limits(_MONITORED, from_session, to_session))
    rows = connection.execute(query.order_by(_MONITORED.c.session)).all()
    return MonitoredSeries(
        np.array([row[0] for row in rows], dtype="datetime64[D]"),
        np.array([row[1] for row in rows], dtype=np.float64),
    )


def ics(
    connection: Connection,
    market: str,
    factor: str,
    from_session: date | None = None,
    to_session: date | None = None,
    *,
    realised_by: date | None = None,
) -> ICSeries:
    """Return the ICs of a factor for sessions in a closed range, realised by a session if given."""
    query = select(_raw(_ICS.c.session), _ICS.c.rank_ic, _ICS.c.ic, _ICS.c.n_assets).where(
        _ICS.c.market == market, _ICS.c.factor == factor
    )
    limits = _limits(_ICS, from_session, to_session, realised_by)
    return _arrays(connection.execute(query.where(*limits).order_by(_ICS.c.session)).all())


def book_ics(
    connection: Connection,
    market: str,
    from_session: date | None = None,
    to_session: date | None = None,
    *,
    realised_by: date | None = None,
) -> dict[str, ICSeries]:
    """Return the ICs of every factor of a market in one query, keyed by id in order of id."""
    joined = and_(
        _ICS.c.market == _FACTORS.c.market,
        _ICS.c.factor == _FACTORS.c.id,
        *_limits(_ICS, from_session, to_session, realised_by),
    )
    query = (
        select(_raw(_ICS.c.session), _ICS.c.rank_ic, _ICS.c.ic, _ICS.c.n_assets, _ICS.c.factor)
        .select_from(_FACTORS.outerjoin(_ICS, joined))  # outer: one index search for each factor
        .where(_FACTORS.c.market == market)
        .order_by(_FACTORS.c.id, _ICS.c.session)
    )
    rows = connection.execute(query).all()
    grouped = {factor: list(group) for factor, group in groupby(rows, key=lambda row: row[4])}
    return {factor: _arrays(grouped[factor]) for factor in sorted(grouped, key=str) if factor}


def last_measured(connection: Connection, market: str) -> dict[str, date]:
    """Return the last session each factor has an IC of, defined or not, by id."""
    newest = select(func.max(_ICS.c.session)).where(
        _ICS.c.market == _FACTORS.c.market, _ICS.c.factor == _FACTORS.c.id
    )
    query = select(_FACTORS.c.id, newest.scalar_subquery()).where(_FACTORS.c.market == market)
    return {factor: day for factor, day in connection.execute(query).all() if day is not None}


def recent_rank_ics(
    connection: Connection, market: str, factors: Sequence[str], from_session: date
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the RankICs of some factors since a session, oldest first, without their sessions."""
    query = (
        select(_ICS.c.factor, _ICS.c.rank_ic)
        .where(
            _ICS.c.market == market,
            _ICS.c.factor.in_(factors),
            _ICS.c.session >= from_session,
        )
        .order_by(_ICS.c.session)
    )
    series: dict[str, list[float | None]] = {}
    for factor, value in connection.execute(query).all():
        series.setdefault(factor, []).append(value)
    return {factor: np.array(values, dtype=np.float64) for factor, values in series.items()}


def score_ics(
    connection: Connection,
    market: str,
    from_session: date | None = None,
    to_session: date | None = None,
    *,
    realised_by: date | None = None,
) -> ICSeries:
    """Return the ICs of the published score for sessions in a closed range."""
    query = select(
        _raw(_SCORES.c.session), _SCORES.c.rank_ic, _SCORES.c.ic, _SCORES.c.n_assets
    ).where(_SCORES.c.market == market)
    limits = _limits(_SCORES, from_session, to_session, realised_by)
    return _arrays(connection.execute(query.where(*limits).order_by(_SCORES.c.session)).all())


def last_state(
    connection: Connection, market: str, factor: str, *, until: date | None = None
) -> MonitorRecord | None:
    """Return a monitor's latest state (not after `until`), None when it has none."""
    query = select(_STATES).where(_STATES.c.market == market, _STATES.c.factor == factor)
    if until is not None:
        query = query.where(_STATES.c.session <= until)
    row = connection.execute(query.order_by(_STATES.c.session.desc()).limit(1)).mappings().first()
    return None if row is None else record(MonitorRecord, row)


def last_states(
    connection: Connection, market: str, *, until: date | None = None
) -> dict[str, MonitorRecord]:
    """Return the latest state of each factor's monitor, keyed by id in order of id."""
    other = _STATES.alias("other")
    newest = select(func.max(other.c.session)).where(
        other.c.market == _FACTORS.c.market, other.c.factor == _FACTORS.c.id
    )
    if until is not None:
        newest = newest.where(other.c.session <= until)
    joined = and_(
        _STATES.c.market == _FACTORS.c.market,
        _STATES.c.factor == _FACTORS.c.id,
        _STATES.c.session == newest.scalar_subquery(),
    )
    query = (
        select(_STATES)
        .select_from(_FACTORS.outerjoin(_STATES, joined))  # outer: one index search for each factor
        .where(_FACTORS.c.market == market)
    )
    found = {row["factor"]: row for row in connection.execute(query).mappings() if row["factor"]}
    return {factor: record(MonitorRecord, found[factor]) for factor in sorted(found)}


def book_curve(connection: Connection, market: str) -> StateCurve:
    """Return the course of a book-level test's evidence, threshold and verdict."""
    columns = (_raw(_BOOK.c.session), _BOOK.c.evidence, _BOOK.c.threshold, _BOOK.c.verdict)
    query = select(*columns).where(_BOOK.c.market == market).order_by(_BOOK.c.session)
    return _curve(connection.execute(query).all())


def state_curve(
    connection: Connection,
    market: str,
    factor: str,
    from_session: date | None = None,
    to_session: date | None = None,
) -> StateCurve:
    """Return the course of a monitor's evidence, threshold and verdict."""
    columns = (_raw(_STATES.c.session), _STATES.c.evidence, _STATES.c.threshold, _STATES.c.verdict)
    query = select(*columns).where(_STATES.c.market == market, _STATES.c.factor == factor)
    query = query.where(*_limits(_STATES, from_session, to_session))
    return _curve(connection.execute(query.order_by(_STATES.c.session)).all())


def append_verdict(
    connection: Connection,
    market: str,
    factor: str,
    session: date,
    from_verdict: str | None,
    to_verdict: str,
    evidence: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Log one change of verdict."""
    connection.execute(
        insert(_VERDICTS),
        {
            "market": market,
            "factor": factor,
            "session": session,
            "from_verdict": from_verdict,
            "to_verdict": to_verdict,
            "evidence": None if evidence is None else {**evidence},
            "at": now,
        },
    )


def verdict_events(
    connection: Connection,
    market: str,
    factor: str | None = None,
    *,
    first: date | None = None,
    last: date | None = None,
) -> list[VerdictEvent]:
    """Return changes of verdict in the order they were made."""
    query = select(_VERDICTS).where(_VERDICTS.c.market == market)
    if factor is not None:
        query = query.where(_VERDICTS.c.factor == factor)
    query = query.where(*_limits(_VERDICTS, first, last)).order_by(_VERDICTS.c.number)
    return [record(VerdictEvent, row) for row in connection.execute(query).mappings().all()]


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    for name in values.keys() & {"ic", "rank_ic"}:
        value = float(values[name])
        values[name] = value if math.isfinite(value) else None
    return values


def _raw(session: ColumnElement[date]) -> ColumnElement[Any]:
    """Fetch sessions as the driver has them: numpy reads text and dates alike, and quicker."""
    return type_coerce(session, String)


def _limits(
    source: Table, first: date | None, last: date | None, realised_by: date | None = None
) -> list[ColumnElement[bool]]:
    limits: list[ColumnElement[bool]] = []
    if first is not None:
        limits.append(source.c.session >= first)
    if last is not None:
        limits.append(source.c.session <= last)
    if realised_by is not None:
        limits.append(source.c.realised_session <= realised_by)
    return limits


def _curve(rows: Sequence[Any]) -> StateCurve:
    return StateCurve(
        np.array([row[0] for row in rows], dtype="datetime64[D]"),
        np.array([row[1] for row in rows], dtype=np.float64),
        np.array([row[2] for row in rows], dtype=np.float64),
        tuple(row[3] for row in rows),
    )


def _arrays(rows: Sequence[Any]) -> ICSeries:
    return ICSeries(
        np.array([row[0] for row in rows], dtype="datetime64[D]"),
        np.array([row[1] for row in rows], dtype=np.float64),  # None becomes NaN
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] or 0 for row in rows], dtype=np.int64),
    )
