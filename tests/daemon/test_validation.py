from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.validation import Checked, check_bars
from signals.errors import BarsError
from tests.daemon.bars import ASSETS, SESSIONS, make_bars


def check(table: Any, **options: Any) -> Checked:
    return check_bars(
        table, **{"sessions": SESSIONS, "min_assets": 2, "max_quarantined": 0.25, **options}
    )


def refusal(table: Any, **options: Any) -> BarsError:
    with pytest.raises(BarsError) as caught:
        check(table, **options)
    assert caught.value.rule
    assert caught.value.hint
    return caught.value


def test_good_bars_pass_unchanged() -> None:
    """Good bars come out as they went in, with full coverage."""
    table = make_bars()
    checked = check(table)
    assert checked.table.equals(table)
    assert checked.quarantined == ()
    assert checked.coverage == dict.fromkeys(SESSIONS, 1.0)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("open", float("nan"), "there and finite"),
        ("close", None, "there and finite"),
        ("high", float("inf"), "there and finite"),
        ("low", -1.0, "above zero"),
        ("close", 0.0, "above zero"),
        ("high", 10.5, "low ≤ open, close ≤ high"),
        ("low", 10.5, "low ≤ open, close ≤ high"),
        ("volume", -1.0, "volume"),
        ("volume", None, "volume"),
        ("amount", -1.0, "amount"),
        ("adjustment", 0.0, "adjustment and split"),
        ("split", float("nan"), "adjustment and split"),
        ("dividend", -0.1, "dividend"),
        ("dividend", float("inf"), "dividend"),
    ],
)
def test_broken_row_is_set_aside(column: str, value: float | None, rule: str) -> None:
    """A row that breaks a rule is left out and reported with asset, session and rule."""
    checked = check(make_bars(changes={(4, column): value}))
    (row,) = checked.quarantined
    assert (row.asset, row.session) == (ASSETS[0], SESSIONS[1])
    assert rule in row.rule
    assert checked.table.num_rows == 11
    assert checked.coverage[SESSIONS[1]] == 0.75


def test_rounding_does_not_break_the_envelope() -> None:
    """A close one float32 rounding above the high is no broken envelope."""
    close = float(np.nextafter(np.float32(12.0), np.float32(13.0)))
    assert check(make_bars(changes={(0, "close"): close})).quarantined == ()


def test_suspended_row_needs_no_prices() -> None:
    """A suspended row is kept whatever its prices; it counts as covered, not as tradable."""
    changes = {(0, "suspended"): True, (0, "close"): None, (0, "volume"): None}
    checked = check(make_bars(changes=changes))
    assert checked.table.num_rows == 12
    assert checked.coverage[SESSIONS[0]] == 1.0
    assert "has good bars of 3 assets" in refusal(make_bars(changes=changes), min_assets=4).fact


def test_more_broken_rows_than_the_budget_are_refused() -> None:
    """Past the session's budget the batch is refused, and what is broken is counted by rule."""
    error = refusal(make_bars(changes={(4, "close"): -1.0, (5, "volume"): -1.0}))
    assert "2 of 4 bars of 2024-11-27 are broken" in error.fact
    assert "1 not “prices are above zero”; 1 not “volume" in error.fact


def test_budget_is_counted_for_each_session() -> None:
    """One broken row in every session is within a budget of one row each."""
    changes = {(row, "close"): -1.0 for row in (0, 4, 8)}
    assert len(check(make_bars(changes=changes), max_quarantined=0.0).quarantined) == 3


def test_duplicate_keys_are_refused() -> None:
    """Two bars of one asset and session are refused, naming both."""
    table = pa.concat_tables([make_bars(), make_bars().slice(6, 1)])
    assert "AAPL has more than one bar on 2024-11-27" in refusal(table).fact


def test_session_outside_the_calendar_is_refused() -> None:
    """A bar on Thanksgiving is refused."""
    table = make_bars((*SESSIONS, date(2024, 11, 28)))
    assert "2024-11-28, which is no session" in refusal(table).fact


@pytest.mark.parametrize("there", [SESSIONS[:2], ()])
def test_missing_session_may_be_asked_again(there: tuple[date, ...]) -> None:
    """A session without bars, or a batch without rows, is an error that a retry may cure."""
    error = refusal(make_bars(there))
    assert "there are no bars of" in error.fact
    assert error.retryable


def test_fewer_assets_than_the_minimum_are_refused() -> None:
    """A session with too few assets is refused, naming the setting."""
    error = refusal(make_bars(), min_assets=30)
    assert "2024-11-26 has good bars of 4 assets" in error.fact
    assert "ingest.min_assets" in error.rule


def test_other_columns_are_refused() -> None:
    """A table that is not in the schema of bars is refused."""
    assert "bars have the columns" in refusal(make_bars().drop_columns(["amount"])).fact


def test_coverage_is_the_share_of_expected_assets() -> None:
    """Expected assets without a bar lower the coverage and are named in a warning."""
    checked = check(make_bars(), expected=[*ASSETS[1:], "MSFT"])
    assert checked.coverage == dict.fromkeys(SESSIONS, 0.75)
    assert "1 expected assets without a bar (MSFT)" in checked.warnings[0]


@given(
    rows=st.sets(st.integers(0, 11), max_size=12),
    order=st.permutations(range(12)),
    column=st.sampled_from(["open", "high", "low", "close", "volume"]),
)
def test_every_row_is_kept_or_reported(rows: set[int], order: list[int], column: str) -> None:
    """Whatever is broken, in any order of rows: kept and reported rows together are all rows."""
    table = make_bars(changes={(row, column): -1.0 for row in rows}).take(pa.array(order))
    checked = check(table, min_assets=0, max_quarantined=1.0)
    reported = {(row.asset, row.session) for row in checked.quarantined}
    assert reported == {(ASSETS[row % 4], SESSIONS[row // 4]) for row in rows}
    assert checked.table.num_rows == 12 - len(rows)
