"""The published format: one session's scores, what made them, and a manifest with checksums.

``render`` turns a `Publication` into the bytes of its files; equal publications give equal bytes.

====================  ==========================================================================
signals.parquet, csv  session, instrument, score; by instrument; assets without a score left out
factors.parquet       session, instrument, factor, exposure; by factor, then instrument
manifest.json         what a portfolio system must know before it trades; sha256 of the files
====================  ==========================================================================
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from signals.errors import DataError
from signals.panel import FloatArray

#: Additions raise the minor number; removals the major one, and the folder `v1` with it.
SCHEMA_VERSION: Final = "1.0"


class Status(StrEnum):
    """How far a publication may be trusted."""

    FINAL = "final"
    PROVISIONAL = "provisional"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class PublishedFactor:
    """One factor of the book as the manifest tells it; NaN figures become null."""

    id: str
    expression: str
    weight: float
    state: str
    verdict: str
    mean_ic: float
    t_stat: float


@dataclass(frozen=True, eq=False)
class Publication:
    """Everything one session publishes.

    Parameters
    ----------
    market : str
        Name of the market.
    session : date
        The session whose close the scores were made from.
    publish_id : str
        Grows with every publication of the market.
    revision : int
        0 for the first result of the session.
    as_of, valid_until, generated_at : datetime
        What was known when; until when it may be traded on; when it was made. Time zone aware.
    status : Status
        `reasons` says why it is not final.
    instruments : tuple of str, length n_assets
        In any order, none twice.
    score : ndarray of shape (n_assets,)
        NaN for an asset without a score.
    exposures : mapping of factor id to ndarray of shape (n_assets,)
        NaN where missing.
    factors : tuple of PublishedFactor
        The book.
    universe, data, code : mapping
        JSON values: which assets, which bars (vintage, coverage), which code and configuration.
    previous : mapping or None
        `publish_id` and `manifest_sha256` of the publication before, which chains the manifests.
    """

    market: str
    session: date
    publish_id: str
    revision: int
    as_of: datetime
    valid_until: datetime
    generated_at: datetime
    status: Status
    reasons: tuple[str, ...]
    instruments: tuple[str, ...]
    score: FloatArray
    exposures: Mapping[str, FloatArray]
    factors: tuple[PublishedFactor, ...]
    universe: Mapping[str, Any]
    data: Mapping[str, Any]
    code: Mapping[str, Any]
    previous: Mapping[str, Any] | None


SHA256: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
#: Patterns, because a validator need not know formats.
INSTANT: Final = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$",
}
DATE: Final = {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
VERSION: Final = {"type": "string", "pattern": r"^1\.[0-9]+$"}
PUBLISH_ID: Final = {"type": "string", "pattern": "^[0-9]{8,}$"}
_NUMBER_OR_NULL: Final = {"type": ["number", "null"]}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of an object that has all these properties and, in a later minor, others."""
    return {"type": "object", "properties": dict(properties), "required": sorted(properties)}


#: JSON Schema (2020-12) of manifest.json.
MANIFEST_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "alphad manifest",
    **_object(
        {
            "schema_version": VERSION,
            "market": {"type": "string", "minLength": 1},
            "session": DATE,
            "publish_id": PUBLISH_ID,
            "revision": {"type": "integer", "minimum": 0},
            "as_of": INSTANT,
            "valid_until": INSTANT,
            "generated_at": INSTANT,
            "status": {"enum": [status.value for status in Status]},
            "reasons": {"type": "array", "items": {"type": "string"}},
            "universe": {"type": "object"},
            "data": {"type": "object"},
            "code": {"type": "object"},
            "factors": {
                "type": "array",
                "items": _object(
                    {
                        "id": {"type": "string", "minLength": 1},
                        "expression": {"type": "string", "minLength": 1},
                        "weight": {"type": "number", "minimum": 0},
                        "state": {"type": "string"},
                        "verdict": {"type": "string"},
                        "mean_ic": _NUMBER_OR_NULL,
                        "t_stat": _NUMBER_OR_NULL,
                    }
                ),
            },
            "previous": {
                **_object({"publish_id": PUBLISH_ID, "manifest_sha256": SHA256}),
                "type": ["object", "null"],
            },
            "files": {
                "type": "object",
                "required": ["factors.parquet", "signals.csv", "signals.parquet"],
                "propertyNames": {"pattern": r"^[^/\\.][^/\\]*$"},
                "additionalProperties": _object(
                    {
                        "sha256": SHA256,
                        "bytes": {"type": "integer", "minimum": 0},
                        "rows": {"type": "integer", "minimum": 0},
                        "columns": {"type": "array", "items": {"type": "string"}},
                    }
                ),
            },
        }
    ),
    # what is not final says why
    "anyOf": [
        {"properties": {"status": {"const": Status.FINAL.value}}},
        {"properties": {"reasons": {"minItems": 1}}},
    ],
}


def render(publication: Publication) -> dict[str, bytes]:
    """Return the files of a publication by name, the manifest last.

    Raises
    ------
    DataError
        Lengths that disagree, an instrument twice, an infinite score or exposure, a time without
        zone, a validity that ends before it begins, a status other than final without a reason, or
        a value that JSON cannot say.
    """
    _check(publication)
    order = sorted(range(len(publication.instruments)), key=publication.instruments.__getitem__)
    instruments = [publication.instruments[i] for i in order]
    signals = _long(instruments, publication.score[order])
    parts = [
        (factor, *_long(instruments, values[order]))
        for factor, values in sorted(publication.exposures.items())
    ]
    factors: dict[str, Sequence[Any]] = {
        "instrument": [name for _, names, _ in parts for name in names],
        "factor": [factor for factor, names, _ in parts for _ in names],
        "exposure": [value for _, _, values in parts for value in values],
    }
    columns: dict[str, Sequence[Any]] = {"instrument": signals[0], "score": signals[1]}
    tables = {
        "signals.parquet": (columns, _parquet(publication.session, columns)),
        "signals.csv": (columns, _csv(publication.session, *signals)),
        "factors.parquet": (factors, _parquet(publication.session, factors)),
    }
    files = {name: data for name, (_, data) in tables.items()}
    facts = {
        name: {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "rows": len(table["instrument"]),
            "columns": ["session", *table],
        }
        for name, (table, data) in tables.items()
    }
    return files | {"manifest.json": _manifest(publication, facts)}


def read_signals(data: bytes) -> tuple[tuple[str, ...], FloatArray]:
    """Return instruments and scores from the bytes of signals.parquet.

    Raises
    ------
    DataError
        If the bytes are not such a file.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), columns=["instrument", "score"])
        scores = table.column("score").to_numpy()
        return tuple(table.column("instrument").to_pylist()), np.asarray(scores, dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as exc:
        raise DataError(
            f"{len(data)} bytes that are no signals.parquet: {exc}",
            rule="signals.parquet has the columns session, instrument, score",
            hint="run `alphad verify` on the published directory",
        ) from exc


def _check(p: Publication) -> None:
    n = len(p.instruments)
    broken: list[tuple[bool, str, str]] = [
        (len(set(p.instruments)) != n, "an instrument twice", "one row an instrument"),
        (
            any(values.shape != (n,) for values in (p.score, *p.exposures.values())),
            f"scores or exposures that are not {n} long",
            "one value an instrument",
        ),
        (
            any(np.isinf(values).any() for values in (p.score, *p.exposures.values())),
            "an infinite score or exposure",
            "finite, or NaN where there is none",
        ),
        (
            any(t.tzinfo is None for t in (p.as_of, p.valid_until, p.generated_at)),
            "a time without zone",
            "as_of, valid_until and generated_at carry their zone",
        ),
    ]
    if not any(wrong for wrong, _, _ in broken):
        broken += [
            (
                p.valid_until.date() < p.session,
                f"valid until {p.valid_until}",
                "valid_until is not before the session",
            ),
            (
                p.status is not Status.FINAL and not p.reasons,
                f"status {p.status} without a reason",
                "what is not final says why",
            ),
        ]
    for wrong, fact, rule in broken:
        if wrong:
            raise DataError(f"publication {p.publish_id} of {p.market}: {fact}", rule=rule)


def _long(instruments: Sequence[str], values: FloatArray) -> tuple[list[str], list[float]]:
    """Drop the instruments whose value is missing."""
    kept = np.flatnonzero(np.isfinite(values)).tolist()
    # + 0.0: minus zero has no place in a published file
    return [instruments[i] for i in kept], [float(values[i]) + 0.0 for i in kept]


def _parquet(session: date, columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Write columns of text and float64 beside the session; naive nanoseconds suit every reader."""
    n_rows = len(columns["instrument"])
    instant = np.datetime64(session, "ns")
    arrays = {"session": pa.array(np.full(n_rows, instant), type=pa.timestamp("ns"))}
    for name, values in columns.items():
        kind = pa.float64() if name in {"score", "exposure"} else pa.string()
        arrays[name] = pa.array(values, type=kind)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays), sink, compression="snappy", version="2.6")
    return bytes(sink.getvalue().to_pybytes())


def _csv(session: date, instruments: Sequence[str], scores: Sequence[float]) -> bytes:
    """Write the scores with the fewest digits that read back as the same number."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("session", "instrument", "score"))
    day = session.isoformat()
    writer.writerows(
        (day, name, repr(score)) for name, score in zip(instruments, scores, strict=True)
    )
    return text.getvalue().encode()


def _manifest(p: Publication, files: Mapping[str, Any]) -> bytes:
    content = {
        "schema_version": SCHEMA_VERSION,
        "market": p.market,
        "session": p.session.isoformat(),
        "publish_id": p.publish_id,
        "revision": p.revision,
        "as_of": _instant(p.as_of),
        "valid_until": _instant(p.valid_until),
        "generated_at": _instant(p.generated_at),
        "status": p.status.value,
        "reasons": list(p.reasons),
        "universe": dict(p.universe),
        "data": dict(p.data),
        "code": dict(p.code),
        "previous": None if p.previous is None else dict(p.previous),
        "factors": [
            {
                "id": f.id,
                "expression": f.expression,
                "weight": float(f.weight),
                "state": str(f.state),
                "verdict": str(f.verdict),
                "mean_ic": _or_null(f.mean_ic),
                "t_stat": _or_null(f.t_stat),
            }
            for f in p.factors
        ],
        "files": files,
    }
    try:
        text = json.dumps(content, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as exc:
        raise DataError(
            f"publication {p.publish_id} of {p.market}: the manifest cannot be written: {exc}",
            rule="universe, data, code and previous hold JSON values without NaN or infinity",
        ) from exc
    return (text + "\n").encode()


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _or_null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
