"""Whether a published folder is whole, by its manifest: whole, damaged, or nobody can say now."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signals.errors import StorageError
from storage.files import sha256

MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
#: What the disk says of a file that is not there; whatever else it says is no damage.
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def damage(folder: Path, manifest_sha256: str | None = None) -> str:
    """Return what is wrong with a published folder, "" when it is whole.

    Raises
    ------
    StorageError
        Nobody can say: it cannot be read now.
    """
    try:
        if not _is_file(folder / SUCCESS):
            return "no _SUCCESS"
        data = read(folder / MANIFEST)
        if manifest_sha256 is not None and sha256(data) != manifest_sha256:
            return "manifest.json is not the one in the ledger"
        manifest = json.loads(data)
        files = {name: read(folder / name) for name in manifest["files"]}
        return contradicted(files, manifest)
    except ABSENT as exc:
        return f"{exc.filename}: {exc.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "manifest.json is not a manifest"


def contradicted(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> str:
    """Return which file is not what the manifest says, "" when all are."""
    for name, facts in manifest["files"].items():
        if name not in files:
            return f"{name} is missing"
        if sha256(files[name]) != facts["sha256"]:
            return f"{name} is not what the manifest says"
    return ""


@contextmanager
def _told_by_the_disk(path: Path) -> Iterator[None]:
    """Let pass that something is not there; whatever else hinders reading is no damage."""
    try:
        yield
    except ABSENT:
        raise
    except OSError as exc:
        raise StorageError(
            f"{path} cannot be read: {exc.strerror or exc}",
            rule="what cannot be read is neither whole nor damaged",
            hint="check the disk, the right to read it and the limit on open files",
            retryable=True,
        ) from exc


def read(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises
    ------
    OSError
        One of `ABSENT`: there is no such file.
    StorageError
        It cannot be read now.
    """
    with _told_by_the_disk(path):
        return path.read_bytes()


def _is_file(path: Path) -> bool:
    try:
        with _told_by_the_disk(path):
            return stat.S_ISREG(path.stat().st_mode)
    except ABSENT:
        return False
