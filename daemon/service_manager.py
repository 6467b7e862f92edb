"""What a service manager is told: ready, what is going on, that we still get on, that we stop.

The protocol of systemd's `sd_notify(3)`: lines to a datagram socket named by the environment.
Without one nobody is told, and nothing is different.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from time import CLOCK_MONOTONIC, clock_gettime_ns, monotonic

import structlog

log = structlog.get_logger()

#: Pings per deadline of the watchdog.
_PINGS = 3
#: Longest status that is told.
_STATUS_LENGTH = 500


class ServiceManager:
    """The service manager that started us, if one did.

    Parameters
    ----------
    environ : mapping of str to str
        `NOTIFY_SOCKET`, a path or an abstract name with @ before it; `WATCHDOG_USEC`, the deadline
        of the watchdog in microseconds, and `WATCHDOG_PID`, whom it is for.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds: float | None = None
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        stated = environ.get("WATCHDOG_USEC", "")
        if meant and stated.isdecimal() and int(stated) > 0:
            self.watchdog_seconds = int(stated) / 1e6
        self._pinged = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """Say that we have started, or that a reload is over."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what is going on; the same is not said twice."""
        line = " ".join(text.split())[:_STATUS_LENGTH]
        if line != self._status and self._tell(f"STATUS={line}"):
            self._status = line

    def alive(self) -> None:
        """Ping the watchdog as often as it wants; call it only while everything gets on."""
        if self.watchdog_seconds is None:
            return
        now = monotonic()
        if now - self._pinged >= self.watchdog_seconds / _PINGS:
            self._tell("WATCHDOG=1")
            self._pinged = now

    def reloading(self) -> None:
        """Say that settings are being loaded again; `ready` ends it."""
        now = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Say that we are about to end."""
        self._tell("STOPPING=1")

    def _tell(self, lines: str) -> bool:
        """Send a message; a manager that does not listen is no reason to fail."""
        if not self.address:
            return False
        name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(0.0)
                channel.connect(name)
                channel.send(lines.encode())
        except OSError as error:
            log.debug("the service manager does not listen", error=str(error))
            return False
        return True
