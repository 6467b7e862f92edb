"""What must hold whatever happens: the invariants I1 to I10, and what finds their breaches."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from storage.damage import damage
from storage.publishing import publications
from storage.reader import SignalRefused, read_latest
from storage.tables import PublicationStatus, RunStatus, StageRun, Vintage, table

_RUNS, _VINTAGES = table(StageRun), table(Vintage)
_EVER = datetime(1990, 1, 1, tzinfo=UTC)


class Broken(AssertionError):  # noqa: N818 - it says what happened
    """An invariant that does not hold."""


@dataclass
class Seen:
    """What a consumer of one market has read so far.

    Parameters
    ----------
    pointer : bytes
        The pointer as it was read last.
    session : date or None
    publish_id : str or None
        Those it named.
    """

    pointer: bytes = b""
    session: date | None = None
    publish_id: str | None = None

    def read(self, published: Path, name: str) -> bool:
        """Read the latest signals as a consumer does; say whether they are new (I1, I3)."""
        home = published / name / "v1"
        try:
            data = (home / "latest.json").read_bytes()
        except FileNotFoundError:
            data = b""
        if data == self.pointer:
            return False
        try:
            signals = read_latest(published, name, now=_EVER, seen=self.publish_id)
        except SignalRefused as refused:
            if (home / "halted.json").exists() and refused.reason.startswith("halted by"):
                return False
            raise Broken(f"I1, I3: a consumer of {name} refuses: {refused.reason}") from refused
        folder = home / json.loads(data)["path"]
        broken = damage(folder)
        if broken:
            raise Broken(f"I1: {folder}: {broken}")
        if self.session is not None and signals.session < self.session:
            raise Broken(f"I3: {name} went back from {self.session} to {signals.session}")
        self.pointer, self.session, self.publish_id = data, signals.session, signals.publish_id
        return True


@dataclass
class Ledger:
    """What the ledger has acknowledged."""

    runs: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)

    def note(self, conn: Connection, name: str, since: date) -> None:
        """Take note of what has succeeded."""
        self.runs.update(_succeeded(conn, name, since))

    def check(self, conn: Connection, name: str) -> None:
        """Compare what was acknowledged with what is there (I4)."""
        there = _succeeded(conn, name, date.min)
        for key, facts in self.runs.items():
            if key[0] == name and there.get(key) != facts:
                raise Broken(f"I4: {key} was {facts}, is {there.get(key)}")


def _succeeded(conn: Connection, name: str, since: date) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    query = select(
        _RUNS.c.market, _RUNS.c.stage, _RUNS.c.session, _RUNS.c.revision,
        _RUNS.c.input_hash, _RUNS.c.finished_at,
    ).where(
        _RUNS.c.market == name, _RUNS.c.session >= since, _RUNS.c.status == RunStatus.SUCCEEDED
    )  # fmt: skip
    return {tuple(row[:4]): tuple(row[4:]) for row in conn.execute(query).all()}


def check_publications(conn: Connection, published: Path, name: str, since: str = "") -> str:
    """Check order, uniqueness and knowledge of publications after an id (I2, I3, I5).

    Returns
    -------
    str
        The id of the last one, to go on from.
    """
    home = published / name / "v1"
    rows = [
        row
        for row in publications(conn, name, status=PublicationStatus.PUBLISHED)
        if row.publish_id >= since
    ]
    known = _known_at(conn, name)
    for before, row in pairwise(rows):
        if row.session < before.session:
            raise Broken(f"I3: {row.publish_id} of {name} is of an earlier session than the last")
    for row in rows:
        manifest = json.loads((home / row.path / "manifest.json").read_bytes())
        as_of = datetime.fromisoformat(manifest["as_of"])
        number = manifest["data"]["vintage"]
        latest = max(at for at in known[:number])
        if latest > as_of:
            raise Broken(
                f"I5: {name} {row.session} {row.publish_id} is as of {as_of}, and made of what "
                f"was known at {latest}"
            )
    return rows[-1].publish_id if rows else since


def _known_at(conn: Connection, name: str) -> list[datetime]:
    query = select(_VINTAGES.c.known_at, _VINTAGES.c.reconstructed).where(
        _VINTAGES.c.market == name
    )
    rows = conn.execute(query.order_by(_VINTAGES.c.number)).all()
    return [_EVER if reconstructed else at for at, reconstructed in rows]


def check_once(conn: Connection, published: Path, name: str) -> None:
    """Check that a session and an input were published once, on disk as in the ledger (I2)."""
    query = select(_RUNS.c.session, _RUNS.c.input_hash).where(
        _RUNS.c.market == name,
        _RUNS.c.stage == "publish",
        _RUNS.c.status == RunStatus.SUCCEEDED,
    )
    pairs = [tuple(row) for row in conn.execute(query).all()]
    if len(pairs) != len(set(pairs)):
        raise Broken(f"I2: {name} published the same input twice")
    folders = len(list((published / name / "v1").glob("sessions/*/*/_SUCCESS")))
    if folders != len(pairs):
        raise Broken(f"I2: {name} has {folders} folders and {len(pairs)} succeeded runs")


def check_complete(found: Iterable[date], wanted: Sequence[date], name: str) -> None:
    """Check that every session that is due is published, and no other (I6)."""
    there = set(found)
    lacking = [day for day in wanted if day not in there]
    if lacking:
        raise Broken(f"I6: {name} never published {', '.join(map(str, lacking))}")


def check_secrets(texts: Mapping[str, str], secret: str) -> None:
    """Check that no text holds a secret (I9)."""
    for where, text in texts.items():
        if secret in text:
            at = text.index(secret)
            raise Broken(f"I9: a secret in {where}: …{text[max(at - 200, 0) : at + 80]}…")


def resources() -> tuple[float, int, int]:
    """Return what this process holds: MiB of memory, file descriptors, threads (I10)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    memory = pages * resource.getpagesize() / 2**20
    return memory, len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
