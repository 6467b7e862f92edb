"""What stand-ins have sent, read from the bodies of their answers, and the truth behind it.

A cell is an asset on a session. Of each cell the first telling is kept, and every later one that is
another: a provider that restates by splits rounds anew. The factors of Yahoo's events follow from
what an answer tells itself, by a computation of its own here; those of Eastmoney are told by no
answer, only prices adjusted by them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.standins import eastmoney
from tests.standins.book import MarketBook
from tests.standins.proxy import Call, Reply
from tests.standins.standin import StandIn

FloatArray = npt.NDArray[np.float64]

PRICES = ("open", "high", "low", "close")
#: What each market's provider tells of a cell.
TOLD = {
    "us": (*PRICES, "volume", "adjustment", "split", "dividend"),
    "cn": (*PRICES, "volume", "amount"),
}
#: Two tellings nearer than this are the same: the arithmetic of two computations.
SAME = 1e-12
_CHART = "/v8/finance/chart/"
_LOT = 100.0
_KLINE = ("open", "close", "high", "low", "volume", "amount")
_LIST = {"f2": "close", "f15": "high", "f16": "low", "f17": "open", "f5": "volume", "f6": "amount"}


@dataclass
class Sent:
    """Every cell that was sent.

    Parameters
    ----------
    book : MarketBook
        Gives the order of sessions and assets.
    first : mapping of str to ndarray of shape (n_sessions, n_assets)
        The first telling of each of `TOLD`, and of "hfq", the adjusted close; NaN without one.
    again : mapping of (str, int, int) to list of float
        Other tellings, by name and cell.
    """

    book: MarketBook
    first: dict[str, FloatArray] = field(default_factory=dict)
    again: dict[tuple[str, int, int], list[float]] = field(default_factory=dict)

    def note(self, now: datetime, call: Call, reply: Reply) -> None:
        """Take down the bars of an answer that has any."""
        if reply.status != 200 or reply.transport:
            return
        if call.path.startswith(_CHART) and "period1" in call.query:
            self._note_chart(call, reply)
        elif eastmoney.is_list(call):
            self._note_list(now, reply)
        elif eastmoney.asset_of(call):
            self._note_lines(call, reply)

    def nearest(self, name: str, stored: FloatArray) -> FloatArray:
        """Return, for each stored cell, the telling nearest to it; NaN where nothing is stored."""
        first = self.first.get(name, np.full(stored.shape, np.nan))
        found = np.where(np.isnan(stored), np.nan, first)
        for (which, row, column), others in self.again.items():
            if which == name and np.isfinite(stored[row, column]):
                every = np.array([first[row, column], *others])
                found[row, column] = every[np.argmin(np.abs(every - stored[row, column]))]
        return found

    def _note_chart(self, call: Call, reply: Reply) -> None:
        asset = call.path.removeprefix(_CHART).upper().replace("-", ".")
        told = json.loads(reply.body)["chart"]["result"]
        if asset in self.book.columns and told and "timestamp" in told[0]:
            days, values = read_chart(told[0])
            for name in TOLD["us"]:
                self._take(name, asset, days, values[name])

    def _note_lines(self, call: Call, reply: Reply) -> None:
        data, asset = json.loads(reply.body)["data"], eastmoney.asset_of(call)
        if not data or not data["klines"] or asset not in self.book.columns:
            return
        lines = [line.split(",") for line in data["klines"]]
        days = np.array([line[0] for line in lines], dtype="datetime64[D]")
        numbers = np.array([[_number(text) for text in line[1:7]] for line in lines])
        if call.query.get("fqt") == "2":
            self._take("hfq", asset, days, numbers[:, 1])
        elif call.query.get("fqt", "0") == "0":
            numbers[:, 4] *= _LOT
            for column, name in enumerate(_KLINE):
                self._take(name, asset, days, numbers[:, column])

    def _note_list(self, now: datetime, reply: Reply) -> None:
        data = json.loads(reply.body)["data"]
        session = self.book.sessions[[self.book.finished(now) - 1]]
        for row in data["diff"] if data else ():
            for key, name in _LIST.items():
                value = np.array([_number(row[key])]) * (_LOT if name == "volume" else 1.0)
                self._take(name, row["f12"], session, value)

    def _take(self, name: str, asset: str, days: Any, values: FloatArray) -> None:
        shape = (len(self.book.days), len(self.book.assets))
        plane = self.first.setdefault(name, np.full(shape, np.nan, order="F"))
        column = self.book.columns[asset]
        rows = np.searchsorted(self.book.sessions, days)
        held = plane[rows, column]
        new = np.isnan(held) & np.isfinite(values)
        plane[rows[new], column] = values[new]
        other = np.abs(values - held) > SAME * np.abs(held)
        for row, value in zip(rows[other].tolist(), values[other].tolist(), strict=True):
            self.again.setdefault((name, row, column), []).append(value)


class Recording(StandIn):
    """A stand-in that takes down what it sends.

    Parameters
    ----------
    sent : Sent
        Where to.
    one_page : bool
        Eastmoney's list comes on one page: akshare waits a second before each further one.
    """

    def __init__(
        self, book: MarketBook, clock_now: datetime | None, sent: Sent, *, one_page: bool = False
    ) -> None:
        super().__init__(book, clock_now)
        self.sent = sent
        self.one_page = one_page
        self.n_bytes = 0
        #: Seconds spent in answering, and in taking down.
        self.answering = self.noting = 0.0

    def _answer(self, call: Call) -> Reply:
        begun = perf_counter()
        page = eastmoney.PAGE
        if self.one_page and eastmoney.is_list(call):
            eastmoney.PAGE = len(self.book.assets)
            call = Call(call.host, call.path, {**call.query, "pz": "100000"}, call.headers)
        try:
            reply = super()._answer(call)
        finally:
            eastmoney.PAGE = page
        answered = perf_counter()
        self.sent.note(self.now, call, reply)
        self.n_bytes += len(reply.body)
        self.answering += answered - begun
        self.noting += perf_counter() - answered
        return reply


def read_chart(told: Mapping[str, Any]) -> tuple[Any, dict[str, FloatArray]]:
    """Return the days of a chart and its values as traded.

    A close told is that of the last row's shares: times the splits after its row it is as traded.
    A dividend is cash per share of the last row too; before the split of its own day it was so
    many times more. Its factor is s / (1 - D / P), with the split s and the close before, P.
    """
    days = np.array(told["timestamp"], dtype="datetime64[s]").astype("datetime64[D]")
    quote = told["indicators"]["quote"][0]
    split, cash = np.ones(len(days)), np.zeros(len(days))
    events = told.get("events", {})
    for each in events.get("splits", {}).values():
        split[days == _day(each)] *= each["numerator"] / each["denominator"]
    for each in events.get("dividends", {}).values():
        cash[days == _day(each)] += each["amount"]
    later = np.ones(len(days))
    for row in range(len(days) - 2, -1, -1):
        later[row] = later[row + 1] * split[row + 1]
    values = {name: np.array(quote[name], dtype=np.float64) * later for name in PRICES}
    values["volume"] = np.array(quote["volume"], dtype=np.float64) / later
    values["split"] = split
    values["dividend"] = cash * later * split
    before = np.concatenate([[np.inf], values["close"][:-1]])
    values["adjustment"] = split / (1.0 - values["dividend"] / before)
    return days, values


def _day(event: Mapping[str, Any]) -> np.datetime64:
    return np.datetime64(int(event["date"]) // 86400, "D")


def _number(text: Any) -> float:
    return float("nan") if text == "-" else float(text)
