"""On real bars: every operator and every formula of the zoo against the reference.

A cell is off where it differs by more than 1e-5 (relative). None may be, but in the documented tie
case: where rounding decides a comparison, at the edge of a bin of 20 significant bits or between
nothing and what rounding leaves of it. Such cells are found by moving the intermediate values of
the reference by 1e-12 of themselves, and their share is bounded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from miner.zoo import ZOOS, zoo
from signals.evaluate import Evaluator
from signals.expression import Call, Expression, lookback
from signals.panel import FloatArray, Panel
from tests.signals.reference import Reference, agree, sample_calls, unexplained

N_ASSETS, N_SESSIONS = 100, 400

#: File, first day: CN in the year of its mass suspensions, US at its beginning.
MARKETS = {
    "cn": ("cn_2013_2019.parquet", "2015-01-01"),
    "us": ("us_2010_2022.parquet", "2010-01-04"),
}


def real_panel(folder: Path, market: str) -> Panel:
    """Return the bars of a few assets that list, halt and leave as they did; nothing is filled."""
    name, start = MARKETS[market]
    first = pd.Timestamp(start).date()
    last = (pd.Timestamp(start) + pd.Timedelta(days=2 * N_SESSIONS)).date()
    bars = pd.read_parquet(folder / name, filters=[("date", ">=", first), ("date", "<=", last)])
    n_bars = bars.groupby("symbol").size().sort_values(kind="stable")
    n_bars = n_bars[n_bars > N_SESSIONS // 8]
    gappy, others = n_bars.index[: N_ASSETS // 4], n_bars.index[N_ASSETS // 4 :]
    n_others = N_ASSETS - len(gappy)
    chosen = sorted([*gappy, *others[:: len(others) // n_others][:n_others]])
    bars = bars[bars["symbol"].isin(chosen)]

    def field(column: str) -> FloatArray:
        table = bars.pivot_table(index="date", columns="symbol", values=column)
        values: FloatArray = table.reindex(columns=chosen).to_numpy(np.float64)[:N_SESSIONS]
        return values

    sessions = np.sort(bars["date"].unique())[:N_SESSIONS].astype("datetime64[D]")
    fields = {name: field(name) for name in ("open", "high", "low", "close", "volume")}
    universe = np.isfinite(fields["close"])
    if "amount" in bars:
        fields["amount"] = field("amount")
        universe &= field("tradestatus") == 1.0
    groups = np.array([float(ord(symbol[0]) % 4) for symbol in chosen])
    groups += np.array([ord(symbol[-1]) % 3 for symbol in chosen])
    fields["sector"] = np.tile(groups, (len(sessions), 1))
    return Panel(sessions, tuple(chosen), fields, universe)


@pytest.fixture(scope="module", params=MARKETS)
def panel(request: pytest.FixtureRequest, shared_data: Path) -> Panel:
    return real_panel(shared_data, request.param)


def off(expression: Expression, values: FloatArray, judge: Reference, panel: Panel) -> float:
    """Return the share of cells that rounding decides otherwise; any other difference fails."""
    wrong = ~agree(values, judge(expression), rtol=1e-5)
    assert unexplained(wrong, expression, panel) == 0, str(expression)
    return float(wrong.mean())


def test_panels_are_what_tests_need(panel: Panel) -> None:
    """The slices hold gaps, late listings and sessions without trade."""
    close, volume = panel.fields["close"], panel.fields["volume"]
    assert close.shape == (N_SESSIONS, N_ASSETS)
    assert 0.005 < np.isnan(close).mean() < 0.4
    assert 0.6 < panel.universe.mean() < 0.99
    assert np.isnan(close[0]).any()
    if "amount" in panel.fields:
        assert (volume == 0).mean() > 0.02


@pytest.mark.parametrize("window", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 30))])
def test_operators(panel: Panel, window: int) -> None:
    """Every operator: no cell is off."""
    calls: list[Call] = sample_calls(window)
    judge = Reference(panel)
    shares = {
        str(call): off(call, values, judge, panel)
        for call, values in zip(calls, Evaluator(panel, threads=2).evaluate(calls), strict=True)
    }
    assert {text: share for text, share in shares.items() if share} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOOS)
def test_zoo(panel: Panel, name: str) -> None:
    """Every formula of the zoo: no cell is off but where rounding decides, and those are few."""
    entries = zoo(name)
    evaluator = Evaluator(panel, threads=2)
    judge = Reference(panel)
    shares: dict[str, float] = {}
    for first in range(0, len(entries), 40):
        part = entries[first : first + 40]
        results = evaluator.evaluate([entry.expression for entry in part])
        for entry, values in zip(part, results, strict=True):
            shares[entry.name] = off(entry.expression, values, judge, panel)
        judge.forget()
    assert len(shares) == len(entries) > 50
    assert np.mean(list(shares.values())) < 1e-4


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_today_from_the_lookback_alone(panel: Panel, dtype: type) -> None:
    """Every operator and formula: today's row, from its lookback alone, is that of the batch.

    Nothing after today is there either, so that none of them can have seen it.
    """
    batch: list[Expression] = [entry.expression for name in ZOOS for entry in zoo(name)]
    batch += [*sample_calls(5), *sample_calls(30)]
    whole = Evaluator(panel, dtype=dtype, threads=2).evaluate(batch)
    behind = max(map(lookback, batch))
    for today in (behind, N_SESSIONS - 60, N_SESSIONS - 1):
        start = today - behind
        tail = Evaluator(panel.rows(start, today + 1), dtype=dtype)
        for expression, expected in zip(batch, whole, strict=True):
            row = tail.evaluate([expression], first=behind)[0][0]
            assert np.array_equal(row, expected[today], equal_nan=True), str(expression)
