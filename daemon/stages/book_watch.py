"""The book-level test: whether all factors weaken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daemon.stages.book import Factor
from daemon.stages.measure import Measured, joined
from signals.book_decay import (
    MIN_LIVE,
    BookState,
    start_book,
    update_book,
    with_members,
)
from signals.book_explanation import BookExplanation, explain_book
from signals.decay import MonitorState
from signals.errors import DataError
from signals.panel import FloatArray
from signals.watch import Watch
from storage.history import ICSeries
from storage.tables import BookRecord


@dataclass(frozen=True)
class BookWatch:
    """A market's book-level test after a session.

    Parameters
    ----------
    state : BookState
    members : tuple of str
        Live factors its variance and kappa were taken of.
    told : BookExplanation
        What it says, and of whom.
    """

    state: BookState
    members: tuple[str, ...]
    told: BookExplanation

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "state": self.state.to_json(),
            "members": list(self.members),
            "told": self.told.to_json(),
        }


#: Sessions whose RankICs give the variance of a book that begins, or has changed.
PAST = 500


def rows_needed(before: BookRecord | None, live: Sequence[Factor]) -> int:
    """Return how many sessions of RankICs `watch_book` has to be given."""
    names = tuple(factor.id for factor in live if factor.watch is not None)
    if len(names) < MIN_LIVE:
        return 0
    state, same = stored(before, names)
    return state.onset_ago + 1 if state is not None and same else PAST


def watch_book(
    before: BookRecord | None,
    live: Sequence[Factor],
    watches: Mapping[str, Watch],
    known: Mapping[str, ICSeries],
    new: Mapping[str, Measured],
    sessions_per_false_alarm: int,
) -> BookWatch | None:
    """Return the test after the raw RankICs of one more session; None while there is no book.

    Parameters
    ----------
    before : BookRecord or None
        As stored after the last session.
    live : sequence of Factor
        With their watches as they were before this session.
    watches : mapping of str to Watch
        As they are after it.
    known, new : mapping of str to ICSeries, to Measured
        RankICs stored, and those realised now.
    """
    watched = {f.id: standing(f.watch) for f in live if f.watch is not None}
    names, monitors = tuple(watched), list(watched.values())
    past = matrix(names, known, new)
    state, same = stored(before, names)
    try:
        if state is None:
            if len(names) < MIN_LIVE:
                return None
            state = start_book(
                past[:-1], monitors, sessions_per_false_alarm=sessions_per_false_alarm
            )
        elif not same:
            state = with_members(state, past[:-1], monitors)
    except DataError:  # too few sessions together: the next one tries again
        return None
    today = dict(zip(names, past[-1].tolist(), strict=True)) if len(past) else {}
    state = update_book(state, [(watched[name], today[name]) for name in names if name in today])
    after = [standing(watches[name]) if name in watches else watched[name] for name in names]
    return BookWatch(state, names, explain_book(state, past, after))


def standing(watch: Watch) -> MonitorState:
    """Return the test on the raw RankIC with the standing of both: the book pools what it reads."""
    return replace(watch.raw, standing=watch.standing, verdict=watch.standing)


def stored(before: BookRecord | None, names: tuple[str, ...]) -> tuple[BookState | None, bool]:
    """Return the state of the session before, and whether it was of the same members."""
    if before is None:
        return None, False
    state = BookState.from_json(before.state["state"])
    return state, tuple(before.state["members"]) == names


def matrix(
    names: Sequence[str], known: Mapping[str, ICSeries], new: Mapping[str, Measured]
) -> FloatArray:
    """Return the RankICs of the last sessions, shape (n_sessions, n_factors); NaN where missing."""
    series = [joined(known.get(name), new.get(name, [])) for name in names]
    days = np.unique(np.concatenate([each.sessions for each in series])) if series else ()
    whole = np.full((len(days), len(names)), np.nan)
    for column, each in enumerate(series):
        whole[np.searchsorted(days, each.sessions), column] = each.rank_ic
    return whole
