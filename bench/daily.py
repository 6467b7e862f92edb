"""How long one session takes from bars in hand to `_SUCCESS`, by stage, in an idle process.

`python -m bench.daily [--sessions 200]` replays a simulated market and prints, for each stage, the
median and 90 % quantile in milliseconds; and how the whole grows with the number of assets.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from daemon.clock import ReplayClock
from daemon.context import open_context
from daemon.reconcile import STAGES
from daemon.settings import build_settings

#: Sessions of history before the first one measured.
HISTORY = 560


def measure(assets: int, sessions: int) -> dict[str, list[float]]:
    """Live through `sessions` of a simulated market of `assets`; return seconds by stage."""
    seconds: dict[str, list[float]] = defaultdict(list)
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    with tempfile.TemporaryDirectory() as folder:
        settings = build_settings(
            {
                "state_dir": Path(folder) / "state",
                "publish_dir": Path(folder) / "published",
                "markets": {
                    "sim": {
                        "feed": {"kind": "simulated", "assets": assets},
                        "seed_book": "sim",
                        "mining": {"enabled": False},
                    }
                },
            }
        )
        with open_context(settings, clock) as context:
            market = context.markets["sim"]
            session = market.calendar.next_session(market.settings.feed.start, HISTORY)
            for _ in range(sessions):
                clock.set(market.calendar.finality(session, 90))
                for name, stage in STAGES:
                    begun = perf_counter()
                    stage(context, market, session)
                    seconds[name].append(perf_counter() - begun)
                session = market.calendar.next_session(session)
    return {name: values[1:] for name, values in seconds.items()}  # the first brings the history


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--assets", type=int, nargs="*", default=[300, 600, 1200])
    options = parser.parse_args()
    print(
        f"{'assets':>7} {'stage':<9} {'median ms':>10} {'90 % ms':>9}   ({options.sessions} runs)"
    )
    for assets in options.assets:
        seconds = measure(assets, options.sessions)
        seconds["all"] = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
        for name, values in seconds.items():
            low, high = 1000 * np.quantile(values, [0.5, 0.9])
            print(f"{assets:>7} {name:<9} {low:>10.1f} {high:>9.1f}")


if __name__ == "__main__":
    main()
