"""Variances, correlations, regressions and shapes of windows where formulas usually break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from signals import comoments, higher_moments, moments

Array = npt.NDArray[Any]
Kernel = Callable[..., Array]

SINGLE: list[Kernel] = [
    moments.rolling_variance,
    moments.rolling_deviation,
    moments.rolling_zscore,
    higher_moments.rolling_skewness,
    higher_moments.rolling_kurtosis,
]
PAIRED: list[Kernel] = [
    comoments.rolling_covariance,
    comoments.rolling_correlation,
    comoments.rolling_slope,
    comoments.rolling_residual,
]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
KERNELS = pytest.mark.parametrize("kernel", SINGLE + PAIRED)


def series(seed: int, level: float, dtype: npt.DTypeLike, n_sessions: int = 120) -> list[Array]:
    """Return x and y of that level with holes, correlated, one asset constant for a while."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_sessions, 5))
    y = 0.5 * x + rng.standard_normal(x.shape)
    pair = []
    for values in (level + x, level + y):
        values[rng.random(x.shape) < 0.05] = np.nan
        values[30:60, 2] = 7.7
        pair.append(values.astype(dtype))
    return pair


def apply(kernel: Kernel, pair: list[Array], window: int, origin: int = 0) -> Array:
    out = np.full_like(pair[0], 99.0)
    args = pair if kernel in PAIRED else pair[:1]
    assert kernel(*args, window, origin=origin, out=out) is out
    return out


def exact(kernel: Kernel, first: Array, second: Array) -> float:
    """Return the answer of two passes in extended precision over pairs without holes."""
    v, u = first.astype(np.longdouble), second.astype(np.longdouble)
    n = len(v)
    d, e = v - v.mean(), u - u.mean()
    m2, m3, m4 = np.mean(d**2), np.mean(d**3), np.mean(d**4)
    if kernel in PAIRED[2:]:
        d, e = e, d
    slope = np.sum(d * e) / np.sum(d * d)
    answers = {
        "rolling_variance": m2 * n / (n - 1),
        "rolling_deviation": np.sqrt(m2 * n / (n - 1)),
        "rolling_zscore": d[-1] / np.sqrt(m2 * n / (n - 1)),
        "rolling_skewness": np.sqrt(n * (n - 1.0)) / (n - 2) * m3 / m2**1.5,
        "rolling_kurtosis": (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * m4 / m2**2 - 3 * (n - 1)),
        "rolling_covariance": np.sum(d * e) / (n - 1),
        "rolling_correlation": np.sum(d * e) / np.sqrt(np.sum(d * d) * np.sum(e * e)),
        "rolling_slope": slope,
        "rolling_residual": e[-1] - slope * d[-1],
    }
    return float(answers[kernel.__name__])


@DTYPES
@KERNELS
@pytest.mark.parametrize(("level", "spike"), [(50.0, 1e8), (50.0, 1e12), (1e6, 1e6)])
def test_exact_after_a_spike_has_left(
    kernel: Kernel, dtype: type, level: float, spike: float
) -> None:
    """A spike weighs on the windows that hold it and on no later one, whatever the level."""
    pair = series(1, level, dtype)
    pair[0][10:14] = pair[1][11:15] = dtype(spike)
    out = apply(kernel, pair, 9, origin=4)
    for t in range(23, len(out)):
        for a in (0, 1, 3, 4):
            x, y = pair[0][t - 8 : t + 1, a], pair[1][t - 8 : t + 1, a]
            ok = np.isfinite(x) & np.isfinite(y) if kernel in PAIRED else np.isfinite(x)
            if ok[-1] and ok.sum() >= 8:
                answer = exact(kernel, x[ok], y[ok])
                tolerance = 2e-7 if dtype is np.float32 else 1e-9
                assert out[t, a] == pytest.approx(answer, rel=1e-7, abs=tolerance)


@DTYPES
@KERNELS
@pytest.mark.parametrize("window", [4, 5, 11])
def test_a_tail_has_the_bits_of_the_whole(kernel: Kernel, dtype: type, window: int) -> None:
    """A panel that starts later, but a lookback before, gives the same bits."""
    pair = series(2, 50.0, dtype)
    pair[0][40, 1] = pair[1][50, 3] = dtype(1e12)
    whole = apply(kernel, pair, window, origin=3)
    for start in range(1, 40):
        tail = apply(kernel, [values[start:] for values in pair], window, origin=3 + start)
        np.testing.assert_array_equal(tail[window - 1 :], whole[start + window - 1 :])


@KERNELS
def test_the_future_does_not_matter(kernel: Kernel) -> None:
    """Rows up to a session keep their bits when later rows change, even to a spike."""
    pair = series(3, 50.0, np.float64)
    before = apply(kernel, pair, 10)
    for t in range(20, 40):
        changed = [np.concatenate([values[:t], 1e12 + values[t:]]) for values in pair]
        np.testing.assert_array_equal(apply(kernel, changed, 10)[:t], before[:t])


@DTYPES
def test_constant_windows(dtype: type) -> None:
    """A constant has a variance of exactly 0 and no score, correlation, skewness or slope."""
    x: Array = np.full((30, 3), 7.7, dtype=dtype)
    y: Array = np.arange(90.0).reshape(30, 3).astype(dtype)
    for kernel in (moments.rolling_variance, moments.rolling_deviation):
        assert np.all(apply(kernel, [x, y], 6)[5:] == 0.0)
    for kernel in (SINGLE[2], SINGLE[3], SINGLE[4]):
        assert np.all(np.isnan(apply(kernel, [x, y], 6)))
    assert np.all(np.isnan(apply(comoments.rolling_correlation, [x, y], 6)))
    assert np.all(np.isnan(apply(comoments.rolling_slope, [y, x], 6)))
    assert np.all(apply(comoments.rolling_slope, [x, y], 6)[5:] == 0.0)
    assert np.all(apply(comoments.rolling_residual, [x, y], 6)[5:] == 0.0)


def test_shapes_agree_with_pandas() -> None:
    """Skewness and kurtosis are pandas' unbiased ones."""
    x = series(4, 0.0, np.float64)[0][:, [0, 1, 3]]
    windows = pd.DataFrame(x).rolling(20, min_periods=16)
    for kernel, answer in ((SINGLE[3], windows.skew()), (SINGLE[4], windows.kurt())):
        np.testing.assert_allclose(apply(kernel, [x, x], 20)[19:], answer.to_numpy()[19:], 1e-8)


@KERNELS
@pytest.mark.parametrize("shape", [(0, 3), (12, 0), (3, 2), (12, 1), (40, 600)])
def test_odd_shapes(kernel: Kernel, shape: tuple[int, int]) -> None:
    """No sessions, no assets, fewer sessions than the window, more assets than a tile."""
    rng = np.random.default_rng(5)
    pair = [rng.standard_normal(shape) for _ in range(2)]
    out = apply(kernel, pair, 5)
    assert np.all(np.isnan(out[:4]))
    assert np.all(np.isfinite(out[4:]))
    for a in range(0, shape[1], 97):
        alone = apply(kernel, [np.ascontiguousarray(values[:, a : a + 1]) for values in pair], 5)
        np.testing.assert_array_equal(alone[:, 0], out[:, a])


@KERNELS
def test_overflow_is_missing(kernel: Kernel) -> None:
    """What is too large for the dtype is NaN, never infinite."""
    pair = [np.float32(1e37) * values for values in series(6, 0.0, np.float32)]
    assert not np.any(np.isinf(apply(kernel, pair, 5)))
