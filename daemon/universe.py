"""Who belongs to an index, when: from a fetched list and its table of changes to spells.

Pure. A fetched list replaces nothing by itself: it is compared with what is known, and the past
stays as it was known. Too many changes at once are held until an operator confirms them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, NamedTuple

from daemon.constituents import Change, Constituents, Index, check_size
from daemon.universe_overrides import Override, apply_overrides, overridden
from daemon.universe_walk import spells_from_changes
from storage.membership import Membership, Spell, check_spells

#: More names than this changing at once are held for confirmation.
MAX_CHANGES = 20
#: Days by which a list's own date may lie back before it is called old.
MAX_LIST_AGE = 10
_DAY = timedelta(days=1)


class MembershipChange(NamedTuple):
    """Names that join and names that leave, each ordered."""

    joined: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that stand for exactly this change when it is confirmed."""
        text = "+".join(self.joined) + "-" + "-".join(self.left)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Universe:
    """The membership of an index and what must be said about it.

    Parameters
    ----------
    spells : tuple of Spell
        Ordered by asset and start.
    note : str
        How far the past can be trusted (survivorship), for manifest and report.
    """

    spells: tuple[Spell, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a fetched list did to a universe.

    Parameters
    ----------
    outcome : str
        "first", "unchanged", "changed", or "held": nothing changes until `change.digest` is
        confirmed.
    universe : Universe
        From now on; when held, as it was.
    change : MembershipChange
        What was applied or is held.
    message : str
        One line for an operator.
    warnings : tuple of str
        Inconsistencies, none of them resolved silently.
    """

    outcome: Literal["first", "unchanged", "changed", "held"]
    universe: Universe
    change: MembershipChange
    message: str
    warnings: tuple[str, ...]


def diff(known: Sequence[Spell], fetched: Collection[str], on: date) -> MembershipChange:
    """Return who joins and who leaves when `fetched` is the list on session `on`.

    Spells that begin later, or end on `on` or later, are announced changes and not made twice.
    """
    here = {spell.asset for spell in known if spell.end is None and spell.start <= on}
    announced = {
        spell.asset for spell in known if spell.start > on or (spell.end and spell.end >= on)
    }
    wanted = set(fetched)
    return MembershipChange(tuple(sorted(wanted - here - announced)), tuple(sorted(here - wanted)))


def refresh(
    index: Index,
    known: Sequence[Spell],
    fetched: Constituents,
    *,
    on: date,
    previous: date,
    first: date,
    since: date | None = None,
    overrides: Sequence[Override] = (),
    confirmed: str | None = None,
) -> Refreshed:
    """Return the universe after a list was fetched.

    A new name belongs from the session on which it is first seen, a name that is gone belonged to
    the session before; a table of changes that announces a later day is followed. What is known of
    the past is never rewritten, except by the operator's overrides, which come last.

    Parameters
    ----------
    known : sequence of Spell
        As stored; empty at the first fetch.
    on, previous : date
        The session on which the list counts and the one before it.
    first : date
        First day of the market's bars: where the walk back ends.
    since : date or None
        Day of the first fetch, None when this is the first.
    overrides : sequence of Override
        Their names do not count towards `MAX_CHANGES`.
    confirmed : str or None
        Digest of a change that an operator has confirmed.

    Raises
    ------
    MembershipError
        Another number of members than the index has.
    """
    check_size(index, fetched.members)
    warnings = [*fetched.warnings, *_age(index, fetched, on)]
    note = survivorship(index, first, since or on, fetched.changes)
    if not known:
        walk = spells_from_changes(
            fetched.members, fetched.changes, first, today=on, since=fetched.since
        )
        warnings += [*walk.warnings, *_sizes(index, walk.spells, fetched.changes, first, on)]
        universe = Universe(apply_overrides(walk.spells, overrides), note)
        message = f"{len(fetched.members)} members of the {index.title} were fetched. {note}"
        return Refreshed("first", universe, MembershipChange((), ()), message, tuple(warnings))
    forced = overridden(overrides, on)
    wanted = {asset for asset in fetched.members if forced.get(asset, True)}
    wanted |= {asset for asset, member in forced.items() if member}
    change = diff(known, wanted, on)
    named = f"{len(change.joined)} join, {len(change.left)} leave"
    own = {override.asset for override in overrides}
    counted = [asset for asset in (*change.joined, *change.left) if asset not in own]
    if len(counted) > MAX_CHANGES and confirmed != change.digest:
        message = (
            f"the {index.title} would change by {len(counted)} names at once ({named}), more than "
            f"{MAX_CHANGES}: held, nothing changes until change {change.digest} is confirmed; "
            "a regular review of the CSI 500, in June and December, is that large"
        )
        held = Universe(tuple(known), note)
        return Refreshed("held", held, change, message, tuple(warnings))
    warnings += _late(change, fetched.changes, on)
    spells = apply_overrides(_advance(known, change, fetched.changes, on, previous), overrides)
    outcome: Literal["unchanged", "changed"] = (
        "unchanged" if spells == tuple(sorted(known)) else "changed"
    )
    names = " ".join((*(f"+{a}" for a in change.joined), *(f"-{a}" for a in change.left)))
    message = f"the {index.title} on {on}: {named} {names}".rstrip()
    return Refreshed(outcome, Universe(spells, note), change, message, tuple(warnings))


def survivorship(index: Index, first: date, since: date, changes: Sequence[Change] = ()) -> str:
    """Return what must be said of an index's membership before the day of the first fetch."""
    if not changes:
        return (
            f"Before {since} the history of the {index.title} is unknown: the members of that day "
            "stand for every earlier session (survivorship bias)."
        )
    begin = max(first, min(change.on for change in changes))
    return (
        f"Before {since} the {index.title} is today's list walked back through a public table of "
        f"changes to {begin}; under old tickers, and of names no source has bars of any longer, "
        "the past is incomplete (survivorship bias)."
    )


def _advance(
    known: Sequence[Spell],
    change: MembershipChange,
    announced: Sequence[Change],
    on: date,
    previous: date,
) -> tuple[Spell, ...]:
    """Return the spells once a change is made, on the announced day where that is still ahead."""
    ahead = {(each.asset, each.joined): each.on for each in announced if each.on > on}
    spells = [Spell(asset, ahead.get((asset, True), on), None) for asset in change.joined]
    for spell in known:
        if spell.asset in change.left and spell.end is None:
            last = ahead.get((spell.asset, False), previous + _DAY) - _DAY
            if last >= spell.start:  # else it came and went within one session
                spells.append(spell._replace(end=last))
        else:
            spells.append(spell)
    return check_spells(spells, "the refreshed list")


def _late(change: MembershipChange, stated: Sequence[Change], on: date) -> list[str]:
    """Return a warning for each name that joined, by the table of changes, before it was seen."""
    days = {each.asset: each.on for each in sorted(stated) if each.joined and each.on < on}
    return [
        f"{asset} joined on {days[asset]} by the table of changes and counts from {on}, when it "
        "was first seen"
        for asset in change.joined
        if asset in days
    ]


def _age(index: Index, fetched: Constituents, on: date) -> list[str]:
    if fetched.dated is None or (on - fetched.dated).days <= MAX_LIST_AGE:
        return []
    return [f"the list of the {index.title} fetched on {on} is dated {fetched.dated}: it is old"]


def _sizes(
    index: Index, spells: Sequence[Spell], changes: Sequence[Change], first: date, on: date
) -> list[str]:
    """Return a warning where the walk back arrives at another number of members."""
    membership = Membership(spells)
    days = sorted({first, *(change.on for change in changes if first < change.on <= on)})
    counts = {day: membership.count(day) or 0 for day in days}
    odd = {day: n for day, n in counts.items() if not index.fewest <= n <= index.most}
    if not odd:
        return []
    text = (
        f"on {len(odd)} of {len(days)} days with changes the walk back has another number of "
        f"members than {index.fewest} to {index.most}: {min(odd.values())} to "
        f"{max(odd.values())}, from {min(odd)} to {max(odd)}"
    )
    return [text]
