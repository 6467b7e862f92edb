"""The operator table against a plain reference, and the traps of each operator."""

from __future__ import annotations

import numpy as np
import pytest

from signals.evaluate import evaluate
from signals.expression import Constant, Field
from signals.grammar import parse
from signals.operators import OPERATORS, Kind, Operator, fault, lookback
from signals.panel import FloatArray, Panel
from tests.signals.reference import random_panel, reference, sample_call

WINDOWED = sorted(name for name, row in OPERATORS.items() if "window" in row.arguments)


def series_panel(*columns: list[float], n_sessions: int | None = None) -> Panel:
    """Return a panel whose every field has these columns."""
    values = np.array(columns, dtype=np.float64).T[:n_sessions]
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(len(values)),
        assets=tuple(f"A{i}" for i in range(values.shape[1])),
        fields=dict.fromkeys(("open", "high", "low", "close", "volume"), values),
        universe=np.ones(values.shape, dtype=np.bool_),
    )


def values_of(text: str, *columns: list[float]) -> FloatArray:
    return evaluate([parse(text)], series_panel(*columns))[0]


@pytest.mark.parametrize("window", [3, 5, 7])
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operator_equals_reference(name: str, window: int) -> None:
    """In float64 every operator gives what a plain loop over windows gives, NaN included."""
    panel = random_panel(seed=window, origin=11)
    expression = sample_call(name, window)
    actual = evaluate([expression], panel)[0]
    noise = 1e-12 * np.nanmax(np.abs(actual))
    np.testing.assert_allclose(actual, reference(expression, panel), rtol=1e-9, atol=noise)
    assert np.isfinite(actual).mean() > 0.1


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_float32_agrees_with_float64(name: str) -> None:
    """A search in float32 sees the values of float64 up to rounding, and the same gaps."""
    panel = random_panel(seed=3)
    expression = sample_call(name, 5)
    single, double = (evaluate([expression], panel, dtype=t)[0] for t in (np.float32, np.float64))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-4, atol=2e-4 * np.nanmax(np.abs(double)))


@pytest.mark.parametrize("name", WINDOWED)
def test_lookback_is_exact(name: str) -> None:
    """With complete bars the first value stands right behind the lookback, none before."""
    row = OPERATORS[name]
    expression = sample_call(name, row.min_window + 2)
    rng = np.random.default_rng(0)
    panel = series_panel(*rng.random((3, 80)).tolist())
    finite = np.isfinite(evaluate([expression], panel)[0])
    assert not finite[: lookback(expression)].any()
    assert finite[lookback(expression) :].all()


@pytest.mark.parametrize("name", ["TS_MEAN", "TS_STD", "TS_MAX", "TS_ARGMIN", "DECAYLINEAR"])
def test_four_fifths_of_a_window_are_needed(name: str) -> None:
    """Of ten sessions eight must be finite; the gap may be today."""
    full = [float(i % 7) for i in range(10)]
    eight = [np.nan, *full[1:9], np.nan]
    seven = [np.nan, np.nan, *full[2:9], np.nan]
    last = values_of(f"{name}($close, 10)", full, eight, seven)[-1]
    assert np.isfinite(last).tolist() == [True, True, False]


def test_spike_that_left_leaves_nothing() -> None:
    """Once a value of 1e15 has left the window, every bit is as if it had never been there."""
    rng = np.random.default_rng(1)
    calm = rng.random(60).tolist()
    spiked = [*calm[:20], 1e15, *calm[21:]]
    for name in WINDOWED:
        pair = OPERATORS[name].commutative
        text = f"{name}($close, SQRT($close), 3)" if pair else f"{name}($close, 3)"
        expression = parse(text)
        after = 21 + lookback(expression)
        both = evaluate([expression], series_panel(calm, spiked))[0][after:]
        assert np.array_equal(both[:, 0], both[:, 1]), name
        assert np.isfinite(both).all()


@pytest.mark.parametrize("value", [0.1, 1e6 / 3, -7.7, 1e-9])
def test_constant_window_has_no_variance(value: float) -> None:
    """Equal values have a deviation of exactly 0, whatever their binary fraction."""
    column = [5.0, *[value] * 30]
    assert (values_of("TS_STD($close, 6)", column)[6:] == 0).all()
    assert np.isnan(values_of("TS_ZSCORE($close, 6)", column)[6:]).all()
    assert np.isnan(values_of("TS_CORR($close, $open, 6)", column)[6:]).all()
    assert np.isnan(values_of("ZSCORE($close)", *[[value] * 3] * 7)).all()


def test_deviation_is_accurate_far_from_zero() -> None:
    """A standard deviation of 1 around 1e6 is right to 9 digits."""
    column = 1e6 + np.random.default_rng(2).standard_normal(200)
    actual = values_of("TS_STD($close, 20)", column.tolist())[-1, 0]
    assert actual == pytest.approx(np.std(column[-20:], ddof=1), rel=1e-9)


def test_rank_of_ties() -> None:
    """Ties share the mean of their ranks: 1, 1, 2, 2 are at 0.375 and 0.875."""
    columns = [[1.0], [1.0], [2.0], [2.0]]
    assert values_of("RANK($close)", *columns)[0].tolist() == [0.375, 0.375, 0.875, 0.875]


def test_rank_does_not_see_rounding_noise() -> None:
    """Values equal to 20 significant bits tie, positive and negative, across magnitudes."""
    noisy = [[1.0], [1.0 + 1e-9], [-3e200], [-3e200 * (1 + 1e-12)], [0.0], [-0.0]]
    assert (6 * values_of("RANK($close)", *noisy)[0]).tolist() == [5.5, 5.5, 1.5, 1.5, 3.5, 3.5]


def test_ts_rank_of_ties() -> None:
    """Today's value ties with an equal one of its window."""
    assert values_of("TS_RANK($close, 4)", [1.0, 2.0, 3.0, 2.0])[-1, 0] == (1 + 1.5) / 4


def test_position_of_ties_is_the_oldest() -> None:
    """Among equal extremes the oldest one counts, as in AlphaAgent."""
    column = [1.0, 3.0, 3.0, 1.0]
    assert values_of("TS_ARGMAX($close, 4)", column)[-1, 0] == 2
    assert values_of("TS_ARGMIN($close, 4)", column)[-1, 0] == 3


@pytest.mark.parametrize(
    "text",
    ["LOG($close)", "SQRT($close - 1)", "$close / $close", "POW($close, -1)", "1 / ABS($close)"],
)
def test_undefined_is_missing(text: str) -> None:
    """LOG of 0, the root of a negative and a division by zero are NaN, never infinite."""
    assert np.isnan(values_of(text, [0.0])).all()


def test_overflow_is_missing() -> None:
    """A float32 overflow is NaN, not infinite."""
    panel = series_panel([1e30, 1e30])
    assert np.isnan(evaluate([parse("$close * $open")], panel, dtype=np.float32)[0]).all()


def test_correlation_stays_in_its_bounds() -> None:
    """Rounding never carries a correlation beyond ±1."""
    x = np.random.default_rng(4).random((20, 60)).tolist()
    r = values_of("TS_CORR($close, 3 * $close, 5)", *x)[4:]
    assert (r <= 1).all()
    np.testing.assert_allclose(r, 1)


def test_ema_of_a_constant_is_the_constant() -> None:
    """Weights are renormalised, gaps included."""
    column = [np.nan if i % 9 == 0 else 4.0 for i in range(60)]
    np.testing.assert_allclose(values_of("EMA($close, 3)", column)[29:], 4.0, rtol=1e-14)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda row: row.name)
def test_row_is_documented(operator: Operator) -> None:
    """Each row says what it is and needs; time-series rows are those with a window."""
    assert operator.doc.endswith(".")
    assert operator.formula
    assert (operator.kind is Kind.TIME_SERIES) == ("window" in operator.arguments)
    fewest, most = operator.arity
    assert fewest <= most == len(operator.arguments)


def test_fault_names_the_argument() -> None:
    """A wrong window is found by its place, and the hint shows the signature."""
    wrong = fault("TS_STD", (Field("close"), Constant(1.0)))
    assert wrong is not None
    assert wrong.argument == 1
    assert "at least 2" in wrong.rule
    assert wrong.hint == "write TS_STD(series, window=20)"
