"""Lists of index members and of their changes, and the faults that concern such lists."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import zip_longest
from typing import NamedTuple

from tests.standins.book import MarketBook
from tests.standins.faults import Fault


class Change(NamedTuple):
    """What an index change did on its effective date; "" where nothing came or went."""

    day: date
    added: str
    removed: str


def changes(book: MarketBook, until: date) -> list[Change]:
    """Return the changes of the index after the book's first session, latest first."""
    added: dict[date, list[str]] = {}
    removed: dict[date, list[str]] = {}
    after = dict(zip(book.days[:-1], book.days[1:], strict=True))
    for spell in book.spells:
        if book.days[0] < spell.start <= until:
            added.setdefault(spell.start, []).append(spell.asset)
        if spell.end is not None and spell.end in after and after[spell.end] <= until:
            removed.setdefault(after[spell.end], []).append(spell.asset)
    found = []
    for day in sorted({*added, *removed}, reverse=True):
        came, went = sorted(added.get(day, [])), sorted(removed.get(day, []))
        found += [Change(day, *pair) for pair in zip_longest(came, went, fillvalue="")]
    return found


def distort_members(
    members: tuple[str, ...], market: str, faults: Mapping[str, Fault]
) -> tuple[str, ...]:
    """Return the members as told: some twice, some absent, or many of them exchanged."""
    told = list(members)
    if "duplicate_constituents" in faults:
        n = min(20, len(told) // 2)
        told[len(told) - n :] = told[:n]
    if "short_constituents" in faults:
        told = told[: 3 * len(told) // 5]
    if "mass_change" in faults:
        n = min(40, len(told) // 2)
        told[:n] = [f"ZZ{chr(65 + k // 26)}{chr(65 + k % 26)}" for k in range(n)]
        if market == "cn":
            told[:n] = [f"{605900 + k}" for k in range(n)]
    return () if "empty" in faults else tuple(told)
