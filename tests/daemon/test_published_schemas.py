"""What is published obeys the JSON Schemas that are shipped, by a validator of another's making."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from signals.publication import MANIFEST_SCHEMA
from signals.schemas import HALT_SCHEMA, POINTER_SCHEMA, SCHEMAS, schema_text
from storage.pointer import halt_bytes
from storage.tables import ControlState, MarketControl
from tests.daemon.small import MARKET, Home
from tests.storage.build import at

SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "schema"
GONE = object()


def complaints(schema: dict[str, Any], value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


def manifests(home: Home) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(home.published.rglob("manifest.json"))]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_shipped_schema_is_the_code_s(name: str) -> None:
    """docs/schema/ holds what `signals.schemas.schema_text` makes, and each is a schema."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert (SHIPPED / name).read_text(encoding="utf-8") == schema_text(name)
    assert {path.name for path in SHIPPED.iterdir()} == set(SCHEMAS)


def test_everything_published_obeys(first_home: Home) -> None:
    """Each manifest of a replay, chained and degraded ones among them, and its pointer."""
    found = manifests(first_home)
    assert len(found) == 5
    assert [complaints(MANIFEST_SCHEMA, manifest) for manifest in found] == [[]] * 5
    pointer = json.loads((first_home.published / "latest.json").read_text())
    assert complaints(POINTER_SCHEMA, pointer) == []


def test_a_halt_obeys() -> None:
    """What lies in place of the pointer while a market is halted, before any publication."""
    stopped = MarketControl(
        market=MARKET, state=ControlState.HALTED, reason="a wrong feed", who="ops", at=at(1)
    )
    assert complaints(HALT_SCHEMA, json.loads(halt_bytes(stopped, None))) == []
    assert complaints(HALT_SCHEMA, {"reason": "a wrong feed"}) != []


def changed(value: dict[str, Any], path: str, to: Any) -> dict[str, Any]:
    """Return a copy in which one value is another one, or gone."""
    result = copy.deepcopy(value)
    *places, last = path.split("/")
    inner: Any = result
    for place in places:
        inner = inner[int(place) if isinstance(inner, list) else place]
    if to is GONE:
        del inner[last]
    else:
        inner[last] = to
    return result


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("schema_version", "2.0"),
        ("schema_version", 1.0),
        ("session", "2024-1-2"),
        ("session", GONE),
        ("publish_id", "../../etc"),
        ("publish_id", 7),
        ("revision", -1),
        ("revision", 0.5),
        ("as_of", "2024-01-02 22:00:00"),
        ("valid_until", "tomorrowZ"),
        ("valid_until", None),
        ("status", "perfect"),
        ("status", "degraded"),  # without a reason
        ("reasons", "none"),
        ("factors/0/weight", -0.1),
        ("factors/0/weight", "1"),
        ("factors/0/expression", ""),
        ("factors/0/mean_ic", "NaN"),
        ("previous", "00000001"),
        ("previous/manifest_sha256", "AB" * 32),
        ("files", {}),
        ("files", []),
        ("files/signals.csv", GONE),
        ("files/signals.csv/sha256", "0"),
        ("files/signals.csv/rows", -1),
        ("files/..", {"sha256": "a" * 64, "bytes": 1, "rows": 1, "columns": []}),
        ("files/a~1b", GONE),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(first_home: Home, path: str, to: Any) -> None:
    """Another version, a wrong kind, a missing or hostile value: each is refused by itself."""
    last = manifests(first_home)[-1] | {"status": "final", "reasons": []}
    assert complaints(MANIFEST_SCHEMA, last) == []
    if path == "files/a~1b":  # a name that leads to another folder
        facts = last["files"]["signals.csv"]
        hostile = changed(last, "files", last["files"] | {"../signals.csv": facts})
    else:
        hostile = changed(last, path, to)
    assert complaints(MANIFEST_SCHEMA, hostile) != []


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("path", "../../../etc/passwd"),
        ("path", "/etc/passwd"),
        ("path", "sessions/2024-01-02/00000001/../x"),
        ("manifest_sha256", ""),
        ("manifest_sha256", GONE),
        ("schema_version", "2.0"),
        ("status", ""),
        ("valid_until", "2024-01-02T22:00:00+01:00"),
    ],
)
def test_what_is_no_pointer_is_refused(first_home: Home, path: str, to: Any) -> None:
    """A pointer leads to a publication of its own tree, by hash, until a time in UTC."""
    pointer = json.loads((first_home.published / "latest.json").read_text())
    assert complaints(POINTER_SCHEMA, changed(pointer, path, to)) != []


def test_a_later_minor_version_may_say_more(first_home: Home) -> None:
    """Additions break no consumer: what a schema does not name is allowed, at every level."""
    last = manifests(first_home)[-1] | {"schema_version": "1.7", "more": {"of": "it"}}
    last["factors"] = [factor | {"half_life": 20} for factor in last["factors"]]
    last["files"] = {name: facts | {"codec": "x"} for name, facts in last["files"].items()}
    assert complaints(MANIFEST_SCHEMA, last) == []
    pointer = json.loads((first_home.published / "latest.json").read_text()) | {"more": 1}
    assert complaints(POINTER_SCHEMA, pointer) == []
