"""Transactions, migration, backup and check."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from signals.errors import ConfigError, StorageError
from storage import jobs
from storage.database import Database
from storage.files import refuse_network_filesystem
from storage.tables import Base, RemineJob, table
from tests.storage.build import at, day


class TestDatabase:
    """What holds on every database."""

    def test_migrated_tables_are_the_models(self, database: Database) -> None:
        """The migrations build exactly the tables that the models declare."""
        with database.read() as c:
            context = MigrationContext.configure(c, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []

    def test_migration_is_idempotent(self, database: Database) -> None:
        """A migrated database is left alone."""
        with database.transaction() as c:
            jobs.open_job(c, "us", day(1), {}, 7, at(1))
        database.migrate()
        with database.read() as c:
            assert len(jobs.jobs(c, "us")) == 1

    def test_newer_database_is_refused(self, database: Database) -> None:
        """A database of a newer release is left alone and named."""
        with database.transaction() as c:
            c.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(StorageError, match="revision 9999"):
            database.migrate()

    def test_whole_database_has_no_problem(self, database: Database) -> None:
        """The check of a whole database finds nothing."""
        assert database.check() == []

    def test_constraints_hold(self, database: Database) -> None:
        """A status that does not exist is refused by the database itself."""
        with database.transaction() as c:
            jobs.open_job(c, "us", day(1), {}, 7, at(1))
        with pytest.raises(StorageError, match="refused"), database.transaction() as c:
            c.execute(table(RemineJob).update(), {"status": "x"})


def test_threads_write_without_losing(sqlite: Database) -> None:
    """Four threads that read and then write 25 times each lose no write and meet no lock error."""

    def work(_: int) -> None:
        for _ in range(25):
            with sqlite.transaction() as c:
                jobs.open_job(c, "us", day(1), {}, 7, at(1))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with sqlite.read() as c:
        assert c.execute(select(table(RemineJob).c.id)).scalars().all() == list(range(1, 101))


def test_pragmas(sqlite: Database) -> None:
    """A SQLite database is in WAL mode, fully synchronous, and keeps foreign keys."""
    with sqlite.read() as c:
        values = [
            c.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 2, 1, 10000]


def test_old_file_is_backed_up_before_migration(tmp_path: Path, migrated_file: Path) -> None:
    """An existing file is copied beside itself before a migration changes it."""
    path = tmp_path / "alphad.sqlite"
    shutil.copy(migrated_file, path)
    with sqlite3.connect(path) as raw:  # as an earlier revision would have left it
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    database = Database.file(path)
    database.backup(tmp_path / "copy")
    database.close()
    with sqlite3.connect(tmp_path / "copy") as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    copy.close()


def test_tables_of_another_release_are_refused_by_who_may_not_migrate(
    tmp_path: Path, migrated_file: Path
) -> None:
    """An older revision, a newer one and none at all name both revisions and the way out."""
    path = tmp_path / "alphad.sqlite"
    shutil.copy(migrated_file, path)
    database = Database.file(path)
    database.check_current()
    for change in (
        "UPDATE alembic_version SET version_num = '0001'",
        "UPDATE alembic_version SET version_num = '9999'",
        "DELETE FROM alembic_version",
    ):
        with database.transaction() as connection:
            connection.execute(text(change))
        with pytest.raises(StorageError, match=r"is at revision (0001|9999|none)") as caught:
            database.check_current()
        assert "alphad run" in caught.value.hint
    database.close()


def test_damaged_file_is_found(sqlite: Database) -> None:
    """The check names what is wrong with a damaged file."""
    with sqlite.transaction() as c:
        for _ in range(200):
            jobs.open_job(c, "us", day(1), {"text": "x" * 200}, 7, at(1))
    sqlite.close()  # the last connection moves the write-ahead log into the file
    assert sqlite.path is not None
    data = bytearray(sqlite.path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = b"\xff" * 8192
    sqlite.path.write_bytes(data)
    assert sqlite.check() != []


@pytest.mark.parametrize("url", ["mysql://x/y", "no url", "sqlite://", "sqlite:///:memory:"])
def test_unusable_url(url: str) -> None:
    """A URL of another kind, or without a file, is an error of configuration."""
    with pytest.raises(ConfigError, match="database_url"):
        Database(url)


def test_password_is_not_shown() -> None:
    """The name used in messages hides the password."""
    assert "secret" not in Database("postgresql://user:secret@host/name").name


def test_unreachable_server_is_retryable() -> None:
    """A server that cannot be reached is an error that may pass."""
    database = Database("postgresql://user@127.0.0.1:1/name")
    with pytest.raises(StorageError) as caught, database.read():
        pass
    assert caught.value.retryable


def test_network_filesystem_is_refused(tmp_path: Path) -> None:
    """SQLite is not opened on a network filesystem."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    with pytest.raises(StorageError, match="lies on nfs4"):
        refuse_network_filesystem(tmp_path / "state", mounts)
    refuse_network_filesystem(tmp_path.parent, mounts)
