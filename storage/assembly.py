"""From vintages to aligned rows: last writer wins, then prices are adjusted forward.

An asset's column is found by the first vintage (by number) that has it, then by its name, so that a
column never moves when rows are appended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.panel import FLAGS, FlagArray, SessionArray

#: The fields of a panel, in the order of their planes.
FIELDS = ("open", "high", "low", "close", "volume", "amount")
_PRICES = 4
_VOLUME = 4
#: The planes after the fields: the cumulative factors of price and of shares up to each session.
PLANES = (*FIELDS, "adjustment", "split")
_ADJUSTMENT, _SPLIT = 6, 7


@dataclass(frozen=True, eq=False)
class Rows:
    """Consecutive rows of a market, adjusted forward.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (n_sessions,)
    columns : mapping of str to int
        Each asset, in column order, with the number of the vintage that brought it.
    values : ndarray of shape (n_sessions, 8, n_assets)
        The planes of `PLANES`; fields are NaN where there is no bar, factors never.
    flags : ndarray of uint8, shape (n_sessions, n_assets)
        As `signals.panel.FLAGS` has them; 0 where there is no row.
    """

    sessions: SessionArray
    columns: Mapping[str, int]
    values: npt.NDArray[np.float64]
    flags: FlagArray

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Where the close is finite; shape (n_sessions, n_assets)."""
        return np.isfinite(self.values[:, FIELDS.index("close")])


def assemble(
    tables: Sequence[tuple[int, Any]],
    columns: Mapping[str, int] | None = None,
    carry: npt.NDArray[np.float64] | None = None,
    first: date | None = None,
) -> Rows:
    """Return the rows from session `first` on.

    Parameters
    ----------
    tables : sequence of (int, pyarrow.Table)
        Vintages with their numbers, in the order in which later ones win.
    columns : mapping of str to int
        The columns that are fixed already; new assets come after them.
    carry : ndarray of shape (2, n_columns), optional
        Cumulative factors of price and of shares before the first row, 1 when not given.
    first : date, optional
        Rows of earlier sessions are left out.
    """
    every = dict(columns or {})
    for number, table in sorted(tables, key=lambda pair: pair[0]):
        names = table["asset"].unique().to_pylist()
        every.update((name, number) for name in sorted(names) if name not in every)
    place = {name: column for column, name in enumerate(every)}

    start = -(2**31) if first is None else int(np.datetime64(first, "D").astype(np.int64))
    days = [_days(table) for _, table in tables]
    axis = np.unique(np.concatenate([np.unique(each) for each in days] or [np.empty(0, np.int32)]))
    axis = axis[axis >= start]

    values = np.full((len(axis), len(PLANES), len(every)), np.nan)
    values[:, _ADJUSTMENT:] = 1.0
    flags = np.zeros((len(axis), len(every)), dtype=np.uint8)
    for each, (_, table) in zip(days, tables, strict=True):
        _scatter(values, flags, axis, each, table, place)
    _adjust(values, carry)
    return Rows(axis.astype("datetime64[D]"), every, values, flags)


def _days(table: Any) -> npt.NDArray[np.int32]:
    days: npt.NDArray[np.int32] = table["session"].cast("int32").to_numpy()
    return days


def _scatter(
    values: npt.NDArray[np.float64],
    flags: FlagArray,
    axis: npt.NDArray[np.int32],
    days: npt.NDArray[np.int32],
    table: Any,
    place: Mapping[str, int],
) -> None:
    """Write one vintage's bars into the rows; a suspended asset has no bar."""
    if not len(axis):
        return
    encoded = table["asset"].combine_chunks().dictionary_encode()
    names = np.array([place[name] for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    column = names[encoded.indices.to_numpy()]
    suspended = table["suspended"].to_numpy()
    wanted = days >= axis[0]
    everything = bool(wanted.all())
    row = np.searchsorted(axis, days if everything else days[wanted])
    if not everything:
        column, suspended = column[wanted], suspended[wanted]
    for plane, name in enumerate(PLANES):
        source = table[name].to_numpy()
        if not everything:
            source = source[wanted]
        if plane < len(FIELDS):
            source = np.where(suspended, np.nan, source)
        values[row, plane, column] = source
    said = _said(table)
    flags[row, column] = said if everything else said[wanted]


def _said(table: Any) -> FlagArray:
    """Return the flags of each row of a table as bits."""
    bits = np.zeros(table.num_rows, dtype=np.uint8)
    for bit, name in enumerate(FLAGS):
        bits |= np.asarray(table[name].to_numpy()).astype(np.uint8) << np.uint8(bit)
    return bits


def _adjust(values: npt.NDArray[np.float64], carry: npt.NDArray[np.float64] | None) -> None:
    """Turn events into cumulative factors and prices as traded into adjusted ones, in place."""
    if not len(values):
        return
    factors = values[:, _ADJUSTMENT:]
    if carry is not None:
        factors[0, :, : carry.shape[1]] *= carry
    np.multiply.accumulate(factors, axis=0, out=factors)
    values[:, :_PRICES] *= factors[:, :1]
    values[:, _VOLUME] /= factors[:, 1]
