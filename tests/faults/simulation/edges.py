"""The edges of the simulated process: its clock, its disk, its database, its death.

What the process does passes through Python's audit hook and SQLAlchemy's events, which may refuse
it (the disk is full) or end the process there and then; no code of the daemon is replaced.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from storage.database import Database

#: Calls that change a folder: the event's name, and which of its arguments are paths.
_CHANGES = {"os.rename": 2, "os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1}
#: What needs room on the disk.
_NEEDS_ROOM = {"open", "os.rename", "os.mkdir"}


class Died(BaseException):
    """The process is gone; nothing of the daemon's catches it."""


@dataclass
class World:
    """What surrounds the process and outlives it.

    Parameters
    ----------
    root : Path
        State and published tree lie under it.
    true_time : datetime
        What a good clock would show.
    """

    root: Path
    true_time: datetime
    #: How far the machine's clock is wrong.
    skew: timedelta = timedelta(0)
    #: Steps after which the process dies; None: it lives.
    lives_for: int | None = None
    #: What every attempt to write is answered with, or one attempt alone.
    disk_refuses: int | None = None
    disk_refuses_once: bool = False
    #: Whether the process is between its start and its end, and what it does counts as steps.
    alive: bool = False
    #: Whether it has died: whatever it still does while it is taken apart has no effect.
    dead: bool = False
    steps: int = 0
    _holder: sqlite3.Connection | None = None

    def begin(self) -> None:
        """Let a process begin."""
        self.alive, self.dead = True, False

    def end(self) -> None:
        """Let nothing be left of a process."""
        self.alive = self.dead = False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let what is done in the block be somebody else's doing: no step, no fault."""
        before = self.alive, self.disk_refuses
        self.alive, self.disk_refuses = False, None
        try:
            yield
        finally:
            self.alive, self.disk_refuses = before

    def now(self) -> datetime:
        """Return what the machine's clock shows: the process's `Clock`."""
        self.step()
        return self.true_time + self.skew

    def step(self) -> None:
        """Take note that the process has come to a next step; it may be its last."""
        if not self.alive:
            return
        self.steps += 1
        if self.lives_for is not None:
            self.lives_for -= 1
            if self.lives_for < 0:
                self.lives_for, self.alive, self.dead = None, False, True
                raise Died

    def touched(self, name: str, path: object) -> None:
        """Judge an operation on a file."""
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(path)
        if not text.startswith(str(self.root)):
            return
        if self.dead:
            raise Died
        self.step()
        if self.disk_refuses is not None and name in _NEEDS_ROOM:
            code = self.disk_refuses
            if self.disk_refuses_once:
                self.disk_refuses = None
            raise OSError(code, os.strerror(code), text)

    def watch(self, database: Database) -> None:
        """Put the database's connections under the world's rules."""
        event.listen(database.engine, "checkout", self._rule)
        event.listen(database.engine, "commit", lambda _conn: self.step())

    def _rule(self, connection: Any, _record: object, _proxy: object) -> None:
        """Let a full disk be full for SQLite too, and nobody wait for a lock."""
        if self.dead:
            raise OperationalError("", {}, sqlite3.OperationalError("the process is dead"))
        self.step()
        connection.execute("PRAGMA busy_timeout=1")
        connection.execute("PRAGMA synchronous=OFF")  # the death of a process loses no write
        pages = 1 << 30
        if self.disk_refuses == errno.ENOSPC and not self.disk_refuses_once:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    def lock_database(self, path: Path) -> None:
        """Let another process hold the database's write lock."""
        if self._holder is not None or not path.exists():
            return
        self._holder = sqlite3.connect(path, isolation_level=None)
        self._holder.execute("BEGIN IMMEDIATE")

    def unlock_database(self) -> None:
        """Let it go."""
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    def heal(self) -> None:
        """Let clock, disk and database be good again."""
        self.skew, self.disk_refuses, self.disk_refuses_once = timedelta(0), None, False
        self.lives_for = None
        self.unlock_database()


@dataclass
class _Hook:
    """The audit hook, which cannot be taken out again: inert without a world."""

    world: World | None = None
    installed: bool = False
    busy: bool = field(default=False)

    def __call__(self, name: str, arguments: tuple[Any, ...]) -> None:
        world = self.world
        if world is None or self.busy:
            return
        if name == "open":
            path, mode, flags = arguments
            writes = any(c in mode for c in "wxa+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
            if not writes:
                return
            paths: tuple[Any, ...] = (path,)
        elif name in _CHANGES:
            paths = arguments[: _CHANGES[name]]
        else:
            return
        self.busy = True
        try:
            world.touched(name, paths[0])
        finally:
            self.busy = False


_HOOK = _Hook()


@contextmanager
def around(world: World) -> Iterator[None]:
    """Let `world` judge what this process does to files, while the block runs."""
    if not _HOOK.installed:
        sys.addaudithook(_HOOK)
        _HOOK.installed = True
    _HOOK.world = world
    try:
        yield
    finally:
        _HOOK.world = None
        world.unlock_database()
