"""The small market's files and the undisturbed replay of it, made once for all fault tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kills import published_files
from daemon.logs import configure_logging
from daemon.replay import run_replay
from daemon.summary import Summary
from tests.faults.market import (
    BEGIN,
    MARKET,
    SESSIONS,
    make_bars,
    market_table,
    settings_of,
    write_bars,
    write_config,
)
from tests.faults.simulation.simulated_daemon import prepare


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what all fault tests share."""
    configure_logging(quiet=True)
    return tmp_path_factory.mktemp("small-market")


@pytest.fixture(scope="session")
def bars(folder: Path) -> Path:
    """Return the file of bars."""
    return write_bars(folder / "bars.parquet", make_bars())


@pytest.fixture(scope="session")
def config(folder: Path, bars: Path) -> Path:
    """Return the settings file."""
    return write_config(folder / "settings.toml", market_table(bars))


@pytest.fixture(scope="session")
def undisturbed(folder: Path, bars: Path, config: Path) -> Summary:
    """Replay the market once, into `folder/undisturbed`, and return what happened."""
    settings = settings_of(config, bars, folder / "undisturbed")
    return run_replay(settings, MARKET, SESSIONS[BEGIN], SESSIONS[-1], lambda *_: None)


@pytest.fixture(scope="session")
def reference(folder: Path, undisturbed: Summary) -> dict[str, bytes]:
    """Return every file that the undisturbed replay published."""
    files = published_files(folder / "undisturbed")
    assert undisturbed.sessions_published == len(SESSIONS) - BEGIN
    return files


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the state after the first session, which brought the history along."""
    return prepare(tmp_path_factory.mktemp("simulation") / "begun")


@pytest.fixture(scope="session")
def begun_with_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same of two markets whose bars are final at once."""
    return prepare(tmp_path_factory.mktemp("simulation") / "files", live=False)
