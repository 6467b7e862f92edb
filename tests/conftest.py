"""Fixtures of every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from daemon.redaction import REDACTOR

#: No test asserts wall time, those of invented cases included.
settings.register_profile("timeless", deadline=None)
settings.load_profile("timeless")

#: Real bars that lie beside a checkout on some machines; never part of the project.
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _secrets_of_this_test_alone() -> Iterator[None]:
    """Let no secret of one test be hidden from another."""
    yield
    REDACTOR.forget()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real bars; a test that asks for it is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real bars are not here: {SHARED_DATA}")
    return SHARED_DATA
