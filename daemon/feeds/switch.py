"""The change of a series from one provider to another, and the proof it needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow.compute as pc

from daemon.overlap import Overlap, overlap_check
from signals.errors import BarsError

#: Stored sessions of an asset that another provider is compared on; some may be suspended.
COMPARED = 90
#: Largest relative distance of two closes of the last session both have.
LEVEL_BOUND = 5e-4


#: Switches of one fetch that are told one by one.
NAMED = 5
#: The rule that an asset breaks which a second source may not take over.
PROVED = "another source goes on with a series only where it tells the same of the past"


@dataclass(frozen=True, slots=True)
class Switch:
    """An asset's bars come from another provider.

    Parameters
    ----------
    asset : str
    before, after : str
        The providers; `before` is "" where the series begins.
    session : date
        The first one whose bar is the new provider's.
    overlap : Overlap or None
        How the two agree; None where the series begins, and in one read back from the store.
    """

    asset: str
    before: str
    after: str
    session: date
    overlap: Overlap | None

    def __str__(self) -> str:
        if not self.before:
            return f"{self.asset} begins on {self.session} with {self.after}"
        text = f"{self.asset} comes from {self.after} instead of {self.before} since {self.session}"
        if self.overlap is None:
            return text
        return (
            f"{text}: {self.overlap.n_sessions} common sessions, returns within "
            f"{self.overlap.gap * 1e4:.2g} basis points"
        )


def told_switches(switches: Sequence[Switch]) -> tuple[str, ...]:
    """Return warnings: one for each of the first few switches, and how many there are beyond."""
    more = len(switches) - NAMED
    beyond = (f"{more} more assets come from {switches[-1].after} now",) if more > 0 else ()
    return (*map(str, switches[:NAMED]), *beyond)


#: The switches of each asset that has any, by session.
Switches = Mapping[str, tuple[Switch, ...]]


def provider_on(switches: tuple[Switch, ...], session: date, primary: str) -> str:
    """Return whose bar of a session an asset has.

    Parameters
    ----------
    switches : tuple of Switch
        Of one asset, by session.
    primary : str
        Whose it is where no switch says otherwise.
    """
    made = [each for each in switches if each.session <= session]
    if made:
        return made[-1].after
    return (switches[0].before or switches[0].after) if switches else primary


def prove_overlap(stored: Any, rows: Any) -> Overlap:
    """Return how another provider's rows of an asset agree with what is stored of it.

    Parameters
    ----------
    stored, rows : pyarrow.Table
        Of the same asset, in `storage.bars.BAR_SCHEMA`, by session. The last `COMPARED` stored rows
        count.

    Raises
    ------
    BarsError
        They do not: see `daemon.overlap.overlap_check`; or the closes of the last common session
        differ by more than `LEVEL_BOUND`, so that the next return would be wrong.
    """
    stored = stored.slice(max(stored.num_rows - COMPARED, 0))
    overlap = overlap_check(stored, rows)
    closes = [_closes(table) for table in (stored, rows)]
    day = max(closes[0].keys() & closes[1].keys())
    ours, theirs = closes[0][day], closes[1][day]
    if not np.abs(theirs / ours - 1.0) <= LEVEL_BOUND:
        raise BarsError(
            f"{overlap.asset} closes at {ours:g} on {day} in one source and at {theirs:g} in the "
            "other",
            rule="prices are as traded, the same in every source",
            hint="keep the first source for this asset, or load its whole history from the second",
        )
    return overlap


def _closes(table: Any) -> dict[date, float]:
    """Return the close of each session that traded."""
    traded = table.filter(pc.invert(table.column("suspended")))
    columns = (traded.column(name).to_pylist() for name in ("session", "close"))
    return dict(zip(*columns, strict=True))
