"""What a source tells now about sessions that are stored already: what changed, and why. Pure.

Bars are compared as traded; differences within the payload's rounding are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from daemon.rebasing import MIN_STEP, MIN_VOLUME, Rebase, find_rebase, same_factor
from daemon.validation import PRICES, IntArray, Keys, keys_of, numbers_of
from storage.bars import BAR_SCHEMA

Cause = Literal["split", "dividend", "correction", "unknown"]
CAUSES: tuple[Cause, ...] = ("split", "dividend", "correction", "unknown")
_FLAGS = ("st", "limit_up", "limit_down")
#: Relative distance of volumes that is none, beside the rounding.
_VOLUME_SLACK = 1e-5

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Rounding:
    """How exactly a payload tells what was traded.

    Parameters
    ----------
    price : float
        Relative, of prices and amounts.
    volume : float
        Shares, of those there were after the last reverse split: before it, each is several.
    factor : float
        Relative, of adjustment and split factors.
    """

    price: float = 1e-5
    volume: float = 1.0
    factor: float = 1e-5


@dataclass(frozen=True, slots=True)
class Change:
    """What was restated of one asset, for one cause.

    Parameters
    ----------
    asset : str
    first, last : date
        First and last session that was told otherwise.
    n_bars : int
        Rows to be written; 0 where the history went over to another basis by an event that lies
        after the last stored session.
    factor : float
        By what adjusted prices change from the event on; 1 where only bars were corrected.
    """

    asset: str
    first: date
    last: date
    n_bars: int
    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class Restatement:
    """Everything restated for one cause.

    Parameters
    ----------
    cause : {"split", "dividend", "correction", "unknown"}
    table : pyarrow.Table
        The rows to be written as a new vintage, as traded, in `storage.bars.BAR_SCHEMA`, sorted by
        session and asset. Those of `unknown` are what the source tells, not to be written before
        somebody or a second source confirms them.
    changes : tuple of Change
        By asset.
    """

    cause: Cause
    table: Any
    changes: tuple[Change, ...]


def compare(
    stored: Any, fetched: Any, *, rounding: Rounding | None = None
) -> tuple[Restatement, ...]:
    """Return what has been restated, at most one restatement for each cause.

    The cause of a row is `split` when its split factor is another, `dividend` when only its
    adjustment or dividend is, `correction` when its prices, volume, amount or flags are, or when
    it was not stored. Where a whole history is told on another basis, that is a split or a dividend
    too: prices are brought back to those as traded and the event is put where the basis changes.
    `unknown` are the rows of an asset of which more than half differ by no such rule, and bars that
    are now told to be suspended.

    Parameters
    ----------
    stored, fetched : pyarrow.Table
        Bars as traded in `BAR_SCHEMA`. Only assets and sessions that `stored` has are compared; a
        stored bar that is not told any more stays.
    rounding : Rounding, optional
        Of the coarser of the two payloads.

    Returns
    -------
    tuple of Restatement
        In the order split, dividend, correction, unknown; empty when nothing differs.
    """
    rounding = rounding or Rounding()
    pair = _paired(stored, fetched)
    later = _brought_back(pair, rounding)
    codes = _codes(pair, rounding)
    found = []
    for cause in CAUSES:
        rows = np.flatnonzero(codes == CAUSES.index(cause) + 1)
        changes = (*_changes(pair, rows), *later[cause])
        if changes:
            ordered = tuple(sorted(changes, key=lambda change: change.asset))
            found.append(Restatement(cause, _table(pair, rows), ordered))
    return tuple(found)


def counts(restatements: Sequence[Restatement]) -> Mapping[str, int]:
    """Return the number of bars to be written for each cause."""
    return {one.cause: one.table.num_rows for one in restatements}


class _Pair(NamedTuple):
    """Rows told now beside the stored ones, by asset and in time."""

    days: npt.NDArray[np.datetime64]
    names: Sequence[str]
    asset: IntArray
    day: IntArray
    there: BoolArray  # whether the row is stored
    shares: FloatArray  # shares before reverse splits that were one after them
    old: Columns
    new: Columns

    @property
    def both(self) -> BoolArray:
        """Whether the asset traded by both accounts."""
        return self.there & ~self.old["suspended"] & ~self.new["suspended"]


def _paired(stored: Any, fetched: Any) -> _Pair:
    keys, told = keys_of(stored), keys_of(fetched)
    place = {name: number for number, name in enumerate(keys.names)}
    number = {day: number for number, day in enumerate(keys.days.tolist())}
    asset = np.array([place.get(name, -1) for name in told.names], dtype=np.int64)[told.asset]
    day = np.array([number.get(day, -1) for day in told.days.tolist()], dtype=np.int64)[told.day]
    size = len(keys.names) * len(keys.days)
    old_at, new_at = np.full(size, -1), np.full(size, -1)
    old_at[keys.asset * len(keys.days) + keys.day] = np.arange(stored.num_rows)
    known = np.flatnonzero((asset >= 0) & (day >= 0))
    new_at[asset[known] * len(keys.days) + day[known]] = known
    cells = np.flatnonzero(new_at >= 0)
    there = old_at[cells] >= 0
    names = [field.name for field in BAR_SCHEMA if field.name not in ("session", "asset")]
    return _Pair(
        keys.days,
        keys.names,
        cells // max(len(keys.days), 1),
        cells % max(len(keys.days), 1),
        there,
        np.maximum(_shares(fetched, told)[new_at[cells]], _shares(stored, keys)[old_at[cells]]),
        {name: numbers_of(stored, name)[old_at[cells]] for name in names},
        {name: numbers_of(fetched, name)[new_at[cells]] for name in names},
    )


def _shares(table: Any, keys: Keys) -> FloatArray:
    """Return how many shares of a row became one by the splits after it, at their fewest."""
    split = np.log(numbers_of(table, "split"))
    shares = np.zeros(len(split))
    for asset in np.unique(keys.asset[split < 0.0]).tolist():
        rows = np.flatnonzero(keys.asset == asset)
        rows = rows[np.argsort(keys.day[rows])]
        level = np.cumsum(split[rows])
        shares[rows] = level - np.minimum.accumulate(level[::-1])[::-1]
    return np.exp(shares)


def _moved(pair: _Pair, rounding: Rounding) -> BoolArray:
    """Return where a price of a bar differs."""
    moved = np.zeros(len(pair.asset), dtype=bool)
    for name in PRICES:
        old, new = pair.old[name], pair.new[name]
        with np.errstate(invalid="ignore"):
            moved |= np.abs(new - old) > rounding.price * np.abs(old)
    return moved & pair.both


def _brought_back(pair: _Pair, rounding: Rounding) -> Mapping[Cause, list[Change]]:
    """Bring prices told on another basis back to those as traded, and put the events in place.

    Return what is left: changes of basis whose event is after the last stored session.
    """
    later: dict[Cause, list[Change]] = {cause: [] for cause in CAUSES}
    traded = pair.both
    for asset in np.unique(pair.asset[_moved(pair, rounding)]).tolist():
        start, stop = np.searchsorted(pair.asset, [asset, asset + 1])
        rows = start + np.flatnonzero(traded[start:stop])
        old = np.log([pair.old[name][rows] for name in PRICES])
        new = np.log([pair.new[name][rows] for name in PRICES])
        told, was = pair.new["volume"][rows], pair.old["volume"][rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            volumes = np.log(told / was)
        volumes[np.minimum(told, was) < MIN_VOLUME] = np.nan
        rebase = find_rebase(new - old, volumes, tolerance=10.0 * rounding.price)
        if rebase is None or not _put_events(pair, rows, rebase):
            continue
        _undo(pair, rows, np.arange(start, stop), rebase)
        row, split, dividend = rebase.events[-1]
        if row == len(rows):
            on = np.flatnonzero(rebase.price != 1.0)
            first, last = pair.days[pair.day[rows[on[[0, -1]]]]].tolist()
            cause: Cause = "dividend" if split == 1.0 else "split"
            later[cause].append(Change(pair.names[asset], first, last, 0, split * dividend))
    return later


def _put_events(pair: _Pair, rows: IntArray, rebase: Rebase) -> bool:
    """Put events that are not told where they belong; false where others are told there."""
    new = pair.new
    due = [
        (rows[row], rows[row - 1], *factors) for row, *factors in rebase.events if row < len(rows)
    ]
    for at, _, split, dividend in due:
        told = new["split"][at], new["adjustment"][at] / new["split"][at]
        for one, factor in zip(told, (split, dividend), strict=True):
            if one != 1.0 and not same_factor(one, factor):
                return False
    for at, before, split, dividend in due:
        cash = pair.old["close"][before] / split * (1.0 - 1.0 / dividend)
        if dividend != 1.0 and new["adjustment"][at] == new["split"][at]:
            new["adjustment"][at] *= dividend
            new["dividend"][at] = cash
        if split != 1.0 and new["split"][at] == 1.0:
            new["split"][at] = split
            new["adjustment"][at] *= split
    return True


def _undo(pair: _Pair, rows: IntArray, every: IntArray, rebase: Rebase) -> None:
    """Replace what is told on another basis by what is stored; divide where nothing is."""
    step = np.minimum(np.searchsorted(rows, every), len(rows) - 1)
    price, shares = rebase.price[step], rebase.shares[step]
    on = price != 1.0
    for name in (*PRICES, "volume"):
        factor = 1.0 / shares if name == "volume" else price
        pair.new[name][every[on]] *= factor[on]
        known = every[on & pair.both[every]]
        pair.new[name][known] = pair.old[name][known]
    pair.new["dividend"][every[on]] *= shares[on]


def _codes(pair: _Pair, rounding: Rounding) -> IntArray:
    """Return, per row, 0 or 1 + the number of the cause for which it differs."""
    old, new, both = pair.old, pair.new, pair.both
    moved = _moved(pair, rounding)
    with np.errstate(invalid="ignore"):
        off = np.abs(new["volume"] - old["volume"])
        moved |= both & (off > rounding.volume * pair.shares + _VOLUME_SLACK * old["volume"])
        paid = np.abs(new["amount"] - old["amount"])
        corrected = moved | (both & (paid > rounding.price * old["amount"]))
        cash = np.abs(new["dividend"] - old["dividend"]) > rounding.factor * old["close"]
    for name in _FLAGS:
        corrected |= pair.there & (new[name] != old[name])
    corrected |= pair.there & old["suspended"] & ~new["suspended"]
    event = (new["split"] != 1.0) | (new["adjustment"] != 1.0)
    corrected |= ~pair.there & (~new["suspended"] | event)
    split, adjustment = (
        pair.there & (np.abs(np.log(new[name] / old[name])) > rounding.factor)
        for name in ("split", "adjustment")
    )
    n_moved = np.bincount(pair.asset[moved], minlength=len(pair.names))
    n_traded = np.bincount(pair.asset[both], minlength=len(pair.names))
    strange = (n_moved >= MIN_STEP) & (n_moved * 2 > n_traded)
    gone = pair.there & ~old["suspended"] & new["suspended"]

    codes = np.zeros(len(pair.asset), dtype=np.int64)
    codes[corrected] = 3
    codes[adjustment | (pair.there & cash)] = 2
    codes[split] = 1
    codes[gone | ((codes > 0) & strange[pair.asset])] = 4
    return codes


def _changes(pair: _Pair, rows: IntArray) -> list[Change]:
    found = []
    for part in np.split(rows, np.flatnonzero(np.diff(pair.asset[rows])) + 1):
        if not len(part):
            continue
        first, last = pair.days[pair.day[part[[0, -1]]]].tolist()
        known = part[pair.there[part]]
        factor = np.prod(pair.new["adjustment"][known] / pair.old["adjustment"][known])
        asset = pair.names[pair.asset[part[0]]]
        found.append(Change(asset, first, last, len(part), float(factor)))
    return found


def _table(pair: _Pair, rows: IntArray) -> Any:
    """Return rows as they are told now; an amount that is not told any more stays."""
    columns = {name: values[rows] for name, values in pair.new.items()}
    known = pair.there[rows] & np.isnan(columns["amount"])
    columns["amount"] = np.where(known, pair.old["amount"][rows], columns["amount"])
    arrays = {
        "session": pa.array(pair.days[pair.day[rows]]),
        "asset": pa.array([pair.names[number] for number in pair.asset[rows]], pa.string()),
        **{name: pa.array(values, from_pandas=True) for name, values in columns.items()},
    }
    table = pa.table([arrays[field.name] for field in BAR_SCHEMA], schema=BAR_SCHEMA)
    return table.sort_by([("session", "ascending"), ("asset", "ascending")])
