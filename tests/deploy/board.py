"""The dashboard that Grafana is provisioned with, and what it asks Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"
PROVISIONING = GRAFANA / "provisioning"
BOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "alphad.json").read_text())


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def targets() -> Iterator[dict[str, Any]]:
    """Yield every query of every panel."""
    for panel in panels():
        yield from panel["targets"]


def expressions(market: str) -> list[str]:
    """Return what is asked, annotations and variables included, with the variables filled in."""
    asked = [target["expr"] for target in targets()]
    asked += [each["expr"] for each in BOARD["annotations"]["list"]]
    filled = {"$market": market, "$__rate_interval": "1m"}
    for name, value in filled.items():
        asked = [expression.replace(name, value) for expression in asked]
    return asked
