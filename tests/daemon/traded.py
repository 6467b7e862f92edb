"""Bars as traded, made from plain lists and from random markets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from storage.bars import in_schema

START = date(2024, 1, 1)


def day(number: int) -> date:
    """Return session number `number`; the calendar is not of interest here."""
    return START + timedelta(days=number)


def traded(
    closes: Mapping[str, Sequence[float | None]],
    first: int = 0,
    **columns: Mapping[tuple[str, int], Any],
) -> Any:
    """Return bars of some closes from session `first` on; None is a session without a bar.

    `columns` gives other values of single bars: name of the column → {(asset, session number)}.
    """
    rows = []
    for asset, values in closes.items():
        for number, close in enumerate(values, start=first):
            if close is None:
                continue
            row: dict[str, Any] = {
                "session": day(number),
                "asset": asset,
                "open": close * 0.99,
                "high": close * 1.02,
                "low": close * 0.98,
                "close": close,
                "volume": 1000.0 + 17 * number,
            }
            rows.append(row | {name: at.get((asset, number)) for name, at in columns.items()})
    names = [*rows[0]] if rows else ["session", "asset", "open", "high", "low", "close", "volume"]
    table = in_schema(pa.table({name: [row[name] for row in rows] for name in names}))
    return table.sort_by([("session", "ascending"), ("asset", "ascending")])


class RandomMarket:
    """Bars as traded of a seeded random market, with splits and dividends, and its true returns.

    Parameters
    ----------
    seed : int
    events : mapping of (int, int) to (float, float)
        (session, asset) → (split ratio, dividend as a share of the close before).
    """

    def __init__(
        self,
        seed: int,
        events: Mapping[tuple[int, int], tuple[float, float]],
        n_sessions: int = 20,
        n_assets: int = 4,
    ) -> None:
        rng = np.random.default_rng(seed)
        shape = (n_sessions, n_assets)
        self.assets = tuple(f"A{number}" for number in range(n_assets))
        self.returns = rng.normal(0.0, 0.02, shape).clip(-0.08, 0.08)
        self.split = np.ones(shape)
        share = np.zeros(shape)
        for (session, asset), (ratio, paid) in events.items():
            self.split[session, asset], share[session, asset] = ratio, paid
        self.split[0], share[0] = 1.0, 0.0
        self.close = np.empty(shape)
        self.close[0] = rng.uniform(20.0, 200.0, n_assets)
        self.dividend = np.zeros(shape)
        self.adjustment = np.ones(shape)
        for row in range(1, n_sessions):
            before = self.close[row - 1]
            self.dividend[row] = before * share[row] / self.split[row]
            self.adjustment[row] = self.split[row] / (1.0 - share[row])
            self.close[row] = before * (1.0 + self.returns[row]) / self.adjustment[row]
        turnover = np.round(rng.uniform(1e5, 1e6, shape))
        self.volume = np.round(turnover * np.cumprod(self.split, axis=0))
        self.spread = rng.uniform(1.001, 1.01, (3, *shape))

    def table(self, last: int | None = None) -> Any:
        """Return the bars of the sessions before number `last`, as a perfect source tells them."""
        n_sessions, n_assets = self.close.shape
        high, low = self.close * self.spread[0], self.close / self.spread[1]
        columns = {
            "open": low + (high - low) * (self.spread[2] - 1.0) * 100.0,
            "high": high,
            "low": low,
            "close": self.close,
            "volume": self.volume,
            "adjustment": self.adjustment,
            "split": self.split,
            "dividend": self.dividend,
        }
        stop = n_sessions if last is None else last
        days = np.repeat(np.array([day(n) for n in range(stop)], dtype="datetime64[D]"), n_assets)
        values = {name: column[:stop].flatten() for name, column in columns.items()}
        return in_schema(pa.table({"session": days, "asset": [*self.assets] * stop, **values}))


def changed(table: Any, **columns: Any) -> Any:
    """Return a table with some columns replaced."""
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array(values, table.schema.field(name).type))
    return table
