"""The numbers behind the figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.course import SMOOTHING
from daemon.web.curves import POINTS, build_curve, half_band, plain, spark, thinned
from daemon.web.pages import percent
from signals.ic import hac_lags, mean_with_interval


@pytest.mark.parametrize("lags", [0, 3, 9])
def test_band_is_the_interval_of_each_window(lags: int) -> None:
    """It equals the interval that the judgement of factors uses, window by window."""
    values = np.random.default_rng(5).normal(0.02, 0.1, 150)
    half = half_band(values, lags=lags)
    for row in (29, 59, 60, 149):
        told = mean_with_interval(values[max(row - SMOOTHING + 1, 0) : row + 1], lags=lags)
        assert half[row] == pytest.approx((told.high - told.low) / 2)
    assert np.isnan(half[:29]).all()


def test_missing_values_leave_a_band() -> None:
    """A session without a RankIC takes no part; until half a window is there, there is no band."""
    values = np.random.default_rng(6).normal(0.02, 0.1, 120)
    values[::3] = np.nan
    half = half_band(values, lags=2)
    assert np.isfinite(half[-1])
    assert np.isnan(half_band(np.full(80, np.nan), lags=2)).all()
    assert len(half_band(np.empty(0), lags=2)) == 0


@given(st.integers(0, 5000), st.integers(1, 400))
def test_thinning_keeps_the_last_and_not_too_many(n: int, points: int) -> None:
    """However long a series is, so many of it are drawn, evenly, and the last is among them."""
    rows = list(range(n))[thinned(n, points)]
    assert len(rows) <= points
    assert n == 0 or rows[-1] == n - 1
    assert len(set(np.diff(rows).tolist())) <= 1


def test_figure_is_strict_json_of_bounded_size() -> None:
    """What is not finite is null, and no year adds a point."""
    days = np.datetime64("2001-01-01") + np.arange(6000)
    values = np.random.default_rng(7).normal(0.02, 0.1, 6000)
    curve = build_curve("a", days, values, horizon=5)
    told = curve.to_json()
    assert len(told["mean"]) == len(told["sessions"]) <= POINTS
    assert told["level"] is None
    assert told["sessions"][-1] == str(days[-1])
    assert plain(np.array([np.nan, np.inf, 1 / 3])) == [None, None, 0.33333]


def test_figure_says_itself_in_words_and_in_a_table() -> None:
    """Those who cannot see it are told its first and last value, and some between."""
    days = np.datetime64("2024-01-01") + np.arange(200)
    curve = build_curve("RankIC of x", days, np.full(200, 0.03), horizon=1)
    assert "+0.0300 at 2024-07-18" in curve.said
    assert len(curve.table) == 8
    assert curve.table[0][:2] == ("2024-07-18", "+0.0300")
    empty = build_curve("RankIC of y", days, np.full(200, np.nan), horizon=1)
    assert empty.is_empty
    assert "nothing is measured" in empty.said
    assert empty.table == []


def test_small_line_needs_two_points() -> None:
    """One value is no line; zero lies inside the picture."""
    assert spark(np.array([0.1])) is None
    line = spark(np.array([0.1, np.nan, 0.2, -0.1]))
    assert line is not None
    assert 0 < line["zero"] < line["height"]


def test_share_that_is_not_whole_never_reads_as_whole() -> None:
    """Rounding hides no missing asset."""
    assert [percent(1.0), percent(0.9999), percent(0.9999, 1), percent(None)] == [
        "100%", "99%", "99.9%", "–",
    ]  # fmt: skip
    assert hac_lags(SMOOTHING, horizon=5) == 4
