"""Everything the page of one market shows; each part is read up to a limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from daemon.context import Context, Market
from daemon.course import SMOOTHING
from daemon.mining import GATES
from daemon.summary import Event, all_events
from daemon.web.book_view import CARD_SESSIONS, BookView, book_view
from daemon.web.curves import Curve, build_curve
from daemon.web.overview import Card, market_card
from daemon.web.published import Shelf
from signals.errors import DataError
from storage import glance, history, ledger, registry
from storage.glance import JobFacts, SetAside
from storage.tables import Alert, PublicationRecord, StageRun, Vintage

#: Rows of each table.
RUNS, PUBLICATIONS, JOBS, EVENTS, ALERTS, RESTATED, RULES = 20, 15, 8, 15, 10, 12, 12
#: Sessions of the picture of coverage.
COVERED = 250


@dataclass(frozen=True)
class Funnel:
    """How far the candidates of a re-mining came.

    Parameters
    ----------
    job : JobFacts
    steps : sequence of (str, int)
        What was passed, and by how many, most first.
    refused : sequence of (str, str, int)
        Gate, what it asks for, and how many it turned away.
    accepted : sequence of str
        Ids of the factors that joined.
    """

    job: JobFacts
    steps: Sequence[tuple[str, int]]
    refused: Sequence[tuple[str, str, int]]
    accepted: Sequence[str]


@dataclass(frozen=True)
class Coverage:
    """Share of the expected assets that had a bar, and what was set aside, by session and month.

    Parameters
    ----------
    sessions : sequence of date
    shares : sequence of float
    months : sequence of (str, int, float, float, int)
        Month, sessions, mean and least share, rows quarantined.
    sources : str
        Who told the last session.
    """

    sessions: Sequence[date]
    shares: Sequence[float]
    months: Sequence[tuple[str, int, float, float, int]]
    source: str

    def to_json(self) -> dict[str, Any]:
        """Return what the script draws."""
        return {
            "kind": "coverage",
            "sessions": [day.isoformat() for day in self.sessions],
            "shares": [round(share, 5) for share in self.shares],
        }


@dataclass(frozen=True, eq=False)
class MarketView:
    """The page of one market."""

    card: Card
    score: Curve
    book: BookView
    events: Sequence[Event]
    funnels: Sequence[Funnel]
    coverage: Coverage
    rules: Sequence[SetAside]
    restated: Sequence[Vintage]
    runs: Sequence[StageRun]
    publications: Sequence[PublicationRecord]
    resolved: Sequence[Alert]


def market_view(
    context: Context, market: Market, shelf: Shelf, *, page: int = 1, past_page: int = 1
) -> MarketView:
    """Return what the page of one market shows."""
    card, name = market_card(context, market, shelf), market.name
    since = first_drawn(market, card)
    with context.database.read() as conn:
        score = history.score_ics(conn, name, since)
        book = book_view(conn, market, card.weights, since, page=page, past_page=past_page)
        moves = registry.events(conn, name, first=since)
        verdicts = history.verdict_events(conn, name, first=since)
        jobs = glance.recent_jobs(conn, name, JOBS)
        joined = glance.mined_by(conn, name, [job.id for job in jobs])
        details = glance.recent_details(conn, name, "ingest", COVERED)
        rules = glance.set_aside(conn, name, since or date.min, RULES)
        restated = glance.restated(conn, name, RESTATED)
        runs = ledger.history(conn, name, limit=RUNS)
        publications = glance.recent_publications(conn, name, PUBLICATIONS)
        resolved = glance.recent_alerts(conn, name, ALERTS)
    return MarketView(
        card=card,
        score=build_curve(
            f"RankIC of the published score, mean of {SMOOTHING} sessions",
            score.sessions, score.rank_ic, horizon=market.settings.label.horizon,
        ),
        book=book,
        events=all_events(moves, verdicts, [], [])[-EVENTS:][::-1],
        funnels=[funnel(job, joined.get(job.id, ())) for job in jobs],
        coverage=coverage(details),
        rules=rules,
        restated=restated,
        runs=runs,
        publications=publications,
        resolved=resolved,
    )  # fmt: skip


def first_drawn(market: Market, card: Card) -> date | None:
    """Return the first session that is drawn; None where the calendar does not go back so far."""
    if card.row is None:
        return None
    try:
        return market.calendar.previous_session(card.row.session, CARD_SESSIONS)
    except DataError:
        return None


def funnel(job: JobFacts, accepted: Sequence[str]) -> Funnel:
    """Return how far the candidates of a re-mining came."""
    counts: Mapping[str, Any] = job.counts or {}
    result: Mapping[str, Any] = job.result or {}
    steps = [
        ("proposed", int(counts.get("proposed", 0))),
        ("measured on train", int(counts.get("measured", 0))),
        ("heard on validation", int(result.get("validated", 0))),
        ("accepted", int(counts.get("accepted", 0))),
    ]
    refused = [(gate, asks, int(counts[gate])) for gate, asks in GATES.items() if counts.get(gate)]
    return Funnel(job, steps if any(n for _, n in steps) else [], refused, accepted)


def coverage(details: Sequence[tuple[date, Mapping[str, Any]]]) -> Coverage:
    """Return what the ingestions of the last sessions say of their bars."""
    known = [(day, facts) for day, facts in details if facts.get("coverage") is not None]
    shares = [float(facts["coverage"]) for _, facts in known]
    months: dict[str, list[float]] = {}
    aside = Counter[str]()
    for (day, facts), share in zip(known, shares, strict=True):
        months.setdefault(f"{day:%Y-%m}", []).append(share)
        aside[f"{day:%Y-%m}"] += int(facts.get("quarantined") or 0)
    return Coverage(
        sessions=[day for day, _ in known],
        shares=shares,
        months=[
            (month, len(seen), float(np.mean(seen)), min(seen), aside[month])
            for month, seen in sorted(months.items(), reverse=True)
        ],
        source=str(known[-1][1].get("source", "unknown")) if known else "unknown",
    )
