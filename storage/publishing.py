"""Publishing: reserve an id, rename a complete folder, mark the ledger, replace the pointer last.

::

    <root>/<market>/v1/sessions/<session>/<publish_id>/…   immutable once `_SUCCESS` is there
    <root>/<market>/v1/latest.json                         the pointer, replaced last
    <root>/<market>/v1/halted.json                         instead of it while a market is halted

A crash between any two steps leaves the pointer at a complete publication; `recover` finishes or
sweeps what was begun. The pointer never goes back: where the newest publication is damaged it stays
as it is, and readers refuse what it names by its hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from signals.errors import IntegrityError, ReservationError, StorageError
from storage import controls, epochs
from storage.damage import MANIFEST, SUCCESS, contradicted, damage, read
from storage.database import Database
from storage.files import (
    disk_errors,
    remove,
    sha256,
    sweep_temporary,
    withdraw,
    write_atomic,
    write_directory,
)
from storage.pointer import HALTED, POINTER, halt_bytes, pointer_bytes
from storage.steps import Passing, tell_nobody
from storage.tables import (
    ControlState,
    PublicationRecord,
    PublicationStatus,
    record,
    table,
)

_PUBLICATIONS = table(PublicationRecord)
_RESERVED, _PUBLISHED = PublicationStatus.RESERVED.value, PublicationStatus.PUBLISHED.value

#: Called in the transaction that makes a publication count, with its row.
Mark = Callable[[Connection, PublicationRecord], None]
#: A manifest's bytes, and what is wrong with its folder.
_Verified = tuple[bytes, str]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A publish id held for one session and revision, and the folder it will have."""

    market: str
    session: date
    revision: int
    publish_id: str
    path: Path


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` did; `pointer` is None where nothing is published that is whole."""

    adopted: tuple[PublicationRecord, ...]
    swept: tuple[Path, ...]
    pointer: PublicationRecord | None
    pointer_changed: bool


class Pointed(NamedTuple):
    """What `Publisher.point` found and did.

    Parameters
    ----------
    record : PublicationRecord or None
        What the pointer names; None where it is withdrawn, or left as it is.
    changed : bool
        Whether anything had to be changed.
    damaged : str
        What is wrong with the publication it should name, "" when it is whole.
    """

    record: PublicationRecord | None
    changed: bool
    damaged: str = ""


class Publisher:
    """Publishes under one root.

    Parameters
    ----------
    root : Path
        The published tree.
    database : Database
        Holds reservations and publications.
    passing : callable, optional
        Told of the steps of a publication.
    epoch : int, optional
        The life of the daemon that publishes: once a later one has begun nothing counts any more
        and the pointer stays as it is. Without it no such check is made.
    """

    def __init__(
        self,
        root: Path,
        database: Database,
        *,
        passing: Passing = tell_nobody,
        epoch: int | None = None,
    ) -> None:
        self.root = root
        self.database = database
        self.epoch = epoch
        self._passing = passing

    def of_epoch(self, number: int) -> Publisher:
        """Return the same publisher, which no longer publishes once a later epoch has begun."""
        return Publisher(self.root, self.database, passing=self._passing, epoch=number)

    def reserve(
        self, connection: Connection, market: str, session: date, revision: int, now: datetime
    ) -> Reservation:
        """Return the publish id of a session and revision: the one held, or the next.

        Raises
        ------
        ReservationError
            This revision has been published, or another instance has taken over.
        """
        self._require(connection)
        query = select(_PUBLICATIONS).where(
            _PUBLICATIONS.c.market == market,
            _PUBLICATIONS.c.session == session,
            _PUBLICATIONS.c.revision == revision,
        )
        row = connection.execute(query).mappings().first()
        if row is not None and row["status"] == _PUBLISHED:
            raise ReservationError(
                f"revision {revision} of {market} {session} is published as {row['publish_id']}",
                rule="a publication never changes",
                hint="a changed result is the next revision",
            )
        if row is None:
            publish_id = f"{_last_id(connection, market) + 1:08d}"
            path = f"sessions/{session.isoformat()}/{publish_id}"
            connection.execute(
                insert(_PUBLICATIONS),
                {
                    "market": market,
                    "publish_id": publish_id,
                    "session": session,
                    "revision": revision,
                    "status": _RESERVED,
                    "path": path,
                    "reserved_at": now,
                },
            )
        else:
            publish_id, path = row["publish_id"], row["path"]
        return Reservation(market, session, revision, publish_id, self._home(market) / path)

    def publish(
        self,
        reservation: Reservation,
        files: Mapping[str, bytes],
        *,
        now: datetime,
        mark: Mark | None = None,
    ) -> PublicationRecord:
        """Publish the files of a reservation and return its row.

        Parameters
        ----------
        files : mapping of str to bytes
            As `signals.publication.render` gives them, `manifest.json` among them.
        mark : callable, optional
            Called with the connection and the row in the transaction that makes the publication
            count, so that the stage's ledger row is marked with it or not at all.

        Raises
        ------
        StorageError
            The disk refused; the pointer still names the last good publication.
        IntegrityError
            The manifest is another publication's, or the folder exists with other content.
        """
        manifest = json.loads(files[MANIFEST])
        self._check_identity(reservation, manifest)
        broken = contradicted(files, manifest)
        if broken:
            raise IntegrityError(f"publication {reservation.publish_id}: {broken}")
        if reservation.path.exists():  # renamed before a crash: the same bytes, or it is not ours
            for name, data in {**files, SUCCESS: b""}.items():
                path = reservation.path / name
                if not path.is_file() or path.read_bytes() != data:
                    raise IntegrityError(
                        f"{path} exists with other content",
                        rule="a published folder never changes",
                        hint="move the folder away if it was not made by this ledger",
                    )
        else:
            write_directory(
                reservation.path,
                files,
                last=SUCCESS,
                passing=self._passing,
                renaming=self._while_current,
            )
            self._passing("publish.after_rename")
        published = self._mark(reservation, files[MANIFEST], manifest, now, mark)
        self.point(reservation.market)
        return published

    def recover(self, market: str, now: datetime, mark: Mark | None = None) -> Recovery:
        """Finish or sweep what a crash interrupted and rebuild the pointer; for the start.

        Parameters
        ----------
        mark : callable, optional
            As in `publish`; called for each publication adopted.
        """
        home = self._home(market)
        swept = list(sweep_temporary(home))
        adopted = []
        with self.database.read() as connection:
            reserved = publications(connection, market, status=_RESERVED)
        for reservation in map(self._reservation, reserved):
            was_there = reservation.path.exists()
            row = self.adopt(reservation, now, mark)
            if row is not None:
                adopted.append(row)
            elif was_there:
                swept.append(reservation.path)
        pointed = self.point(market)
        return Recovery(tuple(adopted), tuple(swept), pointed.record, pointed.changed)

    def adopt(
        self, reservation: Reservation, now: datetime, mark: Mark | None = None
    ) -> PublicationRecord | None:
        """Let a folder that was renamed but not marked count, if it is whole; remove it if not.

        Returns
        -------
        PublicationRecord or None
            None where there is no such folder, or none that is whole.

        Raises
        ------
        StorageError
            The folder cannot be read now; it stays.
        """
        if not reservation.path.exists():
            return None
        broken = damage(reservation.path)
        if not broken:
            data = read(reservation.path / MANIFEST)
            manifest = json.loads(data)
            try:
                self._check_identity(reservation, manifest)
                return self._mark(reservation, data, manifest, now, mark)
            except IntegrityError as exc:
                broken = exc.fact
        with disk_errors(f"sweeping {reservation.path}"):
            remove(reservation.path)
        return None

    def directory(self, row: PublicationRecord) -> Path:
        """Return the folder of a publication."""
        return self._home(row.market) / row.path

    def _home(self, market: str) -> Path:
        return self.root / market / "v1"

    def _reservation(self, row: PublicationRecord) -> Reservation:
        return Reservation(
            row.market, row.session, row.revision, row.publish_id, self.directory(row)
        )

    def _check_identity(self, reservation: Reservation, manifest: Mapping[str, Any]) -> None:
        expected = {
            "market": reservation.market,
            "session": reservation.session.isoformat(),
            "publish_id": reservation.publish_id,
            "revision": reservation.revision,
        }
        given = {name: manifest.get(name) for name in expected}
        if given != expected:
            raise IntegrityError(
                f"the manifest says {given}, reserved is {expected}",
                rule="a folder holds the publication its reservation names",
            )

    def _mark(
        self,
        reservation: Reservation,
        data: bytes,
        manifest: Mapping[str, Any],
        now: datetime,
        mark: Mark | None,
    ) -> PublicationRecord:
        """Make a complete folder count, once."""
        values = {
            "status": _PUBLISHED,
            "manifest_sha256": sha256(data),
            "published_at": now,
            "status_text": manifest["status"],
            "reasons": list(manifest["reasons"]),
        }
        key = (
            _PUBLICATIONS.c.market == reservation.market,
            _PUBLICATIONS.c.publish_id == reservation.publish_id,
        )
        with self.database.transaction() as connection:
            self._require(connection)
            done = connection.execute(
                update(_PUBLICATIONS).where(*key, _PUBLICATIONS.c.status == _RESERVED), values
            )
            if done.rowcount != 1:
                raise ReservationError(
                    f"{reservation.publish_id} of {reservation.market} is not reserved",
                    rule="a publication counts once",
                    hint="another instance has published it; end this one",
                )
            row = connection.execute(select(_PUBLICATIONS).where(*key)).mappings().one()
            published = record(PublicationRecord, row)
            if mark is not None:
                mark(connection, published)
            self._passing("publish.before_commit")
        self._passing("publish.after_mark")
        return published

    def point(self, market: str) -> Pointed:
        """Let `latest.json` name the newest session's newest publication.

        Where that one is damaged the pointer stays as it is: consumers may have acted on it, and
        an earlier session is no substitute. A market that is halted has none: `halted.json` tells
        consumers why. What lies there is looked at first; it is changed in a transaction: nobody
        halts, resumes or publishes in it.

        Raises
        ------
        StorageError
            The publication cannot be read now, or the disk refused.
        """
        verified: dict[str, _Verified] = {}
        with self.database.read() as connection:
            row, damaged, wanted = self._wanted(connection, market, verified)
        if self._lies_so(market, wanted):
            return Pointed(row, changed=False, damaged=damaged)
        with self.database.transaction() as connection:
            controls.hold(connection)
            self._require(connection)
            row, damaged, wanted = self._wanted(connection, market, verified)
            self._passing("publish.before_pointer")
            self._lay(market, wanted)
        self._passing("publish.after_pointer")
        return Pointed(row, changed=True, damaged=damaged)

    def _wanted(
        self, connection: Connection, market: str, verified: dict[str, _Verified]
    ) -> tuple[PublicationRecord | None, str, dict[str, bytes | None]]:
        """Return what the pointer should name, its damage, and the files that say so.

        None stands for a file that is not to be there; what is not named stays as it is.
        """
        stopped = controls.control(connection, market)
        row = head(connection, market)
        if stopped is not None and stopped.state == ControlState.HALTED:
            return None, "", {HALTED: halt_bytes(stopped, row), POINTER: None}
        if row is None:
            return None, "", {HALTED: None}
        if row.publish_id not in verified:
            verified[row.publish_id] = self._verified(row)
        data, broken = verified[row.publish_id]
        if broken:
            return None, f"{self.directory(row)}: {broken}", {HALTED: None}
        return row, "", {POINTER: pointer_bytes(row, data), HALTED: None}

    def _lies_so(self, market: str, wanted: Mapping[str, bytes | None]) -> bool:
        """Return whether the files are as they should be."""
        for name, data in wanted.items():
            try:
                found: bytes | None = (self._home(market) / name).read_bytes()
            except FileNotFoundError:
                found = None
            except OSError:
                return False
            if found != data:
                return False
        return True

    def _lay(self, market: str, wanted: Mapping[str, bytes | None]) -> None:
        """Write files, then remove what is not to be there: a reader looks for a halt first."""
        home = self._home(market)
        try:
            for name, data in wanted.items():
                if data is not None:
                    write_atomic(home / name, data)
        except StorageError:
            if wanted.get(POINTER, b"") is None:
                withdraw(home / POINTER)  # a full disk does not stop the kill switch
            raise
        for name, data in wanted.items():
            if data is None:
                withdraw(home / name)

    @contextmanager
    def _while_current(self) -> Iterator[None]:
        """Let no later epoch begin while the block runs."""
        if self.epoch is None:
            yield
            return
        with self.database.transaction() as connection:
            self._require(connection)
            yield

    def _require(self, connection: Connection) -> None:
        if self.epoch is not None:
            epochs.require_current(connection, self.epoch)

    def _verified(self, row: PublicationRecord) -> _Verified:
        """Return the manifest's bytes, and what is wrong with the folder."""
        folder = self.directory(row)
        broken = damage(folder, row.manifest_sha256)
        return (b"" if broken else read(folder / MANIFEST)), broken


def previous(connection: Connection, market: str) -> dict[str, str] | None:
    """Return `publish_id` and `manifest_sha256` of the last publication, None before the first."""
    query = (
        select(_PUBLICATIONS.c.publish_id, _PUBLICATIONS.c.manifest_sha256)
        .where(_PUBLICATIONS.c.market == market, _PUBLICATIONS.c.status == _PUBLISHED)
        .order_by(_PUBLICATIONS.c.publish_id.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else {**row}


def head(connection: Connection, market: str) -> PublicationRecord | None:
    """Return the publication the pointer should name: newest session, then newest id."""
    query = _by_newest(market).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else record(PublicationRecord, row)


def published_on(connection: Connection, market: str, session: date) -> PublicationRecord | None:
    """Return the newest publication of a session, None when nothing was published for it."""
    query = _by_newest(market).where(_PUBLICATIONS.c.session == session).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else record(PublicationRecord, row)


def publications(
    connection: Connection, market: str, *, status: PublicationStatus | str | None = None
) -> list[PublicationRecord]:
    """Return the publications of a market by publish id."""
    query = select(_PUBLICATIONS).where(_PUBLICATIONS.c.market == market)
    if status is not None:
        query = query.where(_PUBLICATIONS.c.status == str(status))
    rows = connection.execute(query.order_by(_PUBLICATIONS.c.publish_id)).mappings()
    return [record(PublicationRecord, row) for row in rows]


def _by_newest(market: str) -> Any:
    return (
        select(_PUBLICATIONS)
        .where(_PUBLICATIONS.c.market == market, _PUBLICATIONS.c.status == _PUBLISHED)
        .order_by(_PUBLICATIONS.c.session.desc(), _PUBLICATIONS.c.publish_id.desc())
    )


def _last_id(connection: Connection, market: str) -> int:
    """Return the highest publish id of a market as a number, 0 before the first."""
    query = select(_PUBLICATIONS.c.publish_id).where(_PUBLICATIONS.c.market == market)
    ids = connection.execute(query).scalars()
    return max((int(each) for each in ids if re.fullmatch("[0-9]+", each)), default=0)
