"""baostock: its rows as text, and the unmodified baostock in its child process, on the loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from daemon.clock import ReplayClock
from daemon.feeds.baostock import BEGINNING, LEAD, BaostockProvider
from daemon.feeds.child import Limits
from daemon.feeds.clients.baostock import BaostockError, classify
from daemon.feeds.protocol import Answer, Parsed, Request
from daemon.feeds.provider import ProviderFeed
from signals.errors import FeedError
from storage.bars import BAR_SCHEMA
from tests.standins.baostock import Asked, BaostockStandIn
from tests.standins.book import MarketBook

PRICES = ("open", "high", "low", "close")
DAYS = tuple(date(2024, 5, day) for day in (6, 7, 8, 9, 10, 13))
LATER = datetime(2024, 6, 3, 12, tzinfo=UTC)
#: Of tests that ask the real client.
needs_baostock = pytest.mark.skipif(
    find_spec("baostock") is None, reason="the extra `baostock` is not installed"
)


def close_of(session: date) -> datetime:
    """Return 15:00 in Shanghai."""
    return datetime.combine(session, time(7, 0), UTC)


PROVIDER = BaostockProvider(close_of)


def serialised(rows: list[dict[str, Any]]) -> bytes:
    table, buffer = pa.Table.from_pylist(rows), BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def flat(price: float = 20.0) -> dict[str, str]:
    """Return a row as baostock tells it, of an ordinary session at one price."""
    told = {"code": "sh.600000", "preclose": f"{price:.4f}", "volume": "100000"}
    told |= {"amount": f"{100000 * price:.4f}", "turn": "1.000000", "tradestatus": "1"}
    return {**told, "isST": "0", **dict.fromkeys(PRICES, f"{price:.4f}")}


def parse(
    changes: Mapping[date, Mapping[str, str]],
    factors: Mapping[date, float] | None = None,
    code: str = "sh.600000",
) -> Parsed:
    """Return the bars of all sessions but the first, made of flat rows with some values changed."""
    request = Request("cn", DAYS[1:], ("600000",))
    rows = [{"date": str(day), **flat(), **changes.get(day, {})} for day in DAYS]
    levels = [
        {"code": code, "dividOperateDate": str(day), "backAdjustFactor": f"{level:.6f}"}
        for day, level in (factors or {}).items()
    ]
    payloads = [serialised(rows), serialised(levels) if levels else b""]
    answers = [
        Answer(query, "ok" if payload else "empty", payload, "", LATER)
        for query, payload in zip(PROVIDER.queries(request), payloads, strict=True)
    ]
    return PROVIDER.parse(request, answers)


def test_bars_and_all_factors_are_asked_for() -> None:
    """Bars reach from before the first session to the last, factors from the beginning."""
    history, factors = PROVIDER.queries(Request("cn", DAYS, ("600000", "920001", "AAPL")))
    assert (history.kind, history.symbol, history.last) == ("history", "sh.600000", DAYS[-1])
    assert history.first == DAYS[0] - LEAD
    assert (factors.kind, factors.first, factors.last) == ("factors", BEGINNING, DAYS[-1])


def test_a_small_factor_is_cash() -> None:
    """From 1.5 to 1.5/0.98 is a dividend of 0.40 on 20.00; the former factor is not repeated."""
    low = {**flat(19.6)}
    factors = {date(2023, 5, 8): 1.5, DAYS[2]: 1.5 / 0.98}
    table = parse(dict.fromkeys(DAYS[2:], low), factors).table
    np.testing.assert_allclose(table["adjustment"], [1, 1 / 0.98, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(table["dividend"], [0, 0.4, 0, 0, 0], atol=2e-5)
    assert table["split"].to_pylist() == [1.0] * 5


def test_new_shares_are_told_by_the_turnover() -> None:
    """Half as much turnover for the same volume: there are twice as many shares."""
    low = {**flat(10.0), "turn": "0.500000"}
    table = parse(dict.fromkeys(DAYS[2:], low), {DAYS[2]: 2.0}).table
    assert table["split"].to_pylist() == [1, 2, 1, 1, 1]
    assert table["dividend"].to_pylist() == [0.0] * 5


def test_an_event_that_cannot_be_divided_is_said() -> None:
    """The factor is right, split and dividend tell nothing, and a warning names the session."""
    low = {**flat(10.0), "turn": "0.444000"}
    parsed = parse(dict.fromkeys(DAYS[2:], low), {DAYS[2]: 2.0})
    assert parsed.table["adjustment"].to_pylist() == [1, 2, 1, 1, 1]
    assert parsed.table["split"].to_pylist() == [1.0] * 5
    assert parsed.warnings == (
        f"600000: the event of {DAYS[2]} may hold bonus shares that the volume does not tell",
    )


def test_a_factor_that_contradicts_the_previous_close_is_none() -> None:
    """A previous close that fell without a factor, or stayed with one, leaves the asset out."""
    low = {**flat(19.6)}
    for parsed in (parse(dict.fromkeys(DAYS[2:], low)), parse({}, {DAYS[2]: 1.5})):
        assert parsed.missing["600000"].startswith(
            f"adjustment undetermined: the previous close of {DAYS[2]} is"
        )
        assert parsed.table.num_rows == 0


def test_a_suspension_has_rows_without_prices_and_its_event_counts_after_it() -> None:
    """Two suspended sessions, an ex-date on the second: the next traded one has the factor."""
    halted = {**flat(), "volume": "", "amount": "", "turn": "", "tradestatus": "0"}
    low = flat(19.6)
    changes = {DAYS[2]: halted, DAYS[3]: {**halted, **dict.fromkeys(PRICES, "19.6000")}}
    table = parse(changes | {DAYS[4]: low, DAYS[5]: low}, {DAYS[3]: 1 / 0.98}).table
    assert table["suspended"].to_pylist() == [False, True, True, False, False]
    assert table["close"].to_pylist() == [20.0, None, None, 19.6, 19.6]
    assert table["volume"].to_pylist() == [1e5, 0, 0, 1e5, 1e5]
    np.testing.assert_allclose(table["adjustment"], [1, 1, 1, 1 / 0.98, 1], rtol=1e-6)


def test_rows_of_another_share_are_a_failure() -> None:
    """An answer to another question is never taken for this one's."""
    parsed = parse({}, {DAYS[2]: 1.5}, code="sz.000001")
    assert parsed.missing == {"600000": "failed: rows of sh.600000 are about sz.000001"}


def test_codes_have_outcomes() -> None:
    """The black list and too many log-ins are limits; an unknown code is empty."""
    codes = ("10001011", "10001005", "10004011", "10002003", "10005001", "")
    outcomes = [classify(BaostockError(code, "")) for code in codes]
    assert outcomes == ["limited", "limited", "empty", "timeout", "failed", "failed"]


@cache
def book() -> MarketBook:
    """Return a market of more sessions than a page has rows."""
    return MarketBook.synthetic("cn", 12, date(2014, 1, 2), date(2023, 12, 29), seed=5)


@pytest.fixture(scope="module")
def served() -> Iterator[BaostockStandIn]:
    with BaostockStandIn(book(), close_of(book().days[-1])) as standin:
        yield standin


@pytest.fixture
def standin(served: BaostockStandIn) -> BaostockStandIn:
    served.faults.clear()
    served.log.clear()
    return served


def feed(standin: BaostockStandIn, seconds: float = 30.0) -> ProviderFeed:
    return ProviderFeed(
        PROVIDER,
        clock=ReplayClock(close_of(book().days[-1])),
        start=book().days[0],
        limits=Limits(request_seconds=seconds, memory_mb=1024),
        environment=standin.environment,
        sleep=lambda _: None,
    )


@needs_baostock
def test_ten_years_come_back_as_they_were_traded(standin: BaostockStandIn) -> None:
    """Prices, volumes, flags and splits are those traded, over two pages, with one log-in.

    Factors have 6 decimals, so an adjustment is within 1e-6 and its cash within that of the price.
    """
    parsed = feed(standin).fetch_parsed(Request("cn", book().days, book().assets))
    wanted = book().bars
    assert parsed.missing == {}
    assert parsed.warnings == ()
    assert parsed.table.schema.equals(BAR_SCHEMA)
    for name in ("session", "asset", "suspended", "st", "limit_up", "limit_down"):
        assert parsed.table[name].equals(wanted[name]), name
    traded = pc.invert(wanted["suspended"])
    found, wanted = parsed.table.filter(traded), wanted.filter(traded)
    for name in (*PRICES, "volume", "amount", "split"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(found["adjustment"], wanted["adjustment"], rtol=1e-6)
    np.testing.assert_allclose(found["dividend"], wanted["dividend"], atol=3e-4)
    assert pc.sum(pc.greater(wanted["split"], 1.0)).as_py() >= 5
    kinds = [entry.kind for entry in standin.log]
    assert kinds.count("login") == 1
    assert kinds.count("history") > len(book().assets)


@needs_baostock
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("404", "empty: BaostockError: 10004011"),
        ("500", "failed: BaostockError: 10005001"),
        ("empty", "empty"),
        ("reset", "failed: BaostockError: 10002007"),
        ("price_x100", "adjustment undetermined: the previous close of"),
        ("missing_session", "empty: no bar of the sessions asked for"),
    ],
)
def test_a_fault_costs_one_asset(standin: BaostockStandIn, fault: str, why: str) -> None:
    """What goes wrong with one share is its reason; the next one is asked on a new connection."""
    one, *others = book().assets[:3]
    standin.faults[fault] = one
    parsed = feed(standin).fetch_parsed(Request("cn", book().days[-1:], (one, *others)))
    assert parsed.missing[one].startswith(why)
    assert set(parsed.sources) == set(others)


@needs_baostock
def test_a_page_that_is_lost_is_an_error(standin: BaostockStandIn) -> None:
    """The library would return the first 2,000 rows as if they were all there are."""
    standin.faults["reset"] = "page 2"
    with pytest.raises(FeedError, match="the page after row 2000 got lost"):
        feed(standin).fetch_parsed(Request("cn", book().days, book().assets[:1]))


@needs_baostock
@pytest.mark.parametrize("fault", ["hang", "truncated_json"])
def test_a_silent_hang_ends_at_the_deadline(standin: BaostockStandIn, fault: str) -> None:
    """A server that is silent, or gone in the middle, costs one query and a child."""
    one, *others = book().assets[:3]
    standin.faults.switch(fault, one, times=2)
    began = monotonic()
    parsed = feed(standin, 3.0).fetch_parsed(Request("cn", book().days[-1:], (one, *others)))
    assert parsed.missing == {one: "timeout: no answer within 3 s"}
    assert set(parsed.sources) == set(others)
    assert monotonic() - began < 60.0


@needs_baostock
def test_the_black_list_stops_the_fetch(standin: BaostockStandIn) -> None:
    """After it nothing more is asked."""
    standin.faults["429"] = "*"
    with pytest.raises(FeedError, match="12 limited"):
        feed(standin).fetch_parsed(Request("cn", book().days[-1:], book().assets))
    assert standin.log == [Asked("login", "", "ok"), Asked("history", book().assets[0], "429")]
