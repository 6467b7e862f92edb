"""What breaks engines: spikes, gaps, ties, constants, infinities, panels of odd shape."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from signals.evaluate import evaluate
from signals.expression import Call, Expression, lookback
from signals.grammar import parse
from signals.operators import OPERATORS, Kind
from signals.panel import FloatArray, Panel
from tests.signals.reference import (
    Array,
    agree,
    field_panel,
    random_panel,
    reference,
    rounded,
    sample_call,
    sample_calls,
    series_panel,
)

Long = npt.NDArray[np.longdouble]

#: Sums of powers, over a window of this many sessions.
WINDOW = 20


def _moment(x: Long, power: int) -> np.longdouble:
    result: np.longdouble = ((x - x.mean()) ** power).sum()
    return result


def _product(x: Long, y: Long) -> np.longdouble:
    result: np.longdouble = ((x - x.mean()) * (y - y.mean())).sum()
    return result


def _count(x: Long) -> Long:
    return np.arange(len(x), dtype=np.longdouble)


def _residual(y: Long, x: Long) -> np.longdouble:
    slope = _product(x, y) / _product(x, x)
    result: np.longdouble = y[-1] - y.mean() - slope * (x[-1] - x.mean())
    return result


def _weighted(x: Long, keep: np.longdouble) -> np.longdouble:
    weights = keep ** np.arange(len(x))[::-1]
    result: np.longdouble = (x * weights).sum() / weights.sum()
    return result


#: In extended precision and two passes: what each moment of a window is.
LONG: dict[str, Callable[[Long, Long], np.longdouble]] = {
    "TS_SUM($close, 20)": lambda x, _: x.sum(),
    "TS_MEAN($close, 20)": lambda x, _: x.mean(),
    "PROD($close, 20)": lambda x, _: x.prod(),
    "TS_VAR($close, 20)": lambda x, _: _moment(x, 2) / 19,
    "TS_STD($close, 20)": lambda x, _: np.sqrt(_moment(x, 2) / 19),
    "TS_ZSCORE($close, 20)": lambda x, _: (x[-1] - x.mean()) / np.sqrt(_moment(x, 2) / 19),
    "TS_SKEW($close, 20)": lambda x, _: (
        20 * np.sqrt(np.longdouble(19)) / 18 * _moment(x, 3) / _moment(x, 2) ** 1.5
    ),
    "TS_KURT($close, 20)": lambda x, _: (
        np.longdouble(20 * 21 * 19) / (18 * 17) * _moment(x, 4) / _moment(x, 2) ** 2
        - np.longdouble(3 * 19**2) / (18 * 17)
    ),
    "DECAYLINEAR($close, 20)": lambda x, _: (x * np.arange(1, 21)).sum() / 210,
    "EMA($close, 2)": lambda x, _: _weighted(x, np.longdouble(1) / 3),
    "SMA($close, 3, 2)": lambda x, _: _weighted(x, np.longdouble(1) / 3),
    "TS_COVARIANCE($close, $open, 20)": lambda x, y: _product(x, y) / 19,
    "TS_CORR($close, $open, 20)": lambda x, y: (
        _product(x, y) / np.sqrt(_product(x, x) * _product(y, y))
    ),
    "REGBETA($close, $open, 20)": lambda x, y: _product(x, y) / _product(y, y),
    "REGRESI($close, $open, 20)": _residual,
    "REGBETA($close, SEQUENCE(20), 20)": lambda x, _: (
        _product(x, _count(x)) / _product(_count(x), _count(x))
    ),
    "REGRESI($close, SEQUENCE(20), 20)": lambda x, _: _residual(x, _count(x)),
    "TS_CORR($close, SEQUENCE(20), 20)": lambda x, _: (
        _product(x, _count(x)) / np.sqrt(_product(x, x) * _product(_count(x), _count(x)))
    ),
}


def exact(text: str, x: Array, y: Array) -> Array:
    """Return a moment of each window in extended precision; no value may be missing."""
    out = np.full(x.shape, np.nan)
    for t in range(WINDOW - 1, len(x)):
        rows = slice(t - WINDOW + 1, t + 1)
        for a in range(x.shape[1]):
            left, right = x[rows, a].astype(np.longdouble), y[rows, a].astype(np.longdouble)
            out[t, a] = float(LONG[text](left, right))
    return out


def relative_error(actual: FloatArray, expected: Array) -> float:
    return float(np.max(np.abs(actual - expected) / np.abs(expected)))


@pytest.mark.parametrize("spike", [1e8, 1e12, -1e12])
@pytest.mark.parametrize("text", LONG)
def test_spike_that_has_left_the_window(text: str, spike: float) -> None:
    """A spike that has left leaves an error of at most 1e-7 (relative), wherever it stood."""
    rng = np.random.default_rng(1)
    x, y = 1 + rng.random((2, 90, 24))
    calm = x.copy()
    places = 20 + np.arange(x.shape[1])
    x[places, np.arange(x.shape[1])] = spike
    y[places, np.arange(x.shape[1])] = -spike
    expression = parse(text)
    behind = lookback(expression)
    assert behind == WINDOW - 1
    actual = evaluate([expression], field_panel(close=x, open=y))[0]
    expected = exact(text, calm, y)
    for a, place in enumerate(places):
        after = slice(place + WINDOW, None)
        assert relative_error(actual[after, a], expected[after, a]) <= 1e-7


def test_spike_that_left_leaves_no_bit() -> None:
    """Once a value of 1e15 has left, every bit of every operator is as if it had never been."""
    rng = np.random.default_rng(1)
    calm = rng.random(120)
    spiked = calm.copy()
    spiked[20] = 1e15
    other = np.sqrt(rng.random(120))
    panel = field_panel(
        close=np.stack([calm, spiked], axis=1),
        volume=np.stack([other, other], axis=1),
        open=np.stack([other, other], axis=1),
    )
    for expression in sample_calls(4):
        if OPERATORS[expression.op].kind is Kind.TIME_SERIES:
            after = evaluate([expression], panel)[0][21 + lookback(expression) :]
            np.testing.assert_array_equal(after[:, 0], after[:, 1], err_msg=str(expression))
            assert np.isfinite(after).all()


@pytest.mark.parametrize("text", LONG)
def test_values_far_from_zero(text: str) -> None:
    """Around 1e6 with a deviation of 1, moments keep seven digits and more."""
    rng = np.random.default_rng(2)
    x, y = 1e6 + rng.standard_normal((2, 120, 8))
    actual = evaluate([parse(text)], field_panel(close=x, open=y))[0][WINDOW - 1 :]
    expected = exact(text, x, y)[WINDOW - 1 :]
    if not math.isfinite(expected[0, 0]):  # the product of twenty of them is, in float64
        pytest.fail("the reference is not finite")
    noise = 1e-7 * np.abs(expected) + 1e-9 * np.median(np.abs(expected))
    assert (np.abs(actual - expected) <= noise).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -7.7, 1e-9])
def test_constant_window(value: float, dtype: type) -> None:
    """Equal values vary by exactly 0, whatever their binary fraction and what came before."""
    rng = np.random.default_rng(3)
    x = np.full((60, 3), value)
    x[:7] = 100 * rng.random((7, 3))
    x[7, 0] = 1e12
    x[30, 1] = np.nan
    panel = field_panel(close=x, open=rng.random(x.shape), volume=x)

    def after(text: str) -> FloatArray:
        values: FloatArray = evaluate([parse(text)], panel, dtype=dtype)[0][8 + 6 :]
        return values

    for text in ("TS_STD($close, 6)", "TS_VAR($close, 6)", "TS_MAD($close, 6)"):
        assert (after(text) == 0).all(), text
    for text in ("DELTA($close, 6)", "TS_COVARIANCE($close, $open, 6)"):
        values = after(text)
        assert (values[~np.isnan(values)] == 0).all(), text
    for text in (
        "TS_ZSCORE($close, 6)",
        "TS_SKEW($close, 6)",
        "TS_KURT($close, 6)",
        "TS_CORR($close, $open, 6)",
        "TS_CORR($open, $close, 6)",
        "TS_CORR($close, $volume, 6)",
        "TS_CORR($close, SEQUENCE(6), 6)",
        "REGBETA($open, $close, 6)",
        "REGRESI($open, $close, 6)",
    ):
        assert np.isnan(after(text)).all(), text
    np.testing.assert_allclose(after("REGBETA($close, $open, 6)"), 0, atol=1e-12)
    for text in ("TS_MEAN($close, 6)", "DECAYLINEAR($close, 6)", "TS_MEDIAN($close, 6)"):
        values = after(text)
        np.testing.assert_allclose(
            values, dtype(value), rtol=1e-6 if dtype == np.float32 else 1e-14
        )
    equal = evaluate(
        [parse(t) for t in ("ZSCORE($close)", "SKEW($close)", "KURT($close)", "STD($close)")],
        field_panel(close=np.full((2, 9), value)),
        dtype=dtype,
    )
    assert all(np.isnan(values).all() for values in equal[:3])
    assert (equal[3] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_bars_are_missing(dtype: type) -> None:
    """±inf among the bars is as good as NaN for every operator, and none gives it back."""
    infinite, missing = random_panel(4), random_panel(4)
    rng = np.random.default_rng(4)
    for name in infinite.fields:
        places = rng.random(infinite.universe.shape) < 0.05
        infinite.fields[name][places] = np.where(rng.random(places.sum()) < 0.5, np.inf, -np.inf)
        missing.fields[name][places] = np.nan
        missing.fields[name][np.isinf(missing.fields[name])] = np.nan
    calls = sample_calls(5)
    left = evaluate(calls, infinite, dtype=dtype)
    right = evaluate(calls, missing, dtype=dtype)
    for expression, one, two in zip(calls, left, right, strict=True):
        np.testing.assert_array_equal(one, two, err_msg=str(expression))
        assert not np.isinf(one).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_operator_gives_infinity(dtype: type) -> None:
    """Values at both ends of the dtype overflow into NaN, in every operator and its sums."""
    top = float(np.finfo(dtype).max)
    tiny = float(np.finfo(dtype).tiny)
    rng = np.random.default_rng(5)
    shape = (80, 9)
    extreme = rng.choice([top, -top, top / 2, tiny, -tiny, 0.0, 1.0, -3.0, 1e20, -1e30], shape)
    panel = field_panel(
        close=extreme,
        volume=rng.permutation(extreme),
        open=rng.permutation(extreme.T.copy()).T.copy(),
        sector=rng.integers(0, 2, shape).astype(np.float64),
    )
    for window in (1, 5, 60):
        for expression in sample_calls(window):
            values = evaluate([expression], panel, dtype=dtype)[0]
            assert not np.isinf(values).any(), str(expression)


def test_overflow_in_float32_is_missing() -> None:
    """volume^4 does not fit into float32: NaN, not inf; in float64 it has a value."""
    volume = np.array([[1e3, 3e9, 4e9, 1e12, -1e12]])
    panel = field_panel(volume=volume)
    for text in ("$volume ^ 4", "$volume * $volume * $volume * $volume"):
        single = evaluate([parse(text)], panel, dtype=np.float32)[0][0]
        assert np.isfinite(single).tolist() == [True, True, True, False, False][:1] + [
            bool(v**4 < np.finfo(np.float32).max) for v in volume[0, 1:]
        ]
        assert np.isfinite(evaluate([parse(text)], panel)[0]).all()
    huge = field_panel(volume=np.full((30, 2), 1e30))
    for text in ("PROD($volume, 5)", "TS_VAR($volume * $volume, 5)", "EXP($volume)"):
        assert np.isnan(evaluate([parse(text)], huge, dtype=np.float32)[0]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_missing_column(dtype: type) -> None:
    """An asset without bars is NaN in every operator of its own, and changes no other."""
    panel = random_panel(6)
    for values in panel.fields.values():
        values[:, 4] = np.nan
    rest = [a for a in range(panel.n_assets) if a != 4]
    without = Panel(
        panel.sessions,
        tuple(panel.assets[a] for a in rest),
        {name: values[:, rest].copy() for name, values in panel.fields.items()},
        panel.universe[:, rest].copy(),
    )
    calls = sample_calls(5)
    for expression, one, two in zip(
        calls,
        evaluate(calls, panel, dtype=dtype),
        evaluate(calls, without, dtype=dtype),
        strict=True,
    ):
        np.testing.assert_array_equal(one[:, rest], two, err_msg=str(expression))
        aggregate = expression.op in {"MEAN", "STD", "SKEW", "KURT", "MEDIAN", "CS_MAX", "CS_MIN"}
        assert aggregate or np.isnan(one[:, 4]).all(), str(expression)


def test_panel_of_nothing() -> None:
    """Where no bar is there at all, no operator has a value, and none raises."""
    panel = random_panel(7, n_assets=3)
    for values in panel.fields.values():
        values[:] = np.nan
    for expression, values in zip(sample_calls(5), evaluate(sample_calls(5), panel), strict=True):
        assert np.isnan(values).all(), str(expression)


@pytest.mark.parametrize("gap", [1, 2, 3, 30])
def test_gap(gap: int) -> None:
    """A gap is skipped while 80 % of a window is there; behind it, all is as without it."""
    rng = np.random.default_rng(8)
    whole = field_panel(close=1 + rng.random((90, 2)), volume=1 + rng.random((90, 2)))
    holed = field_panel(**{name: v.copy() for name, v in whole.fields.items()})
    holed.fields["close"][40 : 40 + gap] = np.nan
    for expression in sample_calls(10):
        if OPERATORS[expression.op].kind is not Kind.TIME_SERIES or "open" in str(expression):
            continue
        before, after = (evaluate([expression], panel)[0] for panel in (whole, holed))
        behind = lookback(expression)
        left = slice(40 + gap + behind, None)
        np.testing.assert_array_equal(before[left], after[left], err_msg=str(expression))
        np.testing.assert_array_equal(before[:40], after[:40], err_msg=str(expression))
        assert agree(after, reference(expression, holed), rtol=1e-9).all(), str(expression)


def test_late_listing() -> None:
    """An asset is NaN until 80 % of the lookback is there; no operator invents its past."""
    rng = np.random.default_rng(9)
    close = 1 + rng.random((90, 2))
    close[:50, 1] = np.nan
    panel = field_panel(close=close, volume=1 + rng.random((90, 2)))
    for expression in sample_calls(5):
        row = OPERATORS[expression.op]
        if row.kind is not Kind.TIME_SERIES or "$close" not in str(expression):
            continue
        values = evaluate([expression], panel)[0]
        behind = lookback(expression)
        if expression.op in ("DELAY", "DELTA", "TS_PCTCHANGE"):
            first = 50 + behind
        else:
            first = 50 + math.ceil(0.8 * (behind + 1)) - 1
        assert np.isnan(values[:first, 1]).all(), str(expression)
        assert np.isfinite(values[first:, 1]).all(), str(expression)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_sessions", [0, 1, 4, 19])
def test_window_longer_than_the_panel(n_sessions: int, dtype: type) -> None:
    """A window of which the panel has no full one gives NaN throughout."""
    panel = random_panel(10, n_sessions=n_sessions, n_assets=5)
    for expression in sample_calls(20):
        values = evaluate([expression], panel, dtype=dtype)[0]
        assert values.shape == (n_sessions, 5)
        if OPERATORS[expression.op].kind is Kind.TIME_SERIES:
            assert np.isnan(values).all(), str(expression)


@pytest.mark.parametrize("n_assets", [0, 1, 2])
def test_few_assets(n_assets: int) -> None:
    """No asset, or one: every operator keeps its shape and agrees with the reference."""
    panel = random_panel(11, n_assets=n_assets, origin=3)
    for window in (1, 5):
        for expression in sample_calls(window):
            values = evaluate([expression], panel)[0]
            assert values.shape == (90, n_assets)
            expected = reference(expression, panel)
            assert agree(values, expected, rtol=1e-9).all(), str(expression)
            today = evaluate([expression], panel, first=89)[0]
            np.testing.assert_array_equal(today, values[89:], err_msg=str(expression))
    if n_assets == 1:
        alone = field_panel(close=np.array([[3.0]]), sector=np.array([[1.0]]))
        texts = ("RANK($close)", "GROUP_RANK($close, $sector)", "MEAN($close)", "MEDIAN($close)")
        assert [evaluate([parse(t)], alone)[0][0, 0] for t in texts] == [1, 1, 3, 3]
        texts = ("ZSCORE($close)", "STD($close)", "SKEW($close)", "GROUP_ZSCORE($close, $sector)")
        assert all(np.isnan(evaluate([parse(t)], alone)[0]).all() for t in texts)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sum", "TS_SUM($close, 1)"),
        ("mean", "TS_MEAN($close, 1)"),
        ("product", "PROD($close, 1)"),
        ("largest", "TS_MAX($close, 1)"),
        ("smallest", "TS_MIN($close, 1)"),
        ("median", "TS_MEDIAN($close, 1)"),
        ("quantile", "TS_QUANTILE($close, 1, 0.3)"),
        ("linear", "DECAYLINEAR($close, 1)"),
    ],
)
def test_window_of_one_session(name: str, text: str) -> None:
    """Over one session these are the value itself, bit for bit."""
    panel = random_panel(12)
    for dtype in (np.float32, np.float64):
        values, close = evaluate([parse(text), parse("$close")], panel, dtype=dtype)
        np.testing.assert_array_equal(values, close, err_msg=name)


def test_window_of_one_session_has_no_spread() -> None:
    """Over one session the extreme is today's, and deviates from nothing."""
    panel = random_panel(12)
    there = np.isfinite(evaluate([parse("$close")], panel)[0])
    for text in ("TS_ARGMAX($close, 1)", "TS_ARGMIN($close, 1)", "TS_MAD($close, 1)"):
        values = evaluate([parse(text)], panel)[0]
        np.testing.assert_array_equal(values, np.where(there, 0.0, np.nan))


# Ties ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "oldest_largest", "oldest_smallest"),
    [
        ([1.0, 3.0, 3.0, 1.0, 2.0], 3, 4),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 4, 4),
        ([np.nan, 3.0, 3.0, 1.0, 1.0], 3, 1),
        ([3.0, np.nan, 3.0, 1.0, 2.0], 4, 1),
        ([3.0, 1.0, 3.0, 1.0, np.nan], 4, 3),
        ([3.0, 1.0, 3.0 * (1 + 1e-9), 1.0 - 1e-9, 2.0], 4, 3),
        ([-np.inf, -2.0, -2.0, -5.0, -5.0], 3, 1),
        ([np.inf, 0.0, -0.0, 0.0, -0.0], 3, 3),
        ([np.nan, np.nan, 3.0, 1.0, 2.0], np.nan, np.nan),
    ],
)
def test_position_of_ties_and_missing(
    column: list[float], oldest_largest: float, oldest_smallest: float
) -> None:
    """TS_ARGMAX and TS_ARGMIN: the oldest of equals (20 bits), its age whatever is missing."""
    for dtype in (np.float32, np.float64):
        for text, age in (("MAX", oldest_largest), ("MIN", oldest_smallest)):
            expression = parse(f"TS_ARG{text}($close, 5)")
            values = evaluate([expression], series_panel(column), dtype=dtype)[0]
            np.testing.assert_array_equal(values[-1], [age])


def test_ties_are_transitive() -> None:
    """A chain of values, each within noise of the next, is ranked as its bins are, not as one."""
    chain = 1 + np.arange(40) * 2.0**-22
    panel = field_panel(close=np.vstack([chain, np.random.default_rng(1).permutation(chain)]))
    ranks = evaluate([parse("RANK($close)")], panel)[0]
    keys = rounded(panel.fields["close"])
    for t in range(2):
        for key in np.unique(keys[t]):
            assert len(np.unique(ranks[t][keys[t] == key])) == 1
        assert len(np.unique(ranks[t])) == len(np.unique(keys[t])) > 5


def bars_in_ticks(seed: int) -> Panel:
    """Return prices in ticks and volumes in lots, a few missing: some covariances of ranks tie."""
    rng = np.random.default_rng(seed)
    shape = (160, 60)
    close = np.round(20 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0)), 1)
    close[rng.random(shape) < 0.03] = np.nan
    volume = np.round(1e5 * rng.lognormal(size=shape), -4)
    return field_panel(close=close, volume=volume)


def bars_of_few_values(seed: int) -> Panel:
    """Return bars of which two in five covariances of ranks tie, but for rounding."""
    rng = np.random.default_rng(seed)
    prices = np.repeat([5.0, 6.0, 7.0, 8.0, 9.0], 12)
    volumes = np.repeat([1e5, 2e5, 4e5], 20)
    return field_panel(
        close=rng.permuted(np.tile(prices, (160, 1)), axis=1),
        volume=rng.permuted(np.tile(volumes, (160, 1)), axis=1),
    )


@pytest.mark.parametrize(
    ("bars", "edges", "edges_in_float32"),
    [(bars_in_ticks, 0.0, 0.002), (bars_of_few_values, 0.0, 0.3)],
)
def test_rank_over_rounding_noise(
    bars: Callable[[int], Panel], edges: float, edges_in_float32: float
) -> None:
    """Ranks of what ties but for rounding: both dtypes and the reference agree, but at edges.

    A covariance that is nothing but for rounding is 0 in both; in float32 bars hit the edges of
    other bins, as its covariances of ranks are right to 20 bits only.
    """
    expression = parse("RANK(TS_COVARIANCE(RANK($close), RANK($volume), 5))")
    off, off_in_float32 = [], []
    for seed in range(4):
        panel = bars(seed)
        double = evaluate([expression], panel)[0]
        single = evaluate([expression], panel, dtype=np.float32)[0]
        expected = reference(expression, panel)
        wrong = ~agree(double, expected, rtol=1e-9)
        off.append(wrong.mean())
        off_in_float32.append((~agree(single, expected, rtol=1e-6)).mean())
        np.testing.assert_array_equal(np.isnan(single), np.isnan(expected))
    assert np.mean(off) <= edges
    assert np.mean(off_in_float32) <= edges_in_float32


@pytest.mark.parametrize("expression", sample_calls(10), ids=str)
def test_float32_against_float64(expression: Expression) -> None:
    """Bars that float32 holds exactly: both dtypes give the same values to 1e-4, and same NaN."""
    panel = random_panel(13)
    for values in panel.fields.values():
        values[:] = values.astype(np.float32)
    single, double = (evaluate([expression], panel, dtype=t)[0] for t in (np.float32, np.float64))
    assert single.dtype == np.float32
    assert isinstance(expression, Call)
    if expression.op in ("EXP", "POW"):
        double = np.where(np.abs(double) > np.finfo(np.float32).max, np.nan, double)
    typical = np.nanmedian(np.abs(double)) if np.isfinite(double).any() else 0.0
    # in float32 a correlation below 1e-6 is rounding noise
    paired = expression.op in ("TS_CORR", "TS_COVARIANCE", "REGBETA", "REGRESI")
    atol = (1e-4 if paired else 1e-6) * float(typical)
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=atol)


def test_comparing_operators_do_not_see_the_dtype() -> None:
    """Ranks, ages and comparisons of bars are the same in both dtypes, bit for bit."""
    panel = random_panel(14)
    for values in panel.fields.values():
        values[:] = values.astype(np.float32)
    names = ("RANK", "TS_RANK", "TS_ARGMAX", "TS_ARGMIN", "GROUP_RANK", "GT", "GE", "EQ", "NE")
    for name in names:
        expression = sample_call(name, 7)
        single, double = (evaluate([expression], panel, dtype=t)[0] for t in (np.float32, float))
        np.testing.assert_array_equal(single, double.astype(np.float32), err_msg=name)
