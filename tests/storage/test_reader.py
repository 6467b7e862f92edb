"""The consumer's reader and the proof of a whole tree."""

from __future__ import annotations

import ast
import json
import shutil
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import storage.reader
from storage import controls
from storage.bars import BarStore
from storage.database import Database
from storage.integrity import verify, verify_database
from storage.publishing import Publisher
from storage.reader import SignalRefused, read_latest
from storage.tables import ControlState
from tests.storage.build import at, bar, bars, day, keep, publish

NOON = datetime(2024, 1, 3, 12, tzinfo=UTC)


@pytest.fixture
def tree(tmp_path: Path, sqlite: Database) -> Path:
    """Return a tree with the sessions 2024-01-01 to 2024-01-03."""
    for number in range(3):
        publish(tmp_path / "out", sqlite, number)
    return tmp_path / "out"


def folder(tree: Path) -> Path:
    return tree / "us" / "v1" / "sessions" / "2024-01-03" / "00000003"


def edit_pointer(tree: Path, **facts: str) -> None:
    path = tree / "us" / "v1" / "latest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_latest_signals(tree: Path) -> None:
    """The latest scores come back exactly, with leading zeros, without what has no score."""
    signals = read_latest(tree, "us", now=NOON, seen="00000002")
    assert signals.scores == {"000001": 1.0, "AAA": -1.0}
    assert (signals.session, signals.publish_id) == (day(2), "00000003")
    assert signals.manifest["factors"][0]["id"] == "reversal"


def test_reader_needs_only_the_standard_library() -> None:
    """The reader imports nothing of ours and nothing that must be installed."""
    assert storage.reader.__file__ is not None
    parsed = ast.parse(Path(storage.reader.__file__).read_text(encoding="utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(parsed)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert names <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda tree: (folder(tree) / "_SUCCESS").unlink(), "no _SUCCESS"),
        (lambda tree: (folder(tree) / "signals.csv").write_bytes(b"x"), "not what the manifest"),
        (lambda tree: (folder(tree) / "signals.csv").unlink(), "cannot read"),
        (lambda tree: (folder(tree) / "manifest.json").write_bytes(b"{}"), "not the one"),
        (lambda tree: (tree / "us/v1/latest.json").write_bytes(b'{"half'), "torn"),
        (lambda tree: (tree / "us/v1/latest.json").write_bytes(b"[]"), "torn"),
        (lambda tree: (tree / "us/v1/latest.json").write_bytes(b"{}"), "malformed"),
        (lambda tree: (tree / "us/v1/latest.json").unlink(), "cannot read"),
        (lambda tree: edit_pointer(tree, schema_version="2.0"), "schema 2.0"),
        (lambda tree: edit_pointer(tree, path="../../x"), "outside the tree"),
        (
            lambda tree: edit_pointer(tree, valid_until="2099-01-01T00:00:00Z"),
            "valid_until differs",
        ),
    ],
)
def test_torn_signals_are_refused(tree: Path, harm: Callable[[Path], None], reason: str) -> None:
    """Whatever is torn, of another schema or edited is refused with a reason."""
    harm(tree)
    with pytest.raises(SignalRefused, match=reason):
        read_latest(tree, "us", now=NOON)


def test_expired_signals_are_refused(tree: Path) -> None:
    """From `valid_until` on the signals are refused."""
    with pytest.raises(SignalRefused, match="expired at 2024-01-06"):
        read_latest(tree, "us", now=datetime(2024, 1, 6, tzinfo=UTC))


def test_older_signals_are_refused(tree: Path) -> None:
    """A publish id before the one seen is refused, the same one is not."""
    assert read_latest(tree, "us", now=NOON, seen="00000003").publish_id == "00000003"
    with pytest.raises(SignalRefused, match="before 00000004"):
        read_latest(tree, "us", now=NOON, seen="00000004")


def halt(tree: Path, database: Database, state: ControlState = ControlState.HALTED) -> None:
    with database.transaction() as c:
        controls.set_state(c, "us", state, reason="a wrong feed", who="ops", now=at(3))
    Publisher(tree, database).point("us")


def test_halted_market_is_refused_with_the_reason(tree: Path, sqlite: Database) -> None:
    """While an operator has halted a market its signals are refused: by whom, since when, why."""
    halt(tree, sqlite)
    with pytest.raises(SignalRefused, match=r"halted by ops at 2024-01-04.*: a wrong feed"):
        read_latest(tree, "us", now=NOON)
    halt(tree, sqlite, ControlState.RUNNING)
    assert read_latest(tree, "us", now=NOON).publish_id == "00000003"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"half', b'{"who": 1, "at": 2}'])
def test_halt_that_cannot_be_read_is_a_halt(tree: Path, data: bytes) -> None:
    """Beside a pointer that is whole a torn halted.json still refuses."""
    (tree / "us/v1/halted.json").write_bytes(data)
    with pytest.raises(SignalRefused, match="halted"):
        read_latest(tree, "us", now=NOON)


def test_halt_in_the_middle_of_a_read(tree: Path, sqlite: Database) -> None:
    """A reader polling through halts and ends of halts reads whole signals or is told why not."""
    done, told = threading.Event(), set()

    def turn() -> None:
        for _ in range(40):
            halt(tree, sqlite)
            halt(tree, sqlite, ControlState.RUNNING)
        done.set()

    writer = threading.Thread(target=turn)
    writer.start()
    try:
        while not done.is_set():
            try:
                told.add(read_latest(tree, "us", now=NOON).publish_id)
            except SignalRefused as refused:
                told.add(refused.reason.split(" at ")[0])
    finally:
        writer.join()
    assert told == {"00000003", "halted by ops"}


def test_reader_never_sees_a_torn_tree(tmp_path: Path, sqlite: Database) -> None:
    """A reader polling during 60 publications sees only whole ones, and never an older one."""
    publish(tmp_path, sqlite, 0)
    done = threading.Event()

    def write() -> None:
        for number in range(1, 60):
            publish(tmp_path, sqlite, number, score=float(number))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen, reads = "", 0
    try:
        while not done.is_set():
            signals = read_latest(tmp_path, "us", now=NOON.replace(year=2023), seen=seen)
            seen, reads = signals.publish_id, reads + 1
    finally:
        writer.join()
    assert reads > 20
    assert read_latest(tmp_path, "us", now=NOON, seen=seen).publish_id == "00000060"


@pytest.mark.parametrize(
    ("harm", "fact"),
    [
        (
            lambda tree: (folder(tree) / "signals.parquet").write_bytes(b"x"),
            "signals.parquet is not",
        ),
        (lambda tree: (folder(tree) / "stray").write_bytes(b"x"), "does not name"),
        (lambda tree: (folder(tree) / "manifest.json").write_bytes(b"x"), "not a manifest"),
        (lambda tree: shutil.rmtree(tree / "us/v1/sessions/2024-01-02"), "previous is"),
        (lambda tree: (tree / "us/v1/latest.json").unlink(), "no pointer"),
        (lambda tree: (tree / "us/v1/latest.json").write_bytes(b"x"), "pointer is torn"),
        (lambda tree: edit_pointer(tree, publish_id="00000001"), "the newest is"),
        (lambda tree: folder(tree).rename(folder(tree).with_name("00000009")), "manifest says"),
    ],
)
def test_verify_finds_damage(tree: Path, harm: Callable[[Path], None], fact: str) -> None:
    """Whatever is changed in a published tree is found."""
    assert verify(tree) == []
    harm(tree)
    assert any(fact in finding.fact for finding in verify(tree))


def test_verify_compares_ledger_and_files(tree: Path, sqlite: Database, tmp_path: Path) -> None:
    """A folder without a row, a row without a folder and a changed vintage are found."""
    store = BarStore(tmp_path, sqlite)
    vintage = keep(store, bars([bar(day(0), "A")]), at(0))
    assert verify_database(sqlite, tree, tmp_path) == []
    folder(tree).rename(folder(tree).with_name("00000009"))
    (tmp_path / vintage.path).write_bytes(b"x")
    facts = [finding.fact for finding in verify_database(sqlite, tree, tmp_path)]
    assert len(facts) == 3
    assert any("no row of the ledger" in fact for fact in facts)
    assert "the vintage's file has changed" in facts
