from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from daemon.calendar import MarketCalendar, Overlay
from daemon.feeds.open import open_feed
from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.feeds.provider import ProviderFeed
from daemon.feeds.yahoo import YahooProvider
from daemon.settings import FeedSettings, MarketSettings, UniverseSettings, config_hash
from storage.bars import BAR_SCHEMA

CALENDAR = MarketCalendar("XNYS", Overlay())
PROVIDER = YahooProvider(lambda day: CALENDAR.finality(day, 90))
LATER = datetime(2024, 12, 31, 23, tzinfo=UTC)
DAYS = tuple(CALENDAR.sessions(date(2024, 11, 18), date(2024, 12, 6)))
Row = dict[str, Any]


def traded(days: Sequence[date] = DAYS, close: float = 100.0) -> dict[date, Row]:
    """Return a plain history as traded, the same every day."""
    bar = {"Open": close, "High": close + 2, "Low": close - 2, "Close": close, "Volume": 1000.0}
    return {day: dict(bar) for day in days}


def payload(
    bars: Mapping[date, Row],
    splits: Mapping[date, float] | None = None,
    dividends: Mapping[date, float] | None = None,
) -> bytes:
    """Return bars as traded as Yahoo tells them: in today's shares."""
    splits, dividends = splits or {}, dividends or {}
    rows = []
    for day in sorted({*bars, *splits, *dividends}):
        ratio = float(np.prod([each for ex_date, each in splits.items() if ex_date > day]))
        bar = bars.get(day, dict.fromkeys(("Open", "High", "Low", "Close")) | {"Volume": 0.0})
        told = {name: None if value is None else value / ratio for name, value in bar.items()}
        told["Volume"] = bar["Volume"] * ratio
        events = {"Stock Splits": splits.get(day, 0.0), "Dividends": dividends.get(day, 0.0)}
        events["Dividends"] /= ratio
        rows.append({"Date": day, "Adj Close": 1.0, **told, **events})
    return serialised(pa.Table.from_pylist(rows))


def serialised(table: Any) -> bytes:
    buffer = BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def answer(asset: str, data: bytes, at: datetime = LATER) -> Answer:
    (query,) = PROVIDER.queries(Request("us", DAYS, (asset,)))
    return Answer(query, "ok", data, "", at)


def parse(data: bytes, sessions: Sequence[date] = DAYS, at: datetime = LATER) -> Parsed:
    """Return the bars of the only asset AAA."""
    return PROVIDER.parse(Request("us", tuple(sessions), ("AAA",)), [answer("AAA", data, at)])


def test_a_query_reaches_from_before_the_first_session_to_the_present() -> None:
    """The last close before the first session and every later split are asked for."""
    (query,) = PROVIDER.queries(Request("us", DAYS[3:4], ("BRK.B",)))
    assert query.symbol == "BRK-B"
    assert query.first is not None
    assert query.first <= CALENDAR.previous_session(DAYS[3], 5)
    assert query.last is None


def test_plain_bars_come_back_in_the_schema() -> None:
    """Without events the bars are Yahoo's, sorted by session and asset, with the payload's hash."""
    data = {"AAA": payload(traded()), "BRK.B": payload(traded(close=50.0))}
    answers = [answer(asset, each) for asset, each in reversed(data.items())]
    request = Request("us", DAYS[-2:], ("BRK.B", "AAA"))
    parsed = PROVIDER.parse(request, answers)
    assert parsed.table.schema.equals(BAR_SCHEMA)
    keys = list(
        zip(*(parsed.table[name].to_pylist() for name in ("session", "asset")), strict=True)
    )
    assert keys == [(day, asset) for day in DAYS[-2:] for asset in ("AAA", "BRK.B")]
    assert parsed.table["close"].to_pylist() == [100.0, 50.0, 100.0, 50.0]
    assert parsed.table["volume"].to_pylist() == [1000.0] * 4
    assert parsed.table["adjustment"].to_pylist() == [1.0] * 4
    assert parsed.sources == {each.query.symbol.replace("-", "."): each.sha256 for each in answers}
    assert (parsed.missing, parsed.warnings) == ({}, ())


def test_a_split_leaves_ten_years_as_they_were_traded() -> None:
    """A 4-for-1 split restates every close before it; the rows made of them stay the same."""
    days = CALENDAR.sessions(date(2014, 12, 1), date(2024, 12, 6))
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, len(days))))
    bars = {day: traded([day], close)[day] for day, close in zip(days, closes, strict=True)}
    ex_date = days[-1]
    for name in ("Open", "High", "Low", "Close"):
        bars[ex_date][name] /= 4.0
    before = {day: bar for day, bar in bars.items() if day < ex_date}
    old = parse(payload(before, dividends={days[40]: 0.5}), days[10:-1])
    new = parse(payload(bars, {ex_date: 4.0}, {days[40]: 0.5}), days[10:])
    kept = new.table.slice(0, old.table.num_rows)
    for name in BAR_SCHEMA.names:
        if pa.types.is_floating(BAR_SCHEMA.field(name).type) and name != "amount":
            np.testing.assert_allclose(kept[name], old.table[name], rtol=1e-12, err_msg=name)
    (last,) = new.table.slice(old.table.num_rows).to_pylist()
    assert (last["session"], last["split"], last["adjustment"]) == (ex_date, 4.0, 4.0)
    assert last["close"] == pytest.approx(closes[-1] / 4.0, rel=1e-12)


def test_a_dividend_is_told_as_it_was_paid() -> None:
    """2 dollars paid before a 2-for-1 split are 2 dollars, and 2 % of the close before."""
    parsed = parse(payload(traded(), {DAYS[9]: 2.0}, {DAYS[5]: 2.0}))
    row = parsed.table.to_pylist()[5]
    assert row["dividend"] == 2.0
    assert row["adjustment"] == pytest.approx(1.0 / 0.98, rel=1e-12)
    assert row["split"] == 1.0


def test_a_dividend_on_the_day_of_a_split() -> None:
    """1 dollar for each of four new shares is 4 dollars on 100: 4 %, and the factors multiply.

    Yahoo's own adjusted close says so too: 1 - dividend / close before, both in today's shares.
    """
    bars = traded(DAYS[:5]) | traded(DAYS[5:], 25.0)
    row = parse(payload(bars, {DAYS[5]: 4.0}, {DAYS[5]: 1.0})).table.to_pylist()[5]
    assert (row["dividend"], row["split"]) == (4.0, 4.0)
    assert row["adjustment"] == pytest.approx(4.0 / (1.0 - 1.0 / 25.0), rel=1e-12)


def test_the_close_before_the_first_session_is_used() -> None:
    """An ex-date that is the only session asked for has its factor."""
    (row,) = parse(payload(traded(), None, {DAYS[5]: 1.0}), DAYS[5:6]).table.to_pylist()
    assert row["adjustment"] == pytest.approx(1.0 / 0.99, rel=1e-12)


def test_a_dividend_without_a_close_before_is_told() -> None:
    """On the first bar there is, a dividend moves nothing, and a warning says so."""
    parsed = parse(payload(traded(), None, {DAYS[0]: 1.0}))
    assert parsed.table["adjustment"][0].as_py() == 1.0
    assert parsed.warnings == (f"AAA: the close before the dividend of {DAYS[0]} is unknown",)


def test_an_unfinished_bar_is_left_out() -> None:
    """A bar received before its session is final is no bar, and that is told."""
    at = CALENDAR.finality(DAYS[6], 90) - timedelta(minutes=1)
    parsed = parse(payload(traded(DAYS[:7])), DAYS[:7], at)
    assert parsed.table["session"].to_pylist() == list(DAYS[:6])
    assert parsed.warnings == (f"{DAYS[6]}: 1 bars not finished yet (AAA)",)
    assert parse(payload(traded(DAYS[:7])), DAYS[:7], at + timedelta(minutes=1)).warnings == ()


@pytest.mark.parametrize("name", ["Open", "High", "Low", "Close"])
def test_a_bar_without_a_price_is_left_out(name: str) -> None:
    """Volume without one of the prices is no bar; the day and the asset are told."""
    bars = traded()
    bars[DAYS[4]][name] = None
    parsed = parse(payload(bars))
    assert DAYS[4] not in parsed.table["session"].to_pylist()
    assert parsed.table.num_rows == len(DAYS) - 1
    assert parsed.warnings == (f"{DAYS[4]}: 1 bars without prices (AAA)",)


def test_a_session_without_a_row_is_absent() -> None:
    """Nothing is made up, and nothing is said: coverage tells."""
    parsed = parse(payload(traded([day for day in DAYS if day != DAYS[4]])))
    assert DAYS[4] not in parsed.table["session"].to_pylist()
    assert (parsed.missing, parsed.warnings) == ({}, ())


def test_the_event_of_a_day_without_a_bar_counts_from_the_next() -> None:
    """A split and dividends that fall on days without bars are not lost."""
    gone, target = DAYS[5:7], DAYS[7]
    bars = traded(DAYS[:5]) | traded(DAYS[7:], 50.0)
    parsed = parse(payload(bars, {gone[1]: 2.0}, {gone[0]: 1.0, gone[1]: 0.5}))
    (row,) = (row for row in parsed.table.to_pylist() if row["session"] == target)
    assert (row["split"], row["dividend"], row["close"]) == (2.0, 2.0, 50.0)
    assert row["adjustment"] == pytest.approx(2.0 / (1.0 - 2.0 / 100.0), rel=1e-12)
    assert parsed.table["close"][0].as_py() == 100.0
    assert sum(f"counts from {target} on" in text for text in parsed.warnings) == 2


def test_a_split_before_its_first_bar_is_undone_already() -> None:
    """On the morning of an ex-date Yahoo has the split and no bar: closes before stay as traded."""
    parsed = parse(payload(traded(DAYS[:5]), {DAYS[5]: 3.0}), DAYS[:5])
    np.testing.assert_allclose(parsed.table["close"], 100.0, rtol=1e-12)
    assert set(parsed.table["split"].to_pylist()) == {1.0}


@pytest.mark.parametrize(
    ("outcome", "error", "reason"),
    [
        ("timeout", "no answer within 30 s", "timeout: no answer within 30 s"),
        ("limited", "", "limited"),
        ("empty", "", "empty"),
    ],
)
def test_an_asset_without_an_answer_is_missing(outcome: str, error: str, reason: str) -> None:
    """It is named with the reason; the others have their bars."""
    bad = Answer(Query("history", "BBB"), outcome, b"", error, LATER)
    request = Request("us", DAYS, ("AAA", "BBB", "CCC"))
    parsed = PROVIDER.parse(request, [answer("AAA", payload(traded())), bad])
    assert parsed.missing == {"BBB": reason, "CCC": "failed: not asked"}
    assert parsed.table.num_rows == len(DAYS)


def test_an_asset_that_cannot_be_spelt_is_missing() -> None:
    """A name Yahoo has no spelling of costs only itself."""
    request = Request("us", DAYS, ("AAA", "no ticker"))
    assert len(PROVIDER.queries(request)) == 1
    parsed = PROVIDER.parse(request, [answer("AAA", payload(traded()))])
    assert parsed.missing == {"no ticker": "empty: yahoo has no spelling of it"}


def test_an_asset_without_a_wanted_bar_is_missing() -> None:
    """An answer about other days is an empty one."""
    parsed = parse(payload(traded(DAYS[:5])), DAYS[5:])
    assert parsed.missing == {"AAA": "empty: no bar of the sessions asked for"}
    assert parsed.table.equals(BAR_SCHEMA.empty_table())


PLAIN = pa.ipc.open_stream(BytesIO(payload(traded()))).read_all()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<html>", ""),
        (serialised(PLAIN.drop_columns(["Dividends"])), "a column is absent: "),
        (serialised(pa.concat_tables([PLAIN, PLAIN])), "its days are not ascending"),
        (payload(traded(), {DAYS[5]: -2.0}), "negative or infinite"),
        (payload(traded(), None, {DAYS[5]: -2.0}), "negative or infinite"),
        (payload(traded(), None, {DAYS[5]: 100.0}), f"the dividend of {DAYS[5]} is not below"),
        (serialised(PLAIN.set_column(1, "Open", pa.array(["-"] * len(DAYS)))), ""),
    ],
    ids=["html", "column", "twice", "split", "dividend", "everything", "dash"],
)
def test_what_cannot_be_bars_is_missing(data: bytes, why: str) -> None:
    """A payload of another shape, or with impossible events, costs its asset and says why."""
    (reason,) = parse(data).missing.values()
    assert reason.startswith("failed: ")
    assert why in reason


def test_settings_open_the_feed() -> None:
    """Kind `yahoo` is a feed of that name, whose history starts at `start`."""
    feed = open_feed(FeedSettings(kind="yahoo", start=date(2020, 1, 2)), CALENDAR)
    assert isinstance(feed, ProviderFeed)
    assert (feed.name, feed.history(date(2024, 1, 2))) == ("yahoo", date(2020, 1, 2))


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [("yahoo", "path"), ("akshare", "assets"), ("simulated", "pace_seconds"), ("yahoo", "seed")],
)
def test_a_setting_of_another_kind_is_refused(kind: str, foreign: str) -> None:
    """What means nothing to a kind of feed is named."""
    with pytest.raises(ValidationError, match=f"{foreign} has no meaning for kind `{kind}`"):
        FeedSettings.model_validate({"kind": kind, foreign: "5"})


SP500 = UniverseSettings(index="sp500")


def test_how_a_provider_is_asked_changes_no_result() -> None:
    """Pace, deadline and memory are no part of the hash of settings; the kind and start are."""
    plain, slow, other = (
        config_hash(MarketSettings(feed=FeedSettings(kind="yahoo", **given), universe=SP500))
        for given in ({}, {"pace_seconds": 9.0, "memory_mb": 4096}, {"start": date(2020, 1, 2)})
    )
    assert plain == slow != other
