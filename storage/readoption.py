"""Bring a ledger up to the published tree: folders it does not know count again.

A ledger is older than the tree after a backup was restored, or when the end of its log was lost.
What consumers may have seen stays what it is: each folder keeps its publish id, so that no id is
given twice, and its stage run, so that no session is published twice for the same input. A folder
that is damaged keeps its id too; what its manifest was is told by the one after it, or the pointer.

A folder is the market's own by its manifest, or, where that is torn, by what else names its id.
Whatever else lies in the tree is foreign: it is never counted, and `alphad verify` names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from storage import controls, ledger
from storage.damage import ABSENT, MANIFEST, damage, read
from storage.files import sha256
from storage.pointer import HALTED, POINTER
from storage.publishing import publications
from storage.tables import (
    ControlState,
    PublicationRecord,
    PublicationStatus,
    RunStatus,
    StageRun,
    table,
)

_PUBLICATIONS = table(PublicationRecord)
_RUNS = table(StageRun)
#: The stage that publishes, and what the ledger says of a run that it has from the tree.
STAGE, CAUSE = "publish", "restored"
#: The name of a publication's folder.
_ID = re.compile(r"[0-9]{8}")
#: What stands for the manifest of a damaged folder that nothing tells of.
UNKNOWN = "0" * 64


@dataclass(frozen=True)
class Readopted:
    """One folder that counts again.

    Parameters
    ----------
    manifest : mapping or None
        None where the folder is damaged; `broken` says how.
    """

    record: PublicationRecord
    manifest: Mapping[str, Any] | None
    broken: str


def is_behind(connection: Connection, root: Path, market: str) -> bool:
    """Say whether there is a folder that `readopt` would let count."""
    home = root / market / "v1"
    if unknown(connection, root, market):
        return True
    reserved = publications(connection, market, status=PublicationStatus.RESERVED)
    broken = [row for row in reserved if (home / row.path).exists() and damage(home / row.path)]
    seen = witnesses(home, market) if broken else {}
    return any(row.publish_id in seen for row in broken)


def unknown(connection: Connection, root: Path, market: str) -> list[Path]:
    """Return publications of a market that no row of the ledger names, oldest publish id first."""
    return _sort_out(connection, root, market)[0]


def foreign(connection: Connection, root: Path, market: str) -> list[Path]:
    """Return folders that no row of the ledger names and that are no publication of the market."""
    return _sort_out(connection, root, market)[1]


def readopt(connection: Connection, root: Path, market: str, now: datetime) -> list[Readopted]:
    """Let every published folder count that the ledger has lost, and say which those were.

    Folders that are reserved and whole are left to `Publisher.recover`.
    """
    home = root / market / "v1"
    seen = witnesses(home, market)
    found = [
        _count(connection, market, home, folder, seen, now)
        for folder in unknown(connection, root, market)
    ]
    for row in publications(connection, market, status=PublicationStatus.RESERVED):
        broken = damage(home / row.path) if (home / row.path).exists() else ""
        if broken and row.publish_id in seen:  # it has counted: never to be made again
            found.append(_count(connection, market, home, home / row.path, seen, now, row))
    return found


def witnesses(home: Path, market: str) -> dict[str, str]:
    """Return the sha256 of manifests by publish id, as the ones after them and the pointer tell."""
    told: dict[str, str] = {}
    for folder in _folders(home):
        manifest = _json(folder / MANIFEST)
        before = manifest.get("previous")
        if isinstance(before, Mapping) and _named(manifest) == _place(folder, market):
            told[str(before.get("publish_id"))] = str(before.get("manifest_sha256"))
    pointer = _json(home / POINTER)
    if "publish_id" in pointer and pointer.get("market") == market:
        told.setdefault(str(pointer["publish_id"]), str(pointer.get("manifest_sha256")))
    return told


def _folders(home: Path) -> Iterator[Path]:
    """Yield what looks like a publication: `sessions/<session>/<publish_id>`."""
    for folder in sorted(home.glob("sessions/*/*")):
        if folder.is_dir() and _ID.fullmatch(folder.name) and _session(folder) is not None:
            yield folder


def _sort_out(connection: Connection, root: Path, market: str) -> tuple[list[Path], list[Path]]:
    """Return the folders that no row names: those of the market, and the foreign ones."""
    home = root / market / "v1"
    rows = publications(connection, market)
    known = {row.path for row in rows}
    lost = [folder for folder in _folders(home) if str(folder.relative_to(home)) not in known]
    if not lost:
        return [], []
    seen = witnesses(home, market)
    taken = {row.publish_id for row in rows if row.status == PublicationStatus.PUBLISHED}
    named = {folder: _named(_json(folder / MANIFEST)) for folder in lost}
    ours: list[Path] = []
    strangers: list[Path] = []
    for folder in sorted(lost, key=lambda each: (each.name, named[each] is None)):
        if named[folder] is None:
            own = folder.name in seen
        else:
            own = named[folder] == _place(folder, market)
        own = own and folder.name not in taken  # an id is given once
        (ours if own else strangers).append(folder)
        if own:
            taken.add(folder.name)
    return ours, strangers


def _place(folder: Path, market: str) -> tuple[str, str, str]:
    """Return what the manifest of a folder has to name."""
    return market, folder.parent.name, folder.name


def _named(manifest: Mapping[str, Any]) -> tuple[Any, Any, Any] | None:
    """Return what a manifest names: market, session and id; None where it is torn."""
    found = manifest.get("market"), manifest.get("session"), manifest.get("publish_id")
    return None if None in found else found


def _session(folder: Path) -> date | None:
    try:
        found = date.fromisoformat(folder.parent.name)
    except ValueError:
        return None
    return found if found.isoformat() == folder.parent.name else None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read(path))
    except (*ABSENT, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _count(
    connection: Connection,
    market: str,
    home: Path,
    folder: Path,
    seen: Mapping[str, str],
    now: datetime,
    reserved: PublicationRecord | None = None,
) -> Readopted:
    """Write the row of a publication and of the stage run that made it."""
    session, publish_id = _session(folder), folder.name
    broken = damage(folder, seen.get(publish_id))
    manifest = None if broken else _json(folder / MANIFEST)
    if manifest is not None:
        named = _named(manifest)
        if named != _place(folder, market):
            broken, manifest = f"the manifest says {named}", None
    revision = _revision(connection, market, session, manifest, reserved)
    if manifest is not None:
        digest, at = sha256((folder / MANIFEST).read_bytes()), manifest["generated_at"]
        made = datetime.fromisoformat(at)
        status, reasons = str(manifest["status"]), [*manifest["reasons"]]
    else:
        digest, made = seen.get(publish_id, UNKNOWN), now
        status, reasons = "degraded", [f"damaged: {broken}"]
    values: dict[str, Any] = {
        "market": market,
        "publish_id": publish_id,
        "session": session,
        "revision": revision,
        "status": PublicationStatus.PUBLISHED.value,
        "path": str(folder.relative_to(home)),
        "manifest_sha256": digest,
        "reserved_at": made,
        "published_at": made,
        "status_text": status,
        "reasons": reasons,
    }
    key = (_PUBLICATIONS.c.market == market, _PUBLICATIONS.c.publish_id == publish_id)
    held = _PUBLICATIONS.c.status == PublicationStatus.RESERVED.value
    connection.execute(delete(_PUBLICATIONS).where(*key, held))  # a reservation of the same id
    connection.execute(insert(_PUBLICATIONS), values)
    facts = (manifest or {}).get("data", {})
    detail = {
        "publish_id": publish_id,
        "status": status,
        "reasons": reasons,
        "manifest_sha256": digest,
        "restored": "damaged" if manifest is None else "whole",
        "confirmed": facts.get("confirmed", True) is not False,
    }
    _mark_run(connection, market, session, revision, digest, made, detail)
    return Readopted(PublicationRecord(**values), manifest, broken)


def _revision(
    connection: Connection,
    market: str,
    session: date | None,
    manifest: Mapping[str, Any] | None,
    reserved: PublicationRecord | None,
) -> int:
    if reserved is not None:
        return reserved.revision
    query = select(_PUBLICATIONS.c.revision).where(
        _PUBLICATIONS.c.market == market, _PUBLICATIONS.c.session == session
    )
    taken = set(connection.execute(query).scalars())
    if manifest is not None and manifest["revision"] not in taken:
        return int(manifest["revision"])
    return max(taken, default=-1) + 1


def _mark_run(
    connection: Connection,
    market: str,
    session: date | None,
    revision: int,
    digest: str,
    at: datetime,
    detail: Mapping[str, Any],
) -> None:
    """Let the ledger say that the session is published; its input is known by the manifest."""
    values: dict[str, Any] = {
        "input_hash": f"manifest:{digest}" if digest != UNKNOWN else f"lost:{detail['publish_id']}",
        "status": RunStatus.SUCCEEDED.value,
        "cause": CAUSE,
        "attempts": 1,
        "started_at": at,
        "finished_at": at,
        "detail": {**detail},
        "error": None,
    }
    key = {"market": market, "stage": STAGE, "session": session, "revision": revision}
    where = [_RUNS.c[name] == value for name, value in key.items()]
    done = connection.execute(update(_RUNS).where(*where), values)
    if done.rowcount == 0:
        connection.execute(insert(_RUNS), {**key, **values})


def halt_again(connection: Connection, root: Path, market: str, now: datetime) -> bool:
    """Order a halt again that the ledger has lost: `halted.json` tells of it.

    Returns
    -------
    bool
        Whether there was one.
    """
    home = root / market / "v1"
    if not (home / HALTED).exists():
        return False
    if controls.state_of(connection, market) is ControlState.HALTED:
        return False
    told = _json(home / HALTED)
    controls.set_state(
        connection,
        market,
        ControlState.HALTED,
        reason=str(told.get("reason", "halted before the ledger was restored")),
        who=str(told.get("who", "unknown")),
        now=now,
    )
    return True


def caught_up(connection: Connection, market: str) -> bool:
    """Say whether every session that is published has been observed, too."""
    published = ledger.last_session(connection, market, STAGE)
    observed = ledger.last_session(connection, market, "observe")
    return published is None or (observed is not None and observed >= published)
