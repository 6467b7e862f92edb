from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.units import RULE, Rescaled, in_shares
from signals.errors import BarsError
from tests.daemon.traded import changed, day, traded

ASSETS = [f"A{number:03}" for number in range(40)]


def with_amount(sessions: int = 1) -> Any:
    """Return bars whose amount is volume times a price within the bar."""
    table = traded({name: [10.0 + number] * sessions for number, name in enumerate(ASSETS)})
    low, high, volume = (table[name].to_numpy() for name in ("low", "high", "volume"))
    return changed(table, amount=volume * (0.7 * low + 0.3 * high))


def scaled(table: Any, name: str, factors: Any) -> Any:
    return changed(table, **{name: table[name].to_numpy() * np.asarray(factors)})


def shares(table: Any, *, anchored: bool = False, max_quarantined: float = 0.02) -> Any:
    return in_shares(
        table,
        anchored=np.full(table.num_rows, anchored),
        max_quarantined=max_quarantined,
    )


def test_shares_stay_as_they_are() -> None:
    """Volumes in shares, and rows that tell nothing, come out as they went in."""
    table = with_amount()
    silent = changed(table, amount=[None, 0.0, *table["amount"].to_pylist()[2:]])
    for given_ in (table, silent, changed(table, amount=[None] * 40)):
        kept, rescaled, quarantined = shares(given_)
        assert kept.equals(given_)
        assert rescaled == quarantined == ()


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_batch_in_another_unit_is_rescaled(factor: float) -> None:
    """A batch in lots, and one multiplied twice, come out in shares, with one record of it."""
    table = with_amount(2)
    kept, rescaled, quarantined = shares(scaled(table, "volume", 1.0 / factor))
    assert np.allclose(kept["volume"].to_numpy(), table["volume"].to_numpy())
    assert rescaled == (Rescaled("", factor, 80, day(0), day(1)),)
    assert quarantined == ()


def test_asset_in_lots_is_rescaled() -> None:
    """A single asset in lots is rescaled and named; the others are left alone."""
    table = with_amount()
    kept, rescaled, _ = shares(scaled(table, "volume", [0.01] + [1.0] * 39))
    assert kept["volume"].to_pylist() == table["volume"].to_pylist()
    assert rescaled == (Rescaled("A000", 100.0, 1, day(0), day(0)),)


def test_volume_too_large_needs_a_price_that_is_known() -> None:
    """A single volume 100 times too large may be a price too large, which must be known."""
    table = scaled(with_amount(), "volume", [100.0] + [1.0] * 39)
    kept, rescaled, quarantined = shares(table)
    assert (kept.num_rows, rescaled) == (39, ())
    assert [(row.asset, row.session, row.rule) for row in quarantined] == [("A000", day(0), RULE)]
    kept, rescaled, quarantined = shares(table, anchored=True)
    assert (kept.num_rows, quarantined) == (40, ())
    assert rescaled == (Rescaled("A000", 0.01, 1, day(0), day(0)),)


def test_close_far_from_the_mean_price_is_no_other_unit() -> None:
    """A close far from the day's mean price is fine while that lies between low and high."""
    table = with_amount()
    wild = changed(table, low=table["close"].to_numpy() * 0.5)
    wild = changed(wild, amount=wild["volume"].to_numpy() * wild["low"].to_numpy() * 1.1)
    assert shares(wild)[1:] == ((), ())


def test_amount_that_fits_no_unit() -> None:
    """An amount that fits nothing sets its row aside, and refuses the batch past the budget."""
    table = with_amount()
    kept, _, quarantined = shares(scaled(table, "amount", [3.0] + [1.0] * 39))
    assert (kept.num_rows, len(quarantined)) == (39, 1)
    with pytest.raises(BarsError, match=r"is 0\.000992 in the median of 40 of 40 bars") as caught:
        shares(scaled(table, "amount", 1e-3))
    assert caught.value.rule
    assert caught.value.hint


@given(
    units=st.lists(st.sampled_from([1.0, 0.01]), min_size=80, max_size=80),
    noise=st.integers(0, 10**6),
)
def test_whatever_is_in_lots_comes_out_in_shares(units: list[float], noise: int) -> None:
    """Rows in lots, in any mixture and order: all volumes come out in shares."""
    table = with_amount(2)
    order = pa.array(np.random.default_rng(noise).permutation(80))
    kept, rescaled, quarantined = shares(scaled(table, "volume", units).take(order))
    assert np.allclose(kept["volume"].to_numpy(), table.take(order)["volume"].to_numpy())
    assert sum(one.n_rows for one in rescaled) == units.count(0.01)
    assert quarantined == ()
