"""What providers of live data do wrong, on small markets with the real clients behind stand-ins.

`python -m bench.live --faults` does the same with every fault, `--split`, `--deadlines` and
`--calendar` with more of the rest.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from bench.live_calendar import across, year_2027
from bench.live_deadlines import beside_a_hanging_one, hanging
from bench.live_faults import BEGUN, stored_bars
from bench.live_split import probe
from daemon.backfill import backfill, ever_members, history_span, missing_spans
from daemon.members import find_members
from signals.errors import FeedError
from storage import data
from tests.daemon.live import LiveMarket, live_market, small_book

#: exchange_calendars' own calls into pandas 3, which the stand-in makes, are deprecated (4.13.2).
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
#: Faults of one row each, for an asset each.
OF_A_ROW = {
    "us": ("nan_bar", "missing_session", "price_x100", "swapped_columns", "partial_day"),
    "cn": ("dash", "missing_session", "price_x100", "shares_as_lots", "partial_day"),
}
#: Those of which nothing can be kept.
LEFT_OUT = ("nan_bar", "missing_session", "price_x100")


def calm(alive: LiveMarket, number: int) -> list[str]:
    """Return members that traded, without an event, around a session."""
    book, around = alive.book, slice(number - 5, number + 3)
    return [
        asset
        for asset in book.members(book.days[number])
        if (book.adjustment[around, book.columns[asset]] == 1.0).all()
        and book.present[around, book.columns[asset]].all()
        and not book.suspended[around, book.columns[asset]].any()
    ]


@pytest.mark.parametrize("name", ["us", pytest.param("cn", marks=pytest.mark.slow)])
def test_no_false_row_is_published_as_final(tmp_path: Path, name: str) -> None:
    """Assets with a false row each are left out; when they are told right, they are taken in.

    One that is told as it stood in the middle of the day is nothing a gate can see: its session
    stays provisional until two tellings agree.
    """
    allowed = {"min_assets": 10, "max_quarantined": 0.3}
    book = small_book(name, n_assets=24)
    with live_market(tmp_path, book, BEGUN, ingest=allowed) as alive:
        session = alive.session(BEGUN)
        struck = dict(zip(OF_A_ROW[name], calm(alive, BEGUN), strict=False))
        for fault, asset in struck.items():
            alive.standin.faults.switch(fault, asset, session=session)
        alive.tick()
        told = alive.context.bars.bars(name, as_of=alive.clock.now(), first=session, last=session)
        left_out = set(struck.values()) - set(told["asset"].to_pylist())
        assert left_out >= {asset for fault, asset in struck.items() if fault in LEFT_OUT}
        assert false_bars(alive, session) <= {f"{session} {struck.get('partial_day')}"}
        alive.standin.faults.clear()
        alive.later(minutes=31)
        alive.tick()
        alive.later(minutes=31)
        alive.tick()
        statuses = [status for *_, status in alive.statuses()]
        assert statuses[:-1] == ["provisional"] * (len(statuses) - 1)
        assert statuses[-1] in ("final", "degraded")
        assert false_bars(alive, session) == set()


def false_bars(alive: LiveMarket, session: date) -> set[str]:
    return set(stored_bars(alive, alive.book.days[0], session)[1])


@pytest.mark.slow
def test_a_split_restates_ten_years_and_changes_one_row(tmp_path: Path) -> None:
    """One vintage with its cause; returns and what was known the evening before are as they were.

    Yahoo tells the whole history at a quarter from that day on, and all of it is compared.
    """
    found = probe(tmp_path, n_assets=8)
    assert found.probed
    assert found.sessions > 2400
    assert found.holds


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("us", "yahoo's client is stopped"),
        ("cn", "eastmoney tells a byte each half second"),
        ("cn", "the list of the CSI 500 never comes"),
    ],
)
def test_what_hangs_is_dead_a_second_after_its_deadline(name: str, how: str) -> None:
    """A stopped client, a drip and a function without any timeout end alike."""
    (killed,) = hanging(name, only=how, deadline=1.5)
    assert (killed.outcome, killed.alive) == ("timeout", False)
    assert 0.0 <= killed.late < 1.0


def test_a_hanging_market_delays_no_other(tmp_path: Path) -> None:
    """While Yahoo hangs in the first start, Shanghai's is done and published."""
    beside = beside_a_hanging_one(tmp_path, n_assets=16, deadline=1.0)
    assert beside.cn_published
    assert "unanswered" in beside.us_told or "missing" in beside.us_told


def test_a_backfill_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    """What was kept is not asked for again, and the store is that of an undisturbed one."""
    with live_market(tmp_path, small_book("us"), BEGUN) as alive:
        market, context = alive.market, alive.context
        span = history_span(market, alive.session(BEGUN - 1))
        assert span is not None
        assets = ever_members(find_members(context, market, alive.session(BEGUN)).spells, span)
        alive.standin.faults["500"] = assets[25:]
        with pytest.raises(FeedError):
            backfill(context, market, missing_spans({}, assets, span, market))
        assert [vintage.n_assets for vintage in alive.vintages("backfill")] == [25]
        alive.standin.faults.clear()
        alive.standin.log.clear()
        with context.database.read() as conn:
            marks = data.marks(conn, "us")
        backfill(context, market, missing_spans(marks, assets, span, market))
        asked = {entry.symbol for entry in alive.standin.log} - {""}
        assert asked == set(assets[25:])
        there, false = stored_bars(alive, *span)
        assert (there, false) == (
            int(alive.book.present[:BEGUN, :][:, columns(alive, assets)].sum()),
            [],
        )


def test_a_backfill_stands_over_nothing_that_was_told_before(tmp_path: Path) -> None:
    """Asked for the whole span once more, it adds no bar: what was known then stays known then."""
    with live_market(tmp_path, small_book("us"), BEGUN) as alive:
        market, context = alive.market, alive.context
        span = history_span(market, alive.session(BEGUN - 1))
        assert span is not None
        assets = ever_members(find_members(context, market, alive.session(BEGUN)).spells, span)[:8]
        backfill(context, market, {span: assets})
        before = [vintage.sha256 for vintage in alive.vintages("backfill")]
        assert before
        again = backfill(context, market, {span: assets})
        assert again.bars == 0
        assert [vintage.sha256 for vintage in alive.vintages("backfill")] == before


def columns(alive: LiveMarket, assets: tuple[str, ...]) -> list[int]:
    return [alive.book.columns[asset] for asset in assets]


@pytest.mark.slow
def test_beyond_the_calendar_sessions_go_on_and_a_holiday_is_held(tmp_path: Path) -> None:
    """In 2027 Shanghai's weekdays count, with a warning; one without bars waits for a word."""
    year = year_2027(tmp_path, last=date(2027, 1, 4))
    assert list(year.lived.statuses) == [date(2026, 12, 31), date(2027, 1, 4)]
    assert year.presumed == 1
    assert year.holds


@pytest.mark.slow
def test_each_session_is_published_once_when_clocks_change(tmp_path: Path) -> None:
    """On the Monday after the change of 2026-03-08 in New York, ticking every half hour."""
    found = across(tmp_path, date(2026, 3, 8), before=0, after=1)
    assert found.sessions == (date(2026, 3, 9),)
    assert found.holds
