"""How Yahoo is asked and read; pure, over the frames of `yfinance.Ticker.history`.

Yahoo restates what it tells: close, volume and dividends of a day are those of today's shares.
They are turned back into what was traded with the splits that came after, so a query always reaches
to the present. An event of a day without a bar counts from the next bar on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.symbols import to_provider
from signals.errors import DataError
from storage.bars import BAR_SCHEMA, in_schema

#: Days before the first session that are asked for: they show the close before it.
LEAD = timedelta(days=30)
PRICES = ("Open", "High", "Low", "Close")
COLUMNS = (*PRICES, "Volume", "Dividends", "Stock Splits")
#: Of many days with something left out, so many are named in warnings.
NAMED_DAYS = 20
#: Of many assets, so many are named in a warning.
NAMED_ASSETS = 5

FloatArray = npt.NDArray[np.float64]
DayArray = npt.NDArray[np.datetime64]


class UnusableError(ValueError):
    """An answer that cannot be bars; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One symbol as traded; each array has shape (n_bars,).

    Parameters
    ----------
    days : ndarray of datetime64[D]
        Ascending; days with a bar.
    prices : ndarray of shape (4, n_bars)
        Open, high, low, close.
    volume, dividend, adjustment, split : ndarray of float64
        As `storage.bars.BAR_SCHEMA` has them.
    without_prices : ndarray of datetime64[D]
        Days Yahoo has a row of, and no prices.
    notes : tuple of (date, str)
        What is doubtful, and the day it matters from.
    """

    days: DayArray
    prices: FloatArray
    volume: FloatArray
    dividend: FloatArray
    adjustment: FloatArray
    split: FloatArray
    without_prices: DayArray
    notes: tuple[tuple[date, str], ...]


class YahooProvider:
    """Yahoo.

    Parameters
    ----------
    finality : callable of date to datetime
        When a session's bars are final; an answer received earlier has it unfinished.
    zone : str
        Time zone of the exchange.
    """

    name = "yahoo"
    client = "daemon.feeds.clients.yahoo"

    def __init__(
        self, finality: Callable[[date], datetime], *, zone: str = "America/New_York"
    ) -> None:
        self._finality = finality
        self._zone = zone

    def queries(self, request: Request) -> list[Query]:
        """Return one query an asset, from a month before the first session to the present."""
        first = min(request.sessions) - LEAD
        options = (("zone", self._zone),)
        symbols = self._symbols(request).values()
        return [Query("history", symbol, first, None, options) for symbol in symbols]

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        """Return the bars as traded of the sessions asked for that were final when answered."""
        sessions = np.array(sorted(request.sessions), dtype="datetime64[D]")
        final = [self._finality(day) for day in sessions.tolist()]
        symbols = self._symbols(request)
        by_symbol = {answer.query.symbol: answer for answer in answers}
        parts: list[Any] = []
        sources: dict[str, str] = {}
        missing: dict[str, str] = {}
        notes: list[str] = []
        unpriced, unfinished = _LeftOut("without prices"), _LeftOut("not finished yet")
        for asset in sorted(request.assets or ()):
            if asset not in symbols:
                missing[asset] = f"empty: {self.name} has no spelling of it"
                continue
            answer = by_symbol.get(symbols[asset])
            if answer is None or answer.outcome != "ok":
                missing[asset] = "failed: not asked" if answer is None else answer.reason
                continue
            try:
                history = read_history(answer.payload)
            except UnusableError as error:
                missing[asset] = f"failed: {error}"
                continue
            n_final = bisect_right(final, answer.received_at)
            unpriced.add(asset, np.intersect1d(history.without_prices, sessions[:n_final]))
            unfinished.add(asset, np.intersect1d(history.days, sessions[n_final:]))
            notes += [f"{asset}: {note}" for day, note in history.notes if day >= sessions[0]]
            kept = np.isin(history.days, sessions[:n_final])
            if kept.any():
                parts.append(_rows(asset, history, kept))
                sources[asset] = answer.sha256
            else:
                missing[asset] = "empty: no bar of the sessions asked for"
        warnings = (*unpriced.told(), *unfinished.told(), *notes)
        return Parsed(_by_session(parts), missing, sources, warnings)

    def _symbols(self, request: Request) -> dict[str, str]:
        """Return the provider's spelling of each asset that has one."""
        symbols = {}
        for asset in request.assets or ():
            with suppress(DataError):
                symbols[asset] = to_provider(asset, self.name)
        return symbols


def read_history(payload: bytes) -> History:
    """Return a symbol's history as it was traded.

    Prices are multiplied, and volumes divided, by the product of all later splits; dividends are
    multiplied by it too, and by a split of their own day: they are cash per share held before.
    With split ratio s (1 without a split), that cash D and the close before P, all as traded,
    `adjustment` is s / (1 - D/P), as Yahoo's own adjusted close has it.

    Parameters
    ----------
    payload : bytes
        Arrow stream of the columns `Date` and `COLUMNS`.

    Raises
    ------
    UnusableError
        It is no such stream, a column is missing or of another kind, days are not ascending, a
        split is not above zero, a dividend is negative or not below the previous close.
    """
    days, columns = _columns(payload)
    prices = np.stack([columns[name] for name in PRICES])
    dividend = np.nan_to_num(columns["Dividends"])
    split = np.nan_to_num(columns["Stock Splits"])
    split[split == 0.0] = 1.0
    if not ((split > 0.0) & np.isfinite(split)).all() or not (dividend >= 0.0).all():
        raise UnusableError("a split or a dividend is negative or infinite")
    later = np.append(np.cumprod(split[::-1])[::-1][1:], 1.0)
    prices = prices * later
    volume = columns["Volume"] / later
    dividend = dividend * later * split

    priced = np.isfinite(prices).all(axis=0)
    notes = _carry_events(days, dividend, split, priced)
    prices, volume = prices[:, priced], volume[priced]
    dividend, split = dividend[priced], split[priced]
    before = np.append(np.nan, prices[3, :-1]) if len(volume) else volume
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(dividend > 0.0, dividend / before, 0.0)
    if (share >= 1.0).any():
        day = days[priced][np.argmax(share >= 1.0)]
        raise UnusableError(f"the dividend of {day} is not below the close before it")
    if np.isnan(share[:1]).any():
        day = days[priced][0]
        notes.append((day.item(), f"the close before the dividend of {day} is unknown"))
    adjustment = split / (1.0 - np.nan_to_num(share))
    return History(
        days[priced], prices, volume, dividend, adjustment, split, days[~priced], tuple(notes)
    )


def _columns(payload: bytes) -> tuple[DayArray, dict[str, FloatArray]]:
    """Return the days and the columns of a payload."""
    try:
        with pa.ipc.open_stream(BytesIO(payload)) as stream:
            table = stream.read_all()
        days = table.column("Date").cast(pa.date32()).cast(pa.int32()).to_numpy()
        columns = {
            name: np.array(table.column(name).cast(pa.float64()).to_numpy()) for name in COLUMNS
        }
    except KeyError as error:
        raise UnusableError(f"a column is missing: {error}") from error
    except pa.ArrowException as error:
        raise UnusableError(str(error).splitlines()[0]) from error
    if (np.diff(days) <= 0).any():
        raise UnusableError("its days are not ascending")
    return days.astype("datetime64[D]"), columns


def _carry_events(
    days: DayArray, dividend: FloatArray, split: FloatArray, priced: npt.NDArray[np.bool_]
) -> list[tuple[date, str]]:
    """Move the events of days without a bar to the next bar, in place; say so."""
    notes = []
    for row in np.flatnonzero(~priced & ((dividend > 0.0) | (split != 1.0))):
        following = row + 1 + np.flatnonzero(priced[row + 1 :])
        since = days[following[0] if len(following) else row].item()
        where = f"counts from {since} on" if len(following) else "has no bar after it yet"
        notes.append((since, f"the event of {days[row]}, which has no bar, {where}"))
    if notes:
        for row in np.flatnonzero(~priced[:-1]):  # day by day: cash is per share held before it
            dividend[row + 1] = dividend[row] + split[row] * dividend[row + 1]
            split[row + 1] *= split[row]
    return notes


def _rows(asset: str, history: History, kept: npt.NDArray[np.bool_]) -> Any:
    """Return the chosen bars of an asset in `BAR_SCHEMA`."""
    opened, high, low, close = history.prices[:, kept]
    columns = {
        "session": history.days[kept],
        "asset": pa.repeat(pa.scalar(asset, pa.string()), int(kept.sum())),
        "open": opened,
        "high": high,
        "low": low,
        "close": close,
        "volume": history.volume[kept],
        "adjustment": history.adjustment[kept],
        "split": history.split[kept],
        "dividend": history.dividend[kept],
    }
    return in_schema(pa.table(columns))


def _by_session(parts: list[Any]) -> Any:
    """Return rows that are sorted by asset, then session, the other way round."""
    if not parts:
        return BAR_SCHEMA.empty_table()
    table = pa.concat_tables(parts)
    days = table.column("session").cast(pa.int32()).to_numpy()
    return table.take(np.argsort(days, kind="stable")).combine_chunks()


class _LeftOut:
    """Bars left out for one reason, by session."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._assets: dict[date, list[str]] = {}

    def add(self, asset: str, days: DayArray) -> None:
        """Note the days an asset's bar is left out of."""
        for day in days.tolist():
            self._assets.setdefault(day, []).append(asset)

    def told(self) -> list[str]:
        """Return a warning a session, the latest sessions first."""
        lines = []
        for day, assets in sorted(self._assets.items(), reverse=True)[:NAMED_DAYS]:
            named = ", ".join(assets[:NAMED_ASSETS]) + (", …" if len(assets) > NAMED_ASSETS else "")
            lines.append(f"{day}: {len(assets)} bars {self._reason} ({named})")
        if len(self._assets) > NAMED_DAYS:
            lines.append(f"{len(self._assets) - NAMED_DAYS} more sessions of bars {self._reason}")
        return lines
