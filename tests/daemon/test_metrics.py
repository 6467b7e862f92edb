from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from daemon.calendar import MarketCalendar, Overlay
from daemon.health import beat, heartbeat_path
from daemon.metrics import build_registry
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from storage import history
from storage.history import ICRow
from tests.daemon.small import FIRST, SESSIONS, Living, TroubledFeed, living

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """Yield a market after three sessions, its fourth due, the last with two assets absent."""
    feed = TroubledFeed()
    feed.absent[SESSIONS[FIRST + 2]] = 2
    with living(tmp_path_factory.mktemp("metrics"), feed) as found:
        loop = Reconciler(found.context, InlineReminer(found.context))
        loop.tick(found.market)
        for number in (FIRST + 1, FIRST + 2):
            found.until(number)
            loop.tick(found.market)
        found.until(FIRST + 3)
        now = found.clock.now()
        beat(heartbeat_path(found.context.settings.state_dir), now, {"us": now})
        yield found


@pytest.fixture
def registry(alive: Living) -> CollectorRegistry:
    return build_registry(alive.context)


def midnight(number: int) -> float:
    day = SESSIONS[number]
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_due_timestamp_seconds", midnight(FIRST + 3)),
        ("publish_last_session_timestamp_seconds", midnight(FIRST + 2)),
        ("published_session_lag_sessions", 1),
        ("published_degraded", 1),
        ("data_coverage_ratio", 38 / 40),
        ("data_quarantined_rows", 0),
        ("alerts_open", 1),
    ],
)
def test_market(registry: CollectorRegistry, name: str, value: float) -> None:
    """What a market's series say is what its ledger says."""
    assert registry.get_sample_value(f"alphad_{name}", {"market": "us"}) == value


def test_factors(registry: CollectorRegistry) -> None:
    """Factors are counted by state; only a live one has a verdict, evidence and a RankIC."""

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"alphad_{name}", {"market": "us", **labels})

    assert (sample("factors", state="live"), sample("factors", state="rejected")) == (1, 1)
    assert sample("factor_verdict", factor="reversal", verdict="suspended") == 1
    assert sample("factor_verdict", factor="reversal", verdict="healthy") == 0
    assert sample("factor_verdict", factor="continuation", verdict="healthy") is None
    evidence = sample("factor_evidence_ratio", factor="reversal")
    assert evidence is not None
    assert 0 <= evidence < 1


def test_rank_ic_of_a_factor_skips_undefined_sessions(tmp_path: Path) -> None:
    """A session with too few assets to have a RankIC does not make the mean of sixty undefined."""
    with living(tmp_path) as alive:
        Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        found = build_registry(alive.context)
        labels = {"market": "us", "factor": "reversal"}
        before = found.get_sample_value("alphad_factor_rank_ic", labels)
        nan = float("nan")
        day = SESSIONS[FIRST]
        with alive.context.database.transaction() as conn:
            history.append_ics(conn, [ICRow("us", "reversal", day, day, nan, nan, 3)])
            stored = history.ics(conn, "us", "reversal").rank_ic[-60:-1]
        after = found.get_sample_value("alphad_factor_rank_ic", labels)
    assert before is not None
    assert after == pytest.approx(stored.mean())


def test_every_name_is_documented(registry: CollectorRegistry) -> None:
    """docs/metrics.md lists the series there are, no more and no fewer."""
    shown = {
        line.split()[2]
        for line in generate_latest(registry).decode().splitlines()
        if line.startswith("# HELP")
    }
    listed = set(re.findall(r"^\| `(alphad_\w+)`", DOCUMENTED.read_text(), re.MULTILINE))
    assert shown == listed


def test_nothing_published_yet(tmp_path: Path) -> None:
    """A market that has not begun has what the calendar knows, and no invented zeros."""
    with living(tmp_path) as alive:
        found = build_registry(alive.context)
        assert found.get_sample_value("alphad_alerts_open", {"market": "us"}) == 0
        assert found.get_sample_value("alphad_published_degraded", {"market": "us"}) is None
        age = found.get_sample_value("alphad_scheduler_heartbeat_age_seconds")
        assert age == float("inf")


def test_calendar_that_has_ended(tmp_path: Path) -> None:
    """Beyond the horizon the scrape still works, and the horizon's own series tells why."""
    with living(tmp_path) as alive:
        calendar = MarketCalendar("XSHG", Overlay(), alive.clock)  # it has an end of its own
        ended = alive.changed(replace(alive.market, calendar=calendar))
        alive.clock.advance(timedelta(days=365 * 60))
        found = build_registry(ended.context)
        days = found.get_sample_value("alphad_calendar_horizon_days", {"market": "us"})
    assert days is not None
    assert days < 0
