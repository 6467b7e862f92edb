"""Rolling extremes, positions, ranks and quantiles, and shifts: kernels by themselves."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals import order, quantiles
from signals.errors import DataError
from signals.keys import sort_keys
from signals.panel import FloatArray
from signals.windows import needed

Kernel = Callable[[FloatArray, int, int], FloatArray]
DType = type[np.float32] | type[np.float64]


def _plain(function: Callable[..., FloatArray], *numbers: float) -> Kernel:
    """Return `function(x, window, origin)` that writes to an array of its own."""

    def run(x: FloatArray, window: int, origin: int) -> FloatArray:
        out = np.full_like(x, 7.0)
        assert function(x, window, *numbers, origin=origin, out=out) is out
        return out

    return run


WINDOWED = {
    "max": _plain(order.rolling_max),
    "min": _plain(order.rolling_min),
    "argmax": _plain(order.rolling_argmax),
    "argmin": _plain(order.rolling_argmin),
    "rank": _plain(order.rolling_rank),
    "quantile": _plain(quantiles.rolling_quantile, 0.3),
    "median": _plain(quantiles.rolling_median),
    "mad": _plain(quantiles.rolling_mad),
}
SHIFTS = {
    "delay": _plain(order.delay),
    "delta": _plain(order.delta),
    "relative_change": _plain(order.relative_change),
}


def _rank(v: FloatArray, today: float) -> float:
    keys, key = sort_keys(v), sort_keys(np.array([today]))[0]
    below, same = np.sum(keys < key), np.sum(keys == key)
    return float((below + (same + 1) / 2) / len(v)) if np.isfinite(today) else np.nan


#: What a window's finite values, their ages and today's value give.
ANSWERS: dict[str, Callable[[FloatArray, FloatArray, float], float]] = {
    "max": lambda v, *_: float(np.max(v)),
    "min": lambda v, *_: float(np.min(v)),
    "argmax": lambda v, ages, _: float(ages[np.argmax(sort_keys(v))]),
    "argmin": lambda v, ages, _: float(ages[np.argmin(sort_keys(v))]),
    "rank": lambda v, _, today: _rank(v, today),
    "quantile": lambda v, *_: float(np.quantile(v, 0.3)),
    "median": lambda v, *_: float(np.median(v)),
    "mad": lambda v, *_: float(np.median(np.abs(v - np.median(v)))),
}


def _panel(seed: int, n_sessions: int = 70, n_assets: int = 9) -> FloatArray:
    """Return walks with ties, holes, both zeros, a spike and a column without any value."""
    rng = np.random.default_rng(seed)
    x = np.round(np.cumsum(rng.standard_normal((n_sessions, n_assets)), axis=0), 1)
    x[rng.random(x.shape) < 0.08] = np.nan
    x[:, 1:2] = np.nan
    x[:, 2:3] = rng.choice([0.0, -0.0, 1.0], (n_sessions, 1))
    x[n_sessions // 2 : n_sessions // 2 + 1] = 1e12
    return x


def _expected(name: str, x: FloatArray, window: int) -> FloatArray:
    out = np.full(x.shape, np.nan)
    for t in range(window - 1, len(x)):
        for a in range(x.shape[1]):
            v = x[t - window + 1 : t + 1, a].astype(np.float64)
            ok = np.isfinite(v)
            if ok.sum() >= needed(window):
                out[t, a] = ANSWERS[name](
                    v[ok], np.arange(window - 1.0, -1.0, -1.0)[ok], float(v[-1])
                )
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 20, 33])
@pytest.mark.parametrize("name", WINDOWED)
def test_windows_by_plain_numpy(name: str, window: int, dtype: DType) -> None:
    """Each window on its own gives the same."""
    x: FloatArray = _panel(window).astype(dtype)
    out = WINDOWED[name](x, window, 3)
    assert out.dtype == dtype
    tolerance = 1e-6 if dtype is np.float32 else 1e-14
    np.testing.assert_allclose(out, _expected(name, x, window), rtol=tolerance, atol=1e-12)


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_quantiles_are_those_of_pandas(q: float) -> None:
    """Bit for bit, in float64: pandas rounds as we do."""
    x = _panel(5, 300)
    x[150] = np.nan  # pandas' own moving list keeps 1e12 exactly, but let it be plain
    ours = _plain(quantiles.rolling_quantile, q)(x, 21, 0)
    theirs = pd.DataFrame(x).rolling(21, min_periods=needed(21)).quantile(q).to_numpy(copy=True)
    theirs[:20] = np.nan
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("q", [-0.1, 1.5, np.nan])
def test_a_quantile_lies_between_0_and_1(q: float) -> None:
    """Another would point outside the window."""
    x = np.zeros((3, 1))
    with pytest.raises(DataError):
        quantiles.rolling_quantile(x, 2, q, origin=0, out=np.empty_like(x))


@pytest.mark.parametrize("name", ["delay", "delta", "relative_change"])
def test_shifts_by_pandas(name: str) -> None:
    """As pandas' shift, diff and pct_change; a division by zero is missing."""
    x = _panel(9)
    frame = pd.DataFrame(x)
    past = frame.shift(4)
    expected = {"delay": past, "delta": frame - past, "relative_change": frame / past - 1.0}[name]
    answer = expected.to_numpy(copy=True)
    answer[~np.isfinite(answer)] = np.nan
    np.testing.assert_array_equal(SHIFTS[name](x, 4, 0), answer)


@pytest.mark.parametrize("name", ["delta", "relative_change"])
def test_what_overflows_is_missing(name: str) -> None:
    """No kernel gives inf."""
    x = np.array([[-3e38], [3e38], [0.0], [1e-45], [3e38]], dtype=np.float32)
    assert not np.isinf(SHIFTS[name](x, 1, 0)).any()


@given(
    name=st.sampled_from([*WINDOWED, *SHIFTS]),
    window=st.integers(1, 30),
    start=st.integers(0, 45),
    origin=st.integers(0, 100),
    double=st.booleans(),
)
def test_a_tail_is_the_end_of_the_whole(
    name: str,
    window: int,
    start: int,
    origin: int,
    double: bool,
) -> None:
    """No bit depends on where the panel starts, not even the sign of a zero."""
    kernel = {**WINDOWED, **SHIFTS}[name]
    x = _panel(window)
    x = x if double else x.astype(np.float32)
    whole = kernel(x, window, origin)[start + window :]
    tail = kernel(np.ascontiguousarray(x[start:]), window, origin + start)[window:]
    assert whole.tobytes() == tail.tobytes()


@pytest.mark.parametrize("name", [*WINDOWED, *SHIFTS])
@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (5, 1), (1, 1), (5, 40)])
def test_small_panels(name: str, shape: tuple[int, int]) -> None:
    """A panel without sessions or assets, and one that is shorter than the window."""
    kernel = {**WINDOWED, **SHIFTS}[name]
    out = kernel(np.ones(shape), 6, 2)
    assert out.shape == shape
    assert np.isnan(out).all()


@pytest.mark.parametrize("name", WINDOWED)
def test_one_missing_too_many(name: str) -> None:
    """Eight of ten are enough, seven are not."""
    x = np.arange(10.0)[:, np.newaxis].repeat(2, axis=1)
    x[[1, 4], :] = np.nan
    x[6, 1] = np.nan
    last = WINDOWED[name](x, 10, 0)[-1]
    assert np.isfinite(last[0])
    assert np.isnan(last[1])


def test_the_oldest_of_equals() -> None:
    """Equal is what agrees in 20 significant bits, across the border of a block too."""
    x = np.array([[1.0], [5.0], [5.0 + 1e-9], [5.0], [2.0]])
    for origin in range(5):
        assert WINDOWED["argmax"](x, 4, origin)[3:].tolist() == [[2.0], [3.0]]
        assert WINDOWED["argmin"](-x, 4, origin)[3:].tolist() == [[2.0], [3.0]]


@given(st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=6, max_size=40))
def test_median_distance_of_any_values(values: list[float]) -> None:
    """Any order, any ties, odd and even counts."""
    x = np.array(values)[:, np.newaxis]
    window = len(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = WINDOWED["mad"](x, window, 0)[-1, 0]
    centre = np.median(x)
    assert out == pytest.approx(np.median(np.abs(x - centre)), rel=1e-12, abs=0.0)
