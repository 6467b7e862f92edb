"""A cold backfill by `alphad backfill`, and one that is killed half-way and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import tomli_w

from bench.live_equality import compare
from bench.live_market import PACE, Chosen, settings_table, write_membership
from bench.live_sent import Recording, Sent
from daemon.clock import SystemClock
from daemon.context import Context, build_context
from daemon.settings import load_settings
from storage import data
from tests.daemon.live import INDEX_NAMES
from tests.standins.book import MarketBook

#: Seconds between two requests that each provider bears (`daemon.feeds.open`).
PACES = {"us": 1.0, "cn": 2.5}


@dataclass(frozen=True)
class Place:
    """A settings file, and what `alphad backfill` leaves beside it."""

    folder: Path
    market: str

    @property
    def config(self) -> Path:
        """Return the settings file."""
        return self.folder / "alphad.toml"

    def start(self, standin: Recording) -> subprocess.Popen[bytes]:
        """Start the command; its words go to a file."""
        command = [sys.executable, "-m", "daemon.cli", "backfill", "--market", self.market]
        own = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAD_")}
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [*command, "--config", str(self.config)],
                env=own | dict(standin.environment),
                stdout=said,
                stderr=said,
            )

    def context(self) -> Context:
        """Return the state for reading."""
        return build_context(load_settings(self.config, {}), SystemClock())

    def bars(self) -> Any:
        """Return every bar stored."""
        context = self.context()
        now = datetime.now(UTC)
        return context.bars.bars(self.market, as_of=now, first=date.min, last=date.max)


def place_of(folder: Path, book: MarketBook, *, invented: bool) -> Place:
    """Write the settings of a market in a folder of its own."""
    folder.mkdir()
    if invented:
        members: dict[str, Any] = {"universe": {"index": INDEX_NAMES[book.market]}}
    else:
        members = {"membership": str(write_membership(folder / "members.csv", book))}
    table = settings_table(book, book.days[0]) | members
    place = Place(folder, book.market)
    whole = {
        "state_dir": str(folder / "state"),
        "publish_dir": str(folder / "published"),
        "markets": {book.market: table},
    }
    place.config.write_text(tomli_w.dumps(whole), encoding="utf-8")
    return place


def run(chosen: Chosen) -> bool:
    """Print the report; return whether everything is as it should be."""
    book = chosen.book()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print(
            f"backfill {chosen.market}: {len(book.assets)} assets with bars, {book.days[0]} to "
            f"{book.days[-1]}, {len(book.days)} sessions"
        )
        whole = place_of(root / "whole", book, invented=chosen.invented)
        good, n_requests = _undisturbed(whole, book)
        broken = place_of(root / "broken", book, invented=chosen.invented)
        return _killed(broken, whole, book, n_requests) and good


def _undisturbed(place: Place, book: MarketBook) -> tuple[bool, int]:
    sent = Sent(book)
    with Recording(book, None, sent) as standin:
        begun = time.perf_counter()
        code = place.start(standin).wait()
        seconds = time.perf_counter() - begun
        n_requests = _histories(standin)
        inside = standin.answering + standin.noting
        print(f"\n{(place.folder / 'said.txt').read_text(encoding='utf-8').strip()}\n")
        n_rows = place.bars().num_rows if code == 0 else 0
        print(
            f"exit code {code}; {n_requests} requests of bars ({len(standin.log)} in all, "
            f"{standin.n_bytes / 1e6:.0f} MB); {seconds:.1f} s outside the pacing, of which the "
            f"stand-in took {inside:.1f} s; {n_rows / seconds:,.0f} rows/s "
            f"({n_rows / (seconds - inside):,.0f} without the stand-in)"
        )
        wait = n_requests * (PACES[place.market] - PACE)
        print(f"at {PACES[place.market]:g} s a request the pacing adds {wait / 60:.0f} min")
    if code != 0:
        return False, n_requests
    context = place.context()
    found = compare(context.bars, sent, datetime.now(UTC), book.days[0], book.days[-1])
    print("\n".join(found.lines()))
    with context.database.read() as conn:
        for outcome, rule, n_verdicts, n_bars in data.rules(conn, place.market):
            print(f"  {outcome}: {n_bars} bars of {n_verdicts} assets: {rule}")
    context.database.close()
    return found.holds, n_requests


def _killed(place: Place, whole: Place, book: MarketBook, n_requests: int) -> bool:
    """Kill the command half-way, start it again and compare with the undisturbed store."""
    with Recording(book, None, Sent(book)) as standin:
        child = place.start(standin)
        while _histories(standin) < n_requests // 2 and child.poll() is None:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait()
        before = _histories(standin)
        code = place.start(standin).wait()
        after = _histories(standin) - before
    same = code == 0 and place.bars().equals(whole.bars())
    print(
        f"killed after {before} requests; started again: exit code {code}, {after} more requests "
        f"({before + after - n_requests} twice); the store is "
        + ("equal to the undisturbed one" if same else "NOT EQUAL")
    )
    return same


def _histories(standin: Recording) -> int:
    """Return how many requests were for an asset's bars."""
    return sum(entry.symbol != "" and "cons" not in entry.path for entry in tuple(standin.log))
