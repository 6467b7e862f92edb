"""A portfolio of the best scores: beside a plain bookkeeping of the same rule, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.errors import DataError
from signals.panel import BoolArray, FloatArray
from signals.performance import QLIB_YEAR, USUAL_YEAR, performance
from signals.portfolio import Account, PortfolioRule, capacity, simulate

FREE = PortfolioRule(top_k=1, drop=1, buy_cost_bps=0.0, sell_cost_bps=0.0, min_cost=0.0)


def reference(
    score: FloatArray, price: FloatArray, rule: PortfolioRule, up: BoolArray, down: BoolArray
) -> FloatArray:
    """Return the value at each close, kept in pandas by the words of the rule."""
    scores, prices = pd.DataFrame(score), pd.DataFrame(price)
    cash, held, last, values = rule.capital, pd.Series(dtype=float), pd.Series(dtype=float), []
    for row in range(len(prices)):
        now = prices.loc[row].dropna()
        last = now.combine_first(last)
        known = scores.loc[row - rule.lag].dropna() if row >= rule.lag else pd.Series(dtype=float)
        if len(known):
            ranked = known.sort_values(ascending=False, kind="stable")
            mine = known.reindex(held.index)
            others = ranked[~ranked.index.isin(held.index)].head(rule.drop + rule.top_k - len(held))
            both = pd.concat([mine, others]).sort_index()
            both = both.sort_values(ascending=False, kind="stable", na_position="last")
            leaving = [a for a in both.tail(rule.drop).index if a in held.index]
            joining = others.index[: max(len(leaving) + rule.top_k - len(held), 0)]
            for asset in leaving if rule.drop else []:
                if asset in now and not down[row, asset]:
                    value = held.pop(asset) * now[asset]
                    cash += value - max(value * rule.sell_cost_bps / 1e4, rule.min_cost)
            budget = cash * rule.invested / max(len(joining), 1)
            for asset in joining:
                if asset in now and not up[row, asset]:
                    cost = max(budget * rule.buy_cost_bps / 1e4, rule.min_cost)
                    held[asset] = budget / now[asset]
                    cash -= budget + cost
        values.append(cash + float((held * last.reindex(held.index)).sum()))
    return np.array(values)


@st.composite
def markets(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, BoolArray, BoolArray]:
    """Draw scores with ties and gaps, prices with gaps, and closes at a limit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 12)))
    price = 10.0 * np.exp(rng.normal(0.0, 0.03, shape).cumsum(axis=0))
    price[rng.random(shape) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    score = rng.normal(size=shape).round(draw(st.sampled_from([0, 6])))
    score[rng.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = np.nan
    up, down = rng.random((2, *shape)) < draw(st.sampled_from([0.0, 0.1]))
    return score, price, up, down


@given(markets(), st.integers(1, 6), st.integers(0, 3), st.integers(0, 2))
def test_it_is_the_rule_in_plain_words(market: Any, top_k: int, drop: int, lag: int) -> None:
    """Values agree with a bookkeeping in pandas to 1e-12 a session: gaps, ties, limits, costs."""
    rule = PortfolioRule(top_k=top_k, drop=min(drop, top_k), lag=lag)
    score, price, up, down = market
    account = simulate(score, price, rule, unbuyable=up, unsellable=down)
    np.testing.assert_allclose(account.value, reference(score, price, rule, up, down), rtol=1e-12)


@given(markets())
def test_nothing_is_made_and_nothing_is_lost(market: Any) -> None:
    """Value is cash and positions; what the trades cost is what is missing; net returns chain."""
    score, price, up, down = market
    rule = PortfolioRule(top_k=3, drop=2, settle_after=5)
    account = simulate(score, price, rule, unbuyable=up, unsellable=down)
    assert account.cash.min() >= 0.0
    assert account.n_held.max() <= rule.top_k + rule.drop  # what cannot be sold is kept beside
    grown = rule.capital * np.cumprod(1.0 + account.net)
    np.testing.assert_allclose(grown, account.value, rtol=1e-10)
    trades = account.trades
    before = np.concatenate([[rule.capital], account.value[:-1]])
    spent = np.bincount(trades.session, trades.cost, minlength=len(before)) / before
    np.testing.assert_allclose(spent, account.cost, rtol=1e-10, atol=1e-15)
    left = rule.capital - np.sum(trades.amount * trades.price) - trades.cost.sum()
    np.testing.assert_allclose(left, account.cash[-1], rtol=1e-9)


def test_a_score_is_traded_at_the_next_close() -> None:
    """The score of session 0 is bought at the close of session 1 and earns from then on."""
    score = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    price = np.array([[10.0, 10.0], [20.0, 10.0], [40.0, 10.0]])
    account = simulate(score, price, PortfolioRule(1, 1, 1, 0.0, 0.0, 0.0, 100.0, invested=1.0))
    assert account.value.tolist() == [100.0, 100.0, 200.0]
    assert account.trades.session.tolist() == [1, 2, 2]
    assert account.trades.amount.tolist() == [5.0, -5.0, 20.0]
    assert account.turnover.tolist() == [0.0, 1.0, 4.0]


def test_rows_after_today_change_nothing_before() -> None:
    """Truncated to any session, the account is the same up to it."""
    rng = np.random.default_rng(3)
    price = 10.0 * np.exp(rng.normal(0.0, 0.02, (60, 20)).cumsum(axis=0))
    score = rng.normal(size=price.shape)
    rule = PortfolioRule(top_k=5, drop=2)
    whole = simulate(score, price, rule)
    for stop in (1, 17, 40):
        part = simulate(score[:stop], price[:stop], rule)
        assert part.value.tolist() == whole.value[:stop].tolist()


def test_what_cannot_be_traded_is_kept_or_left_out() -> None:
    """A close at its upper limit is not bought at, one at its lower limit not sold at."""
    score, price = np.array([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2), np.full((4, 2), 10.0)
    closed = np.zeros((4, 2), dtype=bool)
    closed[1, 0] = True
    late = simulate(score, price, FREE, unbuyable=closed)
    assert late.trades.session.tolist()[0] == 2
    stuck = np.zeros((4, 2), dtype=bool)
    stuck[3, 0] = True
    kept = simulate(score, price, FREE, unsellable=stuck)
    assert (kept.trades.amount > 0.0).all()


def test_an_asset_that_is_gone_is_paid_out() -> None:
    """After so many sessions without a bar, at the last price less the cost of a sale."""
    score = np.array([[1.0], *([[np.nan]] * 5)])
    price = np.array([[10.0], [10.0], [12.0], [np.nan], [np.nan], [np.nan]])
    rule = PortfolioRule(1, 1, 1, 0.0, 100.0, 0.0, 100.0, 1.0, settle_after=2)
    account = simulate(score, price, rule)
    assert account.n_held.tolist() == [0, 1, 1, 1, 0, 0]
    assert account.value[-1] == pytest.approx(120.0 * 0.99)
    assert simulate(score, price, PortfolioRule(1, 1)).n_held[-1] == 1


def test_small_trades_cost_the_least() -> None:
    """Below the least cost the share does not count."""
    rule = PortfolioRule(1, 1, 0, 5.0, 15.0, min_cost=5.0, capital=1000.0)
    account = simulate(np.ones((1, 1)), np.ones((1, 1)), rule)
    assert account.trades.cost.tolist() == [5.0]


@pytest.mark.parametrize("change", [{"top_k": 0}, {"drop": 51}, {"drop": -1}, {"lag": -1}])
def test_a_rule_without_sense_is_refused(change: dict[str, int]) -> None:
    """Nothing to hold, more changes than places, or a trade before the score is known."""
    with pytest.raises(DataError, match="top_k"):
        PortfolioRule(**change)


def test_bad_arrays_are_refused() -> None:
    """Shapes that differ, and a price of zero, are told as such."""
    with pytest.raises(DataError, match="beside prices"):
        simulate(np.ones((2, 3)), np.ones((3, 2)), FREE)
    with pytest.raises(DataError, match="not above zero"):
        simulate(np.ones((1, 1)), np.zeros((1, 1)), FREE)


def test_capacity_is_the_capital_whose_trades_stay_small() -> None:
    """One trade of 95 % of 100 in a market of 1,900 is 5 % of it: 100 fills its part."""
    rule = PortfolioRule(1, 1, 0, 0.0, 0.0, 0.0, 100.0)
    account: Account = simulate(np.ones((1, 1)), np.ones((1, 1)), rule)
    assert capacity(account, np.full((1, 1), 1900.0), rule) == pytest.approx(100.0)
    assert np.isnan(capacity(simulate(np.full((1, 1), np.nan), np.ones((1, 1)), rule),
                             np.ones((1, 1)), rule))  # fmt: skip


@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=50), st.sampled_from([238, 252]))
def test_figures_are_those_of_qlib(returns: list[float], year: int) -> None:
    """Mean, deviation and drawdown by the formulas of `risk_analysis`, written in pandas."""
    series = pd.Series(returns)
    found = performance(series.to_numpy(), year=year)
    assert found.annual_return == pytest.approx(series.mean() * year)
    assert found.volatility == pytest.approx(series.std(ddof=1) * year**0.5)
    fall = (series.cumsum() - series.cumsum().cummax()).min()
    assert found.max_drawdown == pytest.approx(fall, abs=1e-12)
    if series.std(ddof=1) > 1e-9:
        ratio = series.mean() / series.std(ddof=1) * year**0.5
        assert found.information_ratio == pytest.approx(ratio)


def test_figures_leave_out_what_is_not_defined() -> None:
    """A NaN is no return; one return has no deviation; both years are known."""
    assert performance(np.array([0.01, np.nan, 0.02])).n_sessions == 2
    assert np.isnan(performance(np.array([0.01])).information_ratio)
    assert np.isnan(performance(np.array([0.25, 0.25, 0.25])).information_ratio)
    assert (QLIB_YEAR, USUAL_YEAR) == (238, 252)
