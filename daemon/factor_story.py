"""Everything there is to tell of a factor, read from database and bars; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from daemon.context import Context, Market
from daemon.settings import MarketSettings
from daemon.stages.book import parsed, stored_panel, tail_with_universe
from signals.decay import MonitorState
from signals.evaluate import evaluate
from signals.explanation import Explanation, TwoExplanations, explain
from signals.horizons import HORIZONS, RECENT, HorizonEstimate, rank_ic_by_horizon
from signals.operators import lookback
from signals.panel import FloatArray, Panel, SessionArray
from signals.turnover import Turnover, mean_turnover
from signals.watch import Watch
from storage import history, jobs, ledger, registry
from storage.history import ICSeries, MonitoredSeries, StateCurve
from storage.tables import (
    BookRecord,
    Factor,
    FactorEvent,
    FactorState,
    MonitorRecord,
    RemineJob,
    VerdictEvent,
)


@dataclass(frozen=True)
class ToldTest:
    """One test of a factor: its explanation, with sessions for ICs counted back.

    Parameters
    ----------
    explanation : Explanation
        Of the test.
    onset : tuple of (date, date, date) or None
        Earliest, middle and latest session of the onset (80 % interval); None without one.
    """

    explanation: Explanation
    onset: tuple[date, date, date] | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        days = None if self.onset is None else [day.isoformat() for day in self.onset]
        return self.explanation.to_json() | {"onset_sessions": days}


@dataclass(frozen=True)
class Measures:
    """What a factor's values say today: RankIC by horizon, and turnover of the last sessions."""

    horizons: tuple[HorizonEstimate, ...]
    turnover: Turnover

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {
            "rank_ic_by_horizon": [row.to_json() for row in self.horizons],
            "turnover": self.turnover.to_json(),
        }


@dataclass(frozen=True, eq=False)
class FactorStory:
    """One factor: where it comes from, how it stands, why, and what happened to it.

    Parameters
    ----------
    factor : Factor
        Its row of the registry.
    settings : MarketSettings
        Of its market.
    verdict : str or None
        What its monitor said last; None for one that was never watched.
    raw, monitored : ToldTest or None
        The tests on its RankIC, as it is and freed of styles and peers.
    leading : ToldTest or None
        The one the verdict rests on.
    reading : str or None
        What both say together.
    book : str or None
        What the book-level test says; None while there is no book, or it is not live.
    measures : Measures or None
        None where its values were not asked for, or there are no bars.
    series, freed : ICSeries, MonitoredSeries
        Its RankICs and monitored RankICs.
    curve : StateCurve
        The course of its evidence.
    moves, verdicts : list
        Changes of state and of verdict.
    job : RemineJob or None
        The last re-mining it gave cause to.
    """

    factor: Factor
    settings: MarketSettings
    verdict: str | None
    raw: ToldTest | None
    monitored: ToldTest | None
    leading: ToldTest | None
    reading: str | None
    book: str | None
    measures: Measures | None
    series: ICSeries
    freed: MonitoredSeries
    curve: StateCurve
    moves: list[FactorEvent]
    verdicts: list[VerdictEvent]
    job: RemineJob | None

    @property
    def events(self) -> list[tuple[date, str, str]]:
        """Session, event and reason of every change, in order of session."""
        rows = [
            (m.session, f"{m.from_state or 'new'} → {m.to_state}", m.rule)
            if m.from_state != m.to_state
            else (m.session, f"{m.to_state} as before", m.rule)
            for m in self.moves
        ]
        rows += [
            (v.session, f"{v.from_verdict} → {v.to_verdict}", (v.evidence or {}).get("reason", ""))
            for v in self.verdicts
        ]
        return sorted(rows, key=lambda row: row[0])

    @property
    def marks(self) -> list[tuple[date, str]]:
        """Session and name of every change of state or verdict, in order of session."""
        states = [(m.session, m.to_state) for m in self.moves if m.from_state != m.to_state]
        said = [(verdict.session, verdict.to_verdict) for verdict in self.verdicts]
        return sorted(states + said, key=lambda row: row[0])

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values, without the curves."""
        tests = {"monitored": self.monitored, "raw": self.raw}
        return {
            "factor": self.factor.id,
            "origin": self.factor.origin,
            "state": self.factor.state,
            "verdict": self.verdict,
            "expression": self.factor.expression,
            "hypothesis": self.factor.hypothesis,
            "tests": {name: test.to_json() for name, test in tests.items() if test is not None},
            "reading": self.reading,
            "book": self.book,
            **(self.measures.to_json() if self.measures is not None else {}),
            "events": [
                {"session": day.isoformat(), "event": what, "why": why}
                for day, what, why in self.events
            ],
        }


def factor_stories(
    context: Context, market: Market, chosen: Iterable[str] | None = None, *, measured: bool = True
) -> list[FactorStory]:
    """Return the stories of some factors of a market (all that were ever live when None), by id.

    Parameters
    ----------
    measured : bool
        Whether their values are computed too, for RankIC by horizon and turnover.
    """
    with context.database.read() as conn:
        wanted = None if chosen is None else set(chosen)
        factors = [
            factor
            for factor in registry.factors(conn, market.name)
            if (factor.live_session is not None if wanted is None else factor.id in wanted)
        ]
        last = ledger.last_session(conn, market.name, "ingest")
        known = jobs.jobs(conn, market.name)
        together = history.last_book_state(conn, market.name)
        states = {f.id: history.last_state(conn, market.name, f.id) for f in factors}
        series = {f.id: history.ics(conn, market.name, f.id) for f in factors}
        freed = {f.id: history.monitored_ics(conn, market.name, f.id) for f in factors}
        curves = {f.id: history.state_curve(conn, market.name, f.id) for f in factors}
        moves = {f.id: registry.events(conn, market.name, f.id) for f in factors}
        verdicts = {f.id: history.verdict_events(conn, market.name, f.id) for f in factors}
        seen = {
            f.id: history.ics(conn, market.name, f.id, realised_by=state.session)
            for f in factors
            if (state := states[f.id]) is not None
        }
    measures = measure(context, market, factors, moves, last) if measured and last else {}
    stories = []
    for factor in factors:
        name, state = factor.id, states[factor.id]
        raw, monitored, reading = None, None, None
        if state is not None:
            raw, monitored, reading = told(market, state, seen[name], freed[name])
        pair = [test for test in (monitored, raw) if test is not None]
        stories.append(
            FactorStory(
                factor=factor,
                settings=market.settings,
                verdict=state.verdict if state else None,
                raw=raw,
                monitored=monitored,
                leading=leading_of(pair),
                reading=reading,
                book=said_of_book(factor, together),
                measures=measures.get(name),
                series=series[name],
                freed=freed[name],
                curve=curves[name],
                moves=moves[name],
                verdicts=verdicts[name],
                job=cause(known, name),
            )
        )
    return stories


def said_of_book(factor: Factor, record: BookRecord | None) -> str | None:
    """Return what the book-level test says, where the factor is in the book."""
    if record is None or factor.state != FactorState.LIVE:
        return None
    sentence: str = record.state["told"]["sentence"]
    return sentence


def told(
    market: Market, record: MonitorRecord, series: ICSeries, freed: MonitoredSeries
) -> tuple[ToldTest, ToldTest | None, str | None]:
    """Return the test on the raw RankIC, that on the monitored one if it is another, a reading."""
    kept = market.settings.monitor.baseline_sessions
    watch = Watch.from_json(record.state)
    raw = told_test(watch.raw, series, kept)
    if watch.basis.raw and watch.monitored.horizon == watch.raw.horizon:
        alone = told_test(watch.monitored, series, kept)
        return alone, None, "monitored as it is: freeing it of styles and peers makes it no clearer"
    monitored = told_test(watch.monitored, freed, kept)
    both = TwoExplanations(monitored.explanation, raw.explanation)
    return raw, monitored, both.reading


def told_test(state: MonitorState, series: ICSeries | MonitoredSeries, kept: int) -> ToldTest:
    """Return one test with its sessions; the `kept` ICs before the live ones are its baseline."""
    finite = np.isfinite(series.rank_ic)
    sessions, values = series.sessions[finite], series.rank_ic[finite]
    start = max(len(values) - state.n - kept, 0)
    sessions, values = sessions[start:], values[start:]
    found = explain(state, values)
    if found.onset is None:
        return ToldTest(found, None)
    ago = (found.onset.earliest, found.onset.middle, found.onset.latest)
    earliest, middle, latest = (sessions[len(sessions) - n].item() for n in ago)
    return ToldTest(found, (earliest, middle, latest))


def leading_of(tests: Sequence[ToldTest]) -> ToldTest | None:
    """Return the test the verdict rests on; the monitored one stands first."""
    if len(tests) < 2:
        return tests[0] if tests else None
    both = TwoExplanations(tests[0].explanation, tests[1].explanation)
    return next(test for test in tests if test.explanation is both.leading)


def cause(known: Sequence[RemineJob], name: str) -> RemineJob | None:
    """Return the last re-mining that was opened because of this factor."""
    return next((job for job in reversed(known) if name in job.trigger.get("decayed", ())), None)


def measure(
    context: Context,
    market: Market,
    factors: Sequence[Factor],
    moves: Mapping[str, Sequence[FactorEvent]],
    last: date,
) -> dict[str, Measures]:
    """Return RankIC by horizon and turnover, on the bars up to `last`."""
    panel = stored_panel(context, market, last)
    return {
        factor.id: measured(context, market, panel, factor, moves[factor.id]) for factor in factors
    }


def measured(
    context: Context, market: Market, panel: Panel, factor: Factor, moves: Sequence[FactorEvent]
) -> Measures:
    """Return one factor's measures; one at a time, so that memory does not grow with the book."""
    label, min_assets = market.settings.label, market.settings.ingest.min_assets
    span = baseline_rows(factor, moves, panel.sessions, market)
    first = min(span.start, max(panel.n_sessions - RECENT - max(HORIZONS) - label.lag, 0))
    expression = parsed(factor.expression)
    start = max(first - lookback(expression), 0)
    tail = tail_with_universe(context, market, panel, start, panel.n_sessions)
    [values] = evaluate([expression], tail, first=first - start)
    close: FloatArray = np.asarray(panel.fields["close"][first:])
    return Measures(
        rank_ic_by_horizon(
            values,
            close,
            baseline=slice(span.start - first, span.stop - first),
            lag=label.lag,
            min_assets=min_assets,
        ),
        mean_turnover(values[-RECENT:], min_assets=min_assets),
    )


def baseline_rows(
    factor: Factor, moves: Sequence[FactorEvent], sessions: SessionArray, market: Market
) -> slice:
    """Return the rows of a factor's baseline: those realised when it went live, or was judged.

    Of one that was never live, those realised when it joined, or at its last change of state.
    """
    label, settings = market.settings.label, market.settings.monitor
    judged = factor.live_session or factor.joined_session or moves[-1].session
    known = int(np.searchsorted(sessions, np.datetime64(judged, "D"), side="right"))
    stop = max(known - label.lag - label.horizon, 0)
    start = stop - settings.baseline_sessions
    if factor.baseline_start is not None:
        start = int(np.searchsorted(sessions, np.datetime64(factor.baseline_start, "D")))
    return slice(min(max(start, 0), stop), stop)
