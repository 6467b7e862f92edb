"""An endpoint, a database and a run for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database
from tests.daemon.llm.run import Run
from tests.standins.openai import OpenAIStandIn


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llm") / "alphad.sqlite"
    database = Database.file(path)
    database.migrate()
    database.close()
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(migrated, tmp_path / "alphad.sqlite")
    database = Database.file(tmp_path / "alphad.sqlite")
    yield database
    database.close()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIStandIn]:
    monkeypatch.setenv("NO_PROXY", "*")
    with OpenAIStandIn() as standin:
        yield standin


@pytest.fixture
def run(database: Database, endpoint: OpenAIStandIn) -> Run:
    return Run(database, endpoint)
