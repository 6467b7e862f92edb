"""A restored ledger of a live market: what was final is not confirmed, nor published, again."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.restore import backup_folder
from storage.backups import backup_path, write_backup
from storage.integrity import verify, verify_database
from tests.daemon.live import LiveMarket, live_market, small_book

BEGUN = 150


def back_up(alive: LiveMarket) -> None:
    folder = backup_folder(alive.context.settings)
    write_backup(alive.context.database, backup_path(folder, alive.clock.now().date()))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "between"])
def test_restored_live_market_publishes_nothing_twice(tmp_path: Path, when: str) -> None:
    """A backup from before a session, or from between its two fetches, ends in the same ids."""
    book = small_book("us")
    with live_market(tmp_path, book, BEGUN) as alive:
        alive.lived(BEGUN)
        if when == "before":
            back_up(alive)
        alive.until(BEGUN + 1)
        alive.tick()
        if when == "between":
            back_up(alive)
        alive.later(minutes=31)
        alive.tick()
        told = alive.statuses()
        assert [status for *_, status in told] == ["provisional", "final"] * 2
        path = alive.context.database.path
        assert path is not None
    path.write_bytes(b"\0" * 64 + path.read_bytes()[64:])
    with live_market(tmp_path, book, BEGUN + 1) as alive:
        alive.later(hours=2)
        for _ in range(3):
            alive.tick()
            alive.later(minutes=31)
        assert alive.statuses() == told
        alive.lived(BEGUN + 2)
        assert alive.statuses()[: len(told)] == told
        assert [status for *_, status in alive.statuses()[len(told) :]] == ["provisional", "final"]
        assert set(alive.alerts()) == {"restored"}
        settings = alive.context.settings
        assert verify(settings.publish_dir) == []
        assert (
            verify_database(alive.context.database, settings.publish_dir, settings.state_dir) == []
        )
