from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.plausibility import (
    JUMPED,
    LIMIT_JUMP,
    REPEATED,
    SCALED,
    SILENT,
    UNIT,
    Followed,
    Limits,
    check_following,
)
from signals.errors import BarsError
from tests.daemon.traded import RandomMarket, changed, day, traded


def follow(table: Any, before: Any = None, **options: Any) -> Followed:
    return check_following(table, before=before, **{"limits": Limits(broken=1.0), **options})


def refusal(table: Any, before: Any = None, **options: Any) -> BarsError:
    with pytest.raises(BarsError) as caught:
        follow(table, before, **{"limits": Limits(), **options})
    assert caught.value.rule
    assert caught.value.hint
    return caught.value


def held(followed: Followed) -> list[tuple[str, date, str]]:
    return [(row.asset, row.session, row.rule) for row in followed.quarantined]


def test_prices_that_follow_are_kept() -> None:
    """Ordinary moves, with stored bars before them and without, are kept and set nothing aside."""
    table = traded({"A": [10.0, 11.0, 9.0], "B": [5.0, None, 5.5]}, first=1)
    for before in (None, traded({"A": [10.5], "C": [1.0]})):
        followed = follow(table, before)
        assert followed.quarantined == ()
        assert followed.kept.all()
    assert followed.anchored.tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("close", [15.1, 6.6])
def test_jump_without_event_is_set_aside(close: float) -> None:
    """More than 50 % up or a third down since the stored close, without an event, is set aside."""
    followed = follow(traded({"A": [close], "B": [5.0]}, first=1), traded({"A": [10.0]}))
    assert held(followed) == [("A", day(1), JUMPED)]
    assert followed.kept.tolist() == [False, True]


@pytest.mark.parametrize(
    ("close", "split", "adjustment"), [(5.2, 2.0, 2.0), (98.0, 0.1, 0.1), (6.1, 1.0, 1.6)]
)
def test_event_explains_a_jump(close: float, split: float, adjustment: float) -> None:
    """A split, a reverse split and a large dividend explain what the price does."""
    at = ("A", 1)
    table = traded({"A": [close]}, 1, split={at: split}, adjustment={at: adjustment})
    assert follow(table, traded({"A": [10.0]})).quarantined == ()


@pytest.mark.parametrize(("split", "adjustment"), [(2.0, 2.0), (0.5, 0.5), (2.0, 1.0), (1.0, 1.5)])
def test_event_that_the_price_does_not_show_is_set_aside(split: float, adjustment: float) -> None:
    """A factor without the price's move is set aside, of shares and of price alike."""
    at = ("A", 1)
    table = traded({"A": [10.1]}, 1, split={at: split}, adjustment={at: adjustment})
    assert held(follow(table, traded({"A": [10.0]}))) == [("A", day(1), SILENT)]


@pytest.mark.parametrize("close", [1010.0, 0.099])
def test_price_in_another_unit_is_named_as_that(close: float) -> None:
    """100 times the last close, or a hundredth, is told apart from a jump."""
    table = traded({"A": [close]}, first=1)
    assert held(follow(table, traded({"A": [10.0]}))) == [("A", day(1), SCALED)]


def test_false_price_costs_one_row() -> None:
    """After a single false price the next true one is kept: it follows the last kept row."""
    table = traded({"A": [10.0, 30.0, 10.2, 10.3]})
    assert held(follow(table)) == [("A", day(1), JUMPED)]


def test_price_on_another_level_is_held_until_confirmed() -> None:
    """A price that stays elsewhere is held for as long as it does, and freed by a confirmation."""
    table = traded({"A": [10.0, 30.0, 31.0, 32.0]})
    assert [session for _, session, _ in held(follow(table))] == [day(1), day(2), day(3)]
    assert follow(table, confirmed=[("A", day(1)), ("Z", day(1))]).quarantined == ()


@pytest.mark.parametrize("volume", [1e8, 1e4])
def test_volume_in_another_unit_is_set_aside_where_no_amount_tells(volume: float) -> None:
    """One row 100 times its usual volume, or a hundredth, costs that row and no other."""
    usual = [1e6 + number for number in range(16)]
    before = traded({"A": [10.0] * 8, "B": [5.0] * 8})
    before = changed(before, volume=usual, amount=[float("nan")] * 16)
    batch = traded({"A": [10.0, 10.1], "B": [5.0, 5.1]}, first=8)
    batch = changed(batch, volume=[volume, 1.1e6, 1.2e6, 1.3e6], amount=[float("nan")] * 4)
    assert held(follow(batch, before)) == [("A", day(8), UNIT)]
    vouched = follow(batch, before, confirmed=[("A", day(8))])
    assert vouched.quarantined == ()


def test_price_limits_of_a_market_and_of_an_asset() -> None:
    """Under a limit of 10 % a fall of 10.5 % is kept, one of 12 % is not, unless it is allowed."""
    before = traded({"A": [10.0], "B": [10.0], "C": [10.0]})
    table = traded({"A": [8.95], "B": [8.8], "C": [8.8]}, first=1)
    limits = Limits(LIMIT_JUMP, jumps={"C": 0.3, "Z": 0.1})
    assert held(follow(table, before, limits=limits)) == [("B", day(1), JUMPED)]


def test_event_of_a_suspended_session_counts() -> None:
    """A split while an asset does not trade explains the price at which it comes back."""
    at = ("A", 1)
    two = {at: 2.0}
    closes = {"A": [10.0, 10.0, 5.1]}
    table = traded(closes, suspended={at: True}, split=two, adjustment=two)
    assert follow(table).quarantined == ()


def test_market_on_another_level_is_refused() -> None:
    """When more assets jump than the budget allows, the batch is refused and nothing is held."""
    before = traded({f"A{n:03}": [10.0] for n in range(100)})
    table = traded({f"A{n:03}": [1000.0 if n < 11 else 10.0] for n in range(100)}, first=1)
    assert "11 of 100 bars of 2024-01-02" in refusal(table, before).fact
    assert len(follow(table, before, limits=Limits(broken=0.11)).quarantined) == 11


def test_assets_held_already_are_outside_the_budget() -> None:
    """Assets whose last stored bar is older than the session before do not use up the budget."""
    names = [f"A{n:03}" for n in range(100)]
    before = traded({name: [10.0, None if n < 5 else 10.0] for n, name in enumerate(names)})
    table = traded({name: [30.0 if n < 5 else 10.0] for n, name in enumerate(names)}, first=2)
    assert len(follow(table, before, limits=Limits(broken=0.01)).quarantined) == 5


def test_session_that_repeats_the_one_before_is_refused() -> None:
    """Bars of the session before under a new date are stale: refused, to be asked for again."""
    closes = {f"A{n:03}": [10.0 + n] for n in range(40)}
    before = traded(closes)
    stale = changed(before, session=[day(1)] * 40)
    error = refusal(stale, before)
    assert "100% of the bars of 2024-01-02 repeat" in error.fact
    assert error.retryable
    two = pa.concat_tables([stale.slice(0, 2), traded(closes, first=1).slice(2)])
    followed = follow(two, before)
    assert followed.repeated == {day(1): 0.05}
    assert held(followed) == [("A000", day(1), REPEATED), ("A001", day(1), REPEATED)]


def test_one_asset_that_repeats_its_last_bar_is_set_aside() -> None:
    """Where a source tells the last bar under a new date, however often, it costs that asset."""
    before = traded({"A": [10.0], "B": [5.0]})
    again = [
        changed(before.filter(pc.equal(before["asset"], "A")), session=[day(n)]) for n in (1, 2)
    ]
    batch = pa.concat_tables([*again, traded({"B": [5.0]}, first=1)])
    few = Limits(repeated=1.0)
    found = held(follow(batch, before, limits=few))
    assert found == [("A", day(1), REPEATED), ("A", day(2), REPEATED)]


def test_volume_of_a_session_is_told_in_multiples_of_the_usual() -> None:
    """The median over assets of volume over that of the sessions before; few rows tell none."""
    names = [f"A{number:02}" for number in range(12)]
    before = traded({name: [10.0 + n for n in range(8)] for name in names})
    before = changed(before, volume=[1000.0] * before.num_rows)
    batch = traded({name: [18.0] for name in names}, first=8)
    batch = changed(batch, volume=[400.0] * 11 + [4000.0])
    assert follow(batch, before).volumes == pytest.approx({day(8): 0.4})
    assert follow(batch.slice(0, 5), before).volumes == {}


def test_repetition_is_found_though_the_prices_are_scaled() -> None:
    """Yesterday's bars at half the price with the same volumes are yesterday's bars."""
    before = traded({f"A{n:03}": [10.0 + n] for n in range(40)})
    prices = {name: pc.divide(before[name], 0.8) for name in ("open", "high", "low", "close")}
    stale = changed(before, session=[day(1)] * 40, **prices)
    assert "repeat" in refusal(stale, before).fact


def test_market_that_does_not_move_like_its_index_is_refused() -> None:
    """A median return far from the index's is refused; sessions without an index return pass."""
    before = traded({f"A{n:03}": [10.0] for n in range(40)})
    table = traded({f"A{n:03}": [11.0] for n in range(40)}, first=1)
    error = refusal(table, before, index_returns={day(1): 0.01})
    assert "median return of 2024-01-02 is 10.00%, the index's 1.00%" in error.fact
    for index in ({day(1): 0.08}, {day(0): 0.5}):
        assert follow(table, before, index_returns=index).quarantined == ()


def test_volumes_in_another_unit_are_refused() -> None:
    """Without amounts, volumes a hundred times the last ones for the market are refused."""
    before = traded({f"A{n:03}": [10.0] for n in range(40)})
    table = traded({f"A{n:03}": [10.1] for n in range(40)}, first=1)
    assert follow(table, before).quarantined == ()
    lots = changed(table, volume=pc.divide(table["volume"], 100.0))
    assert "volumes of 2024-01-02 are 0.0102 times" in refusal(lots, before).fact
    assert follow(changed(lots, amount=[5.0] * 40), before).quarantined == ()


def test_no_rows_and_other_orders() -> None:
    """An empty batch passes, and the order of rows changes nothing but the order of the report."""
    table = traded({"A": [10.0, 30.0, 10.0], "B": [7.0, 7.1, 0.07]})
    assert follow(table.slice(0, 0), table).quarantined == ()
    shuffled = follow(table.take([5, 2, 0, 4, 1, 3]))
    assert sorted(held(shuffled)) == sorted(held(follow(table)))


events = st.dictionaries(
    st.tuples(st.integers(1, 19), st.integers(0, 3)),
    st.tuples(st.sampled_from([1.0, 1.5, 2.0, 4.0, 0.1, 20.0]), st.sampled_from([0.0, 0.01, 0.3])),
    max_size=8,
)


@given(seed=st.integers(0, 10**6), events=events)
def test_nothing_of_an_honest_market_is_set_aside(seed: int, events: dict[Any, Any]) -> None:
    """Whatever splits and dividends there are, told as they were: every row is kept."""
    assert follow(RandomMarket(seed, events).table()).quarantined == ()


@given(
    seed=st.integers(0, 10**6),
    events=events,
    errors=st.dictionaries(
        st.tuples(st.integers(1, 19), st.integers(0, 3)),
        st.sampled_from([0.01, 0.25, 0.5, 2.0, 3.0, 100.0]),
        max_size=10,
    ),
    lost=st.sets(st.integers(0, 79), max_size=20),
)
def test_many_sessions_at_once_are_judged_as_one_by_one(
    seed: int, events: dict[Any, Any], errors: dict[Any, float], lost: set[int]
) -> None:
    """A batch sets aside what its sessions would one after the other, beside what was kept."""
    market = RandomMarket(seed, events)
    for (session, asset), factor in errors.items():
        market.close[session, asset] *= factor
    table = market.table()
    table = table.take(pa.array([row for row in range(80) if row not in lost]))
    at_once = held(follow(table))
    kept, one_by_one = table.slice(0, 0), []
    for number in range(20):
        today = table.filter(pc.equal(table["session"], pa.scalar(day(number))))
        followed = follow(today, kept)
        one_by_one += held(followed)
        kept = pa.concat_tables([kept, today.filter(pa.array(followed.kept, pa.bool_()))])
    assert sorted(at_once) == sorted(one_by_one)
    assert len(at_once) == table.num_rows - kept.num_rows
