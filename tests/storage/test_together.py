"""What several processes do to one database at a time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from daemon import restore
from daemon.clock import ReplayClock
from daemon.context import open_context
from daemon.ownership import owned
from signals.errors import AlphadError, AlreadyRunningError, ReservationError
from storage import alerts, epochs
from storage.database import Database
from storage.publishing import publications
from tests.daemon.small import MARKET, small_settings
from tests.storage.build import at, publish

ONE = {"instance": "1" * 32, "host": "one", "pid": 11, "state_dir": "/one", "version": "1"}
TWO = {"instance": "2" * 32, "host": "two", "pid": 22, "state_dir": "/two", "version": "1"}


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[list[object]]:
    """Let another thread begin something; it has ended after the block, whose list says how."""
    came: list[object] = []

    def run() -> None:
        try:
            came.append(work())
        except AlphadError as error:
            came.append(error)

    waiting = threading.Thread(target=run)
    waiting.start()
    waiting.join(0.3)
    yield came
    waiting.join()


def begin(database: Database, who: dict[str, object], days: float) -> int:
    with database.transaction() as conn:
        return epochs.begin_epoch(conn, **who, now=at(days))  # type: ignore[arg-type]


@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
def test_one_of_two_begins(database: Database, begun: bool) -> None:
    """Of two that find no living instance the second waits for the first, and is refused by it."""
    if begun:
        begin(database, ONE, -1)
    others = {**ONE, "instance": "3" * 32}
    with database.engine.connect() as conn:
        transaction = conn.begin()
        number = epochs.begin_epoch(conn, **TWO, now=at(0))  # type: ignore[arg-type]
        with meanwhile(lambda: begin(database, others, 0)) as came:
            assert came == []
            transaction.commit()
    [error] = came
    assert isinstance(error, AlreadyRunningError)
    assert f"process 22 on host two owns this database (epoch {number}" in error.fact


def test_reading_sees_one_state(database: Database) -> None:
    """What is committed while a reader reads is not there for it, and is for the next one."""
    with database.read() as conn:
        assert alerts.open_alerts(conn, "us") == []
        with database.transaction() as other:
            alerts.raise_alert(other, "us", "disk", "error", "full", at(0))
        assert alerts.open_alerts(conn, "us") == []
    with database.read() as conn:
        assert len(alerts.open_alerts(conn, "us")) == 1


@pytest.mark.parametrize("same", [True, False])
def test_alert_that_two_processes_raise(database: Database, same: bool) -> None:
    """It is one alert, which says what was said last; only what is new is told."""

    def raise_it(message: str) -> bool:
        with database.transaction() as conn:
            return alerts.raise_alert(conn, "us", "disk", "error", message, at(0))

    with database.engine.connect() as conn:
        transaction = conn.begin()
        assert alerts.raise_alert(conn, "us", "disk", "error", "full", at(0))
        with meanwhile(lambda: raise_it("full" if same else "fuller")) as came:
            assert came == []
            transaction.commit()
    assert came == [not same]
    with database.read() as conn:
        assert [a.message for a in alerts.open_alerts(conn)] == ["full" if same else "fuller"]


def test_refused_standby_writes_nothing(
    tmp_path: Path, migrated_file: Path, database: Database
) -> None:
    """What lies in its own tree counts once the database is its own, and not before.

    Neither while another instance lives, nor once one has begun after it.
    """
    url = database.engine.url.render_as_string(hide_password=False)
    settings = small_settings(tmp_path).model_copy(update={"database_url": url})
    with closing(Database.file(Path(shutil.copy(migrated_file, tmp_path / "former.db")))) as former:
        publish(settings.publish_dir, former, 0)
    clock = ReplayClock(at(0))

    def written() -> tuple[int, int]:
        with database.read() as conn:
            return len(publications(conn, MARKET)), len(alerts.open_alerts(conn))

    number = begin(database, ONE, 0)
    with (
        pytest.raises(AlreadyRunningError, match="process 11 on host one"),
        open_context(settings, clock),
    ):
        pass
    assert written() == (0, 0)
    begin(database, TWO, 1)
    with pytest.raises(ReservationError, match="process 22 on host two began epoch 2"):
        restore.account(settings, database, at(1), None, epoch=number)
    assert written() == (0, 0)
    clock.set(at(2))
    with open_context(settings, clock) as opened:
        with owned(opened):
            assert written() == (1, 1)
        clock.advance(timedelta(seconds=1))
        with owned(opened) as again:
            assert again.epoch == 4


def test_database_without_tables_has_no_owner(tmp_path: Path) -> None:
    """A database that was never migrated may be migrated by whoever comes first."""
    database = Database.file(tmp_path / "new.db")
    with database.read() as conn:
        epochs.check_lease(conn, instance="1", now=at(0))
    database.close()
