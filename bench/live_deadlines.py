"""Deadlines: a provider that hangs is killed on time and delays no other market."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from time import perf_counter

from bench.live_market import settings_table
from daemon.clock import ReplayClock
from daemon.constituents import CLIENT, INDICES, query
from daemon.context import build_market, open_context
from daemon.feeds.child import Child, Limits
from daemon.feeds.protocol import Query
from daemon.settings import build_settings
from tests.daemon.live import BOOK, INDEX_NAMES, LiveMarket, small_book, small_index
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

#: Deadline of a query, in seconds.
DEADLINE = 4.0
#: How late a hanging client may be dead after it.
LATE = 1.0
BEGUN = 150


@dataclass(frozen=True)
class Killed:
    """How a query that nobody answers ended.

    Parameters
    ----------
    how : str
        What hangs.
    outcome, error : str
        What the daemon is told.
    late : float
        Seconds from the deadline to the reply, after which the client is dead.
    alive : bool
        Whether the client's process is there still, after a client that hangs by itself.
    """

    how: str
    outcome: str
    error: str
    late: float
    alive: bool

    @property
    def holds(self) -> bool:
        """Whether it ended in time."""
        told = self.outcome in ("timeout", "failed")
        return told and not self.alive and self.late < LATE


def run() -> bool:
    """Print the lines; return whether everything ended in time."""
    killed = [each for market in ("us", "cn") for each in hanging(market)]
    for each in killed:
        print(
            f"{each.how:<44} {each.outcome}: {each.error[:60]}; {each.late:+.2f} s "
            f"after the deadline of {DEADLINE:g} s, process " + ("ALIVE" if each.alive else "gone")
        )
    with tempfile.TemporaryDirectory() as folder:
        beside = beside_a_hanging_one(Path(folder))
    print(
        f"beside a hanging us: cn published {beside.cn_seconds:.1f} s after both ticks began, "
        f"us gave up after {beside.us_seconds:.1f} s: "
        f"{beside.us_told[:90]}"
    )
    return all(each.holds for each in killed) and beside.holds


def hanging(
    market: str, *, only: str | None = None, deadline: float = DEADLINE
) -> Iterator[Killed]:
    """Ask clients whose provider, or whose own process, does not go on; see each end."""
    book = small_book(market)
    now = datetime.combine(book.days[-1], datetime.min.time(), UTC) + timedelta(days=1)
    first, last = book.days[0], book.days[-1]
    if market == "us":
        module, symbol = "daemon.feeds.clients.yahoo", book.assets[0]
        ways = [
            ("yahoo's client is stopped", module, _history(symbol, first, None), ""),
            ("yahoo tells a byte each half second", module, _history(symbol, first, None), "drip"),
            ("yahoo never answers", module, _history(symbol, first, None), "hang"),
            ("the list of the S&P 500 never comes", CLIENT, query(INDICES["sp500"]), "hang"),
        ]
    else:
        module, symbol = "daemon.feeds.clients.akshare", book.assets[0]
        asked = _history(symbol, first, last)
        ways = [
            ("akshare's client is stopped", module, asked, ""),
            ("eastmoney tells a byte each half second", module, asked, "drip"),
            ("eastmoney never answers", module, asked, "hang"),
            ("eastmoney's snapshot never comes", module, Query("spot"), "hang"),
            ("the list of the CSI 500 never comes", CLIENT, query(INDICES["csi500"]), "hang"),
        ]
    for name, client, asked, fault in ways:
        if only not in (None, name):
            continue
        with StandIn(book, now) as standin:
            if fault:
                standin.faults[fault] = "*"
            yield _killed(name, client, asked, standin, deadline, stop=not fault)


def _history(symbol: str, first: date, last: date | None) -> Query:
    options = (("zone", "America/New_York"),) if last is None else (("adjust", ""),)
    return Query("history", symbol, first, last, options)


def _killed(
    name: str, client: str, asked: Query, standin: StandIn, deadline: float, *, stop: bool
) -> Killed:
    limits = Limits(request_seconds=deadline)
    with (
        tempfile.TemporaryDirectory() as folder,
        Child(client, limits, Path(folder), standin.environment) as child,
    ):
        process = child._start()  # noqa: SLF001 - the imports are not what is measured
        if stop:
            os.kill(process.pid, signal.SIGSTOP)
        begun = perf_counter()
        reply = child.ask(asked)
        seconds = perf_counter() - begun
        by_deadline = "no answer within" in reply.error
        alive = by_deadline and _is(process.pid)
        return Killed(name, reply.outcome, reply.error, seconds - deadline, alive)


def _is(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@dataclass(frozen=True)
class Beside:
    """Two markets of one daemon, of which one's provider hangs."""

    cn_seconds: float
    us_seconds: float
    us_told: str
    cn_published: bool

    @property
    def holds(self) -> bool:
        """Whether one market was published, and the other said what is wrong with it."""
        return self.cn_published and "unanswered" in self.us_told


def beside_a_hanging_one(folder: Path, *, n_assets: int = 40, deadline: float = DEADLINE) -> Beside:
    """Start both markets at once, each on a thread as the scheduler does, while one hangs."""
    with _both(folder, n_assets, deadline) as (us, cn):
        days = sorted({*us.book.days[BEGUN:]} & {*cn.book.days[BEGUN:]})
        us.standin.faults["hang"] = "query2.finance.yahoo.com"
        ends: dict[str, float] = {}
        for each in (us, cn):
            each.at(_evening(days[0]))
        begun = perf_counter()
        threads = [
            Thread(target=_timed, args=(each.tick, ends, each.name, begun)) for each in (us, cn)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        published = [f"{days[0]}"] == [session for session, *_ in cn.statuses()]
        told = us.alerts().get("stage-failed", "no alert").splitlines()[0]
        return Beside(ends["cn"], ends["us"], told, published)


def _evening(day: date) -> datetime:
    """Return a time at which the day's sessions of both markets are final."""
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=23)


def _timed(do: Callable[[], None], ends: dict[str, float], name: str, begun: float) -> None:
    do()
    ends[name] = perf_counter() - begun


@contextmanager
def _both(folder: Path, n_assets: int, deadline: float) -> Iterator[tuple[LiveMarket, LiveMarket]]:
    """Open one state directory with both markets, each with its own provider."""
    books = {name: small_book(name, n_assets=n_assets) for name in ("us", "cn")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "book.toml").write_text(BOOK, encoding="utf-8")
    tables = {
        name: _table(folder, book, deadline if name == "us" else 30.0)
        for name, book in books.items()
    }
    settings = build_settings(
        {
            "state_dir": folder / "state",
            "publish_dir": folder / "published",
            "markets": tables,
        }
    )
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    with ExitStack() as stack:
        standins = {name: stack.enter_context(StandIn(book, None)) for name, book in books.items()}
        whole = stack.enter_context(open_context(settings, clock))
        markets = {}
        for name, book in books.items():
            market = build_market(
                name, settings, clock, whole.bars, environment=standins[name].environment
            )
            if market.lists is not None:
                market = replace(market, lists=replace(market.lists, index=small_index(book)))
            markets[name] = market
        context = replace(whole, markets=markets)
        alive = [LiveMarket(context, markets[name], clock, standins[name]) for name in books]
        yield alive[0], alive[1]


def _table(folder: Path, book: MarketBook, deadline: float) -> dict[str, object]:
    return settings_table(
        book,
        book.days[0],
        universe={"index": INDEX_NAMES[book.market]},
        feed={"request_seconds": deadline},
        monitor={"baseline_sessions": 60},
        blend={"ic_sessions": 60},
        ingest={"min_assets": 10},
    ) | {"seed_book": str(folder / "book.toml")}
