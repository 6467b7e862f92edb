"""Yahoo as yfinance 1.7.0 asks it: the chart of a symbol, the cookie and the crumb.

Prices are told as Yahoo keeps them: divided by every split after the row that is in force at the
moment of asking, the adjusted close by dividends too, as 32-bit floats (relative error up to 6e-8).
Volumes are multiplied by later splits and rounded to whole shares, dividends divided by them and
rounded to 6 decimals. Events are listed only inside the window asked for, while prices are
restated by later ones as well. A row's time is the session's open; that of a session which closed
today is the close. Rows of one asset are those the exchange traded: no suspended ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.standins.book import MarketBook
from tests.standins.exchange import EXCHANGES
from tests.standins.faults import Fault, distort
from tests.standins.proxy import Call, Reply
from tests.standins.series import PRICES, Series

HOSTS = (
    "query1.finance.yahoo.com",
    "query2.finance.yahoo.com",
    "finance.yahoo.com",
    "fc.yahoo.com",
    "guce.yahoo.com",
    "consent.yahoo.com",
)
_CHART = "/v8/finance/chart/"
_SUMMARY = "/v10/finance/quoteSummary/"
_RANGES = {"1d": 1, "5d": 5, "1mo": 31, "3mo": 92, "6mo": 183, "1y": 366, "2y": 731, "5y": 1827}
_RANGES |= {"10y": 3653, "ytd": 366, "max": 100_000}


def asset_of(call: Call) -> str:
    """Return the canonical name of the symbol that is asked for, "" for none: BRK-B is BRK.B."""
    if not call.path.startswith(_CHART):
        return ""
    return call.path.removeprefix(_CHART).upper().replace("-", ".")


def failure(name: str) -> Reply:
    """Return how Yahoo says that a call failed."""
    if name == "429":
        return Reply(429, b"Too Many Requests\r\n", "text/html")
    if name == "500":
        error = {"code": "Internal Server Error", "description": "Internal Server Error"}
        return Reply(500, json.dumps({"finance": {"result": None, "error": error}}).encode())
    if name == "404":
        return _unknown()
    return Reply(200, b"<!DOCTYPE html><html><body>Oops</body></html>", "text/html")


def answer(book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault]) -> Reply:
    """Answer a call as Yahoo would at `now`."""
    if call.host == "fc.yahoo.com":
        expires = "Expires=Fri, 31 Dec 2038 00:00:00 GMT"
        cookie = f"A3=stand-in; {expires}; Domain=.yahoo.com; Path=/; Secure; HttpOnly"
        return Reply(404, b"", "text/html", (("Set-Cookie", cookie),))
    if call.path == "/v1/test/getcrumb":
        return Reply(200, b"standInCrumb", "text/plain")
    if call.path.startswith(_SUMMARY):
        error = {"code": "Not Found", "description": "Quote not found"}
        told = {"quoteSummary": {"result": None, "error": error}}
        return Reply(404, json.dumps(told).encode())
    if not call.path.startswith(_CHART) or book.market != "us":
        return _unknown()
    series = book.series(asset_of(call), now, unfinished="partial_day" in faults)
    if series is None or not len(series):
        return _unknown()
    series = distort(series.rows(~series.suspended), faults)
    return Reply(200, json.dumps(_chart(book, now, call, series, faults)).encode())


def _chart(
    book: MarketBook, now: datetime, call: Call, series: Series, faults: Mapping[str, Fault]
) -> dict[str, Any]:
    first, last = _window(now, call)
    times = _times(book, now, series)
    symbol = call.path.removeprefix(_CHART).upper()
    inside = (times >= first) & (times < last)
    if call.query.get("range") == "1d" and len(series):
        inside = np.arange(len(series)) == len(series) - 1
    result: dict[str, Any] = {"meta": _meta(symbol, call, now, series, times)}
    result["indicators"] = {"quote": [{}], "adjclose": [{}]}
    if inside.any() and "empty" not in faults:
        prices = {name: series.values[name] / series.later_splits for name in PRICES}
        adjusted = series.values["close"] / series.later_adjustment
        if "swapped_columns" in faults:
            prices["high"], prices["low"] = prices["low"], prices["high"]
        quote = {name: _floats(array[inside]) for name, array in prices.items()}
        volume = np.rint(series.values["volume"] * series.later_splits)
        quote["volume"] = volume[inside].astype(np.int64).tolist()
        if "extra_field" in faults:
            quote["turnover"] = quote["volume"]
        result["timestamp"] = times[inside].tolist()
        result["indicators"] = {
            "quote": [quote],
            "adjclose": [{"adjclose": _floats(adjusted[inside])}],
        }
    events = _events(book, now, series.asset, first, last)
    if events:
        result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def _window(now: datetime, call: Call) -> tuple[int, int]:
    """Return the seconds since 1970 that are asked for, the last excluded."""
    if "period1" in call.query:
        return int(call.query["period1"]), int(call.query["period2"])
    span = timedelta(days=_RANGES.get(call.query.get("range", "1mo"), 31))
    floor = datetime(1900, 1, 1, tzinfo=UTC)
    start = max(now - span, floor) if span < now - floor else floor
    return int(start.timestamp()), int(now.timestamp()) + 1


def _times(book: MarketBook, now: datetime, series: Series) -> npt.NDArray[np.int64]:
    """Return the time of each row: its open, or today's last trade."""
    places = np.searchsorted(book.sessions, series.sessions)
    opens, closes = book.hours
    times = opens[places].astype(np.int64)
    zone = EXCHANGES[book.market].zone
    if len(series) and series.sessions[-1] == np.datetime64(now.astimezone(zone).date(), "D"):
        times[-1] = min(int(closes[places[-1]].astype(np.int64)), int(now.timestamp()))
    return times


def _events(
    book: MarketBook, now: datetime, asset: str, first: int, last: int
) -> dict[str, dict[str, dict[str, float | int | str]]]:
    """Return dividends and splits in the window, those of a session not traded yet included."""
    if asset not in book.columns:
        return {}
    column, known = book.columns[asset], book.announced(now)
    split, dividend = book.split[:known, column], book.dividend[:known, column]
    times = book.hours[0][:known].astype(np.int64)
    inside = (times >= first) & (times < last)
    later = np.append(np.cumprod(split[::-1])[::-1], 1.0)
    found: dict[str, dict[str, dict[str, float | int | str]]] = {}
    for row in np.flatnonzero(inside & (dividend != 0.0)):
        amount = round(float(dividend[row] / later[row]), 6)
        told: dict[str, float | int | str] = {"amount": amount, "date": int(times[row])}
        found.setdefault("dividends", {})[str(times[row])] = told
    for row in np.flatnonzero(inside & (split != 1.0)):
        ratio = Fraction(float(split[row])).limit_denominator(1000)
        found.setdefault("splits", {})[str(times[row])] = {
            "date": int(times[row]),
            "numerator": float(ratio.numerator),
            "denominator": float(ratio.denominator),
            "splitRatio": f"{ratio.numerator}:{ratio.denominator}",
        }
    return found


def _meta(
    symbol: str, call: Call, now: datetime, series: Series, times: npt.NDArray[np.int64]
) -> dict[str, Any]:
    offset = now.astimezone(EXCHANGES["us"].zone)
    shift = int((offset.utcoffset() or timedelta()).total_seconds())
    last = int(times[-1]) if len(times) else int(now.timestamp())
    zone = {"timezone": offset.tzname(), "gmtoffset": shift}
    price = float(np.float32(series.values["close"][-1])) if len(series) else 0.0
    period = {**zone, "start": last - last % 86400 + 48600, "end": last - last % 86400 + 72000}
    return {
        "currency": "USD",
        "symbol": symbol,
        "exchangeName": "NYQ",
        "fullExchangeName": "NYSE",
        "instrumentType": "INDEX" if symbol.startswith("^") else "EQUITY",
        "firstTradeDate": int(times[0]) if len(times) else last,
        "regularMarketTime": last,
        "hasPrePostMarketData": True,
        **zone,
        "exchangeTimezoneName": "America/New_York",
        "regularMarketPrice": None if np.isnan(price) else price,
        "priceHint": 2,
        "currentTradingPeriod": dict.fromkeys(("pre", "regular", "post"), period),
        "dataGranularity": "1d",
        "range": call.query.get("range", ""),
        "validRanges": list(_RANGES),
    }


def _floats(values: npt.NDArray[np.float64]) -> list[float | None]:
    """Return 32-bit floats as JSON writes them, null for NaN."""
    rounded = values.astype(np.float32).astype(np.float64)
    if np.isnan(rounded).any():
        return [None if np.isnan(value) else value for value in rounded.tolist()]
    return list(rounded.tolist())


def _unknown() -> Reply:
    error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
    return Reply(404, json.dumps({"chart": {"result": None, "error": error}}).encode())
