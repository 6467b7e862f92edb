"""The real yfinance, unmodified, is told what the book says as Yahoo tells it; two more sources."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from tests.standins import MarketBook, StandIn
from tests.standins.asked import Asked
from tests.standins.conftest import after, traded

PRICES = ["open", "high", "low", "close"]
#: yfinance's names for the prices.
TITLES = ["Open", "High", "Low", "Close"]
WHOLE = {"start": "2022-01-01", "end": "2024-01-01", "auto_adjust": False}
SHORT = {"start": "2023-12-20", "end": "2024-01-01", "auto_adjust": False}
PAGE = "https://en.wikipedia.org/wiki/List_of_S%26P_500_companies"


def split_day(book: MarketBook, asset: str) -> date:
    bars = traded(book, asset)
    day: date = bars.index[bars["split"] != 1.0][0]
    return day


class TestYahoo:
    def test_history_is_restated_by_splits(self, us: StandIn, yahoo_client: Asked) -> None:
        """Prices are divided by later splits to a 32-bit float, volumes multiplied exactly."""
        frame = yahoo_client.ask("history", "AAA", **WHOLE)
        bars = traded(us.book, "AAA")
        later = after(bars["split"])
        assert list(frame.index.date) == list(bars.index)
        assert later.iloc[0] == 2.0
        restated = bars[PRICES].div(later, axis=0)
        assert np.allclose(frame[TITLES], restated, rtol=6e-8, atol=0)
        assert list(frame["Volume"]) == list(bars["volume"] * later)

    def test_events_are_yahoos(self, us: StandIn, yahoo_client: Asked) -> None:
        """Dividends are split-adjusted with 6 decimals, splits stand on their ex-dates."""
        frame = yahoo_client.ask("history", "AAA", **WHOLE)
        bars = traded(us.book, "AAA")
        told = bars["dividend"] / after(bars["split"])
        assert (bars["dividend"] > 0).sum() > 3
        assert np.allclose(frame["Dividends"], told, rtol=0, atol=5.1e-7)
        assert list(frame["Stock Splits"]) == list(bars["split"].where(bars["split"] != 1.0, 0.0))

    def test_adjusted_close_holds_dividends(self, us: StandIn, yahoo_client: Asked) -> None:
        """Returns of the adjusted close are the book's total returns."""
        frame = yahoo_client.ask("history", "AAA", **WHOLE)
        bars = traded(us.book, "AAA")
        total = (bars["close"] * bars["adjustment"].cumprod()).pct_change()
        assert np.allclose(frame["Adj Close"].pct_change()[1:], total[1:], rtol=0, atol=3e-7)

    def test_a_split_to_come_is_not_known(self, us: StandIn, yahoo_client: Asked) -> None:
        """The evening before a split, prices are as traded; its morning restates them."""
        day = split_day(us.book, "AAA")
        bars = traded(us.book, "AAA")[lambda rows: rows.index < day]
        us.now = datetime.combine(day, datetime.min.time(), UTC)
        before = yahoo_client.ask("history", "AAA", **WHOLE)
        us.now += timedelta(hours=10)
        morning = yahoo_client.ask("history", "AAA", **{**WHOLE, "end": str(day)})
        assert np.allclose(before["Close"], bars["close"], rtol=6e-8, atol=0)
        assert np.allclose(morning["Close"], bars["close"] / 2.0, rtol=6e-8, atol=0)
        assert (morning["Stock Splits"] == 0.0).all()

    @pytest.mark.parametrize(("minutes", "sessions"), [(-1, 3), (0, 4)])
    def test_a_session_is_told_from_its_close(
        self, us: StandIn, yahoo_client: Asked, minutes: int, sessions: int
    ) -> None:
        """The half day after Thanksgiving is there from 13:00 in New York, not a minute before."""
        us.now = datetime(2023, 11, 24, 18, 0, tzinfo=UTC) + timedelta(minutes=minutes)
        frame = yahoo_client.ask("history", "AAA", start="2023-11-20", end="2023-11-25")
        assert len(frame) == sessions

    def test_dot_becomes_a_dash(self, us: StandIn, yahoo_client: Asked) -> None:
        """BRK.B is asked for as BRK-B, and logged under its canonical name."""
        frame = yahoo_client.ask("history", "BRK-B", **SHORT)
        told = us.log[-1]
        assert np.allclose(frame["Close"], traded(us.book, "BRK.B")["close"][-len(frame) :])
        assert (told.path, told.symbol, told.outcome) == ("/v8/finance/chart/BRK-B", "BRK.B", "ok")

    def test_index_has_a_history(self, us: StandIn, yahoo_client: Asked) -> None:
        """^GSPC is the mean of the market."""
        frame = yahoo_client.ask("history", "^GSPC", **WHOLE)
        assert np.allclose(frame["Close"], us.book.index.values["close"], rtol=6e-8, atol=0)

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("429", "YFRateLimitError"),
            ("500", "KeyError"),
            ("html", "JSONDecodeError"),
            ("truncated_json", "JSONDecodeError"),
            ("reset", "ConnectionError"),
            ("empty", "YFPricesMissingError"),
        ],
    )
    def test_failures_raise(self, us: StandIn, yahoo_client: Asked, fault: str, error: str) -> None:
        """With exceptions not hidden, each failure is the exception noted for it."""
        us.faults[fault] = "AAC"
        assert yahoo_client.ask("history", "AAC", **SHORT) == error
        assert not isinstance(yahoo_client.ask("history", "AAD", **SHORT), str)

    def test_unknown_symbol_is_empty_by_default(self, us: StandIn, yahoo_client: Asked) -> None:
        """With exceptions hidden, which is the default, a symbol nobody knows is an empty frame."""
        assert yahoo_client.ask("history", "NOPE", hide=True, **SHORT).empty
        assert {entry.outcome for entry in us.log if entry.symbol == "NOPE"} == {"404"}

    def test_download_hides_the_limit(self, us: StandIn, yahoo_client: Asked) -> None:
        """`download` turns 429 into a column of NaN."""
        us.faults["429"] = "AAC"
        close = yahoo_client.ask("download", "AAC", "AAD", **SHORT)["Close"]
        assert close["AAC"].isna().all()
        assert close["AAD"].notna().all()

    def test_a_hang_ends_with_the_clients_timeout(self, us: StandIn, yahoo_client: Asked) -> None:
        """A request that hangs is the client's to give up."""
        yahoo_client.ask("history", "AAE", **SHORT)  # its time zone is cached from here on
        us.faults["hang"] = "AAE"
        assert yahoo_client.ask("history", "AAE", timeout=0.5, **SHORT) == "Timeout"

    def test_bar_without_prices(self, us: StandIn, yahoo_client: Asked) -> None:
        """A bar with volume and null prices stays in the frame."""
        us.faults["nan_bar"] = "AAC"
        row = yahoo_client.ask("history", "AAC", **SHORT).iloc[-1]
        assert row[TITLES].isna().all()
        assert row["Volume"] == traded(us.book, "AAC")["volume"].iloc[-1]

    def test_missing_session(self, us: StandIn, yahoo_client: Asked) -> None:
        """One session can be absent from the middle of a history."""
        us.faults.switch("missing_session", "AAC", session=date(2023, 12, 27))
        days = yahoo_client.ask("history", "AAC", **SHORT).index.date
        assert date(2023, 12, 27) not in days
        assert date(2023, 12, 28) in days

    def test_partial_day(self, us: StandIn, yahoo_client: Asked) -> None:
        """A running session's bar looks like a finished one, with less volume."""
        us.now = datetime(2023, 12, 29, 17, tzinfo=UTC)
        us.faults["partial_day"] = "AAC"
        row = yahoo_client.ask("history", "AAC", **SHORT).iloc[-1]
        final = traded(us.book, "AAC").iloc[-1]
        assert row.name.date() == date(2023, 12, 29)
        assert row["Volume"] < 0.5 * final["volume"]
        assert row["Open"] == pytest.approx(final["open"])

    def test_stale(self, us: StandIn, yahoo_client: Asked) -> None:
        """The last session repeats the values of the one before."""
        us.faults["stale"] = "*"
        frame = yahoo_client.ask("history", "AAC", **SHORT)[[*TITLES, "Volume"]]
        assert list(frame.iloc[-1]) == list(frame.iloc[-2])

    def test_units_go_wrong(self, us: StandIn, yahoo_client: Asked) -> None:
        """One session's prices can be 100 times too large, all volumes 100 times too small."""
        us.faults.switch("price_x100", "AAC", session=date(2023, 12, 28))
        us.faults["lots_as_shares"] = "query2.finance.yahoo.com"
        frame = yahoo_client.ask("history", "AAC", **SHORT)
        bars = traded(us.book, "AAC")[-len(frame) :]
        ratio = frame["Close"].to_numpy() / bars["close"].to_numpy()
        assert np.allclose(ratio, [1.0] * (len(bars) - 2) + [100.0, 1.0])
        assert np.allclose(frame["Volume"], bars["volume"] / 100.0, atol=0.5)

    def test_a_fault_that_passes(self, us: StandIn, yahoo_client: Asked) -> None:
        """A fault good for one request is gone at the next."""
        yahoo_client.ask("history", "AAF", **SHORT)
        us.faults.switch("empty", "AAF", times=1)
        assert yahoo_client.ask("history", "AAF", **SHORT) == "YFPricesMissingError"
        assert len(yahoo_client.ask("history", "AAF", **SHORT)) == 7

    def test_a_new_split_restates_ten_years(self, us: StandIn, yahoo_client: Asked) -> None:
        """A 4-for-1 split put into the book divides every earlier Close by 4."""
        day = date(2023, 12, 29)
        us.book = us.book.with_event("AAC", day, split=4.0)
        frame = yahoo_client.ask("history", "AAC", **SHORT)
        bars = traded(us.book, "AAC")[-len(frame) :]
        assert frame["Stock Splits"].iloc[-1] == 4.0
        assert np.allclose(frame["Close"][:-1], bars["close"][:-1] / 4.0, rtol=6e-8)


class TestRest:
    def test_wikipedia_has_members_and_changes(self, us: StandIn, yahoo_client: Asked) -> None:
        """Undoing the table of changes leads from today's members to the first session's."""
        status, text = yahoo_client.ask("get", PAGE)
        tables = [
            pd.read_html(StringIO(text), attrs={"id": name})[0]
            for name in ("constituents", "changes")
        ]
        members = set(tables[0]["Symbol"])
        assert (status, "BRK.B" in members) == (200, True)
        assert members == set(us.book.members(date(2023, 12, 29)))
        for _, row in tables[1].iterrows():
            members -= {row["Added", "Ticker"]}
            members |= {row["Removed", "Ticker"]}
        assert members == set(us.book.members(us.book.days[0]))
        assert pd.to_datetime(tables[1].iloc[:, 0]).is_monotonic_decreasing

    def test_tiingo_tells_prices_as_traded(self, us: StandIn, yahoo_client: Asked) -> None:
        """Prices and volumes are as traded, events on their ex-dates, adjusted columns beside."""
        url = "https://api.tiingo.com/tiingo/daily/aaa/prices?startDate=2022-01-01"
        _, text = yahoo_client.ask("get", url, headers={"Authorization": "Token mine"})
        frame, bars = pd.DataFrame(json.loads(text)), traded(us.book, "AAA")
        assert (frame[PRICES].to_numpy() == bars[PRICES].to_numpy()).all()
        assert list(frame["divCash"]) == list(bars["dividend"])
        assert list(frame["splitFactor"]) == list(bars["split"])
        assert np.allclose(frame["adjClose"], bars["close"] / after(bars["adjustment"]))

    def test_tiingo_wants_a_token(self, us: StandIn, yahoo_client: Asked) -> None:
        """Without a token nothing is told."""
        url = "https://api.tiingo.com/tiingo/daily/aaa/prices"
        assert yahoo_client.ask("get", url)[0] == 403
        assert us.log[-1].outcome == "403"

    @pytest.mark.parametrize("scheme", ["https", "http"])
    def test_unknown_hosts_are_refused(self, us: StandIn, yahoo_client: Asked, scheme: str) -> None:
        """Nothing leaves the machine: another host is refused, and the log says so."""
        told = yahoo_client.ask("get", f"{scheme}://example.com/")
        assert told in ("ProxyError", (502, ""))
        assert [(entry.host, entry.outcome) for entry in us.log] == [("example.com", "refused")]
