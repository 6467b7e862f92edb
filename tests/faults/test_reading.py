"""A consumer that polls while signals are published never sees half of one, or an older one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.polling import polling
from storage.database import Database
from storage.integrity import verify
from tests.storage.build import publish


@pytest.mark.timeout(240)
@pytest.mark.parametrize("n_publications", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_torn_read_while_signals_are_published(tmp_path: Path, n_publications: int) -> None:
    """Every read is whole, none goes back, and the reader keeps up with the publisher."""
    database = Database.file(tmp_path / "alphad.db")
    database.migrate()
    with polling(tmp_path / "published", "us") as polled:
        for number in range(n_publications):
            publish(tmp_path / "published", database, number, score=float(number))
    database.close()
    assert polled.torn == []
    assert polled.reads >= polled.publications > n_publications // 20
    assert verify(tmp_path / "published") == []
