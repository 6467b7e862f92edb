"""Tiingo: its rows as text, and the unmodified tiingo in its child process against the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from daemon.calendar import MarketCalendar, Overlay
from daemon.clock import ReplayClock
from daemon.feeds.child import Child, Limits
from daemon.feeds.clients.tiingo import TiingoError, classify
from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.feeds.provider import ProviderFeed
from daemon.feeds.tiingo import LEAD, TiingoProvider
from signals.errors import FeedError
from storage.bars import BAR_SCHEMA
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

CALENDAR = MarketCalendar("XNYS", Overlay())
PROVIDER = TiingoProvider(lambda day: CALENDAR.finality(day, 90))
DAYS = tuple(CALENDAR.sessions(date(2024, 11, 18), date(2024, 11, 27)))
LATER = datetime(2024, 12, 31, 23, tzinfo=UTC)
#: The evening after the last session of the book.
EVENING = datetime(2023, 12, 29, 23, tzinfo=UTC)
KEY = "0123456789abcdef-secret"
#: Of tests that ask the real client.
needs_tiingo = pytest.mark.skipif(
    find_spec("tiingo") is None, reason="the extra `tiingo` is not installed"
)


def serialised(rows: list[dict[str, Any]]) -> bytes:
    table, buffer = pa.Table.from_pylist(rows), BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def parse(changes: Mapping[date, Mapping[str, Any]], at: datetime = LATER) -> Parsed:
    """Return the bars made of a flat history at 100 with some values changed."""
    flat = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.0, "volume": 1000}
    events = {"divCash": 0.0, "splitFactor": 1.0}
    rows = [{"date": day, **flat, **events, **changes.get(day, {})} for day in DAYS]
    request = Request("us", DAYS[1:], ("AAA",))
    (query,) = PROVIDER.queries(request)
    return PROVIDER.parse(request, [Answer(query, "ok", serialised(rows), "", at)])


def test_exactly_the_window_is_asked_for() -> None:
    """A query reaches from a month before the first session to the last one, in its spelling."""
    (query,) = PROVIDER.queries(Request("us", DAYS[2:4], ("BRK.B", "600000")))
    assert query == Query("history", "BRK-B", DAYS[2] - LEAD, DAYS[3])


def test_a_dividend_and_a_split_become_factors() -> None:
    """Cash of 2 on 100 gives 1/0.98, a 4-for-1 split 4; both stand in their own columns too."""
    low = {"open": 25.0, "high": 26.0, "low": 24.0, "close": 25.0}
    changes: dict[date, dict[str, Any]] = {DAYS[2]: {"divCash": 2.0}}
    changes |= {day: dict(low) for day in DAYS[4:]}
    changes[DAYS[4]]["splitFactor"] = 4.0
    table = parse(changes).table
    np.testing.assert_allclose(table["adjustment"], [1, 1 / 0.98, 1, 4, 1, 1, 1])
    assert table["split"].to_pylist() == [1, 1, 1, 4, 1, 1, 1]
    assert table["dividend"].to_pylist() == [0, 2, 0, 0, 0, 0, 0]
    assert table["close"].to_pylist()[3] == 25.0


def test_the_event_of_a_day_without_prices_counts_from_the_next_bar() -> None:
    """The day has no bar, the next one has its factor, and both are said."""
    empty = dict.fromkeys(("open", "high", "low", "close"))
    parsed = parse({DAYS[2]: {**empty, "divCash": 2.0}})
    assert parsed.table["session"].to_pylist() == [DAYS[1], *DAYS[3:]]
    np.testing.assert_allclose(parsed.table["adjustment"][1].as_py(), 1 / 0.98)
    assert [str(DAYS[2]) in warning for warning in parsed.warnings] == [True, True]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"divCash": 100.0}, "failed: the dividend of 2024-11-20 is not below the close before"),
        ({"divCash": -1.0}, "failed: a split or a dividend is negative"),
        ({"splitFactor": -2.0}, "failed: a split or a dividend is negative"),
    ],
)
def test_impossible_events_are_a_failure(change: dict[str, float], why: str) -> None:
    """Cash that is not below the close, or a negative number, leaves no bars."""
    parsed = parse({DAYS[2]: change})
    assert parsed.table.num_rows == 0
    assert parsed.missing["AAA"].startswith(why)


def test_a_session_that_was_not_final_is_left_out() -> None:
    """A bar received before its session's finality is no bar, and is counted."""
    parsed = parse({}, CALENDAR.finality(DAYS[-2], 90))
    assert parsed.table["session"].to_pylist()[-1] == DAYS[-2]
    assert parsed.warnings == (f"{DAYS[-1]}: 1 bars not finished yet (AAA)",)


@pytest.mark.parametrize(
    ("status", "text", "outcome"),
    [
        (429, "", "limited"),
        (
            200,
            "no rows but {'detail': 'Error: You have run over your 500 symbol look up'}",
            "limited",
        ),
        (404, "", "empty"),
        (403, "", "failed"),
    ],
)
def test_refusals_have_outcomes(status: int, text: str, outcome: str) -> None:
    """A limit may also be said with the status of a success."""
    assert classify(TiingoError(text, status)) == outcome


@cache
def book() -> MarketBook:
    return MarketBook.synthetic("us", 12, date(2022, 1, 3), date(2023, 12, 29))


@pytest.fixture(scope="module")
def served() -> Iterator[StandIn]:
    with StandIn(book(), EVENING) as standin:
        yield standin


@pytest.fixture
def standin(served: StandIn) -> StandIn:
    served.faults.clear()
    served.log.clear()
    return served


def fetch(standin: StandIn, request: Request, key: str = KEY) -> Parsed:
    feed = ProviderFeed(
        PROVIDER,
        clock=ReplayClock(EVENING),
        start=book().days[0],
        limits=Limits(request_seconds=30.0, memory_mb=1024),
        environment={**standin.environment, "TIINGO_API_KEY": key},
        sleep=lambda _: None,
    )
    return feed.fetch_parsed(request)


@needs_tiingo
def test_two_years_come_back_as_they_were_traded(standin: StandIn) -> None:
    """Every bar, split and dividend of 12 assets is what was traded, at 1e-12."""
    parsed = fetch(standin, Request("us", book().days, book().assets))
    wanted = book().bars
    assert (parsed.missing, parsed.warnings) == ({}, ())
    assert parsed.table.schema.equals(BAR_SCHEMA)
    assert pc.sum(pc.greater(wanted["dividend"], 0.0)).as_py() >= 20
    for name in ("session", "asset", "suspended", "st", "limit_up", "limit_down"):
        assert parsed.table[name].equals(wanted[name]), name
    for name in ("open", "high", "low", "close", "volume", "adjustment", "split", "dividend"):
        np.testing.assert_allclose(parsed.table[name], wanted[name], rtol=1e-12, err_msg=name)
    assert len(standin.log) == len(book().assets)


@needs_tiingo
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("404", "empty: TiingoError"),
        ("500", "failed: TiingoError: RestClientError: 500"),
        ("html", "failed: TiingoError: JSONDecodeError"),
        ("empty", "empty"),
        ("truncated_json", "failed: TiingoError"),
        ("reset", "failed: TiingoError"),
    ],
)
def test_a_fault_costs_one_asset(standin: StandIn, fault: str, why: str) -> None:
    """What goes wrong with one symbol is its reason; the others have their bars."""
    one, *others = book().assets[:3]
    standin.faults[fault] = one
    parsed = fetch(standin, Request("us", book().days[-3:], (one, *others)))
    assert set(parsed.sources) == set(others)
    assert parsed.missing[one].startswith(why)


@needs_tiingo
def test_a_limit_stops_the_fetch(standin: StandIn) -> None:
    """After 429 nothing more is asked."""
    standin.faults["429"] = "*"
    with pytest.raises(FeedError, match="12 limited"):
        fetch(standin, Request("us", book().days[-3:], book().assets))
    assert len(standin.log) == 1


@needs_tiingo
def test_a_key_that_is_no_header_is_told_without_it(standin: StandIn, tmp_path: Path) -> None:
    """The library would quote a key with a line's end in its error: it is masked."""
    environment = {**standin.environment, "TIINGO_API_KEY": f"{KEY}\n"}
    limits = Limits(request_seconds=30.0, memory_mb=1024)
    query = Query("history", "AAA", date(2023, 12, 1), date(2023, 12, 29))
    with Child(PROVIDER.client, limits, tmp_path, environment) as child:
        reply = child.ask(query)
    assert (reply.outcome, "InvalidHeader" in reply.error) == ("failed", True)
    assert "***" in reply.error
    assert KEY not in json.dumps(reply.error)


@needs_tiingo
def test_without_a_key_the_client_does_not_start(standin: StandIn) -> None:
    """The library says so itself."""
    with pytest.raises(FeedError, match="Key not provided"):
        fetch(standin, Request("us", book().days[-3:], book().assets), key="")
