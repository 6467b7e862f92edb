"""Clocks. Whoever needs the time is passed one; nothing else reads the system's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from signals.errors import DataError


class Clock(Protocol):
    """Whatever knows the time."""

    def now(self) -> datetime:
        """Return the time, aware and in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the machine's time in UTC."""
        return datetime.now(UTC)


class ReplayClock:
    """A clock that stands still until it is moved, and never goes backwards.

    Parameters
    ----------
    start : datetime
        Aware; its first reading.
    """

    def __init__(self, start: datetime) -> None:
        self._now = _utc(start)

    def now(self) -> datetime:
        """Return the time it was last moved to, in UTC."""
        return self._now

    def set(self, time: datetime) -> None:
        """Move to `time`; an earlier one than now is a DataError."""
        time = _utc(time)
        if time < self._now:
            raise DataError(
                f"the clock stands at {self._now.isoformat()} and was set to {time.isoformat()}",
                rule="a replayed clock never goes backwards",
                hint="start a new replay in a new state directory to go back in time",
            )
        self._now = time

    def advance(self, step: timedelta) -> None:
        """Move forward by `step`; a negative step is a DataError."""
        self.set(self._now + step)


def _utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise DataError(
            f"{time.isoformat()} has no time zone",
            rule="times are aware; a session is the only naive date",
            hint="pass a datetime with tzinfo=UTC",
        )
    return time.astimezone(UTC)
