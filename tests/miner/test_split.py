"""The purged split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miner.split import MIN_TRAIN_SESSIONS, Split, split
from signals.errors import DataError


@given(
    n=st.integers(120, 2000),
    lag=st.integers(0, 5),
    horizon=st.integers(1, 20),
    train=st.integers(60, 900),
    valid=st.integers(1, 400),
)
def test_no_label_of_train_reaches_validation(
    n: int, lag: int, horizon: int, train: int, valid: int
) -> None:
    """Whatever the sizes: purged, realised within the panel, and never longer than asked for."""
    purge = lag + horizon
    if n - 2 * purge - valid < MIN_TRAIN_SESSIONS:
        with pytest.raises(DataError, match="sessions"):
            split(n, lag, horizon, train, valid)
        return
    parts = split(n, lag, horizon, train, valid)
    assert parts.train.stop - 1 + purge < parts.valid.start
    assert parts.valid.stop - 1 + purge == n - 1
    assert parts.valid.stop - parts.valid.start == valid
    assert MIN_TRAIN_SESSIONS <= parts.train.stop - parts.train.start <= train


def test_a_split_that_is_not_purged_cannot_be_made() -> None:
    """One session short of lag + horizon is a DataError that names both rows."""
    Split(slice(0, 100), slice(102, 150), lag=1, horizon=1)
    with pytest.raises(DataError, match="reach row 101, validation starts at row 101"):
        Split(slice(0, 100), slice(101, 150), lag=1, horizon=1)
