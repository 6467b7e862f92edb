"""What may be forgotten, and what keeps a database quick; nothing that a result rests on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, and_, delete, func, or_, select

from signals.errors import StorageError
from storage import outbox
from storage.database import Database
from storage.files import disk_errors, remove
from storage.tables import Epoch, table

_EPOCHS = table(Epoch)
#: Seconds that tidying waits for another writer; there is always a next time.
_PATIENCE = 1.0


def forget_notifications(connection: Connection, before: datetime) -> int:
    """Remove messages that are over since before a time and decide nothing; return how many."""
    return outbox.prune(connection, before)


def forget_epochs(connection: Connection, before: datetime) -> int:
    """Remove lives of the daemon that ended before a time, never the newest; return how many."""
    newest = select(func.max(_EPOCHS.c.number)).scalar_subquery()
    over = or_(_EPOCHS.c.ended_at < before, _EPOCHS.c.renewed_at < before)
    done = connection.execute(delete(_EPOCHS).where(and_(over, _EPOCHS.c.number < newest)))
    return done.rowcount


def tidy(database: Database) -> None:
    """Write a SQLite log back as far as nobody is in the way, and let the planner look again.

    Raises
    ------
    StorageError
        The disk or the database refused; being locked is no refusal.
    """
    if database.path is None:
        return
    try:
        with closing(sqlite3.connect(database.path, timeout=_PATIENCE)) as live:
            live.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            live.execute("PRAGMA analysis_limit=400").fetchone()
            live.execute("PRAGMA optimize").fetchall()
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", 0) & 0xFF in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        ):
            return
        raise StorageError(
            f"tidying {database.path} failed: {exc}", hint="check the disk: alphad verify"
        ) from exc


def remove_temporaries(root: Path, before: datetime) -> list[Path]:
    """Remove what interrupted writes left under `root` before a time; return what was removed."""
    gone = []
    with disk_errors(f"sweeping {root}"):
        for path in sorted(root.rglob(".*.tmp")) if root.is_dir() else ():
            try:
                old = path.stat().st_mtime < before.timestamp()
            except FileNotFoundError:
                continue  # just renamed
            if old:
                remove(path)
                gone.append(path)
    return gone
