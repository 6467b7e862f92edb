"""Forward returns: what they are, where they are missing, what they may not see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.errors import DataError
from signals.labels import forward_returns, realised_after
from signals.panel import FloatArray


def prices(seed: int, n_sessions: int = 30, n_assets: int = 4) -> FloatArray:
    rng = np.random.default_rng(seed)
    close: FloatArray = 10 * np.exp(rng.normal(0, 0.02, (n_sessions, n_assets)).cumsum(axis=0))
    close[rng.random(close.shape) < 0.1] = np.nan
    return close


def test_default_label_is_the_return_from_the_next_close_to_the_one_after() -> None:
    """With lag 1 and horizon 1 a session's label skips the next day and earns the one after."""
    close = np.array([[10.0], [20.0], [25.0], [20.0]])
    label = forward_returns(close)
    np.testing.assert_array_equal(label, [[0.25], [20 / 25 - 1], [np.nan], [np.nan]])


@pytest.mark.parametrize(("lag", "horizon"), [(0, 1), (1, 1), (1, 5), (2, 10)])
def test_label_agrees_with_shifted_prices(lag: int, horizon: int) -> None:
    """The label is the ratio of two shifted frames, whatever is missing."""
    close = prices(1)
    frame = pd.DataFrame(close)
    expected = frame.shift(-lag - horizon) / frame.shift(-lag) - 1
    np.testing.assert_array_equal(forward_returns(close, lag=lag, horizon=horizon), expected)


def test_last_rows_have_no_label() -> None:
    """A session's label is missing until `lag + horizon` sessions have passed."""
    label = forward_returns(np.ones((8, 2)), lag=1, horizon=3)
    assert realised_after(lag=1, horizon=3) == 4
    assert np.isnan(label[-4:]).all()
    assert (label[:-4] == 0).all()


def test_panel_shorter_than_the_label_has_none() -> None:
    """Too few sessions give labels that are all missing, not an error."""
    assert np.isnan(forward_returns(np.ones((3, 2)), lag=1, horizon=5)).all()


@pytest.mark.parametrize("bad", [0.0, -3.0, np.inf, np.nan])
def test_price_that_is_none_gives_no_label(bad: float) -> None:
    """Zero, negative and infinite prices count as missing, at either end of the holding."""
    close = np.full((6, 1), 10.0)
    close[3] = bad
    missing = np.isnan(forward_returns(close)[:, 0])
    np.testing.assert_array_equal(missing, [False, True, True, False, True, True])


@given(st.integers(0, 2**32 - 1), st.integers(0, 29), st.integers(0, 2), st.integers(1, 5))
def test_label_sees_nothing_after_it_is_realised(seed: int, t: int, lag: int, horizon: int) -> None:
    """Prices after session t + lag + horizon move no label up to session t."""
    close = prices(seed)
    other = close.copy()
    other[t + lag + horizon + 1 :] *= 3
    kept = slice(0, t + 1)
    np.testing.assert_array_equal(
        forward_returns(close, lag=lag, horizon=horizon)[kept],
        forward_returns(other, lag=lag, horizon=horizon)[kept],
    )


def test_label_keeps_the_precision_of_its_prices() -> None:
    """A float32 panel has float32 labels."""
    assert forward_returns(np.ones((5, 2), dtype=np.float32)).dtype == np.float32


@pytest.mark.parametrize(("lag", "horizon"), [(-1, 1), (1, 0), (1, -2)])
def test_label_that_looks_back_is_refused(lag: int, horizon: int) -> None:
    """A negative lag or a horizon below one session is an error that says the rule."""
    with pytest.raises(DataError, match="horizon >= 1"):
        forward_returns(np.ones((5, 2)), lag=lag, horizon=horizon)
