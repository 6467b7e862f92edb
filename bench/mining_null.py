"""Re-minings on markets without signal: how many accept anything.

Half the markets are simulated with nothing planted, half are real ones whose labels were shifted
(see `bench.mining_markets.shifted_label` for what that keeps); half start with an empty book, half
with the seed book of the market.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.mining_markets import MIN_SHIFT, real_panel, shifted_label, simulated, window
from bench.mining_pool import Runs, run_all
from bench.mining_search import persistence, plain, searched, zoos
from bench.mining_statistics import Share, deciles, median, share, text
from miner.books import seed_book
from miner.problem import Problem, SearchSettings

#: Sessions cut from a real market.
WINDOW = 850
#: Share of runs that may accept.
BAR = 0.05
#: Runs the bar is judged on, at least.
LEAST = 100


@dataclass(frozen=True)
class Task:
    """One market without signal."""

    seed: int
    market: str
    with_book: bool
    settings: SearchSettings
    folder: Path


@dataclass(frozen=True)
class Null:
    """What a search made of it.

    Parameters
    ----------
    heard : int
        Finalists whose validation was looked at.
    accepted : dict of str to float
        Accepted factors with their rank correlation to themselves `MIN_SHIFT` sessions earlier.
    smallest_p : float
        Smallest corrected p-value of them; 1 where none was heard.
    best_train_t : float
        Largest |t| on train among the survivors.
    shift, start : int
        Of a real market: rows the labels were shifted by, and the window's first row; else 0.
    """

    seed: int
    market: str
    with_book: bool
    measured: int
    survivors: int
    heard: int
    accepted: dict[str, float]
    smallest_p: float
    best_train_t: float
    shift: int
    start: int
    seconds: float
    cpu_s: float


def tasks(runs: int, seed: int, settings: SearchSettings, folder: Path) -> list[Task]:
    """Return the runs: market and book in turn."""
    real = ("cn", "us")
    return [
        Task(
            seed=seed + number,
            market="sim" if number % 2 == 0 else real[number // 4 % 2],
            with_book=number // 2 % 2 == 1,
            settings=settings,
            folder=folder,
        )
        for number in range(runs)
    ]


def problem_of(task: Task) -> tuple[Problem, int, int]:
    """Return a problem without signal, the shift of its labels and the window's first row."""
    book = seed_book(task.market) if task.with_book else ()
    expressions = {seed.id: seed.expression for seed in book}
    if task.market == "sim":
        return Problem(simulated(task.seed), book=expressions, references=zoos()), 0, 0
    whole = real_panel(task.folder, task.market)
    rng = np.random.default_rng([task.seed, 250])
    shift = int(rng.integers(MIN_SHIFT, whole.n_sessions - MIN_SHIFT + 1))
    start = int(rng.integers(whole.n_sessions - WINDOW + 1))
    label = shifted_label(whole, shift)
    panel, part = window(whole, start, start + WINDOW, label)
    return Problem(panel, book=expressions, references=zoos(), label=part), shift, start


def run(task: Task) -> Null:
    """Search one market."""
    begun, cpu_begun = perf_counter(), process_time()
    problem, shift, start = problem_of(task)
    found = searched(problem, task.settings, seed=task.seed)
    return Null(
        seed=task.seed,
        market=task.market,
        with_book=task.with_book,
        measured=found.last.n_measured,
        survivors=len(found.last.survivors),
        heard=len(found.heard),
        accepted={
            str(one.expression): persistence(one.expression, problem.panel, MIN_SHIFT)
            for one in found.outcome.accepted
        },
        smallest_p=found.smallest_p,
        best_train_t=max((abs(s.t) for s in found.last.survivors), default=0.0),
        shift=shift,
        start=start,
        seconds=perf_counter() - begun,
        cpu_s=process_time() - cpu_begun,
    )


def bench(
    console: Console, runs: int, seed: int, workers: int, settings: SearchSettings, folder: Path
) -> dict[str, Any]:
    """Run, print and return everything."""
    done = run_all(
        run, tasks(runs, seed, settings, folder), workers=workers, title="without signal"
    )
    show(console, done, settings.bar.alpha)
    return {
        "wall_s": done.wall_s,
        "wanted": done.wanted,
        "runs": [plain(asdict(one)) for one in done.results],
        "accepting": plain(asdict(_accepting(done.results))),
        "deciles_of_smallest_p": deciles([one.smallest_p for one in done.results]),
    }


def _table(done: Runs[Null]) -> Table:
    """Return a row for each kind of market and of book."""
    table = Table(title=f"Searches on markets without signal: {done.heading}")
    table.add_column("markets")
    for title in (
        "accept anything, 95 %",
        "factors",
        "heard",
        "smallest p",
        "train |t|",
        "s",
        "CPU s",
    ):
        table.add_column(title, justify="right")
    parts: list[tuple[str, Callable[[Null], bool]]] = [
        ("simulated", lambda one: one.market == "sim"),
        ("CN, labels shifted", lambda one: one.market == "cn"),
        ("US, labels shifted", lambda one: one.market == "us"),
        ("empty book", lambda one: not one.with_book),
        ("seed book", lambda one: one.with_book),
        ("all", lambda _: True),
    ]
    for name, belongs in parts:
        part = [one for one in done.results if belongs(one)]
        table.add_row(
            name,
            str(_accepting(part)),
            str(sum(len(one.accepted) for one in part)),
            *(
                text(median([float(getattr(one, what)) for one in part]), digits)
                for what, digits in (
                    ("heard", 0), ("smallest_p", 3), ("best_train_t", 1), ("seconds", 1),
                    ("cpu_s", 1),
                )
            ),
        )  # fmt: skip
    return table


def show(console: Console, done: Runs[Null], alpha: float) -> None:
    """Print the table and the deciles."""
    console.print(_table(done))
    least = deciles([one.smallest_p for one in done.results])
    console.print(
        "heard, smallest p, train |t| (largest of the survivors) and seconds of a run are medians"
    )
    console.print("smallest corrected p, deciles: " + " ".join(f"{p:.3f}" for p in least))
    console.print(
        "Shifted labels keep each session's cross-section and the order of sessions; a premium on "
        f"what an asset keeps for more than {MIN_SHIFT} sessions survives the shift."
    )
    found = _accepting(done.results)
    verdict = "met" if found.value <= BAR else "missed"
    few = f" on {found.n} runs, it asks for {LEAST}" * (found.n < LEAST)
    console.print(f"bar: at most {100 * BAR:.0f} % accept anything: {verdict}{few}")
    low = share(sum(one.smallest_p <= alpha for one in done.results), len(done.results))
    console.print(f"the test alone, smallest p at most {alpha:g}: {low}; {seeds(done.results)}")
    for one in done.results:
        for expression, lasting in one.accepted.items():
            console.print(
                f"  {one.market} seed {one.seed}, shift {one.shift}: {expression}, "
                f"{lasting:.2f} like itself {MIN_SHIFT} sessions earlier"
            )


def seeds(results: Sequence[Any]) -> str:
    """Return the seeds as text."""
    numbers = [one.seed for one in results]
    return f"seeds {min(numbers)} to {max(numbers)}" if numbers else "no seeds"


def _accepting(results: Sequence[Null]) -> Share:
    return share(sum(bool(one.accepted) for one in results), len(results))
