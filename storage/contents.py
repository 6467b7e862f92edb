"""What a published tree may hold, and what a publication's files must say, beyond their hashes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.pointer import HALTED, POINTER

#: A session's folder, and a publication's in it.
_SESSION = re.compile(r"\d{4}-\d{2}-\d{2}")
_PUBLISH_ID = re.compile(r"\d{8,}")
#: What a write that is under way, or was killed, leaves for a moment; no reader looks at it.
_TEMPORARY = re.compile(r"\..*\.tmp")
#: What the pointer repeats of the manifest.
_REPEATED = ("schema_version", "market", "session", "publish_id", "valid_until", "status")


def strangers(home: Path) -> Iterator[tuple[Path, str]]:
    """Yield what has no place in a market's tree, and what leads out of it."""
    for path in _entries(home):
        if path.is_symlink():
            yield path, "is a symbolic link; a publication is files and folders"
        elif path.name not in {"sessions", POINTER, HALTED}:
            yield path, "has no place here"
    for path in _entries(home / "sessions"):
        yield from _misplaced(path, _SESSION, "no folder of a session")
        for inner in _entries(path):
            yield from _misplaced(inner, _PUBLISH_ID, "no folder of a publication")
            for file in _entries(inner):
                if file.is_symlink():
                    yield file, "is a symbolic link; a publication is files and folders"


def publication_folders(home: Path) -> list[Path]:
    """Return what may be a publication: every folder of a session's folder, in order."""
    found = home.glob("sessions/*/*")
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing for what is none or leads elsewhere."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not _TEMPORARY.fullmatch(path.name))


def _misplaced(path: Path, name: re.Pattern[str], fact: str) -> Iterator[tuple[Path, str]]:
    if path.is_symlink():
        yield path, "is a symbolic link; a publication is files and folders"
    elif not name.fullmatch(path.name) or not path.is_dir():
        yield path, f"is {fact}"


def contradiction(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return where a publication whose hashes are right contradicts its manifest, else "".

    Whoever changes a file and its hash alike is found by the chain; whoever wrote it wrongly is
    found here: a file that is torn, or has other rows, columns or bytes than are told.
    """
    if (folder / "_SUCCESS").stat().st_size:
        return "_SUCCESS is not empty"
    for name, facts in manifest["files"].items():
        if "/" in name or name in {".", ".."}:
            return f"{name} is no name of a file of the folder"
        path = folder / name
        told = (facts.get("bytes"), facts.get("rows"), facts.get("columns"))
        try:
            found = (path.stat().st_size, *_shape(path))
        except (pa.ArrowException, OSError, ValueError, StopIteration) as exc:
            return f"{name} cannot be read: {exc}"
        if found != told:
            return f"{name} has bytes, rows and columns {found}, the manifest says {told}"
    return ""


def _shape(path: Path) -> tuple[int, list[str]]:
    """Return the number of rows and the columns of a table; every value is read."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return table.num_rows, table.column_names
    rows = csv.reader(path.read_text(encoding="utf-8").splitlines(), strict=True)
    columns = next(rows)
    return sum(1 for _ in rows), columns


def misled(pointer: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Return what a pointer says otherwise than the manifest it names, else ""."""
    wanted = {name: manifest.get(name) for name in _REPEATED}
    wanted["path"] = f"sessions/{manifest.get('session')}/{manifest.get('publish_id')}"
    wrong = [name for name, value in wanted.items() if pointer.get(name) != value]
    return f"says another {', '.join(wrong)} than its manifest" if wrong else ""
