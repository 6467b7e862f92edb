"""Tables as akshare returns them, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FloatArray = npt.NDArray[np.float64]


def weekdays(first: date, n: int) -> list[date]:
    days = [first + timedelta(days=number) for number in range(2 * n + 7)]
    return [day for day in days if day.weekday() < 5][:n]


def walk(n: int, *, seed: int = 1, start: float = 20.0) -> FloatArray:
    """Return open, high, low and close of a share, in cents; shape (n, 4)."""
    rng = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(rng.normal(0.0, 0.015, n)))
    opened = close * (1.0 + rng.normal(0.0, 0.005, n))
    high = np.maximum(opened, close) * (1.0 + rng.uniform(0.0, 0.01, n))
    low = np.minimum(opened, close) * (1.0 - rng.uniform(0.0, 0.01, n))
    prices = np.stack([opened, high, low, close], axis=1)
    return np.round(prices, 2).astype(np.float64)


def history_table(
    days: Sequence[date],
    prices: FloatArray,
    *,
    lots: FloatArray | None = None,
    shares: FloatArray | float = 5e8,
) -> Any:
    """Return the table of `stock_zh_a_hist`; `shares` may be traded."""
    opened, high, low, close = prices.T
    volume = np.full(len(days), 40_000.0) if lots is None else lots
    change = np.append(0.0, np.diff(close))
    return pa.table(
        {
            "日期": pa.array(days, pa.date32()),
            "股票代码": pa.array(["600000"] * len(days), pa.large_string()),
            "开盘": opened,
            "收盘": close,
            "最高": high,
            "最低": low,
            "成交量": pa.array(volume, from_pandas=True),
            "成交额": np.round(volume * 100.0 * close, 2),
            "振幅": np.zeros(len(days)),
            "涨跌幅": np.zeros(len(days)),
            "涨跌额": np.round(change, 2),
            "换手率": np.round(volume * 100.0 / shares * 100.0, 2),
        }
    )


#: A row of a snapshot: code, name, open, high, low, last, previous close, lots.
Quote = tuple[str, str, float, float, float, float, float, float]


def snapshot_table(quotes: Sequence[Quote]) -> Any:
    """Return the table of `stock_zh_a_spot_em`; NaN is a dash."""
    codes, names, *numbers = zip(*quotes, strict=True)
    opened, high, low, last, previous, lots = (np.array(each, dtype=float) for each in numbers)
    numbers_unused = ("涨跌幅", "振幅", "量比", "换手率", "市盈率-动态", "市净率", "总市值")
    more_unused = ("流通市值", "涨速", "5分钟涨跌", "60日涨跌幅", "年初至今涨跌幅")
    return pa.table(
        {
            "序号": np.arange(1, len(quotes) + 1),
            "代码": pa.array(codes, pa.large_string()),
            "名称": pa.array(names, pa.large_string()),
            "最新价": last,
            "涨跌额": np.round(last - previous, 2),
            "成交量": lots,
            "成交额": lots * 100.0 * last,
            "最高": high,
            "最低": low,
            "今开": opened,
            "昨收": previous,
            **dict.fromkeys((*numbers_unused, *more_unused), np.zeros(len(quotes))),
        }
    )


def payload(table: Any) -> bytes:
    buffer = BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def changed(table: Any, values: Mapping[tuple[int, str], Any]) -> Any:
    """Return a table with single values changed by (row, column)."""
    for (row, name), value in values.items():
        column = table.column(name).to_pylist()
        column[row] = value
        kind = pa.float64() if isinstance(value, float) else table.schema.field(name).type
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(column, kind))
    return table
