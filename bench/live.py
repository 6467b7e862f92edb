"""Live data measured: the real clients behind stand-ins of their providers, on the loopback.

`python -m bench.live --backfill`, `--sessions 250`, `--faults`, `--split`, `--deadlines`,
`--calendar`: each
prints a report and ends with 1 where something is not as it should be. Prices come from the shared
files, with seeded splits and dividends, or with `--invented` from an invented market.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from bench import (
    live_backfill,
    live_calendar,
    live_deadlines,
    live_faults,
    live_sessions,
    live_split,
)
from bench.live_market import Chosen
from daemon.logs import configure_logging


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    configure_logging(quiet=True)
    # exchange_calendars' own calls into pandas 3 are deprecated (4.13.2)
    warnings.simplefilter("ignore", DeprecationWarning)
    good = True
    for market in options.market or ("us", "cn"):
        chosen = Chosen(market, options.assets, options.years, options.invented, options.shared)
        if options.backfill:
            good &= live_backfill.run(chosen)
        if options.sessions:
            good &= live_sessions.run(chosen, options.sessions)
        if options.faults:
            good &= live_faults.run(market, only=options.only)
    if options.split:
        good &= live_split.run()
    if options.deadlines:
        good &= live_deadlines.run()
    if options.calendar:
        good &= live_calendar.run()
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--market", action="append", choices=("us", "cn"), help="default: both")
    parser.add_argument("--assets", type=int, help="so many of them (default: all)")
    parser.add_argument("--years", type=float, default=10.0, help="of history (10)")
    parser.add_argument("--invented", action="store_true", help="an invented market until today")
    parser.add_argument("--shared", type=Path, help="folder of the real bars")
    parser.add_argument("--backfill", action="store_true", help="a cold backfill, and a killed one")
    parser.add_argument("--sessions", type=int, metavar="N", help="N daily sessions of each market")
    parser.add_argument("--faults", action="store_true", help="each fault of the stand-ins in turn")
    parser.add_argument("--only", metavar="FAULT", help="of the faults, this one")
    parser.add_argument("--split", action="store_true", help="a split that restates ten years")
    parser.add_argument("--deadlines", action="store_true", help="providers that hang")
    parser.add_argument("--calendar", action="store_true", help="Shanghai in 2027; clock changes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
