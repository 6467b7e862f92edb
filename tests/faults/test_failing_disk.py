"""A disk that fails: read-only folders, and the Nth call on a file refused, whichever N that is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from signals.errors import StorageError
from storage.integrity import verify
from tests.daemon.small import FIRST, SESSIONS, Home, market_bars
from tests.faults.synced import Call, traced
from tests.faults.test_unsynced import RUN
from tests.tools import tool

#: Calls that a disk refuses, with what it says.
REFUSED = "write,pwrite64,ftruncate,fsync,fdatasync,rename,mkdir"
#: Runs in which one call is refused, spread over all calls of a run.
N_RUNS = 15


def replay(home: Home, *before: str, last: int = FIRST + 2) -> subprocess.CompletedProcess[str]:
    """Run a replay in a process of its own."""
    span = ("--from", SESSIONS[FIRST].isoformat(), "--to", SESSIONS[last].isoformat())
    where = ("--bars", str(home.bars), "--out", str(home.out), "--config", str(home.settings))
    command = [*before, sys.executable, "-m", "daemon.cli", "replay", "--market", "us"]
    return subprocess.run(
        [*command, *where, *span], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["published", "state"])
def test_read_only_folder_is_refused_and_the_same_command_goes_on(
    tmp_path: Path, folder: str
) -> None:
    """Code 74 with the way out; nothing published is touched; mounted writable, it goes on."""
    home = Home(tmp_path / "home").write(market_bars())
    assert replay(home, last=FIRST).returncode == 0
    before = home.files()
    point = home.out / folder
    script = f'mount --bind "{point}" "{point}" && mount -o remount,bind,ro "{point}" && exec "$@"'
    done = replay(home, str(tool("unshare")), "--mount", "sh", "-c", script, "sh")
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"a folder cannot be mounted read-only here: {done.stderr.strip()}")
    assert done.returncode == StorageError.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Way out: " in done.stderr
    assert home.files() == before
    assert replay(home).returncode == 0
    assert len(list(home.published.glob("sessions/*/*/_SUCCESS"))) == 3
    assert verify(home.out / "published") == []


def tree(home: Path) -> dict[str, bytes]:
    root = home / "published"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def ours(calls: list[Call], home: Path) -> tuple[list[str], int]:
    """Return the paths that a run used under its home, and how many calls may be refused."""
    paths = {path for call in calls for path in call.paths if path.startswith(f"{home}/")}
    names = REFUSED.split(",")
    return sorted(paths), sum(call.name in names and call.paths[0] in paths for call in calls)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
def test_any_refused_call_is_survived(tmp_path: Path, error: str) -> None:
    """Whichever call fails, what is published stays whole, and the next run ends the same."""
    strace, home = tool("strace"), tmp_path / "home"
    run = [sys.executable, "-c", RUN, str(home)]
    home.mkdir()
    paths, n_calls = ours(traced(strace, run, tmp_path / "log"), home)
    expected = tree(home)
    only = [part for path in paths for part in ("-P", path)]
    spoilt = 0
    for at in range(1, n_calls, max(1, n_calls // N_RUNS)):
        shutil.rmtree(home)
        home.mkdir()
        inject = ["-e", f"trace={REFUSED}", "-e", f"inject={REFUSED}:error={error}:when={at}"]
        subprocess.run(
            [str(strace), "-f", "-o", str(tmp_path / "log"), *only, *inject, *run],
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        spoilt += "(INJECTED)" in (tmp_path / "log").read_text()
        found = [each for each in verify(home / "published") if "latest.json" not in each.path]
        assert found == [], at
        again = subprocess.run(run, capture_output=True, text=True, check=False, timeout=120)
        assert again.returncode == 0, (at, again.stderr)
        assert (tree(home) == expected) is True, at
        assert verify(home / "published") == [], at
    assert spoilt > N_RUNS // 2
