"""baostock's server as baostock 0.9.4 speaks to it: a line of text a question, over plain TCP.

A frame is version, type and length of the body (21 characters with the separators), the body with
its parts separated by SOH, and a checksum; a question ends with a new line, an answer with a mark.
The body of bars is packed by zlib. Prices have 4 decimals, factors and turnover 6. A suspended
session has a row with the previous close as its prices and no volume. Faults strike an asset, as
`tests.standins.faults` has them, or a page of any asset ("page 2").
"""

from __future__ import annotations

import json
import socket
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from tests.standins.book import MarketBook
from tests.standins.eastmoney import half_up
from tests.standins.faults import Fault, Faults, distort
from tests.standins.series import PRICES, Series

_SPLIT = "\x01"
_END = b"<![CDATA[]]>\n"
_VERSION = "00.9.40"
#: Characters of version, type and length, with the separators between them.
_HEADER = 21
#: Types of questions; that of an answer is one more. `_PACKED` is the answer of bars.
_LOGIN, _FACTORS, _BARS, _PACKED, _ERROR = "00", "15", "95", "96", "04"
#: How a failure is said: a code and a text.
_FAILURES = {
    "429": ("10001011", "黑名单用户"),
    "500": ("10005001", "系统级别错误"),
    "404": ("10004011", "无效的证券代码"),
    "html": ("10004020", "错误的消息类型"),
}
_NOT_LOGGED_IN = ("10001001", "用户未登录")
_SUCCESS = ("0", "success")


class Asked(NamedTuple):
    """One line of the log: what was asked, of which asset, and what came of it."""

    kind: str
    symbol: str
    outcome: str


class BaostockStandIn:
    """A server on 127.0.0.1 that answers an unmodified client from a book.

    Parameters
    ----------
    book : MarketBook
        Of the Chinese market.
    now : datetime
        Aware; what is told is what baostock would tell then.
    """

    def __init__(self, book: MarketBook, now: datetime) -> None:
        self.book = book
        self.now = now.astimezone(UTC)
        self.faults = Faults()
        self.log: list[Asked] = []
        self._stopping = Event()
        self._lock = Lock()
        self._open: dict[socket.socket, Thread] = {}

    @property
    def environment(self) -> Mapping[str, str]:
        """What the client's environment needs to reach the stand-in."""
        host, port = self._listener.getsockname()
        return {"BAOSTOCK_SERVER": f"{host}:{port}"}

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self._accepting = Thread(target=self._accept, name="baostock", daemon=True)
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            left = dict(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(5.0)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            thread = Thread(target=self._converse, args=(connection,), daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        """Answer one line after the other until either side ends the connection."""
        logged_in = False
        try:
            with suppress(OSError), connection, connection.makefile("rb") as lines:
                for line in lines:
                    kind, body = _question(line.decode())
                    if kind == _LOGIN:
                        logged_in = True
                        self.log.append(Asked("login", "", "ok"))
                        connection.sendall(_answer(kind, [*_SUCCESS, "login", body[1]]))
                    elif not logged_in:
                        connection.sendall(_answer(_ERROR, _NOT_LOGGED_IN))
                    elif not self._reply(connection, kind, body):
                        return
        finally:
            with self._lock:
                self._open.pop(connection, None)

    def _reply(self, connection: socket.socket, kind: str, body: Sequence[str]) -> bool:
        """Answer a question; return whether the connection is still of use."""
        asset = body[4].partition(".")[2]
        struck = self.faults.striking(asset, body[4], f"page {body[2]}")
        name = "history" if kind == _BARS else "factors"
        self.log.append(Asked(name, asset, ",".join(struck) or "ok"))
        if "hang" in struck:
            self._stopping.wait()
            return False
        if "reset" in struck:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        frame = self._frame(kind, body, asset, struck)
        if "truncated_json" in struck:
            connection.sendall(frame[: len(frame) // 2])
            return False
        connection.sendall(frame)
        return True

    def _frame(
        self, kind: str, body: Sequence[str], asset: str, struck: Mapping[str, Fault]
    ) -> bytes:
        for name, failure in _FAILURES.items():
            if name in struck:
                return _answer(_ERROR, failure)
        series = self.book.series(asset, self.now, unfinished="partial_day" in struck)
        if series is None:
            return _answer(_ERROR, _FAILURES["404"])
        method, user, page, per_page, code = body[:5]
        head = [*_SUCCESS, method, user, page, per_page]
        if kind == _FACTORS:
            rows = [] if "empty" in struck else _factors(series, code, *body[5:7])
            fields = "code,dividOperateDate,foreAdjustFactor,backAdjustFactor,adjustFactor"
            return _answer(kind, [*head, _record(rows), code, *body[5:7], fields])
        fields, first, last, frequency, adjusted = body[5:10]
        if adjusted != "3":
            return _answer(_ERROR, ("10004006", "参数错误"))
        told = self._bars(series, struck)
        told["code"] = [code] * len(told["date"])
        columns = [told["date"], *(told[name] for name in fields.split(","))]
        every = [] if "empty" in struck else zip(*columns, strict=True)
        rows = [list(row) for day, *row in every if first <= day <= last]
        size = int(per_page)
        rows = rows[(int(page) - 1) * size : int(page) * size]
        return _answer(kind, [*head, _record(rows), code, fields, first, last, frequency, adjusted])

    def _bars(self, series: Series, struck: Mapping[str, Fault]) -> dict[str, list[str]]:
        """Return every column baostock has, as text."""
        traded = distort(series, struck)
        there = np.isin(series.sessions, traded.sessions)
        shares = 40.0 * np.nanmax(series.values["volume"] * series.later_splits)
        turn = 100.0 * (series.values["volume"] * series.later_splits)[there] / shares
        column = self.book.columns[series.asset]
        place, halted = np.searchsorted(self.book.sessions, traded.sessions), traded.suspended
        paid = self.book.previous_close[place, column] - traded.dividend
        reference = half_up(paid / traded.split)
        reference = np.where(np.isnan(reference), traded.values["open"], reference)
        return {
            "date": traded.sessions.astype(str).tolist(),
            **{name: _texts(traded.values[name], 4) for name in PRICES},
            "preclose": _texts(reference, 4),
            "volume": _texts(np.where(halted, np.nan, np.rint(traded.values["volume"])), 0),
            "amount": _texts(np.where(halted, np.nan, traded.values["amount"]), 4),
            "turn": _texts(np.where(halted, np.nan, turn), 6),
            "tradestatus": np.where(halted, "0", "1").tolist(),
            "isST": np.where(self.book.st[place, column], "1", "0").tolist(),
        }


def _factors(series: Series, code: str, first: str, last: str) -> list[list[str]]:
    """Return a row an ex-date, the factors to 6 decimals."""
    fore, back = 1.0 / series.later_adjustment, series.past_adjustment
    steps = np.flatnonzero(np.diff(back, prepend=1.0) != 0.0)
    days = series.sessions.astype(str)
    return [
        [code, str(days[n]), f"{fore[n]:.6f}", f"{back[n]:.6f}", f"{back[n]:.6f}"]
        for n in steps
        if first <= days[n] <= last
    ]


def _question(line: str) -> tuple[str, list[str]]:
    """Return the type of a question and the parts of its body, whose checksum must be right."""
    text, _, checksum = line.rstrip("\n").rpartition(_SPLIT)
    head, body = text[:_HEADER], text[_HEADER:]
    version, kind, length = head.split(_SPLIT)
    if (
        version != _VERSION
        or int(length) != len(body)
        or int(checksum) != zlib.crc32(text.encode())
    ):
        raise ConnectionError("no frame of baostock 0.9.4")
    return kind, body.split(_SPLIT)


def _answer(kind: str, parts: Sequence[str]) -> bytes:
    kind = kind if kind == _ERROR else f"{int(kind) + 1:02d}"
    body = _SPLIT.join(parts)
    if kind == _PACKED:
        packed = zlib.compress(body.encode())
        head = _SPLIT.join((_VERSION, kind, f"{len(packed):010d}"))
        return head.encode() + packed + _END
    head = _SPLIT.join((_VERSION, kind, f"{len(body):010d}"))
    checksum = zlib.crc32((head + body).encode())
    return f"{head}{body}{_SPLIT}{checksum}".encode() + _END


def _record(rows: Sequence[Sequence[str]]) -> str:
    return json.dumps({"record": list(rows)})


def _texts(values: np.ndarray[tuple[int], np.dtype[np.float64]], decimals: int) -> list[str]:
    pattern = f"%.{decimals}f"
    return ["" if value != value else pattern % value for value in values.tolist()]  # noqa: PLR0124
