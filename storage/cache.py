"""The panel cache: rows of one market in one memory-mapped file, derived and deletable at any time.

`meta.json` names the file of rows and what is in it, and is replaced last. A row carries its own
checksum instead of being synced: what a power cut or a stray write has damaged is found when the
file is opened, and then rebuilt. A row once written never changes; a restatement makes a new file.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.panel import SessionArray
from storage.assembly import PLANES, Rows
from storage.files import disk_errors, make_directory

_FORMAT = 2
#: Columns are reserved in steps of this many, so that rows stay aligned to cache lines.
_STEP = 64


@dataclass(frozen=True, eq=False)
class Cached:
    """What a cache holds.

    Parameters
    ----------
    number, chain : int, str
        The last vintage in it, and the hash of all vintages up to that one.
    known_until : datetime
        The latest time at which a vintage in it that is not reconstructed became known.
    columns : mapping of str to int
        Each asset in column order with the number of the vintage that brought it.
    rows : structured ndarray of shape (n_sessions,)
        `session`, `values` of shape (8, capacity), `present` and `flags` of shape (capacity,);
        private pages.
    """

    generation: int
    capacity: int
    number: int
    chain: str
    known_until: datetime
    columns: Mapping[str, int]
    sessions: SessionArray
    rows: npt.NDArray[Any]
    meta: bytes

    @property
    def n_assets(self) -> int:
        """Columns in use."""
        return len(self.columns)

    def carry(self, row: int) -> npt.NDArray[np.float64] | None:
        """Return the cumulative factors after the first `row` rows; shape (2, n_assets)."""
        if row == 0:
            return None
        carried: npt.NDArray[np.float64] = self.rows["values"][row - 1, 6:, : self.n_assets]
        return carried


class PanelCache:
    """The cache of one market.

    Parameters
    ----------
    directory : Path
        Its folder; created when first written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held: Cached | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes from writing the cache."""
        make_directory(self.directory)
        with disk_errors(f"locking {self.directory}"):
            descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)

    def load(self) -> Cached | None:
        """Return what the cache holds, None when it is absent, damaged or of another format."""
        try:
            meta = (self.directory / "meta.json").read_bytes()
        except OSError:
            return None
        if self._held is None or self._held.meta != meta:
            self._held = self._open(meta)
        return self._held

    def forget(self) -> None:
        """Drop what was read, so that the next `load` verifies the files again."""
        self._held = None

    def store(
        self,
        base: Cached | None,
        kept: int,
        rows: Rows,
        *,
        number: int,
        chain: str,
        known_until: datetime,
    ) -> Cached:
        """Write `rows` after the first `kept` rows of `base` and return the result.

        Rows are appended in place when all of `base` is kept and the columns fit; otherwise a new
        file is begun, and a reader of the old one keeps what it has mapped.
        """
        n_assets = len(rows.columns)
        in_place = base is not None and kept == len(base.sessions) and n_assets <= base.capacity
        if base is not None and in_place:
            generation, capacity = base.generation, base.capacity
        else:
            generation = self._last_generation() + 1
            capacity = -(-max(n_assets * 5 // 4, 1) // _STEP) * _STEP
        packed = _pack(rows, capacity)
        path = self._rows_path(generation)
        with disk_errors(f"writing the panel cache {path}"):
            try:
                if base is not None and not in_place:
                    path.write_bytes(_widened(base, kept, capacity))
                _write_rows(path, packed, kept)
            except OSError:
                if not in_place:
                    path.unlink(missing_ok=True)
                raise
            before = np.empty(0, "datetime64[D]") if base is None else base.sessions[:kept]
            meta = _meta(
                {
                    "format": _FORMAT,
                    "planes": list(PLANES),
                    "generation": generation,
                    "capacity": capacity,
                    "n_sessions": kept + len(rows.sessions),
                    "number": number,
                    "chain": chain,
                    "known_until": known_until.isoformat(),
                    "columns": dict(rows.columns),
                }
            )
            temporary = self.directory / ".meta.json.tmp"
            temporary.write_bytes(meta)
            temporary.replace(self.directory / "meta.json")
            for old in self.directory.glob("rows-*.bin"):
                if old != path:
                    old.unlink(missing_ok=True)
        sessions = np.concatenate([before, rows.sessions])
        self._held = Cached(
            generation=generation,
            capacity=capacity,
            number=number,
            chain=chain,
            known_until=known_until,
            columns=rows.columns,
            sessions=sessions,
            rows=_map(path, capacity, len(sessions)),
            meta=meta,
        )
        return self._held

    def _rows_path(self, generation: int) -> Path:
        return self.directory / f"rows-{generation:06d}.bin"

    def _last_generation(self) -> int:
        return max((int(path.stem[5:]) for path in self.directory.glob("rows-*.bin")), default=0)

    def _open(self, meta: bytes) -> Cached | None:
        """Map and verify the rows that `meta` names."""
        try:
            line, _, checksum = meta.partition(b"\n")
            if zlib.crc32(line) != int(checksum):
                return None
            body = json.loads(line)
            if body["format"] != _FORMAT or body["planes"] != list(PLANES):
                return None
            path = self._rows_path(body["generation"])
            count, capacity = body["n_sessions"], body["capacity"]
            if path.stat().st_size < count * _dtype(capacity).itemsize:
                return None
            rows = _map(path, capacity, count)
        except (OSError, ValueError, KeyError):
            return None
        if any(int(row["checksum"]) != _checksum(row) for row in rows):
            return None
        return Cached(
            generation=body["generation"],
            capacity=capacity,
            number=body["number"],
            chain=body["chain"],
            known_until=datetime.fromisoformat(body["known_until"]),
            columns=body["columns"],
            sessions=rows["session"].astype("datetime64[D]"),
            rows=rows,
            meta=meta,
        )


def _dtype(capacity: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("checksum", "<i8"),
            ("session", "<i8"),
            ("spare", "V48"),
            ("values", "<f8", (len(PLANES), capacity)),
            ("present", "?", (capacity,)),
            ("flags", "u1", (capacity,)),
        ]
    )


def _checksum(row: Any) -> int:
    return zlib.crc32(memoryview(row.tobytes())[8:])


def _pack(rows: Rows, capacity: int) -> npt.NDArray[Any]:
    n_assets = len(rows.columns)
    packed = np.zeros(len(rows.sessions), _dtype(capacity))
    packed["session"] = rows.sessions.astype(np.int64)
    packed["values"] = _empty_planes(capacity)
    packed["values"][:, :, :n_assets] = rows.values
    packed["present"][:, :n_assets] = rows.present
    packed["flags"][:, :n_assets] = rows.flags
    packed["checksum"] = [_checksum(row) for row in packed]
    return packed


def _empty_planes(capacity: int) -> npt.NDArray[np.float64]:
    planes = np.full((len(PLANES), capacity), np.nan)
    planes[6:] = 1.0
    return planes


def _widened(base: Cached, kept: int, capacity: int) -> bytes:
    """Return the kept rows of `base` with another capacity."""
    wide = np.zeros(kept, _dtype(capacity))
    wide["session"] = base.rows["session"][:kept]
    wide["values"] = _empty_planes(capacity)
    shared = min(capacity, base.capacity)
    wide["values"][:, :, :shared] = base.rows["values"][:kept, :, :shared]
    for name in ("present", "flags"):
        wide[name][:, :shared] = base.rows[name][:kept, :shared]
    wide["checksum"] = [_checksum(row) for row in wide]
    return wide.tobytes()


def _meta(body: dict[str, Any]) -> bytes:
    line = json.dumps(body, separators=(",", ":")).encode()
    return line + b"\n%d" % zlib.crc32(line)


def _map(path: Path, capacity: int, count: int) -> npt.NDArray[Any]:
    """Map rows copy-on-write: nothing a caller does reaches the file."""
    dtype = _dtype(capacity)
    if count == 0:
        return np.zeros(0, dtype)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), count * dtype.itemsize, access=mmap.ACCESS_COPY)
    return np.frombuffer(mapped, dtype, count)


def _write_rows(path: Path, packed: npt.NDArray[Any], kept: int) -> None:
    """Let the file hold its first `kept` rows and then these."""
    data, offset = packed.view(np.uint8).data, kept * packed.dtype.itemsize
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, offset)
        while data:
            written = os.pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written
    finally:
        os.close(descriptor)
