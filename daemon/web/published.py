"""Published files as they are handed out: every byte is checked against its manifest first."""

from __future__ import annotations

import csv
import io
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from signals.errors import IntegrityError, StorageError
from storage.damage import MANIFEST, SUCCESS
from storage.files import sha256
from storage.publishing import Publisher
from storage.tables import PublicationRecord

#: Bytes of checked files that are kept: the latest of each market in each form, many times over.
KEPT_BYTES = 32 * 2**20

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Published:
    """One publication: its row of the ledger and its manifest."""

    row: PublicationRecord
    manifest: dict[str, Any]

    @property
    def valid_until(self) -> datetime:
        """Until when it may be traded on."""
        return datetime.fromisoformat(self.manifest["valid_until"]).astimezone(UTC)

    @property
    def tag(self) -> str:
        """What names these bytes and no others."""
        return f"{self.row.publish_id}-{(self.row.manifest_sha256 or '')[:16]}"


class Shelf:
    """Reads publications and keeps what was read last; may be used by several threads.

    Parameters
    ----------
    publisher : Publisher
        Knows where they lie.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def open(self, row: PublicationRecord) -> Published:
        """Return a publication with its manifest.

        Raises
        ------
        IntegrityError
            It is incomplete, or not what the ledger says.
        StorageError
            It cannot be read.
        """
        return Published(row, json.loads(self._get(row, MANIFEST, lambda: self._manifest(row))))

    def manifest(self, published: Published) -> bytes:
        """Return the bytes of its manifest."""
        return self._get(published.row, MANIFEST, lambda: self._manifest(published.row))

    def file(self, published: Published, name: str) -> bytes:
        """Return one of its files; raises as `open` does."""

        def load() -> bytes:
            data = _read(self._publisher.directory(published.row) / name)
            if sha256(data) != published.manifest["files"][name]["sha256"]:
                raise _damaged(published.row, f"{name} is not what the manifest says")
            return data

        return self._get(published.row, name, load)

    def scores(self, published: Published) -> bytes:
        """Return it as JSON; raises as `open` does."""

        def load() -> bytes:
            table = self.file(published, "signals.csv").decode("utf-8")
            scores = {row["instrument"]: float(row["score"]) for row in csv.DictReader(
                io.StringIO(table, newline="")
            )}  # fmt: skip
            names = (
                "market", "session", "publish_id", "revision", "status", "reasons", "as_of",
                "generated_at", "valid_until",
            )  # fmt: skip
            facts = {name: published.manifest[name] for name in names}
            facts["manifest_sha256"] = published.row.manifest_sha256
            return json.dumps(facts | {"scores": scores}, ensure_ascii=False).encode()

        return self._get(published.row, "json", load)

    def _manifest(self, row: PublicationRecord) -> bytes:
        folder = self._publisher.directory(row)
        if not (folder / SUCCESS).is_file():
            raise _damaged(row, "it is not complete")
        data = _read(folder / MANIFEST)
        if sha256(data) != row.manifest_sha256:
            raise _damaged(row, "its manifest is not the one in the ledger")
        return data

    def _get(self, row: PublicationRecord, name: str, load: Callable[[], bytes]) -> bytes:
        key = (row.market, row.publish_id, name)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = load()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = data
                self._bytes += len(data)
            while self._bytes > KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise IntegrityError(
            f"{path} is not there",
            rule="what the ledger calls published lies in its folder",
            hint="alphad verify tells what else is missing",
        ) from exc
    except OSError as exc:
        raise StorageError(f"{path} cannot be read: {exc.strerror}", retryable=True) from exc


def _damaged(row: PublicationRecord, fact: str) -> IntegrityError:
    return IntegrityError(
        f"publication {row.publish_id} of {row.market}: {fact}",
        rule="a published folder never changes",
        hint="alphad verify tells what else is damaged",
    )
