"""Metrics of the factors of a market, of all of them together, and of the published score."""

from __future__ import annotations

import bisect
import math
from datetime import date

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from daemon.context import Market
from daemon.metrics.sheet import Sheet
from signals.book_decay import BookVerdict
from signals.decay import Verdict
from signals.errors import DataError
from signals.ic import hac_lags, mean_with_interval
from storage import glance, history, tallies
from storage.tables import FactorState, StageRun
from storage.tallies import LiveFactor

#: Sessions of the means.
RECENT_SESSIONS = 60


class Books:
    """The series of each market's book, as of its last observation or move of a factor.

    They are most of what is scraped, and nothing else changes them.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, ...], Sheet]] = {}

    def add(
        self, conn: Connection, market: Market, observed: StageRun | None, sheet: Sheet
    ) -> None:
        """Write the series of a market's book."""
        key = (tallies.last_move(conn, market.name), *run_key(observed))
        known = self._known.get(market.name)
        if known is None or known[0] != key:
            known = key, Sheet()
            add_book(conn, market, observed, known[1])
            self._known[market.name] = known
        sheet.take(known[1])


def run_key(run: StageRun | None) -> tuple[object, ...]:
    """Return what tells a run from every other one of its stage."""
    return () if run is None else (run.session, run.revision, run.finished_at)


def add_book(conn: Connection, market: Market, observed: StageRun | None, sheet: Sheet) -> None:
    """Write how the book stands; only live factors have series of their own."""
    name = market.name
    states = glance.factor_counts(conn, name)
    for state in FactorState:
        sheet.add("factors", states.get(state, 0), name, state)
    live = tallies.live_factors(conn, name)
    for factor in live:
        if factor.verdict is not None and factor.evidence is not None and factor.threshold:
            ratio = factor.evidence / factor.threshold
            sheet.add("factor_evidence_ratio", ratio, name, factor.id)
            sheet.add_one_hot("factor_verdict", Verdict, factor.verdict, name, factor.id)
    together = tallies.last_book(conn, name)
    if together is not None:
        sheet.add("book_evidence_ratio", together.evidence / together.threshold, name)
        sheet.add_one_hot("book_verdict", BookVerdict, together.verdict, name)
    if observed is not None:
        add_ages(market, live, observed.session, sheet)
        add_means(conn, market, observed.session, sheet)


def add_ages(market: Market, live: list[LiveFactor], observed: date, sheet: Sheet) -> None:
    """Write for how many sessions each factor has been live, up to the last one observed."""
    dated = [(factor.id, factor.live_session) for factor in live if factor.live_session]
    if not dated:
        return
    first = min(since for _, since in dated)
    sessions = market.calendar.sessions(first, observed)
    for factor_id, since in dated:
        age = max(len(sessions) - bisect.bisect_left(sessions, since) - 1, 0)
        sheet.add("factor_age_sessions", age, market.name, factor_id)


def first_recent(market: Market, observed: date) -> date:
    """Return the first of the last sessions whose labels were realised by `observed`."""
    label = market.settings.label
    try:
        return market.calendar.previous_session(
            observed, label.lag + label.horizon + RECENT_SESSIONS - 1
        )
    except DataError:  # a calendar that begins later
        return date.min


def add_means(conn: Connection, market: Market, observed: date, sheet: Sheet) -> None:
    """Write the mean RankICs of live factors and of the score, and their t-statistics."""
    since = first_recent(market, observed)
    lags = hac_lags(RECENT_SESSIONS, horizon=market.settings.label.horizon)
    scores = history.score_ics(conn, market.name, since).rank_ic
    series: list[tuple[str, npt.NDArray[np.float64], tuple[str, ...]]]
    series = [("score_rank_ic", scores, (market.name,))]
    for factor, values in tallies.live_rank_ics(conn, market.name, since).items():
        series.append(("factor_rank_ic", values, (market.name, factor)))
    for family, values, labels in series:
        mean = mean_with_interval(values, lags=lags)
        if math.isfinite(mean.mean):  # thin sessions have no RankIC
            sheet.add(family, mean.mean, *labels)
        if math.isfinite(mean.t):
            sheet.add(f"{family}_tstat", mean.t, *labels)
