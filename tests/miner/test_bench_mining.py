"""The pure parts of the bench that judges the miner."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.mining_markets import LEAD, MIN_SHIFT, shifted_label, window, year_windows
from bench.mining_statistics import clustered, deciles, share, slope
from bench.mining_stopwatch import Place, Stopwatch
from signals.errors import DataError
from signals.labels import forward_returns
from signals.panel import Panel

N_SESSIONS, N_ASSETS = 3 * MIN_SHIFT, 6


@pytest.fixture(scope="module")
def panel() -> Panel:
    """Return a panel with gaps whose universe changes."""
    rng = np.random.default_rng(3)
    shape = (N_SESSIONS, N_ASSETS)
    close = np.exp(np.cumsum(rng.normal(0, 0.01, shape), axis=0))
    close[rng.random(shape) < 0.05] = np.nan
    universe = rng.random(shape) < 0.8
    universe[:, 2] = False
    return Panel(
        sessions=np.datetime64("2012-01-01") + np.arange(N_SESSIONS),
        assets=tuple("ABCDEF"),
        fields=dict.fromkeys(("open", "high", "low", "close", "volume"), close),
        universe=universe,
    )


def tail(hits: int, n: int, p: float) -> Fraction:
    """Return P(X >= hits), in whole numbers."""
    chance = Fraction(p)
    return sum(
        (math.comb(n, i) * chance**i * (1 - chance) ** (n - i) for i in range(hits, n + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize(("hits", "n"), [(5, 100), (40, 50), (1, 7)])
def test_interval_of_a_share(hits: int, n: int) -> None:
    """At the ends of the interval, what was seen or more extreme has a chance of 2.5 %."""
    found = share(hits, n)
    assert float(tail(hits, n, found.low)) == pytest.approx(0.025, abs=1e-9)
    assert float(1 - tail(hits + 1, n, found.high)) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize("n", [1, 3, 50, 100])
def test_interval_of_none_and_of_all(n: int) -> None:
    """Where none or all hit, one end is closed and the other is the n-th root of 2.5 %."""
    assert (share(0, n).low, share(n, n).high) == (0.0, 1.0)
    assert share(0, n).high == pytest.approx(1 - 0.025 ** (1 / n), abs=1e-12)
    assert share(n, n).low == pytest.approx(0.025 ** (1 / n), abs=1e-12)


@given(st.integers(1, 60), st.data())
def test_interval_holds_the_share(n: int, data: st.DataObject) -> None:
    """The interval contains the share, and that of the complement is its mirror image."""
    hits = data.draw(st.integers(0, n))
    found, other = share(hits, n), share(n - hits, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - other.high, abs=1e-9)


def test_no_runs_say_nothing() -> None:
    """Of no runs the share is unknown and the interval everything."""
    assert (share(0, 0).low, share(0, 0).high) == (0.0, 1.0)
    assert math.isnan(share(0, 0).value)
    assert deciles([]) == []
    assert math.isnan(clustered({}, seed=1).mean)


def test_clusters_weigh_the_same() -> None:
    """Two runs judged by the same returns count as one market-year does."""
    found = clustered({"a": [0.0, 0.0, 0.0], "b": [1.0, math.nan]}, seed=1)
    assert found.mean == 0.5
    assert (found.runs, found.clusters) == (4, 2)
    assert (found.low, found.high) == (0.0, 1.0)


def test_slope_skips_what_is_missing() -> None:
    """A line keeps its slope where a year has no figure."""
    assert slope([1.0, math.nan, 2.0, 2.5]) == pytest.approx(0.5)
    assert math.isnan(slope([1.0]))


def test_shift_keeps_each_cross_section(panel: Panel) -> None:
    """Each row holds the labels of one other session, whole, as its members earned them."""
    shift = MIN_SHIFT + 17
    label = forward_returns(panel.fields["close"])
    shifted = shifted_label(panel, shift)
    for row in range(N_SESSIONS):
        source = (row + shift) % N_SESSIONS
        expected = np.where(panel.universe[source], label[source], np.nan)
        np.testing.assert_array_equal(shifted[row], expected)


@pytest.mark.parametrize("shift", [MIN_SHIFT, MIN_SHIFT + 101, N_SESSIONS - MIN_SHIFT])
def test_shift_leaves_no_row_with_a_label_from_near(panel: Panel, shift: int) -> None:
    """No label comes from fewer than 250 sessions away, either way round."""
    close = np.cumprod(1 + np.arange(N_SESSIONS) * 1e-6)[:, None].repeat(N_ASSETS, axis=1)
    label = forward_returns(close)[:, 0]  # one number for each row
    always = np.ones(close.shape, dtype=bool)
    rising = Panel(panel.sessions, panel.assets, dict.fromkeys(panel.fields, close), always)
    shifted = shifted_label(rising, shift)[:, 0]
    known = np.flatnonzero(np.isfinite(shifted))
    sources = np.searchsorted(label[:-2], shifted[known])
    np.testing.assert_array_equal(label[sources], shifted[known])
    away = np.abs(sources - known)
    assert min(away.min(), (N_SESSIONS - away).min()) >= MIN_SHIFT


@pytest.mark.parametrize("shift", [0, MIN_SHIFT - 1, N_SESSIONS - MIN_SHIFT + 1])
def test_shift_that_is_too_small(panel: Panel, shift: int) -> None:
    """A shift that leaves labels near their own bars is refused."""
    with pytest.raises(DataError, match="shifted"):
        shifted_label(panel, shift)


def test_window_drops_only_what_is_never_in_the_universe(panel: Panel) -> None:
    """Assets that take no part are left out, of the label too."""
    part, label = window(panel, 10, 40, panel.fields["close"])
    assert part.assets == tuple("ABDEF")
    assert label is not None
    np.testing.assert_array_equal(label, part.fields["close"])
    np.testing.assert_array_equal(part.universe, panel.universe[10:40][:, [0, 1, 3, 4, 5]])


@given(st.integers(200, 1500), st.integers(1, 400))
def test_year_windows_end_before_the_year_that_judges(n: int, offset: int) -> None:
    """What a search reads ends with the last session of the year before; years follow whole."""
    sessions = np.datetime64("2009-12-20") + offset + np.arange(n)
    years = sessions.astype("datetime64[Y]").astype(int) + 1970
    for when in year_windows(sessions, wanted=300, least=150):
        assert years[when.stop - 1] == when.year - 1
        assert when.ages[0].start == when.stop >= 150
        assert when.stop - when.start <= 300 + LEAD
        for age, rows in enumerate(when.ages):
            assert set(years[rows]) == {when.year + age}


def test_stopwatch_counts_time_once() -> None:
    """The time of a function inside another is not counted for both."""

    class Clockwork:
        @staticmethod
        def inner() -> None:
            np.sort(np.random.default_rng(1).random(200_000))

        @classmethod
        def outer(cls) -> None:
            cls.inner()

    inner = Clockwork.inner
    watch = Stopwatch()
    with watch.watching([Place(Clockwork, "outer", "outer"), Place(Clockwork, "gone", "gone")]):
        timed = watch.timed("inner", inner)
        Clockwork.inner = staticmethod(timed)  # type: ignore[method-assign]
        Clockwork.outer()
    assert watch.missing == ["Clockwork.gone"]
    assert watch.calls == {"outer": 1, "inner": 1}
    assert 0 <= watch.own["outer"] < watch.own["inner"]
