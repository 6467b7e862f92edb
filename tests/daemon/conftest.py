"""Replays that several tests look at or go on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.small import DYING, FIRST, Home, market_bars


@pytest.fixture(scope="session")
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return five published sessions of a market with a steady alpha; not to be changed."""
    home = Home(tmp_path_factory.mktemp("lived")).write(market_bars())
    finished = home.replay(FIRST, FIRST + 4)
    assert finished.code == 0, finished.err
    return home


@pytest.fixture
def home(first_home: Home, tmp_path: Path) -> Home:
    """Return a copy of those five sessions to go on with."""
    return first_home.copy(tmp_path / "home")


@pytest.fixture(scope="session")
def dead_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a market whose alpha turned against its only live factor; not to be changed."""
    home = Home(tmp_path_factory.mktemp("died")).write(market_bars(DYING))
    finished = home.replay(FIRST, FIRST + 40)
    assert finished.code == 0, finished.err
    return home
