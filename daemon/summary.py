"""What happened in a market, read from the database, for report and terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np

from daemon.context import Context
from daemon.factor_story import FactorStory, factor_stories
from signals.ic import hac_lags, icir, mean_with_interval
from signals.panel import FloatArray
from storage import history, jobs, ledger, registry
from storage.tables import Factor, FactorEvent, MonitorRecord, RemineJob, VerdictEvent

#: Sessions of the mean RankIC in the table of factors.
RECENT_SESSIONS = 250


@dataclass(frozen=True)
class Year:
    """The published score in one calendar year of sessions."""

    year: int
    sessions: int
    rank_ic: float | None
    low: float | None
    high: float | None
    icir: float | None
    degraded: int


@dataclass(frozen=True)
class FactorRow:
    """One factor as it stands at the end."""

    id: str
    origin: str
    state: str
    verdict: str | None
    evidence: float | None
    threshold: float | None
    rank_ic: float | None
    expression: str


@dataclass(frozen=True)
class Event:
    """A change of state or verdict, or a re-mining that was opened."""

    session: str
    subject: str
    kind: str
    text: str
    why: str
    #: Whether it is drawn into the picture; the others stand in the table only.
    marked: bool = False


@dataclass(frozen=True)
class JobRow:
    """One re-mining."""

    id: int
    opened: str
    reason: str
    status: str
    tried: int
    validated: int
    accepted: list[str]


@dataclass(frozen=True, eq=False)
class Curve:
    """A series of RankICs, and of evidence over threshold."""

    name: str
    sessions: Sequence[str]
    rank_ic: FloatArray
    evidence_sessions: Sequence[str]
    evidence_ratio: FloatArray


@dataclass(frozen=True)
class Summary:
    """A market from the first session to the last."""

    market: str
    first_session: str
    last_session: str
    sessions_due: int
    sessions_published: int
    published_twice: int
    statuses: dict[str, int]
    data_note: str
    version: str
    years: list[Year]
    factors: list[FactorRow]
    events: list[Event]
    jobs: list[JobRow]
    score_curve: Curve
    curves: list[Curve]
    stories: list[FactorStory] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the curves, as plain values."""
        left_out = {"score_curve", "curves", "stories"}
        whole = {key: value for key, value in vars(self).items() if key not in left_out}
        told = {
            key: [asdict(item) for item in value]
            if key in {"years", "factors", "events", "jobs"}
            else value
            for key, value in whole.items()
        }
        return told | {"stories": [story.to_json() for story in self.stories]}


def summarise(context: Context, market: str, sessions: Sequence[date]) -> Summary:
    """Return what happened in `market` over `sessions`, those that were due."""
    with context.database.read() as conn:
        runs = [
            run
            for run in ledger.history(conn, market, stage="publish")
            if run.status == "succeeded" and sessions[0] <= run.session <= sessions[-1]
        ]
        score = history.score_ics(conn, market, sessions[0], sessions[-1])
        factors = registry.factors(conn, market)
        ics = history.book_ics(conn, market)
        monitors = history.last_states(conn, market)
        curves = {f.id: history.state_curve(conn, market, f.id) for f in factors}
        moves = registry.events(conn, market)
        verdicts = history.verdict_events(conn, market)
        all_jobs = jobs.jobs(conn, market)
        ingested = ledger.latest(conn, market, sessions[-1], "ingest")
    published = [run.session for run in runs]
    status = {run.session: (run.detail or {}).get("status", "final") for run in runs}
    facts = (ingested.detail or {}) if ingested is not None else {}
    note = f"{facts.get('source', 'unknown source')}"
    if facts.get("reconstructed"):
        note += ", reconstructed: point-in-time in sessions, not in restatements"
    shown = [f for f in factors if f.live_session is not None]
    return Summary(
        market=market,
        first_session=sessions[0].isoformat(),
        last_session=sessions[-1].isoformat(),
        sessions_due=len(sessions),
        sessions_published=len(set(published)),
        published_twice=len(published) - len(set(published)),
        statuses={name: list(status.values()).count(name) for name in sorted(set(status.values()))},
        data_note=note,
        version=context.code["version"],
        years=by_year(score, status, context.markets[market].settings.label.horizon),
        factors=[factor_row(f, ics.get(f.id), monitors.get(f.id)) for f in factors],
        events=all_events(moves, verdicts, all_jobs, factors),
        jobs=[job_row(job, factors) for job in all_jobs],
        score_curve=Curve("published score", text(score.sessions), score.rank_ic, [], np.empty(0)),
        curves=[
            Curve(
                f.id,
                text(ics[f.id].sessions),
                ics[f.id].rank_ic,
                text(curves[f.id].sessions),
                curves[f.id].evidence / np.maximum(curves[f.id].threshold, 1.0),
            )
            for f in shown
            if f.id in ics
        ],
        stories=factor_stories(context, context.markets[market]),
    )


def text(sessions: Any) -> list[str]:
    """Return sessions as ISO dates."""
    return [str(day) for day in sessions.tolist()]


def by_year(score: history.ICSeries, status: dict[date, str], horizon: int) -> list[Year]:
    """Return the published score's RankIC by calendar year, with 95 % HAC intervals."""
    years = score.sessions.astype("datetime64[Y]").astype(int) + 1970
    rows = []
    for year in sorted({*years.tolist(), *(day.year for day in status)}):
        series = score.rank_ic[years == year]
        seen = series[np.isfinite(series)]
        estimate = mean_with_interval(series, lags=hac_lags(max(len(seen), 1), horizon=horizon))
        there = estimate.n > 1
        rows.append(
            Year(
                year=year,
                sessions=sum(day.year == year for day in status),
                rank_ic=estimate.mean if there else None,
                low=estimate.low if there else None,
                high=estimate.high if there else None,
                icir=icir(series) if there else None,
                degraded=sum(day.year == year and how != "final" for day, how in status.items()),
            )
        )
    return rows


def factor_row(
    factor: Factor, ics: history.ICSeries | None, monitor: MonitorRecord | None
) -> FactorRow:
    """Return a factor's row of the table."""
    recent = ics.rank_ic[-RECENT_SESSIONS:] if ics is not None else np.empty(0)
    recent = recent[np.isfinite(recent)]
    return FactorRow(
        id=factor.id,
        origin=factor.origin,
        state=factor.state,
        verdict=monitor.verdict if monitor else None,
        evidence=monitor.evidence if monitor else None,
        threshold=monitor.threshold if monitor else None,
        rank_ic=float(recent.mean()) if len(recent) else None,
        expression=factor.expression,
    )


def all_events(
    moves: Sequence[FactorEvent],
    verdicts: Sequence[VerdictEvent],
    opened: Sequence[RemineJob],
    factors: Sequence[Factor],
) -> list[Event]:
    """Return everything that happened, in order of session."""
    mined = {factor.id for factor in factors if factor.origin == "mined"}
    events = [
        Event(
            session=move.session.isoformat(),
            subject=move.factor,
            kind=move.to_state,
            text=f"becomes {move.to_state}"
            if move.from_state != move.to_state
            else f"stays in {move.to_state}",
            why=move.rule,
            marked=move.to_state == "retired" or (move.to_state == "live" and move.factor in mined),
        )
        for move in moves
        if move.from_state is not None
    ]
    events += [
        Event(
            session=verdict.session.isoformat(),
            subject=verdict.factor,
            kind=verdict.to_verdict,
            text=verdict.to_verdict
            if (verdict.from_verdict, verdict.to_verdict) != ("decayed", "healthy")
            else f"recovered: {verdict.to_verdict}",
            why=(verdict.evidence or {}).get("reason", ""),
            marked="decayed" in {verdict.from_verdict, verdict.to_verdict},
        )
        for verdict in verdicts
    ]
    events += [
        Event(
            session=job.opened_session.isoformat(),
            subject=f"re-mining {job.id}",
            kind="remining",
            text="opened",
            why=job.trigger.get("reason", ""),
        )
        for job in opened
    ]
    return sorted(events, key=lambda event: event.session)


def job_row(job: RemineJob, factors: Sequence[Factor]) -> JobRow:
    """Return a re-mining's row of the table."""
    result = job.result or {}
    return JobRow(
        id=job.id,
        opened=job.opened_session.isoformat(),
        reason=job.trigger.get("reason", ""),
        status=job.status,
        tried=int(result.get("tried", 0)),
        validated=int(result.get("validated", 0)),
        accepted=[f.id for f in factors if (f.detail or {}).get("job") == job.id],
    )
