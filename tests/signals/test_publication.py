"""The published format: golden bytes, its schema, what is left out and what is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from signals.errors import DataError
from signals.publication import (
    MANIFEST_SCHEMA,
    SCHEMA_VERSION,
    Publication,
    PublishedFactor,
    Status,
    read_signals,
    render,
)

EXAMPLE = Publication(
    market="us",
    session=date(2022, 3, 4),
    publish_id="00000007",
    revision=0,
    as_of=datetime(2022, 3, 4, 22, 30, tzinfo=UTC),
    valid_until=datetime(2022, 3, 7, 16, 0, tzinfo=timezone(timedelta(hours=-5))),
    generated_at=datetime(2022, 3, 4, 22, 31, tzinfo=UTC),
    status=Status.DEGRADED,
    reasons=("no healthy factor",),
    instruments=("BRK.B", "AAPL", 'A,"B', "000001"),
    score=np.array([0.1, -1.5, np.nan, 1 / 3]),
    exposures={
        "reversal_5": np.array([0.5, np.nan, np.nan, -0.5]),
        "momentum": np.array([1.0, -1.0, np.nan, -0.0]),
    },
    factors=(
        PublishedFactor("momentum", "DELTA($close, 5)", 0.75, "live", "decayed", 0.01, 1.5),
        PublishedFactor("reversal_5", "-1 * $close", 0.25, "live", "warning", np.nan, np.nan),
    ),
    universe={"name": "S&P 500", "n": 4},
    data={"vintage": 12, "coverage": 0.99},
    code={"version": "0.1.0"},
    previous={"publish_id": "00000006", "manifest_sha256": "ab" * 32},
)

CSV = b"""session,instrument,score
2022-03-04,000001,0.3333333333333333
2022-03-04,AAPL,-1.5
2022-03-04,BRK.B,0.1
"""

MANIFEST = """{
  "as_of": "2022-03-04T22:30:00Z",
  "code": {
    "version": "0.1.0"
  },
  "data": {
    "coverage": 0.99,
    "vintage": 12
  },
  "factors": [
    {
      "expression": "DELTA($close, 5)",
      "id": "momentum",
      "mean_ic": 0.01,
      "state": "live",
      "t_stat": 1.5,
      "verdict": "decayed",
      "weight": 0.75
    },
    {
      "expression": "-1 * $close",
      "id": "reversal_5",
      "mean_ic": null,
      "state": "live",
      "t_stat": null,
      "verdict": "warning",
      "weight": 0.25
    }
  ],
  "files": {
    "factors.parquet": {
      "bytes": %(factors_bytes)d,
      "columns": [
        "session",
        "instrument",
        "factor",
        "exposure"
      ],
      "rows": 5,
      "sha256": "%(factors_sha)s"
    },
    "signals.csv": {
      "bytes": 104,
      "columns": [
        "session",
        "instrument",
        "score"
      ],
      "rows": 3,
      "sha256": "%(csv_sha)s"
    },
    "signals.parquet": {
      "bytes": %(signals_bytes)d,
      "columns": [
        "session",
        "instrument",
        "score"
      ],
      "rows": 3,
      "sha256": "%(signals_sha)s"
    }
  },
  "generated_at": "2022-03-04T22:31:00Z",
  "market": "us",
  "previous": {
    "manifest_sha256": "abababababababababababababababababababababababababababababababab",
    "publish_id": "00000006"
  },
  "publish_id": "00000007",
  "reasons": [
    "no healthy factor"
  ],
  "revision": 0,
  "schema_version": "1.0",
  "session": "2022-03-04",
  "status": "degraded",
  "universe": {
    "n": 4,
    "name": "S&P 500"
  },
  "valid_until": "2022-03-07T21:00:00Z"
}
"""


def complaints(value: Any, schema: Mapping[str, Any], path: str = "$") -> list[str]:
    """Check the part of JSON Schema that the manifest's schema uses."""
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "null": type(None),
    }
    found = []
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(isinstance(value, kinds[kind]) for kind in types):  # type: ignore[arg-type]
        return [f"{path} is not {types}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path} is not one of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{path} does not match {schema['pattern']}")
    if isinstance(value, (int, float)) and value < schema.get("minimum", -np.inf):
        found.append(f"{path} is below {schema['minimum']}")
    if isinstance(value, dict):
        found += [
            f"{path}.{key} is missing" for key in schema.get("required", []) if key not in value
        ]
        rest = schema.get("additionalProperties", {})
        for key, item in value.items():
            found += complaints(item, schema.get("properties", {}).get(key, rest), f"{path}.{key}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += complaints(item, schema.get("items", {}), f"{path}[{i}]")
    return found


def test_csv_has_golden_bytes() -> None:
    """Rows by instrument, shortest exact numbers, assets without a score left out."""
    assert render(EXAMPLE)["signals.csv"] == CSV


def test_manifest_has_golden_bytes() -> None:
    """Sorted keys, UTC times, null for what is NaN, and the facts of every other file."""
    files = render(EXAMPLE)
    signals, factors = files["signals.parquet"], files["factors.parquet"]
    expected = MANIFEST % {
        "csv_sha": "797828e56aa0c3b7566f30bb7535ef09168a584fb7399890d2341ed61ba32379",
        "factors_bytes": len(factors),
        "factors_sha": hashlib.sha256(factors).hexdigest(),
        "signals_bytes": len(signals),
        "signals_sha": hashlib.sha256(signals).hexdigest(),
    }
    assert files["manifest.json"].decode() == expected


def test_equal_publications_give_equal_bytes() -> None:
    """Rendering twice, or with the instruments in another order, gives the same files."""
    order = [2, 0, 3, 1]
    shuffled = replace(
        EXAMPLE,
        instruments=tuple(EXAMPLE.instruments[i] for i in order),
        score=EXAMPLE.score[order],
        exposures={k: v[order] for k, v in reversed(list(EXAMPLE.exposures.items()))},
    )
    assert render(shuffled) == render(EXAMPLE) == render(replace(EXAMPLE))
    assert list(render(EXAMPLE))[-1] == "manifest.json"


def test_signals_load_with_pandas_as_consumers_expect() -> None:
    """A naive nanosecond session, text instruments with leading zeros, float64 scores."""
    frame = pd.read_parquet(io.BytesIO(render(EXAMPLE)["signals.parquet"]))
    assert list(frame.columns) == ["session", "instrument", "score"]
    assert str(frame["session"].dtype) == "datetime64[ns]"
    assert frame["session"].eq(pd.Timestamp("2022-03-04")).all()
    assert frame["instrument"].tolist() == ["000001", "AAPL", "BRK.B"]
    assert frame["score"].tolist() == [1 / 3, -1.5, 0.1]


def test_csv_and_parquet_say_the_same() -> None:
    """Both files read back to the same instruments and the very same numbers."""
    rng = np.random.default_rng(0)
    names = tuple(f"A{i:03d}" for i in range(100))
    files = render(replace(EXAMPLE, instruments=names, score=rng.normal(size=100), exposures={}))
    rows = list(csv.DictReader(io.StringIO(files["signals.csv"].decode())))
    instruments, score = read_signals(files["signals.parquet"])
    assert tuple(row["instrument"] for row in rows) == instruments == names
    assert [float(row["score"]) for row in rows] == score.tolist()


def test_odd_instrument_names_survive_the_csv() -> None:
    """A comma and quotes in a name are quoted, so that any CSV reader gets the name back."""
    files = render(replace(EXAMPLE, score=np.arange(4.0)))
    frame = pd.read_csv(io.BytesIO(files["signals.csv"]), dtype={"instrument": str})
    assert sorted(frame["instrument"]) == sorted(EXAMPLE.instruments)


def test_factor_file_holds_the_exposures_that_are_there() -> None:
    """One row for each factor and instrument with an exposure, by factor, then instrument."""
    table = pq.read_table(io.BytesIO(render(EXAMPLE)["factors.parquet"]))
    rows = [(r["factor"], r["instrument"], r["exposure"]) for r in table.to_pylist()]
    assert rows == [
        ("momentum", "000001", 0.0),
        ("momentum", "AAPL", -1.0),
        ("momentum", "BRK.B", 1.0),
        ("reversal_5", "000001", -0.5),
        ("reversal_5", "BRK.B", 0.5),
    ]


def test_session_without_scores_is_still_published() -> None:
    """An empty book gives valid, empty files with the same columns."""
    files = render(replace(EXAMPLE, score=np.full(4, np.nan), exposures={}, factors=()))
    assert files["signals.csv"] == b"session,instrument,score\n"
    assert read_signals(files["signals.parquet"])[0] == ()
    schema = pq.read_schema(io.BytesIO(files["factors.parquet"]))
    assert schema.names == ["session", "instrument", "factor", "exposure"]
    assert json.loads(files["manifest.json"])["files"]["signals.parquet"]["rows"] == 0


@pytest.mark.parametrize("previous", [None, EXAMPLE.previous])
def test_manifest_obeys_its_schema(previous: Mapping[str, Any] | None) -> None:
    """What is written satisfies the schema, and the schema names every key that is written."""
    manifest = json.loads(render(replace(EXAMPLE, previous=previous))["manifest.json"])
    assert complaints(manifest, MANIFEST_SCHEMA) == []
    assert set(manifest) == set(MANIFEST_SCHEMA["properties"])
    assert re.search(MANIFEST_SCHEMA["properties"]["schema_version"]["pattern"], SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"status": "perfect"}, "$.status"),
        ({"schema_version": "2.0"}, "$.schema_version"),
        ({"as_of": "2022-03-04T22:30:00"}, "$.as_of"),
        ({"revision": -1}, "$.revision"),
        ({"previous": {"publish_id": "1"}}, "$.previous.manifest_sha256"),
        ({"files": {"signals.csv": {"sha256": "0"}}}, "$.files.signals.csv"),
    ],
)
def test_schema_rejects_what_is_no_manifest(change: dict[str, Any], path: str) -> None:
    """Each broken value is found where it stands."""
    manifest = json.loads(render(EXAMPLE)["manifest.json"]) | change
    assert any(complaint.startswith(path) for complaint in complaints(manifest, MANIFEST_SCHEMA))


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"instruments": ("A", "B", "A", "C")}, "an instrument twice"),
        ({"score": np.zeros(3)}, "not 4 long"),
        ({"exposures": {"x": np.zeros(5)}}, "not 4 long"),
        ({"score": np.array([0, 1, np.inf, 2])}, "infinite"),
        ({"as_of": datetime(2022, 3, 4, 22, 30)}, "without zone"),  # noqa: DTZ001 - the fault itself
        ({"valid_until": EXAMPLE.as_of - timedelta(days=2)}, "valid until"),
        ({"reasons": ()}, "without a reason"),
        ({"data": {"coverage": float("nan")}}, "manifest cannot be written"),
        ({"code": {"at": date(2022, 3, 4)}}, "manifest cannot be written"),
    ],
)
def test_publication_that_contradicts_itself_is_refused(change: dict[str, Any], fact: str) -> None:
    """Each contradiction is an error naming the publication, the fact and the rule."""
    with pytest.raises(DataError, match=fact) as error:
        render(replace(EXAMPLE, **change))
    assert "00000007 of us" in error.value.fact
    assert error.value.rule


@pytest.mark.parametrize("cut", [0, 4, 100])
def test_torn_signal_file_is_refused(cut: int) -> None:
    """Bytes that end too early are our error, not the library's."""
    with pytest.raises(DataError, match=r"no signals\.parquet"):
        read_signals(render(EXAMPLE)["signals.parquet"][:cut])


def test_parquet_of_something_else_is_refused() -> None:
    """A Parquet file without the columns is refused too."""
    with pytest.raises(DataError, match="score"):
        read_signals(render(EXAMPLE)["factors.parquet"])
