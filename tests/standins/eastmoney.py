"""Eastmoney as akshare 1.19.5 asks it: daily lines of a share or an index, the list of all shares.

Prices have 2 decimals, rounded half up. `fqt` 0 is as traded, 2 ("hfq") is that times the product
of the adjustment factors up to the row, 1 ("qfq") is that divided by the product of those after it:
both multiply, and both are rounded to 2 decimals. Volumes are lots of 100 shares, rounded; amounts
are yuan with 2 decimals. There is no row for a suspended session. Percentages are of the row before
as told; turnover is of an invented number of shares. The list tells the last session that is over,
its previous close as the exchange adjusts it; a suspended share has dashes there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.standins.book import MarketBook
from tests.standins.faults import Fault, Faults, distort, struck_row
from tests.standins.proxy import Call, Reply
from tests.standins.series import PRICES, Series

HOSTS = (
    "push2.eastmoney.com",
    "*.push2.eastmoney.com",
    "push2his.eastmoney.com",
    "*.push2his.eastmoney.com",
    "quote.eastmoney.com",
)
_KLINE = "/api/qt/stock/kline/get"
_LIST = "/api/qt/clist/get"
#: Most rows of one page of the list, whatever is asked for.
PAGE = 100
_DASH = "-"
#: Decimals of a line's values: four prices, lots, amount, amplitude, change, move, turnover.
_DECIMALS = (2, 2, 2, 2, 0, 2, 2, 2, 2, 2)


def asset_of(call: Call) -> str:
    """Return the code that is asked for, "" for the list: "1.600000" is 600000."""
    return call.query.get("secid", "").partition(".")[2] if call.path == _KLINE else ""


def failure(name: str) -> Reply:
    """Return how Eastmoney says that a call failed."""
    if name == "429":
        return Reply(429, b"Too Many Requests", "text/plain")
    if name == "500":
        return Reply(500, b'{"rc":102,"rt":17,"svr":177617930,"lt":1,"full":0}')
    if name == "404":
        return Reply(404, b"<html><head><title>404 Not Found</title></head></html>", "text/html")
    return Reply(200, "<!DOCTYPE html><html><body>请求过于频繁</body></html>".encode(), "text/html")


def answer(book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault]) -> Reply:
    """Answer a call as Eastmoney would at `now`; the list is `answer_list`'s."""
    if call.path != _KLINE or book.market != "cn":
        return failure("404")
    asset = asset_of(call)
    series = book.series(asset, now, unfinished="partial_day" in faults)
    data: dict[str, Any] | None = None
    index = asset == book.index.asset
    if series is not None and len(series) and call.query["secid"][0] == _market(asset, index=index):
        series = distort(series.rows(~series.suspended), faults)
        lines = _lines(series, call, faults)
        data = {
            "code": asset,
            "market": int(call.query["secid"][0]),
            "name": "中证500" if index else book.name(asset, now),
            "decimal": 2,
            "dktotal": len(series),
            "preKPrice": 0.0,
            "klines": [] if "empty" in faults else lines,
        }
    return _reply(data)


def is_list(call: Call) -> bool:
    """Return whether a call asks for a page of the list of all shares."""
    return call.path == _LIST


def answer_list(
    book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault], per_share: Faults
) -> Reply:
    """Answer a page of the list; faults that name a share concern its row only."""
    if book.market != "cn":
        return _reply(None)
    there = [
        asset
        for asset in book.assets
        if _listed(book, asset, now) and "missing_session" not in per_share.naming(asset)
    ]
    size = min(int(call.query.get("pz", PAGE)), PAGE)
    start = (int(call.query.get("pn", 1)) - 1) * size
    rows = []
    for asset in sorted(there, reverse=call.query.get("po") == "1")[start : start + size]:
        row = _snapshot(book, now, asset, {**faults, **per_share.naming(asset)})
        rows += [] if row is None else [row]
    if "empty" in faults:
        rows = []
    return _reply({"total": len(there), "diff": rows} if rows else None)


def _lines(series: Series, call: Call, faults: Mapping[str, Fault]) -> list[str]:
    told = {name: series.values[name] * _factor(series, call) for name in PRICES}
    if "negative_qfq" in faults and call.query.get("fqt") == "1":
        low = np.arange(len(series)) < len(series) - 20
        told = {
            name: np.where(low, prices - 2.0 * prices.max(), prices)
            for name, prices in told.items()
        }
    told = {name: half_up(prices) for name, prices in told.items()}
    order = ("open", "close", "high", "low")
    if "swapped_columns" in faults:
        order = ("open", "high", "low", "close")
    numbers = [
        *(told[name] for name in order),
        np.rint(series.values["volume"] / 100.0),
        series.values["amount"],
        *_moves(told, series),
    ]
    if "dash" in faults and (row := struck_row(series, faults["dash"])) is not None:
        numbers = [np.where(np.arange(len(series)) == row, np.nan, array) for array in numbers]
    asked = _between(series, call)  # only what is asked for becomes text
    short = len(call.query.get("fields2", "").split(",")) <= 8
    columns = [series.sessions[asked].astype(str).tolist()]
    for array, decimals in zip(numbers[: 7 if short else 10], _DECIMALS, strict=False):
        columns.append(_texts(array[asked], decimals))
    if "extra_field" in faults:
        columns.append(["0"] * len(columns[0]))
    return [",".join(row) for row in zip(*columns, strict=True)]


def _factor(series: Series, call: Call) -> npt.NDArray[np.float64]:
    kind = call.query.get("fqt", "0")
    if kind == "2":
        return series.past_adjustment
    return 1.0 / series.later_adjustment if kind == "1" else np.ones(len(series))


def _between(series: Series, call: Call) -> npt.NDArray[np.bool_]:
    first, last = (
        np.datetime64(date.fromisoformat(call.query.get(name) or default), "D")
        for name, default in (("beg", "19700101"), ("end", "20500101"))
    )
    between: npt.NDArray[np.bool_] = (series.sessions >= first) & (series.sessions <= last)
    return between


def _moves(told: Mapping[str, Any], series: Series) -> tuple[npt.NDArray[np.float64], ...]:
    """Return amplitude, change in percent, change and turnover."""
    close = told["close"]
    before = np.concatenate([told["open"][:1], close[:-1]])
    shares = 100.0 * max(float(np.median(series.values["volume"])), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        amplitude = 100.0 * (told["high"] - told["low"]) / before
        percent = 100.0 * (close - before) / before
    return amplitude, percent, close - before, 100.0 * series.values["volume"] / shares


def _snapshot(
    book: MarketBook, now: datetime, asset: str, faults: Mapping[str, Fault]
) -> dict[str, Any] | None:
    """Return the row of a share; None when it is missing."""
    series = book.series(asset, now, unfinished="partial_day" in faults)
    if series is None or "missing_session" in faults:
        return None
    if series.suspended[-1] or "dash" in faults:
        bar: dict[str, Any] = dict.fromkeys((*PRICES, "lots", "amount", "change", "move"), _DASH)
        before = float(series.values["close"][-2:][0])
    else:
        series = distort(series, faults)
        last = {name: float(array[-1]) for name, array in series.values.items()}
        place = int(np.searchsorted(book.sessions, series.sessions[-1]))
        known = float(book.previous_close[place, book.columns[asset]])
        before = (known - series.dividend[-1]) / series.split[-1]
        before = round_half_up(last["open"] if np.isnan(before) else before)
        bar = {name: _number(round_half_up(last[name])) for name in PRICES}
        bar["lots"] = _number(float(np.rint(last["volume"] / 100.0)))
        bar["amount"] = _number(last["amount"])
        bar["move"] = _number(round(last["close"] - before, 2))
        bar["change"] = _number(round(100.0 * (last["close"] - before) / before, 2))
    row = {
        "f1": 2,
        "f2": bar["close"],
        "f3": bar["change"],
        "f4": bar["move"],
        "f5": bar["lots"],
        "f6": bar["amount"],
        **dict.fromkeys(("f7", "f8", "f9", "f10"), 1.0),
        "f11": 0.0,
        "f12": asset,
        "f13": int(_market(asset)),
        "f14": _display_name(book, now, asset, series),
        "f15": bar["high"],
        "f16": bar["low"],
        "f17": bar["open"],
        "f18": before,
        **dict.fromkeys(("f20", "f21"), 10_000_000_000),
        **dict.fromkeys(("f22", "f23", "f24", "f25", "f62", "f115"), 0.0),
        **dict.fromkeys(("f128", "f140", "f141", "f136"), _DASH),
        "f152": 2,
    }
    return {**row, "f999": 0} if "extra_field" in faults else row


def _display_name(book: MarketBook, now: datetime, asset: str, series: Series) -> str:
    """Return the short name with the exchange's mark of an ex-date or of a new listing."""
    name = book.name(asset, now)
    born = int(np.searchsorted(book.sessions, series.sessions[0]))
    if born and len(series) <= 5:
        return ("N" if len(series) == 1 else "C") + name
    paid, split = series.dividend[-1] != 0.0, series.split[-1] != 1.0
    return {(True, False): "XD", (False, True): "XR", (True, True): "DR"}.get(
        (bool(paid), bool(split)), ""
    ) + name


def _listed(book: MarketBook, asset: str, now: datetime) -> bool:
    row = book.finished(now) - 1
    return row >= 0 and bool(book.present[row, book.columns[asset]])


def _market(asset: str, *, index: bool = False) -> str:
    return "1" if index or asset.startswith("6") else "0"


def half_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return prices with 2 decimals, halves up."""
    rounded: npt.NDArray[np.float64] = np.floor(values * 100.0 + 0.5 + 1e-7) / 100.0
    return rounded


def round_half_up(value: float) -> float:
    """Return one price with 2 decimals, halves up."""
    return float(half_up(np.array(value)))


def _number(value: float) -> float | str:
    return _DASH if np.isnan(value) else value


def _texts(values: npt.NDArray[np.float64], decimals: int) -> list[str]:
    pattern = f"%.{decimals}f"
    return [_DASH if value != value else pattern % value for value in values.tolist()]  # noqa: PLR0124


def _reply(data: dict[str, Any] | None) -> Reply:
    whole = {"rc": 0, "rt": 17, "svr": 177617930, "lt": 1, "full": 0, "dlmkts": "", "data": data}
    return Reply(200, json.dumps(whole, ensure_ascii=False).encode())
