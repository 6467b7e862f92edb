"""Read the latest published signals; standard library only, so this file may be copied anywhere.

    signals = read_latest("out/published", "us", now=datetime.now(UTC), seen=last_publish_id)

It refuses what is torn, expired, of another schema, older than what was seen, or of a market that
an operator has halted.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

#: The major schema version this reader understands.
SCHEMA_MAJOR = 1


class SignalRefused(Exception):  # noqa: N818 - it says what happened
    """Signals that must not be traded on; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Signals:
    """One session's scores by instrument, with the manifest they came with."""

    market: str
    session: date
    publish_id: str
    status: str
    valid_until: datetime
    scores: dict[str, float]
    manifest: dict[str, Any]


def read_latest(
    root: str | Path,
    market: str,
    *,
    now: datetime,
    seen: str | None = None,
    schema_major: int = SCHEMA_MAJOR,
) -> Signals:
    """Return the latest signals of a market.

    Parameters
    ----------
    root : str or Path
        The published tree.
    now : datetime
        Aware; signals whose `valid_until` has come are refused.
    seen : str, optional
        The `publish_id` acted on last; an earlier one is refused.
    schema_major : int
        The major schema version to accept.

    Raises
    ------
    SignalRefused
        The market is halted; or the signals are missing, torn, expired, of another schema, or
        older than `seen`.
    """
    home = Path(root) / market / f"v{schema_major}"
    pointer = _pointer(home)
    try:
        if int(str(pointer["schema_version"]).split(".", maxsplit=1)[0]) != schema_major:
            raise SignalRefused(f"schema {pointer['schema_version']}, understood is {schema_major}")
        path = PurePosixPath(pointer["path"])
        if path.is_absolute() or ".." in path.parts:
            raise SignalRefused(f"latest.json points outside the tree: {path}")
        folder = home / path
        data = _bytes(folder / "manifest.json")
        if not (folder / "_SUCCESS").is_file():
            raise SignalRefused(f"{path} is not complete: no _SUCCESS")
        if hashlib.sha256(data).hexdigest() != pointer["manifest_sha256"]:
            raise SignalRefused(f"{path}/manifest.json is not the one latest.json names")
        manifest = _json(data, "manifest.json")
        for name in ("schema_version", "market", "session", "publish_id", "valid_until"):
            if manifest[name] != pointer[name]:
                raise SignalRefused(f"{name} differs between latest.json and manifest.json")
        if manifest["market"] != market:
            raise SignalRefused(f"signals of market {manifest['market']}, wanted is {market}")
        if seen is not None and manifest["publish_id"] < seen:
            raise SignalRefused(
                f"publish_id {manifest['publish_id']} is before {seen}, seen before"
            )
        valid_until = datetime.fromisoformat(manifest["valid_until"]).astimezone(UTC)
        if now >= valid_until:
            raise SignalRefused(f"expired at {manifest['valid_until']}")
        facts = manifest["files"]["signals.csv"]
        table = _bytes(folder / "signals.csv")
        if hashlib.sha256(table).hexdigest() != facts["sha256"]:
            raise SignalRefused("signals.csv is not what the manifest says")
        rows = csv.DictReader(table.decode("utf-8").splitlines())
        scores = {row["instrument"]: float(row["score"]) for row in rows}
        return Signals(
            market=market,
            session=date.fromisoformat(manifest["session"]),
            publish_id=manifest["publish_id"],
            status=manifest["status"],
            valid_until=valid_until,
            scores=scores,
            manifest=manifest,
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise SignalRefused(f"malformed signals: {exc!r}") from exc


def _pointer(home: Path) -> dict[str, Any]:
    """Return what `latest.json` says, unless the market is halted."""
    _refuse_halted(home)
    try:
        data = _bytes(home / "latest.json")
    except SignalRefused:
        _refuse_halted(home)  # it has just been withdrawn
        data = _bytes(home / "latest.json")  # or it has, and is back again
    return _json(data, "latest.json")


def _refuse_halted(home: Path) -> None:
    """Refuse a market that an operator has halted, with the reason."""
    try:
        data = (home / "halted.json").read_bytes()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise SignalRefused(f"halted; why cannot be read: {exc.strerror}") from exc
    try:
        told = _json(data, "halted.json")
        by = f"{told['who']} at {told['at']}: {told['reason']}"
    except (SignalRefused, KeyError):
        by = "somebody: halted.json is torn"
    raise SignalRefused(f"halted by {by}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SignalRefused(f"cannot read {path}: {exc.strerror}") from exc


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError as exc:
        raise SignalRefused(f"{name} is torn") from exc
    if not isinstance(content, dict):
        raise SignalRefused(f"{name} is torn")
    return content
