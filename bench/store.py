"""How long the bar store takes: write a day, restate an asset, read a panel cold and warm.

`python -m bench.store [--assets 1000] [--sessions 2500]`. Beside each figure stands what the notes
on storage measured for plain ways of doing the same with 1,000 assets and 2,500 sessions: without
checksums of what is read, a database row, or the adjustment of prices.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.bars import BAR_SCHEMA, BarStore, in_schema
from storage.database import Database

#: Seconds measured for the notes: zstd Parquet in long form, of which one file a year is rewritten
#: for a day; a memory-mapped array, opened and summed.
NOTES = {
    "write the history": "0.50",
    "write a day": "0.124",
    "restate an asset": "a new file",
    "read the panel cold": "0.18 dense, 0.34 scattered",
    "read the panel warm": "0.011",
    "read it as of the hour before": "0.52 of 251 vintages",
}
MARKET = "bench"
BEGIN = date(2014, 1, 1)
RUNS = 5


def invent(n_assets: int, n_sessions: int) -> Any:
    """Return bars of a random walk with a few dividends."""
    rng = np.random.default_rng(0)
    shape = (n_sessions, n_assets)
    close = 50.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(shape), axis=0))
    days = np.datetime64(BEGIN, "D") + np.arange(n_sessions)
    names = [f"A{number:04d}" for number in range(n_assets)]
    moved = np.round(close * np.exp(0.005 * rng.standard_normal(shape)), 2)
    columns = {
        "session": pa.array(np.repeat(days, n_assets)),
        "asset": pa.array(names * n_sessions, pa.string()),
        "open": moved.ravel(),
        "high": np.maximum(close, moved).ravel(),
        "low": np.minimum(close, moved).ravel(),
        "close": close.ravel(),
        "volume": np.rint(np.exp(rng.normal(13.0, 1.0, shape))).ravel(),
        "amount": (1e6 * close).ravel(),
        "adjustment": np.where(rng.random(shape) < 0.004, 1.005, 1.0).ravel(),
    }
    return in_schema(pa.table(columns)).cast(BAR_SCHEMA)


@dataclass(frozen=True)
class Timed:
    """A store that is opened anew for each thing that is done and timed.

    Parameters
    ----------
    folder : Path
    database : Database
    seconds : dict of str to list of float
        What each thing took.
    """

    folder: Path
    database: Database
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def open(self) -> BarStore:
        """Return the store as a process that has just started sees it."""
        return BarStore(self.folder, self.database)

    def keep(self, name: str, bars: Any, known_at: datetime, cause: str) -> None:
        """Write bars and the row that makes them count."""
        begun = perf_counter()
        store = self.open()
        vintage = store.append(
            MARKET,
            bars,
            source="bench",
            known_at=known_at,
            reconstructed=cause == "backfill",
            cause=cause,
        )
        with self.database.transaction() as conn:
            store.record(conn, vintage)
        self._note(name, begun)

    def read(self, name: str, store: BarStore, as_of: datetime) -> None:
        """Read the panel up to the day of `as_of`, every page of it."""
        begun = perf_counter()
        panel = store.panel(MARKET, as_of=as_of, last_session=as_of.date())
        for plane in panel.fields.values():
            np.nansum(plane)
        self._note(name, begun)

    def _note(self, name: str, begun: float) -> None:
        self.seconds.setdefault(name, []).append(perf_counter() - begun)


def measure(folder: Path, n_assets: int, n_sessions: int) -> dict[str, list[float]]:
    """Return the seconds of each thing done."""
    table = invent(n_assets, n_sessions + RUNS)
    history = n_sessions * n_assets
    database = Database.file(folder / "alphad.db")
    database.migrate()
    timed = Timed(folder, database)
    last = evening(n_sessions - 1)
    timed.keep("write the history", table.slice(0, history), last, "backfill")
    timed.read("read the panel cold", timed.open(), last)
    daemon = timed.open()
    daemon.panel(MARKET, as_of=last, last_session=last.date())
    for run in range(RUNS):
        timed.read("read the panel warm", timed.open(), last)
        last = evening(n_sessions + run)
        day = table.slice(history + run * n_assets, n_assets)
        timed.keep("write a day", day, last, "session")
        timed.read("read it after a new day", daemon, last)
        timed.read("read it again", daemon, last)
    asset = table.filter(pc.equal(table["asset"], pa.scalar("A0007", pa.string())))
    later = last + timedelta(hours=1)
    timed.keep("restate an asset", asset, later, "correction")
    timed.read("read it after a restatement", timed.open(), later)
    timed.read("read it as of the hour before", timed.open(), last)
    database.close()
    return timed.seconds


def evening(number: int) -> datetime:
    """Return when the bars of a session are known."""
    day = datetime.combine(BEGIN + timedelta(days=number), datetime.min.time(), UTC)
    return day + timedelta(hours=22)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--assets", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=2500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), options.assets, options.sessions)
        size = sum(path.stat().st_size for path in Path(folder, "bars").rglob("*.parquet"))
        cache = sum(path.stat().st_size for path in Path(folder, "cache").rglob("*.bin"))
    print(f"{options.assets} assets, {options.sessions} sessions; seconds, the median of n")
    print(f"{'':<30} {'n':>2} {'here':>8}   notes")
    for name, values in seconds.items():
        print(f"{name:<30} {len(values):>2} {np.median(values):>8.3f}   {NOTES.get(name, '–')}")
    print(f"{'vintages, MB':<30}    {size / 1e6:>8.0f}   34")
    print(f"{'panel cache, MB':<30}    {cache / 1e6:>8.0f}   120")


if __name__ == "__main__":
    main()
