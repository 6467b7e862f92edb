from __future__ import annotations

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.overlap import overlap_check
from signals.errors import BarsError
from tests.daemon.traded import RandomMarket, changed, day, traded


@given(
    seed=st.integers(0, 10**6),
    at=st.tuples(st.integers(1, 69), st.integers(0, 3)),
    scale=st.floats(0.01, 100.0),
)
def test_sources_on_different_bases_agree(seed: int, at: tuple[int, int], scale: float) -> None:
    """Adjusted returns do not depend on the basis, nor on whether a source has events or none."""
    market = RandomMarket(seed, {at: (4.0, 0.01)}, n_sessions=70)
    one = market.table()
    market.close = market.close * market.adjustment.cumprod(axis=0) * scale
    market.adjustment[:] = 1.0
    overlap = overlap_check(one, market.table())
    assert (overlap.n_assets, overlap.n_sessions) == (4, 70)
    assert overlap.gap < 1e-9


@pytest.mark.parametrize(("change", "agrees"), [(1.0004, True), (1.0006, False)])
def test_returns_more_than_five_basis_points_apart_are_refused(change: float, agrees: bool) -> None:
    """A close 4 bp off is within the bound; 6 bp off is refused, naming asset and session."""
    market = RandomMarket(1, {}, n_sessions=70)
    one = market.table()
    market.close[30, 2] *= change
    if agrees:
        overlap = overlap_check(one, market.table())
        assert (overlap.asset, overlap.session) in {("A2", day(30)), ("A2", day(31))}
        return
    with pytest.raises(
        BarsError, match=r"A2 returns .* on 2024-0(1-31|2-01) .*\(2 returns"
    ) as caught:
        overlap_check(one, market.table())
    assert caught.value.rule
    assert caught.value.hint


def test_too_few_common_sessions_are_refused() -> None:
    """Fewer than 60 sessions in both sources are too few, suspended ones not counted."""
    table = RandomMarket(1, {}, n_sessions=60).table()
    assert overlap_check(table, table).n_sessions == 60
    halted = pc.and_(pc.equal(table["asset"], "A3"), pc.equal(table["session"], day(7)))
    with pytest.raises(BarsError, match="A3 has 59 sessions in both sources, the last on 2024-02-"):
        overlap_check(table, changed(table, suspended=halted))
    assert overlap_check(table, table.slice(0, 40), min_sessions=10).n_sessions == 10


def test_only_assets_of_both_are_compared() -> None:
    """Other assets of either source are left alone; none in common is refused."""
    a, b = traded({"A": [1.0, 2.0], "B": [3.0, 3.0]}), traded({"C": [5.0, 1.0], "A": [2.0, 4.0]})
    assert overlap_check(a, b, min_sessions=2).n_assets == 1
    with pytest.raises(BarsError, match="no asset in common"):
        overlap_check(a, traded({"C": [5.0, 1.0]}), min_sessions=2)
