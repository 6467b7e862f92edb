"""Prometheus metrics, read from the database at each scrape.

They survive restarts, and a retired factor leaves no stale series behind. `docs/metrics.md` lists
every name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from daemon.context import Context, Market
from daemon.feeds.fallback import FallbackFeed
from daemon.feeds.provider import ProviderFeed
from daemon.health import ages, heartbeat_path
from daemon.restatement import CAUSES
from daemon.switching import away_assets
from signals.decay import Verdict
from signals.errors import DataError
from storage import alerts, data, history, jobs, ledger, registry
from storage.history import ICSeries
from storage.tables import FactorState, JobStatus, MonitorRecord

#: Sessions of the mean that `alphad_factor_rank_ic` shows.
RECENT_SESSIONS = 60


class DatabaseCollector(Collector):
    """Builds every series from what is stored."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        build = GaugeMetricFamily(
            "alphad_build_info", "Version of the running code.", labels=["version"]
        )
        build.add_metric([self.context.code["version"]], 1)
        yield build
        heartbeat, tick = ages(
            heartbeat_path(self.context.settings.state_dir), self.context.clock.now()
        )
        yield GaugeMetricFamily(
            "alphad_scheduler_heartbeat_age_seconds", "Since the scheduler last beat.", heartbeat
        )
        yield GaugeMetricFamily(
            "alphad_reconcile_age_seconds", "Since the reconcile loop last came round.", tick
        )
        families = market_families()
        for market in self.context.markets.values():
            fill(self.context, market, families)
        yield from families.values()


def market_families() -> dict[str, GaugeMetricFamily]:
    """Return the families that have a series per market, still empty."""
    market = ["market"]
    described = [
        ("session_due_timestamp_seconds", "Midnight UTC of the last session due.", market),
        ("publish_last_session_timestamp_seconds", "The same, of the last published.", market),
        ("publish_last_success_timestamp_seconds", "When that was published.", market),
        ("published_session_lag_sessions", "Sessions that are due and not published.", market),
        ("published_degraded", "1 when the last publication was not final.", market),
        ("data_coverage_ratio", "Share of the expected assets that had a bar.", market),
        ("data_quarantined_rows", "Rows of the last session set aside.", market),
        ("restated_bars_total", "Stored bars told otherwise later.", [*market, "cause"]),
        ("data_confirmed", "1 when a second fetch agreed with the last session's.", market),
        (
            "feed_requests",
            "Queries of a provider since the start.",
            [*market, "provider", "outcome"],
        ),
        (
            "feed_breaker_open",
            "1 while a provider that limited us is left alone.",
            [*market, "provider"],
        ),
        ("feed_away_assets", "Assets whose series the fallback tells.", market),
        ("calendar_horizon_days", "Days the exchange calendar still knows.", market),
        ("alerts_open", "Open alerts.", market),
        ("factor_rank_ic", "Mean RankIC of the last 60 realised.", [*market, "factor"]),
        ("factor_evidence_ratio", "Evidence of decay / threshold.", [*market, "factor"]),
        ("book_evidence_ratio", "Evidence that the whole book weakens / threshold.", market),
        ("factor_verdict", "1 for the verdict that holds.", [*market, "factor", "verdict"]),
        ("factors", "Factors by state of life.", [*market, "state"]),
        ("remine_jobs", "Re-mining jobs by status.", [*market, "status"]),
    ]
    return {
        name: GaugeMetricFamily(f"alphad_{name}", text, labels=labels)
        for name, text, labels in described
    }


def fill(context: Context, market: Market, families: dict[str, GaugeMetricFamily]) -> None:
    """Add one market's series."""
    name, now = market.name, context.clock.now()

    def add(family: str, value: float, *labels: str) -> None:
        families[family].add_metric([name, *labels], value)

    add("calendar_horizon_days", market.calendar.horizon_days(now))
    add_feed(market, add)
    try:
        due = market.calendar.last_final(now, market.settings.ingest.finality_minutes)
    except DataError:  # the calendar has ended: what is left to say is the horizon
        return

    with context.database.read() as conn:
        last = ledger.last_session(conn, name, "publish")
        runs = {
            stage: ledger.latest_succeeded(conn, name, last, stage) if last else None
            for stage in ("ingest", "publish")
        }
        factors = registry.factors(conn, name)
        monitors = history.last_states(conn, name)
        open_alerts = alerts.open_alerts(conn, name)
        all_jobs = jobs.jobs(conn, name)
        together = history.last_book_state(conn, name)
        written = data.bars_by_cause(conn, name)
        switched = data.switches(conn, name)
        recent = market.calendar.previous_session(due, 2 * RECENT_SESSIONS)
        ics = history.book_ics(conn, name, from_session=recent)
    add("session_due_timestamp_seconds", midnight(due))
    add("alerts_open", len(open_alerts))
    if market.settings.feed.fallback != "none":
        add("feed_away_assets", len(away_assets(switched, market.feed.name)))
    if together is not None:
        add("book_evidence_ratio", together.evidence / together.threshold)
    if last is not None:
        add("publish_last_session_timestamp_seconds", midnight(last))
        add("published_session_lag_sessions", len(market.calendar.sessions(last, due)) - 1)
    published, ingested = runs["publish"], runs["ingest"]
    if published is not None and published.finished_at is not None:
        add("publish_last_success_timestamp_seconds", published.finished_at.timestamp())
        add("published_degraded", float((published.detail or {}).get("status") != "final"))
    add_data(ingested.detail if ingested is not None else None, written, add)
    for state in FactorState:
        add("factors", sum(factor.state == state for factor in factors), state)
    for status in JobStatus:
        add("remine_jobs", sum(job.status == status for job in all_jobs), status)
    live = [f.id for f in factors if f.state == FactorState.LIVE and f.id in monitors]
    for factor in live:
        fill_factor(add, factor, monitors[factor], ics.get(factor))


def fill_factor(
    add: Callable[..., None], factor: str, monitor: MonitorRecord, ics: ICSeries | None
) -> None:
    """Add one live factor's series."""
    add("factor_evidence_ratio", monitor.evidence / monitor.threshold, factor)
    for verdict in Verdict:
        add("factor_verdict", float(monitor.verdict == verdict), factor, verdict)
    tail = ics.rank_ic[-RECENT_SESSIONS:] if ics is not None else np.empty(0)
    if np.isfinite(tail).any():  # a session with too few assets has none
        add("factor_rank_ic", float(np.nanmean(tail)), factor)


def add_data(
    facts: Mapping[str, Any] | None, written: Mapping[str, int], add: Callable[..., None]
) -> None:
    """Add what is known of the last published session's bars, and of bars written anew."""
    if facts is not None:
        add("data_coverage_ratio", facts["coverage"])
        add("data_quarantined_rows", facts["quarantined"])
        if "confirmed" in facts:
            add("data_confirmed", float(facts["confirmed"]))
    for cause in CAUSES:
        if cause in written:
            add("restated_bars_total", written[cause], cause)


def add_feed(market: Market, add: Callable[..., None]) -> None:
    """Add what a live feed knows of itself; it is told of this process, not of the database."""
    feeds = market.feed.sources if isinstance(market.feed, FallbackFeed) else (market.feed,)
    for feed in feeds:
        if not isinstance(feed, ProviderFeed):
            continue
        facts = feed.facts()
        for outcome, n_requests in facts.requests.items():
            add("feed_requests", n_requests, feed.name, outcome)
        add("feed_breaker_open", float(facts.breaker_until is not None), feed.name)


def midnight(session: date) -> float:
    """Return a session as seconds since the epoch."""
    return datetime.combine(session, time(), UTC).timestamp()


def build_registry(context: Context) -> CollectorRegistry:
    """Return a registry of its own, so that tests and instances do not share one."""
    registry_ = CollectorRegistry()
    registry_.register(DatabaseCollector(context))
    return registry_
