"""Kernels: compiled before they are needed; keys and counts they rest on."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from signals.kernels import warm_up
from signals.keys import MISSING, sort_keys
from signals.operators import OPERATORS
from signals.rolling import needed
from tests.signals.reference import rounded

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=2)


def test_warm_up_reports_every_operator() -> None:
    """Progress names each operator once, in order, and says when it is over."""
    calls: list[tuple[str, int, int]] = []
    warm_up(lambda name, done, total: calls.append((name, done, total)))
    assert [name for name, _, _ in calls] == [*OPERATORS, ""]
    assert [done for _, done, _ in calls] == list(range(len(OPERATORS) + 1))


@given(VALUES)
def test_keys_order_as_rounded_values(pair: list[float]) -> None:
    """Keys compare as values rounded to 20 significant bits do; what is not finite is missing."""
    values = np.array([pair])
    low, high = sort_keys(values)[0].tolist()
    for key, value in zip((low, high), pair, strict=True):
        assert (key == MISSING) == (not math.isfinite(value))
    tiny = any(0 < abs(v) < 1e-300 or abs(v) > 1e300 for v in pair)
    if MISSING not in (low, high) and not tiny:
        left, right = rounded(values)[0]
        assert (low > high, low == high) == (left > right, left == right)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1))
def test_keys_do_not_depend_on_the_dtype(values: list[float]) -> None:
    """A float32 and the same number in float64 have the same key; a negative has the negated."""
    double = np.array([values])
    keys = sort_keys(double)
    assert np.array_equal(sort_keys(double.astype(np.float32)), keys)
    assert np.array_equal(sort_keys(-double), -keys)


@given(st.integers(1, 600), st.integers(1, 3))
def test_four_fifths_rounded_up(window: int, least: int) -> None:
    """80 % of a window in whole sessions, never fewer than the operator needs."""
    assert needed(window, least) == max(math.ceil(round(0.8 * window, 9)), least)
