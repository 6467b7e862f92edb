"""The purged split, and the dates of its parts."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miner.split import MIN_TRAIN_SESSIONS, Span, Split, span, split
from signals.errors import DataError

#: Mondays to Fridays from 2021-01-04 on.
SESSIONS = np.datetime64("2021-01-04") + np.arange(280)[np.arange(280) % 7 < 5]


@given(
    n=st.integers(120, 2000),
    lag=st.integers(0, 5),
    horizon=st.integers(1, 20),
    train=st.integers(60, 900),
    valid=st.integers(1, 400),
    embargo=st.integers(0, 30),
)
def test_no_label_of_train_reaches_validation(
    n: int, lag: int, horizon: int, train: int, valid: int, embargo: int
) -> None:
    """Whatever the sizes: purged, embargoed, realised within the panel, never longer than asked."""
    purge = lag + horizon
    if n - 2 * purge - valid - embargo < MIN_TRAIN_SESSIONS:
        with pytest.raises(DataError, match="sessions"):
            split(n, lag, horizon, train, valid, embargo)
        return
    parts = split(n, lag, horizon, train, valid, embargo)
    assert parts.train.stop - 1 + purge + embargo + 1 == parts.valid.start
    assert parts.valid.stop - 1 + purge == n - 1
    assert parts.valid.stop - parts.valid.start == valid
    assert MIN_TRAIN_SESSIONS <= parts.train.stop - parts.train.start <= train


def test_a_split_that_is_not_purged_cannot_be_made() -> None:
    """One session short of lag + horizon, or of the embargo, is a DataError."""
    Split(slice(0, 100), slice(102, 150), lag=1, horizon=1)
    Split(slice(0, 100), slice(107, 150), lag=1, horizon=1, embargo=5)
    with pytest.raises(DataError, match="reach row 101, validation starts at row 101"):
        Split(slice(0, 100), slice(101, 150), lag=1, horizon=1)
    with pytest.raises(DataError, match="and 5 more"):
        Split(slice(0, 100), slice(106, 150), lag=1, horizon=1, embargo=5)


def test_spans_name_the_first_the_last_and_the_closing_session() -> None:
    """Row 0 is Monday 2021-01-04; a label of lag 1 and horizon 2 closes three sessions later."""
    train, valid = Split(slice(0, 5), slice(10, 12), lag=1, horizon=2).spans(SESSIONS)
    assert train == Span(date(2021, 1, 4), date(2021, 1, 8), 5, date(2021, 1, 13))
    assert valid == Span(date(2021, 1, 18), date(2021, 1, 19), 2, date(2021, 1, 22))


def test_a_label_beyond_the_last_session_has_no_span() -> None:
    """And sessions out of order have none either."""
    span(SESSIONS, slice(0, 198), 2)
    with pytest.raises(DataError, match="labels end at row 200, there are 200 sessions"):
        span(SESSIONS, slice(0, 199), 2)
    shuffled = SESSIONS.copy()
    shuffled[[3, 4]] = shuffled[[4, 3]]
    with pytest.raises(DataError, match="do not ascend"):
        span(shuffled, slice(0, 20), 2)


@pytest.mark.parametrize("rows", [slice(0, 6), slice(1, 6), slice(0, 4), slice(0, 0)])
def test_an_array_of_other_dates_is_refused(rows: slice) -> None:
    """One row more, one row later, one row less, none: each is told with both ranges."""
    wanted = span(SESSIONS, slice(0, 5), 2)
    wanted.holds(SESSIONS[:5], 5, "a label")
    sessions = SESSIONS[rows]
    with pytest.raises(DataError, match="asked for are 5, 2021-01-04 to 2021-01-08"):
        wanted.holds(sessions, len(sessions), "a label")


def test_an_array_with_other_rows_than_its_sessions_is_refused() -> None:
    """The dates are right, the array has a row too many."""
    with pytest.raises(DataError, match="a label has 6 rows and 5 sessions"):
        span(SESSIONS, slice(0, 5), 2).holds(SESSIONS[:5], 6, "a label")


def test_parts_that_share_a_close_are_refused() -> None:
    """The session a train label closes on may not be one of validation."""
    train = span(SESSIONS, slice(0, 5), 2)
    train.ends_before(span(SESSIONS, slice(7, 9), 2))
    with pytest.raises(DataError, match="end on 2021-01-12, validation is 2021-01-12"):
        train.ends_before(span(SESSIONS, slice(6, 9), 2))
