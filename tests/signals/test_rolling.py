"""Sums, averages and products of windows: exact, local in time, never infinite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from signals import averages, rolling
from signals.windows import needed

Array = npt.NDArray[Any]
Kernel = Callable[..., Array]

#: Kernel, its numbers, window, and the weight of a value of some age.
CASES: dict[str, tuple[Kernel, tuple[float, ...], int, Callable[[Array], Array]]] = {
    "sum": (rolling.rolling_sum, (7,), 7, np.ones_like),
    "mean": (rolling.rolling_mean, (7,), 7, lambda age: age**0 / np.sum(age**0)),
    "mean of 1": (rolling.rolling_mean, (1,), 1, np.ones_like),
    "linear": (averages.rolling_linear, (7,), 7, lambda age: (7 - age) / np.sum(7 - age)),
    "exponential": (
        averages.rolling_exponential,
        (2,),
        20,
        lambda age: (1 / 3) ** age / np.sum((1 / 3) ** age),
    ),
    "smoothed": (
        averages.rolling_smoothed,
        (3, 2),
        20,
        lambda age: (1 / 3) ** age / np.sum((1 / 3) ** age),
    ),
}
CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def series(seed: int, dtype: npt.DTypeLike) -> Array:
    rng = np.random.default_rng(seed)
    x = 50 + rng.standard_normal((100, 5))
    x[rng.random(x.shape) < 0.05] = np.nan
    x[10:13] = 1e12
    return x.astype(dtype)


@DTYPES
@CASE
def test_exact_after_a_spike_has_left(
    case: tuple[Kernel, tuple[float, ...], int, Callable[[Array], Array]], dtype: type
) -> None:
    """Each window is a weighted sum of what it holds; a spike leaves nothing behind."""
    kernel, numbers, window, weigh = case
    x = series(1, dtype)
    out = kernel(x, *numbers, origin=5, out=np.empty_like(x))
    assert np.all(np.isnan(out[: window - 1]))
    for t in range(window - 1, len(x)):
        for a in range(x.shape[1]):
            values = x[t - window + 1 : t + 1, a].astype(np.float64)
            ok = np.isfinite(values)
            ages = np.arange(window)[::-1][ok].astype(np.float64)
            enough = ok.sum() >= needed(window)
            answer = float(np.sum(values[ok] * weigh(ages))) if enough else np.nan
            assert out[t, a] == pytest.approx(answer, rel=1e-7, nan_ok=True)


@DTYPES
def test_product(dtype: type) -> None:
    """A zero and a spike count while they are in the window and not after."""
    x: Array = (series(2, dtype) / 50).astype(dtype)
    x[40] = 0.0
    out = rolling.rolling_product(x, 5, origin=2, out=np.empty_like(x))
    for t in range(4, len(x)):
        values = x[t - 4 : t + 1].astype(np.float64)
        enough = np.isfinite(values).sum(axis=0) >= 4
        answer = np.where(enough, np.nanprod(values, axis=0), np.nan)
        np.testing.assert_allclose(out[t], answer, rtol=1e-7)


@DTYPES
@pytest.mark.parametrize("name", [*CASES, "product"])
def test_a_tail_has_the_bits_of_the_whole(name: str, dtype: type) -> None:
    """A panel that starts later, but a lookback before, gives the same bits."""
    kernel, numbers, window, _ = CASES.get(name, (rolling.rolling_product, (5,), 5, np.ones_like))
    x = series(3, dtype)
    whole = kernel(x, *numbers, origin=3, out=np.empty_like(x))
    for start in range(1, 40):
        tail = kernel(x[start:], *numbers, origin=3 + start, out=np.empty_like(x[start:]))
        np.testing.assert_array_equal(tail[window - 1 :], whole[start + window - 1 :])


@pytest.mark.parametrize("name", [*CASES, "product"])
@pytest.mark.parametrize("shape", [(0, 3), (30, 0), (3, 2), (30, 1), (30, 600)])
def test_odd_shapes(name: str, shape: tuple[int, int]) -> None:
    """No sessions, no assets, fewer sessions than the window, more assets than a tile."""
    kernel, numbers, _, _ = CASES.get(name, (rolling.rolling_product, (5,), 5, np.ones_like))
    x = np.random.default_rng(4).standard_normal(shape)
    run = partial(kernel, origin=1)
    out = run(x, *numbers, out=np.empty_like(x))
    for a in range(0, shape[1], 97):
        column = np.ascontiguousarray(x[:, a : a + 1])
        alone = run(column, *numbers, out=np.empty_like(column))
        np.testing.assert_array_equal(alone[:, 0], out[:, a])


def test_overflow_is_missing() -> None:
    """A sum or product that is too large for the dtype is NaN, never infinite."""
    x = np.full((9, 2), 3e38, dtype=np.float32)
    for kernel in (rolling.rolling_sum, rolling.rolling_product):
        assert np.all(np.isnan(kernel(x, 3, origin=0, out=np.empty_like(x))))


@pytest.mark.parametrize(("m", "n", "window"), [(3, 2, 20), (10, 1, 190), (7, 3, 37), (1, 1, 10)])
def test_smoothing_window(m: int, n: int, window: int) -> None:
    """The window is ten spans, rounded up."""
    assert averages.smoothing_window(m, n) == window
