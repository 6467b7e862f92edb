"""Cross-sectional operators against pandas, and the rules they all keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals import cross_section as cs
from signals.keys import sort_keys
from signals.panel import BoolArray, FloatArray

Dtype = type[np.float32 | np.float64]


def double(values: FloatArray, *, universe: BoolArray, out: FloatArray) -> FloatArray:
    """Scale to 2, so that SCALE is called like the others."""
    return cs.scale(values, 2.0, universe=universe, out=out)


KERNELS: dict[str, Callable[..., FloatArray]] = {
    f.__name__: f
    for f in (
        cs.rank,
        cs.zscore,
        double,
        cs.mean,
        cs.deviation,
        cs.skewness,
        cs.kurtosis,
        cs.median,
        cs.largest,
        cs.smallest,
    )
}

#: What pandas makes of the rows of a frame that is NaN outside the universe.
PANDAS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "zscore": lambda m: m.sub(m.mean(axis=1), axis=0).div(m.std(axis=1), axis=0),
    "double": lambda m: m.mul(2 / m.abs().sum(axis=1), axis=0),
    "mean": lambda m: m.mean(axis=1),
    "deviation": lambda m: m.std(axis=1),
    "skewness": lambda m: m.skew(axis=1),
    "kurtosis": lambda m: m.kurt(axis=1),
    "median": lambda m: m.median(axis=1),
    "largest": lambda m: m.max(axis=1),
    "smallest": lambda m: m.min(axis=1),
}

each_kernel = pytest.mark.parametrize("name", KERNELS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sample(seed: int, dtype: Dtype = np.float64) -> tuple[FloatArray, BoolArray]:
    """Give 40 sessions of 70 assets with gaps, outliers, an empty session and a universe."""
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, size=(40, 70)) + 2
    values[rng.random(values.shape) < 0.1] = np.nan
    values[3] = np.nan
    return values.astype(dtype), rng.random(values.shape) < 0.9


def run(name: str, values: FloatArray, universe: BoolArray | None = None) -> FloatArray:
    if universe is None:
        universe = np.ones(values.shape, dtype=np.bool_)
    out = np.full_like(values, np.inf)
    assert KERNELS[name](values, universe=universe, out=out) is out
    return out


@each_dtype
@pytest.mark.parametrize("name", PANDAS)
def test_values_are_those_of_pandas(name: str, dtype: Dtype) -> None:
    """Over the universe, missing values skipped; one number stands at every asset of it."""
    values, universe = sample(1, dtype)
    expected = PANDAS[name](pd.DataFrame(np.where(universe, values, np.nan).astype(np.float64)))
    if expected.ndim == 1:
        expected = np.where(universe, expected.to_numpy()[:, None], np.nan)
    tolerance = 1e-6 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(run(name, values, universe), expected, tolerance, tolerance)


def ranks(values: FloatArray, universe: BoolArray) -> FloatArray:
    keys = np.where(universe & np.isfinite(values), sort_keys(values), np.nan)
    result: FloatArray = pd.DataFrame(keys).rank(axis=1, pct=True).to_numpy()
    return result


@each_dtype
@pytest.mark.parametrize("ties", [0, 1, 3])
@pytest.mark.parametrize("n_assets", [1, 2, 9, 512, 513, 3000])
def test_rank_is_the_percentile_of_keys(n_assets: int, ties: int, dtype: Dtype) -> None:
    """Whatever the share of ties, and where a session takes more bits than a word has."""
    rng = np.random.default_rng(n_assets)
    values = rng.standard_t(2, size=(30, n_assets))
    values = np.round(values, 3 - ties) if ties else values
    values[rng.random(values.shape) < 0.1] = np.nan
    values, universe = values.astype(dtype), rng.random(values.shape) < 0.9
    out = np.empty_like(values)
    cs.rank(values, universe=universe, out=out)
    np.testing.assert_array_equal(out, ranks(values, universe).astype(dtype))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1e-5, 1e-7]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_rank_tells_crowded_values_apart(seed: int, width: float, single: bool) -> None:
    """Values that crowd around 1 beside distant ones, -0, subnormals: the order is that of keys."""
    rng = np.random.default_rng(seed)
    values = 1 + width * rng.standard_normal((5, 400))
    odd = rng.random(values.shape) < 0.05
    values[odd] = rng.choice([-1e30, -1.0, -0.0, 0.0, 1e-42, 1e30, np.inf], size=odd.sum())
    values = values.astype(np.float32 if single else np.float64)
    out = np.empty_like(values)
    universe = np.ones(values.shape, dtype=np.bool_)
    cs.rank(values, universe=universe, out=out)
    np.testing.assert_array_equal(out, ranks(values, universe).astype(values.dtype))


@each_kernel
@each_dtype
def test_missing_columns_change_no_bit(name: str, dtype: Dtype) -> None:
    """Wherever columns without values, or outside the universe, are put in between."""
    values, universe = sample(2, dtype)
    at = [0, 0, 0, 5, 17, 18, 18, 69, 70, 70]
    for filler, member in ((np.nan, True), (1e9, False)):
        wide = np.insert(values, at, filler, axis=1)
        wide_universe = np.insert(universe, at, member, axis=1)
        wide_out = run(name, wide, wide_universe)
        kept = ~np.isin(np.arange(wide.shape[1]), np.array(at) + np.arange(len(at)))
        np.testing.assert_array_equal(wide_out[:, kept], run(name, values, universe))


@each_kernel
@each_dtype
@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (0, 0), (3, 1), (3, 2)])
def test_small_shapes_and_empty_rows(name: str, dtype: Dtype, shape: tuple[int, int]) -> None:
    """No session, no asset, one or two of them, or no value: the answer is there or NaN."""
    ones: FloatArray = np.ones(shape, dtype=dtype)
    nothing: FloatArray = np.full(shape, np.nan, dtype=dtype)
    assert not np.isinf(run(name, ones)).any()
    assert np.isnan(run(name, nothing)).all()
    assert np.isnan(run(name, ones, np.zeros(shape, dtype=np.bool_))).all()


@each_dtype
def test_equal_values_have_no_spread(dtype: Dtype) -> None:
    """The deviation is exactly 0; what divides by it is missing. The rank is that of a tie."""
    values: FloatArray = np.full((2, 9), 0.1, dtype=dtype)
    assert (run("deviation", values) == 0).all()
    assert (run("mean", values) == dtype(0.1)).all()
    for name in ("zscore", "skewness", "kurtosis"):
        assert np.isnan(run(name, values)).all()
    assert (run("rank", values) == dtype(5 / 9)).all()
    assert np.isnan(run("double", 0 * values)).all()


@each_kernel
@each_dtype
def test_extremes_of_the_dtype_give_no_infinity(name: str, dtype: Dtype) -> None:
    """Values as large or as small as the dtype holds give a number or NaN."""
    limits = np.finfo(dtype)
    rows = [
        [limits.max, -limits.max, limits.max, 1, 0],
        [limits.smallest_subnormal, 0, 0, 0, -limits.smallest_subnormal],
        [limits.max, limits.max, limits.max, limits.max, -limits.max],
        [np.inf, -np.inf, 1, 2, 3],
    ]
    values: FloatArray = np.array(rows, dtype=dtype)
    out = run(name, values)
    assert not np.isinf(out).any()
    assert np.isfinite(out[3, 2:]).all() or name == "kurtosis"


@each_dtype
def test_spread_far_from_zero_and_beside_an_outlier(dtype: Dtype) -> None:
    """At 1e6 + N(0, 1), and beside 1e12, the deviation has an error of rounding only."""
    rng = np.random.default_rng(5)
    values: FloatArray = (1e6 + rng.standard_normal((20, 500))).astype(dtype)
    values[10:, 0] = 1e12
    exact = values.astype(np.longdouble).std(axis=1, ddof=1).astype(np.float64)
    np.testing.assert_allclose(run("deviation", values)[:, 1], exact, rtol=1e-7)


def test_scale_takes_the_sign_and_size_of_its_target() -> None:
    """Absolute values add up to the target; a negative one turns signs."""
    values, universe = sample(3)
    out = np.empty_like(values)
    cs.scale(values, -3.0, universe=universe, out=out)
    sums = np.nansum(np.abs(out), axis=1)
    np.testing.assert_allclose(np.delete(sums, 3), 3)
    assert (np.sign(out) == -np.sign(values))[np.isfinite(out)].all()
