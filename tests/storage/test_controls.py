"""What an operator lets a market do, and what the published tree shows of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from signals.errors import DataError, StorageError
from storage import controls
from storage.database import Database
from storage.files import write_atomic
from storage.integrity import halts, verify, verify_database
from storage.publishing import Pointed, Publisher, previous
from storage.tables import ControlState, MarketControl
from tests.storage.build import at, day, files_of, publish

RUNNING, PAUSED, HALTED = ControlState.RUNNING, ControlState.PAUSED, ControlState.HALTED


def put(
    database: Database, state: ControlState, number: float = 1, reason: str = "a wrong feed"
) -> MarketControl:
    with database.transaction() as c:
        return controls.set_state(c, "us", state, reason=reason, who="ops", now=at(number))


def top(root: Path) -> list[str]:
    """Return what lies at the top of the tree of the market."""
    return sorted(path.name for path in (root / "us" / "v1").iterdir() if path.is_file())


class TestControls:
    """What holds on every database."""

    def test_market_runs_until_it_is_stopped(self, database: Database) -> None:
        """Without a row it runs; what is set comes back with who, why and when, for it alone."""
        with database.read() as c:
            assert controls.state_of(c, "us") is RUNNING
            assert controls.control(c, "us") is controls.restraint(c, "us") is None
        put(database, PAUSED)
        with database.read() as c:
            found = controls.restraint(c, "us")
            assert controls.state_of(c, "us") is PAUSED
            assert controls.state_of(c, "cn") is RUNNING
        assert found is not None
        assert (found.reason, found.who, found.at) == ("a wrong feed", "ops", at(1))
        put(database, RUNNING, 2, "mended")
        with database.read() as c:
            assert controls.restraint(c, "us") is None
            last = controls.control(c, "us")
        assert last is not None
        assert (last.state, last.reason) == ("running", "mended")

    def test_same_state_keeps_who_was_first(self, database: Database) -> None:
        """Halting what is halted changes nothing, so that the first reason stays."""
        first = put(database, HALTED)
        assert put(database, HALTED, 5, "again") == first
        with database.read() as c:
            assert controls.control(c, "us") == first

    def test_halt_ends_with_resume_alone(self, database: Database) -> None:
        """Pausing a halted market would put back what was withdrawn: refused, with the way out."""
        put(database, PAUSED)
        put(database, HALTED, 2)
        with pytest.raises(DataError, match="us is halted"):
            put(database, PAUSED, 3)
        with database.read() as c:
            assert controls.state_of(c, "us") is HALTED

    def test_halt_withdraws_the_pointer_and_resume_restores_it(
        self, database: Database, tmp_path: Path
    ) -> None:
        """Every folder stays; what tells consumers why names the last publication."""
        publish(tmp_path, database, 1)
        publisher, before = Publisher(tmp_path, database), top(tmp_path)
        pointer = (tmp_path / "us/v1/latest.json").read_bytes()
        put(database, HALTED, 2)
        assert publisher.point("us") == Pointed(None, changed=True)
        assert publisher.point("us") == Pointed(None, changed=False)
        assert (before, top(tmp_path)) == (["latest.json"], ["halted.json"])
        assert json.loads((tmp_path / "us/v1/halted.json").read_bytes()) == {
            "schema_version": "1.0",
            "market": "us",
            "state": "halted",
            "reason": "a wrong feed",
            "who": "ops",
            "at": at(2).isoformat(),
            "session": "2024-01-02",
            "publish_id": "00000001",
        }
        assert verify(tmp_path) == verify_database(database, tmp_path) == []
        assert halts(tmp_path)["us"]["reason"] == "a wrong feed"
        put(database, RUNNING, 3)
        row, changed, _ = publisher.point("us")
        assert row is not None
        assert (row.publish_id, changed, top(tmp_path)) == ("00000001", True, ["latest.json"])
        assert (tmp_path / "us/v1/latest.json").read_bytes() == pointer
        assert verify(tmp_path) == verify_database(database, tmp_path) == []
        assert halts(tmp_path) == {}

    def test_publication_in_flight_counts_and_stays_unnamed(
        self, database: Database, tmp_path: Path
    ) -> None:
        """A halt that arrives after the reservation: the folder is kept, the pointer stays away."""
        publish(tmp_path, database, 1)
        publisher = Publisher(tmp_path, database)
        with database.transaction() as c:
            reservation = publisher.reserve(c, "us", day(2), 0, at(2))
            files = files_of(reservation, previous(c, "us"))
        put(database, HALTED, 2)
        publisher.point("us")
        publisher.publish(reservation, files, now=at(2))
        assert top(tmp_path) == ["halted.json"]
        assert json.loads((tmp_path / "us/v1/halted.json").read_bytes())["publish_id"] == "00000002"
        assert verify(tmp_path) == verify_database(database, tmp_path) == []
        put(database, RUNNING, 3)
        assert publisher.recover("us", at(4)).pointer_changed
        assert json.loads((tmp_path / "us/v1/latest.json").read_bytes())["publish_id"] == "00000002"

    def test_halt_of_a_market_without_publications(
        self, database: Database, tmp_path: Path
    ) -> None:
        """There is nothing to withdraw, and consumers are told all the same."""
        put(database, HALTED)
        assert Publisher(tmp_path, database).point("us") == Pointed(None, changed=True)
        assert top(tmp_path) == ["halted.json"]
        assert verify(tmp_path) == []
        put(database, RUNNING, 2)
        assert Publisher(tmp_path, database).point("us") == Pointed(None, changed=True)
        assert top(tmp_path) == []

    def test_no_pointer_while_halted_whatever_is_published_meanwhile(
        self, database: Database, tmp_path: Path
    ) -> None:
        """One publishes without a pause, another halts and resumes: halted means no pointer."""
        publish(tmp_path, database, 0)
        done, seen = threading.Event(), []

        def write() -> None:
            for number in range(1, 25):
                publish(tmp_path, database, number)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        publisher, turns = Publisher(tmp_path, database), 0
        while not done.is_set():
            put(database, HALTED, turns)
            publisher.point("us")
            until = monotonic() + 0.02
            while monotonic() < until:
                seen.append(top(tmp_path))
                sleep(0.001)
            put(database, RUNNING, turns)
            publisher.point("us")
            seen.append(["latest.json"] if "latest.json" in top(tmp_path) else ["lost"])
            turns += 1
        writer.join()
        states = {tuple(name for name in found if not name.startswith(".")) for found in seen}
        assert states == {("halted.json",), ("latest.json",)}
        assert json.loads((tmp_path / "us/v1/latest.json").read_bytes())["publish_id"] == "00000025"
        assert verify(tmp_path) == verify_database(database, tmp_path) == []


@pytest.mark.parametrize("lying", [("latest.json",), ("halted.json", "latest.json"), ()])
@pytest.mark.parametrize("state", [HALTED, RUNNING])
def test_whatever_a_kill_left_is_settled(
    tmp_path: Path, sqlite: Database, state: ControlState, lying: tuple[str, ...]
) -> None:
    """Killed between database and tree, or between two files: found by verify, mended by point."""
    publish(tmp_path, sqlite, 1)
    home, publisher = tmp_path / "us" / "v1", Publisher(tmp_path, sqlite)
    kept = {"latest.json": (home / "latest.json").read_bytes()}
    put(sqlite, HALTED)
    publisher.point("us")
    kept["halted.json"] = (home / "halted.json").read_bytes()
    put(sqlite, state, 2)
    for name, data in kept.items():
        (home / name).unlink(missing_ok=True)
        if name in lying:
            write_atomic(home / name, data)
    wanted = ["halted.json"] if state is HALTED else ["latest.json"]
    assert (verify_database(sqlite, tmp_path) == []) == (list(lying) == wanted)
    publisher.recover("us", at(3))
    assert top(tmp_path) == wanted
    assert verify(tmp_path) == verify_database(sqlite, tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"half'])
def test_torn_halt_is_found_and_written_anew(tmp_path: Path, sqlite: Database, data: bytes) -> None:
    """Damage to what tells of a halt is no end of the halt."""
    publish(tmp_path, sqlite, 1)
    put(sqlite, HALTED)
    publisher = Publisher(tmp_path, sqlite)
    publisher.point("us")
    whole = (tmp_path / "us/v1/halted.json").read_bytes()
    (tmp_path / "us/v1/halted.json").write_bytes(data)
    assert ["torn" in finding.fact for finding in verify(tmp_path)] == [True]
    assert halts(tmp_path)["us"] == {"reason": "halted.json is torn"}
    publisher.point("us")
    assert (tmp_path / "us/v1/halted.json").read_bytes() == whole


def test_full_disk_does_not_stop_a_halt(tmp_path: Path, sqlite: Database) -> None:
    """Where nothing can be written the pointer goes all the same; the rest follows later."""
    publish(tmp_path, sqlite, 1)
    in_the_way = tmp_path / "us/v1/.halted.json.tmp"
    in_the_way.mkdir()
    put(sqlite, HALTED)
    with pytest.raises(StorageError, match=r"writing .*halted\.json"):
        Publisher(tmp_path, sqlite).point("us")
    assert top(tmp_path) == []
    in_the_way.rmdir()
    Publisher(tmp_path, sqlite).point("us")
    assert top(tmp_path) == ["halted.json"]


def test_full_disk_does_not_end_a_halt_halfway(tmp_path: Path, sqlite: Database) -> None:
    """Where the pointer cannot be written back consumers go on reading that there is a halt."""
    publish(tmp_path, sqlite, 1)
    publisher = Publisher(tmp_path, sqlite)
    put(sqlite, HALTED)
    publisher.point("us")
    in_the_way = tmp_path / "us/v1/.latest.json.tmp"
    in_the_way.mkdir()
    put(sqlite, RUNNING, 2)
    with pytest.raises(StorageError):
        publisher.point("us")
    assert top(tmp_path) == ["halted.json"]
    in_the_way.rmdir()
    publisher.point("us")
    assert top(tmp_path) == ["latest.json"]
