"""Runs side by side in fresh processes, with progress; what is done is kept on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Seconds between two lines where there is no terminal to draw a bar on.
LINE_EVERY_S = 30.0


@dataclass(frozen=True)
class Runs(Generic[Result]):
    """Results in the order of their tasks, and what is missing of them."""

    results: list[Result]
    wanted: int
    wall_s: float

    @property
    def heading(self) -> str:
        """How many runs there are, and in what time."""
        cut = "" if len(self.results) == self.wanted else f" of {self.wanted}: interrupted"
        return f"{len(self.results)} runs{cut} in {self.wall_s:.0f} s"


def run_all(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, workers: int, title: str
) -> Runs[Result]:
    """Return function(task) of each task; on Ctrl-C, of those that are done.

    Parameters
    ----------
    function : callable
        Of a module: it is called in fresh processes, or here where `workers` is 1.
    tasks : sequence
        Independent of each other.
    workers : int
        Processes.
    title : str
        Of the progress bar.
    """
    begun = time.perf_counter()
    done: dict[int, Result] = {}
    with _Report(title, len(tasks)) as report:
        try:
            if workers == 1:
                for number, task in enumerate(tasks):
                    done[number] = function(task)
                    report.advance()
            else:
                _side_by_side(function, tasks, workers, done, report)
        except KeyboardInterrupt:
            report.say("interrupted: what follows is of the runs that are done")
    results = [done[number] for number in sorted(done)]
    return Runs(results, len(tasks), time.perf_counter() - begun)


def _side_by_side(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    done: dict[int, Result],
    report: _Report,
) -> None:
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_leave_interrupts
    )
    try:
        places: dict[Future[Result], int] = {
            pool.submit(function, task): number for number, task in enumerate(tasks)
        }
        for future in as_completed(places):
            done[places[future]] = future.result()
            report.advance()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _leave_interrupts() -> None:
    """Let the parent alone answer Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Report:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, title: str, total: int) -> None:
        self._console = Console(stderr=True)
        self._title, self._total, self._done = title, total, 0
        self._said = time.perf_counter()
        self._progress = Progress(
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._bar = self._progress.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self) -> None:
        """Count one run more."""
        self._done += 1
        self._progress.advance(self._bar)
        now = time.perf_counter()
        if not self._console.is_terminal and now - self._said > LINE_EVERY_S:
            self._said = now
            self.say(f"{self._title}: {self._done} of {self._total}")

    def say(self, text: str) -> None:
        """Write a line beside the results."""
        self._console.print(text)
