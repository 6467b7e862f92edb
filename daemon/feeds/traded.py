"""Bars of a provider that tells prices as they were traded, and its events on their own days.

Pure. A provider reads an asset's answers as a `Traded`; which of its rows become bars, and what is
missing or doubtful, is the same for all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daemon.feeds.eastmoney_history import by_session
from daemon.feeds.protocol import Answer, Parsed, Request
from daemon.symbols import to_provider
from signals.errors import DataError
from signals.panel import BoolArray, SessionArray
from storage.bars import in_schema

PRICES = ("open", "high", "low", "close")
#: Of many days with something left out, so many are named in warnings.
NAMED_DAYS = 20
#: Of many assets, so many are named in a warning.
NAMED_ASSETS = 5

FloatArray = npt.NDArray[np.float64]
#: Reads the answers about one asset.
Read = Callable[[str, Sequence[Answer]], "Traded"]


class MissingError(ValueError):
    """There are no bars of an asset; the text is the reason, and begins with the outcome."""


@dataclass(frozen=True, slots=True, eq=False)
class Traded:
    """One asset as traded.

    Parameters
    ----------
    days : ndarray of datetime64[D], shape (n_bars,)
        Ascending.
    columns : mapping of str to ndarray of shape (n_bars,)
        Of `storage.bars.BAR_SCHEMA`, without session and asset; NaN is no value.
    without_prices : ndarray of datetime64[D]
        Days the provider has a row of, and no prices.
    notes : tuple of (datetime64[D], str)
        What is doubtful, and the day it matters from.
    """

    days: SessionArray
    columns: Mapping[str, npt.NDArray[Any]]
    without_prices: SessionArray
    notes: tuple[tuple[np.datetime64, str], ...] = ()


def spellings(request: Request, provider: str) -> dict[str, str]:
    """Return how a provider spells each asset that it serves."""
    symbols = {}
    for asset in request.assets or ():
        with suppress(DataError):
            symbols[asset] = to_provider(asset, provider)
    return symbols


def parse_traded(
    provider: str,
    request: Request,
    answers: Sequence[Answer],
    finality: Callable[[date], datetime],
    read: Read,
) -> Parsed:
    """Return the bars of the sessions asked for that were final when they were answered.

    Parameters
    ----------
    provider : str
        Whose spelling the answers have; every query is about one symbol.
    finality : callable of date to datetime
        When a session's bars are final.
    read : callable
        Of an asset and its answers, in the order given; a MissingError says why there is no bar.
        The bars are said to come from the payload of the first answer.
    """
    sessions = np.array(sorted(request.sessions), dtype="datetime64[D]")
    final = [finality(day) for day in sessions.tolist()]
    symbols = spellings(request, provider)
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.query.symbol, []).append(answer)
    parts: list[Any] = []
    missing: dict[str, str] = {}
    sources: dict[str, str] = {}
    unpriced, unfinished = _LeftOut("without prices"), _LeftOut("not finished yet")
    notes: list[str] = []
    for asset in sorted(request.assets or ()):
        given = found.get(symbols.get(asset, ""), [])
        try:
            if not given:
                known = asset in symbols
                raise MissingError(
                    "failed: not asked" if known else f"empty: {provider} has no spelling of it"
                )
            traded = read(asset, given)
            n_final = bisect_right(final, min(each.received_at for each in given))
            kept = np.isin(traded.days, sessions[:n_final])
            unfinished.add(asset, np.intersect1d(traded.days, sessions[n_final:]))
            unpriced.add(asset, np.intersect1d(traded.without_prices, sessions[:n_final]))
            if not kept.any():
                raise MissingError("empty: no bar of the sessions asked for")
        except MissingError as error:
            missing[asset] = str(error)
            continue
        parts.append(_rows(asset, traded, kept))
        sources[asset] = given[0].sha256
        notes += [f"{asset}: {note}" for day, note in traded.notes if day >= sessions[0]]
    warnings = (*unpriced.told(), *unfinished.told(), *notes)
    return Parsed(by_session(parts), missing, sources, warnings)


def read_columns(
    answer: Answer, day: str, numbers: Sequence[str], *, symbol: str | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return columns of an answer's payload as arrays of shape (n_rows,), sorted as they come.

    Parameters
    ----------
    day : str
        The column of days, as dates or as text; it is datetime64[D].
    numbers : sequence of str
        Columns of numbers, also as text; null and empty text are NaN.
    symbol : str or None
        What a column `code` must say in every row; None reads no such column.

    Raises
    ------
    MissingError
        It is not ok; it is no Arrow stream; a column is absent or no number; days are not
        ascending; a row is about another symbol.
    """
    if answer.outcome != "ok":
        raise MissingError(answer.reason)
    try:
        with pa.ipc.open_stream(BytesIO(answer.payload)) as stream:
            table = stream.read_all()
        days = table.column(day).cast(pa.date32()).cast(pa.int32()).to_numpy()
        columns = {name: _numbers(table.column(name)) for name in numbers}
        others = [] if symbol is None else set(table.column("code").to_pylist()) - {symbol}
    except KeyError as error:
        raise MissingError(f"failed: a column is absent: {error}") from error
    except pa.ArrowException as error:
        raise MissingError(f"failed: {str(error).splitlines()[0]}") from error
    if others:
        raise MissingError(f"failed: rows of {symbol} are about {min(map(str, others))}")
    if (np.diff(days) <= 0).any():
        raise MissingError("failed: its days are not ascending")
    return {day: days.astype("datetime64[D]"), **columns}


def asked(answers: Sequence[Answer], kind: str) -> Answer:
    """Return the answer to the query of a kind.

    Raises
    ------
    MissingError
        There is none.
    """
    for answer in answers:
        if answer.query.kind == kind:
            return answer
    raise MissingError(f"failed: {kind} was not asked")


def traded_with_events(
    days: SessionArray, prices: Mapping[str, FloatArray], dividend: FloatArray, split: FloatArray
) -> Traded:
    """Return an asset as it was traded, its events on the bars they count from.

    With split ratio s, cash D per share held before the ex-date and the close before P, all as
    traded, `adjustment` is s / (1 - D/P). A day without prices has no bar, and its events count
    from the next bar on.

    Parameters
    ----------
    days : ndarray of datetime64[D], shape (n_rows,)
        Ascending; of rows with prices or with an event.
    prices : mapping of str to ndarray of shape (n_rows,)
        `PRICES` and volume; NaN is no value.
    dividend, split : ndarray of shape (n_rows,)
        NaN and 0 are no event.

    Raises
    ------
    MissingError
        A split is not above zero, a dividend is negative or not below the close before it.
    """
    dividend = np.nan_to_num(dividend)
    split = np.where(np.isnan(split) | (split == 0.0), 1.0, split)
    if not ((split > 0.0) & np.isfinite(split)).all() or not (dividend >= 0.0).all():
        raise MissingError("failed: a split or a dividend is negative or infinite")
    table = np.stack([prices[name] for name in PRICES])
    priced: BoolArray = np.asarray(np.isfinite(table).all(axis=0))
    notes = _carry_events(days, dividend, split, priced)
    bars = {name: values[priced] for name, values in prices.items()}
    split, dividend, dated = split[priced], dividend[priced], days[priced]
    before = np.append(np.nan, bars["close"][:-1])[: len(dated)]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(dividend > 0.0, dividend / before, 0.0)
    if (share >= 1.0).any():
        day = dated[np.argmax(share >= 1.0)]
        raise MissingError(f"failed: the dividend of {day} is not below the close before it")
    if np.isnan(share[:1]).any():
        notes.append((dated[0], f"the close before the dividend of {dated[0]} is unknown"))
    adjustment = split / (1.0 - np.nan_to_num(share))
    events = {"adjustment": adjustment, "split": split, "dividend": dividend}
    return Traded(dated, {**bars, **events}, days[~priced], tuple(notes))


def _carry_events(
    days: SessionArray, dividend: FloatArray, split: FloatArray, priced: BoolArray
) -> list[tuple[np.datetime64, str]]:
    """Move the events of days without a bar to the next bar, in place; say so."""
    notes = []
    for row in np.flatnonzero(~priced & ((dividend > 0.0) | (split != 1.0))):
        following = row + 1 + np.flatnonzero(priced[row + 1 :])
        since = days[following[0] if len(following) else row]
        where = f"counts from {since} on" if len(following) else "has no bar after it yet"
        notes.append((since, f"the event of {days[row]}, which has no bar, {where}"))
    if notes:
        for row in np.flatnonzero(~priced[:-1]):  # day by day: cash is per share held before it
            dividend[row + 1] = dividend[row] + split[row] * dividend[row + 1]
            split[row + 1] *= split[row]
    return notes


def _numbers(column: Any) -> FloatArray:
    """Return a column as float64; null and empty text are NaN."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.if_else(pc.equal(column, ""), None, column)
    numbers: FloatArray = np.array(column.cast(pa.float64()).to_numpy())
    return numbers


def _rows(asset: str, traded: Traded, kept: BoolArray) -> Any:
    """Return the chosen bars of an asset in `BAR_SCHEMA`."""
    columns = {
        name: pa.array(values[kept], from_pandas=True) for name, values in traded.columns.items()
    }
    names = pa.repeat(pa.scalar(asset, pa.string()), int(kept.sum()))
    return in_schema(pa.table({"session": traded.days[kept], "asset": names, **columns}))


class _LeftOut:
    """Bars left out for one reason, by session."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._assets: dict[date, list[str]] = {}

    def add(self, asset: str, days: SessionArray) -> None:
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
