"""Candidates a second from proposal to outcome, and where the time goes.

500 assets × 2500 sessions of simulated bars with gaps. The rate is that of undisturbed runs; where
the time goes is told by wrapping functions where they are called, in runs of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter, process_time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import miner.conclusion
import miner.court
import miner.fitness
import miner.originality
import miner.search
from bench.mining_pool import run_all
from bench.mining_search import offline_proposer, plain, zoos
from bench.mining_statistics import median
from bench.mining_stopwatch import Place, Stopwatch
from bench.report import heading, machine
from bench.workload import build_fields
from miner.books import seed_book
from miner.problem import Problem, SearchSettings
from miner.records import Round
from signals.evaluate import Evaluator
from signals.panel import BASE_FIELDS, Panel

N_ASSETS, N_SESSIONS = 500, 2500
#: Threads of the second rate.
THREADS = 2
#: What is counted as the engine: values of the expressions, their ranks, their ICs.
ENGINE = ("evaluate", "rank", "IC")
GATE = "gate: "


def places(proposer: Any) -> tuple[Place, ...]:
    """Return what is watched, as it is called in the search."""
    gates = (
        ("core", "duplicate"),
        ("is_scale_free", "units"),
        ("redundancy", "complexity"),
        ("complexity", "complexity"),
        ("excess", "complexity"),
        ("borrowed", "originality"),
        ("alignment_of", "alignment"),
    )
    return (
        Place(type(proposer), "propose", "propose"),
        *(Place(miner.search, function, GATE + gate) for function, gate in gates),
        Place(miner.originality.SubtreeIndex, "similarity", GATE + "originality"),
        Place(miner.search, "build_training", "prepare train"),
        Place(miner.search, "tallied", "memory"),
        Place(miner.search, "_selected", "select"),
        Place(Evaluator, "map", "evaluate"),
        Place(Evaluator, "evaluate", "evaluate"),
        Place(miner.fitness, "percentile_ranks", "rank"),
        Place(miner.fitness, "ic", "IC"),
        Place(miner.fitness, "_measured", "turnover, coverage, fingerprint"),
        Place(miner.fitness, "mean_with_interval", "t-statistic"),
        Place(miner.court, "percentile_ranks", "rank"),
        Place(miner.court, "centred_ranks", "rank"),
        Place(miner.court, "ic", "IC"),
        Place(miner.court, "rank_ic", "IC"),
        Place(miner.conclusion, "best_of", "conclude: best of those heard"),
        Place(miner.conclusion, "changes_when_rescaled", "conclude: rescaling"),
        Place(miner.conclusion, "conclude", "conclude: the rest"),
    )


def problem(seed: int) -> Problem:
    """Return the market with its gaps, the seed book and the zoos."""
    fields = build_fields(N_ASSETS, N_SESSIONS, seed=seed)
    panel = Panel(
        sessions=np.datetime64("2010-01-01") + np.arange(N_SESSIONS),
        assets=tuple(f"A{i:04d}" for i in range(N_ASSETS)),
        fields={name: fields[name].astype(np.float64) for name in BASE_FIELDS},
        universe=np.isfinite(fields["close"]),
    )
    book = {seed.id: seed.expression for seed in seed_book("sim")}
    return Problem(panel, book=book, references=zoos())


def settings_of(settings: SearchSettings) -> SearchSettings:
    """Return settings with which train and validation fill the panel."""
    return replace(settings, train_sessions=N_SESSIONS - settings.valid_sessions - 4)


def timed(given: Problem, settings: SearchSettings, seed: int, executor: Executor | None) -> Round:
    """Search and conclude once, as a re-mining does."""
    last = Round(number=0, seed=seed, survivors=(), trials=(), counts={})
    for last in miner.search.search(  # noqa: B007
        given, offline_proposer(), settings, seed=seed, executor=executor
    ):
        pass
    miner.conclusion.conclude(given, last, settings)
    return last


def run(task: tuple[str, int, Problem, SearchSettings]) -> dict[str, Any]:
    """Time one search: `serial`, `threads` or `watched`."""
    how, seed, given, settings = task
    watch = Stopwatch()
    begun, cpu_begun = perf_counter(), process_time()
    if how == "watched":
        with watch.watching(places(offline_proposer())):
            last = timed(given, settings, seed, None)
    elif how == "threads":
        with ThreadPoolExecutor(THREADS) as executor:
            last = timed(given, settings, seed, executor)
    else:
        last = timed(given, settings, seed, None)
    return {
        "how": how,
        "seed": seed,
        "seconds": perf_counter() - begun,
        "cpu_s": process_time() - cpu_begun,
        "measured": last.n_measured,
        "proposed": last.counts.get("proposed", 0),
        "own_s": dict(watch.own),
        "calls": dict(watch.calls),
        "missing": watch.missing,
    }


def bench(console: Console, runs: int, seed: int, settings: SearchSettings) -> dict[str, Any]:
    """Run, print and return everything; one after the other, in this process."""
    given, settings = problem(seed), settings_of(settings)
    small = replace(settings, rounds=1, batch=64)
    timed(given, small, seed, None)  # compiles what is not on disk
    tasks = [
        (how, seed + number, given, settings)
        for number in range(runs)
        for how in ("serial", "threads", "watched")
    ]
    done = run_all(run, tasks, workers=1, title="speed")
    about = machine(N_ASSETS, N_SESSIONS)
    console.print(heading(about))
    console.print(rates(done.results))
    console.print(shares(done.results))
    for name in sorted({name for one in done.results for name in one["missing"]}):
        console.print(f"not there, and so counted with what calls it: {name}")
    return {"wall_s": done.wall_s, "wanted": done.wanted, "machine": about} | {
        "runs": [plain(one) for one in done.results]
    }


def rates(results: Sequence[dict[str, Any]]) -> Table:
    """Return the table of candidates a second."""
    table = Table(title="From proposal to outcome (search and conclude)")
    table.add_column("run")
    for title in ("n", "measured", "proposed", "s", "CPU s", "measured/s", "proposed/s"):
        table.add_column(title, justify="right")
    names = {"serial": "one thread", "threads": f"{THREADS} threads", "watched": "watched"}
    for how, name in names.items():
        part = [one for one in results if one["how"] == how]
        if part:
            counted = [(float(r["measured"]), float(r["proposed"]), r["seconds"]) for r in part]
            measured, proposed, took = (median(column) for column in zip(*counted, strict=True))
            table.add_row(
                name,
                str(len(part)),
                f"{measured:.0f}",
                f"{proposed:.0f}",
                f"{took:.1f}",
                f"{median([r['cpu_s'] for r in part]):.1f}",
                f"{median([m / s for m, _, s in counted]):.1f}",
                f"{median([p / s for _, p, s in counted]):.1f}",
            )
    return table


def shares(results: Sequence[dict[str, Any]]) -> Table:
    """Return the table of where the time goes: medians over the watched runs."""
    watched = [one for one in results if one["how"] == "watched"]
    table = Table(title="Where the CPU time of one thread goes (own time; medians of watched runs)")
    table.add_column("part")
    for title in ("share", "s", "calls", "µs per call"):
        table.add_column(title, justify="right")
    if not watched:
        return table
    whole = median([one["cpu_s"] for one in watched])
    labels = sorted({label for one in watched for label in one["own_s"]})
    spent = {label: median([one["own_s"].get(label, 0.0) for one in watched]) for label in labels}
    calls = {
        label: median([float(one["calls"].get(label, 0)) for one in watched]) for label in labels
    }
    engine = sum(spent.get(label, 0.0) for label in ENGINE)
    gates = sum(seconds for label, seconds in spent.items() if label.startswith(GATE))
    rest = whole - sum(spent.values())
    for name, seconds in (("engine", engine), ("outside the engine", whole - engine)):
        table.add_row(name, f"{100 * seconds / whole:.1f} %", f"{seconds:.2f}", "", "")
    table.add_section()
    for label, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        each = f"{1e6 * seconds / calls[label]:.0f}" if calls[label] else "-"
        table.add_row(
            label, f"{100 * seconds / whole:.1f} %", f"{seconds:.2f}", f"{calls[label]:.0f}", each
        )
    table.add_row("everything else", f"{100 * rest / whole:.1f} %", f"{rest:.2f}", "", "")
    table.add_section()
    table.add_row("all gates", f"{100 * gates / whole:.1f} %", f"{gates:.2f}", "", "")
    return table
