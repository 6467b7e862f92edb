"""Operators within groups against pandas, and the rules they keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from signals.groups import group_mean, group_rank, group_zscore
from signals.keys import sort_keys
from signals.panel import BoolArray, FloatArray

Dtype = type[np.float32 | np.float64]

KERNELS: dict[str, Callable[..., FloatArray]] = {
    "mean": group_mean,
    "rank": group_rank,
    "zscore": group_zscore,
}

each_kernel = pytest.mark.parametrize("name", KERNELS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sample(
    seed: int, dtype: Dtype = np.float64, *, ties: bool = False
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Give 30 sessions of 60 assets in groups that change half-way, one of them of one asset."""
    rng = np.random.default_rng(seed)
    values = rng.normal(5, 2, size=(30, 60))
    values = np.round(values) if ties else values
    values[rng.random(values.shape) < 0.1] = np.nan
    groups = np.repeat(rng.integers(-3, 4, size=(2, 60)) * 0.7, 15, axis=0)
    groups[:, 7] = 1e9
    groups[rng.random(groups.shape) < 0.02] = np.nan
    return values.astype(dtype), groups.astype(dtype), rng.random(values.shape) < 0.9


def run(name: str, values: FloatArray, groups: FloatArray, universe: BoolArray) -> FloatArray:
    out = np.full_like(values, np.inf)
    assert KERNELS[name](values, groups, universe=universe, out=out) is out
    return out


def by_pandas(name: str, values: FloatArray, groups: FloatArray, universe: BoolArray) -> FloatArray:
    out = np.full(values.shape, np.nan)
    for t in range(len(values)):
        x = pd.Series(values[t].astype(np.float64)).where(pd.Series(universe[t]))
        if name == "rank":
            x = pd.Series(sort_keys(values)[t].astype(np.float64)).where(x.notna())
        parts = x.groupby(pd.Series(groups[t]).where(x.notna()))
        if name == "mean":
            out[t] = parts.transform("mean")
        elif name == "rank":
            out[t] = parts.rank(pct=True)
        else:
            out[t] = (x - parts.transform("mean")) / parts.transform("std")
    return out


@each_kernel
@each_dtype
@pytest.mark.parametrize("ties", [False, True])
def test_groups_are_those_of_pandas(name: str, dtype: Dtype, ties: bool) -> None:
    """Over the universe and where value and group are there; groups may change with time."""
    data = sample(1, dtype, ties=ties)
    expected = by_pandas(name, *data)
    expected[~np.isfinite(expected)] = np.nan
    tolerance = 1e-6 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(run(name, *data), expected, tolerance, tolerance)


@each_kernel
def test_missing_columns_change_no_bit(name: str) -> None:
    """Wherever columns without values, without group or outside the universe are put."""
    values, groups, universe = sample(2)
    at = [0, 0, 5, 17, 18, 60]
    kept = ~np.isin(np.arange(66), np.array(at) + np.arange(6))
    for value, group, member in ((np.nan, 0.7, True), (1e9, np.nan, True), (1e9, 0.7, False)):
        wide = run(
            name,
            np.insert(values, at, value, axis=1),
            np.insert(groups, at, group, axis=1),
            np.insert(universe, at, member, axis=1),
        )
        np.testing.assert_array_equal(wide[:, kept], run(name, values, groups, universe))


@each_kernel
@each_dtype
@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (3, 1), (3, 2)])
def test_small_shapes(name: str, dtype: Dtype, shape: tuple[int, int]) -> None:
    """No session, no asset, one or two, all missing or none in the universe."""
    values: FloatArray = np.ones(shape, dtype=dtype)
    everywhere = np.ones(shape, dtype=np.bool_)
    nothing = values * dtype(np.nan)
    assert not np.isinf(run(name, values, values, everywhere)).any()
    assert np.isnan(run(name, nothing, values, everywhere)).all()
    assert np.isnan(run(name, values, nothing, everywhere)).all()
    assert np.isnan(run(name, values, values, ~everywhere)).all()


def test_lonely_and_equal_values_have_no_score() -> None:
    """A group of one, or of equal values, has a mean and a rank but no standard score."""
    values = np.array([[3.0, 0.1, 0.1, 0.1, 1.0, 2.0]])
    groups = np.array([[1.0, 2.0, 2.0, 2.0, 3.0, 3.0]])
    everywhere = np.ones(values.shape, dtype=np.bool_)
    scores = run("zscore", values, groups, everywhere)[0]
    assert np.isnan(scores).tolist() == [True] * 4 + [False] * 2
    assert run("mean", values, groups, everywhere)[0].tolist() == [3.0, 0.1, 0.1, 0.1, 1.5, 1.5]
    np.testing.assert_allclose(
        run("rank", values, groups, everywhere)[0], [1, 2 / 3, 2 / 3, 2 / 3, 0.5, 1]
    )


def test_groups_are_told_apart_exactly() -> None:
    """Codes of eight digits stay apart, -0 is 0, and one group's spike leaves the others alone."""
    values = np.array([[1.0, 2.0, 3.0, 4.0, 6.0, 1e12]])
    groups = np.array([[45102010.0, 45102020.0, 45102010.0, 0.0, -0.0, 7.0]])
    everywhere = np.ones(values.shape, dtype=np.bool_)
    assert run("mean", values, groups, everywhere)[0].tolist() == [2.0, 2.0, 2.0, 5.0, 5.0, 1e12]


@each_kernel
@each_dtype
def test_extremes_of_the_dtype_give_no_infinity(name: str, dtype: Dtype) -> None:
    """Values as large as the dtype holds give a number or NaN."""
    top = np.finfo(dtype).max
    values: FloatArray = np.array([[top, -top, top, np.inf, 1.0]], dtype=dtype)
    groups = np.ones_like(values)
    assert not np.isinf(run(name, values, groups, np.ones(values.shape, dtype=np.bool_))).any()
