"""What lies at the top of a market's published tree: the pointer, or what tells why there is none.

::

    latest.json    names the publication to trade on
    halted.json    instead of it while an operator has halted the market; where both lie there,
                   as for a moment they may, it is the one that counts
"""

from __future__ import annotations

import json

from signals.publication import SCHEMA_VERSION
from storage.files import sha256
from storage.tables import MarketControl, PublicationRecord

POINTER = "latest.json"
HALTED = "halted.json"
#: What the pointer repeats of the manifest.
_FACTS = ("schema_version", "market", "session", "publish_id", "valid_until", "status")


def pointer_bytes(row: PublicationRecord, manifest: bytes) -> bytes:
    """Return the content of `latest.json` for a publication and its manifest."""
    said = json.loads(manifest)
    content = {name: said[name] for name in _FACTS}
    content |= {"path": row.path, "manifest_sha256": sha256(manifest)}
    return _written(content)


def halt_bytes(stopped: MarketControl, last: PublicationRecord | None) -> bytes:
    """Return the content of `halted.json`: why, by whom, since when, what was published last."""
    return _written(
        {
            "schema_version": SCHEMA_VERSION,
            "market": stopped.market,
            "state": stopped.state,
            "reason": stopped.reason,
            "who": stopped.who,
            "at": stopped.at.isoformat(),
            "session": last.session.isoformat() if last else None,
            "publish_id": last.publish_id if last else None,
        }
    )


def _written(content: dict[str, str | None]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2) + "\n").encode()
