"""Whether values depend on the scale of quotes, found by evaluating."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from miner.invariance import SESSIONS, changes_when_rescaled
from miner.sampling import Vocabulary, sample
from miner.units import RATIO, is_scale_free
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.grammar import parse
from signals.panel import BASE_FIELDS, Panel
from tests.miner.market import market

PANEL = market(1, n_sessions=160, n_assets=50)
WORDS = Vocabulary.of(PANEL.fields)


def change(expression: Expression, panel: Panel = PANEL) -> str | None:
    return changes_when_rescaled(expression, panel, np.random.default_rng(5))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("RANK($close)", "prices"),
        ("$close + $volume", "prices"),
        ("LOG($volume)", "volumes"),
        ("LOG($close)", "prices"),
        ("RANK($volume)", "volumes"),
        ("SCALE($close)", "prices"),
        ("$close > 1", "prices"),
        ("$close > $volume ? $high / $low : $low / $high", "prices"),
        ("$vwap - $close", "prices"),
        ("RANK(DELTA($close, 1))", "prices"),
        ("TS_COVARIANCE($close, $volume, 10)", "prices"),
        ("MEAN($close) / $close", "prices"),
    ],
)
def test_an_offender_is_told_what_it_depends_on(text: str, what: str) -> None:
    """Ranks and levels of quotes, sums of unlike things, comparisons with a constant."""
    expression = parse(text)
    assert not is_scale_free(expression)
    reason = change(expression)
    assert reason is not None
    assert f"when {what} of single assets are multiplied by a constant" in reason
    assert "look-ahead" in reason


@pytest.mark.parametrize(
    "text",
    [
        "RANK(DELTA($close, 5) / $close)",
        "TS_CORR($close, $volume, 10)",
        "TS_RANK($volume, 10)",
        "($vwap - $close) / ($high - $low)",
        "TS_SUM($close > DELAY($close, 1) ? $volume : 0, 10) / TS_SUM($volume, 10)",
        "$close - $close",
    ],
)
def test_what_has_no_scale_is_left_alone(text: str) -> None:
    """Returns, correlations, ranks over time, ratios of like things."""
    assert change(parse(text)) is None


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 4))
def test_random_factors_without_units_do_not_change(seed: int, depth: int) -> None:
    """What `miner.units` calls free of scale is so when it is evaluated."""
    expression = sample(RATIO, depth, WORDS, np.random.default_rng(seed))
    assert is_scale_free(expression)
    assert change(expression) is None


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), unit=st.sampled_from([(1, 0), (0, 1)]))
def test_random_levels_change(seed: int, unit: tuple[int, int]) -> None:
    """What is measured in prices or shares moves with them, and its rank too."""
    expression = sample(unit, 3, WORDS, np.random.default_rng(seed))
    values = evaluate([expression], PANEL)[0][-SESSIONS:]
    assume((np.nan_to_num(values) != 0.0).mean() > 0.1)  # not a case that never comes about
    for level in (expression, parse(f"RANK({expression})")):
        reason = change(level)
        assert reason is not None
        assert ("prices" if unit == (1, 0) else "volumes") in reason


def test_amounts_move_with_prices_and_with_volumes() -> None:
    """Turnover over its own mean is free of both; over volume it is a price."""
    fields = dict(PANEL.fields)
    panel = replace(PANEL, fields=fields | {"amount": fields["close"] * fields["volume"]})
    assert change(parse("$amount / TS_MEAN($amount, 10)"), panel) is None
    assert change(parse("$amount / ($close * $volume)"), panel) is None
    reason = change(parse("RANK($amount / $close)"), panel)
    assert reason is not None
    assert "volumes" in reason


def test_a_short_panel_is_enough() -> None:
    """Where the lookback fills the panel what is defined is compared."""
    assert change(parse("RANK($close)"), PANEL.rows(0, 5)) is not None
    assert change(parse("$close / DELAY($close, 3)"), PANEL.rows(0, 5)) is None


def test_real_bars_with_gaps_change_nothing(shared_data: Path) -> None:
    """Missing bars, halts and ticks of real prices make no factor look as if it had a scale."""
    bars = pd.read_parquet(
        shared_data / "us_2010_2022.parquet", filters=[("date", "<=", pd.Timestamp("2010-07-01"))]
    )
    wide = {name: bars.pivot(index="date", columns="symbol", values=name) for name in BASE_FIELDS}
    known = np.isfinite(wide["close"].to_numpy(np.float64))
    panel = Panel(
        sessions=pd.to_datetime(wide["close"].index).to_numpy().astype("datetime64[D]"),
        assets=tuple(map(str, wide["close"].columns)),
        fields={name: table.to_numpy(np.float64) for name, table in wide.items()},
        universe=known,
    )
    rng = np.random.default_rng(3)
    for _ in range(40):
        expression = sample(RATIO, 3, WORDS, rng)
        assert change(expression, panel) is None, expression
    assert change(parse("RANK($close)"), panel) is not None
