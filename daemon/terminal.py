"""What people see in the terminal: progress, tables, the story at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from daemon.backfill import OnChunk
from daemon.replay import OnSession
from daemon.stages.remine import OnRound
from daemon.summary import RECENT_SESSIONS, FactorRow, Summary
from miner.records import Round

#: Seconds between two lines where there is no terminal.
PLAIN_SECONDS = 10.0


class Speed(ProgressColumn):
    """Sessions per second."""

    def render(self, task: Task) -> Text:
        """Return the speed of the task."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="dim")


@contextmanager
def progress(title: str) -> Iterator[tuple[OnSession, OnRound]]:
    """Show progress; yields what to call after each session and each mining round.

    A terminal gets a bar, a log file a line every ten seconds.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_progress(title, console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=5) as bar:
        task = bar.add_task(title, total=None, note="reading bars")

        def on_session(session: date, number: int, total: int) -> None:
            bar.update(task, completed=number, total=total, note=session.isoformat())

        def on_round(state: Round) -> None:
            bar.update(task, note=round_note(state))

        yield on_session, on_round


def plain_progress(title: str, console: Console) -> tuple[OnSession, OnRound]:
    """Return what prints a line every ten seconds."""
    started = monotonic()
    said = started

    def say(text: str) -> None:
        nonlocal said
        if monotonic() - said >= PLAIN_SECONDS:
            said = monotonic()
            console.print(f"{title}: {text}", highlight=False, soft_wrap=True)

    def on_session(session: date, number: int, total: int) -> None:
        say(f"{session} ({number} of {total}, {monotonic() - started:.0f} s)")

    def on_round(state: Round) -> None:
        say(round_note(state))

    return on_session, on_round


@contextmanager
def asset_progress(title: str) -> Iterator[OnChunk]:
    """Show the progress of a backfill, with the time that is left; yields what to call."""
    console = Console(stderr=True)
    if not console.is_terminal:
        started = monotonic()

        def say(done: int, total: int, note: str) -> None:
            spent = monotonic() - started
            left = spent / max(done, 1) * (total - done)
            text = f"{title}: {done} of {total} assets, {spent:.0f} s, {left:.0f} s left ({note})"
            console.print(text, highlight=False, soft_wrap=True)

        yield say
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=2) as bar:
        task = bar.add_task(title, total=None, note="asking")

        def on_chunk(done: int, total: int, note: str) -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield on_chunk


def round_note(state: Round) -> str:
    """Return one line about a round of the search."""
    best = max((abs(s.t) for s in state.survivors), default=0.0)
    measured = state.counts.get("measured", 0)
    return f"re-mining: round {state.number}, {measured} candidates measured, best |t| {best:.1f}"


def tell_story(story: Sequence[str], paths: Mapping[str, Path]) -> None:
    """Print what happened, a line each, and where the files are."""
    console = Console()
    console.print()
    for line in story:
        console.print(f"• {line}", highlight=True, soft_wrap=True)
    show_paths(console, paths)


def show_paths(console: Console, paths: Mapping[str, Path]) -> None:
    """Print where the files are."""
    console.print()
    for name, path in paths.items():
        console.print(f"{name}: {path}", highlight=False, soft_wrap=True)


def show_summary(summary: Summary, paths: Mapping[str, Path]) -> None:
    """Print a replay's result."""
    console = Console()
    console.print(
        f"{summary.market}: {summary.sessions_published} of {summary.sessions_due} sessions "
        f"published, {summary.published_twice} twice; {statuses(summary)}"
    )
    table = Table("year", "sessions", "RankIC", "95 % interval", "ICIR", "degraded")
    for row in summary.years:
        known = row.rank_ic is not None and row.low is not None and row.high is not None
        table.add_row(
            str(row.year),
            str(row.sessions),
            f"{row.rank_ic:.4f}" if known else "–",
            f"{row.low:.4f} … {row.high:.4f}" if known else "–",
            f"{row.icir:.3f}" if row.icir is not None else "–",
            str(row.degraded),
        )
    console.print(table)
    show_factors(console, summary.factors)
    show_paths(console, paths)


def statuses(summary: Summary) -> str:
    """Return how many publications had which status."""
    return ", ".join(f"{count} {name}" for name, count in summary.statuses.items())


def show_factors(console: Console, rows: Sequence[FactorRow]) -> None:
    """Print factors as they stand, two lines each: a table would cut the expressions."""
    heads = f"{'factor':<28} {'state':<9} {'verdict':<9} {'evidence / threshold':>20} {'RankIC':>8}"
    console.print(f"{heads}  (last {RECENT_SESSIONS} sessions)", style="bold", soft_wrap=True)
    for row in rows:
        evidence = "–" if row.evidence is None else f"{row.evidence:.3g} / {row.threshold:.0f}"
        rank_ic = "–" if row.rank_ic is None else f"{row.rank_ic:.4f}"
        line = f"{row.id:<28} {row.state:<9} {row.verdict or '–':<9} {evidence:>20} {rank_ic:>8}"
        console.print(line, highlight=False, soft_wrap=True)
        console.print(f"    {row.expression}", style="dim", highlight=False, soft_wrap=True)


def compile_kernels() -> int:
    """Compile every kernel into the on-disk cache, with progress."""
    from signals import kernels

    columns = (
        TextColumn("compiling kernels (once)"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, note="")

        def shown(name: str, number: int, total: int) -> None:
            bar.update(task, completed=number, total=total, note=name)

        workers = min(os.cpu_count() or 1, 4)  # a process takes 0.3 GB
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            kernels.warm_up(shown, pool)
    return 0
