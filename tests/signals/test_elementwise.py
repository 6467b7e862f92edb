"""Elementwise operators: what numpy gives, NaN where that is not finite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from signals import elementwise
from signals.keys import sort_keys
from signals.panel import FloatArray

Operand = FloatArray | float
DType = type[np.float32] | type[np.float64]


def _among(x: FloatArray, y: FloatArray, answer: FloatArray) -> FloatArray:
    """Return the answer where neither is missing."""
    return np.where(np.isnan(x) | np.isnan(y), np.nan, answer)


def _by_keys(compare: np.ufunc) -> Callable[[FloatArray, FloatArray], FloatArray]:
    return lambda x, y: _among(x, y, 1.0 * compare(sort_keys(x), sort_keys(y)))


PAIRS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": lambda x, y: _among(x, y, np.power(x, y)),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": _by_keys(np.greater),
    "greater_equal": _by_keys(np.greater_equal),
    "equal": _by_keys(np.equal),
    "not_equal": _by_keys(np.not_equal),
    "logical_and": lambda x, y: _among(x, y, 1.0 * ((x != 0) & (y != 0))),
    "logical_or": lambda x, y: _among(x, y, 1.0 * ((x != 0) | (y != 0))),
}
SINGLES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "absolute": np.abs,
    "sign": np.sign,
    "square_root": np.sqrt,
    "floor": np.floor,
    "logarithm": np.log,
    "exponential": np.exp,
}

#: Every sign and size, what is whole and what is not, what overflows, what differs by rounding.
SPECIAL = (
    *(0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, -7.25, np.nan, 1.0000001),
    *(1e30, -1e30, 3e38, -3e38, 1e-30, -1e-40, 89.0, -104.0, 1e-45, 16777217.0),
)


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def _same(out: FloatArray, expected: FloatArray, dtype: DType) -> None:
    assert out.dtype == dtype
    units = 4 if dtype is np.float32 else 8
    ours, theirs = np.isnan(out), np.isnan(expected)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_max_ulp(out[~ours], expected[~theirs], units, dtype)


def _apply(name: str, *args: Operand, shape: tuple[int, int], dtype: DType) -> FloatArray:
    out: FloatArray = np.full(shape, 7.0, dtype=dtype)
    function: Callable[..., FloatArray] = getattr(elementwise, name)
    assert function(*args, out=out) is out
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_by_numpy(name: str, dtype: DType) -> None:
    """Each special value against each other, as arrays and with a number on either side."""
    special: FloatArray = np.array(SPECIAL, dtype=dtype)
    x, y = np.meshgrid(special, special)
    with np.errstate(all="ignore"):
        expected = _finite(PAIRS[name](x, y))
    _same(_apply(name, x, y, shape=x.shape, dtype=dtype), expected, dtype)
    for rows in (x, x[:1].copy()):
        for value in special:
            left = _apply(name, float(value), rows, shape=rows.shape, dtype=dtype)
            right = _apply(name, rows, float(value), shape=rows.shape, dtype=dtype)
            with np.errstate(all="ignore"):
                _same(left, _finite(PAIRS[name](np.full_like(rows, value), rows)), dtype)
                _same(right, _finite(PAIRS[name](rows, np.full_like(rows, value))), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SINGLES)
def test_singles_by_numpy(name: str, dtype: DType) -> None:
    """Each special value; a logarithm of 0 and a root of a negative number are missing."""
    x: FloatArray = np.tile(np.array(SPECIAL, dtype=dtype), (40, 1))
    with np.errstate(all="ignore"):
        expected = _finite(SINGLES[name](x))
    _same(_apply(name, x, shape=x.shape, dtype=dtype), expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_takes_one_branch(dtype: DType) -> None:
    """The other branch's NaN does not matter, the condition's does."""
    condition: FloatArray = np.array([[1.0, 0.0, np.nan, -2.0, 0.0, -0.0]], dtype=dtype)
    x: FloatArray = np.array([[1.0, np.nan, 3.0, np.nan, 5.0, 6.0]], dtype=dtype)
    out = _apply("where", condition, x, 9.0, shape=x.shape, dtype=dtype)
    np.testing.assert_array_equal(out, [[1.0, 9.0, np.nan, np.nan, 9.0, 9.0]])
    out = _apply("where", condition, 9.0, x, shape=x.shape, dtype=dtype)
    np.testing.assert_array_equal(out, [[9.0, np.nan, np.nan, 9.0, 5.0, 6.0]])
    out = _apply("where", 0.0, x, condition, shape=x.shape, dtype=dtype)
    np.testing.assert_array_equal(out, condition)


def test_rounding_noise_makes_no_difference() -> None:
    """Comparisons are of 20 significant bits."""
    x = np.array([[1.0, 1e6, -3.0]])
    y = x * (1.0 + 1e-12)
    assert _apply("equal", x, y, shape=x.shape, dtype=np.float64).all()
    assert _apply("greater_equal", x, y, shape=x.shape, dtype=np.float64).all()
    assert not _apply("greater", y, x, shape=x.shape, dtype=np.float64).any()


def test_a_number_too_large_for_the_dtype_is_missing() -> None:
    """float32 has no 1e300."""
    x = np.ones((2, 2), dtype=np.float32)
    assert np.isnan(_apply("maximum", x, 1e300, shape=(2, 2), dtype=np.float32)).all()
    assert np.isnan(_apply("divide", x, 1e300, shape=(2, 2), dtype=np.float32)).all()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
def test_small_panels(shape: tuple[int, int]) -> None:
    """Panels without sessions or assets keep their shape."""
    x = np.ones(shape)
    for name in PAIRS:
        assert _apply(name, x, x, shape=shape, dtype=np.float64).shape == shape
        assert _apply(name, 2.0, x, shape=shape, dtype=np.float64).shape == shape
    for name in SINGLES:
        assert _apply(name, x, shape=shape, dtype=np.float64).shape == shape


@given(
    hnp.arrays(np.float64, (75, 3), elements=st.floats(-50.0, 50.0) | st.just(np.nan)),
    st.sampled_from(["power", "logarithm", "exponential"]),
    st.integers(1, 74),
)
def test_a_tail_is_the_end_of_the_whole(x: FloatArray, name: str, start: int) -> None:
    """No bit depends on where the panel starts, though numpy's loops work on whole vectors."""
    numbers = (1.7,) if name == "power" else ()
    whole = _apply(name, x, *numbers, shape=x.shape, dtype=np.float64)
    tail = np.ascontiguousarray(x[start:])
    part = _apply(name, tail, *numbers, shape=tail.shape, dtype=np.float64)
    assert whole[start:].tobytes() == part.tobytes()
