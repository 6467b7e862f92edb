"""The dashboard is one that Grafana can provision; its figures are tested in `test_watching`."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.deploy.board import BOARD, PROVISIONING, panels, targets


def test_every_panel_has_its_own_number_and_place() -> None:
    """No panel lies on another, and all fit into the 24 columns."""
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for one, other in combinations((panel["gridPos"] for panel in BOARD["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_every_panel_can_be_drawn(panel: dict[str, Any]) -> None:
    """A panel has a title, a kind Grafana comes with, and queries of the provisioned source."""
    assert panel["title"]
    assert panel["type"] in {"stat", "timeseries", "table"}
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_queries_of_a_market_obey_the_variable() -> None:
    """Whatever has a market can be narrowed down to some markets."""
    names = {variable["name"] for variable in BOARD["templating"]["list"]}
    assert names == {"datasource", "market"}
    narrowed = [target["expr"] for target in targets() if "$market" in target["expr"]]
    assert len(narrowed) > 30


def test_provisioning_names_what_is_there() -> None:
    """The variable's source is the provisioned one, and the provider reads the folder of ours."""
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    [variable] = (v for v in BOARD["templating"]["list"] if v["type"] == "datasource")
    assert variable["current"]["value"] == source["uid"]
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "alphad.yaml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert (BOARD["uid"], BOARD["schemaVersion"]) == ("alphad", 39)
