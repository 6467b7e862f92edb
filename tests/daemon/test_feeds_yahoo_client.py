"""The unmodified yfinance, in its child process, against the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from daemon.calendar import MarketCalendar, Overlay
from daemon.clock import ReplayClock
from daemon.feeds.child import Limits
from daemon.feeds.protocol import Parsed, Request
from daemon.feeds.provider import ProviderFeed
from daemon.feeds.yahoo import YahooProvider
from signals.errors import FeedError
from storage.bars import BAR_SCHEMA
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

CALENDAR = MarketCalendar("XNYS", Overlay())
#: A session in the middle of a quiet week, and an evening on which it is final.
DAY = date(2023, 12, 20)
EVENING = datetime(2023, 12, 20, 23, tzinfo=UTC)
#: Deadline of a call, in seconds; yfinance's own timeout is half of it.
SECONDS = 30.0
#: The same where a fault waits for it.
SHORT_SECONDS = 6.0


@cache
def book() -> MarketBook:
    """Return two years of 30 assets with splits and dividends."""
    return MarketBook.synthetic("us", 30, date(2022, 1, 3), date(2023, 12, 29))


@pytest.fixture(scope="module")
def served() -> Iterator[StandIn]:
    with StandIn(book(), EVENING) as standin:
        yield standin


@pytest.fixture
def standin(served: StandIn) -> StandIn:
    served.book, served.now = book(), EVENING
    served.faults.clear()
    served.log.clear()
    return served


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where yfinance keeps its cookie."""
    return tmp_path_factory.mktemp("yahoo")


@pytest.fixture
def feed(standin: StandIn, folder: Path) -> ProviderFeed:
    (folder / "yahoo-breaker.json").unlink(missing_ok=True)  # another test's rate limit
    return open_feed(standin, folder)


def open_feed(standin: StandIn, folder: Path, **limits: Any) -> ProviderFeed:
    return ProviderFeed(
        YahooProvider(lambda day: CALENDAR.finality(day, 90)),
        clock=ReplayClock(standin.now),
        start=book().days[0],
        limits=Limits(**{"request_seconds": SECONDS, "memory_mb": 1024, **limits}),
        folder=folder,
        environment=standin.environment,
        sleep=lambda _: None,
    )


def sessions(first: date, last: date) -> tuple[date, ...]:
    return tuple(day for day in book().days if first <= day <= last)


def bar(market: MarketBook, asset: str, session: date) -> dict[str, Any]:
    """Return one bar as it was traded."""
    own = market.bars.filter(pc.equal(market.bars["asset"], asset))
    (found,) = own.filter(pc.equal(own["session"], session)).to_pylist()
    return dict(found)


def assert_same_bars(found: Any, wanted: Any) -> None:
    """Compare as far as the payload's rounding goes: 32-bit prices, whole shares, 6 decimals.

    Splits multiply that rounding: of a dividend by 8, of a volume by 10 at most here.
    """
    for name in ("session", "asset", "suspended", "st", "limit_up", "limit_down"):
        assert found[name].to_pylist() == wanted[name].to_pylist(), name
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=6e-8, err_msg=name)
    np.testing.assert_allclose(found["volume"], wanted["volume"], rtol=0.0, atol=5.0)
    np.testing.assert_allclose(found["split"], wanted["split"], rtol=1e-12)
    np.testing.assert_allclose(found["dividend"], wanted["dividend"], rtol=0.0, atol=4e-6)
    np.testing.assert_allclose(found["adjustment"], wanted["adjustment"], rtol=1e-6)
    assert found["amount"].null_count == found.num_rows


def test_two_years_of_a_market_come_back_as_they_were_traded(
    standin: StandIn, folder: Path
) -> None:
    """Every bar, split and dividend of 30 assets is there as traded, within the rounding."""
    standin.now = datetime(2023, 12, 29, 23, tzinfo=UTC)
    parsed = open_feed(standin, folder).fetch_parsed(Request("us", book().days, book().assets))
    assert (parsed.missing, parsed.warnings) == ({}, ())
    assert parsed.table.schema.equals(BAR_SCHEMA)
    assert pc.sum(pc.not_equal(parsed.table["split"], 1.0)).as_py() >= 1
    assert pc.sum(pc.greater(parsed.table["dividend"], 0.0)).as_py() >= 50
    assert_same_bars(parsed.table, book().bars)


def test_a_symbol_is_one_request(standin: StandIn, feed: ProviderFeed) -> None:
    """Beside the cookie and the crumb, a symbol never seen before takes one request."""
    feed.fetch(Request("us", (DAY,), book().assets[:5]))
    charts = [entry.symbol for entry in standin.log if "/chart/" in entry.path]
    assert charts == list(book().assets[:5])
    assert not [entry for entry in standin.log if entry.outcome == "refused"]


def test_a_split_restates_nothing_of_ours(standin: StandIn, folder: Path) -> None:
    """After a 4-for-1 split Yahoo tells a quarter of every close; the bars as traded are the same.

    The ex-date has the factor.
    """
    days = sessions(date(2022, 2, 1), DAY)
    asset = book().assets[0]
    request = Request("us", days[:-1], (asset,))
    standin.now = EVENING - timedelta(days=1)
    before = open_feed(standin, folder).fetch(request)
    standin.book, standin.now = book().with_event(asset, DAY, split=4.0), EVENING
    feed = open_feed(standin, folder)
    assert_same_bars(feed.fetch(request), before)
    (row,) = feed.fetch(Request("us", (DAY,), (asset,))).to_pylist()
    assert (row["split"], row["adjustment"]) == (4.0, 4.0)
    assert row["close"] == pytest.approx(bar(standin.book, asset, DAY)["close"], rel=6e-8)


def test_a_dividend_on_the_day_of_a_split(standin: StandIn, feed: ProviderFeed) -> None:
    """Cash per share held before, and one factor for both."""
    asset = book().assets[0]
    standin.book = book().with_event(asset, DAY, split=4.0, dividend=1.0)
    (row,) = feed.fetch(Request("us", (DAY,), (asset,))).to_pylist()
    wanted = bar(standin.book, asset, DAY)
    assert row["dividend"] == pytest.approx(1.0, abs=4e-6)
    assert row["adjustment"] == pytest.approx(wanted["adjustment"], rel=1e-6)
    assert wanted["adjustment"] > 4.0


def test_the_dividend_of_a_missing_session_keeps_its_day(standin: StandIn, folder: Path) -> None:
    """In yfinance it is on the bar before; here it counts from the bar after, and that is told."""
    asset, (before, _, after) = book().assets[0], sessions(date(2023, 12, 19), date(2023, 12, 21))
    standin.book, standin.now = book().with_event(asset, DAY, dividend=1.0), EVENING + timedelta(1)
    standin.faults.switch("missing_session", asset, session=DAY)
    request = Request("us", (before, DAY, after), (asset,))
    parsed = open_feed(standin, folder).fetch_parsed(request)
    assert parsed.table["session"].to_pylist() == [before, after]
    assert parsed.table["dividend"].to_pylist() == [0.0, pytest.approx(1.0, abs=1e-6)]
    assert f"counts from {after} on" in parsed.warnings[-1]


def fetch_two(feed: ProviderFeed, days: tuple[date, ...] = (DAY,)) -> Parsed:
    """Ask for the bars of two assets, of which the first is struck by a fault."""
    return feed.fetch_parsed(Request("us", days, book().assets[:2]))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "failed: ValueError: what Yahoo answered is no chart"),
        ("html", "failed: JSONDecodeError"),
        ("truncated_json", "failed: JSONDecodeError"),
        ("reset", "failed: ConnectionError"),
        ("gzip_bomb", ("failed: the client ended by exit code 1: MemoryError", "timeout: ")),
        ("hang", "timeout: Timeout: Failed to perform"),
        ("drip", "timeout: Timeout: Failed to perform"),
        ("404", "empty: YFPricesMissingError"),
        ("empty", "empty: YFPricesMissingError"),
    ],
)
def test_a_fault_costs_its_symbol_only(
    standin: StandIn, folder: Path, fault: str, reason: str | tuple[str, ...]
) -> None:
    """The struck symbol is missing with its reason; the other one has its bar."""
    struck, other = book().assets[:2]
    standin.faults[fault] = struck
    seconds = SHORT_SECONDS if fault in ("hang", "drip") else SECONDS
    parsed = fetch_two(open_feed(standin, folder, request_seconds=seconds))
    assert parsed.missing[struck].startswith(reason)
    assert parsed.table["asset"].to_pylist() == [other]


def test_a_hang_that_no_timeout_ends_is_killed(standin: StandIn, folder: Path) -> None:
    """Where the cookie's host hangs, past yfinance's timeout, the child's deadline holds."""
    standin.faults["hang"] = ("fc.yahoo.com", "query1.finance.yahoo.com")
    feed = open_feed(standin, folder / "without a cookie", request_seconds=2.0)
    began = monotonic()
    with pytest.raises(FeedError) as caught:
        fetch_two(feed)
    assert monotonic() - began < 20.0
    assert feed.facts().requests == {"timeout": 2}
    assert "no answer within 2 s" in caught.value.fact


def test_a_rate_limit_stops_the_fetch(standin: StandIn, feed: ProviderFeed) -> None:
    """After the first 429 no symbol is asked for any more."""
    standin.faults["429"] = book().assets[3]
    with pytest.raises(FeedError) as caught:
        feed.fetch(Request("us", (DAY,), book().assets))
    assert "27 of 30 assets of us unanswered (27 limited)" in caught.value.fact
    assert {entry.symbol for entry in standin.log} - {""} == set(book().assets[:4])
    assert feed.facts().breaker_until == EVENING + timedelta(minutes=15)


def test_a_server_that_is_well_again_is_believed(standin: StandIn, feed: ProviderFeed) -> None:
    """Error responses, which yfinance keeps, are dropped: the next fetch does not see them."""
    standin.faults["500"] = book().assets[0]
    assert book().assets[0] in fetch_two(feed).missing
    standin.faults.clear()
    assert fetch_two(feed).missing == {}


def test_200_megabytes_are_survived(standin: StandIn, feed: ProviderFeed) -> None:
    """Blanks after a good answer change nothing, and stay within the child's memory."""
    standin.faults["huge"] = book().assets[0]
    assert fetch_two(feed).table.num_rows == 2


def test_a_bar_with_volume_and_no_prices_is_told(standin: StandIn, feed: ProviderFeed) -> None:
    """It is left out, named with its session, and its asset is missing."""
    standin.faults["nan_bar"] = book().assets[0]
    parsed = fetch_two(feed)
    assert parsed.missing == {book().assets[0]: "empty: no bar of the sessions asked for"}
    assert parsed.warnings == (f"{DAY}: 1 bars without prices ({book().assets[0]})",)


def test_the_bar_of_a_running_session_is_left_out(standin: StandIn, folder: Path) -> None:
    """At noon Yahoo has a bar of today like any other; it is none."""
    standin.now = datetime(2023, 12, 20, 17, tzinfo=UTC)
    standin.faults["partial_day"] = "*"
    parsed = fetch_two(open_feed(standin, folder), sessions(date(2023, 12, 19), DAY))
    assert set(parsed.table["session"].to_pylist()) == {date(2023, 12, 19)}
    assert parsed.warnings == (f"{DAY}: 2 bars not finished yet ({', '.join(book().assets[:2])})",)


def test_another_column_is_no_harm(standin: StandIn, feed: ProviderFeed) -> None:
    """Columns are taken by name."""
    standin.faults["extra_field"] = "*"
    days = sessions(date(2023, 12, 1), DAY)
    wanted = book().bars.filter(
        pc.and_(
            pc.is_in(book().bars["session"], value_set=pa.array(days)),
            pc.is_in(book().bars["asset"], value_set=pa.array(book().assets[:2])),
        )
    )
    assert_same_bars(fetch_two(feed, days).table, wanted)
