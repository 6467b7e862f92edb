"""A full disk: a clear refusal, nothing published is touched, and the same command goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.kills import Replay, published_files, verify
from daemon.replay import run_replay
from signals.errors import StorageError
from storage.integrity import verify as findings
from storage.reader import read_latest
from tests.faults.market import BEGIN, MARKET, SESSIONS, replay_of, settings_of

#: Kilobytes of the small disk, and how many more it gets each time it is full.
SMALL, STEP, ENOUGH = 700, 170, 65536

Resize = Callable[[int], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Resize]]:
    """Return the mount point of a disk of `SMALL` kilobytes, and what gives it another size."""
    point = tmp_path / "disk"
    point.mkdir()

    def mount(options: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = mount(f"size={SMALL}k")
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")

    def resize(kilobytes: int) -> None:
        assert mount(f"remount,size={kilobytes}k").returncode == 0

    yield point, resize
    subprocess.run(["umount", "--lazy", str(point)], check=True)


def run(replay: Replay, out: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Run a replay and return its end."""
    command = [*before, sys.executable, "-m", "daemon.cli", "replay", *replay.arguments]
    return subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, check=False, timeout=120
    )


def assert_refused(done: subprocess.CompletedProcess[str]) -> None:
    """Check that a command ended as one does on a full disk: fact, rule, way out, code 74."""
    lines = done.stderr.splitlines()
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    told = [line for line in lines if line.startswith("alphad: ")]
    assert len(told) == 1, done.stderr
    assert "  Rule: " in done.stderr
    assert "  Way out: " in done.stderr


def last_good(root: Path, seen: str | None = None) -> str | None:
    """Return the id that a consumer reads: never one before `seen`, and every folder is whole.

    The pointer may lag behind the newest folder: it is replaced last, and that needs space too.
    """
    pointer = f"{MARKET}/v1/latest.json"
    assert [finding for finding in findings(root) if finding.path != pointer] == []
    if not (root / pointer).exists():
        assert seen is None
        return None
    return read_latest(root, MARKET, now=datetime(2024, 1, 2, tzinfo=UTC), seen=seen).publish_id


def test_full_disk_ends_the_command_and_more_space_lets_it_go_on(
    disk: tuple[Path, Resize], bars: Path, config: Path, reference: dict[str, bytes]
) -> None:
    """Exit code 74 with the way out; what is published stays whole; the same command finishes."""
    point, resize = disk
    out = point / "out"
    resize(1200)
    replay = replay_of(config, bars)
    assert_refused(run(replay, out))
    before = published_files(out)
    assert last_good(out / "published") is not None
    resize(ENOUGH)
    done = run(replay, out)
    assert done.returncode == 0, done.stderr
    after = published_files(out)
    assert (after == reference) is True
    assert all(after[name] == data for name, data in before.items() if "sessions" in name)
    assert verify(out) == ""


@pytest.mark.slow
def test_disk_full_again_and_again_ends_in_the_same_bytes(
    disk: tuple[Path, Resize], bars: Path, config: Path, reference: dict[str, bytes]
) -> None:
    """Wherever the disk is full, what is published is whole, and the end is the same."""
    point, resize = disk
    settings = settings_of(config, bars, point / "out")
    refusals: list[StorageError] = []
    seen: str | None = None
    while True:
        try:
            run_replay(settings, MARKET, SESSIONS[BEGIN], SESSIONS[-1], lambda *_: None)
            break
        except StorageError as error:
            refusals.append(error)
        seen = last_good(point / "out" / "published", seen)
        resize(SMALL + STEP * len(refusals))
    assert len(refusals) >= 5
    assert all(error.rule and error.hint for error in refusals)
    assert (published_files(point / "out") == reference) is True
    assert list(point.rglob(".*.tmp")) == []


@pytest.mark.slow
def test_limit_on_file_size_is_refused_the_same_way(
    tmp_path: Path, bars: Path, config: Path, reference: dict[str, bytes]
) -> None:
    """Without the right to mount: a file that may not grow ends the command, and it goes on."""
    replay = replay_of(config, bars)
    limited = ("sh", "-c", 'ulimit -f 400; exec "$@"', "sh")  # blocks of 512 bytes
    assert_refused(run(replay, tmp_path / "out", *limited))
    last_good(tmp_path / "out" / "published")
    done = run(replay, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (published_files(tmp_path / "out") == reference) is True
    assert list((tmp_path / "out").rglob(".*.tmp")) == []
    assert verify(tmp_path / "out") == ""
