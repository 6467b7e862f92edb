from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.restatement import Restatement, Rounding, compare, counts
from storage.assembly import assemble
from storage.bars import BAR_SCHEMA
from tests.daemon.traded import RandomMarket, changed, day, traded

Event = tuple[int, int]
RATIOS = [1.5, 2.0, 3.0, 4.0, 10.0, 0.1, 0.125]


def told(market: RandomMarket, stop: int, unknown: Collection[Event] = ()) -> Any:
    """Return the sessions before `stop` as a feed makes them of Yahoo's answers.

    Yahoo tells prices divided by all later splits it knows of, as float32, and volumes multiplied
    by them, as whole numbers; the feed brings them back. Of `unknown` events nothing is told.
    """
    split, adjustment, dividend = (
        np.copy(one) for one in (market.split, market.adjustment, market.dividend)
    )
    for at in unknown:
        split[at], adjustment[at], dividend[at] = 1.0, 1.0, 0.0
    later = (np.cumprod(split[::-1], axis=0)[::-1] / split)[:stop].ravel()
    table = market.table(stop)
    columns = {
        name: (table[name].to_numpy() / later).astype(np.float32).astype(float) * later
        for name in ("open", "high", "low", "close")
    }
    columns["volume"] = np.round(table["volume"].to_numpy() * later) / later
    return changed(
        table,
        **columns,
        split=split[:stop].ravel(),
        adjustment=adjustment[:stop].ravel(),
        dividend=dividend[:stop].ravel(),
    )


def on_another_basis(table: Any, event: Event, price: float, shares: float) -> Any:
    """Return bars of which an asset's prices and volumes before an event are told rebased."""
    session, asset = event
    before = pc.and_(
        pc.less(table["session"], pa.scalar(day(session))), pc.equal(table["asset"], f"A{asset}")
    )
    columns = {
        name: pc.if_else(before, pc.divide(table[name], price), table[name])
        for name in ("open", "high", "low", "close")
    }
    volume = pc.if_else(before, pc.multiply(table["volume"], shares), table["volume"])
    return changed(table, volume=volume, **columns)


def returns(stored: Any, *later: Restatement) -> Any:
    """Return the adjusted returns a panel of the stored bars and restatements gives."""
    vintages = enumerate([stored, *(one.table for one in later)], start=1)
    close = assemble(list(vintages)).values[:, 3]
    return close[1:] / close[:-1] - 1.0


def only(found: tuple[Restatement, ...]) -> Restatement:
    (one,) = found
    assert one.table.schema.equals(BAR_SCHEMA)
    return one


def keys(table: Any) -> list[tuple[Any, str]]:
    return list(zip(table["session"].to_pylist(), table["asset"].to_pylist(), strict=True))


place = st.tuples(st.integers(1, 19), st.integers(0, 3))
splits = st.tuples(st.sampled_from(RATIOS), st.sampled_from([0.0, 0.02]))
dividends = st.tuples(st.just(1.0), st.floats(0.002, 0.4))
markets = st.dictionaries(place, st.one_of(splits, dividends), max_size=6)


@given(seed=st.integers(0, 10**6), events=markets)
def test_what_was_stored_is_told_again_whatever_happened_since(seed: int, events: Any) -> None:
    """Splits and dividends after the last stored session restate nothing: bars are as traded."""
    market = RandomMarket(seed, events)
    later = [at for at in events if at[0] >= 12]
    assert compare(told(market, 12, later), told(market, 20)) == ()


@given(seed=st.integers(0, 10**6), events=markets, at=place, event=st.one_of(splits, dividends))
def test_event_that_comes_late_is_one_restatement(
    seed: int, events: Any, at: Event, event: tuple[float, float]
) -> None:
    """A split or dividend told late is one row with its cause, and then returns are true."""
    market = RandomMarket(seed, {**events, at: event})
    stored = told(market, 20, [at])
    one = only(compare(stored, told(market, 20)))
    assert one.cause == ("dividend" if event[0] == 1.0 else "split")
    assert keys(one.table) == [(day(at[0]), f"A{at[1]}")]
    (change,) = one.changes
    assert (change.asset, change.first, change.n_bars) == (f"A{at[1]}", day(at[0]), 1)
    assert change.factor == pytest.approx(market.adjustment[at])
    assert np.allclose(returns(stored, one), market.returns[1:], atol=1e-5)


@given(seed=st.integers(0, 10**6), at=place, ratio=st.sampled_from(RATIOS))
def test_history_on_another_basis_is_a_split(seed: int, at: Event, ratio: float) -> None:
    """A history divided by a split that is not told stays as traded, and the split is put in."""
    market = RandomMarket(seed, {at: (ratio, 0.0)})
    stored = told(market, 20, [at])
    one = only(compare(stored, on_another_basis(stored, at, ratio, ratio)))
    assert one.cause == "split"
    assert keys(one.table) == [(day(at[0]), f"A{at[1]}")]
    assert one.table["split"].to_pylist() == [ratio]
    assert np.allclose(returns(stored, one), market.returns[1:], atol=1e-5)


@given(seed=st.integers(0, 10**6), ratio=st.sampled_from(RATIOS))
def test_basis_of_an_event_after_the_last_session(seed: int, ratio: float) -> None:
    """When the whole overlap is divided, the split is to come: it is told, nothing is written."""
    stored = told(RandomMarket(seed, {}), 20)
    one = only(compare(stored, on_another_basis(stored, (20, 1), ratio, ratio)))
    assert (one.cause, one.table.num_rows) == ("split", 0)
    (change,) = one.changes
    assert (change.asset, change.first, change.last) == ("A1", day(0), day(19))
    assert (change.n_bars, change.factor) == (0, ratio)


@given(
    seed=st.integers(0, 10**6),
    at=st.tuples(st.integers(3, 19), st.integers(0, 3)),
    share=st.floats(0.002, 0.4),
)
def test_history_adjusted_by_a_dividend_is_a_dividend(seed: int, at: Event, share: float) -> None:
    """A history that a dividend has lowered stays as traded, and the dividend is put in."""
    market = RandomMarket(seed, {at: (1.0, share)})
    stored = told(market, 20, [at])
    one = only(compare(stored, on_another_basis(stored, at, 1.0 / (1.0 - share), 1.0)))
    assert one.cause == "dividend"
    assert keys(one.table) == [(day(at[0]), f"A{at[1]}")]
    assert one.table["dividend"].to_pylist() == [pytest.approx(market.dividend[at], rel=1e-3)]
    assert np.allclose(returns(stored, one), market.returns[1:], atol=1e-5)


def test_split_and_dividend_told_only_by_the_basis() -> None:
    """A history on the basis of a split and of a later dividend gets both events."""
    market = RandomMarket(3, {(8, 2): (4.0, 0.0), (14, 2): (1.0, 0.05)})
    stored = told(market, 20, [(8, 2), (14, 2)])
    fetched = on_another_basis(stored, (8, 2), 4.0, 4.0)
    found = compare(stored, on_another_basis(fetched, (14, 2), 1.0 / 0.95, 1.0))
    assert counts(found) == {"split": 1, "dividend": 1}
    assert np.allclose(returns(stored, *found), market.returns[1:], atol=1e-5)


@given(
    seed=st.integers(0, 10**6),
    rows=st.sets(st.integers(0, 79), min_size=1, max_size=5),
    column=st.sampled_from(["open", "close", "volume"]),
)
def test_single_bars_that_differ_are_corrections(seed: int, rows: set[int], column: str) -> None:
    """Bars of which a price or the volume differs are corrections, those and no other."""
    stored = told(RandomMarket(seed, {}), 20)
    values = stored[column].to_numpy().copy()
    values[sorted(rows)] *= 1.0 + 0.001 * np.arange(1, len(rows) + 1)
    fetched = changed(stored, **{column: values})
    one = only(compare(stored, fetched))
    assert one.cause == "correction"
    assert one.table.equals(fetched.take(sorted(rows)))
    assert {change.factor for change in one.changes} == {1.0}


@pytest.mark.parametrize("columns", [("open", "high", "low", "close"), ("volume",)])
def test_asset_that_is_another_is_unknown(columns: tuple[str, ...]) -> None:
    """When everything of an asset differs by no rule, the cause is unknown; others are apart."""
    stored = told(RandomMarket(5, {}), 20)
    other = told(RandomMarket(6, {}), 20)
    mine = pc.equal(stored["asset"], "A1")
    fetched = changed(
        stored, **{name: pc.if_else(mine, other[name], stored[name]) for name in columns}
    )
    one = only(compare(stored, fetched))
    assert (one.cause, one.table.num_rows) == ("unknown", 20)
    assert [change.asset for change in one.changes] == ["A1"]


@pytest.mark.parametrize(("price", "shares"), [(0.01, 1.0), (1.0, 0.01), (4.0, 1.0), (2.0, 3.0)])
def test_other_units_are_no_event(price: float, shares: float) -> None:
    """Prices × 100, volumes in lots, and prices quartered without their volumes are unknown."""
    stored = told(RandomMarket(5, {}), 20)
    one = only(compare(stored, on_another_basis(stored, (20, 1), price, shares)))
    assert (one.cause, one.table.num_rows) == ("unknown", 20)


def test_differences_within_the_rounding_are_none() -> None:
    """What the payload rounds away is no restatement; a coarser rounding is for the caller."""
    stored = traded({"A": [10.0, 10.01]})
    fetched = traded({"A": [10.0, 10.02]})
    assert compare(stored, traded({"A": [10.0, 10.01 * (1 + 9e-6)]})) == ()
    assert counts(compare(stored, fetched)) == {"correction": 1}
    assert compare(stored, fetched, rounding=Rounding(price=2e-3)) == ()


def test_bar_that_was_missing_is_a_correction() -> None:
    """A bar that is told late is written; one that is not told any more stays as it was."""
    stored = traded({"A": [10.0, None, 10.2], "B": [5.0, 5.0, 5.0]})
    fetched = traded({"A": [None, 10.1, 10.2], "B": [5.0, 5.0, 5.0]})
    one = only(compare(stored, fetched))
    assert (one.cause, keys(one.table)) == ("correction", [(day(1), "A")])


def test_other_assets_and_sessions_are_left_alone() -> None:
    """Sessions after the stored ones and assets that were not stored are no restatement."""
    stored = traded({"A": [10.0, 10.1]})
    fetched = traded({"A": [10.0, 10.1, 10.2], "B": [1.0, 1.0, 1.0]})
    assert compare(stored, fetched) == ()
    assert compare(stored.slice(0, 0), fetched) == compare(stored, fetched.slice(0, 0)) == ()


def test_suspension_told_afterwards() -> None:
    """A stored bar told to be suspended is unknown; a suspended one that trades, a correction."""
    bars = traded({"A": [10.0], "B": [5.0]})
    halted = changed(bars, suspended=[True, False])
    assert [one.cause for one in compare(bars, halted)] == ["unknown"]
    assert [one.cause for one in compare(halted, bars)] == ["correction"]


def test_flags_and_amounts() -> None:
    """A flag that changes is a correction; an amount that is not told any more stays."""
    stored = changed(traded({"A": [10.0], "B": [5.0]}), amount=[5000.0, 100.0])
    fetched = changed(stored, st=[True, False], amount=[None, 100.0])
    one = only(compare(stored, fetched))
    assert one.cause == "correction"
    assert one.table["st"].to_pylist() == [True]
    assert one.table["amount"].to_pylist() == [5000.0]
