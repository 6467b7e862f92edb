"""The disk guard: how much space is left, what has to wait when it is little, and who is told."""

from __future__ import annotations

import shutil
from pathlib import Path

from daemon.alerts import raise_alert, resolve_alert
from daemon.context import Context
from daemon.settings import Settings
from signals.errors import StorageError
from storage.files import disk_errors

#: The key of the alert.
ALERT = "disk-low"
#: An alert ends when there is so much more than its limit, so that it does not come and go.
_EASE = 1.1
_MIB = 1024**2


def free_bytes(settings: Settings) -> dict[str, int]:
    """Return the bytes free for state and for published signals, by `state` and `published`.

    Raises
    ------
    StorageError
        A folder cannot be asked.
    """
    return {
        name: _free(path)
        for name, path in (("state", settings.state_dir), ("published", settings.publish_dir))
    }


def has_room(settings: Settings) -> bool:
    """Say whether what can wait may be written now; not where nobody can tell."""
    try:
        return min(free_bytes(settings).values()) >= settings.disk.stop_bytes
    except StorageError:
        return False


def require_room(settings: Settings, what: str) -> None:
    """Refuse to begin what can wait while space is short.

    Raises
    ------
    StorageError
        Less than `disk.stop_bytes` is free.
    """
    if not has_room(settings):
        raise StorageError(
            f"{what} waits: less than {_size(settings.disk.stop_bytes)} is free",
            rule="what is left belongs to publishing",
            hint="free space on the disk, or lower disk.stop_bytes",
            retryable=True,
        )


def watch_disk(context: Context) -> None:
    """Open, change or close the alert about the space that is left.

    The message names the limit and not the figure, which changes with every look.
    """
    limits = context.settings.disk
    try:
        free = free_bytes(context.settings)
    except StorageError as error:
        _tell(context, "error", f"nobody can tell how much space is left: {error.fact}")
        return
    least = min(free.values())
    where = {"state": context.settings.state_dir, "published": context.settings.publish_dir}
    if least < limits.stop_bytes:
        short = _places(where, free, limits.stop_bytes)
        _tell(
            context,
            "error",
            f"less than {_size(limits.stop_bytes)} is free in {short}: backups, re-mining and "
            "backfills wait, publishing goes on as long as it can. Free space on the disk",
        )
    elif least < limits.warn_bytes:
        short = _places(where, free, limits.warn_bytes)
        _tell(
            context,
            "warning",
            f"less than {_size(limits.warn_bytes)} is free in {short}; below "
            f"{_size(limits.stop_bytes)} backups and re-mining stop. Free space on the disk",
        )
    elif least >= limits.warn_bytes * _EASE:
        for name in context.markets:
            resolve_alert(context, name, ALERT)


def _tell(context: Context, severity: str, message: str) -> None:
    for name in context.markets:
        raise_alert(context, name, ALERT, severity, message)


def _places(where: dict[str, Path], free: dict[str, int], limit: int) -> str:
    return " and ".join(str(where[name]) for name, left in free.items() if left < limit)


def _free(path: Path) -> int:
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    with disk_errors(f"asking for the space left in {path}"):
        return shutil.disk_usage(there).free


def _size(count: int) -> str:
    if count < _MIB:
        return f"{count} bytes"
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / _MIB:.0f} MiB"
