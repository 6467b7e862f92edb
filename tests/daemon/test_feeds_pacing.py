from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.feeds.pacing import Breaker, TokenBucket

NOON = datetime(2024, 11, 26, 12, tzinfo=UTC)


def bucket(seconds: float = 1.0, *, burst: int = 1, jitter: float = 0.0) -> TokenBucket:
    return TokenBucket(seconds, np.random.default_rng(3), burst=burst, jitter=jitter)


def test_the_first_request_waits_for_nothing() -> None:
    """A token is there at the start, the next one after the distance."""
    tokens = bucket(2.0)
    assert tokens.take(100.0) == 0.0
    assert tokens.take(100.5) == 1.5


def test_a_slow_answer_is_no_debt() -> None:
    """After a pause longer than the distance nothing is waited for, and nothing is saved up."""
    tokens = bucket(1.0)
    tokens.take(0.0)
    assert tokens.take(50.0) == 0.0
    assert tokens.take(50.0) == 1.0


def test_a_burst_is_saved_up() -> None:
    """With a burst of 3, three requests may follow each other at once, the fourth waits."""
    tokens = bucket(1.0, burst=3)
    assert [tokens.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


@given(st.lists(st.floats(0.0, 3.0), min_size=2, max_size=60), st.integers(0, 1000))
def test_requests_keep_their_distance(work: list[float], seed: int) -> None:
    """Whatever the answers take, two requests are at least (1 - jitter) × seconds apart."""
    tokens = TokenBucket(1.0, np.random.default_rng(seed), jitter=0.25)
    now, asked = 0.0, []
    for seconds in work:
        now += tokens.take(now)
        asked.append(now)
        now += seconds
    assert (np.diff(asked) >= 0.75 - 1e-9).all()


def test_the_mean_distance_is_the_one_asked_for() -> None:
    """Jitter shifts single requests, not the rate; one seed gives one series."""
    series = []
    for _ in range(2):
        tokens, now = bucket(1.0, jitter=0.25), 0.0
        for _ in range(2000):
            now += tokens.take(now)
        series.append(now)
    assert series[0] == series[1]
    assert series[0] / 1999 == pytest.approx(1.0, abs=0.02)


def test_the_breaker_opens_longer_each_time() -> None:
    """15 minutes, an hour, four hours, and four hours again."""
    breaker = Breaker()
    pauses = [breaker.trip(NOON) - NOON for _ in range(4)]
    assert pauses == [timedelta(minutes=each) for each in (15, 60, 240, 240)]


def test_the_breaker_closes_by_itself() -> None:
    """It says until when it is open, and at that time it no longer is."""
    breaker = Breaker()
    assert breaker.open_until(NOON) is None
    until = breaker.trip(NOON)
    assert breaker.open_until(NOON) == until
    assert breaker.open_until(until) is None


def test_a_limit_noted_while_the_clock_was_ahead_is_over() -> None:
    """Set back by days the clock does not keep the provider from being asked, nor a restart."""
    breaker = Breaker()
    breaker.trip(NOON + timedelta(days=10))
    assert breaker.open_until(NOON) is None
    after = Breaker()
    after.recall(breaker.to_json())
    assert after.open_until(NOON) is None
    assert after.trip(NOON) - NOON == timedelta(hours=1)
    assert after.open_until(NOON) == NOON + timedelta(hours=1)


def test_a_good_fetch_starts_anew() -> None:
    """After a fetch without a limit the next pause is the shortest again."""
    breaker = Breaker()
    breaker.trip(NOON)
    breaker.trip(NOON)
    breaker.reset()
    assert breaker.open_until(NOON) is None
    assert breaker.trip(NOON) - NOON == timedelta(minutes=15)
