"""RankIC by horizon, against what pandas counts; and turnover, counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from signals.errors import DataError
from signals.horizons import HORIZONS, rank_ic_by_horizon
from signals.panel import FloatArray
from signals.turnover import mean_turnover


def market(n_sessions: int, n_assets: int, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Return closes of random walks, and a factor that knows each return two sessions ahead."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, 0.02, (n_sessions + 2, n_assets))
    close = 100 * np.cumprod(1 + returns[:n_sessions], axis=0)
    factor = returns[2 : n_sessions + 2] + rng.normal(0, 0.02, (n_sessions, n_assets))
    return close, factor


def by_pandas(factor: FloatArray, close: FloatArray, lag: int, horizon: int) -> pd.Series:
    """Spearman of each session, the way an analyst writes it."""
    prices = pd.DataFrame(close)
    label = prices.shift(-lag - horizon) / prices.shift(-lag) - 1
    return pd.DataFrame(factor).rank(axis=1).corrwith(label.rank(axis=1), axis=1)


def test_means_agree_with_pandas() -> None:
    """For each horizon the recent mean is over the last realised sessions, as pandas ranks them."""
    close, factor = market(120, 40)
    found = rank_ic_by_horizon(factor, close, baseline=slice(10, 60), recent=30)
    assert [row.horizon for row in found] == list(HORIZONS)
    for row in found:
        wanted = by_pandas(factor, close, 1, row.horizon).dropna()
        assert row.recent.n == 30
        assert row.recent.mean == pytest.approx(wanted[-30:].mean())
        assert row.baseline.mean == pytest.approx(wanted[10:60].mean())
        assert row.baseline.low < row.baseline.mean < row.baseline.high


def test_knowledge_of_one_session_fades_with_the_horizon() -> None:
    """What knows the return from close t+1 to t+2 ranks the one of twenty sessions less well."""
    close, factor = market(200, 60)
    found = rank_ic_by_horizon(factor, close, baseline=slice(0, 100))
    means = [row.recent.mean for row in found]
    assert means[0] == pytest.approx(0.69, abs=0.03)  # 6 / pi arcsin(r / 2), r = sqrt(1/2)
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.25


def test_overlap_widens_the_interval() -> None:
    """Labels held twenty sessions overlap, and the standard error knows."""
    close, factor = market(300, 40)
    slow = pd.DataFrame(factor).rolling(20).mean().to_numpy()
    one, *_, twenty = rank_ic_by_horizon(slow, close, baseline=slice(0, 1))
    assert twenty.recent.se > 1.5 * one.recent.se


def test_too_short_a_history_has_no_mean() -> None:
    """A horizon beyond the bars, or a baseline without a RankIC, has count 0 and is strict JSON."""
    close, factor = market(15, 40)
    found = rank_ic_by_horizon(factor, close, baseline=slice(0, 0))
    assert [row.recent.n for row in found] == [13, 12, 11, 9, 4, 0]
    assert {row.baseline.n for row in found} == {0}
    json.dumps([row.to_json() for row in found], allow_nan=False)


def test_shapes_must_agree() -> None:
    """Values and closes of different panels are refused."""
    close, factor = market(20, 40)
    with pytest.raises(DataError, match="shape"):
        rank_ic_by_horizon(factor[:, 1:], close, baseline=slice(0, 5))


def test_turnover_is_the_share_of_newcomers() -> None:
    """Of ten assets two are the top: one is replaced in the first step, none in the second."""
    first = np.arange(10.0)
    second = first.copy()
    second[[8, 7]] = second[[7, 8]]
    found = mean_turnover(np.array([first, second, second]), min_assets=10)
    assert (found.top, found.bottom, found.n) == (0.25, 0.0, 2)
    ranks = pd.DataFrame([first, second]).T
    assert found.rank_autocorrelation == pytest.approx((ranks.corr().iloc[0, 1] + 1) / 2)


def test_turnover_of_noise_and_of_a_constant_order() -> None:
    """Noise replaces four fifths of a quintile each session; a constant order nothing."""
    noise = np.random.default_rng(4).normal(size=(400, 100))
    found = mean_turnover(noise)
    assert found.top == pytest.approx(0.8, abs=0.02)
    assert found.bottom == pytest.approx(0.8, abs=0.02)
    assert found.rank_autocorrelation == pytest.approx(0, abs=0.02)
    still = mean_turnover(np.tile(noise[0], (5, 1)))
    assert (still.top, still.bottom) == (0.0, 0.0)
    assert still.rank_autocorrelation == pytest.approx(1)


def test_missing_values_belong_to_no_part() -> None:
    """An asset without a value is neither in the top nor in the bottom."""
    row = np.r_[np.nan, np.arange(10.0), np.nan]
    later = np.r_[np.nan, np.nan, np.arange(1.0, 10.0), 10.0]
    found = mean_turnover(np.array([row, later]), min_assets=10)
    assert found.top == 0.5  # the newcomer at the top, one asset stays
    assert found.bottom == 0.5  # the lowest has left, the third lowest moves up


def test_too_few_assets_are_not_compared() -> None:
    """A session with few assets parts its neighbours; without a pair there is no turnover."""
    values = np.random.default_rng(2).normal(size=(5, 40))
    values[2, :20] = np.nan
    assert mean_turnover(values).n == 2
    assert mean_turnover(values[2:3]) == mean_turnover(values, min_assets=50)
    assert mean_turnover(values[:1]).top is None


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_share_is_a_part(share: float) -> None:
    """The top is a part of at most half."""
    with pytest.raises(DataError, match="share"):
        mean_turnover(np.ones((2, 40)), share=share)
