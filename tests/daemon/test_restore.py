from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon import restore
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import InlineReminer
from signals.errors import IntegrityError
from storage import alerts, controls, ledger
from storage.backups import backup_path, write_backup
from storage.database import Database
from storage.integrity import verify, verify_database
from storage.publishing import publications
from storage.tables import ControlState
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, living, small_settings


def reconciler(alive: Living) -> Reconciler:
    return Reconciler(alive.context, InlineReminer(alive.context))


def live_through(path: Path, first: int, stop: int) -> None:
    """Live through sessions number `first` to `stop`, half-open, each at its finality."""
    with living(path) as alive:
        for number in range(first, stop):
            alive.until(number)
            recover(alive.context)
            reconciler(alive).tick(alive.market)


def tree(path: Path) -> dict[str, bytes]:
    root = path / "published"
    files = (file for file in sorted(root.rglob("*")) if file.is_file())
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def told(alive: Living) -> dict[str, str]:
    with alive.context.database.read() as conn:
        return {alert.key: alert.message for alert in alerts.open_alerts(conn, MARKET)}


def findings(alive: Living) -> list[str]:
    settings = alive.context.settings
    found = [
        *verify(settings.publish_dir),
        *verify_database(alive.context.database, settings.publish_dir, settings.state_dir),
    ]
    return [f"{each.path}: {each.fact}" for each in found]


def spoil(path: Path) -> None:
    """Write over the first page of a database."""
    data = path.read_bytes()
    path.write_bytes(b"\0" * 64 + data[64:])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return seven sessions that nothing has disturbed."""
    path = tmp_path_factory.mktemp("undisturbed")
    live_through(path, FIRST, FIRST + 7)
    return path


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return six sessions, with a backup made after the third; not to be changed."""
    path = tmp_path_factory.mktemp("six")
    live_through(path, FIRST, FIRST + 3)
    with living(path) as alive:
        folder = restore.backup_folder(alive.context.settings)
        write_backup(alive.context.database, backup_path(folder, SESSIONS[FIRST + 2]))
    live_through(path, FIRST + 3, FIRST + 6)
    return path


@pytest.fixture
def home(six: Path, tmp_path: Path) -> Path:
    """Return a copy of those six sessions."""
    return shutil.copytree(six, tmp_path / "home")


def test_broken_database_is_replaced_and_the_end_is_the_same(home: Path, undisturbed: Path) -> None:
    """After a restore the published tree stands and goes on with the bytes of a clean run."""
    before = tree(home)
    broken = home / "state" / "alphad.db"
    spoil(broken)
    spoiled = broken.read_bytes()
    live_through(home, FIRST + 6, FIRST + 7)
    after = tree(home)
    assert all(after[name] == data for name, data in before.items() if "sessions" in name)
    assert (after == tree(undisturbed)) is True
    [aside] = (home / "state" / "set-aside").iterdir()
    assert (aside / "alphad.db").read_bytes() == spoiled
    assert len(list((aside / "bars" / MARKET).glob("*.parquet"))) == 3
    with living(home) as alive:
        assert findings(alive) == []
        message = told(alive)["restored"]
    assert "3 publications since then count again (00000004 to 00000006" in message
    assert "nothing was deleted" in message


def test_missing_database_is_replaced(home: Path, undisturbed: Path) -> None:
    """A database that is gone although there are backups is restored like a broken one."""
    (home / "state" / "alphad.db").unlink()
    live_through(home, FIRST + 6, FIRST + 7)
    assert (tree(home) == tree(undisturbed)) is True


def test_sessions_since_the_backup_are_observed_again_and_not_published_again(home: Path) -> None:
    """Each session has one publication; ICs of the sessions in between are there again."""
    spoil(home / "state" / "alphad.db")
    live_through(home, FIRST + 6, FIRST + 7)
    with living(home) as alive, alive.context.database.read() as conn:
        rows = publications(conn, MARKET)
        assert [row.publish_id for row in rows] == [f"{n:08d}" for n in range(1, 8)]
        assert [row.session for row in rows] == list(SESSIONS[FIRST : FIRST + 7])
        for stage in ("ingest", "observe", "publish"):
            assert ledger.succeeded(conn, MARKET, stage) == set(SESSIONS[FIRST : FIRST + 7])
        causes = [run.cause for run in ledger.history(conn, MARKET, stage="publish")]
    assert causes.count("restored") == 3


def test_backup_that_is_broken_is_passed_over(home: Path) -> None:
    """A newer backup that is not what was sealed is not used; the one before it is."""
    folder = home / "state" / "backups"
    [good] = folder.glob("*.db")
    newer = backup_path(folder, SESSIONS[FIRST + 5])
    shutil.copy(good, newer)
    newer.with_name(f"{newer.name}.sha256").write_text("0" * 64 + "\n")
    spoil(home / "state" / "alphad.db")
    with living(home) as alive:
        assert str(good) in told(alive)["restored"]
    assert newer.exists()


def test_backup_of_what_is_no_longer_so_is_set_aside(home: Path) -> None:
    """Once an older backup stands in, a newer one holds what never was, and is kept elsewhere."""
    folder = home / "state" / "backups"
    [older] = folder.glob("*.db")
    newer = backup_path(folder, SESSIONS[FIRST + 5])
    settings, now = small_settings(home), datetime(2024, 1, 2, tzinfo=UTC)
    database = Database.file(home / "state" / "alphad.db")
    write_backup(database, newer)
    swapped = restore.swap(database, older, "an operator asked for it", now)
    database.migrate()
    restore.account(settings, database, now, swapped)
    database.close()
    assert older.exists()
    assert not newer.exists()
    assert (swapped.aside / "backups" / newer.name).exists()


def test_ledger_that_lost_more_than_a_backup_holds_is_replaced_by_it(home: Path) -> None:
    """A ledger that is whole, and older than its newest backup, gives way to the backup."""
    folder = home / "state" / "backups"
    [older] = folder.glob("*.db")
    newer = backup_path(folder, SESSIONS[FIRST + 5])
    database = Database.file(home / "state" / "alphad.db")
    write_backup(database, newer)
    database.close()
    shutil.copy(older, home / "state" / "alphad.db")
    with living(home) as alive:
        assert f"the backup {newer} stands in its place" in told(alive)["restored"]
        assert findings(alive) == []


def test_without_a_backup_the_start_is_refused_and_names_the_way_out(home: Path) -> None:
    """The broken file is moved, the error names it and the command, also at the next start."""
    shutil.rmtree(home / "state" / "backups")
    spoil(home / "state" / "alphad.db")
    with pytest.raises(IntegrityError, match=r"set-aside") as caught, living(home):
        pass
    assert restore.FROM_PUBLISHED in caught.value.hint
    with pytest.raises(IntegrityError, match="is gone, though there are files"), living(home):
        pass


def test_ledger_begun_from_the_published_tree_goes_on_with_its_ids(home: Path) -> None:
    """Without any ledger ids and chain go on where the tree ends, with the next session."""
    (home / "state" / "alphad.db").unlink()
    shutil.rmtree(home / "state" / "backups")
    restore_from_published(home)
    before = tree(home)
    live_through(home, FIRST + 6, FIRST + 7)
    after = tree(home)
    assert all(after[name] == data for name, data in before.items() if "sessions" in name)
    with living(home) as alive:
        assert findings(alive) == []
        with alive.context.database.read() as conn:
            ids = [row.publish_id for row in publications(conn, MARKET)]
    assert ids == [f"{n:08d}" for n in range(1, 8)]


def restore_from_published(home: Path) -> None:
    settings, now = small_settings(home), datetime(2024, 1, 2, tzinfo=UTC)
    database = Database.file(home / "state" / "alphad.db")
    swapped = restore.swap(database, None, "an operator asked for it", now)
    database.migrate()
    message = restore.account(settings, database, now, swapped)[MARKET]
    database.close()
    assert "6 publications since then count again" in message


def test_lost_end_of_the_log_is_found_in_the_published_tree(home: Path, undisturbed: Path) -> None:
    """A whole but older ledger counts what it does not know, keeps the files, tells of it."""
    [backup] = (home / "state" / "backups").glob("*.db")
    shutil.copy(backup, home / "state" / "alphad.db")
    with living(home) as alive:
        assert told(alive)["restored"].startswith("the ledger has lost its end")
    assert len(list((home / "state" / "set-aside").rglob("*.parquet"))) == 3
    live_through(home, FIRST + 6, FIRST + 7)
    assert (tree(home) == tree(undisturbed)) is True


def test_damaged_folder_keeps_its_id(home: Path) -> None:
    """A folder that is damaged is no reason to give its id again, and its hash stays known."""
    session = SESSIONS[FIRST + 4].isoformat()
    manifest = home / "published" / MARKET / "v1" / "sessions" / session / "00000005/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    spoil(home / "state" / "alphad.db")
    live_through(home, FIRST + 6, FIRST + 7)
    with living(home) as alive:
        message = told(alive)["restored"]
        with alive.context.database.read() as conn:
            rows = {row.publish_id: row for row in publications(conn, MARKET)}
        found = findings(alive)
    assert f"sessions/{session}/00000005 is damaged" in message
    assert sorted(rows) == [f"{n:08d}" for n in range(1, 8)]
    assert rows["00000005"].manifest_sha256 not in (None, "0" * 64)
    assert all("00000005" in each or "00000006" in each for each in found)


def test_halt_since_the_backup_stays(home: Path) -> None:
    """A market that was halted after the backup is halted after the restore."""
    with living(home) as alive, alive.context.database.transaction() as conn:
        controls.set_state(
            conn, MARKET, ControlState.HALTED, reason="fat finger", who="kim", now=alive.clock.now()
        )
    with living(home) as alive:
        alive.context.publisher.point(MARKET)
    spoil(home / "state" / "alphad.db")
    with living(home) as alive:
        with alive.context.database.read() as conn:
            control = controls.control(conn, MARKET)
        assert control is not None
        assert (control.state, control.reason, control.who) == ("halted", "fat finger", "kim")
        assert "halted since then" in told(alive)["restored"]


def test_factor_that_only_the_tree_knows_is_named(home: Path) -> None:
    """What was accepted since the backup and published is told with its expression."""
    [backup] = (home / "state" / "backups").glob("*.db")
    with closing(sqlite3.connect(backup)) as old, old:
        old.execute("PRAGMA foreign_keys=OFF")
        old.execute("UPDATE factors SET id = 'another' WHERE id = 'reversal'")
    backup.with_name(f"{backup.name}.sha256").unlink()
    spoil(home / "state" / "alphad.db")
    with living(home) as alive:
        assert "gone from the registry: reversal = " in told(alive)["restored"]


def test_new_state_directory_begins_with_nothing(tmp_path: Path) -> None:
    """Where nothing was published and nothing stored, a start is a start."""
    with living(tmp_path) as alive:
        assert told(alive) == {}
    (tmp_path / "state" / "alphad.db").write_bytes(b"")  # killed before the first table
    with living(tmp_path) as alive:
        assert told(alive) == {}
