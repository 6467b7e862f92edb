"""A planted decay reaches a webhook, and every expression works against what was scraped of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from daemon.metrics.sheet import FAMILIES, PREFIX
from tests.deploy.board import expressions
from tests.deploy.test_prometheus import says
from tests.deploy.test_runbook import alerting_rules
from tests.deploy.watching import Watched, watched

#: Families the small market has nothing to say in: no provider, model, second source, backup,
#: channel or daemon that runs.
SILENT = {
    "backup_last_success_timestamp_seconds", "book_evidence_ratio", "book_verdict",
    "data_confirmed", "epoch", "model_budget_remaining_ratio", "model_cost_total",
    "model_requests_total", "model_tokens_total", "notifications_given_up_total",
    "notify_failures_total", "provider_away_assets", "provider_breaker_open",
    "provider_requests_total", "remine_candidates_total", "remine_last_duration_seconds",
    "remine_last_success_timestamp_seconds", "restated_bars_total",
}  # fmt: skip


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Yield the watched market, a factor of which has decayed, when its alert has arrived."""
    with watched(tmp_path_factory.mktemp("watched")) as found:
        found.seconds_to_webhook()
        yield found


def test_planted_decay_reaches_the_webhook(dead: Watched) -> None:
    """Somebody is told by name which factor of which market has decayed, and where to read on."""
    alert = dead.told.alerts["FactorDecayed"]
    named = {name: alert["labels"][name] for name in ("market", "factor", "severity")}
    assert named == {"market": "us", "factor": "reversal", "severity": "warning"}
    assert alert["annotations"]["summary"] == "reversal of us has decayed"
    assert alert["annotations"]["runbook_url"] == "docs/operations.md#factordecayed"


def test_what_is_scraped_is_what_there_is(dead: Watched) -> None:
    """Every family that the market can have is in Prometheus."""
    found = {
        each["metric"]["__name__"].removeprefix(PREFIX)
        for each in dead.query(f'count by (__name__) ({{__name__=~"{PREFIX}.+"}})')
    }
    assert found == {each.name for each in FAMILIES} - SILENT


def test_promtool_has_nothing_to_say_about_what_is_scraped(dead: Watched) -> None:
    """The real exposition keeps to the conventions of names, units, types and labels."""
    told = httpx.get(dead.metrics, trust_env=False)
    assert 'alphad_factor_verdict{factor="reversal",market="us",verdict="decayed"} 1.0' in told.text
    assert not says("promtool", "check", "metrics", stdin=told.content).strip()


@pytest.mark.parametrize("expression", expressions("us|cn"))
def test_every_expression_of_the_dashboard_has_an_answer(dead: Watched, expression: str) -> None:
    """Grafana's queries are valid, and show something wherever the market has the series."""
    answer = dead.query(expression)
    asked = set(re.findall(rf"\b{PREFIX}(\w+)", expression))
    assert answer or asked & SILENT


def test_every_expression_of_the_rules_is_valid(dead: Watched) -> None:
    """The rules can be asked by hand, as somebody does who follows an alert."""
    for rule in alerting_rules():
        dead.query(rule["expr"])
