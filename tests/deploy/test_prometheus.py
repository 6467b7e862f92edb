"""What Prometheus and Alertmanager are deployed with is what their own tools accept."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from daemon.metrics.sheet import FAMILIES, Sheet
from tests.deploy.test_runbook import alerting_rules
from tests.tools import tool

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"


def says(name: str, *arguments: str | Path, stdin: bytes = b"") -> str:
    """Return what a tool says; it has to succeed."""
    done = subprocess.run([tool(name), *arguments], input=stdin, capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


class Full(Collector):
    """One series of every family."""

    def collect(self) -> list[Metric]:
        sheet = Sheet()
        for each in FAMILIES:
            sheet.add(each.name, 1, *(f"some {label}" for label in each.labels))
        return list(sheet)


def test_configuration_and_rules_are_valid() -> None:
    """Promtool accepts the configuration and the rules that it names."""
    assert "29 rules found" in says("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("file", ["rules_test.yml", "rules_days_test.yml"])
def test_rules_fire_when_they_must_and_not_before(file: str) -> None:
    """The unit tests of the rules pass: each fires, and a weekend or a restart is silent."""
    assert "SUCCESS" in says("promtool", "test", "rules", PROMETHEUS / file)


def test_every_rule_has_a_unit_test() -> None:
    """Each alert is expected to fire somewhere in the unit tests of the rules."""
    tests = "".join((PROMETHEUS / f"rules{part}_test.yml").read_text() for part in ("", "_days"))
    expected = set(re.findall(r'alertname="(\w+)"', tests))
    assert {rule["alert"] for rule in alerting_rules()} <= expected


def test_every_rule_says_how_severe_it_is_and_what_is_the_matter() -> None:
    """Severity routes an alert; summary, description and runbook are what its reader has."""
    for rule in alerting_rules():
        labels, annotations = rule["labels"], rule["annotations"]
        assert labels["severity"] in {"none", "warning", "critical"}  # type: ignore[index]
        assert set(annotations) == {"summary", "description", "runbook_url"}


def test_alertmanager_takes_its_configuration() -> None:
    """Amtool accepts routes, inhibitions and receivers."""
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    assert "SUCCESS" in says("amtool", "check-config", file)


@pytest.mark.parametrize(
    ("alert", "receiver"),
    [
        (["alertname=Watchdog", "severity=none"], "heartbeat"),
        (["alertname=FactorDecayed", "severity=warning"], "operators"),
        (["alertname=AlphadDown", "severity=critical"], "operators"),
    ],
)
def test_alerts_reach_their_receiver(alert: list[str], receiver: str) -> None:
    """The watchdog goes to the heartbeat outside, everything else to people."""
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    where = ("config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receiver}")
    assert receiver in says("amtool", *where, *alert)


def test_every_name_follows_the_conventions() -> None:
    """Promtool finds nothing to say about any family: units, suffixes, types, help."""
    registry = CollectorRegistry()
    registry.register(Full())
    assert not says("promtool", "check", "metrics", stdin=generate_latest(registry)).strip()


@pytest.mark.parametrize(
    "file",
    [
        PROMETHEUS / "rules.yml",
        PROMETHEUS / "rules_test.yml",
        PROMETHEUS / "rules_days_test.yml",
        DEPLOY / "grafana" / "dashboards" / "alphad.json",
    ],
    ids=lambda path: str(path.name),
)
def test_every_metric_that_is_asked_for_exists(file: Path) -> None:
    """Rules, their tests and the dashboard name families there are."""
    named = set(re.findall(r"\balphad_(\w+)", file.read_text(encoding="utf-8")))
    assert named <= {each.name for each in FAMILIES}
