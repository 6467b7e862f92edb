"""From today's members and a table of changes, walked backwards, to spells of membership."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple

from daemon.constituents import Change
from storage.membership import Spell, check_spells

#: Days by which two statements of one addition may differ before it is said.
NEAR = timedelta(days=7)
_DAY = timedelta(days=1)


class Walk(NamedTuple):
    """Spells, and every inconsistency met on the way to them."""

    spells: tuple[Spell, ...]
    warnings: tuple[str, ...]


def spells_from_changes(
    today_members: Collection[str],
    changes: Iterable[Change],
    first: date,
    *,
    today: date,
    since: Mapping[str, date] | None = None,
) -> Walk:
    """Return membership spells by walking a table of changes backwards from today's list.

    Where the table contradicts itself or today's list, the change that cannot be is left out and
    named in a warning. A member that the table never adds starts on the day its own row states.

    Parameters
    ----------
    today_members : collection of str
        Without duplicates.
    changes : iterable of Change
        In any order; those up to `first` are not needed.
    first : date
        Where spells begin that nothing else begins.
    today : date
        The day of the list; later changes that it does not show yet are left for that day.
    since : mapping of str to date or None
        The day of addition that a member's own row states.

    Raises
    ------
    MembershipError
        There is no member.
    """
    walker = _Walker(today_members, first, today, since or {})
    by_day: dict[date, tuple[set[str], set[str]]] = {}
    for change in changes:
        if change.on > first:
            by_day.setdefault(change.on, (set(), set()))[0 if change.joined else 1].add(
                change.asset
            )
    for day in sorted(by_day, reverse=True):
        joined, left = by_day[day]
        for asset in sorted(joined & left):
            walker.warn(f"{asset} both joined and left on {day}: neither is taken")
        for asset in sorted(joined - left):
            walker.join(asset, day)
        for asset in sorted(left - joined):
            walker.leave(asset, day)
    return walker.finish()


class _Walker:
    """The members on the day the walk has come to, and the spells that begin after it."""

    def __init__(
        self, members: Collection[str], first: date, today: date, since: Mapping[str, date]
    ) -> None:
        self._ends: dict[str, date | None] = dict.fromkeys(members)
        self._first = first
        self._today = today
        self._since = since
        self._spells: list[Spell] = []
        self._warnings: list[str] = []

    def warn(self, text: str) -> None:
        self._warnings.append(text)

    def join(self, asset: str, day: date) -> None:
        if asset in self._ends:
            self._check_row(asset, day)
            self._spells.append(Spell(asset, day, self._ends.pop(asset)))
        elif day <= self._today:
            self.warn(
                f"{asset} joined on {day} and is no member after it, though nothing says when it "
                "left (renamed?): the addition is left out"
            )

    def leave(self, asset: str, day: date) -> None:
        if asset not in self._ends or self._begin_by_row(asset, day):
            self._ends[asset] = day - _DAY
        elif day <= self._today:
            self.warn(
                f"{asset} left on {day} and is a member after it, though nothing says when it "
                "returned: the departure is left out"
            )

    def finish(self) -> Walk:
        for asset in sorted(self._ends):
            if not self._begin_by_row(asset, self._first):
                self._spells.append(Spell(asset, self._first, self._ends[asset]))
        spells = check_spells(self._spells, "the table of changes")
        return Walk(spells, tuple(self._warnings))

    def _check_row(self, asset: str, day: date) -> None:
        stated = self._since.get(asset)
        if self._ends[asset] is None and stated is not None and abs(stated - day) > NEAR:
            self.warn(
                f"{asset} joined on {day} by the table of changes and on {stated} by its own row: "
                "the former is taken"
            )

    def _begin_by_row(self, asset: str, after: date) -> bool:
        """Begin today's spell of an asset where its own row says, if that is later than `after`."""
        start = self._since.get(asset)
        if self._ends[asset] is not None or start is None or start <= after:
            return False
        self.warn(
            f"{asset} is a member since {start} by its own row, and no addition is in the table "
            "of changes (renamed?): the row's date is taken"
        )
        self._spells.append(Spell(asset, start, self._ends.pop(asset)))
        return True
