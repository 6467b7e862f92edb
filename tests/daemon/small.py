"""A small market that is quick to live through: 40 assets, a seed book of two, real calendars."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from daemon.calendar import MarketCalendar, Overlay
from daemon.cli import main
from daemon.clock import ReplayClock
from daemon.context import Context, Market, open_context
from daemon.feeds.protocol import Feed, Request
from daemon.feeds.simulated import SimulatedFeed
from daemon.settings import Settings, load_settings
from daemon.simulation import PlantedAlpha
from signals.errors import FeedError

CALENDAR = MarketCalendar("XNYS", Overlay())
START = date(2023, 1, 3)
#: The first 150 sessions of the market, and the one a replay begins with.
SESSIONS = tuple(CALENDAR.sessions(START, CALENDAR.next_session(START, 149)))
FIRST = 100
N_ASSETS = 40
MARKET = "us"

#: A factor that earns, so strongly that sixty sessions prove it, and one that does the opposite.
BOOK = """
[factors.reversal]
expression = "-1 * TS_PCTCHANGE($close, 5)"
observation = "what fell comes back"
knowledge = "liquidity is paid for"
justification = "planted"
source = "tests"

[factors.continuation]
expression = "TS_PCTCHANGE($close, 6)"
observation = "what fell goes on falling"
knowledge = "none"
justification = "the opposite of what is planted"
source = "tests"
"""

#: What the tables [markets.us.*] hold.
TABLES: Mapping[str, Mapping[str, Any]] = {
    "ingest": {"min_assets": 20},
    "monitor": {"baseline_sessions": 60},
    "blend": {"ic_sessions": 60},
    "book": {"shadow_min": 5, "cooldown_sessions": 5},
    "mining": {
        "train_sessions": 60,
        "valid_sessions": 40,
        "embargo": 0,
        "rounds": 2,
        "batch": 20,
        "finalists": 4,
    },
}


def planted(*strength: tuple[int, float]) -> tuple[PlantedAlpha, ...]:
    """Return the one alpha of the market, of some strength over time."""
    return (PlantedAlpha("reversal", "-1 * TS_PCTCHANGE($close, 5)", strength),)


STEADY = planted((0, 0.25))
#: Turns against whoever trusts it, from the 90th session on.
DYING = planted((90, 0.25), (91, -0.35))


@cache
def market_bars(alphas: tuple[PlantedAlpha, ...] = STEADY, seed: int = 1) -> Any:
    """Return the bars of `SESSIONS`, in the schema of bars."""
    feed = SimulatedFeed(CALENDAR, seed=seed, n_assets=N_ASSETS, start=START, alphas=alphas)
    return feed.fetch(Request(MARKET, SESSIONS))


def rows_of(table: Any, first: int, stop: int) -> Any:
    """Return the rows of sessions number `first` to `stop`, half-open."""
    days = pa.array(SESSIONS[first:stop], pa.date32())
    return table.filter(pa.compute.is_in(table["session"], value_set=days))


def changed(table: Any, session: date, column: str, value: Any, n_assets: int) -> Any:
    """Return bars with one column of the first assets of a session set to `value`."""
    rows = [
        {**row, column: value}
        if row["session"] == session and number % N_ASSETS < n_assets
        else row
        for number, row in enumerate(table.to_pylist())
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)


def settings_text(**tables: Mapping[str, Any]) -> str:
    """Return the settings of the market as TOML, `TABLES` overlaid by `tables`."""
    lines = ["[markets.us]", 'calendar = "XNYS"']
    for name in {**TABLES, **tables}:
        lines.append(f"[markets.us.{name}]")
        values = {**TABLES.get(name, {}), **tables.get(name, {})}
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def alphad(*arguments: str | Path) -> Finished:
    """Run a command of the real command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    finally:
        structlog.reset_defaults()  # it would go on writing into `err`
    return Finished(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Home:
    """A folder with bars, a seed book, settings and the output of replays of them."""

    path: Path

    @property
    def bars(self) -> Path:
        return self.path / "bars.parquet"

    @property
    def book(self) -> Path:
        return self.path / "book.toml"

    @property
    def settings(self) -> Path:
        return self.path / "settings.toml"

    @property
    def out(self) -> Path:
        return self.path / "out"

    @property
    def config(self) -> Path:
        """The settings the replay left beside its output."""
        return self.out / "alphad.toml"

    @property
    def published(self) -> Path:
        return self.out / "published" / MARKET / "v1"

    def write(self, table: Any, book: str = BOOK, **tables: Mapping[str, Any]) -> Home:
        """Write what a replay needs."""
        self.path.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.bars)
        self.book.write_text(book)
        text = settings_text(**tables)
        seed_book = f"seed_book = {json.dumps(str(self.book))}\n"
        self.settings.write_text(text.replace("[markets.us]\n", f"[markets.us]\n{seed_book}", 1))
        return self

    def replay(self, first: int, last: int, *extra: str | Path) -> Finished:
        """Replay the sessions number `first` to `last`, both included."""
        span = ("--from", SESSIONS[first].isoformat(), "--to", SESSIONS[last].isoformat())
        where = ("--bars", self.bars, "--out", self.out, "--config", self.settings)
        return alphad("replay", "--market", MARKET, *where, *span, *extra)

    def copy(self, target: Path) -> Home:
        """Return a copy elsewhere that can be gone on with."""
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        for file in (target / "settings.toml", target / "out" / "alphad.toml"):
            file.write_text(file.read_text().replace(str(self.path), str(target)))
        return Home(target)

    def files(self) -> dict[str, bytes]:
        """Return every published file."""
        return {
            str(path.relative_to(self.published)): path.read_bytes()
            for path in sorted(self.published.rglob("*"))
            if path.is_file()
        }


class TroubledFeed:
    """A feed that does not answer for some sessions, as long as they stand in `silent`."""

    name = "troubled"
    reconstructed = False

    def __init__(self, alphas: tuple[PlantedAlpha, ...] = STEADY) -> None:
        self.silent: set[date] = set()
        self.absent: dict[date, int] = {}
        self.asked: list[tuple[date, ...]] = []
        self._table = market_bars(alphas)

    def history(self, last: date) -> date | None:
        return SESSIONS[0] if SESSIONS[0] <= last else None

    def fetch(self, request: Request) -> Any:
        """Return the bars; of a session in `absent` without its last so many assets."""
        self.asked.append(request.sessions)
        if self.silent & set(request.sessions):
            raise FeedError("the source is silent", rule="a source answers", hint="wait")
        days = pa.array(request.sessions, pa.date32())
        table = self._table.filter(pa.compute.is_in(self._table["session"], value_set=days))
        for session, count in self.absent.items():
            names = pa.array([f"SIM{number:04d}" for number in range(N_ASSETS - count, N_ASSETS)])
            gone = pa.compute.and_(
                pa.compute.equal(table["session"], pa.scalar(session, pa.date32())),
                pa.compute.is_in(table["asset"], value_set=names),
            )
            table = table.filter(pa.compute.invert(gone))
        return table


@dataclass(frozen=True)
class Living:
    """An opened state directory, the market in it and the clock that drives it."""

    context: Context
    market: Market
    clock: ReplayClock

    def changed(self, market: Market) -> Living:
        """Return the same with another market in its place."""
        return Living(replace(self.context, markets={MARKET: market}), market, self.clock)

    def until(self, number: int) -> date:
        """Move the clock to the finality of session `number` and return it."""
        session = SESSIONS[number]
        self.clock.set(CALENDAR.finality(session, self.market.settings.ingest.finality_minutes))
        return session


def small_settings(path: Path, **tables: Mapping[str, Any]) -> Settings:
    """Return the settings of the simulated small market in the folder `path`."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "book.toml").write_text(BOOK)
    file = path / "settings.toml"
    feed = {"kind": "simulated", "assets": N_ASSETS, "start": None}
    text = settings_text(**{"feed": feed, **tables}).replace("start = null", f"start = {START}")
    head = [f'state_dir = "{path / "state"}"', f'publish_dir = "{path / "published"}"']
    book = f'[markets.us]\nseed_book = "{path / "book.toml"}"'
    file.write_text("\n".join(head) + "\n" + text.replace("[markets.us]", book, 1))
    return load_settings(file, {})


@contextmanager
def living(path: Path, feed: Feed | None = None, **tables: Mapping[str, Any]) -> Iterator[Living]:
    """Open a small market in the folder `path`, on a feed of the test's own if one is given."""
    settings = small_settings(path, **tables)
    clock = ReplayClock(CALENDAR.finality(SESSIONS[FIRST], 90))
    with open_context(settings, clock) as context:
        market = context.markets[MARKET]
        alive = Living(context, market, clock)
        yield alive if feed is None else alive.changed(replace(market, feed=feed))


def names(rows: Sequence[Any]) -> list[str]:
    """Return the keys of alerts."""
    return [row.key for row in rows]
