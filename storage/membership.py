"""Constituents by date: who belonged to the index on which day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from sqlalchemy import Connection, func, insert, select

from signals.errors import MembershipError
from signals.panel import BoolArray, SessionArray
from storage.tables import Constituent, table

_CONSTITUENTS = table(Constituent)
_ASSET_NAMES = ("asset", "symbol", "code", "instrument")
_FORMAT_HINT = "columns asset, start_date, end_date (empty: still a member), in CSV or Parquet"


class Spell(NamedTuple):
    """One asset's membership from `start` to `end`, both included; None has no end yet."""

    asset: str
    start: date
    end: date | None


def read_membership(path: Path) -> tuple[Spell, ...]:
    """Return the spells of a file, ordered by asset and start.

    Parameters
    ----------
    path : Path
        CSV or Parquet with a column `asset` (or `symbol`, `code`, `instrument`), read as text so
        that leading zeros stay, `start_date` and `end_date`. A column called `name` or `…basis` is
        ignored.

    Raises
    ------
    MembershipError
        Unreadable, empty, other columns, a spell that ends before it starts, or two that overlap.
    """
    try:
        content = _load(path)
    except (OSError, pa.ArrowException) as exc:
        raise MembershipError(f"{path} cannot be read: {exc}", hint=_FORMAT_HINT) from exc
    names = [name for name in content.column_names if name in _ASSET_NAMES]
    known = {*names, "start_date", "end_date"}
    odd = [
        name
        for name in content.column_names
        if name not in known and name != "name" and "basis" not in name
    ]
    if len(names) != 1 or not known <= set(content.column_names) or odd:
        raise MembershipError(
            f"{path} has the columns {', '.join(content.column_names)}",
            rule=f"one of {', '.join(_ASSET_NAMES)}; start_date; end_date; nothing unknown",
            hint=_FORMAT_HINT,
        )
    if not pa.types.is_string(content.schema.field(names[0]).type):
        raise MembershipError(
            f"{path}: column {names[0]} holds {content.schema.field(names[0]).type}",
            rule="assets are text: a number has lost its leading zeros",
            hint=f"write {names[0]} as a string column",
        )
    columns = (content[names[0]], content["start_date"], content["end_date"])
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    spells = [
        Spell(_text(path, line, asset), _day(path, line, start), _end(path, line, end))
        for line, (asset, start, end) in enumerate(rows, start=2)
    ]
    return check_spells(spells, str(path))


def check_spells(spells: Sequence[Spell], source: str) -> tuple[Spell, ...]:
    """Return spells in order, or raise a MembershipError naming asset and spells at fault."""
    if not spells:
        raise MembershipError(
            f"{source} has no spell",
            rule="a membership names at least one member",
            hint="leave `membership` unset to take every asset with a bar",
        )
    ordered = tuple(sorted(spells, key=lambda spell: (spell.asset, spell.start)))
    for spell in ordered:
        if spell.end is not None and spell.end < spell.start:
            raise MembershipError(
                f"{source}: {_say(spell)} ends before it starts",
                rule="end_date is the last day of membership",
                hint="correct the spell",
            )
    for earlier, later in pairwise(ordered):
        if earlier.asset == later.asset and (earlier.end is None or earlier.end >= later.start):
            raise MembershipError(
                f"{source}: {_say(earlier)} overlaps {_say(later)}",
                rule="the spells of one asset do not overlap",
                hint="merge the two spells, or end the first the day before the second starts",
            )
    return ordered


def save(
    connection: Connection, market: str, spells: Sequence[Spell], source: str, known_at: datetime
) -> bool:
    """Store a membership as known from now on; return False when it is the one stored already.

    Earlier ones are kept: `load` finds what was known at any time.
    """
    ordered = check_spells(spells, source)
    if load(connection, market).spells == ordered:
        return False
    connection.execute(
        insert(_CONSTITUENTS),
        [
            {
                "market": market,
                "known_at": known_at,
                "asset": spell.asset,
                "start_date": spell.start,
                "end_date": spell.end,
                "source": source,
            }
            for spell in ordered
        ],
    )
    return True


def load(connection: Connection, market: str, as_of: datetime | None = None) -> Membership:
    """Return the membership of a market known last (at `as_of`); without one everybody belongs."""
    newest = select(func.max(_CONSTITUENTS.c.known_at)).where(_CONSTITUENTS.c.market == market)
    if as_of is not None:
        newest = newest.where(_CONSTITUENTS.c.known_at <= as_of)
    columns = (_CONSTITUENTS.c.asset, _CONSTITUENTS.c.start_date, _CONSTITUENTS.c.end_date)
    query = select(*columns).where(
        _CONSTITUENTS.c.market == market, _CONSTITUENTS.c.known_at == newest.scalar_subquery()
    )
    return Membership([Spell(*row) for row in connection.execute(query)])


def first_known(connection: Connection, market: str) -> datetime | None:
    """Return when a membership of a market became known first, None when none did."""
    query = select(func.min(_CONSTITUENTS.c.known_at)).where(_CONSTITUENTS.c.market == market)
    return connection.execute(query).scalar()


def universe(
    connection: Connection, market: str, sessions: SessionArray, assets: Sequence[str]
) -> BoolArray:
    """Return who belonged when; shape (n_sessions, n_assets)."""
    return load(connection, market).universe(sessions, assets)


def member_count(connection: Connection, market: str, session: date) -> int | None:
    """Return how many members a session has, None without a membership."""
    return load(connection, market).count(session)


class Membership:
    """Spells, ready to be asked.

    Parameters
    ----------
    spells : sequence of Spell
        Empty means that every asset belongs at all times.
    """

    def __init__(self, spells: Sequence[Spell]) -> None:
        self.spells = tuple(sorted(spells, key=lambda spell: (spell.asset, spell.start)))
        self._by_asset: dict[str, list[tuple[np.datetime64, np.datetime64]]] = {}
        for spell in self.spells:
            end = date.max if spell.end is None else spell.end
            pair = (np.datetime64(spell.start, "D"), np.datetime64(end, "D"))
            self._by_asset.setdefault(spell.asset, []).append(pair)

    def universe(self, sessions: SessionArray, assets: Sequence[str]) -> BoolArray:
        """Return who belonged when; shape (n_sessions, n_assets).

        Parameters
        ----------
        sessions : ndarray of datetime64[D], shape (n_sessions,)
            Ascending.
        assets : sequence of str, length n_assets
        """
        if not self.spells:
            return np.ones((len(sessions), len(assets)), dtype=np.bool_)
        belongs = np.zeros((len(sessions), len(assets)), dtype=np.bool_)
        owners: list[int] = []
        bounds: list[tuple[np.datetime64, np.datetime64]] = []
        for column, asset in enumerate(assets):
            for pair in self._by_asset.get(asset, ()):
                owners.append(column)
                bounds.append(pair)
        if bounds:
            limits = np.array(bounds, dtype="datetime64[D]")
            starts = np.searchsorted(sessions, limits[:, 0])
            stops = np.searchsorted(sessions, limits[:, 1], side="right")
            for column, start, stop in zip(owners, starts, stops, strict=True):
                belongs[start:stop, column] = True
        return belongs

    def count(self, session: date) -> int | None:
        """Return how many assets belonged on a session, None without spells."""
        if not self.spells:
            return None
        return len(self.members(session))

    def anyone(self, first: date, last: date) -> tuple[str, ...]:
        """Return who belonged on any day from `first` to `last`, in order of name."""
        found = {
            spell.asset
            for spell in self.spells
            if spell.start <= last and (spell.end is None or first <= spell.end)
        }
        return tuple(sorted(found))

    def members(self, session: date) -> tuple[str, ...]:
        """Return who belonged on a session, in order of name."""
        return tuple(
            spell.asset
            for spell in self.spells
            if spell.start <= session and (spell.end is None or session <= spell.end)
        )


def _load(path: Path) -> Any:
    if path.suffix.lower() == ".parquet":
        return pq.ParquetFile(path).read()
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig").strip()
    names = [name.strip().strip('"') for name in header.split(",")]
    return pcsv.read_csv(
        path,
        convert_options=pcsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _say(spell: Spell) -> str:
    return f"{spell.asset} {spell.start}…{spell.end or 'open'}"


def _text(path: Path, line: int, value: Any) -> str:
    if not value:
        raise MembershipError(f"{path}, line {line}: no asset", hint=_FORMAT_HINT)
    return str(value)


def _day(path: Path, line: int, value: Any) -> date:
    try:
        return value if type(value) is date else date.fromisoformat(str(value)[:10])
    except ValueError as exc:
        raise MembershipError(
            f"{path}, line {line}: {value!r} is no date", rule="dates are YYYY-MM-DD"
        ) from exc


def _end(path: Path, line: int, value: Any) -> date | None:
    return None if value in (None, "") else _day(path, line, value)
