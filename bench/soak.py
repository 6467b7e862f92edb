"""The whole daemon, simulated: both markets, faults drawn from a seed, invariants I1 to I10.

::

    python -m bench.soak --seed 7                 one seed again, alone
    python -m bench.soak --minutes 30             a year a seed on every core, until the time is up
    python -m bench.soak --years 5                one long run: memory, descriptors, threads

State lies in /dev/shm where there is one: what a disk does wrong is simulated, and what it costs is
not measured here.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time

import numpy as np

from tests.faults.simulation.invariants import Broken, resources
from tests.faults.simulation.simulated_daemon import Simulation, prepare

#: Sessions of New York in a year.
YEAR = 252
#: Sessions before the first sample of a long run: kernels are compiled, caches filled by then.
WARM = 100


@dataclass(frozen=True)
class Ended:
    """How one seed ended."""

    seed: int
    sessions: int
    ticks: int
    deaths: int
    faults: Counter[str]
    cpu_seconds: float
    broken: str = ""


@contextmanager
def scratch() -> Iterator[Path]:
    """Return a folder in memory, where there is one."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of ours is made in it
    with tempfile.TemporaryDirectory(
        prefix="alphad-soak-", dir=memory if memory.is_dir() else None
    ) as folder:
        yield Path(folder)


def run_seed(seed: int, sessions: int, often: float, template: str, *, live: bool = True) -> Ended:
    """Live through one seed."""
    with scratch() as folder:
        begun = process_time()
        simulation = Simulation(
            folder / "run", seed, sessions, often, live=live, template=Path(template)
        )
        broken = ""
        try:
            simulation.run()
        except Broken as error:
            broken = str(error)
        return Ended(
            seed,
            simulation.market_sessions,
            simulation.ticks,
            simulation.deaths,
            Counter(fault.kind for fault in simulation.plan),
            process_time() - begun,
            broken,
        )


def run_minutes(minutes: float, sessions: int, often: float, first: int, workers: int) -> int:
    """Run seeds one after the other on every core until the time is up; print what held."""
    ended: list[Ended] = []
    begun = monotonic()
    with scratch() as folder:
        template = str(prepare(folder / "template"))
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        with pool:
            seed = first
            waiting: set[Future[Ended]] = set()
            while waiting or monotonic() - begun < 60 * minutes:
                while len(waiting) < workers and monotonic() - begun < 60 * minutes:
                    waiting.add(pool.submit(run_seed, seed, sessions, often, template))
                    seed += 1
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    ended.append(each.result())
                    if ended[-1].broken:
                        print(f"seed {ended[-1].seed}: {ended[-1].broken}", flush=True)
    tell(ended, monotonic() - begun, sessions)
    return int(any(each.broken for each in ended))


def tell(ended: Sequence[Ended], seconds: float, sessions: int) -> None:
    """Print what a number of seeds came to."""
    faults: Counter[str] = sum((each.faults for each in ended), Counter())
    total = sum(each.sessions for each in ended)
    cpu = sum(each.cpu_seconds for each in ended)
    years = len(ended) * sessions / YEAR
    print(
        f"{len(ended)} seeds, {years:.1f} seed-years of two markets, {total} sessions in "
        f"{seconds:.0f} s ({total / seconds:.1f} sessions/s; {1000 * cpu / max(total, 1):.0f} ms "
        f"of CPU each; load {os.getloadavg()[0]:.1f})"
    )
    print(
        f"{sum(faults.values())} faults, {sum(each.deaths for each in ended)} deaths, "
        f"{sum(each.ticks for each in ended)} ticks"
    )
    print(", ".join(f"{kind} {n}" for kind, n in sorted(faults.items())))
    broken = [each.seed for each in ended if each.broken]
    print(f"BROKEN: seeds {broken}" if broken else "every invariant held")


@dataclass
class Gauge:
    """What the process holds, by session."""

    every: int = 20
    rows: list[tuple[int, float, int, int]] = field(default_factory=list)
    sessions: int = 0

    def __call__(self, _simulation: Simulation) -> None:
        """Take note of it every so many sessions."""
        self.sessions += 1
        if self.sessions % self.every == 0:
            self.rows.append((self.sessions, *resources()))

    def slopes(self) -> Iterator[str]:
        """Return a line for each of memory, descriptors and threads."""
        rows = np.array([row for row in self.rows if row[0] > WARM], dtype=float)
        if len(rows) < 3:
            yield f"too short for slopes: {self.sessions} sessions"
            return
        for name, column in (("memory, MiB", 1), ("descriptors", 2), ("threads", 3)):
            slope, error = fitted(rows[:, 0], rows[:, column])
            yield (
                f"{name:<12} {rows[0, column]:8.1f} → {rows[-1, column]:8.1f}   "
                f"{1000 * slope:+8.2f} ± {1000 * error:.2f} per 1000 sessions"
            )


def fitted(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the slope of a line through points, and its standard error."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    return slope, float(np.sqrt(rest @ rest / max(len(x) - 2, 1) / (centred @ centred)))


def run_years(years: float, seed: int, often: float) -> int:
    """Live through years in one process, and print what it holds more and more of."""
    gauge, begun = Gauge(), monotonic()
    first = date(2025, 10, 1) - timedelta(days=round(365.25 * (years + 0.5)))
    with scratch() as folder:
        simulation = Simulation(
            folder / "run", seed, round(years * YEAR), often, first=first, on_session=gauge
        )
        broken = ""
        try:
            simulation.run()
        except Broken as error:
            broken = str(error)
    seconds = monotonic() - begun
    total = simulation.market_sessions
    print(
        f"{years:g} years, seed {seed}: {total} sessions, {len(simulation.plan)} faults, "
        f"{simulation.deaths} deaths in {seconds:.0f} s ({total / seconds:.1f} sessions/s, load "
        f"{os.getloadavg()[0]:.1f})"
    )
    for line in gauge.slopes():
        print(line)
    print(broken or "every invariant held")
    return int(bool(broken))


def main() -> int:
    """Run what is asked for; the exit code says whether every invariant held."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the seed, or the first of them")
    parser.add_argument("--sessions", type=int, default=YEAR, help="of New York (default: 252)")
    parser.add_argument("--often", type=float, default=0.3, help="faults a session (default: 0.3)")
    parser.add_argument("--files", action="store_true", help="New York's bars are final at once")
    parser.add_argument("--minutes", type=float, help="run seeds for so long, on every core")
    parser.add_argument("--years", type=float, help="one run of so many years, with its slopes")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.minutes is not None:
        return run_minutes(
            options.minutes, options.sessions, options.often, options.seed, options.workers
        )
    if options.years is not None:
        return run_years(options.years, options.seed, options.often)
    with scratch() as folder:
        template = str(prepare(folder / "template", live=not options.files))
        ended = run_seed(
            options.seed, options.sessions, options.often, template, live=not options.files
        )
    if ended.broken:
        print(ended.broken)
    tell([ended], max(ended.cpu_seconds, 1e-9), options.sessions)
    return int(bool(ended.broken))


if __name__ == "__main__":
    sys.exit(main())
