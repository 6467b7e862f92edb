"""Kernels: compiled before they are needed; keys and counts they rest on."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.kernels import CORRELATIONS, warm_up
from signals.keys import MISSING, sort_keys
from signals.operators import OPERATORS
from signals.windows import needed
from tests.signals.reference import rounded

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=2, max_size=2)


@pytest.mark.parametrize("side_by_side", [False, True])
def test_warm_up_reports_every_operator(side_by_side: bool) -> None:
    """Progress names each operator once, in order, and says when it is over."""
    calls: list[tuple[str, int, int]] = []
    with ThreadPoolExecutor(1) as executor:
        warm_up(lambda *step: calls.append(step), executor if side_by_side else None)
    names = [*OPERATORS, CORRELATIONS, ""]
    assert calls == [(name, i, len(names) - 1) for i, name in enumerate(names)]


def test_kernels_are_read_from_the_disk() -> None:
    """A process that starts after the warm-up compiles nothing: every operator, both dtypes."""
    warm_up()
    program = """
import numpy as np
from numba.core import event
from signals.evaluate import evaluate
from tests.signals.reference import random_panel, sample_calls

with event.install_recorder("numba:compile") as recorder:
    for window in (2, 7):
        for dtype in (np.float32, np.float64):
            evaluate(sample_calls(window), random_panel(1), dtype=dtype)
print(sorted({str(e.data["dispatcher"]) for _, e in recorder.buffer if e.is_end}))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert run.stdout == "[]\n"


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
