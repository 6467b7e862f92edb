"""A byte that flips anywhere: found, put right or of no effect; nothing is deleted."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from daemon import restore
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import InlineReminer
from signals.errors import IntegrityError
from storage.backups import backup_path, changed_rows, file_damage, write_backup
from storage.bars import BarStore, vintages
from storage.database import Database
from storage.integrity import verify, verify_database
from storage.publishing import Publisher, publications
from storage.reader import SignalRefused, read_latest
from tests.daemon.small import FIRST, MARKET, SESSIONS, living, small_settings

#: Sessions lived through, and offsets a file is spoiled at.
N_SESSIONS, N_OFFSETS = 4, 100
#: Offsets at which a whole start is made; `make faults` makes it at all.
N_STARTS = 3
#: Tables whose rows change as a matter of course, so that no backup can tell what they were.
CHANGING = {"alerts", "epochs", "fetch_marks", "market_controls", "notifications"}
NOW = datetime(2023, 6, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Lived:
    """A home after some sessions, not to be opened; its log is not written back."""

    home: Path

    @property
    def log(self) -> bytes:
        return (self.home / "state" / "alphad.db-wal").read_bytes()

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.home, target, ignore=shutil.ignore_patterns("cache"))
        small_settings(target)
        return target


def tree(home: Path) -> dict[str, bytes]:
    root = home / "published"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """Return a home as a kill left it, with a backup of that very state."""
    home, killed = (tmp_path_factory.mktemp(name) for name in ("alive", "killed"))
    with living(home) as alive:
        recover(alive.context)
        for number in range(FIRST, FIRST + N_SESSIONS):
            alive.until(number)
            Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        folder = restore.backup_folder(alive.context.settings)
        write_backup(alive.context.database, backup_path(folder, SESSIONS[FIRST + N_SESSIONS]))
        shutil.copytree(home, killed, dirs_exist_ok=True)  # before the log is written back
    return Lived(killed)


def offsets(size: int, count: int = N_OFFSETS) -> list[int]:
    """Return offsets spread over a file, its first and last byte among them."""
    return sorted(set(np.linspace(0, size - 1, count).astype(int).tolist()))


def spoiled(data: bytes, count: int = N_OFFSETS) -> Iterator[tuple[int, bytes]]:
    """Yield the content with one bit turned at each offset; which bit differs."""
    for number, at in enumerate(offsets(len(data), count)):
        changed = bytearray(data)
        changed[at] ^= 1 << (number % 8)
        yield at, bytes(changed)


def rows(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as opened:
        names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(map(repr, opened.execute(f"SELECT * FROM {name}"))) for (name,) in names
        }


def test_flipped_bit_in_the_database_is_found_or_of_no_effect(lived: Lived, tmp_path: Path) -> None:
    """The start refuses the file, or verify finds the row, or every row is as it was."""
    whole = lived.copy(tmp_path / "home") / "state" / "alphad.db"
    with closing(sqlite3.connect(whole)) as opened:  # closing it writes the log back
        [revision] = opened.execute("SELECT version_num FROM alembic_version").fetchone()
    [backup] = (lived.home / "state" / "backups").glob("*.db")
    expected, found = rows(whole), {"start": 0, "verify": 0, "none": 0}
    for at, data in spoiled(whole.read_bytes()):
        path = tmp_path / f"{at}.db"
        path.write_bytes(data)
        if file_damage(path):
            found["start"] += 1
            continue
        database = Database.file(path)
        if database.check() or changed_rows(database, backup) or database.revision() != revision:
            found["verify"] += 1
        else:
            now = rows(path)
            assert {name for name in expected if now[name] != expected[name]} <= CHANGING, at
            found["none"] += 1
        database.close()
    assert found["start"] > 0
    assert found["verify"] > 0


def start(home: Path) -> None:
    """Start, catch up one session more, and check what every fault must leave true."""
    before = tree(home)
    with living(home) as alive:
        alive.until(FIRST + N_SESSIONS)
        recover(alive.context)
        Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        settings = alive.context.settings
        assert verify(settings.publish_dir) == []
        assert (
            verify_database(alive.context.database, settings.publish_dir, settings.state_dir) == []
        )
        with alive.context.database.read() as conn:
            known = publications(conn, MARKET)
    assert [row.publish_id for row in known] == [f"{n:08d}" for n in range(1, N_SESSIONS + 2)]
    assert [row.session for row in known] == list(SESSIONS[FIRST : FIRST + N_SESSIONS + 1])
    after = tree(home)
    assert all(after[name] == data for name, data in before.items() if "sessions" in name)


def start_with(lived: Lived, name: str, count: int, tmp_path: Path) -> None:
    """Start with a file of the state spoiled at so many offsets; what it was is kept."""
    data = (lived.home / "state" / name).read_bytes()
    vintages = {path.name for path in (lived.home / "state").rglob("*.parquet")}
    for at, changed in spoiled(data, count):
        home = lived.copy(tmp_path / f"{name}-{at}")
        (home / "state" / name).write_bytes(changed)
        start(home)
        assert vintages <= {path.name for path in (home / "state").rglob("*.parquet")}, at
        aside = list((home / "state" / "set-aside").glob("*/alphad.db"))
        assert len(aside) <= 1, at
        shutil.rmtree(home)


def test_start_survives_a_flipped_bit_in_the_database_or_its_log(
    lived: Lived, tmp_path: Path
) -> None:
    """Each session stays published once, ids go on, every file of bars is still there."""
    assert lived.log
    start_with(lived, "alphad.db", N_STARTS, tmp_path)
    start_with(lived, "alphad.db-wal", N_STARTS, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["alphad.db", "alphad.db-wal"])
def test_start_survives_a_flipped_bit_anywhere(lived: Lived, tmp_path: Path, name: str) -> None:
    """The same at a hundred offsets of each."""
    start_with(lived, name, N_OFFSETS, tmp_path)


@pytest.mark.slow
def test_flipped_bit_in_the_log_loses_no_publication(lived: Lived, tmp_path: Path) -> None:
    """What the log no longer tells, the published tree and the backup do."""
    home = lived.copy(tmp_path / "home")
    settings = small_settings(home)
    for at, changed in spoiled(lived.log):
        state = tmp_path / f"{at}"
        state.mkdir()
        shutil.copy(home / "state" / "alphad.db", state)
        (state / "alphad.db-wal").write_bytes(changed)
        there = settings.model_copy(update={"state_dir": state})
        database = Database.file(state / "alphad.db")
        swapped = restore.heal(there, database, NOW)
        database.migrate()
        restore.account(there, database, NOW, swapped)
        with database.read() as conn:
            known = [row.publish_id for row in publications(conn, MARKET)]
        database.close()
        assert known == [f"{n:08d}" for n in range(1, N_SESSIONS + 1)], at


def test_flipped_bit_in_a_vintage_is_never_read(lived: Lived, tmp_path: Path) -> None:
    """A file of bars that has changed is refused with what it should be."""
    home = lived.copy(tmp_path / "home")
    database = Database.file(home / "state" / "alphad.db")
    with database.read() as conn:
        last = vintages(conn, MARKET)[-1]
    path = home / "state" / last.path
    whole = path.read_bytes()
    for _, data in spoiled(whole):
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="has changed"):
            BarStore(home / "state", database).read(last)
    path.write_bytes(whole)
    BarStore(home / "state", database).read(last)
    database.close()


def test_flipped_bit_in_the_panel_cache_has_no_effect(lived: Lived, tmp_path: Path) -> None:
    """Bars are read from the vintages again; every value is the same."""
    state = lived.copy(tmp_path / "home") / "state"
    database = Database.file(state / "alphad.db")
    last = SESSIONS[FIRST + N_SESSIONS - 1]

    def read() -> bytes:
        panel = BarStore(state, database).panel(MARKET, as_of=NOW, last_session=last)
        return b"".join(np.asarray(panel.fields[name]).tobytes() for name in sorted(panel.fields))

    expected = read()
    folder = state / "cache" / MARKET
    for pattern in ("meta.json", "rows-*.bin"):
        [path] = folder.glob(pattern)
        for at, data in spoiled(path.read_bytes(), N_OFFSETS // 4):
            path.write_bytes(data)
            assert (read() == expected) is True, (pattern, at)
            [path] = folder.glob(pattern)
    database.close()


@pytest.mark.parametrize("which", [0, -1])
def test_flipped_bit_in_a_manifest_is_found_by_everyone(
    lived: Lived, tmp_path: Path, which: int
) -> None:
    """Verify finds it with the tree alone; a consumer refuses; the pointer does not go back.

    A manifest in the middle of the chain is told by the one after it, the last one by the pointer.
    """
    home = lived.copy(tmp_path / "home")
    database = Database.file(home / "state" / "alphad.db")
    publisher = Publisher(home / "published", database)
    pointer = home / "published" / MARKET / "v1" / "latest.json"
    path = sorted((home / "published").rglob("manifest.json"))[which]
    whole, named = path.read_bytes(), pointer.read_bytes()
    for at, data in spoiled(whole, N_OFFSETS // (4 if which else 2)):
        path.write_bytes(data)
        assert verify(home / "published") != [], at
        if which == -1:
            assert reads(home) == "refused", at
            assert publisher.point(MARKET).damaged, at
            assert reads(home) == "refused", at
            assert pointer.read_bytes() == named, at
    path.write_bytes(whole)
    assert verify(home / "published") == []
    database.close()


def reads(home: Path) -> str:
    """Return what a consumer gets: a publish id, or that it is refused."""
    try:
        return read_latest(
            home / "published", MARKET, now=datetime(2023, 6, 1, 20, tzinfo=UTC)
        ).publish_id
    except SignalRefused:
        return "refused"


def test_flipped_bit_in_the_pointer_is_put_right_by_the_next_tick(
    lived: Lived, tmp_path: Path
) -> None:
    """A consumer refuses it or reads what it should; the next look replaces it."""
    home = lived.copy(tmp_path / "home")
    database = Database.file(home / "state" / "alphad.db")
    publisher = Publisher(home / "published", database)
    pointer = home / "published" / MARKET / "v1" / "latest.json"
    whole = pointer.read_bytes()
    for at, data in spoiled(whole):
        pointer.write_bytes(data)
        assert reads(home) in ("refused", f"{N_SESSIONS:08d}"), at
        assert publisher.point(MARKET)[1], at
        assert pointer.read_bytes() == whole, at
    database.close()
