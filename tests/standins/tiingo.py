"""Tiingo's daily prices, as tiingo 0.16.1 asks for them.

Open, high, low, close and volume as traded, prices with 2 decimals as the book has them; the `adj`
columns divided by the events after the row and not rounded; `divCash` as traded and `splitFactor`
on their ex-dates. Without dates only the last row is told. A call without a token is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import numpy as np

from tests.standins.book import MarketBook
from tests.standins.faults import Fault, distort
from tests.standins.proxy import Call, Reply
from tests.standins.series import PRICES, Series

HOSTS = ("api.tiingo.com",)
_DAILY = "/tiingo/daily/"


def asset_of(call: Call) -> str:
    """Return the canonical name of the symbol that is asked for: BRK-B is BRK.B."""
    if not call.path.startswith(_DAILY):
        return ""
    return call.path.removeprefix(_DAILY).partition("/")[0].upper().replace("-", ".")


def failure(name: str) -> Reply:
    """Return how Tiingo says that a call failed."""
    if name == "html":
        return Reply(200, b"<!DOCTYPE html><html><body>Oops</body></html>", "text/html")
    told = {
        "429": "Error: You have run over your hourly request allocation.",
        "500": "Internal server error.",
        "404": "Error: Ticker not found",
    }
    return Reply(int(name), json.dumps({"detail": told[name]}).encode())


def answer(book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault]) -> Reply:
    """Answer a call as Tiingo would at `now`."""
    if "token" not in call.query and not call.headers.get("authorization", "").startswith("Token "):
        return Reply(403, json.dumps({"detail": "Please supply a token"}).encode())
    series = book.series(asset_of(call), now, unfinished="partial_day" in faults)
    if series is None or not len(series) or book.market != "us" or asset_of(call).startswith("^"):
        return failure("404")
    if not call.path.endswith("/prices"):
        return failure("404")
    series = distort(series, faults)
    chosen = (
        slice(len(series) - 1, None) if "startDate" not in call.query else _between(series, call)
    )
    rows = [] if "empty" in faults else _rows(series.rows(chosen), faults)
    return Reply(200, json.dumps(rows).encode())


def _between(series: Series, call: Call) -> Any:
    first = np.datetime64(date.fromisoformat(call.query["startDate"][:10]), "D")
    last = np.datetime64(date.fromisoformat(call.query.get("endDate", "9999-12-31")[:10]), "D")
    return (series.sessions >= first) & (series.sessions <= last)


def _rows(series: Series, faults: Mapping[str, Fault]) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {
        "date": [f"{day}T00:00:00.000Z" for day in series.sessions.astype(str)]
    }
    for name in PRICES:
        columns[name] = _nullable(series.values[name])
        columns["adj" + name.title()] = _nullable(series.values[name] / series.later_adjustment)
    volume = np.rint(series.values["volume"])
    columns["volume"] = volume.astype(np.int64).tolist()
    adjusted = np.rint(volume * series.later_splits)
    columns["adjVolume"] = adjusted.astype(np.int64).tolist()
    columns["divCash"] = series.dividend.tolist()
    columns["splitFactor"] = series.split.tolist()
    if "swapped_columns" in faults:
        columns["high"], columns["low"] = columns["low"], columns["high"]
    if "extra_field" in faults:
        columns["turnover"] = columns["volume"]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _nullable(values: Any) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124
