"""A database of any earlier release is brought up to date, and keeps what it knew."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage import ledger
from storage.bars import BarStore
from storage.database import Database
from storage.tables import RunStatus
from tests.storage.build import at, day, keep, market_day


def alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    return config


SCRIPTS = ScriptDirectory.from_config(alembic())
HEAD = SCRIPTS.get_current_head()
EARLIER = sorted(s.revision for s in SCRIPTS.walk_revisions() if s.revision != HEAD)


def made_by(revision: str, path: Path) -> Database:
    """Return a database as a release of some revision left it, with a run and a vintage in it."""
    database, config = Database.file(path), alembic()
    with database.transaction() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
    with database.transaction() as conn:
        run = ledger.begin(conn, "us", day(1), "ingest", "a" * 64, at(1))
        ledger.succeed(conn, run, at(2), {"bars": 3})
    keep(BarStore(path.parent, database), market_day(1, ["A", "B", "C"]), at(1))
    return database


@pytest.mark.parametrize("revision", EARLIER)
def test_every_earlier_database_is_brought_up_to_date(revision: str, tmp_path: Path) -> None:
    """What an older release wrote is there after the migration, and in the backup before it."""
    path = tmp_path / "alphad.db"
    database = made_by(revision, path)
    database.migrate()
    assert database.revision() == HEAD
    with database.read() as conn:
        (run,) = ledger.history(conn, "us")
        assert MigrationContext.configure(conn).get_current_revision() == HEAD
    assert (run.status, run.finished_at, run.detail) == (RunStatus.SUCCEEDED, at(2), {"bars": 3})
    panel = BarStore(tmp_path, database).panel("us", as_of=at(9), last_session=day(1))
    assert panel.assets == ("A", "B", "C")
    assert database.check() == []
    database.close()
    backup = sqlite3.connect(tmp_path / f"alphad.db.before-{HEAD}")
    try:
        assert backup.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
        assert backup.execute("SELECT count(*) FROM stage_runs").fetchone() == (1,)
    finally:
        backup.close()


def test_there_are_earlier_databases() -> None:
    """The list above is of every release but this one."""
    assert [*EARLIER, HEAD] == [f"{number:04d}" for number in range(1, len(EARLIER) + 2)]
