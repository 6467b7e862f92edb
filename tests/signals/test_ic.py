"""IC, RankIC and ICIR against pandas; the HAC interval against its quadratic form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import DataError
from signals.ic import (
    autocorrelation,
    hac_lags,
    ic,
    icir,
    mean_with_interval,
    rank_ic,
    warm_up,
)
from signals.panel import FloatArray
from signals.prepared import prepare

Dtype = type[np.float32 | np.float64]


def cross_sections(seed: int, *, ties: bool = True) -> tuple[FloatArray, FloatArray]:
    """Give 20 sessions of 50 assets with ties, gaps and a weak relation."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(20, 50))
    label = 0.3 * factor + rng.normal(size=factor.shape)
    if ties:
        factor, label = np.round(factor, 1), np.round(label, 1)
    for values in (factor, label):
        values[rng.random(values.shape) < 0.1] = np.nan
    return factor, label


def by_pandas(factor: FloatArray, label: FloatArray, method: str) -> FloatArray:
    pairs = (pd.DataFrame({"f": f, "l": y}).dropna() for f, y in zip(factor, label, strict=True))
    return np.array([pair.corr(method=method).loc["f", "l"] for pair in pairs])


@pytest.mark.parametrize("ties", [False, True])
def test_ic_and_rank_ic_are_those_of_pandas(ties: bool) -> None:
    """Pearson and Spearman of each session agree with pandas on gaps and ties."""
    factor, label = cross_sections(3, ties=ties)
    np.testing.assert_allclose(ic(factor, label), by_pandas(factor, label, "pearson"), rtol=1e-12)
    np.testing.assert_allclose(
        rank_ic(factor, label), by_pandas(factor, label, "spearman"), rtol=1e-12
    )


def test_float32_factor_meets_float64_label() -> None:
    """Precisions may be mixed; RankIC needs only the order, so it is the same."""
    factor, label = cross_sections(4)
    np.testing.assert_array_equal(rank_ic(factor.astype(np.float32), label), rank_ic(factor, label))
    np.testing.assert_allclose(ic(factor.astype(np.float32), label), ic(factor, label), atol=1e-6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("left", [np.float32, np.float64])
@pytest.mark.parametrize("right", [np.float32, np.float64])
def test_prepared_label_gives_the_same(ties: bool, gaps: bool, left: Dtype, right: Dtype) -> None:
    """Preparing a label changes the price, not the answer, wherever the factor has its gaps."""
    factor, label = cross_sections(5, ties=ties)
    if not gaps:
        factor = np.nan_to_num(factor, nan=0.1)
    factor, label = factor.astype(left), label.astype(right)
    once = prepare(label)
    for correlate in (ic, rank_ic):
        np.testing.assert_array_equal(correlate(factor, once), correlate(factor, label))
    np.testing.assert_allclose(rank_ic(factor, once), by_pandas(factor, label, "spearman"), 1e-12)
    some = rank_ic(factor[5:9], once.rows(5, 9))
    np.testing.assert_array_equal(some, rank_ic(factor, label)[5:9])


def test_label_prepared_in_a_universe_leaves_the_others_out() -> None:
    """Assets outside the universe are as good as missing, and the label itself is not touched."""
    factor, label = cross_sections(9)
    universe = np.random.default_rng(9).random(label.shape) < 0.8
    masked = np.where(universe, label, np.nan)
    before = label.copy()
    for correlate in (ic, rank_ic):
        np.testing.assert_array_equal(
            correlate(factor, prepare(label, universe)), correlate(factor, masked)
        )
    np.testing.assert_array_equal(label, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_assets", [40, 700])
def test_rank_ic_is_exact_where_values_crowd(dtype: Dtype, n_assets: int) -> None:
    """Neighbouring numbers of the dtype are told apart, beside huge and tiny ones and both 0s."""
    rng = np.random.default_rng(n_assets)
    spacing = np.finfo(dtype).eps
    factor: FloatArray = (1 + spacing * rng.integers(0, 300, size=(20, n_assets))).astype(dtype)
    odd = rng.random(factor.shape) < 0.1
    factor[odd] = rng.choice([-1e30, -1.0, -0.0, 0.0, 1e-42, 1e30, np.inf], size=odd.sum())
    label: FloatArray = rng.normal(size=factor.shape).astype(dtype)
    label[rng.random(label.shape) < 0.1] = np.nan
    order = pd.DataFrame(np.where(np.isfinite(factor) & np.isfinite(label), factor, np.nan))
    ranks = 2 * order.rank(axis=1).to_numpy()
    np.testing.assert_array_equal(
        rank_ic(factor, label, min_assets=5), rank_ic(ranks, label, min_assets=5)
    )


def test_ic_survives_outliers_offsets_and_small_units() -> None:
    """Agreement with numpy within 1e-9, whatever the place and the unit of either side."""
    rng = np.random.default_rng(10)
    label = 0.02 * rng.normal(size=(40, 300))
    for place, unit in ((0, 1), (1e6, 1), (0, 1e-30), (-3, 1e30)):
        factor = place + unit * (rng.standard_t(2, size=label.shape) + 5 * label)
        factor[:10, 0] = place + 1e12 * unit
        expected = [np.corrcoef(f, y)[0, 1] for f, y in zip(factor, label, strict=True)]
        np.testing.assert_allclose(ic(factor, label), expected, atol=1e-9)


def test_layout_and_type_of_an_array_do_not_matter() -> None:
    """Columns of a larger array, Fortran order and whole numbers are read as what they say."""
    factor, label = cross_sections(11)
    whole: Any = np.nan_to_num(np.round(10 * factor)).astype(np.int64)
    for correlate in (ic, rank_ic):
        expected = correlate(whole.astype(np.float64), label)
        np.testing.assert_array_equal(correlate(whole, label), expected)
        spread = np.repeat(whole, 2, axis=1)[:, ::2]
        np.testing.assert_array_equal(correlate(spread, np.asfortranarray(label)), expected)


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (3, 1)])
def test_shapes_without_a_pair_have_no_ic(shape: tuple[int, int]) -> None:
    """No session gives no value; no asset, or a single one, gives NaN."""
    for correlate in (ic, rank_ic):
        series = correlate(np.ones(shape), np.ones(shape), min_assets=0)
        assert series.shape == shape[:1]
        assert np.isnan(series).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_rank_ic_ignores_monotone_change_and_order_of_assets(seed: int) -> None:
    """An increasing map of the factor, or shuffled columns, change no bit of RankIC."""
    factor, label = cross_sections(seed)
    order = np.random.default_rng(seed).permutation(factor.shape[1])
    expected = rank_ic(factor, label)
    np.testing.assert_array_equal(rank_ic(np.exp(factor), label), expected)
    np.testing.assert_array_equal(rank_ic(factor[:, order], label[:, order]), expected)
    np.testing.assert_array_equal(rank_ic(-factor, label), -expected)


def test_missing_assets_change_no_bit() -> None:
    """Columns without values, wherever they stand, leave both correlations as they were."""
    factor, label = cross_sections(6)
    nothing = np.full((len(factor), 13), np.nan)
    noise = np.random.default_rng(0).normal(size=nothing.shape)
    wide_factor, wide_label = np.hstack([factor, nothing]), np.hstack([label, noise])
    middle = np.insert(np.arange(50), 20, np.arange(50, 63))
    for correlate in (ic, rank_ic):
        np.testing.assert_array_equal(correlate(wide_factor, wide_label), correlate(factor, label))
        np.testing.assert_array_equal(
            correlate(wide_factor[:, middle], wide_label[:, middle]), correlate(factor, label)
        )


def test_perfect_orders_are_exactly_one() -> None:
    """Equal orders give RankIC 1 and reversed ones -1, with ties too."""
    x = np.array([[1.0, 2.0, 2.0, 4.0, 7.0]])
    assert rank_ic(x, x**3, min_assets=3)[0] == 1.0
    assert rank_ic(x, -x, min_assets=3)[0] == -1.0


def test_session_with_too_few_common_assets_is_missing() -> None:
    """`min_assets` counts the assets finite on both sides; infinity is not finite."""
    factor, label = cross_sections(7, ties=False)
    factor, label = np.nan_to_num(factor, nan=0.1), np.nan_to_num(label, nan=0.2)
    factor[0, :11], label[0, 11:21] = np.nan, np.inf
    for correlate in (ic, rank_ic):
        missing = np.isnan(correlate(factor, label, min_assets=30))
        assert missing[0]
        assert not missing[1:].any()
        assert np.isfinite(correlate(factor, label, min_assets=29)[0])


def test_side_that_does_not_vary_has_no_ic() -> None:
    """A constant factor gives NaN, not a number made of rounding."""
    _, label = cross_sections(8)
    constant = np.full_like(label, 0.1)
    assert np.isnan(ic(constant, label)).all()
    assert np.isnan(rank_ic(constant, label)).all()


def test_shapes_that_differ_are_refused() -> None:
    """A factor and a label of other shape are an error, never broadcast."""
    with pytest.raises(DataError, match="n_sessions, n_assets"):
        rank_ic(np.ones((3, 40)), np.ones((1, 40)))


def test_warming_up_compiles_without_a_result() -> None:
    """Warming up can be repeated and returns nothing."""
    warm_up()


def test_icir_is_mean_over_standard_deviation() -> None:
    """ICIR skips NaN, uses ddof 1, and needs two values that differ."""
    assert icir(np.array([0.1, np.nan, 0.3])) == pytest.approx(0.2 / math.sqrt(0.02))
    assert math.isnan(icir(np.array([0.1, np.nan])))
    assert math.isnan(icir(np.array([0.1, 0.1, 0.1])))


def test_autocorrelation_uses_the_pairs_that_are_there() -> None:
    """An alternating series has autocorrelation -1 at lag 1 and 1 at lag 2, gaps or not."""
    series = np.tile([1.0, -1.0], 20)
    series[7:9] = np.nan
    assert autocorrelation(series, 1) == pytest.approx(-1)
    assert autocorrelation(series, 2) == pytest.approx(1)
    assert autocorrelation(series, 40) == 0


def test_without_lags_the_error_is_the_classic_one() -> None:
    """With 0 lags se is std / sqrt(n), and the interval is 1.96 of it on each side."""
    series = np.random.default_rng(1).normal(0.03, 0.1, 300)
    series[::7] = np.nan
    estimate = mean_with_interval(series, lags=0)
    assert estimate.n == np.isfinite(series).sum()
    assert estimate.mean == pytest.approx(np.nanmean(series))
    assert estimate.se == pytest.approx(pd.Series(series).sem())
    assert estimate.high - estimate.mean == pytest.approx(1.959964 * estimate.se)
    assert estimate.t == pytest.approx(estimate.mean / estimate.se)


@pytest.mark.parametrize("lags", [1, 4, 12, 500])
def test_hac_error_is_its_quadratic_form(lags: int) -> None:
    """se^2 n (n - 1) is d' K d with K the Bartlett weights of |i - j| and d the deviations."""
    rng = np.random.default_rng(2)
    series = np.convolve(rng.normal(size=130), np.ones(5), "valid")
    n = len(series)
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    weight = np.maximum(1 - distance / (min(lags, n - 1) + 1), 0)
    d = series - series.mean()
    estimate = mean_with_interval(series, lags=lags)
    assert estimate.se**2 * n * (n - 1) == pytest.approx(d @ weight @ d)


def test_hac_interval_covers_overlapping_labels_where_the_classic_one_does_not() -> None:
    """On sums of five sessions the 95 % interval holds about its level, the classic far less."""
    rng = np.random.default_rng(3)
    covered = {0: 0, hac_lags(500, horizon=5): 0, 15: 0}
    for _ in range(400):
        series = np.convolve(rng.normal(size=504), np.ones(5) / 5, "valid")
        for lags in covered:
            estimate = mean_with_interval(series, lags=lags)
            covered[lags] += estimate.low <= 0 <= estimate.high
    assert [round(count / 400, 1) for count in covered.values()] == [0.6, 0.9, 0.9]
    assert covered[15] >= 0.91 * 400


def test_lags_grow_with_the_series_and_cover_the_overlap() -> None:
    """Newey and West's rule gives 4 lags at 100 values; a 10-session label needs 9 at least."""
    assert [hac_lags(n) for n in (0, 50, 100, 500, 2500)] == [0, 3, 4, 5, 8]
    assert hac_lags(100, horizon=10) == 9


def test_estimate_of_too_few_values_is_missing() -> None:
    """No value, one value and equal values give no t; JSON says null for what is missing."""
    assert math.isnan(mean_with_interval(np.array([np.nan]), lags=3).mean)
    one = mean_with_interval(np.array([0.1]), lags=3)
    assert one.to_json() == {"mean": 0.1, "se": None, "low": None, "high": None, "t": None, "n": 1}
    assert math.isnan(mean_with_interval(np.full(50, 0.1), lags=3).t)
