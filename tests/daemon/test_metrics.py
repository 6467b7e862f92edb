from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from daemon.calendar import MarketCalendar, Overlay
from daemon.context import build_context
from daemon.heartbeat import beat, heartbeat_path
from daemon.llm.settings import LlmSettings
from daemon.metrics import build_registry
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from daemon.restore import backup_folder
from storage import controls, history, jobs, model_usage, outbox
from storage import registry as registry_
from storage.database import Database
from storage.history import ICRow
from storage.model_usage import Spent
from storage.outbox import SEVERITIES, Channel, Policy
from tests.daemon.small import CALENDAR, FIRST, SESSIONS, Living, TroubledFeed, living

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
        ("data_bars", 38),
        ("data_coverage_ratio", 38 / 40),
        ("data_quarantined_rows", 0),
    ],
)
def test_market(registry: CollectorRegistry, name: str, value: float) -> None:
    """What a market's series say is what its ledger says."""
    assert registry.get_sample_value(f"alphad_{name}", {"market": "us"}) == value


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"alphad_{name}", labels)


def test_factors(registry: CollectorRegistry) -> None:
    """Factors are counted by state; only a live one has a verdict, evidence and a RankIC."""

    def of_us(name: str, **labels: str) -> float | None:
        return sample(registry, name, market="us", **labels)

    assert (of_us("factors", state="live"), of_us("factors", state="rejected")) == (1, 1)
    assert of_us("factor_verdict", factor="reversal", verdict="suspended") == 1
    assert of_us("factor_verdict", factor="reversal", verdict="healthy") == 0
    assert of_us("factor_verdict", factor="continuation", verdict="healthy") is None
    assert of_us("factor_age_sessions", factor="reversal") == 2
    evidence = of_us("factor_evidence_ratio", factor="reversal")
    assert evidence is not None
    assert 0 <= evidence < 1


def test_stages(registry: CollectorRegistry) -> None:
    """Each stage tells its attempts, when one began and succeeded, and how long that took."""
    for stage in ("ingest", "observe", "publish"):
        labels = {"market": "us", "stage": stage}
        assert sample(registry, "stage_runs_total", **labels, outcome="succeeded") == 3
        assert sample(registry, "stage_runs_total", **labels, outcome="failed") == 0
        assert sample(registry, "stage_last_duration_seconds", **labels) == 0  # the clock stands
        finished = CALENDAR.finality(SESSIONS[FIRST + 2], 90).timestamp()
        assert sample(registry, "stage_last_success_timestamp_seconds", **labels) == finished


def test_one_hot_states(registry: CollectorRegistry) -> None:
    """Of a status and of a control exactly one is 1."""
    statuses = ("final", "provisional", "degraded")
    found = [sample(registry, "published_status", market="us", status=s) for s in statuses]
    assert found == [0, 0, 1]
    states = ("running", "paused", "halted")
    assert [sample(registry, "market_control", market="us", state=s) for s in states] == [1, 0, 0]


def test_alerts_by_severity(registry: CollectorRegistry) -> None:
    """A market without an error has none, and not no series."""
    found = [sample(registry, "alerts_open", market="us", severity=s) for s in SEVERITIES]
    assert found == [0, 1, 0]


def test_service(alive: Living, registry: CollectorRegistry) -> None:
    """The process tells its heartbeat, its disks with their limits, and that all is well."""
    now = alive.clock.now().timestamp()
    assert sample(registry, "scheduler_heartbeat_timestamp_seconds") == now
    assert sample(registry, "reconcile_timestamp_seconds", market="us") == now
    assert sample(registry, "database_readable") == 1
    assert sample(registry, "config_reload_success") == 1
    assert sample(registry, "notifications_pending") == 0
    assert sample(registry, "disk_limit_bytes", limit="warn") == 2 * 1024**3
    for path in ("state", "published"):
        assert (sample(registry, "disk_free_bytes", path=path) or 0) > 0


def test_no_asset_is_named(registry: CollectorRegistry) -> None:
    """Assets are thousands, and would be as many series."""
    assert "SIM00" not in generate_latest(registry).decode()


def test_a_restart_changes_nothing(alive: Living, registry: CollectorRegistry) -> None:
    """Another process over the same database tells the same."""

    def told(found: CollectorRegistry) -> list[str]:
        lines = generate_latest(found).decode().splitlines()
        return [line for line in lines if "disk_free" not in line]  # others write there

    again = build_context(alive.context.settings, alive.clock)
    assert told(build_registry(again)) == told(registry)
    again.database.close()


def test_rank_ic_of_a_factor_skips_undefined_sessions(tmp_path: Path) -> None:
    """A session with too few assets to have a RankIC does not make the mean of sixty undefined."""
    with living(tmp_path) as alive:
        Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        labels = {"market": "us", "factor": "reversal"}
        nan, day = float("nan"), SESSIONS[FIRST - 30]
        with alive.context.database.transaction() as conn:
            history.append_ics(conn, [ICRow("us", "reversal", day, day, nan, nan, 3)])
            stored = history.ics(conn, "us", "reversal").rank_ic[-60:]
        found = build_registry(alive.context)
        values = stored[np.isfinite(stored)]
        assert len(values) == 59
        assert sample(found, "factor_rank_ic", **labels) == pytest.approx(values.mean())
        assert sample(found, "factor_rank_ic_tstat", **labels) == pytest.approx(
            newey_west_t(values, lags=3)
        )


def newey_west_t(values: npt.NDArray[np.float64], lags: int) -> float:
    """Return the t-statistic of a mean as Newey and West (1987) write it, term by term."""
    n, e = len(values), values - values.mean()
    whole = sum(e * e)
    for lag in range(1, lags + 1):
        products = sum(e[t] * e[t - lag] for t in range(lag, n))
        whole += 2 * (1 - lag / (lags + 1)) * products
    return float(values.mean() / np.sqrt(whole / n / (n - 1)))


def test_retired_factor_vanishes(tmp_path: Path) -> None:
    """What is no longer live leaves no series behind, neither at once nor after a restart."""
    with living(tmp_path) as alive:
        Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        found = build_registry(alive.context)
        assert 'factor="reversal"' in generate_latest(found).decode()
        with alive.context.database.transaction() as conn:
            registry_.transition(
                conn, "us", "reversal", "retired", session=SESSIONS[FIRST], rule="r",
                now=alive.clock.now(),
            )  # fmt: skip
        assert 'factor="reversal"' not in generate_latest(found).decode()
        assert sample(found, "factors", market="us", state="retired") == 1


def test_what_goes_wrong_is_counted(tmp_path: Path) -> None:
    """Failed attempts, a refused reload, a pause, messages that fail: each shows."""
    feed = TroubledFeed()
    feed.silent.add(SESSIONS[FIRST])
    with living(tmp_path, feed) as alive:
        context, now = alive.context, alive.clock.now()
        outbox.attach(context.database, Policy((Channel("ops"),)))
        loop = Reconciler(context, InlineReminer(context))
        for _ in range(2):
            loop.tick(alive.market)
        context.process.reload_succeeded = False
        with context.database.transaction() as conn:
            controls.set_state(conn, "us", "paused", reason="r", who="w", now=now)
            rows = outbox.due(conn, "ops", now)
            outbox.mark_failed(conn, rows, now, "down", timedelta(days=1))
        found = build_registry(context)
        stage = {"market": "us", "stage": "ingest"}
        assert sample(found, "stage_runs_total", **stage, outcome="failed") == 2
        assert sample(found, "stage_last_success_timestamp_seconds", **stage) is None
        assert sample(found, "config_reload_success") == 0
        assert sample(found, "market_control", market="us", state="paused") == 1
        assert sample(found, "alerts_open", market="us", severity="error") == 1
        assert sample(found, "notifications_pending") == len(rows) == 1
        assert sample(found, "notify_failures_total", channel="ops") == 1


def test_re_mining_and_model(tmp_path: Path) -> None:
    """Runs, candidates by gate, tokens and what is left of the day's budgets."""
    model = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "requests_per_day": 4}
    with living(tmp_path) as alive:
        context, now = alive.context, alive.clock.now()
        llm = LlmSettings.model_validate(model)
        context.process.settings = context.settings.model_copy(update={"llm": llm})
        with context.database.transaction() as conn:
            job = jobs.open_job(conn, "us", SESSIONS[FIRST], {}, 1, now)
            jobs.finish(conn, job, "failed", now, counts={"proposed": 9, "complexity": 7})
            asked = model_usage.reserve(
                conn, "us", 1, at=now, model="m", kind="idea", worst=Spent(1, 99, 99, 1.0, 9.0)
            )
            model_usage.settle(conn, asked, Spent(1, 10, 5, 0.5, 1.0), "answered", now)
        found = build_registry(context)
        assert sample(found, "remine_runs_total", market="us", outcome="failed") == 1
        assert sample(found, "remine_jobs", market="us", status="queued") == 0
        assert sample(found, "remine_candidates_total", market="us", gate="complexity") == 7
        assert sample(found, "model_tokens_total", market="us", direction="input") == 10
        assert sample(found, "model_cost_total", market="us") == 0.5
        assert sample(found, "model_budget_remaining_ratio", budget="requests_per_day") == 0.75
        assert sample(found, "model_budget_remaining_ratio", budget="cost_per_day") is None


def test_backup_tells_its_time(tmp_path: Path) -> None:
    """The newest daily backup is the last success; without one there is no series."""
    with living(tmp_path) as alive:
        found = build_registry(alive.context)
        assert sample(found, "backup_last_success_timestamp_seconds") is None
        folder = backup_folder(alive.context.settings)
        folder.mkdir()
        for day in (1, 2):
            file = folder / f"alphad-2026-01-0{day}.db"
            file.touch()
            os.utime(file, (day, day))
        assert sample(found, "backup_last_success_timestamp_seconds") == 2


def test_database_that_does_not_answer(tmp_path: Path) -> None:
    """The scrape succeeds, and says that most of it is missing; nothing is said to be zero."""
    with living(tmp_path / "home") as alive:
        broken = tmp_path / "broken.db"
        broken.write_bytes(b"no database" * 1000)
        found = build_registry(replace(alive.context, database=Database.file(broken)))
        assert sample(found, "database_readable") == 0
        assert sample(found, "build_info", version=alive.context.code["version"]) == 1
        assert sample(found, "alerts_open", market="us", severity="error") is None


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
        assert sample(found, "alerts_open", market="us", severity="warning") == 0
        assert sample(found, "published_status", market="us", status="degraded") is None
        assert sample(found, "scheduler_heartbeat_timestamp_seconds") is None


def test_calendar_that_has_ended(tmp_path: Path) -> None:
    """Beyond the horizon the scrape still works, and the horizon's own series tells why."""
    with living(tmp_path) as alive:
        calendar = MarketCalendar("XSHG", Overlay(), alive.clock)  # it has an end of its own
        ended = alive.changed(replace(alive.market, calendar=calendar))
        alive.clock.advance(timedelta(days=365 * 60))
        found = build_registry(ended.context)
        end = sample(found, "calendar_horizon_timestamp_seconds", market="us")
        now = alive.clock.now().timestamp()
        assert sample(found, "session_due_timestamp_seconds", market="us") is None
    assert end is not None
    assert end < now
