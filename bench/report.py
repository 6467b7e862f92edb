"""Tables, JSON and the picture of what was measured."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.equality import KNOWN, OFF, Agreement
from bench.rounds import SLOW, Batch, FirstCalls, Timed
from bench.workload import GROUPS, TASKS, parsed
from signals.expression import fields


def machine(n_assets: int, n_sessions: int) -> dict[str, Any]:
    """Return what ran it."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), name)
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "assets": n_assets,
        "sessions": n_sessions,
    }


def heading(about: Mapping[str, Any]) -> str:
    """Return the first line of the report."""
    return (
        f"{about['cpu']}, {about['cores']} cores, load {about['load']:.1f}, "
        f"Python {about['python']}; {about['assets']} assets × {about['sessions']} sessions"
    )


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean, NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def ratio(value: float) -> str:
    """Return a ratio as text."""
    if not math.isfinite(value):
        return "-"
    return f"×{value:.0f}" if value >= 100 else f"×{value:.1f}" if value >= 10 else f"×{value:.2f}"


def wall_ratio(engine: Timed, ours: Timed, names: Batch) -> float:
    """Return how many times as long as ours an engine takes for a batch."""
    if names not in engine.wall or names not in ours.wall:
        return math.nan
    return engine.wall_of(names) / ours.wall_of(names)


def cpu_ratios(engine: Timed, ours: Timed, names: Batch) -> tuple[float, float]:
    """Return the ratio of the sums of CPU times, and the geometric mean of the ratios."""
    pairs = [(engine.cpu_of(n), ours.cpu_of(n)) for n in names if n in engine.cpu and n in ours.cpu]
    if not pairs:
        return math.nan, math.nan
    total = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
    return total, geometric_mean([a / b for a, b in pairs])


def least_seconds(names: Batch, limits: Mapping[str, Any], cells: int) -> float:
    """Return what one thread needs to read each expression's fields and write its values once."""
    trees, _ = parsed()
    speed: float = max(limits["bytes_per_s"]["copy 1"], limits["bytes_per_s"]["triad 1"])
    return sum(4 * cells * (len(fields(trees[name])) + 1) for name in names) / speed


def ratio_tables(
    engines: Mapping[str, Timed], limits: Mapping[str, Any], cells: int
) -> list[Table]:
    """Return the table of wall times and the table of CPU times."""
    ours = engines.get("ours")
    if ours is None:
        return []
    wall = Table(title="Wall time with every core allowed: × ours on the same expressions")
    cpu = Table(title="CPU time, one thread, one expression at a time: × ours (geometric mean)")
    for table, unit in ((wall, "batch ms"), (cpu, "sum ms")):
        table.add_column("engine")
        for title in ("of 32", "rounds", unit, "all", *GROUPS):
            table.add_column(title, justify="right")
    cpu.add_column("× limit", justify="right")
    for engine in engines.values():
        everything = engine.part(None)
        if not everything:
            continue
        total = sum(map(engine.cpu_of, everything))
        parts = [engine.part(group) for group in (None, *GROUPS)]
        wall.add_row(
            engine.name,
            str(len(everything)),
            str(len(engine.wall[everything])),
            f"{1000 * engine.wall_of(everything):.0f}",
            *(ratio(wall_ratio(engine, ours, names)) for names in parts),
        )
        shown = []
        for names in parts:
            sums, mean = cpu_ratios(engine, ours, names)
            shown.append(f"{ratio(sums)} ({ratio(mean)})" if math.isfinite(sums) else "-")
        cpu.add_row(
            engine.name,
            str(len(everything)),
            str(len(engine.cpu[everything[0]])),
            f"{1000 * total:.0f}",
            *shown,
            f"{total / least_seconds(everything, limits, cells):.0f}",
        )
    return [wall, cpu]


def first_call_table(
    engines: Mapping[str, Timed], calls: FirstCalls | None, singly: tuple[float, float] | None
) -> Table:
    """Return what it takes from text to values where nothing has been run before."""
    table = Table(title="With compilation and first calls, wall, every core allowed")
    table.add_column("from text to the values of")
    for title in ("ours, running", "fresh, kernels on disk", "nothing on disk"):
        table.add_column(title, justify="right")
    for title in ("KunQuant", "× ours, running", "× ours, fresh"):
        table.add_column(title, justify="right")
    kun = engines.get("kunquant")
    batch = math.nan
    if kun is not None and kun.part(None) in kun.compiled:
        batch = kun.compiled[kun.part(None)] + kun.wall_of(kun.part(None))
    one_by_one = sum(singly) if singly else math.nan
    if calls is None:
        return table
    rows = (
        ("the first expression", math.nan, calls.first, calls.cold_first, math.nan),
        (
            "all, one after the other",
            calls.running_singly,
            calls.singly,
            calls.cold_all,
            one_by_one,
        ),
        ("all, in one call", calls.running_batch, calls.batch, math.nan, batch),
    )
    for what, running, fresh, cold, other in rows:
        times = (seconds(value) for value in (running, fresh, cold, other))
        table.add_row(what, *times, ratio(other / running), ratio(other / fresh))
    return table


def seconds(value: float) -> str:
    """Return a time as text."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def equality_table(engines: Mapping[str, Timed], agreements: Mapping[str, Agreement]) -> Table:
    """Return how many expressions each engine computes as we do in float64."""
    table = Table(
        title=f"Values on a panel without gaps, after the lookback, against ours in float64: "
        f"expressions with at most 0.1 % of cells off by more than {OFF:g}"
    )
    table.add_column("engine")
    table.add_column("equal", justify="right")
    table.add_column("share of cells off in the others")
    for key, agreement in agreements.items():
        worst = ", ".join(f"{name} {100 * share:.2g} %" for name, share in agreement.worst)
        table.add_row(engines[key].name, f"{agreement.equal} of {len(agreement.off)}", worst)
    return table


def remarks(engines: Mapping[str, Timed], agreements: Mapping[str, Agreement]) -> list[str]:
    """Return what a reader of the tables must know."""
    lines = [
        f"{engine.name}: {engine.about}"
        + (f"; {len(engine.cpu[engine.supported[0]])} rounds only" * (engine.round_s >= SLOW))
        + (f"; computes {len(engine.supported)} of {len(TASKS)}" * bool(engine.refused))
        for engine in engines.values()
        if engine.supported
    ]
    lines += [f"{engines[key].name} means: {KNOWN[key]}" for key in agreements if key in KNOWN]
    return lines


def limit_table(limits: Mapping[str, Any]) -> Table:
    """Return each operator's time beside that of its memory traffic."""
    table = Table(title="One operator, float32, one thread, windows of 20: × the bandwidth limit")
    table.add_column("operator")
    for title in ("ms", "limit ms", "× limit"):
        table.add_column(title, justify="right")
    rows = limits["operators"].items()
    for name, one in sorted(rows, key=lambda row: row[1]["s"] / row[1]["limit_s"]):
        table.add_row(
            name,
            f"{1000 * one['s']:.2f}",
            f"{1000 * one['limit_s']:.2f}",
            f"{one['s'] / one['limit_s']:.1f}",
        )
    for name, why in limits["failed"].items():
        table.add_row(name, "-", "-", why)
    return table


def bandwidth_lines(limits: Mapping[str, Any]) -> list[str]:
    """Return the bandwidth as text."""
    speeds = ", ".join(
        f"{what.split()[0]} {speed / 1e9:.0f} GB/s with {what.split()[1]} thread(s)"
        for what, speed in limits["bytes_per_s"].items()
    )
    return [f"bandwidth of float32 arrays of the panel's size: {speeds}"]


def throughput_table(found: Mapping[str, Any], seed: int, threads: int) -> Table:
    """Return how many random expressions a second were evaluated and judged."""
    table = Table(
        title=f"{found['distinct']} distinct random expressions of {found['drawn']} drawn "
        f"(seed {seed}), {found['nodes']:.1f} operators each, {threads} threads"
    )
    table.add_column("evaluated and judged by")
    for title in ("per second", "CPU ms each", "peak memory"):
        table.add_column(title, justify="right")
    names = {
        "evaluate": "nothing",
        "ic": "IC",
        "staged": "IC, and RankIC of the best quarter",
        "all": "IC and RankIC",
    }
    for mode, text in names.items():
        one = found[mode]
        each = 1000 * one["cpu_s"] / found["distinct"]
        table.add_row(text, f"{one['per_s']:.1f}", f"{each:.1f}", f"{one['rss'] / 1e9:.2f} GB")
    return table


def scaling_table(rows: list[dict[str, Any]]) -> Table:
    """Return the time per cell of the batch by size of the panel."""
    table = Table(title="The 32 expressions in one call, by size of the panel")
    for title in ("assets", "sessions", "ms", "ns per cell", "× the first"):
        table.add_column(title, justify="right")
    cells = [1e9 * row["s"] / (row["assets"] * row["sessions"]) for row in rows]
    for row, cell in zip(rows, cells, strict=True):
        table.add_row(
            str(row["assets"]),
            str(row["sessions"]),
            f"{1000 * row['s']:.0f}",
            f"{cell:.1f}",
            f"{cell / cells[0]:.2f}",
        )
    return table


def engines_json(engines: Mapping[str, Timed]) -> dict[str, Any]:
    """Return every number of the engines."""
    return {
        key: {
            "name": engine.name,
            "about": engine.about,
            "refused": engine.refused,
            "wall_s": {" ".join(names): times for names, times in engine.wall.items()},
            "cpu_s": engine.cpu,
            "compile_s": {" ".join(names): s for names, s in engine.compiled.items()},
        }
        for key, engine in engines.items()
    }
