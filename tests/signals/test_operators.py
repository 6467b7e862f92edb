"""The operator table: every row against a plain reference, its documentation and its faults."""

from __future__ import annotations

import numpy as np
import pytest

from signals.errors import ExpressionError
from signals.evaluate import evaluate
from signals.expression import Call, Constant, Expression, Field, call, constant
from signals.grammar import parse
from signals.operators import OPERATORS, Kind, Operator, fault, lookback, nearest
from signals.panel import FloatArray, Panel
from tests.signals.reference import (
    INEXACT,
    agree,
    field_panel,
    random_panel,
    reference,
    sample_call,
    sample_calls,
    series_panel,
)

CLOSE, OPEN = Field("close"), Field("open")
WINDOWED = sorted(
    name
    for name, row in OPERATORS.items()
    if "window" in row.arguments and "series" in row.arguments
)

#: Operators of pairs of values.
PAIRED = ("TS_COVARIANCE", "TS_CORR", "REGBETA", "REGRESI")

#: The smallest window, two common ones, a longer one, and one that is longer than the panel.
WINDOWS = (1, 2, 5, 20, 200)


def named(expression: Expression) -> str:
    return str(expression)


def values_of(text: str, *columns: list[float]) -> FloatArray:
    return evaluate([parse(text)], series_panel(*columns))[0]


def single_precision(panel: Panel) -> Panel:
    """Return the panel with its fields rounded to float32, so that both dtypes see one input."""
    rounded = {name: v.astype(np.float32) for name, v in panel.fields.items()}
    return Panel(panel.sessions, panel.assets, rounded, panel.universe, panel.origin)


@pytest.mark.parametrize("window", WINDOWS)
def test_operators_equal_reference(window: int) -> None:
    """In float64 every operator gives what a plain computation gives, NaN included."""
    panel = random_panel(seed=window, origin=11)
    calls = sample_calls(window)
    for expression, actual in zip(calls, evaluate(calls, panel), strict=True):
        expected = reference(expression, panel)
        assert agree(actual, expected, rtol=1e-9).all(), str(expression)
        exact = expression.op not in INEXACT
        assert not exact or np.array_equal(actual, expected, equal_nan=True), str(expression)


@pytest.mark.parametrize("expression", sample_calls(5), ids=named)
def test_operator_gives_values(expression: Call) -> None:
    """The panel of these tests is one on which an operator has something to say."""
    assert np.isfinite(reference(expression, random_panel(seed=5, origin=11))).mean() > 0.3


@pytest.mark.parametrize("window", WINDOWS)
def test_float32_agrees_with_reference(window: int) -> None:
    """A search in float32 sees the values of float64 up to rounding, and the same gaps."""
    panel = single_precision(random_panel(seed=window + 100, origin=7))
    top = float(np.finfo(np.float32).max)
    calls = sample_calls(window)
    for expression, actual in zip(calls, evaluate(calls, panel, dtype=np.float32), strict=True):
        assert actual.dtype == np.float32
        expected = reference(expression, panel)
        expected = np.where(np.abs(expected) > top, np.nan, expected)
        # What a formula subtracts is of the size of its inputs: that bounds what it can keep.
        # A covariance is 0 below 1e-6 of the product of deviations.
        least = 1e-4 if expression.op in PAIRED else 1e-6
        noise = least * np.nanmedian(np.abs(expected)) if np.isfinite(expected).any() else 0.0
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=noise, err_msg=str(expression))


@pytest.mark.parametrize("name", WINDOWED)
def test_lookback_is_exact(name: str) -> None:
    """With complete bars the first value stands right behind the lookback, none before."""
    expression = sample_call(name, OPERATORS[name].min_window + 2)
    rng = np.random.default_rng(0)
    panel = field_panel(close=rng.random((80, 3)), volume=rng.random((80, 3)))
    finite = np.isfinite(evaluate([expression], panel)[0])
    assert not finite[: lookback(expression)].any()
    assert finite[lookback(expression) :].all()


@pytest.mark.parametrize("name", sorted(set(WINDOWED) - {"DELAY", "DELTA", "TS_PCTCHANGE"}))
def test_four_fifths_of_a_window_are_needed(name: str) -> None:
    """Of a window 80 % must be finite, rounded up; one session less and there is no value."""
    row = OPERATORS[name]
    expression = sample_call(name, max(row.min_window, 5))
    window = lookback(expression) + 1
    rng = np.random.default_rng(1)
    full = rng.random(window)
    enough, few = full.copy(), full.copy()
    missing = window - -(-4 * window // 5)
    enough[:missing] = np.nan
    few[: missing + 1] = np.nan
    columns = np.stack([full, enough, few], axis=1)
    panel = field_panel(close=columns, volume=rng.random(columns.shape))
    assert np.isfinite(evaluate([expression], panel)[0][-1]).tolist() == [True, True, False]


@pytest.mark.parametrize("name", ["TS_MEAN", "TS_STD", "TS_MAX", "TS_ARGMIN", "DECAYLINEAR"])
def test_today_may_be_missing(name: str) -> None:
    """The gap may be today where an operator is about its window."""
    full = [float(i % 7) for i in range(10)]
    assert np.isfinite(values_of(f"{name}($close, 10)", [*full[:9], np.nan])[-1, 0])


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$close > $open", [0.0, 1.0, 0.0, np.nan]),
        ("$close >= $open", [1.0, 1.0, 0.0, np.nan]),
        ("$close == $open", [1.0, 0.0, 0.0, np.nan]),
        ("$close != $open", [0.0, 1.0, 1.0, np.nan]),
        ("$close < $open", [0.0, 0.0, 1.0, np.nan]),
        ("$close <= $open", [1.0, 0.0, 1.0, np.nan]),
        ("!($close == $open)", [0.0, 1.0, 1.0, np.nan]),
    ],
)
def test_comparisons_see_twenty_bits(text: str, expected: list[float]) -> None:
    """Values equal to 20 significant bits are equal; beside a missing one there is no answer."""
    close = np.array([[0.1 + 0.2, 2.0, -1.0, np.nan]])
    panel = field_panel(close=close, open=np.array([[0.3, 1.0, -0.999, 1.0]]))
    for dtype in (np.float32, np.float64):
        actual = evaluate([parse(text)], panel, dtype=dtype)[0][0]
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$close && $open", [1.0, 0.0, 0.0, np.nan, np.nan]),
        ("$close || $open", [1.0, 1.0, 0.0, np.nan, np.nan]),
        ("$close ? 7 : $high", [7.0, 7.0, np.nan, np.nan, 7.0]),
        ("$close ? $open : $high", [-2.0, 0.0, np.nan, np.nan, np.nan]),
        ("$close ? $high : $open", [np.nan, np.nan, 0.0, np.nan, np.nan]),
    ],
)
def test_logic_of_missing_values(text: str, expected: list[float]) -> None:
    """What is not 0 is true; only the branch that is chosen may be missing."""
    panel = field_panel(
        close=np.array([[1.0, 1e-30, 0.0, np.nan, 2.0]]),
        open=np.array([[-2.0, 0.0, 0.0, 1.0, np.nan]]),
        high=np.full((1, 5), np.nan),
    )
    np.testing.assert_array_equal(evaluate([parse(text)], panel)[0][0], expected)


def test_one_number_for_the_session() -> None:
    """An aggregate is written to every asset of the universe, a missing one included."""
    panel = field_panel(close=np.array([[1.0, 3.0, np.nan, 100.0]]))
    universe = np.array([[True, True, True, False]])
    inside = Panel(panel.sessions, panel.assets, panel.fields, universe)
    actual = evaluate([parse("MEAN($close)")], inside)[0][0]
    np.testing.assert_array_equal(actual, [2.0, 2.0, 2.0, np.nan])


def test_groups_do_not_mix() -> None:
    """A group is what has equal values; who has none, or no value, has no result."""
    x = np.array([[1.0, 3.0, 10.0, 20.0, 20.0, np.nan, 5.0]])
    g = np.array([[1.0, 1.0, -7.5, -7.5, -7.5, 1.0, np.nan]])
    panel = field_panel(close=x, sector=g)
    mean, rank = evaluate(
        [parse("GROUP_MEAN($close, $sector)"), parse("GROUP_RANK($close, $sector)")], panel
    )
    gone = [np.nan, np.nan]
    np.testing.assert_allclose(mean[0], [2.0, 2.0, 50 / 3, 50 / 3, 50 / 3, *gone])
    np.testing.assert_allclose(rank[0], [0.5, 1.0, 1 / 3, 2.5 / 3, 2.5 / 3, *gone])


@pytest.mark.parametrize(
    "text",
    [
        "LOG($close)",
        "SQRT($close - 1)",
        "$close / $close",
        "POW($close, -1)",
        "1 / ABS($close)",
        "($close - 2) ^ 0.5",
        "TS_PCTCHANGE($close, 1)",
        "SCALE($close)",
        "ZSCORE($close)",
    ],
)
def test_undefined_is_missing(text: str) -> None:
    """LOG of 0, the root of a negative and a division by zero are NaN, never infinite."""
    assert np.isnan(values_of(text, [0.0, 0.0])).all()


def test_correlation_stays_in_its_bounds() -> None:
    """Rounding never carries a correlation beyond ±1."""
    x = np.random.default_rng(4).random((20, 60))
    r = values_of("TS_CORR($close, 3 * $close, 5)", *x.tolist())[4:]
    assert (r <= 1).all()
    np.testing.assert_allclose(r, 1)


def test_averages_of_a_constant_are_the_constant() -> None:
    """Weights are renormalised, gaps included."""
    column = [np.nan if i % 9 == 0 else 4.0 for i in range(60)]
    for text in ("EMA($close, 3)", "SMA($close, 4, 2)", "DECAYLINEAR($close, 7)"):
        values = values_of(text, column)[lookback(parse(text)) :]
        np.testing.assert_allclose(values, 4.0, rtol=1e-14, err_msg=text)


def test_smoothed_average_is_an_exponential_one() -> None:
    """SMA(x, m, n) weighs by n / m: for whole spans it is the EMA of span 2 m / n - 1."""
    panel = random_panel(6)
    smoothed, exponential = (parse("SMA($close, 5, 2)"), parse("EMA($close, 4)"))
    assert lookback(smoothed) == lookback(exponential) == 39
    left, right = evaluate([smoothed, exponential], panel)
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_product_forgets_zeros() -> None:
    """A zero counts while it is in the window, and no longer."""
    column = [2.0, 0.0, 3.0, 4.0, 5.0, 1e300, 6.0, 7.0]
    actual = values_of("PROD($close, 2)", column)[1:, 0]
    np.testing.assert_allclose(actual, [0, 0, 12, 20, 5e300, 6e300, 42])


def test_sequence_is_the_count_of_sessions() -> None:
    """A series that grows by 3 a session has slope 3 on SEQUENCE and no residual, anywhere."""
    line = [5.0 + 3.0 * t for t in range(30)]
    panel = series_panel(line, origin=100_000)
    slope, rest = evaluate(
        [parse("REGBETA($close, SEQUENCE(8), 8)"), parse("REGRESI($close, SEQUENCE(8), 8)")], panel
    )
    np.testing.assert_allclose(slope[7:], 3.0, rtol=1e-12)
    np.testing.assert_allclose(rest[7:], 0.0, atol=1e-10)


# The rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda row: row.name)
def test_row_is_documented(operator: Operator) -> None:
    """Each row says what it is, by which formula, and what becomes of a missing value."""
    assert operator.doc.endswith(".")
    assert operator.formula
    assert operator.missing
    assert not operator.deviates.endswith(".")
    assert (operator.kind is Kind.TIME_SERIES) == ("window" in operator.arguments)
    fewest, most = operator.arity
    assert fewest <= most == len(operator.arguments)
    assert operator.signature.startswith(f"{operator.name}(")


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda row: row.name)
def test_row_says_what_may_be_swapped(operator: Operator) -> None:
    """Swapping, regrouping and dropping equals change no value where a row says they do not."""
    if not operator.commutative:
        assert not operator.associative
        return
    panel = random_panel(9)
    rest = [constant(5)] * (len(operator.arguments) - 2)
    left = Call(operator.name, (CLOSE, OPEN, *rest))
    right = Call(operator.name, (OPEN, CLOSE, *rest))
    for dtype in (np.float32, np.float64):
        one, two = evaluate([left, right], panel, dtype=dtype)
        eps = 10 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(one, two, rtol=eps, atol=eps * float(np.nanmax(np.abs(one))))
    if operator.idempotent:
        same, field = evaluate([Call(operator.name, (CLOSE, CLOSE)), CLOSE], panel)
        np.testing.assert_array_equal(same, field)
    if operator.boolean:
        assert set(np.unique(one[np.isfinite(one)])) <= {0.0, 1.0}


def test_arguments_left_out_have_their_defaults() -> None:
    """`complete` fills in from the end, and leaves what it cannot complete to `fault`."""
    row = OPERATORS["TS_QUANTILE"]
    assert row.complete((CLOSE,)) == (CLOSE, constant(5), constant(0.5))
    assert row.complete((CLOSE, constant(9))) == (CLOSE, constant(9), constant(0.5))
    assert row.complete(()) == ()
    assert row.signature == "TS_QUANTILE(series, window=5, number=0.5)"


@pytest.mark.parametrize(
    ("name", "args", "argument", "fact", "rule"),
    [
        ("TS_MAEN", (CLOSE,), None, "unknown operator 'TS_MAEN'", "one of the table"),
        ("RANK", (), None, "RANK has 0 arguments", "RANK takes 1"),
        ("TS_MEAN", (CLOSE,) * 3, None, "TS_MEAN has 3 arguments", "TS_MEAN takes 1 to 2"),
        ("SMA", (CLOSE, constant(5)), None, "SMA has 2 arguments", "SMA takes 3"),
        ("RANK", (constant(5),), 0, "RANK is given the constant 5", "values that vary"),
        ("TS_MEAN", (CLOSE, OPEN), 1, "TS_MEAN is given $open as its window", "a plain number"),
        ("SCALE", (CLOSE, OPEN), 1, "SCALE is given $open as its number", "a plain number"),
        ("TS_MEAN", (CLOSE, constant(2.5)), 1, "a window of 2.5", "whole number"),
        ("TS_MEAN", (CLOSE, constant(0)), 1, "a window of 0", "at least 1"),
        ("DELAY", (CLOSE, constant(-1)), 1, "a window of -1", "at least 1"),
        ("TS_STD", (CLOSE, constant(1)), 1, "a window of 1", "at least 2"),
        ("TS_CORR", (CLOSE, OPEN, constant(2)), 2, "a window of 2", "at least 3"),
        ("TS_KURT", (CLOSE, constant(3)), 1, "a window of 3", "at least 4"),
        ("TS_QUANTILE", (CLOSE, constant(5), constant(1.1)), None, "given 5, 1.1", "0 and 1"),
        (
            "SMA",
            (CLOSE, constant(3), constant(4)),
            None,
            "SMA is given 3, 4",
            "between 0.001 and 1",
        ),
        (
            "SMA",
            (CLOSE, constant(3), constant(0)),
            None,
            "SMA is given 3, 0",
            "between 0.001 and 1",
        ),
    ],
)
def test_fault_names_argument_and_rule(
    name: str, args: tuple[Expression, ...], argument: int | None, fact: str, rule: str
) -> None:
    """What is wrong is found by its place, with the rule and the signature to write."""
    wrong = fault(name, args)
    assert wrong is not None
    assert wrong.argument == argument
    assert fact in wrong.fact
    assert rule in wrong.rule
    known = name in OPERATORS
    assert wrong.hint == (f"write {OPERATORS[name].signature}" if known else nearest(name))


def test_sequence_stands_in_a_regression_only() -> None:
    """SEQUENCE(n) is a regressor over the same n sessions, and nothing else."""
    n = constant(20)
    sequence = call("SEQUENCE", n)
    assert fault("REGBETA", (CLOSE, sequence, n)) is None
    assert fault("TS_CORR", (sequence, CLOSE, n)) is None
    for name, args in (
        ("REGBETA", (CLOSE, sequence, constant(10))),
        ("ADD", (CLOSE, sequence)),
        ("TS_MEAN", (sequence, n)),
        ("RANK", (sequence,)),
    ):
        wrong = fault(name, args)
        assert wrong is not None
        assert "regressor" in wrong.rule


def test_nearest_operators_are_named() -> None:
    """A misspelt name brings those spelled most like it, another one the whole list."""
    assert "TS_MEAN" in nearest("TS_MAEN")
    assert nearest("zzzz").startswith("the operators are ABS, ADD")


def test_call_refuses_what_fault_finds() -> None:
    """What `fault` finds, `call` raises."""
    with pytest.raises(ExpressionError, match="window of 0"):
        call("TS_MEAN", CLOSE, Constant(0.0))
