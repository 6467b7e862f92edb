"""Failpoints: in test mode a step named here ends the process, raises, finds no space, or sleeps.

Inert unless a failpoint is armed, which only the settings group `[test]` does::

    NAME:kill            SIGKILL, as the power cut or the out-of-memory killer would
    NAME:raise           an error nobody foresaw
    NAME:enospc          the disk is full
    NAME:sleep=SECONDS   the step takes its time
    …@N                  at the Nth passing alone; without it at each
"""

from __future__ import annotations

import errno
import os
import re
import signal
from dataclasses import dataclass, field
from itertools import count
from time import sleep

import structlog

from signals.errors import ConfigError
from storage.files import disk_errors

log = structlog.get_logger()

#: The steps, in the order of a session; what lies before and after a commit, a rename, a write.
NAMES = (
    "migrate.after_backup",
    "migrate.before_commit",
    "start.after_epoch",
    "recover.after_abandon",
    "recover.before_adopt",
    "ingest.before_write",
    "ingest.after_vintage",
    "ingest.before_commit",
    "ingest.after_commit",
    "backfill.after_chunk",
    "observe.before_commit",
    "observe.after_commit",
    "publish.after_reserve",
    "publish.in_folder",
    "publish.before_rename",
    "publish.after_rename",
    "publish.before_commit",
    "publish.after_mark",
    "publish.before_pointer",
    "publish.after_pointer",
    "remine.after_round",
    "remine.before_finish",
    "remine.after_finish",
    "alert.after_commit",
)
#: Steps within a file operation: there the system's own error comes up, and is told as ours.
_IN_FILES = frozenset({"publish.in_folder", "publish.before_rename"})

_SPECIFICATION = re.compile(
    r"(?P<name>[a-z_.]+):(?P<action>kill|raise|enospc|sleep=(?P<seconds>\d+(?:\.\d+)?))"
    r"(?:@(?P<at>[1-9]\d*))?"
)


@dataclass(frozen=True)
class Failpoint:
    """What happens at which step.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    action : str
        `kill`, `raise`, `enospc` or `sleep`.
    seconds : float
        How long it sleeps.
    at : int or None
        The passing at which it happens; None is each.
    """

    name: str
    action: str
    seconds: float = 0.0
    at: int | None = None
    passings: count[int] = field(default_factory=lambda: count(1), compare=False, repr=False)

    def reached(self) -> None:
        """Do it, if this is the passing that is meant."""
        number = next(self.passings)
        if self.at not in (None, number):
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "sleep":
            sleep(self.seconds)
        elif self.action == "raise":
            raise RuntimeError(f"failpoint {self.name} at passing {number}")
        elif self.name in _IN_FILES:
            raise _no_space()
        else:
            with disk_errors(f"failpoint {self.name}"):
                raise _no_space()


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class _Armed:
    """What is armed in this process."""

    failpoint: Failpoint | None = None


_ARMED = _Armed()


def parse_failpoint(text: str) -> Failpoint:
    """Return the failpoint that a text names.

    Raises
    ------
    ConfigError
        It is malformed, or names a step there is not.
    """
    found = _SPECIFICATION.fullmatch(text)
    if found is None or found["name"] not in NAMES:
        raise ConfigError(
            f"{text!r} is no failpoint",
            rule="a failpoint is NAME:kill, :raise, :enospc or :sleep=SECONDS, and @N behind it "
            "where one passing alone is meant",
            hint=f"names are {', '.join(NAMES)}",
        )
    return Failpoint(
        found["name"],
        found["action"].partition("=")[0],
        float(found["seconds"] or 0.0),
        int(found["at"]) if found["at"] else None,
    )


def arm(text: str | None) -> None:
    """Arm one failpoint in this process; None disarms.

    Raises
    ------
    ConfigError
        As of `parse_failpoint`.
    """
    _ARMED.failpoint = None if text is None else parse_failpoint(text)


def enter(*, enabled: bool, text: str | None) -> None:
    """Arm what the settings `[test]` say, and say loudly that they do."""
    arm(text if enabled else None)
    if enabled:
        log.critical("TEST MODE: this process may be told to fail", failpoint=text or "none")


def failpoint(name: str) -> None:
    """Say that a step has been reached."""
    armed = _ARMED.failpoint
    if armed is not None and armed.name == name:
        armed.reached()
