"""The book of a market as its page shows it: a card for each factor in it, a row for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from sqlalchemy import Connection

from daemon.context import Market
from daemon.course import SMOOTHING
from daemon.web.curves import Curve, build_curve
from signals.ic import MeanEstimate, hac_lags, mean_with_interval
from signals.panel import FloatArray
from storage import glance, history, registry
from storage.glance import Standing
from storage.history import ICSeries, StateCurve
from storage.tables import Factor, FactorState

#: Cards on a page, and rows of those that are no longer in the book.
CARDS, ROWS = 12, 25
#: Sessions a card looks back.
CARD_SESSIONS = 500
#: States of life in the book, in the order they are shown.
IN_BOOK = (FactorState.LIVE, FactorState.SHADOW, FactorState.CANDIDATE)
_PAST = (FactorState.RETIRED, FactorState.REJECTED)


@dataclass(frozen=True)
class Turn:
    """Which page of a list is shown."""

    page: int
    pages: int
    total: int

    @property
    def before(self) -> int | None:
        """The page before, None on the first."""
        return self.page - 1 if self.page > 1 else None

    @property
    def after(self) -> int | None:
        """The next page, None on the last."""
        return self.page + 1 if self.page < self.pages else None


@dataclass(frozen=True, eq=False)
class FactorCard:
    """One factor in the book.

    Parameters
    ----------
    factor : Factor
    standing : Standing or None
        None for one that is not watched.
    weight : float or None
        In the last publication; None where it is not in it.
    recent : MeanEstimate
        Of its last RankICs.
    curve : Curve
    """

    factor: Factor
    standing: Standing | None
    weight: float | None
    recent: MeanEstimate
    curve: Curve

    @property
    def strain(self) -> float | None:
        """Evidence over threshold: decayed at 1."""
        if self.standing is None:
            return None
        return self.standing.evidence / max(self.standing.threshold, 1.0)


@dataclass(frozen=True, eq=False)
class BookView:
    """A page of the book and a page of what has left it."""

    cards: Sequence[FactorCard]
    turn: Turn
    past: Sequence[tuple[Factor, Standing | None]]
    past_turn: Turn


def book_view(
    conn: Connection,
    market: Market,
    weights: Mapping[str, float],
    since: date | None,
    *,
    page: int,
    past_page: int,
) -> BookView:
    """Return a page of the book; nothing else of it is read.

    Parameters
    ----------
    weights : mapping of str to float
        Of the factors in the last publication.
    since : date or None
        The first session that is drawn.
    """
    states = dict(glance.factor_ids(conn, market.name))
    inside = [factor for state in IN_BOOK for factor, held in states.items() if held == state]
    outside = [factor for factor, held in states.items() if held in _PAST]
    turn, chosen = turned(inside, page, CARDS)
    past_turn, gone = turned(outside, past_page, ROWS)
    standing = glance.standings(conn, market.name, [*chosen, *gone])
    cards = []
    for factor in glance.some_factors(conn, market.name, chosen):
        series = history.ics(conn, market.name, factor.id, since)
        evidence = history.state_curve(conn, market.name, factor.id, since)
        marks = factor_marks(conn, market.name, factor.id, since)
        cards.append(
            FactorCard(
                factor,
                standing.get(factor.id),
                weights.get(factor.id),
                recent_mean(series.rank_ic, market.settings.label.horizon),
                factor_curve(factor.id, series, evidence, marks, market.settings.label.horizon),
            )
        )
    past = [(f, standing.get(f.id)) for f in glance.some_factors(conn, market.name, gone)]
    return BookView(cards, turn, past, past_turn)


def turned(ids: Sequence[str], page: int, size: int) -> tuple[Turn, Sequence[str]]:
    """Return which page is shown and what is on it; one too far is the last."""
    pages = max(1, -(-len(ids) // size))
    page = min(max(page, 1), pages)
    return Turn(page, pages, len(ids)), ids[(page - 1) * size : page * size]


def factor_curve(
    name: str,
    series: ICSeries,
    evidence: StateCurve,
    marks: Sequence[tuple[date, str]],
    horizon: int,
) -> Curve:
    """Return the curve of a factor's card."""
    return build_curve(
        f"RankIC of {name}, mean of {SMOOTHING} sessions",
        series.sessions,
        series.rank_ic,
        horizon=horizon,
        evidence_sessions=evidence.sessions,
        ratio=evidence.evidence / np.maximum(evidence.threshold, 1.0),
        marks=marks,
    )


def factor_marks(
    conn: Connection, market: str, factor: str, since: date | None
) -> list[tuple[date, str]]:
    """Return session and name of each change of state or verdict."""
    moves = registry.events(conn, market, factor, first=since)
    said = history.verdict_events(conn, market, factor, first=since)
    marks = [(move.session, move.to_state) for move in moves]
    marks += [(verdict.session, verdict.to_verdict) for verdict in said]
    return sorted(marks, key=lambda mark: mark[0])


def recent_mean(rank_ic: FloatArray, horizon: int) -> MeanEstimate:
    """Return the mean of the last RankICs with its interval."""
    tail = rank_ic[-SMOOTHING:]
    return mean_with_interval(tail, lags=hac_lags(max(len(tail), 1), horizon=horizon))
