"""The rows of a batch beside the stored ones before them, by asset and in time. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daemon.validation import IntArray, Keys, keys_of, numbers_of
from signals.panel import BASE_FIELDS

#: Sessions whose median is the usual volume, and how many of them there have to be.
USUAL_SESSIONS, LEAST_USUAL = 10, 5

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Series(NamedTuple):
    """Traded rows by asset, then session; arrays of shape (n_traded,).

    Parameters
    ----------
    rows : pyarrow.Table
        The stored rows, then those of the batch.
    keys : Keys
        Of `rows`.
    at : ndarray of int64
        Place in `rows`.
    asset, day : ndarray of int64
        As in `keys`.
    batch : ndarray of bool
        Whether the row is of the batch.
    next_day : ndarray of bool
        Whether it is, and the row before is the same asset's of the session before.
    price : ndarray of float64
        Log close as traded.
    event, split : ndarray of float64
        Log of the row's own adjustment and split.
    idle : ndarray of float64
        Log of the adjustments of suspended rows up to here: they count though no bar shows them.
    """

    rows: Any
    keys: Keys
    at: IntArray
    asset: IntArray
    day: IntArray
    batch: BoolArray
    next_day: BoolArray
    price: FloatArray
    event: FloatArray
    split: FloatArray
    idle: FloatArray

    @property
    def first(self) -> BoolArray:
        """Whether a row is its asset's first."""
        is_first: BoolArray = np.diff(self.asset, prepend=-1) != 0
        return is_first

    @property
    def moves(self) -> FloatArray:
        """Adjusted log return since the row before; of no meaning in an asset's first row."""
        return np.diff(self.price + self.idle, prepend=np.nan) + self.event

    def per_day(self, rows: BoolArray) -> IntArray:
        """Return, for each day, how many of `rows` lie on it."""
        return np.bincount(self.day[rows], minlength=len(self.keys.days))

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of `rows`, in the order of the series."""
        return numbers_of(self.rows, name)[self.at]

    def among(self, keys: Collection[tuple[str, date]]) -> BoolArray:
        """Return which rows are of these assets and sessions."""
        place = {name: number for number, name in enumerate(self.keys.names)}
        days = {day: number for number, day in enumerate(self.keys.days.tolist())}
        numbers = [
            days[day] * len(place) + place[name]
            for name, day in keys
            if name in place and day in days
        ]
        return np.isin(self.day * len(place) + self.asset, numbers)


def against_usual(series: Series) -> FloatArray:
    """Return the log of each volume over the asset's usual one; NaN where that is not known.

    The usual volume is the median of the last `USUAL_SESSIONS` rows before, `LEAST_USUAL` of them
    traded at least, in the shares of this row.
    """
    volume = series.column("volume")
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(volume > 0, np.log(volume), np.nan) - np.cumsum(series.split)
    padded = np.concatenate([np.full(USUAL_SESSIONS, np.nan), level[:-1]])
    before = np.lib.stride_tricks.sliding_window_view(padded, USUAL_SESSIONS).copy()
    starts = np.maximum.accumulate(np.where(series.first, np.arange(len(level)), 0))
    rank = np.arange(len(level)) - starts  # rows of the same asset before this one
    behind = np.arange(USUAL_SESSIONS, 0, -1)
    before[behind[None, :] > rank[:, None]] = np.nan
    known = (np.isfinite(before).sum(axis=1) >= LEAST_USUAL) & np.isfinite(level)
    beyond = np.full(len(level), np.nan)
    beyond[known] = level[known] - np.nanmedian(before[known], axis=1)
    return beyond


def repeats_last(series: Series) -> BoolArray:
    """Return which rows traded and are the asset's row before in every price and the volume."""
    same: BoolArray = (series.column("volume") > 0) & ~series.first
    for name in BASE_FIELDS:
        value = series.column(name)
        same[1:] &= value[1:] == value[:-1]
    return same


def build_series(table: Any, before: Any | None) -> Series:
    """Return the traded rows of a batch beside stored ones of earlier sessions.

    Parameters
    ----------
    table, before : pyarrow.Table
        In `storage.bars.BAR_SCHEMA`; rows of `before` that are not earlier than all of `table`
        are left out.
    """
    rows, n_before = _with_before(table, before)
    keys = keys_of(rows)
    order = _by_asset(keys)
    traded = ~numbers_of(rows, "suspended")[order]
    with np.errstate(invalid="ignore", divide="ignore"):  # a suspended row may have no price
        price, event, split = (
            np.log(numbers_of(rows, name))[order] for name in ("close", "adjustment", "split")
        )
    idle = np.where(traded, 0.0, event).cumsum()
    at = order[traded]
    asset, day, batch = keys.asset[at], keys.day[at], at >= n_before
    next_day = batch & (np.diff(asset, prepend=-1) == 0) & (np.diff(day, prepend=-1) == 1)
    numbers = (price[traded], event[traded], split[traded], idle[traded])
    return Series(rows, keys, at, asset, day, batch, next_day, *numbers)


def _with_before(table: Any, before: Any | None) -> tuple[Any, int]:
    if before is None or not table.num_rows:
        return table, 0
    since = pc.min(table.column("session"))
    earlier = before.filter(pc.less(before.column("session"), since))
    return pa.concat_tables([earlier, table]), earlier.num_rows


def _by_asset(keys: Keys) -> IntArray:
    """Return the places of rows by asset, then by session."""
    day, asset = keys.day, keys.asset
    if len(keys.days) < 2**15 and len(keys.names) < 2**15:
        day, asset = day.astype(np.int16), asset.astype(np.int16)  # numpy sorts these by radix
    if (day[1:] >= day[:-1]).all():
        return np.argsort(asset, kind="stable")
    in_time = np.argsort(day, kind="stable")
    return in_time[np.argsort(asset[in_time], kind="stable")]
