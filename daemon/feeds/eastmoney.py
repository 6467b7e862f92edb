"""Eastmoney's tables as akshare returns them: columns by name, units, and what betrays a mix-up.

akshare names the fields of an answer by their place in it, so that a changed order changes what a
name means. Names are checked against the list of those known, and the close against the change
since the close before, which agree only if both are what they are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from signals.errors import BarsError
from signals.panel import SessionArray

FloatArray = npt.NDArray[np.float64]

#: Shares in a lot, the unit of Eastmoney's volume.
LOT = 100.0
#: Share of rows in which close less change must be the previous close; ex-dates may differ.
MIN_AGREEING = 0.9
#: Largest difference of two prices of two decimals that are meant to be equal, in yuan.
_EQUAL = 0.0051

_PRICES = {"open": "开盘", "high": "最高", "low": "最低", "close": "收盘"}
_HISTORY = {
    **_PRICES,
    "volume": "成交量",
    "amount": "成交额",
    "change": "涨跌额",
    "turnover": "换手率",
}
_HISTORY_UNUSED = ("振幅", "涨跌幅")
_SPOT = {
    "open": "今开",
    "high": "最高",
    "low": "最低",
    "close": "最新价",
    "previous_close": "昨收",
    "volume": "成交量",
    "amount": "成交额",
    "change": "涨跌额",
}
_SPOT_UNUSED = (
    *("序号", "涨跌幅", "振幅", "量比", "换手率", "市盈率-动态", "市净率", "总市值", "流通市值"),
    *("涨速", "5分钟涨跌", "60日涨跌幅", "年初至今涨跌幅"),
)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Daily bars of one share, by date.

    Parameters
    ----------
    days : ndarray of datetime64[D], shape (n_sessions,)
        Ascending, none twice.
    prices : ndarray of shape (n_sessions, 4)
        Open, high, low, close in yuan; NaN where the source has a dash.
    volume, amount, turnover : ndarray of shape (n_sessions,)
        Shares; yuan; volume in percent of the shares that may be traded.
    """

    days: SessionArray
    prices: FloatArray
    volume: FloatArray
    amount: FloatArray
    turnover: FloatArray

    @property
    def close(self) -> FloatArray:
        """Shape (n_sessions,)."""
        closes: FloatArray = self.prices[:, 3]
        return closes

    def rows(self, chosen: npt.NDArray[np.bool_]) -> History:
        """Return some of the sessions."""
        return History(
            self.days[chosen],
            self.prices[chosen],
            self.volume[chosen],
            self.amount[chosen],
            self.turnover[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The last prices of every share; it carries no date.

    Parameters
    ----------
    codes, names : tuple of str, length n_assets
        None twice among the codes.
    prices : ndarray of shape (n_assets, 4)
        Open, high, low, last in yuan; NaN where the source has a dash.
    previous_close : ndarray of shape (n_assets,)
        As the exchange gives it: adjusted on ex-dates.
    volume, amount : ndarray of shape (n_assets,)
        Shares; yuan.
    """

    codes: tuple[str, ...]
    names: tuple[str, ...]
    prices: FloatArray
    previous_close: FloatArray
    volume: FloatArray
    amount: FloatArray


def read_history(payload: bytes) -> History:
    """Return the bars of an answer of `stock_zh_a_hist`.

    Raises
    ------
    BarsError
        Other columns or types, a day twice or out of order, a close that is not the one before
        plus the change.
    """
    table = _read(
        payload, _HISTORY, {"日期": pa.date32(), "股票代码": pa.string()}, _HISTORY_UNUSED
    )
    days = table.column("日期").to_numpy().astype("datetime64[D]")
    if (days[1:] <= days[:-1]).any():
        raise BarsError("schema: 日期 does not ascend", rule="one row a session, by date")
    column = _numbers(table, _HISTORY)
    close = column["close"]
    previous = close - column["change"]
    _check_chain(previous[1:], close[:-1], column["volume"][1:])
    return History(
        days=days,
        prices=np.stack([column[name] for name in _PRICES], axis=1),
        volume=column["volume"] * LOT,
        amount=column["amount"],
        turnover=column["turnover"],
    )


def read_snapshot(payload: bytes) -> Snapshot:
    """Return the shares of an answer of `stock_zh_a_spot_em`.

    Raises
    ------
    BarsError
        Other columns or types, a share twice, a last price that is not the previous close plus
        the change.
    """
    table = _read(payload, _SPOT, {"代码": pa.string(), "名称": pa.string()}, _SPOT_UNUSED)
    codes = table.column("代码")
    if pc.count_distinct(codes).as_py() != len(codes):
        raise BarsError("schema: 代码 names a share twice", rule="one row a share in a snapshot")
    column = _numbers(table, _SPOT)
    _check_chain(column["close"] - column["change"], column["previous_close"], column["volume"])
    return Snapshot(
        codes=tuple(codes.to_pylist()),
        names=tuple(pc.fill_null(table.column("名称"), "").to_pylist()),
        prices=np.stack([column[name] for name in _PRICES], axis=1),
        previous_close=column["previous_close"],
        volume=column["volume"] * LOT,
        amount=column["amount"],
    )


def read_index(payload: bytes) -> tuple[SessionArray, FloatArray]:
    """Return the days and closes of an answer of `stock_zh_index_daily_em`.

    Raises
    ------
    BarsError
        Other columns or types, a day twice or out of order.
    """
    table = _read(
        payload,
        {"close": "close"},
        {"date": pa.string()},
        ("open", "high", "low", "volume", "amount"),
    )
    try:
        days = np.array(table.column("date").to_pylist(), dtype="datetime64[D]")
    except ValueError as exc:
        raise BarsError(f"schema: date: {exc}", rule="dates are YYYY-MM-DD") from exc
    if (days[1:] <= days[:-1]).any():
        raise BarsError("schema: date does not ascend", rule="one row a session, by date")
    return days, _numbers(table, {"close": "close"})["close"]


def _read(
    payload: bytes, numbers: Mapping[str, str], texts: Mapping[str, Any], unused: tuple[str, ...]
) -> Any:
    """Return a payload whose columns have the names and types that are known."""
    try:
        with pa.ipc.open_stream(pa.BufferReader(payload)) as stream:
            table = stream.read_all()
    except pa.ArrowException as exc:
        raise BarsError(f"schema: no table: {exc}", rule="a payload is an Arrow stream") from exc
    given, known = table.column_names, {*numbers.values(), *texts, *unused}
    odd = [f"no {name}" for name in sorted(known - set(given))]
    odd += [f"unknown {name}" for name in given if name not in known]
    odd += [f"{name} twice" for name in sorted({name for name in given if given.count(name) > 1})]
    if not odd:
        odd = _other_types(table, numbers, texts)
    if odd:
        raise BarsError(
            f"schema: {', '.join(odd)}",
            rule="the columns are those of akshare 1.19",
            hint="akshare or its source changed: compare its release notes, then update the schema",
        )
    return table


def _other_types(table: Any, numbers: Mapping[str, str], texts: Mapping[str, Any]) -> list[str]:
    odd = []
    for name in numbers.values():
        kind = table.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            odd.append(f"{name} is {kind}")
    for name, wanted in texts.items():
        column = table.column(name)
        kind = column.type
        text = pa.types.is_large_string(kind) and wanted == pa.string()
        if not (kind == wanted or text):
            odd.append(f"{name} is {kind}")
        elif column.null_count and name != "名称":
            odd.append(f"{name} is null in {column.null_count} rows")
    return odd


def _numbers(table: Any, names: Mapping[str, str]) -> dict[str, FloatArray]:
    """Return columns as float64; what is missing is NaN."""
    return {
        ours: pc.fill_null(table.column(theirs).cast(pa.float64()), np.nan).to_numpy()
        for ours, theirs in names.items()
    }


def _check_chain(previous: FloatArray, known: FloatArray, volume: FloatArray) -> None:
    """Raise where the close less the change is mostly not the previous close that is known."""
    judged = np.isfinite(previous) & np.isfinite(known) & (volume > 0)
    apart = int((np.abs(previous - known)[judged] > _EQUAL).sum())
    if apart > max(2, (1.0 - MIN_AGREEING) * judged.sum()):
        raise BarsError(
            f"schema: close less change is not the previous close in {apart} of"
            f" {judged.sum()} rows",
            rule="columns are what they are called",
            hint="the order of the source's fields may have changed",
        )
