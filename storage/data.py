"""What is kept about fetched data: verdicts, fetch marks, held membership changes, switches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from storage.database import upsert
from storage.tables import (
    DataVerdict,
    FetchMark,
    HeldChange,
    ProviderSwitch,
    Vintage,
    record,
    table,
)

_VERDICTS = table(DataVerdict)
_MARKS = table(FetchMark)
_HELD = table(HeldChange)
_SWITCHES = table(ProviderSwitch)
_VINTAGES = table(Vintage)


class Said(NamedTuple):
    """One verdict about some rows of one asset, or of all ("")."""

    outcome: str
    asset: str
    first: date
    last: date
    n_rows: int
    rule: str
    fact: str
    payload: str


class Month(NamedTuple):
    """How many bars were written for one cause in one month."""

    month: str
    cause: str
    vintages: int
    bars: int


def append_verdicts(
    connection: Connection, market: str, session: date, at: datetime, said: Sequence[Said]
) -> None:
    """Store what the gate said while a session was ingested."""
    rows = [
        {
            "market": market,
            "session": session,
            "at": at,
            "outcome": each.outcome,
            "asset": each.asset,
            "first_session": each.first,
            "last_session": each.last,
            "n_rows": each.n_rows,
            "rule": each.rule,
            "fact": each.fact,
            "payload": each.payload,
        }
        for each in said
    ]
    if rows:
        connection.execute(insert(_VERDICTS), rows)


def verdicts(
    connection: Connection,
    market: str,
    *,
    session: date | None = None,
    outcomes: Collection[str] | None = None,
) -> list[DataVerdict]:
    """Return verdicts in the order they were stored."""
    query = select(_VERDICTS).where(_VERDICTS.c.market == market)
    if session is not None:
        query = query.where(_VERDICTS.c.session == session)
    if outcomes is not None:
        query = query.where(_VERDICTS.c.outcome.in_(list(outcomes)))
    rows = connection.execute(query.order_by(_VERDICTS.c.number)).mappings().all()
    return [record(DataVerdict, row) for row in rows]


def rules(connection: Connection, market: str) -> list[tuple[str, str, int, int]]:
    """Return outcome, rule, verdicts and rows of everything that was not plainly accepted."""
    columns = (_VERDICTS.c.outcome, _VERDICTS.c.rule)
    query = (
        select(*columns, func.count(), func.sum(_VERDICTS.c.n_rows))
        .where(_VERDICTS.c.market == market, _VERDICTS.c.rule != "")
        .group_by(*columns)
        .order_by(*columns)
    )
    return [(row[0], row[1], int(row[2]), int(row[3])) for row in connection.execute(query)]


def marks(connection: Connection, market: str) -> dict[str, FetchMark]:
    """Return how far each asset's history has been fetched."""
    query = select(_MARKS).where(_MARKS.c.market == market)
    rows = connection.execute(query).mappings().all()
    return {row["asset"]: record(FetchMark, row) for row in rows}


def save_marks(connection: Connection, found: Sequence[FetchMark]) -> None:
    """Store marks; the one of an asset replaces what was stored."""
    upsert(connection, FetchMark, [mark.model_dump() for mark in found])


def hold(
    connection: Connection,
    market: str,
    digest: str,
    *,
    session: date,
    joined: Sequence[str],
    left: Sequence[str],
    now: datetime,
) -> None:
    """Note a change of members that waits for an operator; one that is known already stays."""
    known = select(_HELD.c.digest).where(_HELD.c.market == market, _HELD.c.digest == digest)
    if connection.execute(known).first() is None:
        connection.execute(
            insert(_HELD),
            {
                "market": market,
                "digest": digest,
                "session": session,
                "joined": list(joined),
                "left": list(left),
                "held_at": now,
            },
        )


def held(connection: Connection, market: str) -> list[HeldChange]:
    """Return every change that was held, oldest first."""
    query = select(_HELD).where(_HELD.c.market == market).order_by(_HELD.c.held_at)
    return [record(HeldChange, row) for row in connection.execute(query).mappings().all()]


def confirm(connection: Connection, market: str, digest: str, now: datetime) -> bool:
    """Confirm a held change; return False when no such change waits."""
    done = connection.execute(
        update(_HELD).where(
            _HELD.c.market == market, _HELD.c.digest == digest, _HELD.c.applied_at.is_(None)
        ),
        {"confirmed_at": now},
    )
    return done.rowcount == 1


def applied(connection: Connection, market: str, digest: str, now: datetime) -> None:
    """Note that a confirmed change has been made."""
    connection.execute(
        update(_HELD).where(_HELD.c.market == market, _HELD.c.digest == digest),
        {"applied_at": now},
    )


def bars_by_cause(connection: Connection, market: str) -> dict[str, int]:
    """Return how many bars were written for each cause."""
    query = (
        select(_VINTAGES.c.cause, func.sum(_VINTAGES.c.n_rows))
        .where(_VINTAGES.c.market == market)
        .group_by(_VINTAGES.c.cause)
    )
    return {cause: int(bars) for cause, bars in connection.execute(query)}


def by_month(connection: Connection, market: str) -> list[Month]:
    """Return vintages and bars by month of receipt and cause, in order of month."""
    query = select(_VINTAGES.c.known_at, _VINTAGES.c.cause, _VINTAGES.c.n_rows).where(
        _VINTAGES.c.market == market
    )
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for known_at, cause, n_rows in connection.execute(query):
        key = (f"{known_at:%Y-%m}", cause)
        n, bars = counts.get(key, (0, 0))
        counts[key] = (n + 1, bars + n_rows)
    return [Month(*key, *counts[key]) for key in sorted(counts)]


def sources(connection: Connection, market: str) -> Mapping[str, int]:
    """Return how many vintages came from each source."""
    query = (
        select(_VINTAGES.c.source, func.count())
        .where(_VINTAGES.c.market == market)
        .group_by(_VINTAGES.c.source)
    )
    return {source: int(n) for source, n in connection.execute(query)}


def append_switches(connection: Connection, found: Sequence[ProviderSwitch]) -> None:
    """Store changes of series from one provider to another, with the bars they brought."""
    rows = [switch.model_dump(exclude={"number"}) for switch in found]
    if rows:
        connection.execute(insert(_SWITCHES), rows)


def switches(connection: Connection, market: str) -> list[ProviderSwitch]:
    """Return every change of a series from one provider to another, oldest first."""
    query = select(_SWITCHES).where(_SWITCHES.c.market == market).order_by(_SWITCHES.c.number)
    return [record(ProviderSwitch, row) for row in connection.execute(query).mappings().all()]
