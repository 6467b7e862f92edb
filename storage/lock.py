"""One instance per state directory: an advisory lock held for the life of the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from signals.errors import AlreadyRunningError
from storage.files import disk_errors, make_directory


class StateLock:
    """The lock on `<state>/lock`; the kernel frees it when the process ends, however it ends.

    Parameters
    ----------
    state_dir : Path
        Created if missing.

    Raises
    ------
    AlreadyRunningError
        Another process holds it; names its process id.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "lock"
        make_directory(state_dir)
        with disk_errors(f"opening {self.path}"):
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise AlreadyRunningError(
                f"{state_dir} is in use by process {holder or 'unknown'}",
                rule="one instance per state directory",
                hint="stop that process, or give this one another state_dir",
            ) from exc
        with disk_errors(f"writing {self.path}"):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
