from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from signals.errors import StorageError
from storage import ledger, upkeep
from storage.backups import (
    backup_damage,
    backup_path,
    backups,
    changed_rows,
    file_damage,
    good_backups,
    put_in_place,
    rotate,
    write_backup,
)
from storage.database import Database
from storage.tables import Epoch, Notification, table

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def succeed_a_run(database: Database, session: date = date(2026, 11, 23)) -> None:
    with database.transaction() as conn:
        run = ledger.begin(conn, "us", session, "ingest", "a", NOW)
        ledger.succeed(conn, run, NOW, {"bars": 7})


def test_backup_is_whole_sealed_and_holds_every_row(sqlite: Database, tmp_path: Path) -> None:
    """A backup is a database of its own with every committed row, and its sha256 beside it."""
    succeed_a_run(sqlite)
    target = backup_path(tmp_path / "backups", NOW.date())
    assert write_backup(sqlite, target) == target.stat().st_size
    assert backup_damage(target) == ""
    copy = Database.file(target)
    with copy.read() as conn:
        assert ledger.succeeded(conn, "us", "ingest") == {date(2026, 11, 23)}
    copy.close()
    assert [path.name for path in backups(tmp_path / "backups", NOW.date())] == [
        "alphad-2026-11-24.db"
    ]


def test_backup_is_written_beside_a_writer(sqlite: Database, tmp_path: Path) -> None:
    """A backup neither waits for a transaction that is open nor holds what it has not committed."""
    with sqlite.transaction() as conn:
        ledger.begin(conn, "us", date(2026, 11, 23), "ingest", "a", NOW)
        write_backup(sqlite, tmp_path / "copy.db")
    copy = Database.file(tmp_path / "copy.db")
    with copy.read() as conn:
        assert ledger.history(conn, "us") == []
    copy.close()


def test_changed_backup_is_not_good(sqlite: Database, tmp_path: Path) -> None:
    """A backup that differs from its seal, or that quick_check refuses, is passed over."""
    older, newer = (backup_path(tmp_path, date(2026, 11, day)) for day in (23, 24))
    for path in (older, newer):
        write_backup(sqlite, path)
    data = bytearray(newer.read_bytes())
    data[-1] ^= 1
    newer.write_bytes(data)
    assert backup_damage(newer) == "it is not what was sealed"
    assert list(good_backups(tmp_path, NOW.date())) == [older]
    newer.with_name(f"{newer.name}.sha256").unlink()
    newer.write_bytes(b"\0" * 100 + bytes(data[100:]))
    assert backup_damage(newer) != ""


def test_copy_made_before_a_migration_is_the_last_resort(sqlite: Database, tmp_path: Path) -> None:
    """Backups of the day come first, then what was copied before the tables changed."""
    path = sqlite.path
    assert path is not None
    early = path.with_name(f"{path.name}.before-0007")
    sqlite.backup(early)
    assert list(good_backups(tmp_path / "backups", NOW.date(), path)) == [early]
    write_backup(sqlite, backup_path(tmp_path / "backups", NOW.date()))
    assert list(good_backups(tmp_path / "backups", NOW.date(), path))[-1] == early


def test_only_the_newest_backups_are_kept(sqlite: Database, tmp_path: Path) -> None:
    """Rotation removes the oldest with their seals, and nothing that is no daily backup."""
    for day in range(1, 6):
        write_backup(sqlite, backup_path(tmp_path / "b", date(2026, 11, day)))
    write_backup(sqlite, tmp_path / "b" / "mine.db")
    assert len(rotate(tmp_path / "b", NOW.date(), 2)) == 3
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "alphad-2026-11-04.db",
        "alphad-2026-11-04.db.sha256",
        "alphad-2026-11-05.db",
        "alphad-2026-11-05.db.sha256",
        "mine.db",
        "mine.db.sha256",
    ]


def test_backup_named_in_the_future_comes_last(sqlite: Database, tmp_path: Path) -> None:
    """What was made while the clock was wrong is neither restored first nor kept longest."""
    days = [date(2036, 1, 1), date(2026, 11, 25), date(2026, 11, 24)]
    future, tomorrow, today = (backup_path(tmp_path, day) for day in days)
    for path in (future, tomorrow, today):
        write_backup(sqlite, path)
    assert list(good_backups(tmp_path, NOW.date())) == [tomorrow, today, future]
    assert rotate(tmp_path, NOW.date(), 2) == [future]


def test_server_is_not_backed_up_here(tmp_path: Path) -> None:
    """Of a PostgreSQL the error says whose business a backup is."""
    server = Database("postgresql://nobody@localhost:1/none")
    with pytest.raises(StorageError) as caught:
        write_backup(server, tmp_path / "copy.db")
    assert "pg_dump" in caught.value.hint


def test_what_was_there_is_moved_whole_and_its_log_with_it(
    sqlite: Database, tmp_path: Path
) -> None:
    """A copy put in place gets no log of the file before; that one keeps its own."""
    succeed_a_run(sqlite)
    write_backup(sqlite, tmp_path / "copy.db")
    succeed_a_run(sqlite, date(2026, 11, 24))
    path = sqlite.path
    assert path is not None
    before = {end: path.with_name(path.name + end).read_bytes() for end in ("", "-wal")}
    there = tmp_path / "there"
    there.mkdir()
    for end, data in before.items():
        (there / f"alphad.db{end}").write_bytes(data)
    moved = put_in_place(tmp_path / "copy.db", there / "alphad.db", tmp_path / "aside")
    assert [path.name for path in moved] == ["alphad.db", "alphad.db-wal"]
    assert {path.name: path.read_bytes() for path in moved} == {
        f"alphad.db{end}": data for end, data in before.items()
    }
    assert [path.name for path in there.iterdir()] == ["alphad.db"]


def test_check_leaves_a_log_as_it_is(sqlite: Database, tmp_path: Path) -> None:
    """Looking at a database that a kill left with its log changes neither."""
    succeed_a_run(sqlite)
    path = sqlite.path
    assert path is not None
    for end in ("", "-wal"):
        shutil.copy(path.with_name(path.name + end), tmp_path / f"killed.db{end}")
    before = {name: (tmp_path / name).read_bytes() for name in ("killed.db", "killed.db-wal")}
    assert file_damage(tmp_path / "killed.db") == ""
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_locked_file_is_not_taken_for_a_broken_one(sqlite: Database) -> None:
    """Of a database that another process holds nobody says that it is broken."""
    path = sqlite.path
    assert path is not None
    sqlite.close()
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="cannot be looked at") as caught:
            file_damage(path, wait=0.01)
    assert caught.value.retryable


def test_changed_value_in_a_settled_row_is_found(sqlite: Database, tmp_path: Path) -> None:
    """SQLite has no checksums: a value that is not what the backup holds is found by comparing."""
    succeed_a_run(sqlite)
    copy = backup_path(tmp_path, NOW.date())
    write_backup(sqlite, copy)
    succeed_a_run(sqlite, date(2026, 11, 24))  # a new row is no change
    assert changed_rows(sqlite, copy) == []
    path = sqlite.path
    assert path is not None
    with closing(sqlite3.connect(path)) as live, live:
        live.execute("UPDATE stage_runs SET detail = '{\"bars\":8}' WHERE session = '2026-11-23'")
    assert sqlite.check() == []
    assert changed_rows(sqlite, copy) == [f"1 rows of stage_runs are not what {copy.name} holds"]


def test_old_notifications_and_lives_are_forgotten(database: Database) -> None:
    """What was sent long ago goes; what waits stays, and the newest life stays whatever its age."""
    notifications, epochs = table(Notification), table(Epoch)
    old, late = NOW - timedelta(days=100), NOW - timedelta(days=1)
    rows = [
        {
            "market": "us", "key": "k", "kind": "raised", "severity": "error", "message": "m",
            "channel": "c", "dedupe_key": str(number), "created_at": old, "attempts": 1,
            "next_attempt_at": old, "sent_at": sent, "given_up_at": None, "error": None,
        }
        for number, sent in enumerate((old, late, None))
    ]  # fmt: skip
    lives = [
        {
            "number": number, "instance": "i", "host": "h", "pid": 1, "state_dir": "s",
            "version": "v", "started_at": old, "renewed_at": old, "ended_at": old,
        }
        for number in (1, 2)
    ]  # fmt: skip
    with database.transaction() as conn:
        conn.execute(insert(notifications), rows)
        conn.execute(insert(epochs), lives)
    with database.transaction() as conn:
        before = NOW - timedelta(days=90)
        assert upkeep.forget_notifications(conn, before) == 1
        assert upkeep.forget_epochs(conn, before) == 1
    with database.read() as conn:
        kept = conn.execute(select(notifications.c.dedupe_key)).scalars().all()
        assert sorted(kept) == ["1", "2"]
        assert conn.execute(select(epochs.c.number)).scalars().all() == [2]


def test_tidying_does_not_wait_for_a_writer(sqlite: Database) -> None:
    """A database somebody writes to is tidied another time."""
    succeed_a_run(sqlite)
    with sqlite.transaction() as conn:
        ledger.begin(conn, "us", date(2026, 11, 24), "ingest", "a", NOW)
        upkeep.tidy(sqlite)
    upkeep.tidy(sqlite)
    assert sqlite.check() == []


def test_only_old_temporaries_are_removed(tmp_path: Path) -> None:
    """A write that is under way is left alone, and so is everything that is no temporary."""
    (tmp_path / "a").mkdir()
    old, new, file = (tmp_path / "a" / name for name in (".x.tmp", ".y.tmp", "z.tmp"))
    for path in (old, file):
        path.write_bytes(b"1")
    border = datetime.fromtimestamp(old.stat().st_mtime + 1, UTC)
    assert upkeep.remove_temporaries(tmp_path, border) == [old]
    new.write_bytes(b"2")
    assert upkeep.remove_temporaries(tmp_path, border - timedelta(days=1)) == []
    assert upkeep.remove_temporaries(tmp_path / "absent", border) == []
