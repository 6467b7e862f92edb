"""The site, made once for all tests of the page and the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.small import FIRST, Home, market_bars
from tests.web.site import Site, plant, serving


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return three published sessions and a planted year; not to be changed."""
    home = Home(tmp_path_factory.mktemp("site")).write(market_bars())
    finished = home.replay(FIRST, FIRST + 2)
    assert finished.code == 0, finished.err
    plant(home)
    return home


@pytest.fixture(scope="session")
def site(home: Home) -> Iterator[Site]:
    """Serve it, some hours after its last session was published."""
    with serving(home.config) as served:
        yield served


@pytest.fixture
def own(home: Home, tmp_path: Path) -> Home:
    """Return a copy that a test may change."""
    return home.copy(tmp_path / "own")
