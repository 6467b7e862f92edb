"""Which folders of a tree count again in a ledger that does not know them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storage import readoption
from storage.database import Database
from storage.integrity import verify_database
from storage.publishing import publications
from tests.storage.build import at, day, publish


@pytest.fixture
def home(sqlite: Database, tmp_path: Path) -> Path:
    """Return where three publications lie."""
    for number in range(3):
        publish(tmp_path, sqlite, number)
    return tmp_path / "us/v1"


def readopt(database: Database, home: Path) -> list[str]:
    with database.transaction() as c:
        found = readoption.readopt(c, home.parents[1], "us", at(9))
        assert not readoption.is_behind(c, home.parents[1], "us")
    return [each.record.path for each in found]


@pytest.mark.parametrize(
    "name", ["9", "\u0663", "0000000\u0663", "99999999", "00000003", "00000004"]
)
@pytest.mark.parametrize("session", [1, 3])
def test_empty_folder_that_nothing_names_is_foreign(
    sqlite: Database, home: Path, name: str, session: int
) -> None:
    """It is not counted, takes no id and no session, and verify names it."""
    folder = home / "sessions" / day(session).isoformat() / name
    folder.mkdir(parents=True)
    assert readopt(sqlite, home) == []
    assert str(folder.relative_to(home)) in str(verify_database(sqlite, home.parents[1]))
    folder.rmdir()
    assert publish(home.parents[1], sqlite, 3).publish_id == "00000004"


@pytest.mark.parametrize("name", ["00000002", "00000004", "00000007"])
def test_copy_of_another_publication_is_foreign(sqlite: Database, home: Path, name: str) -> None:
    """A folder whose manifest names another session is not counted, and no row goes for it."""
    with sqlite.read() as c:
        before = publications(c, "us")
    there = home / "sessions" / day(7).isoformat() / name
    shutil.copytree(home / before[1].path, there)
    assert readopt(sqlite, home) == []
    with sqlite.read() as c:
        assert publications(c, "us") == before
        assert readoption.foreign(c, home.parents[1], "us") == [there]
    assert publish(home.parents[1], sqlite, 3).publish_id == "00000004"


def test_folder_of_another_market_is_foreign(
    home: Path, tmp_path: Path, migrated_file: Path
) -> None:
    """A ledger begun with a tree counts what is the market's own, and nothing else."""
    (tmp_path / "cn").mkdir()
    shutil.copytree(home, tmp_path / "cn/v1")
    empty = Database.file(Path(shutil.copy(migrated_file, tmp_path / "empty.sqlite")))
    with empty.transaction() as c:
        assert readoption.readopt(c, tmp_path, "cn", at(9)) == []
        assert len(readoption.foreign(c, tmp_path, "cn")) == 3
    [stray] = (home / "sessions" / day(1).isoformat()).iterdir()
    shutil.copytree(stray, home / "sessions" / day(5).isoformat() / stray.name)
    assert [Path(path).name for path in readopt(empty, home)] == [f"0000000{n}" for n in (1, 2, 3)]
    empty.close()


def test_damaged_publication_that_others_name_counts(
    home: Path, tmp_path: Path, migrated_file: Path
) -> None:
    """A folder whose manifest is torn keeps its id where a later one, or the pointer, names it."""
    for manifest in home.rglob("manifest.json"):
        if manifest.parent.name != "00000001":
            manifest.write_bytes(b"torn")
    empty = Database.file(Path(shutil.copy(migrated_file, tmp_path / "empty.sqlite")))
    assert [Path(path).name for path in readopt(empty, home)] == ["00000001", "00000003"]
    empty.close()
