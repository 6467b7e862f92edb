"""Vintages that were read or written lately, decoded: a live session reads the same few often."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

#: Rows that are kept at most: some 30 MB.
ROWS = 300_000

_Mark = tuple[int, int]


class Recent:
    """Tables by the sha256 of their files; one whose file was touched since is forgotten.

    Parameters
    ----------
    rows : int
        Rows that are kept at most, over all tables; one table is always kept.
    """

    def __init__(self, rows: int = ROWS) -> None:
        self._rows = rows
        self._held = 0
        self._kept: OrderedDict[str, tuple[_Mark, Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, sha256: str, path: Path) -> Any | None:
        """Return the table of a file, None where it is not known or the file is another now."""
        with self._lock:
            if sha256 not in self._kept:
                return None
            mark, table = self._kept[sha256]
            if mark != _mark(path):
                self._forget(sha256)
                return None
            self._kept.move_to_end(sha256)
            return table

    def keep(self, sha256: str, path: Path, table: Any) -> None:
        """Keep the table of a file that was verified, or written, just now."""
        mark = _mark(path)
        if mark is None:
            return
        with self._lock:
            if sha256 in self._kept:
                self._forget(sha256)
            self._kept[sha256] = (mark, table)
            self._held += table.num_rows
            while self._held > self._rows and len(self._kept) > 1:
                self._forget(next(iter(self._kept)))

    def _forget(self, sha256: str) -> None:
        _, table = self._kept.pop(sha256)
        self._held -= table.num_rows


def _mark(path: Path) -> _Mark | None:
    """Return what changes with a file's content, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
