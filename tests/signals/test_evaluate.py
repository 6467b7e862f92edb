"""Evaluation: causal, the same for a tail as for the whole, independent of what is outside."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import DataError, ExpressionError
from signals.evaluate import Buffers, evaluate
from signals.expression import Expression, Field, lookback
from signals.grammar import parse
from signals.operators import OPERATORS
from signals.panel import Panel
from tests.signals.reference import expressions, random_panel, reference, sample_call

EVERY_OPERATOR = [sample_call(name, window) for name in sorted(OPERATORS) for window in (3, 8)]


def same(left: object, right: object) -> bool:
    """Whether two arrays agree in every bit that is not the payload of a NaN."""
    return np.array_equal(np.asarray(left), np.asarray(right), equal_nan=True)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    first=st.integers(0, 90),
    cut=st.integers(0, 60),
    dtype=st.sampled_from([np.float32, np.float64]),
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


@settings(max_examples=40, deadline=None)
@given(expression=expressions(), seed=st.integers(0, 10**6), first=st.integers(60, 90))
def test_nested_tail_equals_batch(expression: Expression, seed: int, first: int) -> None:
    """Nested operators too, when only the lookback is read and everything before is gone."""
    panel = random_panel(seed, n_assets=6, origin=seed % 23)
    expected = evaluate([expression], panel)[0][first:]
    start = max(0, first - lookback(expression))
    tail = panel.rows(start, panel.n_sessions)
    assert same(evaluate([expression], panel, first=first)[0], expected)
    assert same(evaluate([expression], tail, first=first - start)[0], expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), last=st.integers(0, 89))
def test_later_rows_move_nothing(seed: int, last: int) -> None:
    """Whatever comes after a session, no value up to it changes."""
    panel, other = random_panel(seed), random_panel(seed + 1)
    changed = replace(
        panel,
        fields={
            name: np.vstack([values[: last + 1], other.fields[name][last + 1 :]])
            for name, values in panel.fields.items()
        },
        universe=np.vstack([panel.universe[: last + 1], other.universe[last + 1 :]]),
    )
    for left, right in zip(
        evaluate(EVERY_OPERATOR, panel), evaluate(EVERY_OPERATOR, changed), strict=True
    ):
        assert same(left[: last + 1], right[: last + 1])


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
    for dtype in (np.float32, np.float64):
        narrow = evaluate(EVERY_OPERATOR, panel, dtype=dtype)
        for left, right in zip(narrow, evaluate(EVERY_OPERATOR, wide, dtype=dtype), strict=True):
            assert same(left, right[:, : panel.n_assets])
            assert np.isnan(right[:, panel.n_assets :]).all()


@pytest.mark.parametrize(
    "text",
    [
        "-1 * TS_CORR(RANK($close), RANK($volume), 6)",
        "RANK(DELTA($close, 3)) - RANK(TS_STD($return, 5))",
        "ZSCORE(DECAYLINEAR($close / DELAY($close, 2), 4))",
        "TS_RANK(TS_MAX($high, 3) / TS_MIN($low, 3), 5)",
    ],
)
def test_nested_equals_reference(text: str) -> None:
    """Factors of several operators agree with the reference where the lookback is there."""
    panel = random_panel(8, n_sessions=50)
    expression = parse(text)
    behind = lookback(expression)
    actual = evaluate([expression], panel)[0]
    np.testing.assert_allclose(
        actual[behind:], reference(expression, panel)[behind:], rtol=1e-9, atol=1e-9
    )
    assert np.isnan(actual[:behind]).all()


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


def test_results_belong_to_the_caller() -> None:
    """Buffers are used again only once they are given back, and hold nothing from before."""
    buffers, panel = Buffers(), random_panel(11)
    batch = [parse("TS_STD($close, 5)"), parse("RANK($volume)")]
    kept = evaluate(batch, panel, buffers=buffers)
    copies = [values.copy() for values in kept]
    for _ in range(3):
        for values in evaluate(batch[::-1], panel, first=30, buffers=buffers):
            buffers.give(values)
    assert all(map(same, kept, copies))
    assert not any(np.shares_memory(kept[0], values) for values in panel.fields.values())


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


def test_unknown_field_names_those_there() -> None:
    """A field that the panel lacks is an error that lists what it has."""
    with pytest.raises(ExpressionError, match=r"no field 'vwap'[\s\S]*close, high, low, open"):
        evaluate([Field("vwap")], random_panel(0))


def test_first_must_be_a_row() -> None:
    """A row beyond the panel is an error; its end gives no rows."""
    panel = random_panel(0)
    assert evaluate([Field("close")], panel, first=panel.n_sessions)[0].shape == (0, 14)
    with pytest.raises(DataError, match="first=91"):
        evaluate([Field("close")], panel, first=91)
    assert evaluate([], panel) == []


def test_three_years_of_three_hundred_assets() -> None:
    """A search's panel is evaluated in every operator, in well under a second."""
    rng = np.random.default_rng(13)
    shape = (756, 300)
    prices = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal(shape), axis=0))
    panel = Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(756),
        assets=tuple(f"A{i}" for i in range(300)),
        fields={"close": prices, "volume": rng.random(shape)},
        universe=np.ones(shape, dtype=np.bool_),
    )
    batch = [sample_call(name, 20) for name in sorted(OPERATORS)]
    evaluate(batch, panel.rows(0, 300), dtype=np.float32)
    started = time.process_time()
    results = evaluate(batch, panel, dtype=np.float32)
    assert time.process_time() - started < 2
    assert all(np.isfinite(values[300:]).mean() > 0.4 for values in results)
