"""The judge of the miner: what it accepts where there is nothing, and finds where there is.

`python -m bench.mining --null` searches markets without signal and counts what is accepted.

`python -m bench.mining --planted` searches markets with one alpha of known strength.

`python -m bench.mining --ablation` mines real markets year by year, with and without each
regulariser, and gplearn beside it where it is installed.

`python -m bench.mining --speed` times candidates end to end, and says where the time goes.

`python -m bench.mining --subtrees` times the questions of originality (`bench.subtrees`).
"""

from __future__ import annotations

import argparse
import json
import runpy
import signal
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.panels import MARKETS, shared_folder
from bench.report import machine
from miner.problem import SearchSettings
from signals.errors import AlphadError

MODES = ("null", "planted", "ablation", "speed", "subtrees")
#: Runs of each mode where none are named: seeds of `null`, of each strength, of each year and arm.
RUNS = {"null": 100, "planted": 50, "ablation": 5, "speed": 3}
#: Candidates a search may measure where no rounds are named; the others have the default rounds.
BUDGETS = {"planted": 3000, "ablation": 1000, "speed": 1000}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.mining")
    mode = parser.add_mutually_exclusive_group(required=True)
    for name in MODES:
        mode.add_argument(f"--{name}", dest="mode", action="store_const", const=name)
    parser.add_argument("--runs", type=int, help="runs (see above; default by mode)")
    parser.add_argument("--seed", type=int, default=1, help="of the first run (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--rounds", type=int, help="rounds of a search (default by mode)")
    parser.add_argument("--batch", type=int, help="candidates measured in a round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--shared", type=Path, default=shared_folder(), help="folder of real bars")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[0.02, 0.03, 0.05], help="of --planted"
    )
    parser.add_argument(
        "--markets", nargs="+", choices=sorted(MARKETS), default=sorted(MARKETS),
        help="of --ablation",
    )  # fmt: skip
    parser.add_argument("--years", type=int, nargs="+", help="of --ablation (default all)")
    parser.add_argument("--arms", nargs="+", help="of --ablation (default all)")
    parser.add_argument(
        "--judge",
        action="store_true",
        help="--ablation reads the years no constant was chosen on: CN from 2017, US from 2018",
    )
    return parser.parse_args()


def search_settings(options: argparse.Namespace) -> SearchSettings:
    """Return the default settings with the budget that was asked for."""
    settings = SearchSettings()
    batch = options.batch or settings.batch
    budget = BUDGETS.get(options.mode, batch * settings.rounds)
    return replace(settings, rounds=options.rounds or max(1, budget // batch), batch=batch)


def measured(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """Run what was asked for."""
    settings = search_settings(options)
    runs = options.runs or RUNS[options.mode]
    if options.mode == "null":
        from bench import mining_null

        return mining_null.bench(
            console, runs, options.seed, options.workers, settings, options.shared
        )
    if options.mode == "planted":
        from bench import mining_planted

        return mining_planted.bench(
            console, runs, options.seed, options.workers, settings, options.strengths
        )
    if options.mode == "speed":
        from bench import mining_speed

        return mining_speed.bench(console, runs, options.seed, settings)
    from bench import mining_ablation

    return mining_ablation.bench(console, mining_ablation.Plan.of(options, runs, settings))


def main() -> int:
    """Run one mode."""
    options = _options()
    if options.mode == "subtrees":
        if find_spec("bench.subtrees") is None:
            print("bench/subtrees.py is not there", file=sys.stderr)
            return 1
        sys.argv = ["bench.subtrees"]
        runpy.run_module("bench.subtrees", run_name="__main__")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is done is shown then too
    console = Console(width=None if sys.stdout.isatty() else 150)
    settings = search_settings(options)
    try:
        result = measured(console, options)
    except AlphadError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        about = {
            "bench": f"mining --{options.mode}",
            "machine": machine(0, 0),
            "seed": options.seed,
            "settings": repr(settings),
        }
        options.json.write_text(json.dumps(about | result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
