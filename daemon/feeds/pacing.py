"""How often a provider may be asked, and when not at all. Nothing here reads a clock or sleeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

#: How long nothing is asked after one rate limit, after two in a row, and after three or more.
BREAKER_STEPS = (timedelta(minutes=15), timedelta(minutes=60), timedelta(minutes=240))


class TokenBucket:
    """Requests at a mean distance, with jitter.

    Parameters
    ----------
    seconds : float
        Mean distance of two requests in the long run.
    rng : numpy.random.Generator
        Draws the jitter.
    burst : int
        Requests that may follow each other at once after a pause.
    jitter : float
        Each distance is drawn evenly between 1 - jitter and 1 + jitter times `seconds`.
    """

    def __init__(
        self, seconds: float, rng: np.random.Generator, *, burst: int = 1, jitter: float = 0.25
    ) -> None:
        self._seconds = seconds
        self._rng = rng
        self._burst = burst
        self._jitter = jitter
        self._free_at: float | None = None

    def take(self, now: float) -> float:
        """Take a token at monotonic time `now`; return the seconds to wait before using it."""
        credit = (self._burst - 1) * self._seconds
        free_at = now - credit if self._free_at is None else max(self._free_at, now - credit)
        self._free_at = free_at + self._seconds * self._rng.uniform(
            1.0 - self._jitter, 1.0 + self._jitter
        )
        return max(0.0, free_at - now)


class Breaker:
    """Keeps a provider from being asked after it has limited us: longer each time in a row.

    Parameters
    ----------
    steps : sequence of timedelta
        Pauses after the first, the second, … rate limit without a good fetch between; the last
        one is used again and again.
    """

    def __init__(self, steps: Sequence[timedelta] = BREAKER_STEPS) -> None:
        self._steps = tuple(steps)
        self._trips = 0
        self._until: datetime | None = None

    def trip(self, now: datetime) -> datetime:
        """Note a rate limit at `now`; return until when nothing may be asked."""
        self._until = now + self._steps[min(self._trips, len(self._steps) - 1)]
        self._trips += 1
        return self._until

    def reset(self) -> None:
        """Note a fetch without a rate limit."""
        self._trips = 0
        self._until = None

    def to_json(self) -> dict[str, Any]:
        """Return what `recall` takes, in plain values."""
        return {
            "trips": self._trips,
            "until": self._until.isoformat() if self._until is not None else None,
        }

    def recall(self, stored: Mapping[str, Any]) -> None:
        """Go on where another breaker has stopped.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is not what `to_json` returns.
        """
        trips, until = int(stored["trips"]), stored["until"]
        moment = datetime.fromisoformat(until) if until is not None else None
        if trips < 0 or (moment is not None and moment.tzinfo is None):
            raise ValueError("trips are counted from 0, and a time has its zone")
        self._trips, self._until = trips, moment

    def open_until(self, now: datetime) -> datetime | None:
        """Return until when nothing may be asked, None when it may.

        A time further away than the longest pause was noted before the clock was set back.
        """
        if self._until is None or not now < self._until <= now + max(self._steps):
            return None
        return self._until
