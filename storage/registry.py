"""The factor registry: every factor, its state, and every change of state with its reason.

Nothing is ever deleted. The arrows::

    candidate ──> shadow ──> live ──> retired ──> shadow (revived) ──> retired (that undone)
        ├───────────────────> live
        └──> rejected <── shadow
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from signals.errors import ReservationError, StorageError
from storage.tables import Factor, FactorEvent, FactorState, record, table

_FACTORS = table(Factor)
_EVENTS = table(FactorEvent)

_CANDIDATE, _SHADOW, _LIVE = FactorState.CANDIDATE, FactorState.SHADOW, FactorState.LIVE
_RETIRED, _REJECTED = FactorState.RETIRED, FactorState.REJECTED

#: From which states each state can be reached.
ARROWS: Mapping[FactorState, frozenset[FactorState]] = {
    _CANDIDATE: frozenset(),
    _SHADOW: frozenset({_CANDIDATE, _RETIRED}),
    _LIVE: frozenset({_CANDIDATE, _SHADOW}),
    _RETIRED: frozenset({_LIVE, _SHADOW}),
    _REJECTED: frozenset({_CANDIDATE, _SHADOW}),
}


def add(
    connection: Connection,
    market: str,
    factor_id: str,
    expression: str,
    *,
    origin: str,
    session: date,
    now: datetime,
    rule: str = "declared",
    hypothesis: Mapping[str, Any] | None = None,
    parents: Sequence[str] = (),
    baseline_start: date | None = None,
    detail: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Factor:
    """Register a new factor as a candidate and return it.

    Raises
    ------
    ReservationError
        The market has a factor with this id.
    """
    if get(connection, market, factor_id) is not None:
        raise ReservationError(
            f"factor {factor_id!r} of {market} is registered already",
            rule="an id names one factor for ever",
            hint="choose another id; a retired factor is revived by a transition to shadow",
        )
    values: dict[str, Any] = {
        "market": market,
        "id": factor_id,
        "expression": expression,
        "origin": origin,
        "hypothesis": None if hypothesis is None else {**hypothesis},
        "parents": [*parents],
        "state": _CANDIDATE.value,
        "created_session": session,
        "joined_session": None,
        "live_session": None,
        "retired_session": None,
        "baseline_start": baseline_start,
        "detail": None if detail is None else {**detail},
    }
    connection.execute(insert(_FACTORS), values)
    _log(connection, market, factor_id, session, None, _CANDIDATE, rule, evidence, now)
    return Factor(**values)


def transition(
    connection: Connection,
    market: str,
    factor_id: str,
    to_state: FactorState | str,
    *,
    session: date,
    rule: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
    joined_session: date | None = None,
    baseline_start: date | None = None,
) -> Factor:
    """Move a factor to another state, log why, and return it.

    `joined_session` is set when it first becomes shadow or live, `live_session` and
    `retired_session` each time it becomes so.

    Parameters
    ----------
    joined_session : date, optional
        Where its forward evidence begins from now on, as for a revived one; None leaves it.
    baseline_start : date, optional
        Where the baseline of the monitor begins from now on; None leaves it.

    Raises
    ------
    StorageError
        There is no such factor, or no arrow leads from its state to this one.
    """
    target = FactorState(to_state)
    factor = get(connection, market, factor_id)
    if factor is None:
        raise StorageError(
            f"{market} has no factor {factor_id!r}", rule="only a registered factor has a state"
        )
    if factor.state not in ARROWS[target]:
        raise StorageError(
            f"factor {factor_id!r} of {market} is {factor.state} and cannot become {target}",
            rule=f"{target} is reached from {', '.join(sorted(ARROWS[target])) or 'nowhere'}",
        )
    values: dict[str, Any] = {"state": target.value}
    if target in (_SHADOW, _LIVE) and factor.joined_session is None:
        values["joined_session"] = session
    if joined_session is not None:
        values["joined_session"] = joined_session
    if target == _LIVE:
        values["live_session"] = session
    if target == _RETIRED:
        values["retired_session"] = session
    if baseline_start is not None:
        values["baseline_start"] = baseline_start
    connection.execute(
        update(_FACTORS).where(_FACTORS.c.market == market, _FACTORS.c.id == factor_id), values
    )
    before = FactorState(factor.state)
    _log(connection, market, factor_id, session, before, target, rule, evidence, now)
    return Factor(**{**factor.model_dump(), **values})


def note(
    connection: Connection,
    market: str,
    factor_id: str,
    *,
    session: date,
    rule: str,
    now: datetime,
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Log something about a factor that leaves its state as it is.

    Raises
    ------
    StorageError
        There is no such factor.
    """
    factor = get(connection, market, factor_id)
    if factor is None:
        raise StorageError(
            f"{market} has no factor {factor_id!r}", rule="only a registered factor has a history"
        )
    state = FactorState(factor.state)
    _log(connection, market, factor_id, session, state, state, rule, evidence, now)


def get(connection: Connection, market: str, factor_id: str) -> Factor | None:
    """Return one factor, None when the market has no such id."""
    query = select(_FACTORS).where(_FACTORS.c.market == market, _FACTORS.c.id == factor_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else record(Factor, row)


def factors(
    connection: Connection, market: str, states: Iterable[FactorState | str] | None = None
) -> list[Factor]:
    """Return the factors of a market in the given states (all when None), ordered by id."""
    query = select(_FACTORS).where(_FACTORS.c.market == market)
    if states is not None:
        query = query.where(_FACTORS.c.state.in_([str(state) for state in states]))
    found = [record(Factor, row) for row in connection.execute(query).mappings().all()]
    return sorted(found, key=lambda factor: factor.id)  # collations of databases differ


def events(
    connection: Connection,
    market: str,
    factor_id: str | None = None,
    *,
    first: date | None = None,
    last: date | None = None,
) -> list[FactorEvent]:
    """Return changes of state in the order they were made."""
    query = select(_EVENTS).where(_EVENTS.c.market == market)
    if factor_id is not None:
        query = query.where(_EVENTS.c.factor == factor_id)
    if first is not None:
        query = query.where(_EVENTS.c.session >= first)
    if last is not None:
        query = query.where(_EVENTS.c.session <= last)
    rows = connection.execute(query.order_by(_EVENTS.c.number)).mappings()
    return [record(FactorEvent, row) for row in rows]


def _log(
    connection: Connection,
    market: str,
    factor_id: str,
    session: date,
    before: FactorState | None,
    after: FactorState,
    rule: str,
    evidence: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    connection.execute(
        insert(_EVENTS),
        {
            "market": market,
            "factor": factor_id,
            "session": session,
            "from_state": None if before is None else before.value,
            "to_state": after.value,
            "rule": rule,
            "evidence": None if evidence is None else {**evidence},
            "at": now,
        },
    )
