"""Evaluation: causal, the same for a tail as for the whole, independent of what is outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import DataError, ExpressionError
from signals.evaluate import Evaluator, evaluate
from signals.expression import Call, Constant, Expression, Field, call, constant, lookback
from signals.grammar import parse
from signals.panel import FloatArray, Panel
from tests.signals.reference import (
    Reference,
    agree,
    expressions,
    random_panel,
    reference,
    sample_calls,
    unexplained,
)

EVERY_OPERATOR: list[Expression] = [*sample_calls(3), *sample_calls(8)]

DTYPES = st.sampled_from([np.float32, np.float64])


def same(left: object, right: object) -> bool:
    """Whether two arrays agree in every bit that is not the payload of a NaN."""
    return np.array_equal(np.asarray(left), np.asarray(right), equal_nan=True)


def copied(_: Expression, values: FloatArray) -> FloatArray:
    return values.copy()


def total(_: Expression, values: FloatArray) -> float:
    return float(np.nansum(values))


def with_other_end(panel: Panel, other: Panel, last: int) -> Panel:
    """Return `panel` up to row `last`, and the rows of `other` behind it."""
    return replace(
        panel,
        fields={
            name: np.vstack([values[: last + 1], other.fields[name][last + 1 :]])
            for name, values in panel.fields.items()
        },
        universe=np.vstack([panel.universe[: last + 1], other.universe[last + 1 :]]),
    )


def moved_by_the_future(
    compute: Callable[[Panel], list[FloatArray]], seed: int, last: int
) -> list[int]:
    """Return which of the results change up to row `last` when what comes after it does."""
    panel = random_panel(seed, origin=seed % 23)
    whole = compute(panel)
    cut = compute(panel.rows(0, last + 1))
    changed = compute(with_other_end(panel, random_panel(seed + 1), last))
    known = slice(0, last + 1)
    return [
        i
        for i, (a, b, c) in enumerate(zip(whole, cut, changed, strict=True))
        if not (same(a[known], b) and same(a[known], c[known]))
    ]


# What may be known --------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), last=st.integers(0, 89), dtype=DTYPES)
def test_later_rows_move_nothing(seed: int, last: int, dtype: type) -> None:
    """Every operator: whatever comes after a session, or nothing, no bit up to it changes."""
    moved = moved_by_the_future(
        lambda panel: evaluate(EVERY_OPERATOR, panel, dtype=dtype), seed, last
    )
    assert [str(EVERY_OPERATOR[i]) for i in moved] == []


@settings(max_examples=60, deadline=None)
@given(expression=expressions(), seed=st.integers(0, 10**6), last=st.integers(20, 88))
def test_later_rows_move_no_tree(expression: Expression, seed: int, last: int) -> None:
    """Nested operators see as little of the future as each alone."""
    assert not moved_by_the_future(lambda panel: evaluate([expression], panel), seed, last)


def test_a_look_ahead_would_be_seen() -> None:
    """The check above finds an operator that reads the next session, or all of them."""
    close = Field("close")

    def leaky(panel: Panel) -> list[FloatArray]:
        backward = replace(
            panel,
            fields={name: values[::-1] for name, values in panel.fields.items()},
            universe=panel.universe[::-1],
        )
        ahead = evaluate([call("DELAY", close, constant(1))], backward)[0][::-1]
        demeaned = panel.fields["close"] - np.nanmean(panel.fields["high"][:, 0])
        return [ahead, demeaned, *evaluate([close], panel)]

    assert moved_by_the_future(leaky, seed=3, last=50) == [0, 1]


# Tails --------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    first=st.integers(0, 90),
    cut=st.integers(0, 60),
    dtype=DTYPES,
)
def test_tail_equals_batch_bit_for_bit(seed: int, first: int, cut: int, dtype: type) -> None:
    """Every operator: rows asked for alone, of a panel cut anywhere, are those of the whole."""
    panel = random_panel(seed, origin=seed % 23)
    whole = evaluate(EVERY_OPERATOR, panel, dtype=dtype)
    for expression, expected in zip(EVERY_OPERATOR, whole, strict=True):
        assert same(evaluate([expression], panel, first=first, dtype=dtype)[0], expected[first:])
        start = max(0, min(cut, first - lookback(expression)))
        tail = panel.rows(start, panel.n_sessions)
        result = evaluate([expression], tail, first=first - start, dtype=dtype)[0]
        assert same(result, expected[first:]), str(expression)


@settings(max_examples=60, deadline=None)
@given(
    expression=expressions(), seed=st.integers(0, 10**6), first=st.integers(60, 90), dtype=DTYPES
)
def test_nested_tail_equals_batch(
    expression: Expression, seed: int, first: int, dtype: type
) -> None:
    """Nested operators too, when only the lookback is read and everything before is gone."""
    panel = random_panel(seed, n_assets=6, origin=seed % 23)
    expected = evaluate([expression], panel, dtype=dtype)[0][first:]
    start = max(0, first - lookback(expression))
    tail = panel.rows(start, panel.n_sessions)
    assert same(evaluate([expression], panel, first=first, dtype=dtype)[0], expected)
    assert same(evaluate([expression], tail, first=first - start, dtype=dtype)[0], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_session_after_session_equals_batch(dtype: type) -> None:
    """Day by day, each from its own lookback alone, is what one call over all days gives."""
    panel = random_panel(4, n_sessions=70, n_assets=21, origin=1000)
    batch = sample_calls(6)
    for expression, expected in zip(batch, evaluate(batch, panel, dtype=dtype), strict=True):
        for t in range(30, panel.n_sessions, 3):
            start = max(0, t - lookback(expression))
            day = panel.rows(start, t + 1)
            today = evaluate([expression], day, first=t - start, dtype=dtype)[0][0]
            assert same(today, expected[t]), str(expression)


# What has no influence ----------------------------------------------------------------------------


@pytest.mark.parametrize("outside", ["missing", "not in the universe"])
def test_columns_outside_move_nothing(outside: str) -> None:
    """Assets that are missing or outside the universe leave every bit of the others alone."""
    panel = random_panel(5)
    extra = random_panel(6, n_assets=9)
    values = {name: extra.fields[name].copy() for name in extra.fields}
    universe = np.zeros(extra.universe.shape, dtype=np.bool_)
    if outside == "missing":
        values = {name: np.full(universe.shape, np.nan) for name in values}
        universe = ~universe
    wide = Panel(
        sessions=panel.sessions,
        assets=(*panel.assets, *(f"B{i}" for i in range(9))),
        fields={name: np.hstack([panel.fields[name], values[name]]) for name in values},
        universe=np.hstack([panel.universe, universe]),
    )
    whole_session = {"MEAN", "STD", "SKEW", "KURT", "MEDIAN", "CS_MAX", "CS_MIN"}
    for dtype in (np.float32, np.float64):
        narrow = evaluate(EVERY_OPERATOR, panel, dtype=dtype)
        results = evaluate(EVERY_OPERATOR, wide, dtype=dtype)
        for expression, left, right in zip(EVERY_OPERATOR, narrow, results, strict=True):
            assert same(left, right[:, : panel.n_assets]), str(expression)
            # One number for the session is written to every asset of the universe.
            op = expression.op if isinstance(expression, Call) else ""
            if outside == "missing" and op in whole_session:
                continue
            assert np.isnan(right[:, panel.n_assets :]).all(), str(expression)


def test_time_series_run_outside_the_universe() -> None:
    """An asset that joins the universe has its history at once; its rank counts members only."""
    panel = random_panel(9)
    universe = np.zeros_like(panel.universe)
    universe[60:, 5:9] = True
    joined = replace(panel, universe=universe)
    mean, rank = evaluate([parse("TS_MEAN($close, 20)"), parse("RANK($close)")], joined)
    everywhere = replace(panel, universe=np.ones_like(universe))
    assert same(mean[60:, 5:9], evaluate([parse("TS_MEAN($close, 20)")], everywhere)[0][60:, 5:9])
    assert np.isnan(rank[:60]).all()
    assert np.nanmin(rank[60:]) >= 1 / 4


@settings(max_examples=40, deadline=None)
@given(batch=st.lists(expressions(), min_size=1, max_size=6), seed=st.integers(0, 10**6))
def test_company_and_threads_move_nothing(batch: list[Expression], seed: int) -> None:
    """Expressions evaluated together, by two threads, give what each gives alone by one."""
    panel = random_panel(seed, n_sessions=60, n_assets=7)
    alone = [evaluate([expression], panel)[0] for expression in batch]
    for threads in (1, 2, 3):
        together = evaluate([*batch, *batch[::-1]], panel, threads=threads)
        assert all(map(same, together, [*alone, *alone[::-1]]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_move_nothing(dtype: type) -> None:
    """Every operator at once, by two threads: bit for bit the values of one."""
    panel = random_panel(7, n_sessions=200, n_assets=40)
    one = Evaluator(panel, dtype=dtype)
    two = Evaluator(panel, dtype=dtype, threads=2)
    expected = one.evaluate(EVERY_OPERATOR)
    for _ in range(3):
        assert all(map(same, two.evaluate(EVERY_OPERATOR), expected))
    assert all(map(same, two.evaluate(EVERY_OPERATOR, first=150), [v[150:] for v in expected]))


# Against the reference ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "-1 * TS_CORR(RANK($close), RANK($volume), 6)",
        "RANK(DELTA($close, 3)) - RANK(TS_STD($return, 5))",
        "ZSCORE(DECAYLINEAR($close / DELAY($close, 2), 4))",
        "TS_RANK(TS_MAX($high, 3) / TS_MIN($low, 3), 5)",
        "$close > TS_MEAN($close, 5) ? RANK($volume) : -1 * TS_SKEW($return, 8)",
        "REGRESI(LOG($close), SEQUENCE(10), 10) / TS_MAD($close, 10)",
        "GROUP_RANK(EMA($close, 2) - SMA($close, 5, 2), $sector)",
        "($close - $vwap) ^ 2 * (MAX($close, $open) - MEDIAN($high))",
        "TS_QUANTILE($close - GROUP_MEAN($close, $sector), 9, 0.8) && !($close == $open)",
    ],
)
def test_nested_equals_reference(text: str) -> None:
    """Factors of several operators agree with the reference, lookback included."""
    panel = random_panel(8, n_sessions=50)
    expression = parse(text)
    actual = evaluate([expression], panel)[0]
    expected = reference(expression, panel)
    assert agree(actual, expected, rtol=1e-9).all()
    assert np.isfinite(actual).mean() > 0.1
    assert np.isnan(actual[: lookback(expression)]).all()


@settings(max_examples=150, deadline=None)
@given(expression=expressions(), seed=st.integers(0, 10**6))
def test_any_tree_equals_reference(expression: Expression, seed: int) -> None:
    """Random trees of every operator agree with the reference, but where rounding decides."""
    panel = random_panel(seed, n_sessions=40, n_assets=6)
    wrong = ~agree(evaluate([expression], panel)[0], reference(expression, panel), rtol=1e-9)
    assert unexplained(wrong, expression, panel) == 0


@given(expression=expressions())
def test_lookback_is_that_of_the_reference(expression: Expression) -> None:
    """The sessions behind a tree are those its windows and shifts add up to."""
    assert lookback(expression) == Reference(random_panel(0, 5, 2)).behind(expression)


# What belongs to whom -----------------------------------------------------------------------------


def test_shared_parts_change_nothing() -> None:
    """Expressions evaluated together give what each gives alone, in their order, twins included."""
    texts = [
        "RANK($close)",
        "TS_MEAN(RANK($close), 4)",
        "$close * $close",
        "$close",
        "RANK($close)",
    ]
    batch = [parse(text) for text in texts]
    panel = random_panel(10)
    for expression, result in zip(batch, evaluate(batch, panel), strict=True):
        assert same(result, evaluate([expression], panel)[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_results_belong_to_the_caller(threads: int) -> None:
    """No result shares memory with another, with the panel, or with what is computed later."""
    panel = random_panel(11)
    evaluator = Evaluator(panel, threads=threads)
    texts = ["TS_STD($close, 5)", "RANK($volume)", "RANK(TS_STD($close, 5))", "$close", "$open"]
    batch = [parse(text) for text in texts]
    kept = [*evaluator.evaluate(batch), *evaluator.evaluate(batch, first=40)]
    copies = [values.copy() for values in kept]
    for first in (0, 40):
        evaluator.evaluate(EVERY_OPERATOR, first=first)
        evaluator.map(total, EVERY_OPERATOR, first=first)
    assert all(map(same, kept, copies))
    arrays = [*kept, *panel.fields.values()]
    for i, left in enumerate(kept):
        assert not any(np.shares_memory(left, right) for right in arrays[i + 1 :])
    for values in kept:
        values[:] = -1.0
    assert all(map(same, evaluator.evaluate(batch), copies))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("first", [0, 33])
def test_map_equals_evaluate(threads: int, first: int) -> None:
    """`map` hands over the values `evaluate` returns, in the order of the expressions."""
    evaluator = Evaluator(random_panel(12), threads=threads)
    batch = [*EVERY_OPERATOR, Field("close"), EVERY_OPERATOR[3]]
    expected = evaluator.evaluate(batch, first=first)
    for _ in range(2):
        assert all(map(same, evaluator.map(copied, batch, first=first), expected))
    seen = evaluator.map(lambda expression, values: (expression, values.shape), batch, first=first)
    assert seen == [(expression, (90 - first, 14)) for expression in batch]


def test_results_go_where_they_are_wanted() -> None:
    """Arrays that are given are filled, one for each expression; others are refused."""
    panel = random_panel(14)
    batch = [parse("RANK($close)"), parse("TS_MEAN($close, 5)"), parse("RANK($close)")]
    evaluator = Evaluator(panel, dtype=np.float32, threads=2)
    out = [np.zeros((panel.n_sessions - 7, panel.n_assets), dtype=np.float32) for _ in batch]
    results = evaluator.evaluate(batch, first=7, out=out)
    assert all(a is b for a, b in zip(results, out, strict=True))
    for expression, array in zip(batch, out, strict=True):
        assert same(array, evaluate([expression], panel, first=7, dtype=np.float32)[0])
    with pytest.raises(DataError, match="out has shape"):
        evaluator.evaluate(batch, out=out)


def test_memory_does_not_grow() -> None:
    """Evaluating again takes no new arrays where the results are only looked at."""
    evaluator = Evaluator(random_panel(13))
    evaluator.map(total, EVERY_OPERATOR)
    held = set(map(id, _pool(evaluator)))
    for _ in range(3):
        evaluator.map(total, EVERY_OPERATOR)
        assert set(map(id, _pool(evaluator))) == held


def _pool(evaluator: Evaluator) -> list[FloatArray]:
    blocks = [array for workspace in evaluator._workspaces for array in workspace._free]
    return blocks + [array for arrays in evaluator._results.values() for array in arrays]


def test_stored_bars_may_be_read_only() -> None:
    """Memory-mapped fields of any layout and dtype are read and left alone."""
    panel = random_panel(12)
    stored = {}
    for name, values in panel.fields.items():
        stored[name] = np.asfortranarray(values)
        stored[name].flags.writeable = False
    expression = parse("TS_MEAN($close, 3) + RANK($volume)")
    assert same(
        evaluate([expression], replace(panel, fields=stored))[0], evaluate([expression], panel)[0]
    )


# Fields, rows, errors -----------------------------------------------------------------------------


def test_typical_price_stands_in_for_vwap() -> None:
    """$vwap is the panel's own field where it has one, else (high + low + close) / 3."""
    panel = random_panel(14)
    high, low, close = (panel.fields[name] for name in ("high", "low", "close"))
    typical = np.where(panel.universe, (high + low + close) / 3, np.nan)
    typical[~np.isfinite(typical)] = np.nan
    assert same(evaluate([Field("vwap")], panel)[0], typical)
    own = replace(panel, fields={**panel.fields, "vwap": panel.fields["open"]})
    assert same(evaluate([Field("vwap")], own)[0], evaluate([Field("open")], panel)[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_unknown_field_names_those_there(threads: int) -> None:
    """A field that the panel lacks is an error that lists what it has, and ends all threads."""
    evaluator = Evaluator(random_panel(0), threads=threads)
    batch = [*EVERY_OPERATOR, parse("RANK($amount)"), *EVERY_OPERATOR]
    with pytest.raises(ExpressionError, match=r"no field 'amount'[\s\S]*close, high, low, open"):
        evaluator.evaluate(batch)
    assert same(evaluator.evaluate([EVERY_OPERATOR[0]])[0], evaluator.map(copied, batch[:1])[0])


def test_a_function_that_fails_fails_the_call() -> None:
    """What `map` is given may raise: the caller gets it, whichever thread it was."""

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Evaluator(random_panel(0), threads=2).map(refuse, EVERY_OPERATOR)


def test_first_must_be_a_row() -> None:
    """A row beyond the panel is an error; its end gives no rows."""
    panel = random_panel(0)
    assert evaluate([Field("close")], panel, first=panel.n_sessions)[0].shape == (0, 14)
    with pytest.raises(DataError, match="first=91"):
        evaluate([Field("close")], panel, first=91)
    assert evaluate([], panel) == []


def test_a_constant_is_a_factor_of_its_own() -> None:
    """A number has its value wherever there is a universe."""
    panel = random_panel(1)
    values = evaluate([Constant(0.5)], panel)[0]
    assert same(values, np.where(panel.universe, 0.5, np.nan))


def test_three_years_of_three_hundred_assets() -> None:
    """A search's panel is evaluated in every operator, in well under a second."""
    rng = np.random.default_rng(13)
    shape = (756, 300)
    fields = {
        name: 50 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
        for name in ("open", "high", "low", "close")
    }
    fields |= {"volume": rng.random(shape), "sector": rng.integers(0, 11, shape).astype(float)}
    panel = Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(756),
        assets=tuple(f"A{i}" for i in range(300)),
        fields=fields,
        universe=np.ones(shape, dtype=np.bool_),
    )
    batch = sample_calls(20)
    evaluate(batch, panel.rows(0, 300), dtype=np.float32)
    started = time.process_time()
    results = evaluate(batch, panel, dtype=np.float32)
    assert time.process_time() - started < 2
    for expression, values in zip(batch, results, strict=True):
        overflows = expression.op in ("EXP", "POW")
        assert overflows or np.isfinite(values[300:]).mean() > 0.4, str(expression)
