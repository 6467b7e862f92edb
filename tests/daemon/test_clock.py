from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from daemon.clock import Clock, ReplayClock, SystemClock
from signals.errors import DataError

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("clock", [SystemClock(), ReplayClock(NOON)])
def test_clock_tells_aware_utc(clock: Clock) -> None:
    """Every clock tells aware times in UTC, and a later reading is never earlier."""
    first = clock.now()
    assert first.utcoffset() == timedelta(0)
    assert clock.now() >= first


def test_replay_clock_moves_only_when_moved() -> None:
    """It stands still, is set in any time zone and tells UTC."""
    clock = ReplayClock(NOON)
    clock.advance(timedelta(hours=1))
    assert clock.now() == clock.now() == NOON + timedelta(hours=1)
    clock.set(datetime(2024, 3, 2, 8, tzinfo=timezone(timedelta(hours=8))))
    assert clock.now() == datetime(2024, 3, 2, tzinfo=UTC)


def test_replay_clock_never_goes_backwards() -> None:
    """An earlier time is refused and the clock stays where it was."""
    clock = ReplayClock(NOON)
    with pytest.raises(DataError, match="never goes backwards"):
        clock.set(NOON - timedelta(seconds=1))
    with pytest.raises(DataError, match="never goes backwards"):
        clock.advance(timedelta(seconds=-1))
    assert clock.now() == NOON


def test_naive_time_is_refused() -> None:
    """A time without a zone is refused."""
    with pytest.raises(DataError, match="no time zone"):
        ReplayClock(datetime(2024, 3, 1))  # noqa: DTZ001  the point of the test
