from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from daemon.feeds.boards import is_st, is_unlimited, limit_flags, limit_prices, price_limits
from signals.errors import BarsError


def percent(asset: str, day: date, *, st: bool = False) -> int:
    return int(price_limits(asset, np.array([day], dtype="datetime64[D]"), st=st)[0])


@pytest.mark.parametrize(
    ("asset", "day", "st", "limit"),
    [
        ("600000", date(2010, 1, 4), False, 10),
        ("000001", date(2010, 1, 4), True, 5),
        ("603999", date(2026, 7, 3), True, 5),
        ("603999", date(2026, 7, 6), True, 10),
        ("300001", date(2020, 8, 21), False, 10),
        ("300001", date(2020, 8, 24), False, 20),
        ("301999", date(2024, 1, 2), True, 20),
        ("688001", date(2019, 7, 22), False, 20),
        ("689009", date(2024, 1, 2), True, 20),
        ("830799", date(2022, 1, 4), False, 30),
        ("920002", date(2026, 1, 5), True, 30),
    ],
)
def test_the_limit_depends_on_board_and_date(asset: str, day: date, st: bool, limit: int) -> None:
    """Main board 10 (ST 5 until July 2026), ChiNext 20 since August 2020, STAR 20, Beijing 30."""
    assert percent(asset, day, st=st) == limit


@pytest.mark.parametrize("asset", ["900901", "AAPL", "60000", "510300", "６０００００"])
def test_what_is_no_a_share_is_refused(asset: str) -> None:
    """B shares, funds, tickers and short codes have no limit that we could know."""
    with pytest.raises(BarsError) as caught:
        percent(asset, date(2024, 1, 2))
    assert asset in caught.value.fact
    assert caught.value.hint


@pytest.mark.parametrize(
    ("previous", "limit", "lowest", "highest"),
    [
        (10.05, 10, 9.05, 11.06),  # 11.055 and 9.045 are halves: both round up
        (9.99, 10, 8.99, 10.99),
        (1.15, 10, 1.04, 1.27),
        (10.10, 5, 9.60, 10.61),
        (0.04, 10, 0.03, 0.05),  # at least one tick
        (100.0, 20, 80.0, 120.0),
    ],
)
def test_limit_prices_round_half_up(
    previous: float, limit: int, lowest: float, highest: float
) -> None:
    """A limit is rounded half up to 0.01 and lies at least one tick away."""
    down, up = limit_prices(np.array([previous]), np.array([limit]))
    assert (down[0], up[0]) == (lowest, highest)


def flags(
    high: float, low: float, close: float, previous: float, limit: int = 10
) -> tuple[bool, bool]:
    arrays = [np.array([value]) for value in (high, low, close, previous)]
    up, down = limit_flags(arrays[0], arrays[1], arrays[2], arrays[3], np.array([limit]))
    return bool(up[0]), bool(down[0])


def test_a_close_at_the_limit_is_flagged() -> None:
    """At the limit, a tick inside it, and beyond it where none can be in force."""
    assert flags(11.0, 10.0, 11.0, 10.0) == (True, False)
    assert flags(10.2, 9.0, 9.0, 10.0) == (False, True)
    assert flags(11.0, 10.0, 10.99, 10.0) == (False, False)
    assert flags(14.4, 10.0, 14.4, 10.0) == (False, False)


def test_a_session_of_one_price_is_flagged_whatever_the_percentage() -> None:
    """A single price 5 % away is the locked limit of a risk warning nobody told of."""
    assert flags(10.5, 10.5, 10.5, 10.0) == (True, False)
    assert flags(9.5, 9.5, 9.5, 10.0) == (False, True)
    assert flags(10.0, 10.0, 10.0, 10.0) == (False, False)
    assert flags(15.0, 15.0, 15.0, 10.0, limit=0) == (False, False)


def test_what_is_unknown_is_not_flagged() -> None:
    """Without a previous close or a price there is no flag and no warning."""
    assert flags(11.0, 10.0, 11.0, float("nan")) == (False, False)
    assert flags(float("nan"), float("nan"), float("nan"), 10.0) == (False, False)


@pytest.mark.parametrize(
    ("name", "st", "new"),
    [
        ("*ST 海润", True, False),
        ("ST长园", True, False),
        ("S*ST前锋", True, False),
        ("SST华新", True, False),
        ("XDST佳缘", True, False),
        ("XD贵州茅", False, False),
        ("浦发银行", False, False),
        ("N宇树", False, True),
        ("C频准激光", False, True),
        ("TCL科技", False, False),
        ("", False, False),
    ],
)
def test_short_names_tell_risk_warnings_and_new_listings(name: str, st: bool, new: bool) -> None:
    """ST in front, also behind the marks of an ex-date; N and C before the name."""
    assert (is_st(name), is_unlimited(name)) == (st, new)
