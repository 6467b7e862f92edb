"""A book's verdict explained: how many factors are hit, and whose decay a factor's decay is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from signals.book_decay import MIN_LIVE, BookState, BookVerdict, overlaps
from signals.decay import MonitorState, Verdict
from signals.panel import FloatArray

#: Part of the live factors below half of their mean from which on it is all of them: noise leaves a
#: few of the dead above it, and puts as many of the living below.
BROAD = 2 / 3


class Extent(StrEnum):
    """How many factors are hit."""

    NONE = "none"
    ONE = "one factor alone"
    SEVERAL = "several"
    TOGETHER = "all together"


class Attribution(StrEnum):
    """Whose decay a factor's `decayed` is."""

    OWN = "own"
    WITH_THE_BOOK = "with the book"


@dataclass(frozen=True, slots=True)
class Breadth:
    """How many live factors stand below half of their tested mean since the book's onset.

    Parameters
    ----------
    weak, counted, live : int
        Those that do, those with an IC since the onset, and all; the first two are 0 without onset.
    """

    weak: int
    counted: int
    live: int

    @property
    def share(self) -> float:
        """Part of those counted that are weak, 0 where none is counted."""
        return self.weak / self.counted if self.counted else 0.0


def breadth(state: BookState, ics: FloatArray, monitors: Sequence[MonitorState]) -> Breadth:
    """Return how many of the live factors are weak since the onset the book's CUSUM estimates.

    Parameters
    ----------
    ics : ndarray of shape (n_sessions, n_factors)
        ICs that end with the last session `state` has seen, a column for each of `monitors`; NaN is
        skipped, and rows without any IC do not count as sessions.
    """
    seen = ics[np.isfinite(ics).any(axis=1)]
    since = seen[max(len(seen) - state.onset_ago, 0) :]
    means = [column[np.isfinite(column)].mean() for column in since.T if np.isfinite(column).any()]
    halves = [
        monitor.mean / 2
        for monitor, column in zip(monitors, since.T, strict=True)
        if np.isfinite(column).any()
    ]
    weak = sum(bool(mean < half) for mean, half in zip(means, halves, strict=True))
    return Breadth(weak, len(means), len(monitors))


def attribution(monitor: MonitorState, state: BookState, found: Breadth) -> Attribution:
    """Return whether a factor's `decayed` is its own or comes with the book.

    With the book: the book is `weakening`, at least two thirds of its factors are weak since its
    onset, and the factor's own onset lies no more than 60 sessions before it.
    """
    broad = state.verdict is BookVerdict.WEAKENING and found.share >= BROAD
    return Attribution.WITH_THE_BOOK if broad and overlaps(monitor, state) else Attribution.OWN


@dataclass(frozen=True, slots=True)
class BookExplanation:
    """The book's verdict with what speaks for it; `pooled` and `expected` are mean ICs now."""

    verdict: BookVerdict
    extent: Extent
    sentence: str
    evidence: float
    threshold: float
    recovery: float
    onset_ago: int
    pooled: float
    expected: float
    breadth: Breadth
    decayed: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self) | {"verdict": self.verdict.value, "extent": self.extent.value}


def explain_book(
    state: BookState, ics: FloatArray, monitors: Sequence[MonitorState]
) -> BookExplanation:
    """Explain the book's verdict, and whether one factor, several or all together are hit.

    Parameters
    ----------
    ics : ndarray of shape (n_sessions, n_factors)
        As for `breadth`: at least the last ``state.onset_ago`` sessions.
    monitors : sequence of MonitorState
        Of the live factors, after the last session.
    """
    found = breadth(state, ics, monitors)
    decayed = sum(monitor.standing is Verdict.DECAYED for monitor in monitors)
    extent = _extent(state, found, decayed)
    return BookExplanation(
        verdict=state.verdict,
        extent=extent,
        sentence=_sentence(state, extent, found, decayed),
        evidence=state.evidence,
        threshold=state.threshold,
        recovery=state.recovery,
        onset_ago=state.onset_ago,
        pooled=state.pooled,
        expected=state.expected,
        breadth=found,
        decayed=decayed,
    )


def _extent(state: BookState, found: Breadth, decayed: int) -> Extent:
    if state.verdict is BookVerdict.WEAKENING:
        return Extent.TOGETHER if found.share >= BROAD else Extent.SEVERAL
    return (Extent.NONE, Extent.ONE, Extent.SEVERAL)[min(decayed, 2)]


def _sentence(state: BookState, extent: Extent, found: Breadth, decayed: int) -> str:
    live, since = found.live, f"since about {state.onset_ago} sessions"
    means = f"the pooled mean RankIC is {state.pooled:.4f} where {state.expected:.4f} was expected"
    weak = f"{found.weak} of {found.counted} factors stand below half of their mean {since}"
    if live < MIN_LIVE:
        return f"{live} live factors: a book of fewer than {MIN_LIVE} is not judged as one."
    if extent is Extent.TOGETHER:
        return (
            f"All together: {means}, {weak}. That points to the data or the "
            "regime rather than one factor: look at the data before replacing any."
        )
    if extent is Extent.SEVERAL and state.verdict is BookVerdict.WEAKENING:
        return f"Several: {means}, but only {weak}."
    if extent is Extent.SEVERAL:
        return f"Several: {decayed} of {live} factors have decayed, each on its own; {means}."
    if extent is Extent.ONE:
        return f"One factor alone of {live} has decayed; {means}."
    return f"None of {live} factors has decayed; {means}."
