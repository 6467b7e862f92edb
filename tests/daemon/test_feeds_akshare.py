from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon.clock import ReplayClock
from daemon.feeds.akshare import LEAD, AkshareProvider
from daemon.feeds.eastmoney import read_index
from daemon.feeds.protocol import Answer, Parsed, Query, Request
from signals.errors import BarsError
from storage.bars import BAR_SCHEMA
from tests.daemon.eastmoney import (
    FloatArray,
    Quote,
    changed,
    history_table,
    payload,
    snapshot_table,
    walk,
    weekdays,
)

DAYS = weekdays(date(2024, 1, 1), 80)
SESSIONS = tuple(DAYS[-40:])
LAST = SESSIONS[-1]
EVENING = datetime.combine(LAST, time(10, 0), UTC)
HISTORY = Request("cn", SESSIONS, ("600000",))
NAN = float("nan")


def close_of(session: date) -> datetime:
    """Return 15:00 in Shanghai."""
    return datetime.combine(session, time(7, 0), UTC)


def provider(now: datetime = EVENING, closes: Mapping[str, float] | None = None) -> AkshareProvider:
    return AkshareProvider(close_of, ReplayClock(now), lambda _: closes or {})


def answers(
    traded: Any, adjusted: Any, symbol: str = "600000", at: datetime = EVENING
) -> list[Answer]:
    return [
        Answer(
            Query("history", symbol, SESSIONS[0] - LEAD, LAST, (("adjust", adjust),)),
            "ok",
            payload(table),
            "",
            at,
        )
        for adjust, table in (("", traded), ("hfq", adjusted))
    ]


def parsed(
    prices: FloatArray, ratio: FloatArray, *, lots: FloatArray | None = None, shares: Any = 5e8
) -> Parsed:
    """Parse one share's history with a given ratio of adjusted to traded prices."""
    both = prices, np.round(prices * ratio[:, None], 2)
    tables = [history_table(DAYS, each, lots=lots, shares=shares) for each in both]
    return provider().parse(HISTORY, answers(tables[0], tables[1]))


def column(result: Parsed, name: str) -> list[Any]:
    assert result.table.schema.equals(BAR_SCHEMA)
    values: list[Any] = result.table.column(name).to_pylist()
    return values


class TestQueries:
    """How akshare is asked."""

    def test_a_session_that_is_just_over_takes_one_snapshot(self) -> None:
        """After its end and on its own day in Shanghai, one query serves every asset."""
        request = Request("cn", (LAST,), ("600000", "000001"))
        assert provider(closes=CLOSES).queries(request) == [Query("spot")]
        assert len(provider().queries(request)) == 4  # ex-dates could not be told

    @pytest.mark.parametrize(
        ("sessions", "now"),
        [
            ((LAST,), close_of(LAST) - timedelta(minutes=1)),
            ((LAST,), datetime.combine(LAST, time(16, 30), UTC)),
            ((SESSIONS[-2],), EVENING),
            (SESSIONS[-2:], EVENING),
        ],
        ids=["before its end", "after midnight in Shanghai", "an earlier one", "two"],
    )
    def test_anything_else_takes_histories(self, sessions: tuple[date, ...], now: datetime) -> None:
        """Two queries an asset, as traded and adjusted, from long before the first session."""
        queries = provider(now, CLOSES).queries(Request("cn", sessions, ("600000", "000001")))
        assert [query.symbol for query in queries] == ["600000", "600000", "000001", "000001"]
        assert [dict(query.options)["adjust"] for query in queries] == ["", "hfq", "", "hfq"]
        assert {(query.first, query.last) for query in queries} == {
            (sessions[0] - LEAD, sessions[-1])
        }


class TestHistories:
    """Bars from a share's prices as traded and adjusted."""

    def test_bars_are_as_traded(self) -> None:
        """Prices by the names of their columns, lots as shares, amounts in yuan."""
        prices = walk(80)
        result = parsed(prices, np.full(80, 3.7))
        assert result.missing == {}
        assert column(result, "session") == list(SESSIONS)
        for place, name in enumerate(("open", "high", "low", "close")):
            assert column(result, name) == prices[40:, place].tolist()
        assert column(result, "volume") == [4e6] * 40
        amount = np.array(column(result, "amount"))
        assert np.allclose(amount / 4e6, prices[40:, 3])
        assert set(column(result, "adjustment")) == {1.0}
        assert not any(column(result, "suspended"))

    def test_source_is_the_payload_as_traded(self) -> None:
        """What is kept for the bars is the hash of the unadjusted prices' payload."""
        table = history_table(DAYS, walk(80))
        given = answers(table, table)
        assert provider().parse(HISTORY, given).sources == {"600000": given[0].sha256}

    def test_a_dividend_is_the_step_of_the_ratio(self) -> None:
        """On the ex-date the factor is that of the ratio, and the cash is what it implies."""
        prices = walk(80)
        cash = 0.35
        factor = 1.0 / (1.0 - cash / prices[59, 3])
        result = parsed(prices, np.repeat([2.345, 2.345 * factor], [60, 20]))
        adjustment = np.array(column(result, "adjustment"))
        assert np.flatnonzero(adjustment != 1.0).tolist() == [20]
        assert adjustment[20] == pytest.approx(factor, rel=3e-5)
        assert column(result, "dividend")[20] == pytest.approx(cash, abs=1e-3)
        assert set(column(result, "split")) == {1.0}
        assert result.warnings == ()

    def test_bonus_shares_are_told_by_the_turnover(self) -> None:
        """Ten for ten doubles the shares that may be traded: split 2, the rest is cash."""
        prices = walk(80)
        prices[60:] = np.round(prices[60:] / 2.0, 2)
        lots = np.random.default_rng(2).integers(300_000, 900_000, 80).astype(float)
        lots[60:] *= 2
        result = parsed(
            prices,
            np.repeat([1.5, 1.5 * 2.02], [60, 20]),
            lots=lots,
            shares=np.repeat([5e9, 1e10], [60, 20]),
        )
        assert column(result, "split")[20] == 2.0
        assert column(result, "adjustment")[20] == pytest.approx(2.02, rel=1e-4)
        assert column(result, "dividend")[20] == pytest.approx(
            prices[59, 3] * 0.02 / 2.02, rel=0.02
        )

    def test_an_event_the_volume_does_not_divide_is_told(self) -> None:
        """With too little turnover the factor stands, split stays 1, and a warning says so."""
        prices = walk(80)
        prices[60:] = np.round(prices[60:] / 1.5, 2)
        result = parsed(prices, np.repeat([1.0, 1.5], [60, 20]), lots=np.full(80, 500.0))
        assert column(result, "adjustment")[20] == pytest.approx(1.5, rel=1e-3)
        assert column(result, "split")[20] == 1.0
        assert column(result, "dividend")[20] == 0.0
        assert f"600000 on {SESSIONS[20]}" in result.warnings[0]

    def test_events_before_the_request_are_left_out(self) -> None:
        """The lead before the first session shows the factor and is not handed on."""
        result = parsed(walk(80), np.repeat([1.0, 1.03], [30, 50]))
        assert set(column(result, "adjustment")) == {1.0}
        result = parsed(walk(80), np.repeat([1.0, 1.03], [40, 40]))
        assert column(result, "adjustment")[0] == pytest.approx(1.03, rel=1e-3)

    def test_added_dividends_quarantine_the_asset(self) -> None:
        """Adjusted prices that are the traded ones plus cash leave no bars, and it is said."""
        prices = walk(80)
        tables = history_table(DAYS, prices), history_table(DAYS, np.round(prices + 4.0, 2))
        result = provider().parse(HISTORY, answers(*tables))
        assert result.table.num_rows == 0
        assert result.missing["600000"].startswith("adjustment undetermined")
        assert "1 assets have no factor" in result.warnings[0]

    def test_different_sessions_are_undetermined(self) -> None:
        """A session that only one of the two histories has leaves no factor."""
        table = history_table(DAYS, walk(80))
        result = provider().parse(HISTORY, answers(table, table.slice(0, 79)))
        assert "1 sessions are only in" in result.missing["600000"]

    @pytest.mark.parametrize("outcome", ["limited", "timeout", "failed", "empty"])
    def test_one_answer_of_two_is_none(self, outcome: str) -> None:
        """Without adjusted prices the asset is missing, for the reason of the answer that lacks."""
        given = answers(history_table(DAYS, walk(80)), history_table(DAYS, walk(80)))
        bad = Answer(given[1].query, outcome, b"", "why", EVENING)
        assert provider().parse(HISTORY, [given[0], bad]).missing == {"600000": f"{outcome}: why"}
        assert provider().parse(HISTORY, given[:1]).missing == {"600000": "failed: not asked"}

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda table: table.drop_columns(["成交额"]), "no 成交额"),
            (lambda table: table.append_column("新", table["振幅"]), "unknown 新"),
            (
                lambda table: table.rename_columns(
                    ["开盘价" if name == "开盘" else name for name in table.column_names]
                ),
                "no 开盘, unknown 开盘价",
            ),
            (
                lambda table: table.set_column(3, "收盘", pa.array(["-"] * 80)),
                "收盘 is string",
            ),
            (lambda table: table.take([*range(79), 78]), "日期 does not ascend"),
            (lambda table: changed(table, {(5, "日期"): None}), "日期 is null"),
        ],
        ids=["missing", "unknown", "renamed", "text", "twice", "no date"],
    )
    def test_another_schema_is_a_failure(self, change: Any, told: str) -> None:
        """Columns that are missing, unknown or of another kind are named; nothing is guessed."""
        table = history_table(DAYS, walk(80))
        result = provider().parse(HISTORY, answers(change(table), table))
        assert result.missing["600000"].startswith("failed: schema: ")
        assert told in result.missing["600000"]

    def test_what_is_no_table_is_a_failure(self) -> None:
        """Bytes that are no Arrow stream are an asset's failure and nobody else's."""
        given = answers(history_table(DAYS, walk(80)), history_table(DAYS, walk(80)))
        bad = Answer(given[0].query, "ok", b"<html>", "", EVENING)
        reason = provider().parse(HISTORY, [bad, given[1]]).missing["600000"]
        assert reason.startswith("failed: schema: no table")

    @pytest.mark.parametrize("pair", [("开盘", "收盘"), ("收盘", "最高"), ("收盘", "最低")])
    def test_a_close_in_another_column_is_found(self, pair: tuple[str, str]) -> None:
        """The client accepts swapped fields in silence; close less change gives them away."""
        prices = walk(80)
        names = [
            {pair[0]: pair[1], pair[1]: pair[0]}.get(name, name)
            for name in history_table(DAYS, prices).column_names
        ]
        tables = [history_table(DAYS, each).rename_columns(names) for each in (prices, prices * 2)]
        reason = provider().parse(HISTORY, answers(*tables)).missing["600000"]
        assert "close less change is not the previous close" in reason

    def test_a_dash_with_volume_is_a_bar_without_a_price(self) -> None:
        """Volume without prices stays a row, for the gate to set aside and to count."""
        dash = {(70, name): NAN for name in ("开盘", "收盘", "最高", "最低")}
        tables = [changed(history_table(DAYS, each), dash) for each in (walk(80), walk(80) * 2)]
        result = provider().parse(HISTORY, answers(*tables))
        assert column(result, "close")[30] is None
        assert column(result, "volume")[30] == 4e6

    def test_a_session_without_volume_is_no_bar(self) -> None:
        """A row of prices without volume is a suspension told in another way."""
        idle = {(70, "成交量"): 0.0}
        tables = [changed(history_table(DAYS, each), idle) for each in (walk(80), walk(80) * 2)]
        result = provider().parse(HISTORY, answers(*tables))
        assert SESSIONS[30] not in column(result, "session")

    def test_an_unfinished_session_is_left_out(self) -> None:
        """A bar received before its session was final is not handed on."""
        table = history_table(DAYS, walk(80))
        early = close_of(LAST) - timedelta(seconds=1)
        result = provider().parse(HISTORY, answers(table, table, at=early))
        assert column(result, "session") == list(SESSIONS[:-1])

    def test_a_stored_asset_needs_its_last_close(self) -> None:
        """After a suspension longer than the lead an event cannot be excluded."""
        tables = [history_table(DAYS, each).slice(50) for each in (walk(80), walk(80) * 2)]
        fresh = provider().parse(HISTORY, answers(*tables))
        assert column(fresh, "session") == list(SESSIONS[10:])
        stored = provider(closes={"600000": 20.0}).parse(HISTORY, answers(*tables))
        assert stored.missing["600000"].startswith("adjustment undetermined: 400 days")

    def test_limits_follow_the_previous_close(self) -> None:
        """10 % from the close before is a limit; on an ex-date, from that close over the factor."""
        prices = walk(80, start=10.0)
        prices[50:, :] = np.round(prices[49, 3] * 1.1 + 1e-9, 2)
        prices[60:, :] = np.round(prices[59, 3] / 1.25 * 0.9 + 1e-9, 2)
        result = parsed(prices, np.repeat([1.0, 1.25], [60, 20]))
        assert np.flatnonzero(column(result, "limit_up")).tolist() == [10]
        assert np.flatnonzero(column(result, "limit_down")).tolist() == [20]

    def test_no_row_is_a_suspension_where_the_market_trades(self) -> None:
        """One of forty assets without a row was suspended; half of them are told as doubtful."""
        assets = tuple(f"60{number:04d}" for number in range(40))
        given = []
        for number, asset in enumerate(assets):
            keep = [*range(70), *range(71 if number < 1 else 70, 80)]
            keep = [row for row in keep if row != 75 or number >= 20]
            tables = [history_table(DAYS, each).take(keep) for each in (walk(80), walk(80) * 2)]
            given += answers(tables[0], tables[1], asset)
        result = provider().parse(Request("cn", SESSIONS, assets), given)
        rows = result.table.filter(result.table.column("suspended")).to_pylist()
        assert [(row["session"], row["asset"]) for row in rows] == [(DAYS[70], "600000")]
        assert (rows[0]["close"], rows[0]["volume"]) == (None, 0.0)
        keys = list(zip(column(result, "session"), column(result, "asset"), strict=True))
        assert keys == sorted(keys)
        assert len(keys) == 40 * 40 - 20
        assert str(DAYS[75]) in result.warnings[0]

    def test_a_few_assets_are_no_market(self) -> None:
        """Of one asset alone nobody can say that it was suspended: the row is absent."""
        tables = [
            history_table(DAYS, each).take([*range(70), *range(71, 80)])
            for each in (walk(80), walk(80) * 2)
        ]
        result = provider().parse(HISTORY, answers(*tables))
        assert result.table.num_rows == 39


ONE = Request("cn", (LAST,), ("000002", "300001", "600000", "600001"))
QUOTES: Sequence[Quote] = (
    ("000002", "万科A", 10.0, 10.3, 9.9, 10.2, 10.0, 5_000.0),
    ("300001", "特锐德", 20.0, 24.0, 20.0, 24.0, 20.0, 7_000.0),
    ("600000", "浦发银行", 8.0, 8.1, 7.9, 8.05, 8.0, 9_000.0),
    ("600001", "*ST 邯钢", 3.1, 3.15, 3.1, 3.15, 3.0, 1_000.0),
    *((f"60{n:04d}", "其他", 5.0, 5.1, 4.9, 5.05, 5.0, 100.0) for n in range(100, 120)),
)
CLOSES = {"000002": 10.0, "300001": 20.0, "600000": 8.0, "600001": 3.0}


def spot(table: Any, closes: Mapping[str, float] = CLOSES, at: datetime = EVENING) -> Parsed:
    answer = Answer(Query("spot"), "ok", payload(table), "", at)
    return provider(closes=closes).parse(ONE, [answer])


def quotes(*replaced: Quote) -> Any:
    by_code = {quote[0]: quote for quote in (*QUOTES, *replaced)}
    return snapshot_table(list(by_code.values()))


class TestSnapshot:
    """Bars of one session from the snapshot of the whole market."""

    def test_bars_of_the_assets_asked_for(self) -> None:
        """Prices, lots as shares, risk warnings and limits by board; no event, no warning."""
        result = spot(quotes())
        assert result.missing == {}
        assert result.warnings == ()
        assert column(result, "asset") == list(ONE.assets or ())
        assert set(column(result, "session")) == {LAST}
        assert column(result, "close") == [10.2, 24.0, 8.05, 3.15]
        assert column(result, "open") == [10.0, 20.0, 8.0, 3.1]
        assert column(result, "volume") == [5e5, 7e5, 9e5, 1e5]
        assert column(result, "amount")[0] == pytest.approx(5e5 * 10.2)
        assert column(result, "st") == [False, False, False, True]
        assert column(result, "limit_up") == [False, True, False, True]
        assert not any(column(result, "limit_down"))
        assert set(column(result, "adjustment")) == {1.0}
        assert set(result.sources) == set(ONE.assets or ())

    def test_a_previous_close_below_the_stored_one_is_an_ex_date(self) -> None:
        """The factor is the stored close over the previous one; up to 5 % it is cash."""
        result = spot(quotes(), {**CLOSES, "600000": 8.2})
        assert column(result, "adjustment") == [1.0, 1.0, pytest.approx(8.2 / 8.0), 1.0]
        assert column(result, "dividend")[2] == pytest.approx(0.2)

    def test_a_large_event_may_hold_bonus_shares(self) -> None:
        """Its factor stands; split stays 1 until a history is read, and a warning says so."""
        result = spot(quotes(), {**CLOSES, "600000": 16.2})
        assert column(result, "adjustment")[2] == pytest.approx(2.025)
        assert (column(result, "split")[2], column(result, "dividend")[2]) == (1.0, 0.0)
        assert (
            "1 events may hold bonus shares: split is 1 until a history is read (600000)"
            in result.warnings[0]
        )

    def test_what_cannot_be_an_ex_date_is_quarantined(self) -> None:
        """A previous close above the stored one, and a gap in the store, leave no factor."""
        result = spot(quotes(), {**CLOSES, "600000": 7.9, "000002": NAN})
        assert column(result, "asset") == ["300001", "600001"]
        assert "above the stored" in result.missing["600000"]
        assert "not stored" in result.missing["000002"]
        assert "2 assets have no factor" in result.warnings[0]

    def test_an_asset_never_stored_begins_here(self) -> None:
        """Without any bar before there is nothing to adjust."""
        closes = {name: close for name, close in CLOSES.items() if name != "600000"}
        assert column(spot(quotes(), closes), "adjustment")[2] == 1.0

    def test_another_sessions_snapshot_is_a_failure(self) -> None:
        """Yesterday's snapshot has the previous closes of the day before yesterday."""
        yesterday = {code: close * 1.01 for code, close in CLOSES.items()}
        result = spot(quotes(), yesterday)
        assert set(result.missing) == set(ONE.assets or ())
        assert f"the snapshot is not of {LAST}" in result.missing["600000"]
        assert result.missing["600000"].startswith("failed: ")

    @pytest.mark.parametrize(
        "at", [close_of(LAST) - timedelta(seconds=1), EVENING + timedelta(hours=12)]
    )
    def test_a_snapshot_from_another_time_is_a_failure(self, at: datetime) -> None:
        """Before the session's end and after its day it shows something else."""
        assert "no snapshot of" in spot(quotes(), at=at).missing["600000"]

    def test_no_volume_is_a_suspension(self) -> None:
        """Dashes or no volume while the market trades: a suspended row without an event."""
        idle: Quote = ("600000", "浦发银行", NAN, NAN, NAN, NAN, 7.0, NAN)
        result = spot(quotes(idle))
        row = result.table.to_pylist()[2]
        assert (row["asset"], row["suspended"], row["close"], row["volume"]) == (
            *("600000", True, None, 0.0),
        )
        assert row["adjustment"] == 1.0

    def test_a_market_without_volume_suspends_nobody(self) -> None:
        """Where much of the snapshot has no volume, those assets are missing."""
        idle = [(*quote[:7], 0.0) for quote in QUOTES if quote[0] > "600001"]
        stopped: Quote = ("600000", "浦发银行", 8.0, 8.0, 8.0, 8.0, 8.0, 0.0)
        result = spot(quotes(stopped, *idle))
        assert "600000" in result.missing
        assert not any(column(result, "suspended"))
        assert "have no volume" in result.warnings[0]

    def test_a_dash_with_volume_is_a_bar_without_a_price(self) -> None:
        """Volume without prices stays a row, for the gate to set aside."""
        result = spot(quotes(("600000", "浦发银行", NAN, NAN, NAN, NAN, 8.0, 9_000.0)))
        assert column(result, "close")[2] is None
        assert column(result, "volume")[2] == 9e5

    def test_an_asset_that_is_not_in_it_is_missing(self) -> None:
        """Who left the market has no row in the snapshot."""
        table = quotes()
        result = spot(
            table.filter(pa.array([code != "600000" for code in table["代码"].to_pylist()]))
        )
        assert result.missing == {"600000": "empty: not in the snapshot"}

    def test_a_new_listing_has_no_limit(self) -> None:
        """On the first five sessions, which the name tells, no price is a limit."""
        new: Quote = ("600000", "N浦发", 8.8, 8.8, 8.8, 8.8, 8.0, 9_000.0)
        assert column(spot(quotes(new)), "limit_up")[2] is False

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda table: table.drop_columns(["昨收"]), "no 昨收"),
            (lambda table: pa.concat_tables([table, table.slice(2, 1)]), "names a share twice"),
            (
                lambda table: table.rename_columns(
                    [
                        {"最新价": "今开", "今开": "最新价"}.get(name, name)
                        for name in table.column_names
                    ]
                ),
                "close less change is not the previous close",
            ),
        ],
        ids=["missing column", "a share twice", "swapped columns"],
    )
    def test_another_schema_fails_every_asset(self, change: Any, told: str) -> None:
        """One bad snapshot is no bars at all."""
        result = spot(change(quotes()))
        assert set(result.missing) == set(ONE.assets or ())
        assert result.missing["600000"].startswith("failed: schema: ")
        assert told in result.missing["600000"]
        assert result.table.num_rows == 0

    def test_a_snapshot_that_failed_fails_every_asset(self) -> None:
        """The outcome of the one query is everybody's."""
        answer = Answer(Query("spot"), "limited", b"", "closed", EVENING)
        result = provider().parse(ONE, [answer])
        assert set(result.missing.values()) == {"limited: closed"}


def test_index_closes_are_read_by_day() -> None:
    """The dates of an index are text, and become days."""
    names = ("open", "close", "high", "low", "volume", "amount")
    numbers = dict.fromkeys(names, pa.array([5000.0, 5010.0]))
    table = pa.table({"date": ["2024-01-02", "2024-01-03"], **numbers})
    days, closes = read_index(payload(table))
    assert days.tolist() == [date(2024, 1, 2), date(2024, 1, 3)]
    assert closes.tolist() == [5000.0, 5010.0]
    broken = payload(pa.table({"date": ["2024-01-02", "-"], **numbers}))
    with pytest.raises(BarsError, match="date"):
        read_index(broken)
