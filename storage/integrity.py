"""Prove that what was published and stored is what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from signals.errors import StorageError
from storage import controls
from storage.bars import vintages
from storage.contents import contradiction, misled, publication_folders, strangers
from storage.damage import MANIFEST, SUCCESS, damage
from storage.database import Database
from storage.files import sha256, sha256_of
from storage.pointer import HALTED, POINTER
from storage.publishing import head, publications
from storage.tables import ControlState, PublicationRecord, PublicationStatus, Vintage, table


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written."""

    market: str
    path: str
    fact: str


def verify(root: Path) -> list[Finding]:
    """Return what is wrong with a published tree, nothing when it is whole.

    Every folder is complete and matches its manifest, the manifests are chained without a gap or a
    fork, the pointer names the newest one, and nothing else lies in the tree or leads out of it. A
    market that is halted has no pointer: `halts`. That the newest publications were removed,
    pointer and all, shows only beside the ledger: `verify_database`.
    """
    markets = sorted(path.parent.name for path in root.glob("*/v1") if path.is_dir())
    return [finding for market in markets for finding in _verify_market(root, market)]


def halts(root: Path) -> dict[str, dict[str, Any]]:
    """Return what `halted.json` says, by market, of those that an operator has halted."""
    found = {}
    for path in sorted(root.glob(f"*/v1/{HALTED}")):
        told = _halt_of(path)
        found[path.parent.parent.name] = {"reason": "halted.json is torn"} if told is None else told
    return found


def verify_database(
    database: Database, published: Path, state_dir: Path | None = None
) -> list[Finding]:
    """Return where database and files disagree, and what is wrong with either."""
    findings = [Finding("", database.name, problem) for problem in database.check()]
    if findings:
        return findings
    with database.read() as connection:
        known = connection.execute(select(table(PublicationRecord).c.market).distinct()).scalars()
        for market in sorted(known):
            rows = publications(connection, market)
            findings += _against_rows(published, market, rows)
            halted = controls.state_of(connection, market) is ControlState.HALTED
            newest = None if halted else head(connection, market)
            findings += _against_head(published, market, newest)
            findings += _against_control(published, market, halted=halted)
        if state_dir is not None:
            stored = connection.execute(select(table(Vintage).c.market).distinct()).scalars()
            for market in sorted(stored):
                findings += _damaged_vintages(state_dir, vintages(connection, market))
    return findings


def _verify_market(root: Path, market: str) -> Iterator[Finding]:
    home = root / market / "v1"
    chain: list[tuple[str, str, dict[str, Any], str]] = []
    for stranger, fact in strangers(home):
        yield Finding(market, str(stranger.relative_to(root)), fact)
    for folder in publication_folders(home):
        path = str(folder.relative_to(root))
        broken = _damage(folder)
        if broken:
            yield Finding(market, path, broken)
            continue
        data = (folder / MANIFEST).read_bytes()
        manifest = json.loads(data)
        extra = {each.name for each in folder.iterdir()} - {*manifest["files"], MANIFEST, SUCCESS}
        if extra:
            yield Finding(market, path, f"files that the manifest does not name: {sorted(extra)}")
        place = (market, folder.parent.name, folder.name)
        said = (manifest.get("market"), manifest.get("session"), manifest.get("publish_id"))
        if said != place:
            yield Finding(market, path, f"the manifest says {said}")
            continue
        wrong = contradiction(folder, manifest)
        if wrong:
            yield Finding(market, path, wrong)
        chain.append((folder.name, path, manifest, sha256(data)))
    chain.sort()
    yield from _broken_links(market, chain)
    yield from _pointer_findings(home, market, chain)


def _broken_links(
    market: str, chain: list[tuple[str, str, dict[str, Any], str]]
) -> Iterator[Finding]:
    before: dict[str, str] | None = None
    for publish_id, path, manifest, digest in chain:
        if manifest.get("previous") != before:
            yield Finding(
                market, path, f"previous is {manifest.get('previous')}, the tree has {before}"
            )
        before = {"publish_id": publish_id, "manifest_sha256": digest}


def _pointer_findings(
    home: Path, market: str, chain: list[tuple[str, str, dict[str, Any], str]]
) -> Iterator[Finding]:
    path = f"{market}/v1/{POINTER}"
    newest = max(((each[2]["session"], each[0], each[3]) for each in chain), default=None)
    if (home / HALTED).exists():
        yield from _halt_findings(home, market, newest)
        return
    try:
        pointer = json.loads((home / POINTER).read_bytes())
        named = (pointer["session"], pointer["publish_id"], pointer["manifest_sha256"])
    except OSError:
        if chain:
            yield Finding(market, path, "there is no pointer")
        return
    except (ValueError, KeyError, TypeError):
        yield Finding(market, path, "the pointer is torn")
        return
    if named != newest:
        yield Finding(market, path, f"the pointer names {named[:2]}, the newest is {newest}")
        return
    wrong = misled(pointer, next(each[2] for each in chain if each[3] == named[2]))
    if wrong:
        yield Finding(market, path, wrong)


def _halt_findings(
    home: Path, market: str, newest: tuple[str, str, str] | None
) -> Iterator[Finding]:
    path, told = f"{market}/v1/{HALTED}", _halt_of(home / HALTED)
    if told is None:
        yield Finding(market, path, "what tells of the halt is torn")
    elif (told["session"], told["publish_id"]) != (newest[:2] if newest else (None, None)):
        named = (told["session"], told["publish_id"])
        yield Finding(market, path, f"the halt names {named}, the newest is {newest}")
    if (home / POINTER).exists():
        yield Finding(market, f"{market}/v1/{POINTER}", f"lies beside {HALTED}, which withdraws it")


def _halt_of(path: Path) -> dict[str, Any] | None:
    """Return what `halted.json` says, None where it is torn."""
    try:
        told = json.loads(path.read_bytes())
        return {name: told[name] for name in ("reason", "who", "at", "session", "publish_id")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _against_rows(published: Path, market: str, rows: list[PublicationRecord]) -> Iterator[Finding]:
    home = published / market / "v1"
    for row in rows:
        if row.status == PublicationStatus.PUBLISHED:
            broken = _damage(home / row.path, row.manifest_sha256)
            if broken:
                yield Finding(market, f"{market}/v1/{row.path}", broken)
    counted = {row.path for row in rows if row.status == PublicationStatus.PUBLISHED}
    for folder in publication_folders(home):
        path = str(folder.relative_to(home))
        if path not in counted:
            yield Finding(market, f"{market}/v1/{path}", "no row of the ledger names this folder")


def _against_head(
    published: Path, market: str, newest: PublicationRecord | None
) -> Iterator[Finding]:
    if newest is None:
        return
    try:
        named = json.loads((published / market / "v1" / POINTER).read_bytes())["publish_id"]
    except (OSError, ValueError, KeyError, TypeError):
        named = None
    if named != newest.publish_id:
        yield Finding(
            market, f"{market}/v1/{POINTER}", f"names {named}, the ledger's is {newest.publish_id}"
        )


def _against_control(published: Path, market: str, *, halted: bool) -> Iterator[Finding]:
    home, place = published / market / "v1", f"{market}/v1"
    if halted and (home / POINTER).exists():
        yield Finding(market, f"{place}/{POINTER}", "is there, and the market is halted")
    if halted != (home / HALTED).exists():
        fact = "is missing, and the market is halted" if halted else "is there, and nobody halts it"
        yield Finding(market, f"{place}/{HALTED}", fact)


def _damaged_vintages(state_dir: Path, rows: list[Vintage]) -> Iterator[Finding]:
    before = ""
    for row in rows:
        facts = (before, row.sha256, row.known_at.isoformat(), str(row.reconstructed))
        before = sha256("|".join(facts).encode())
        if row.chain != before:
            yield Finding(row.market, row.path, f"vintage {row.number} breaks the chain of hashes")
        path = state_dir / row.path
        if not path.is_file():
            yield Finding(row.market, row.path, "the vintage's file is missing")
            continue
        try:
            changed = sha256_of(path) != row.sha256
        except StorageError as error:
            yield Finding(row.market, row.path, error.fact)
            continue
        if changed:
            yield Finding(row.market, row.path, "the vintage's file has changed")


def _damage(folder: Path, manifest_sha256: str | None = None) -> str:
    """Return what is wrong with a published folder, also where it cannot be read."""
    try:
        return damage(folder, manifest_sha256)
    except StorageError as error:
        return error.fact
