"""Files are there whole or not at all, and one instance holds the state directory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from signals.errors import AlreadyRunningError, StorageError
from storage.files import sha256, sha256_of, sweep_temporary, write_atomic, write_directory
from storage.lock import StateLock

#: Files the limited process may write, in bytes.
LIMIT = 4096


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let the kernel refuse files above 4 KiB, as it does when a disk or quota is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_file_is_replaced(tmp_path: Path) -> None:
    """A file written twice holds the second content, and no temporary is left."""
    path = tmp_path / "new" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert sha256_of(path) == sha256(b"two")
    assert names(path.parent) == ["file"]


#: Writes a file and prints the mode its temporary has when it is renamed, and its own.
WATCHED = """
import os, sys
from pathlib import Path
from storage.files import write_atomic
def hook(name, given):
    if name == "os.rename":
        print(f"{os.stat(given[0]).st_mode & 0o777:o}")
os.umask(0o022)
sys.addaudithook(hook)
write_atomic(Path(sys.argv[1]), b"secret", mode=0o600)
print(f"{os.stat(sys.argv[1]).st_mode & 0o777:o}")
"""


@pytest.mark.parametrize("left", [False, True])
def test_file_of_a_secret_is_never_open_to_others(tmp_path: Path, left: bool) -> None:
    """Its temporary has its mode already, also where an interrupted write has left one."""
    if left:
        (tmp_path / ".file.tmp").write_bytes(b"half")
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "file")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["600", "600"]
    assert (tmp_path / "file").read_bytes() == b"secret"


@pytest.mark.usefixtures("small_files")
def test_refused_write_keeps_the_old_file(tmp_path: Path) -> None:
    """When the kernel refuses to write on, the old file stays and no temporary is left."""
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(StorageError, match="file failed"):
        write_atomic(path, b"x" * (LIMIT + 1))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.usefixtures("small_files")
def test_refused_folder_never_appears(tmp_path: Path) -> None:
    """When one file of a folder cannot be written, the folder is not there at all."""
    with pytest.raises(StorageError):
        write_directory(tmp_path / "folder", {"a": b"a", "b": b"x" * (LIMIT + 1)})
    assert names(tmp_path) == []


def test_full_disk(tiny_disk: Path) -> None:
    """A full disk is a retryable error with a hint; what was there stays."""
    write_atomic(tiny_disk / "file", b"old")
    with pytest.raises(StorageError, match="No space left") as caught:
        write_atomic(tiny_disk / "file", b"x" * 100_000)
    assert caught.value.retryable
    assert "free space" in caught.value.hint
    assert (tiny_disk / "file").read_bytes() == b"old"
    write_atomic(tiny_disk / "file", b"new")


def test_folder_is_complete(tmp_path: Path) -> None:
    """A folder has its files and `_SUCCESS`, and cannot be written twice."""
    write_directory(tmp_path / "folder", {"a": b"a"})
    assert names(tmp_path / "folder") == ["_SUCCESS", "a"]
    with pytest.raises(StorageError, match="File exists"):
        write_directory(tmp_path / "folder", {"a": b"b"})
    assert (tmp_path / "folder" / "a").read_bytes() == b"a"


def test_sweep_removes_only_temporaries(tmp_path: Path) -> None:
    """What an interrupted write left is swept, everything else stays."""
    write_atomic(tmp_path / "keep", b"")
    (tmp_path / ".file.tmp").write_bytes(b"half")
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp" / "a").write_bytes(b"half")
    assert len(sweep_temporary(tmp_path)) == 2
    assert names(tmp_path) == ["keep"]
    assert sweep_temporary(tmp_path / "absent") == []


def test_leftover_temporary_does_not_disturb(tmp_path: Path) -> None:
    """A temporary folder left by a killed writer does not stop the next one."""
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / ".folder.tmp" / "stray").write_bytes(b"half")
    write_directory(tmp_path / "folder", {"a": b"a"})
    assert names(tmp_path / "folder") == ["_SUCCESS", "a"]


def test_second_instance_is_refused(tmp_path: Path) -> None:
    """A second instance on a state directory is told which process holds it."""
    with StateLock(tmp_path), pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"):
        StateLock(tmp_path)
    StateLock(tmp_path).release()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """The lock of a process killed with -9 is free at once."""
    code = (
        "import sys, time; from pathlib import Path; from storage.lock import StateLock\n"
        "lock = StateLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunningError, match=f"process {child.pid}"):
            StateLock(tmp_path)
        child.kill()
        child.wait()
        StateLock(tmp_path).release()
