"""Backups of a SQLite database: written whole, proved, sealed, kept for a while, compared.

::

    <state>/backups/alphad-2026-11-24.db          one a day, by `VACUUM INTO`
    <state>/backups/alphad-2026-11-24.db.sha256   its seal, written when it was proved whole

SQLite has no checksums of pages: a byte that flips inside a value is found by no check of its own.
But most rows never change once they are settled, and a backup is sealed: `changed_rows` finds those
that are no longer what the backup holds.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from signals.errors import IntegrityError, StorageError
from storage.database import Database
from storage.files import disk_errors, make_directory, move_aside, sha256_of, write_atomic

_NAME = re.compile(r"alphad-\d{4}-\d{2}-\d{2}\.db")
#: What lies beside a SQLite file and belongs to it: another file's would ruin it.
COMPANIONS = ("-wal", "-shm", "-journal")

#: Errors of SQLite that say nothing about the file's content.
_NOT_SAID = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
}

#: Which rows never change again, by table; whatever is not named here may change.
SETTLED: Mapping[str, str] = {
    "stage_runs": "status = 'succeeded'",
    "factor_events": "1",
    # a factor changes with an event only
    "factors": "(SELECT count(*) FROM old.factor_events e"
    " WHERE e.market = factors.market AND e.factor = factors.id)"
    " = (SELECT count(*) FROM main.factor_events e"
    " WHERE e.market = factors.market AND e.factor = factors.id)",
    "factor_ics": "1",
    "monitored_ics": "1",
    "score_ics": "1",
    "monitor_states": "1",
    "book_states": "1",
    "verdict_events": "1",
    "trials": "1",
    "vintages": "1",
    "publications": "status = 'published'",
    "constituents": "1",
    "data_verdicts": "1",
    "provider_switches": "1",
    "remine_jobs": "finished_at IS NOT NULL",
    "alerts": "resolved_at IS NOT NULL",
    "model_usage": "settled_at IS NOT NULL",
    "operator_requests": "applied_at IS NOT NULL",
    "held_changes": "applied_at IS NOT NULL",
}
#: Columns of other tables that never change, beside the key.
FIXED: Mapping[str, tuple[str, ...]] = {
    "factors": ("market", "id", "expression", "origin", "created_session"),
}


def backup_path(folder: Path, day: date) -> Path:
    """Return where the backup of a day lies."""
    return folder / f"alphad-{day.isoformat()}.db"


def write_backup(database: Database, target: Path) -> int:
    """Write a backup, prove it whole, seal it and return its bytes; an older one is replaced.

    Raises
    ------
    StorageError
        The database is a server's, the disk refused, or what was written is broken.
    """
    make_directory(target.parent)
    with disk_errors(f"unsealing {target}"):
        _seal(target).unlink(missing_ok=True)
    database.backup(target)
    broken = file_damage(target)
    if broken:
        raise IntegrityError(
            f"the backup {target} is broken: {broken}",
            rule="a backup counts when it was proved whole",
            hint="check the disk; older backups are kept",
        )
    write_atomic(_seal(target), f"{sha256_of(target)}\n".encode())
    return target.stat().st_size


def backups(folder: Path, today: date) -> list[Path]:
    """Return the daily backups, newest first, whole or not.

    Those of a day after tomorrow come last: they were made while the clock was wrong.
    """
    last = backup_path(folder, today + timedelta(days=1)).name
    found = folder.glob("alphad-*.db") if folder.is_dir() else ()
    named = (path for path in found if _NAME.fullmatch(path.name))
    return sorted(named, key=lambda path: (path.name <= last, path.name), reverse=True)


def good_backups(folder: Path, today: date, beside: Path | None = None) -> Iterator[Path]:
    """Yield backups that are whole, in the order of `backups`.

    Parameters
    ----------
    folder : Path
        Of the daily ones.
    beside : Path, optional
        A database file: copies made before its migrations come last.
    """
    early = [] if beside is None else beside.parent.glob(f"{beside.name}.before-*")
    for path in [*backups(folder, today), *sorted(early, reverse=True)]:
        if not backup_damage(path):
            yield path


def backup_damage(path: Path) -> str:
    """Return what is wrong with a backup, "" when it is whole and, if it is sealed, unchanged."""
    try:
        seal = _seal(path).read_text(encoding="ascii").strip()
    except OSError:
        seal = ""
    except UnicodeDecodeError:
        return "its seal is torn"
    try:
        if seal and sha256_of(path) != seal:
            return "it is not what was sealed"
    except StorageError as error:
        return error.fact
    return file_damage(path)


def rotate(folder: Path, today: date, keep: int) -> list[Path]:
    """Remove backups beyond `keep`, the last of `backups`; return what was removed."""
    gone = backups(folder, today)[keep:]
    with disk_errors(f"removing old backups in {folder}"):
        for path in gone:
            _seal(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    return gone


def file_damage(path: Path, wait: float = 10.0) -> str:
    """Return what `PRAGMA quick_check` says of a SQLite file, "" when it is whole.

    The file is opened for reading only: what is broken is left as it was found.

    Parameters
    ----------
    wait : float
        Seconds until a file that another process has locked is given up.

    Raises
    ------
    StorageError
        Nobody can say: the file is locked, or cannot be read at all.
    """
    if not path.is_file():
        return "there is no such file"
    if path.stat().st_size == 0:
        return "the file is empty"
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout=wait, uri=True)) as source:
            told = [str(row[0]) for row in source.execute("PRAGMA quick_check(3)")]
            if told != ["ok"]:
                return "; ".join(told)
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except UnicodeDecodeError as exc:  # it repeats names from the damaged pages
        return f"it holds names that are no text: {exc}"
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code != sqlite3.SQLITE_IOERR_SHORT_READ and code & 0xFF in _NOT_SAID:
            raise StorageError(
                f"{path} cannot be looked at: {exc}",
                rule="a database is checked before it is opened",
                hint="end what holds it, check the disk and the right to read it",
                retryable=True,
            ) from exc
        return str(exc)
    return ""


def put_in_place(source: Path, target: Path, aside: Path) -> list[Path]:
    """Let `target` be a copy of a backup; return what was moved to the folder `aside`.

    Whatever was at `target` is moved there whole, with its log: a log of another file would ruin
    the copy.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    with disk_errors(f"copying {source}"):
        temporary.unlink(missing_ok=True)
        shutil.copyfile(source, temporary)
    moved = clear(target, aside)
    move_aside(temporary, target.parent, target.name)
    return moved


def clear(target: Path, aside: Path) -> list[Path]:
    """Move a SQLite file and what belongs to it to the folder `aside`; return the new places."""
    together = [target, *(target.with_name(target.name + end) for end in COMPANIONS)]
    return [move_aside(path, aside) for path in together if path.exists()]


def changed_rows(database: Database, backup: Path) -> list[str]:
    """Return which settled rows of a backup the database no longer holds as they were.

    Tables and columns that one of the two lacks, as after a migration, are left out.
    """
    if database.path is None:
        return []
    found = []
    uri = f"{database.path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as live:
            live.execute("ATTACH ? AS old", (f"{backup.absolute().as_uri()}?mode=ro",))
            rules = [(name, "*", rule) for name, rule in SETTLED.items()]
            rules += [(name, ",".join(columns), "1") for name, columns in FIXED.items()]
            for name, columns, rule in rules:
                shared = _columns(live, "old", name) & _columns(live, "main", name)
                if columns == "*":
                    wanted = ",".join(f'"{column}"' for column in sorted(shared))
                else:
                    wanted = columns
                if not shared:
                    continue
                query = (
                    f"SELECT count(*) FROM (SELECT {wanted} FROM old.{name} WHERE {rule} "
                    f"EXCEPT SELECT {wanted} FROM main.{name})"
                )
                count = live.execute(query).fetchone()[0]
                if count:
                    found.append(f"{count} rows of {name} are not what {backup.name} holds")
    except sqlite3.Error as exc:
        return [f"{database.path} cannot be compared with {backup.name}: {exc}"]
    return found


def _columns(live: sqlite3.Connection, schema: str, name: str) -> set[str]:
    return {str(row[1]) for row in live.execute(f"PRAGMA {schema}.table_info({name})")}


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
