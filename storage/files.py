"""Files that are there whole or not at all: write beside, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from secrets import token_hex

from signals.errors import AlphadError, StorageError
from storage.steps import Passing, tell_nobody

#: Start and end of a temporary's name; nothing else in our folders is called so.
_PREFIX, _SUFFIX = ".", ".tmp"

_HINTS = {
    errno.ENOSPC: "free space on the disk; nothing that was published has changed",
    errno.EDQUOT: "raise the quota; nothing that was published has changed",
    errno.EFBIG: "raise the limit on file size; nothing that was published has changed",
    errno.EROFS: "mount the folder writable",
    errno.EACCES: "give this user the right to write the folder",
    errno.EPERM: "give this user the right to write the folder",
}

#: Filesystems of other machines, or of a host outside this one: locks or maps do not hold there.
_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "drvfs", "fuse.gcsfuse", "fuse.glusterfs",
    "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "lustre",
    "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "vboxsf", "virtiofs",
}  # fmt: skip


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says what was being done.

    Raises
    ------
    StorageError
        Retryable where the disk may recover by itself (full, I/O error).
    """
    try:
        yield
    except OSError as exc:
        raise StorageError(
            f"{doing} failed: {exc.strerror or exc}",
            rule="what is kept is written whole or not at all",
            hint=_HINTS.get(exc.errno or 0, "check the disk and the kernel's log"),
            retryable=exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN),
        ) from exc


def sha256(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with disk_errors(f"reading {path}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directory(path: Path) -> None:
    """Create a folder and its parents, and make each new name durable."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with disk_errors(f"creating folder {path}"):
        path.mkdir(exist_ok=True)
        _sync_directory(path.parent)


def write_atomic(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a file so that its name holds the old bytes or all the new ones, never a mixture.

    Parameters
    ----------
    mode : int, optional
        Who may do what with it, from its first byte on; without it the umask says so.

    Raises
    ------
    StorageError
        The disk refused; the old file is untouched and no temporary is left.
    """
    make_directory(path.parent)
    temporary = _temporary(path)
    with disk_errors(f"writing {path}"):
        try:
            _write_synced(temporary, data, mode)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def write_directory(
    path: Path,
    files: Mapping[str, bytes],
    last: str = "_SUCCESS",
    *,
    passing: Passing = tell_nobody,
    renaming: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Write a folder of files so that its name appears only when every file is in it.

    Parameters
    ----------
    path : Path
        The new folder; an existing one is a StorageError.
    files : mapping of str to bytes
        Name and content of each file.
    last : str
        An empty file that says the folder is complete.
    passing : callable, optional
        Told `publish.in_folder` after each file and `publish.before_rename`.
    renaming : callable, optional
        Returns the context in which the folder gets its name; an error of it keeps the name free.
    """
    make_directory(path.parent)
    # no other instance writes into a folder of ours, however long one of us has slept
    temporary = _temporary(path.with_name(f"{path.name}.{token_hex(4)}"))
    with disk_errors(f"writing folder {path}"):
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        try:
            temporary.mkdir()
            for name, data in files.items():
                _write_synced(temporary / name, data)
                passing("publish.in_folder")
            _write_synced(temporary / last, b"")
            _sync_directory(temporary)
            passing("publish.before_rename")
            with renaming():
                temporary.rename(path)
        except (OSError, AlphadError):
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_directory(path.parent)


def sweep_temporary(root: Path) -> list[Path]:
    """Remove what interrupted writes left under `root`; return what was removed."""
    swept = sorted(root.rglob(f"{_PREFIX}*{_SUFFIX}")) if root.is_dir() else []
    with disk_errors(f"sweeping {root}"):
        for path in swept:
            remove(path)
    return swept


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move_aside(path: Path, folder: Path, name: str | None = None) -> Path:
    """Move a file, synced, into a folder that is made if need be; return its new place.

    Raises
    ------
    StorageError
        The disk refused; the file is where it was.
    """
    make_directory(folder)
    target = folder / (name or path.name)
    with disk_errors(f"moving {path} to {target}"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.replace(target)
        _sync_directory(path.parent)
        _sync_directory(folder)
    return target


def withdraw(path: Path) -> None:
    """Remove a file that others read, if it is there, and make that durable.

    Raises
    ------
    StorageError
        The disk refused.
    """
    with disk_errors(f"withdrawing {path}"):
        if path.exists():
            path.unlink(missing_ok=True)
            _sync_directory(path.parent)


def filesystem_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind of filesystem a folder lies on, "" where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    wanted = path.resolve()
    best, kind = -1, ""
    for line in lines:
        _, mount, name = line.split(" ", 3)[:3]
        point = Path(mount.encode().decode("unicode_escape"))
        if wanted.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), name
    return kind


def refuse_network_filesystem(path: Path, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Raise a StorageError if a SQLite file under `path` would lie on a network filesystem."""
    kind = filesystem_of(path, mounts)
    if kind in _NETWORK:
        raise StorageError(
            f"{path} lies on {kind}",
            rule="SQLite's write-ahead log is corrupted by network filesystems",
            hint="set state_dir to a local disk, or database_url to a PostgreSQL server",
        )


def _temporary(path: Path) -> Path:
    return path.with_name(f"{_PREFIX}{path.name}{_SUFFIX}")


def _write_synced(path: Path, data: bytes, mode: int | None = None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    descriptor = os.open(path, flags, 0o666 if mode is None else mode)
    with os.fdopen(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(descriptor, mode)  # one that was left has the mode it was made with
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
