from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from functools import cache
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import requests

from daemon.clock import ReplayClock
from daemon.feeds.akshare import AkshareProvider
from daemon.feeds.child import Child, Limits
from daemon.feeds.clients.akshare import classify
from daemon.feeds.eastmoney import read_index
from daemon.feeds.protocol import Parsed, Query, Request
from daemon.feeds.provider import ProviderFeed
from signals.errors import FeedError
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

PRICES = ("open", "high", "low", "close")
pytestmark = pytest.mark.filterwarnings("ignore:Series.values:DeprecationWarning")


def close_of(session: date) -> datetime:
    """Return 15:00 in Shanghai."""
    return datetime.combine(session, time(7, 0), UTC)


@cache
def book() -> MarketBook:
    return MarketBook.synthetic("cn", n_assets=34, first=date(2023, 1, 3), last=date(2024, 3, 29))


def sessions() -> tuple[date, ...]:
    """Return the last 60 sessions but the very last."""
    return book().days[-61:-1]


def evening() -> datetime:
    """Return three hours after the last session."""
    return datetime.combine(book().days[-1], time(10, 0), UTC)


@pytest.fixture(scope="module")
def market() -> Iterator[StandIn]:
    with StandIn(book(), evening()) as standin:
        yield standin


@pytest.fixture(autouse=True)
def _no_faults(market: StandIn) -> None:
    market.faults.clear()


def last_closes(session: date) -> Mapping[str, float]:
    """Return the last close as traded before a session, as a store has it."""
    row = book().days.index(session) - 1
    traded = np.where(book().present & ~book().suspended, book().values["close"], np.nan)[: row + 1]
    return {
        asset: float(column[np.isfinite(column)][-1])
        for asset, column in zip(book().assets, traded.T, strict=True)
        if np.isfinite(column).any()
    }


def fetch(
    market: StandIn, request: Request, *, stored: bool = True, seconds: float = 20.0
) -> Parsed:
    clock = ReplayClock(evening())
    feed = ProviderFeed(
        AkshareProvider(close_of, clock, last_closes if stored else lambda _: {}),
        clock=clock,
        start=book().days[0],
        limits=Limits(request_seconds=seconds),
        max_failed=1.0,
        environment=market.environment,
        sleep=lambda _: None,
    )
    return feed.fetch_parsed(request)


def rows(table: Any, request: Request) -> dict[tuple[date, str], dict[str, Any]]:
    return {
        (row["session"], row["asset"]): row
        for row in table.to_pylist()
        if row["session"] in request.sessions and row["asset"] in (request.assets or ())
    }


def test_histories_through_the_real_client_are_the_market(market: StandIn) -> None:
    """Prices, volumes, amounts, suspensions and factors come back as they were."""
    request = Request("cn", sessions(), book().assets)
    parsed = fetch(market, request, stored=False)
    given, wanted = rows(parsed.table, request), rows(book().bars, request)
    assert set(given) | {key for key in wanted if key[1] in parsed.missing} >= set(wanted)
    events = 0
    for key, bar in given.items():
        true = wanted.get(key)
        if true is None or true["suspended"]:
            assert bar["suspended"], key  # a share that left counts as suspended
            continue
        assert [bar[name] for name in PRICES] == [true[name] for name in PRICES], key
        assert bar["volume"] == true["volume"]
        assert bar["amount"] == pytest.approx(true["amount"])
        assert bar["adjustment"] == pytest.approx(true["adjustment"], rel=1e-4), key
        if not true["st"]:
            flags = ("limit_up", "limit_down")
            assert [bar[name] for name in flags] == [true[name] for name in flags], key
        events += true["adjustment"] != 1.0
    assert events > 0
    assert any(bar["suspended"] for bar in given.values())


def test_a_snapshot_through_the_real_client_is_the_session(market: StandIn) -> None:
    """One query gives the last session of every share, with risk warnings and limits."""
    request = Request("cn", (book().days[-1],), book().assets)
    parsed = fetch(market, request)
    given, wanted = rows(parsed.table, request), rows(book().bars, request)
    assert set(given) | {(book().days[-1], asset) for asset in parsed.missing} >= set(wanted)
    for key, true in wanted.items():
        bar = given[key]
        assert bar["suspended"] == true["suspended"]
        if not true["suspended"]:
            compared = (*PRICES, "volume", "st", "limit_up", "limit_down")
            assert [bar[name] for name in compared] == [true[name] for name in compared]
            bound = 0.0051 / true["close"]
            assert bar["adjustment"] == pytest.approx(true["adjustment"], rel=bound)
    lists = [entry for entry in market.log if entry.path.endswith("/clist/get")]
    assert len(lists) == 1


def test_faults_of_a_snapshots_rows(market: StandIn) -> None:
    """Dashes in every field suspend; a volume without prices stays, for the gate."""
    row = ~book().suspended[-1] & book().present[-1]
    dash, nan_bar = np.array(book().assets)[row][1:3].tolist()
    market.faults["dash"], market.faults["nan_bar"] = dash, nan_bar
    request = Request("cn", (book().days[-1],), (dash, nan_bar, "999999"))
    parsed = fetch(market, request)
    given = {asset: bar for (_, asset), bar in rows(parsed.table, request).items()}
    assert (given[dash]["suspended"], given[dash]["close"]) == (True, None)
    assert (given[nan_bar]["suspended"], given[nan_bar]["close"]) == (False, None)
    assert parsed.missing == {"999999": "empty: not in the snapshot"}


def test_yesterdays_snapshot_is_refused(market: StandIn) -> None:
    """A list that stands still is of another session, and nobody's bar is taken from it."""
    market.now = close_of(book().days[-2])
    try:
        with pytest.raises(FeedError, match=f"the snapshot is not of {book().days[-1]}"):
            fetch(market, Request("cn", (book().days[-1],), book().assets))
    finally:
        market.now = evening()


def test_each_fault_costs_its_asset(market: StandIn) -> None:
    """Through the real client every fault is a reason, or a row the gate sets aside."""
    there = [asset for asset, left in zip(book().assets, book().present[-2], strict=True) if left]
    healthy = [a for a in there if not book().suspended[-61:, book().columns[a]].any()]
    faults: tuple[str, ...] = ("html", "500", "empty", "extra_field", "truncated_json")
    faults += ("swapped_columns", "dash", "nan_bar", "lots_as_shares", "shares_as_lots", "hang")
    struck = dict(zip(faults, healthy, strict=False))
    for name, asset in struck.items():
        row = sessions()[-1] if name in ("dash", "nan_bar") else None
        market.faults.switch(name, asset, session=row)
    well = healthy[len(faults)]
    assets = (*struck.values(), well)
    parsed = fetch(market, Request("cn", sessions(), assets), stored=False, seconds=4.0)
    reasons = {name: parsed.missing.get(asset) for name, asset in struck.items()}
    assert well not in parsed.missing
    assert str(reasons["html"]).startswith("failed: JSONDecodeError")
    assert str(reasons["truncated_json"]).startswith("failed: JSONDecodeError")
    assert str(reasons["500"]).startswith("failed: KeyError")
    assert str(reasons["extra_field"]).startswith("failed: ValueError")
    assert reasons["empty"] == "empty"
    assert str(reasons["hang"]).split(":")[0] in ("timeout", "failed")
    assert "close less change" in str(reasons["swapped_columns"])
    bars = rows(parsed.table, Request("cn", sessions(), assets))
    assert (sessions()[-1], struck["dash"]) not in bars  # without volume: no bar
    assert (sessions()[-2], struck["dash"]) in bars
    unpriced = bars[(sessions()[-1], struck["nan_bar"])]
    assert (unpriced["close"], unpriced["suspended"]) == (None, False)
    assert unpriced["volume"] > 0
    checks = {name: bars[(sessions()[-1], struck[name])] for name in faults if "lots" in name}
    units = {name: bar["amount"] / bar["close"] / bar["volume"] for name, bar in checks.items()}
    assert units["lots_as_shares"] == pytest.approx(100.0, rel=0.2)  # what the gate looks at
    assert units["shares_as_lots"] == pytest.approx(0.01, rel=0.2)


def test_a_closed_connection_stops_the_fetch(market: StandIn) -> None:
    """Eastmoney turns heavy users away by closing: nothing more is asked."""
    market.faults["reset"] = book().assets[1]
    market.log.clear()
    parsed = fetch(market, Request("cn", sessions(), book().assets[:6]), stored=False)
    assert sorted(parsed.missing) == sorted(book().assets[1:6])
    assert {reason.split(":")[0] for reason in parsed.missing.values()} == {"limited"}
    assert {entry.symbol for entry in market.log} == {book().assets[0], book().assets[1]}


def test_constituents_and_index_through_the_real_client(market: StandIn, tmp_path: Path) -> None:
    """The members of the CSI 500 and the closes of the index come back as they are."""
    with Child("daemon.feeds.clients.akshare", Limits(), tmp_path, market.environment) as child:
        members = child.ask(Query("constituents", "000905"))
        index = child.ask(Query("index", "sh000905", sessions()[0], book().days[-1]))
        forward = child.ask(Query("history", "600000", options=(("adjust", "qfq"),)))
        unknown = child.ask(Query("sina", "600000"))
    with pa.ipc.open_stream(members.payload) as stream:
        assert set(stream.read_all()["成分券代码"].to_pylist()) == set(
            book().members(book().days[-1])
        )
    days, closes = read_index(index.payload)
    assert days.tolist() == list(book().days[-61:])
    assert closes == pytest.approx(book().index.values["close"][-61:], abs=0.0051)
    assert (forward.outcome, unknown.outcome) == ("failed", "failed")
    assert "qfq" in forward.error


def test_what_turns_a_heavy_user_away_is_limited() -> None:
    """A closed connection and the statuses 403 and 429 are limits; other errors are failures."""
    closed = requests.ConnectionError(ConnectionError("aborted", RemoteDisconnected("closed")))
    assert classify(closed) == "limited"
    answer = requests.Response()
    answer.status_code = 429
    assert classify(requests.HTTPError("429", response=answer)) == "limited"
    answer.status_code = 500
    assert classify(requests.HTTPError("500", response=answer)) == "failed"
    assert classify(requests.ReadTimeout("slow")) == "failed"
    assert classify(requests.ConnectionError(ConnectionRefusedError(111, "refused"))) == "failed"
