"""The factor engine beside its peers: the same 32 expressions on the same panel, in one run.

`python -m bench.engine` needs the peers, `pip install "alphad[bench]"`; one that is not installed
is named and left out. Every engine runs in a process of its own, and its numbers are ratios to ours
in the same run: times of different runs or machines are not comparable.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import report
from bench.equality import Agreement, compare
from bench.peers import PEERS
from bench.picture import write_picture
from bench.processes import Child
from bench.rounds import Plan, first_calls, missing, time_engines, time_kunquant_singly
from bench.workload import TASKS, build_fields, parsed, save_fields

CONSOLE = Console()
PROGRESS = Console(stderr=True)

#: Assets and sessions of `--scaling`; the first is what the others are compared with.
SIZES = (
    (500, 2500),
    (1000, 2500),
    (2000, 2500),
    (5000, 2500),
    (500, 1250),
    (500, 5000),
)
#: Random expressions of `--throughput`.
RANDOM = 1000
RANDOM_LARGE = 100
#: Engines that `--large` leaves out unless they are named: minutes a pass, or much memory.
NOT_LARGE = {"qlib", "ours64"}


def say(text: str) -> None:
    """Say what is being done."""
    PROGRESS.print(f"[dim]{time.strftime('%H:%M:%S')} {text}[/dim]", highlight=False)


def main() -> int:
    """Run what is asked for and print it."""
    options = _options()
    keys = options.engines or [k for k in PEERS if not (options.large and k in NOT_LARGE)]
    absent = missing(keys)
    for key, distribution in absent.items():
        CONSOLE.print(f"{key} is left out: {distribution} is not installed")
    keys = [key for key in keys if key not in absent]
    n_assets = 5000 if options.large else options.assets
    result: dict[str, Any] = {"machine": report.machine(n_assets, options.sessions)}
    with tempfile.TemporaryDirectory(prefix="alphad-bench-") as name:
        plan = Plan(
            folder=Path(name),
            panel="main",
            threads=options.threads,
            rounds=options.rounds,
            slow_rounds=options.slow_rounds,
            environment={"NUMBA_CACHE_DIR": str(Path(name) / "numba")},
            say=say,
        )
        CONSOLE.print(report.heading(result["machine"]))
        if options.throughput:
            result["throughput"] = throughput(plan, options, n_assets)
        elif options.scaling:
            result["scaling"] = scaling(plan)
        else:
            result |= comparison(plan, keys, n_assets, options.sessions, large=options.large)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if options.picture:
        write_picture(result, options.picture)
    return 0


def comparison(
    plan: Plan, keys: Sequence[str], n_assets: int, n_sessions: int, *, large: bool
) -> dict[str, Any]:
    """Time all engines, compare their values, and measure the distance to the limit."""
    for name, why in parsed(TASKS)[1].items():
        CONSOLE.print(f"{name} is left out: {why}")
    say(f"building a panel of {n_assets} × {n_sessions}")
    save_fields(build_fields(n_assets, n_sessions), plan.folder / "main")
    calls = first_calls(plan) if "ours" in keys else None
    singly = time_kunquant_singly(plan) if "kunquant" in keys else None
    engines, failed = time_engines(keys, plan)
    agreements: dict[str, Agreement] = {}
    if not large:
        say("comparing values: building a panel without gaps")
        clean = build_fields(n_assets, n_sessions, gaps=False)
        save_fields(clean, plan.folder / "clean")
        agreements, different = compare(list(engines), plan)
        failed |= different
    say("every operator beside the memory bandwidth")
    child = _child("bench.limits", plan=plan, threads=1)
    try:
        limits = child.ask(
            "measure", assets=n_assets, sessions=n_sessions, rounds=3 if large else 9
        )
    finally:
        child.close()
    tables = [
        *report.ratio_tables(engines, limits, n_assets * n_sessions),
        report.first_call_table(engines, calls, singly),
        report.equality_table(engines, agreements),
        report.limit_table(limits),
    ]
    for table in tables:
        CONSOLE.print(table)
    for line in [*report.bandwidth_lines(limits), *report.remarks(engines, agreements)]:
        CONSOLE.print(line, highlight=False)
    for key, why in failed.items():
        CONSOLE.print(f"{key} failed: {why}", style="red", highlight=False)
    return {
        "engines": report.engines_json(engines),
        "first_calls": vars(calls) if calls else None,
        "kunquant_singly_s": singly,
        "agreement": {key: one.off for key, one in agreements.items()},
        "limits": limits,
        "failed": failed,
    }


def _child(module: str, *arguments: str, plan: Plan, threads: int) -> Child:
    return Child(
        module,
        *arguments,
        threads=threads,
        log=plan.folder / "others.log",
        environment=plan.environment,
    )


def throughput(plan: Plan, options: argparse.Namespace, n_assets: int) -> dict[str, Any]:
    """Evaluate and judge random expressions."""
    n = RANDOM_LARGE if n_assets > 2000 else RANDOM
    found: dict[str, Any] = {}
    say(f"building a panel of {n_assets} × {options.sessions}")
    save_fields(build_fields(n_assets, options.sessions), plan.folder / "main")
    # Each in its own process, for memory is a maximum; in the first, kernels are compiled.
    for mode in ("", "evaluate", "ic", "staged", "all"):
        say(f"{n} random expressions, {mode or 'kernels to be compiled'}")
        child = _child(
            "bench.throughput",
            str(options.threads),
            str(plan.folder),
            plan=plan,
            threads=options.threads,
        )
        try:
            made = child.ask("load", panel="main", n=n, seed=options.seed)
            if mode:
                found |= made | {mode: child.ask("run", mode=mode)}
        finally:
            child.close()
    CONSOLE.print(report.throughput_table(found, options.seed, options.threads))
    return found


def scaling(plan: Plan) -> list[dict[str, Any]]:
    """Time the batch on panels of several sizes."""
    rows = []
    for n_assets, n_sessions in SIZES:
        say(f"{n_assets} × {n_sessions}")
        panel = f"{n_assets}x{n_sessions}"
        save_fields(build_fields(n_assets, n_sessions), plan.folder / panel)
        child = plan.child("ours", plan.threads)
        try:
            refused = child.ask("load", panel=panel)["refused"]
            names = [task.name for task in TASKS if task.name not in refused]
            child.ask("prepare", batches=[names])
            child.ask("time", batches=[names])
            times = [child.ask("time", batches=[names])["wall"][0] for _ in range(plan.rounds)]
        finally:
            child.close()
        seconds = statistics.median(times)
        rows.append({"assets": n_assets, "sessions": n_sessions, "s": seconds})
    CONSOLE.print(report.scaling_table(rows))
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--engines", nargs="*", choices=list(PEERS), help="which (default: all; some if --large)"
    )
    parser.add_argument("--assets", type=int, default=500, help="default: 500")
    parser.add_argument("--sessions", type=int, default=2500, help="default: 2500")
    parser.add_argument("--large", action="store_true", help="5000 assets")
    parser.add_argument("--threads", type=int, default=2, help="cores allowed (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="of every engine (default: 5)")
    parser.add_argument("--slow-rounds", type=int, default=2, help="of slow ones (default: 2)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--throughput", action="store_true", help="random expressions a second instead"
    )
    what.add_argument("--scaling", action="store_true", help="panels of several sizes instead")
    parser.add_argument("--seed", type=int, default=1, help="of the random expressions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a page with charts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
