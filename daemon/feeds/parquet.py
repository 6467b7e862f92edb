"""A user's own bars: long-form Parquet or CSV, one file or a folder of them.

One row per asset and session. Columns go by the names below, in any case; open, high, low, close
and volume are needed. `adjustment` is the price multiplier of an event that applies from its
session on (1 without an event), `split` the share multiplier, `dividend` the cash per share that
`adjustment` holds already. Flags are true/false or 1/0; `tradestatus` 0 means suspended. Columns in
`IGNORED` are known and unused: `adj_close` among them, because a price adjusted backward from the
download date tells the past about later dividends. Any other column is an error, never dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from daemon.feeds.protocol import Request
from daemon.validation import check_calendar, check_unique
from signals.errors import BarsError
from storage.bars import ABSENT, in_schema

#: Column names we understand, and what each becomes.
ALIASES = {
    "date": "session",
    "session": "session",
    "datetime": "session",
    "symbol": "asset",
    "asset": "asset",
    "instrument": "asset",
    "code": "asset",
    "ticker": "asset",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "amount": "amount",
    "adjustment": "adjustment",
    "split": "split",
    "dividend": "dividend",
    "suspended": "suspended",
    "tradestatus": "suspended",
    "st": "st",
    "is_st": "st",
    "limit_up": "limit_up",
    "limit_down": "limit_down",
}
#: Targets that are true or false.
FLAGS = frozenset({"suspended", "st", "limit_up", "limit_down"})
#: Columns that are known and of no use here.
IGNORED = frozenset({"adj_close", "adj close", "turnover_pct"})
REQUIRED = ("session", "asset", "open", "high", "low", "close", "volume")
_ROWS_AS = "one row per asset and session with " + ", ".join(REQUIRED)


class _Calendar(Protocol):
    """The part of a market's calendar that a file is checked against."""

    def sessions(self, first: date, last: date) -> list[date]: ...


class _Loaded(NamedTuple):
    """A file in memory: sorted by session and asset, columns as narrow as they came."""

    marks: tuple[tuple[str, int, int], ...]
    table: Any
    days: npt.NDArray[np.datetime64]
    offsets: npt.NDArray[np.int64]


class ParquetFeed:
    """Bars from files of the user's. Read at the first question, and again when a file changed.

    Parameters
    ----------
    path : Path
        A `.parquet` or `.csv` file, or a folder of them.
    calendar : MarketCalendar or None
        Refuses days that are no session of it.
    """

    name = "parquet"
    reconstructed = True

    def __init__(self, path: Path, calendar: _Calendar | None = None) -> None:
        self._path = path
        self._calendar = calendar
        self._loaded: _Loaded | None = None

    def history(self, last: date) -> date | None:
        """Return the first session of the files, or None if none is at or before `last`."""
        first: date = self._load().days[0].item()
        return first if first <= last else None

    def fetch(self, request: Request) -> Any:
        """Return the rows of the sessions asked for; sessions the files lack are absent.

        Raises
        ------
        BarsError
            No file, an empty or unreadable one, unknown, doubled or missing columns, values of
            another kind, two rows of one key, a day that is no session.
        """
        loaded = self._load()
        wanted = np.array(request.sessions, dtype="datetime64[D]")
        rows = np.searchsorted(loaded.days, wanted)
        there = [
            int(row)
            for row, day in zip(rows, wanted, strict=True)
            if row < len(loaded.days) and loaded.days[row] == day
        ]
        parts = [
            loaded.table.slice(loaded.offsets[first], loaded.offsets[stop] - loaded.offsets[first])
            for first, stop in _runs(there)
        ]
        table = pa.concat_tables(parts) if parts else loaded.table.slice(0, 0)
        if request.assets is not None:
            keep = pc.is_in(table.column("asset"), value_set=pa.array(request.assets, pa.string()))
            table = table.filter(keep)
        return in_schema(table)

    def _load(self) -> _Loaded:
        files = _files(self._path)
        marks = tuple(
            (str(file), stat.st_mtime_ns, stat.st_size)
            for file, stat in zip(files, map(Path.stat, files), strict=True)
        )
        if self._loaded is None or self._loaded.marks != marks:
            self._loaded = None  # its memory is needed for the new one
            self._loaded = _index(marks, [_read(file) for file in files], self._calendar)
            pa.default_memory_pool().release_unused()  # loading takes twice what is kept
        return self._loaded


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in _READERS)
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise BarsError(
            f"there are no bars at {path}",
            rule="bars are a .parquet or .csv file, or a folder of them",
            hint="correct the path of the feed",
        )
    if found[0].suffix not in _READERS:
        raise BarsError(
            f"{path} is neither .parquet nor .csv",
            rule="the kind of a file of bars is told by its suffix",
            hint="rename or convert the file",
        )
    return found


def _read(file: Path) -> Any:
    """Return a file's rows under our column names, assets as a dictionary."""
    try:
        table = _READERS[file.suffix](file)
    except (pa.ArrowException, OSError) as exc:
        raise BarsError(
            f"{file} cannot be read as bars: {str(exc).splitlines()[0]}",
            rule="a file of bars is complete when it appears",
            hint="the file may be empty or half written: write it elsewhere, then rename it here",
            retryable=True,
        ) from exc
    if table.num_rows == 0:
        raise BarsError(
            f"{file} has no rows",
            rule=f"bars are {_ROWS_AS}",
            hint="the file may be half written: write it elsewhere, then rename it here",
            retryable=True,
        )
    columns = {}
    for source, column in zip(table.column_names, table.columns, strict=True):
        target = ALIASES.get(source.strip().lower())
        if target is not None:
            columns[target] = _typed(file, source, target, column)
    return pa.table(columns)


def _read_parquet(file: Path) -> Any:
    used = _used_columns(file, pa.parquet.read_schema(file).names)
    with pa.parquet.ParquetFile(file, read_dictionary=_named(used, "asset")) as opened:
        return opened.read(columns=used)


def _read_csv(file: Path) -> Any:
    with pa.csv.open_csv(file) as opened:
        used = _used_columns(file, opened.schema.names)
    targets = {name: ALIASES[name.strip().lower()] for name in used}
    kinds = {
        name: pa.string() if target in ("session", "asset") else pa.float64()
        for name, target in targets.items()
        if target not in FLAGS  # true/false or 0/1: arrow sees which
    }
    options = pa.csv.ConvertOptions(column_types=kinds, include_columns=used)
    return pa.csv.read_csv(file, convert_options=options)


_READERS: dict[str, Callable[[Path], Any]] = {".parquet": _read_parquet, ".csv": _read_csv}


def _used_columns(file: Path, names: Sequence[str]) -> list[str]:
    """Return the columns to read; BarsError for unknown, doubled or missing ones."""
    lowered = {name: name.strip().lower() for name in names}
    unknown = [name for name, low in lowered.items() if low not in ALIASES and low not in IGNORED]
    if unknown:
        raise BarsError(
            f"{file} has the unknown column{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}",
            rule=f"columns are {', '.join(sorted(ALIASES))}; ignored: {', '.join(sorted(IGNORED))}",
            hint="rename or remove the column; nothing is dropped silently",
        )
    used = [name for name, low in lowered.items() if low in ALIASES]
    for target in (*REQUIRED, *ABSENT):
        same = _named(used, target)
        if len(same) > 1 or names.count(same[0] if same else "") > 1:
            raise BarsError(
                f"{file} has two columns for {target}: {', '.join(same)}",
                rule="each column of bars is given once",
                hint="remove one of them",
            )
        if target in REQUIRED and not same:
            raise BarsError(
                f"{file} has no column for {target}",
                rule=f"bars are {_ROWS_AS}",
                hint=f"name it {' or '.join(key for key, to in ALIASES.items() if to == target)}",
            )
    return used


def _named(names: Sequence[str], target: str) -> list[str]:
    return [name for name in names if ALIASES.get(name.strip().lower()) == target]


def _typed(file: Path, source: str, target: str, column: Any) -> Any:
    """Return a column in a type we keep; BarsError where its values are of another kind."""
    kind = column.type
    if target == "asset" and not _is_text(kind):
        raise BarsError(
            f"{file}: column {source} is {kind}",
            rule="assets are text: as numbers, codes lose their leading zeros",
            hint="store the column as strings",
        )
    try:
        if column.null_count and target in ("session", "asset"):
            raise pa.ArrowInvalid(f"{column.null_count} rows have none")
        if target == "asset":
            return column if pa.types.is_dictionary(kind) else column.dictionary_encode()
        if target == "session":
            return _as_dates(column)
        if target in FLAGS:
            flags = column.cast(pa.int8()).cast(pa.bool_())
            return pc.invert(flags) if source.strip().lower() == "tradestatus" else flags
        if _is_text(kind):
            raise pa.ArrowInvalid(f"it is {kind}")
        return column if pa.types.is_float32(kind) else column.cast(pa.float64())
    except pa.ArrowException as exc:
        raise BarsError(
            f"{file}: column {source} is no {target}: {str(exc).splitlines()[0]}",
            rule="dates are 2024-01-31 or 20240131, prices and volumes numbers, flags 0 or 1",
            hint="correct or remove the rows with other values",
        ) from exc


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _as_dates(column: Any) -> Any:
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        raise pa.ArrowInvalid("it has a time zone; a session is a naive date")
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    if not _is_text(column.type):
        dates = column.cast(pa.date32())
        if not pc.all(pc.equal(dates.cast(column.type), column)).as_py():
            raise pa.ArrowInvalid("it has times of day; a session is a date")
        return dates
    text = column.cast(pa.string())
    compact = pc.all(pc.equal(pc.utf8_length(text), 8)).as_py()
    return pc.strptime(text, format="%Y%m%d" if compact else "%Y-%m-%d", unit="s").cast(pa.date32())


def _index(
    marks: tuple[tuple[str, int, int], ...], tables: list[Any], calendar: _Calendar | None
) -> _Loaded:
    """Return the rows of all files, sorted by session and asset, with the first row of each."""
    table = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    tables.clear()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    del table  # from here on a column's former rows are freed one column at a time
    for name in tuple(columns):
        columns[name] = columns.pop(name).combine_chunks()
    asset = columns["asset"]
    names = sorted(asset.dictionary.to_pylist())
    place = {name: number for number, name in enumerate(names)}
    rank = np.array([place[name] for name in asset.dictionary.to_pylist()], dtype=np.int64)
    since = columns["session"].view(pa.int32()).to_numpy()
    first = np.datetime64(int(since.min()), "D")
    since = since - since.min()
    counts = np.bincount(since)
    present = np.flatnonzero(counts)
    days = first + present
    if calendar is not None:
        check_calendar(days, frozenset(calendar.sessions(days[0].item(), days[-1].item())))
    numbers = since.astype(np.int64) * len(names) + rank[np.asarray(asset.indices)]
    del since, asset
    order = np.argsort(numbers, kind="stable")
    check_unique(numbers[order], names, first)
    del numbers
    places = pa.array(order)
    sorted_columns = {name: columns.pop(name).take(places) for name in list(columns)}
    return _Loaded(
        marks, pa.table(sorted_columns), days, np.concatenate([[0], np.cumsum(counts[present])])
    )


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Return consecutive numbers as half-open runs."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and runs[-1][1] == row:
            runs[-1] = (runs[-1][0], row + 1)
        else:
            runs.append((row, row + 1))
    return runs
