"""The proof of a whole tree, against those who would have it pass for whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.cli import main
from storage.database import Database
from storage.integrity import verify, verify_database
from tests.storage.build import publish

Harm = Callable[[Path], object]


@pytest.fixture
def tree(tmp_path: Path, sqlite: Database) -> Path:
    """Return a tree with the sessions 2024-01-01 to 2024-01-04."""
    for number in range(4):
        publish(tmp_path / "out", sqlite, number)
    assert verify(tmp_path / "out") == []
    return tmp_path / "out"


def folder(tree: Path, number: int = 4) -> Path:
    return tree / "us" / "v1" / "sessions" / f"2024-01-0{number}" / f"0000000{number}"


def pointer(tree: Path) -> Path:
    return tree / "us" / "v1" / "latest.json"


def edit(file: Path, **facts: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def facts(tree: Path) -> str:
    return "\n".join(f"{finding.path}: {finding.fact}" for finding in verify(tree))


def forge(tree: Path, number: int, name: str, data: bytes, **told: Any) -> None:
    """Replace a file, and its hash in the manifest, and with the last one the pointer too."""
    path = folder(tree, number) / "manifest.json"
    manifest = json.loads(path.read_text())
    (folder(tree, number) / name).write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **told}
    manifest["files"][name] |= entry
    path.write_text(json.dumps(manifest))
    if number == 4:
        edit(pointer(tree), manifest_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def as_parquet(*scores: float) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"score": list(scores)}), sink)
    return sink.getvalue()


def outside(tree: Path) -> Path:
    """Return a folder beside the tree with the same content as the newest publication."""
    away = tree.parent / "away"
    shutil.copytree(folder(tree), away)
    return away


def link_folder(tree: Path) -> None:
    away = outside(tree)
    shutil.rmtree(folder(tree))
    folder(tree).symlink_to(away)


def link_file(tree: Path) -> None:
    away = outside(tree)
    (folder(tree) / "signals.csv").unlink()
    (folder(tree) / "signals.csv").symlink_to(away / "signals.csv")


def link_pointer(tree: Path) -> None:
    shutil.move(pointer(tree), tree.parent / "latest.json")
    pointer(tree).symlink_to(tree.parent / "latest.json")


def link_sessions(tree: Path) -> None:
    shutil.move(tree / "us/v1/sessions", tree.parent / "sessions")
    (tree / "us/v1/sessions").symlink_to(tree.parent / "sessions")


def fork(tree: Path) -> None:
    """Add a fifth publication whose predecessor is the third."""
    copy = tree / "us/v1/sessions/2024-01-05/00000005"
    shutil.copytree(folder(tree), copy)
    edit(copy / "manifest.json", session="2024-01-05", publish_id="00000005")


def twin(tree: Path) -> None:
    """Let one publish id stand for two sessions."""
    copy = tree / "us/v1/sessions/2024-01-05/00000004"
    shutil.copytree(folder(tree), copy)
    edit(copy / "manifest.json", session="2024-01-05")


@pytest.mark.parametrize(
    ("harm", "fact"),
    [
        pytest.param(lambda t: (folder(t) / "x").write_bytes(b""), "does not name", id="a file"),
        pytest.param(lambda t: (t / "us/v1/x").write_bytes(b""), "no place here", id="top"),
        pytest.param(
            lambda t: (folder(t).parent / "x").write_bytes(b""), "no folder of a pub", id="session"
        ),
        pytest.param(
            lambda t: (t / "us/v1/sessions/x").mkdir(), "no folder of a session", id="sessions"
        ),
        pytest.param(lambda t: shutil.rmtree(folder(t, 2).parent), "previous is", id="gap"),
        pytest.param(lambda t: shutil.rmtree(folder(t, 1)), "previous is", id="first"),
        pytest.param(fork, "previous is", id="fork"),
        pytest.param(twin, "previous is", id="twin"),
        pytest.param(link_folder, "symbolic link", id="linked folder"),
        pytest.param(link_file, "signals.csv: is a symbolic link", id="linked file"),
        pytest.param(link_pointer, "latest.json: is a symbolic link", id="linked pointer"),
        pytest.param(link_sessions, "sessions: is a symbolic link", id="linked sessions"),
        pytest.param(
            lambda t: edit(pointer(t), session="2024-01-03", publish_id="00000003"),
            "the newest is", id="older pointer",
        ),
        pytest.param(
            lambda t: edit(pointer(t), path="sessions/2024-01-03/00000003"),
            "says another path", id="swapped path",
        ),
        pytest.param(
            lambda t: edit(pointer(t), valid_until="2099-01-01T00:00:00Z"),
            "says another valid_until", id="longer validity",
        ),
        pytest.param(
            lambda t: edit(pointer(t), status="provisional"), "says another status", id="status"
        ),
        pytest.param(
            lambda t: os.truncate(folder(t, 2) / "signals.parquet", 40), "signals.parquet is not",
            id="truncated",
        ),
        pytest.param(
            lambda t: forge(t, 4, "signals.parquet", b"PAR1"), "cannot be read", id="torn, hashed"
        ),
        pytest.param(
            lambda t: forge(t, 4, "signals.parquet", as_parquet(1.0)), "rows and columns",
            id="other rows, hashed",
        ),
        pytest.param(
            lambda t: forge(t, 2, "signals.csv", b"session,instrument,score\n", rows=0),
            "previous is", id="changed in the middle, hashed",
        ),
        pytest.param(
            lambda t: forge(t, 4, "signals.csv", b"session,instrument,score\n\xff"),
            "cannot be read", id="no text",
        ),
        pytest.param(
            lambda t: (folder(t) / "_SUCCESS").write_bytes(b"x"), "not empty", id="success"
        ),
    ],
)  # fmt: skip
def test_nothing_but_the_published_tree_passes(tree: Path, harm: Harm, fact: str) -> None:
    """Whatever is added, removed, swapped, forged or linked is told."""
    harm(tree)
    assert fact in facts(tree)


def test_a_removed_end_shows_beside_the_ledger(tree: Path, sqlite: Database) -> None:
    """A tree cut back to an older state, pointer and all, is whole by itself: the ledger knows."""
    shutil.copy(pointer(tree), tree.parent / "old.json")
    publish(tree, sqlite, 4)
    shutil.rmtree(tree / "us/v1/sessions/2024-01-05")
    shutil.copy(tree.parent / "old.json", pointer(tree))
    assert verify(tree) == []
    found = "\n".join(finding.fact for finding in verify_database(sqlite, tree))
    assert "no _SUCCESS" in found
    assert "the ledger's is 00000005" in found


def test_a_write_under_way_is_no_damage(tree: Path) -> None:
    """A tree is proved while its daemon goes on: temporaries are not looked at."""
    (tree / "us/v1/.latest.json.tmp").write_bytes(b"{")
    (folder(tree).parent / ".00000005.tmp").mkdir()
    assert verify(tree) == []


def test_a_directory_without_a_market_is_not_called_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in the path is an error: nothing was looked at."""
    assert main(["verify", str(tmp_path)]) == 65
    assert "holds no published market" in capsys.readouterr().err
