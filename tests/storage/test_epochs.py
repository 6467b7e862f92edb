from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from signals.errors import AlreadyRunningError, ReservationError
from storage import epochs
from storage.database import Database
from storage.pointer import POINTER
from storage.publishing import Publisher, publications
from tests.storage.build import at, day, files_of

ONE = {"instance": "1" * 32, "host": "one", "pid": 11, "state_dir": "/state/one", "version": "1"}
TWO = {"instance": "2" * 32, "host": "two", "pid": 22, "state_dir": "/state/two", "version": "1"}
ROOT = Path(__file__).resolve().parents[2]

#: Reserves a publication, waits to be told to go on, publishes it.
ZOMBIE = """
import sys
from pathlib import Path
from signals.errors import StorageError
from storage import epochs
from storage.database import Database
from storage.publishing import Publisher
from tests.storage.build import at, day, files_of
database, root = Database(sys.argv[1]), Path(sys.argv[2])
with database.transaction() as conn:
    number = epochs.begin_epoch(
        conn, instance="1", host="one", pid=1, state_dir="/state/one", version="1", now=at(0)
    )
publisher = Publisher(root, database, epoch=number)
with database.transaction() as conn:
    reservation = publisher.reserve(conn, "us", day(0), 0, at(0))
print("reserved", flush=True)
sys.stdin.readline()
try:
    publisher.publish(reservation, files_of(reservation, None), now=at(0))
except StorageError as error:
    print(error.fact, flush=True)
"""


def begin(
    database: Database, who: dict[str, object], now: datetime, lease: timedelta = epochs.LEASE
) -> int:
    with database.transaction() as conn:
        return epochs.begin_epoch(conn, **who, now=now, lease=lease)  # type: ignore[arg-type]


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


def test_numbers_rise(database: Database) -> None:
    """Each life has the next number, and the newest one is the current."""
    assert [begin(database, ONE, at(number)) for number in range(3)] == [1, 2, 3]
    with database.read() as conn:
        newest = epochs.current(conn)
    assert newest is not None
    assert (newest.number, newest.host, newest.pid) == (3, "one", 11)
    assert newest.started_at == newest.renewed_at == at(2)


def test_same_instance_takes_over_at_once(database: Database) -> None:
    """Whoever holds the lock of the same state_dir need not wait, whatever its host is called now.

    The former life is over.
    """
    first = begin(database, ONE, at(0))
    second = begin(database, {**ONE, "host": "renamed", "pid": 12, "state_dir": "/moved"}, at(0))
    with database.transaction() as conn:
        epochs.require_current(conn, second)
        with pytest.raises(ReservationError, match="another instance has taken over"):
            epochs.require_current(conn, first)


@pytest.mark.parametrize("other", [TWO, {**ONE, "instance": "2" * 32}], ids=["other", "alike"])
def test_unexpired_lease_keeps_others_out(database: Database, other: dict[str, object]) -> None:
    """Another instance is refused until the lease has run out, and told who and when.

    Its host and state_dir may be called the same, as in containers.
    """
    begin(database, ONE, at(0))
    with pytest.raises(AlreadyRunningError) as refused:
        begin(database, other, at(0) + epochs.LEASE - timedelta(seconds=1))
    assert "process 11 on host one" in refused.value.fact
    assert "until 2024-01-01 22:01:30 UTC" in refused.value.fact
    assert begin(database, other, at(0) + epochs.LEASE) == 2


def test_renewed_lease(database: Database) -> None:
    """A lease runs from its last renewal; an epoch that was ended keeps nobody out."""
    number = begin(database, ONE, at(0))
    with database.transaction() as conn:
        epochs.renew(conn, number, at(1))
    with pytest.raises(AlreadyRunningError):
        begin(database, TWO, at(1))
    with database.transaction() as conn:
        epochs.end(conn, number, at(1))
    assert begin(database, TWO, at(1)) == 2


@pytest.mark.parametrize(
    ("who", "now", "lease"),
    [
        (TWO, at(-10), epochs.LEASE),  # the dead one's clock was ahead
        (TWO, at(-0.3), timedelta(0)),  # ours was set back; the lock of state_dir is ours
        (ONE, at(-0.0001), epochs.LEASE),
    ],
    ids=["ahead", "set-back", "same"],
)
def test_wrong_clock_keeps_nobody_out(
    database: Database, who: dict[str, object], now: datetime, lease: timedelta
) -> None:
    """A lease that was renewed in the future has run out."""
    begin(database, ONE, at(0))
    assert begin(database, who, now, lease) == 2


def test_instance_is_of_the_state_directory(tmp_path: Path) -> None:
    """Its id is made once, at random, for its owner alone; what is no id is replaced."""
    made = epochs.instance_of(tmp_path)
    file = tmp_path / "instance"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made == epochs.instance_of(tmp_path)
    file.write_bytes(b"\xff")
    again = epochs.instance_of(tmp_path)
    assert len({made, again, epochs.instance_of(tmp_path / "other")}) == 3
    assert epochs.instance_of(tmp_path) == again


def test_lost_epoch_is_not_renewed(database: Database) -> None:
    """Once a later epoch has begun the lease of the former one stays as it was."""
    first = begin(database, ONE, at(0))
    begin(database, TWO, at(1))
    with database.transaction() as conn, pytest.raises(ReservationError, match="process 22 on"):
        epochs.renew(conn, first, at(1))


def test_beginning_waits_for_a_checked_transaction(database: Database) -> None:
    """Whoever has checked its epoch commits before the next one begins, or not at all."""
    first = begin(database, ONE, at(0))
    order: list[str] = []
    with database.transaction() as conn:
        epochs.require_current(conn, first)

        def wait() -> None:
            begin(database, TWO, at(1))
            order.append("begun")

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.3)
        order.append("committed")
    waiting.join()
    assert order == ["committed", "begun"]


def test_publisher_of_a_past_epoch(tmp_path: Path, database: Database) -> None:
    """It reserves nothing, marks nothing and leaves the pointer as it is."""
    first = begin(database, ONE, at(0))
    publisher = Publisher(tmp_path, database).of_epoch(first)
    with database.transaction() as conn:
        reservation = publisher.reserve(conn, "us", day(0), 0, at(0))
    files = files_of(reservation, None)
    publisher.publish(reservation, files, now=at(0))
    pointer = tmp_path / "us" / "v1" / POINTER
    pointer.unlink()
    begin(database, TWO, at(1))
    with pytest.raises(ReservationError, match="epoch 1 is over"):
        publisher.point("us")
    assert not pointer.exists()
    with (
        pytest.raises(ReservationError, match="epoch 1 is over"),
        database.transaction() as conn,
    ):
        publisher.reserve(conn, "us", day(1), 0, at(1))
    assert Publisher(tmp_path, database).of_epoch(2).point("us")[1]


@contextmanager
def zombie(database: Database, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that has reserved and waits."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", ZOMBIE, url_of(database), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "reserved\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("done", [True, False], ids=["published", "begun"])
def test_paused_zombie_cannot_publish(tmp_path: Path, database: Database, done: bool) -> None:
    """Stopped before its publication and woken after a takeover, an instance publishes nothing.

    Not even a folder: the instance that has begun the same publication is not in its way.
    """
    with zombie(database, tmp_path) as paused:
        paused.send_signal(signal.SIGSTOP)
        other = Database(url_of(database))
        with closing(other):
            publisher = Publisher(tmp_path, other).of_epoch(begin(other, TWO, at(1)))
            publisher.recover("us", at(1))
            with other.transaction() as conn:
                reservation = publisher.reserve(conn, "us", day(0), 0, at(1))
            if not done:
                paused.send_signal(signal.SIGCONT)
                said, _ = paused.communicate("go\n")
                assert not reservation.path.exists()
            files = files_of(reservation, None, score=2.0)
            ours = publisher.publish(reservation, files, now=at(1))
        pointer = (tmp_path / "us" / "v1" / POINTER).read_bytes()
        if done:
            paused.send_signal(signal.SIGCONT)
            said, _ = paused.communicate("go\n")
    expected = "exists with other content" if done else "process 22 on host two began epoch 2"
    assert said.endswith(f"{expected}\n")
    with database.read() as conn:
        assert [row.manifest_sha256 for row in publications(conn, "us")] == [ours.manifest_sha256]
    assert (tmp_path / "us" / "v1" / POINTER).read_bytes() == pointer
    assert list(tmp_path.rglob(".*.tmp")) == []
