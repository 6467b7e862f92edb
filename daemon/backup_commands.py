"""`alphad backup` and `alphad restore`."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from rich.console import Console

from daemon.clock import SystemClock
from daemon.inspection import opened
from daemon.restore import account, backup_folder, swap
from daemon.settings import Settings, load_settings
from signals.errors import ConfigError, DataError
from storage.backups import backup_damage, backup_path, good_backups, write_backup
from storage.database import Database
from storage.lock import StateLock


def back_up(path: Path | None, target: Path | None) -> int:
    """Write a backup now, beside a running daemon too, and say where it is."""
    context = opened(path)
    if target is None:
        folder = backup_folder(context.settings)
        target = backup_path(folder, context.clock.now().date())
    elif target.is_dir() or target.absolute() == context.database.path:
        raise ConfigError(
            f"{target} cannot be a backup",
            rule="a backup is a file of its own",
            hint="name a file, as in: alphad backup --to /backups/alphad.db",
        )
    size = write_backup(context.database, target)
    Console().print(f"{target}: {size} bytes, whole", highlight=False, soft_wrap=True)
    return 0


def restore(path: Path | None, source: Path | None, *, from_published: bool) -> int:
    """Put a backup in place of the database, or begin a ledger with what is published."""
    settings = load_settings(path, os.environ)
    if not settings.markets:
        raise ConfigError(
            "no market is configured",
            rule="a restore is about the markets of its settings",
            hint="name the settings with --config",
        )
    now = SystemClock().now()
    with StateLock(settings.state_dir):
        database = _database(settings)
        try:
            backup = None if from_published else _chosen(settings, database, source, now)
            swapped = swap(database, backup, "an operator asked for it", now)
            database.migrate()
            told = account(settings, database, now, swapped)
        finally:
            database.close()
    console = Console()
    for message in told.values():
        console.print(message.replace(". ", ".\n  "), highlight=False, soft_wrap=True)
    return 0


def _database(settings: Settings) -> Database:
    if settings.database_url:
        return Database(settings.database_url)
    return Database.file(settings.state_dir / "alphad.db")


def _chosen(settings: Settings, database: Database, source: Path | None, now: datetime) -> Path:
    """Return the backup that is named, or the newest good one."""
    if source is not None:
        broken = backup_damage(source)
        if broken:
            raise DataError(
                f"{source}: {broken}",
                rule="a backup is whole, and what was sealed",
                hint=f"choose another; those in {backup_folder(settings)} are made daily",
            )
        return source
    found = next(good_backups(backup_folder(settings), now.date(), database.path), None)
    if found is None:
        raise DataError(
            f"there is no good backup in {backup_folder(settings)}",
            rule="a database is restored from a copy of it",
            hint="name one with --from, or begin a ledger with what is published: "
            "alphad restore --from-published",
        )
    return found
