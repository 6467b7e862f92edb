"""Signals of the operating system: a handler sets a flag and nothing else, the main loop acts.

SIGTERM, SIGINT
    Stop taking work and leave; a second one leaves at once.
SIGHUP
    Load the settings again.
SIGUSR1
    Write the stack of every thread to stderr.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType


class Signals:
    """The signals that came; made and waited for in the main thread."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._ends: tuple[socket.socket, ...] = ()

    def install(self) -> None:
        """Let the signals come here from now on."""
        # a lock's owner may be interrupted by a handler: only this wakes the loop without one
        self._ends = socket.socketpair()
        for end in self._ends:
            end.settimeout(0.0)
        signal.set_wakeup_fd(self._ends[1].fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True, chain=False)
        faulthandler.enable(file=sys.stderr)  # a watchdog ends us with SIGABRT

    def wait(self, seconds: float) -> None:
        """Wait until a signal has come, or so long."""
        woken = self._ends[:1]
        select.select(woken, [], [], seconds)
        with suppress(BlockingIOError):
            for end in woken:
                while end.recv(4096):
                    pass

    def taken_reload(self) -> bool:
        """Say whether a reload was asked for since this was asked last."""
        asked, self.reload = self.reload, False
        return asked

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self.stop:  # asked before: whoever sent it will not wait
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.stop = True

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload = True
