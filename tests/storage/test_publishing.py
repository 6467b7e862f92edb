"""Publishing: whole or not at all, once, and the pointer last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from signals.errors import IntegrityError, ReservationError, StorageError
from storage import ledger
from storage.database import Database
from storage.integrity import verify, verify_database
from storage.publishing import Publisher, Reservation, head, previous
from storage.tables import PublicationRecord, table
from tests.storage.build import at, day, files_of, publish


def pointer(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "us" / "v1" / "latest.json").read_bytes())
    return content


def reserved(publisher: Publisher, number: int) -> tuple[Reservation, dict[str, bytes]]:
    with publisher.database.transaction() as c:
        reservation = publisher.reserve(c, "us", day(number), 0, at(number))
        return reservation, files_of(reservation, previous(c, "us"))


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let the disk refuse to read a file, as it does whose links lead round in a circle."""
    aside = path.with_name(".aside")
    path.rename(aside)
    path.symlink_to(path.name)
    try:
        yield
    finally:
        aside.replace(path)


class Crash(BaseException):
    """Stands for a kill at one instruction."""


def crash(_connection: Connection, _row: PublicationRecord) -> None:
    raise Crash


class TestPublishing:
    """What holds on every database."""

    def test_publications_are_chained(self, database: Database, tmp_path: Path) -> None:
        """Ids count from 1, each manifest names the one before, and the pointer names the last."""
        rows = [publish(tmp_path, database, number) for number in range(3)]
        assert [row.publish_id for row in rows] == ["00000001", "00000002", "00000003"]
        assert pointer(tmp_path) == {
            "schema_version": "1.0",
            "market": "us",
            "session": "2024-01-03",
            "publish_id": "00000003",
            "path": "sessions/2024-01-03/00000003",
            "manifest_sha256": rows[2].manifest_sha256,
            "valid_until": "2024-01-06T00:00:00Z",
            "status": "final",
        }
        assert verify(tmp_path) == verify_database(database, tmp_path) == []

    def test_reservation_survives_a_crash(self, database: Database, tmp_path: Path) -> None:
        """A session reserved before a crash gets the same id again."""
        publisher = Publisher(tmp_path, database)
        assert reserved(publisher, 1)[0] == reserved(publisher, 1)[0]
        assert reserved(publisher, 2)[0].publish_id == "00000002"

    def test_revision_is_published_once(self, database: Database, tmp_path: Path) -> None:
        """A published revision cannot be reserved again; the next revision can."""
        publish(tmp_path, database, 1)
        with pytest.raises(ReservationError, match="is published as 00000001"):
            publish(tmp_path, database, 1)
        publish(tmp_path, database, 1, revision=1, score=2.0)
        assert pointer(tmp_path)["publish_id"] == "00000002"

    def test_pointer_never_goes_back(self, database: Database, tmp_path: Path) -> None:
        """A restatement of an earlier session is published, but the pointer stays."""
        publish(tmp_path, database, 1)
        publish(tmp_path, database, 2)
        publish(tmp_path, database, 1, revision=1, score=2.0)
        assert pointer(tmp_path)["publish_id"] == "00000002"
        assert verify(tmp_path) == verify_database(database, tmp_path) == []

    def test_stage_is_marked_with_the_publication(self, database: Database, tmp_path: Path) -> None:
        """The stage's ledger row succeeds in the transaction that makes the publication count."""
        publisher = Publisher(tmp_path, database)
        reservation, files = reserved(publisher, 1)
        with database.transaction() as c:
            run = ledger.begin(c, "us", day(1), "publish", "h", at(1))

        def mark(c: Connection, row: PublicationRecord) -> None:
            ledger.succeed(c, run, at(1), {"manifest": row.manifest_sha256})

        row = publisher.publish(reservation, files, now=at(1), mark=mark)
        with database.read() as c:
            assert ledger.succeeded(c, "us", "publish") == {day(1)}
            assert head(c, "us") == row
        assert (row.status_text, row.reasons) == ("final", [])

    def test_complete_folder_is_adopted(self, database: Database, tmp_path: Path) -> None:
        """Killed after the rename: the folder is adopted, marked and pointed at."""
        publish(tmp_path, database, 1)
        publisher = Publisher(tmp_path, database)
        reservation, files = reserved(publisher, 2)
        with pytest.raises(Crash):
            publisher.publish(reservation, files, now=at(2), mark=crash)
        assert pointer(tmp_path)["publish_id"] == "00000001"
        marked: list[str] = []
        recovery = publisher.recover("us", at(3), lambda _c, row: marked.append(row.publish_id))
        assert [row.publish_id for row in recovery.adopted] == marked == ["00000002"]
        assert pointer(tmp_path)["publish_id"] == "00000002"
        assert verify_database(database, tmp_path) == []

    def test_publish_goes_on_after_the_rename(self, database: Database, tmp_path: Path) -> None:
        """Killed after the rename, the same publication may simply be published again."""
        publisher = Publisher(tmp_path, database)
        reservation, files = reserved(publisher, 1)
        with pytest.raises(Crash):
            publisher.publish(reservation, files, now=at(1), mark=crash)
        other = {**files, "extra": b"x"}
        with pytest.raises(IntegrityError, match="other content"):
            publisher.publish(reservation, other, now=at(1))
        publisher.publish(reservation, files, now=at(1))
        assert verify_database(database, tmp_path) == []

    def test_incomplete_folder_is_swept(self, database: Database, tmp_path: Path) -> None:
        """A reserved folder that is not whole, and what a killed write left, are swept."""
        publisher = Publisher(tmp_path, database)
        reservation, files = reserved(publisher, 1)
        with pytest.raises(Crash):
            publisher.publish(reservation, files, now=at(1), mark=crash)
        (reservation.path / "signals.csv").write_bytes(b"torn")
        (reservation.path.parent / ".00000009.tmp").mkdir()
        recovery = publisher.recover("us", at(2))
        assert len(recovery.swept) == 2
        assert recovery.adopted == ()
        assert not reservation.path.exists()
        publisher.publish(reservation, files, now=at(2))

    def test_pointer_is_rebuilt_from_the_ledger(self, database: Database, tmp_path: Path) -> None:
        """Killed before the pointer was replaced, or the pointer lost: it is rebuilt."""
        publish(tmp_path, database, 1)
        expected = (tmp_path / "us" / "v1" / "latest.json").read_bytes()
        for harm in (b"", b'{"half'):
            (tmp_path / "us" / "v1" / "latest.json").write_bytes(harm)
            assert Publisher(tmp_path, database).recover("us", at(2)).pointer_changed
            assert (tmp_path / "us" / "v1" / "latest.json").read_bytes() == expected
        assert not Publisher(tmp_path, database).recover("us", at(2)).pointer_changed

    @pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b"torn"), Path.unlink])
    def test_pointer_stays_where_the_newest_publication_is_damaged(
        self, database: Database, tmp_path: Path, harm: Callable[[Path], None]
    ) -> None:
        """No earlier session takes its place: the pointer stays, and what is wrong is said."""
        publish(tmp_path, database, 1)
        publish(tmp_path, database, 2)
        before = (tmp_path / "us/v1/latest.json").read_bytes()
        file = tmp_path / "us/v1/sessions/2024-01-03/00000002/signals.csv"
        data = file.read_bytes()
        harm(file)
        publisher = Publisher(tmp_path, database)
        recovery = publisher.recover("us", at(3))
        assert (recovery.pointer, recovery.pointer_changed) == (None, False)
        pointed = publisher.point("us")
        assert (pointed.record, pointed.changed) == (None, False)
        assert "00000002" in pointed.damaged
        assert "signals.csv" in pointed.damaged
        assert (tmp_path / "us/v1/latest.json").read_bytes() == before
        file.write_bytes(data)
        pointed = publisher.point("us")
        assert pointed.record is not None
        assert (pointed.record.publish_id, pointed.damaged) == ("00000002", "")

    def test_publication_that_cannot_be_read_is_not_damaged(
        self, database: Database, tmp_path: Path
    ) -> None:
        """What the disk refuses for now is an error to try again; nothing moves, nothing goes."""
        publish(tmp_path, database, 1)
        before = (tmp_path / "us/v1/latest.json").read_bytes()
        publisher = Publisher(tmp_path, database)
        reservation, files = reserved(publisher, 2)
        with pytest.raises(Crash):
            publisher.publish(reservation, files, now=at(2), mark=crash)
        for number in (2, 1):
            [folder] = (tmp_path / f"us/v1/sessions/{day(number)}").iterdir()
            with unreadable(folder / "signals.csv"):
                with pytest.raises(StorageError, match="cannot be read") as caught:
                    publisher.recover("us", at(3))
                assert caught.value.retryable
                assert (tmp_path / "us/v1/latest.json").read_bytes() == before
            if number == 2:
                shutil.rmtree(reservation.path)
        assert not publisher.recover("us", at(3)).pointer_changed

    def test_ids_are_counted_as_numbers(self, database: Database, tmp_path: Path) -> None:
        """A row that is named otherwise does not stop the counting."""
        publish(tmp_path, database, 1)
        with database.transaction() as c:
            c.execute(update(table(PublicationRecord)), {"publish_id": "9"})
        assert reserved(Publisher(tmp_path, database), 2)[0].publish_id == "00000010"
        assert reserved(Publisher(tmp_path, database), 3)[0].publish_id == "00000011"

    def test_wrong_manifest_is_refused(self, database: Database, tmp_path: Path) -> None:
        """Files of another session, or that the manifest does not describe, are not published."""
        publisher = Publisher(tmp_path, database)
        one, files = reserved(publisher, 1)
        two, _ = reserved(publisher, 2)
        with pytest.raises(IntegrityError, match="the manifest says"):
            publisher.publish(two, files, now=at(2))
        with pytest.raises(IntegrityError, match=r"signals\.csv is not what the manifest says"):
            publisher.publish(one, {**files, "signals.csv": b"x"}, now=at(1))
        assert not one.path.exists()

    def test_nothing_to_recover(self, database: Database, tmp_path: Path) -> None:
        """An empty tree recovers to an empty tree."""
        recovery = Publisher(tmp_path, database).recover("us", at(1))
        assert (recovery.adopted, recovery.swept, recovery.pointer) == ((), (), None)
        assert verify(tmp_path) == verify_database(database, tmp_path) == []


def test_full_disk_keeps_the_last_publication(tmp_path: Path, sqlite: Database) -> None:
    """When the disk refuses, the pointer and the tree stay; afterwards the same id is published."""
    publish(tmp_path, sqlite, 1)
    publisher = Publisher(tmp_path, sqlite)
    reservation, files = reserved(publisher, 2)
    (tmp_path / "us/v1/sessions/2024-01-03").write_bytes(b"a file where the folder must be")
    with pytest.raises(StorageError):
        publisher.publish(reservation, files, now=at(2))
    assert pointer(tmp_path)["publish_id"] == "00000001"
    (tmp_path / "us/v1/sessions/2024-01-03").unlink()
    publisher.publish(reservation, files, now=at(2))
    assert verify_database(sqlite, tmp_path) == []


def test_same_publications_make_the_same_tree(tmp_path: Path, migrated_file: Path) -> None:
    """Two runs over the same sessions give the same bytes, file for file."""
    trees = []
    for name in ("one", "two"):
        shutil.copy(migrated_file, tmp_path / f"{name}.sqlite")
        database = Database.file(tmp_path / f"{name}.sqlite")
        for number in range(3):
            publish(tmp_path / name, database, number)
        database.close()
        root = tmp_path / name
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        trees.append({str(path.relative_to(root)): path.read_bytes() for path in paths})
    assert trees[0] == trees[1]
