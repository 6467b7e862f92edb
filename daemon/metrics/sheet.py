"""The families of metrics, declared once, and the sheet one scrape writes them on.

Names end in their base unit; a counter ends in `_total` and never falls while the daemon runs.
What tells of a moment is a timestamp: its age is a subtraction, and goes on when we do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

#: Begins every name.
PREFIX = "alphad_"


class Described(NamedTuple):
    """One family: its name without the prefix, what it means, and the labels of its series."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    @property
    def is_counter(self) -> bool:
        """Whether it only ever rises."""
        return self.name.endswith("_total")


SERVICE = (
    Described("build_info", "Version of the running code.", ("version",)),
    Described("epoch", "Number of this life of the daemon."),
    Described("database_readable", "1 when the database answered this scrape."),
    Described("scheduler_heartbeat_timestamp_seconds", "When the scheduler last beat."),
    Described("reconcile_limit_seconds", "After so long without a sign a market is stuck."),
    Described("disk_free_bytes", "What is left on the disk of a directory.", ("path",)),
    Described("disk_limit_bytes", "What has to be left: to warn, to stop.", ("limit",)),
    Described("backup_last_success_timestamp_seconds", "When the newest backup was made."),
    Described("notifications_pending", "Notifications that have not arrived yet."),
    Described("notify_failures_total", "Attempts to notify that failed.", ("channel",)),
    Described("notifications_given_up_total", "Notifications given up.", ("channel",)),
    Described("config_reload_success", "1 when the settings were last read without error."),
    Described("model_budget_remaining_ratio", "Share of a budget that is left today.", ("budget",)),
)
MARKET = (
    Described("market_control", "1 for what an operator lets the market do.", ("market", "state")),
    Described("reconcile_timestamp_seconds", "When the market last came round.", ("market",)),
    Described("calendar_horizon_timestamp_seconds", "Last day the calendar knows.", ("market",)),
    Described(
        "session_due_timestamp_seconds", "Midnight UTC of the last session due.", ("market",)
    ),
    Described("publish_last_session_timestamp_seconds", "The same, last published.", ("market",)),
    Described("publish_last_success_timestamp_seconds", "When that was published.", ("market",)),
    Described("published_session_lag_sessions", "Sessions due and not published.", ("market",)),
    Described("published_status", "1 for the status last published.", ("market", "status")),
    Described("alerts_open", "Open alerts.", ("market", "severity")),
    Described("stage_runs_total", "Attempts at a stage.", ("market", "stage", "outcome")),
    Described("stage_last_attempt_timestamp_seconds", "When one began.", ("market", "stage")),
    Described("stage_last_success_timestamp_seconds", "When one succeeded.", ("market", "stage")),
    Described("stage_last_duration_seconds", "How long that took.", ("market", "stage")),
)
DATA = (
    Described("data_coverage_ratio", "Share of the expected assets with a bar.", ("market",)),
    Described("data_bars", "Bars of the last session ingested.", ("market",)),
    Described("data_quarantined_rows", "Its rows that were set aside.", ("market",)),
    Described("data_confirmed", "1 when a second fetch agreed with the first.", ("market",)),
    Described("restated_bars_total", "Stored bars told otherwise later.", ("market", "cause")),
    Described(
        "provider_requests_total",
        "Queries of a provider since this process began.",
        ("market", "provider", "outcome"),
    ),
    Described(
        "provider_breaker_open",
        "1 while a provider that limited us is left alone.",
        ("market", "provider"),
    ),
    Described("provider_away_assets", "Assets whose series the fallback tells.", ("market",)),
)
BOOK = (
    Described("factors", "Factors by state of life.", ("market", "state")),
    Described("factor_rank_ic", "Mean RankIC of the last 60 realised.", ("market", "factor")),
    Described("factor_rank_ic_tstat", "Its HAC t-statistic.", ("market", "factor")),
    Described("factor_evidence_ratio", "Evidence of decay / threshold.", ("market", "factor")),
    Described("factor_verdict", "1 for the verdict that holds.", ("market", "factor", "verdict")),
    Described("factor_age_sessions", "Sessions since it went live.", ("market", "factor")),
    Described("score_rank_ic", "Mean RankIC of the last 60 scores.", ("market",)),
    Described("score_rank_ic_tstat", "Its HAC t-statistic.", ("market",)),
    Described("book_evidence_ratio", "Evidence that all weaken / threshold.", ("market",)),
    Described("book_verdict", "1 for what holds of the whole book.", ("market", "verdict")),
)
REMINING = (
    Described("remine_jobs", "Re-minings that have not ended.", ("market", "status")),
    Described("remine_runs_total", "Re-minings that have ended.", ("market", "outcome")),
    Described("remine_candidates_total", "Candidates by where they ended.", ("market", "gate")),
    Described("remine_last_success_timestamp_seconds", "When one succeeded.", ("market",)),
    Described("remine_last_duration_seconds", "How long that took.", ("market",)),
    Described("model_requests_total", "Requests of a language model.", ("market", "outcome")),
    Described("model_tokens_total", "Tokens sent and received.", ("market", "direction")),
    Described("model_cost_total", "Money, in the currency of the settings.", ("market",)),
)
#: Every family there is.
FAMILIES = (*SERVICE, *MARKET, *DATA, *BOOK, *REMINING)


class Sheet:
    """What one scrape says: every family, with the series written on it so far."""

    def __init__(self) -> None:
        self._families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for each in FAMILIES:
            kind = CounterMetricFamily if each.is_counter else GaugeMetricFamily
            self._families[each.name] = kind(PREFIX + each.name, each.text, labels=each.labels)

    def add(self, name: str, value: float, *labels: str) -> None:
        """Write one series; labels in the order the family declares them."""
        self._families[name].add_metric(labels, value)

    def add_one_hot(
        self, name: str, states: Iterable[str], state: str | None, *labels: str
    ) -> None:
        """Write a series for each state: 1 for the one that holds, 0 for the others."""
        for each in states:
            self.add(name, float(each == state), *labels, each)

    def take(self, other: Sheet) -> None:
        """Write the series of another sheet."""
        for name, family in other._families.items():
            self._families[name].samples.extend(family.samples)

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._families.values())


def midnight(day: date) -> float:
    """Return the midnight UTC a day begins with, as seconds since the epoch."""
    return datetime.combine(day, time(), UTC).timestamp()
