"""JSON Schemas of what is published; `docs/schema/` holds them as files.

Additions raise the minor version and break no consumer: what a schema does not name is allowed,
and a consumer ignores it. What is named never goes away or changes its meaning within a major one.
"""

from __future__ import annotations

import json
from typing import Any, Final

from signals.publication import DATE, INSTANT, MANIFEST_SCHEMA, PUBLISH_ID, SHA256, VERSION, Status

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: Of latest.json: which publication counts, with what a consumer needs to refuse it early.
POINTER_SCHEMA: Final[dict[str, Any]] = {
    "$schema": _DIALECT,
    "title": "alphad pointer",
    "type": "object",
    "properties": {
        "schema_version": VERSION,
        "market": {"type": "string", "minLength": 1},
        "session": DATE,
        "publish_id": PUBLISH_ID,
        "path": {
            "type": "string",
            "pattern": "^sessions/[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{8,}$",
        },
        "manifest_sha256": SHA256,
        "valid_until": INSTANT,
        "status": {"enum": [status.value for status in Status]},
    },
    "required": [
        "manifest_sha256", "market", "path", "publish_id", "schema_version", "session", "status",
        "valid_until",
    ],
}  # fmt: skip

#: Of halted.json, which lies in place of latest.json while an operator has halted the market.
HALT_SCHEMA: Final[dict[str, Any]] = {
    "$schema": _DIALECT,
    "title": "alphad halt",
    "type": "object",
    "properties": {
        "schema_version": VERSION,
        "market": {"type": "string", "minLength": 1},
        "state": {"const": "halted"},
        "reason": {"type": "string"},
        "who": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "session": {"type": ["string", "null"], "format": "date"},
        "publish_id": {"type": ["string", "null"]},
    },
    "required": ["at", "market", "publish_id", "reason", "schema_version", "session", "who"],
}

#: By the name of the file in `docs/schema/`; the number is the major version.
SCHEMAS: Final = {
    "manifest-1.json": MANIFEST_SCHEMA,
    "latest-1.json": POINTER_SCHEMA,
    "halted-1.json": HALT_SCHEMA,
}


def schema_text(name: str) -> str:
    """Return a schema as its file has it."""
    return json.dumps(SCHEMAS[name], indent=2) + "\n"
