from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.bars import vintages
from storage.damage import damage
from storage.database import Database
from storage.integrity import verify
from storage.publishing import publications
from storage.reader import read_latest
from storage.tables import PublicationStatus
from tests.daemon.small import MARKET
from tests.faults.synced import Call, Disk, traced
from tests.tools import tool

pytestmark = pytest.mark.slow

#: Lives through two sessions in the folder given.
RUN = """
import sys
from pathlib import Path
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from tests.daemon.small import FIRST, living

with living(Path(sys.argv[1])) as alive:
    for number in (FIRST, FIRST + 1):
        alive.until(number)
        for _ in range(3):  # what fails is done by the next tick, at the same time
            Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
"""
NOW = datetime(2023, 5, 30, 21, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Call]]:
    """Return the folder of a run, and what it asked of the disk."""
    folder = tmp_path_factory.mktemp("traced")
    home = folder / "home"
    home.mkdir()
    command = [sys.executable, "-c", RUN, str(home)]
    return str(home), traced(tool("strace"), command, folder / "log")


def is_renaming(call: Call, end: str) -> bool:
    return call.name.startswith("rename") and call.paths[1].endswith(end)


def test_pointer_never_names_what_is_not_synced(
    calls: tuple[str, list[Call]], tmp_path: Path
) -> None:
    """If of all that is unsynced only the new pointer were kept, all it names would be there.

    That is: the folder, every file in it, and the row of the ledger that makes it count.
    """
    home, made = calls
    disk, seen = Disk(home), 0
    for call in made:
        if is_renaming(call, "latest.json"):
            seen += 1
            there = disk.lay(disk.after(call), tmp_path / f"{seen}")
            assert verify(there / "published") == []
            told = read_latest(there / "published", MARKET, now=NOW)
            assert told.publish_id == f"{seen:08d}"
            database = Database.file(there / "state" / "alphad.db")
            assert database.check() == []
            with database.read() as conn:
                rows = publications(conn, MARKET, status=PublicationStatus.PUBLISHED)
            database.close()
            assert [row.publish_id for row in rows][-1] == told.publish_id
        disk.play(call)
    assert seen == 2


def test_folder_has_its_name_only_when_it_is_synced(
    calls: tuple[str, list[Call]], tmp_path: Path
) -> None:
    """If only the renaming of a published folder were kept, the folder would be whole."""
    home, made = calls
    disk, seen = Disk(home), 0
    for call in made:
        if call.name.startswith("rename") and "/sessions/" in call.paths[1]:
            seen += 1
            there = disk.lay(disk.after(call), tmp_path / f"{seen}")
            assert damage(there / call.paths[1][len(home) + 1 :]) == ""
        disk.play(call)
    assert seen == 2


def test_row_counts_only_when_its_vintage_is_synced(
    calls: tuple[str, list[Call]], tmp_path: Path
) -> None:
    """Whatever is synced of the ledger at any moment names files of bars that are synced, too."""
    home, made = calls
    disk, looks = Disk(home), 0
    for call in made:
        disk.play(call)
        if not call.name.endswith("sync") or not call.paths[0].endswith("alphad.db-wal"):
            continue
        looks += 1
        there = disk.lay(disk.files(), tmp_path / f"{looks}")
        database = Database.file(there / "state" / "alphad.db")
        assert database.check() == []
        if database.revision() is not None:
            with database.read() as conn:
                for row in vintages(conn, MARKET):
                    assert (there / "state" / row.path).is_file(), (looks, row.path)
        database.close()
    assert looks > 5
