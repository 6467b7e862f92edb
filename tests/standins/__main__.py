"""Start the stand-ins of one market for a person: `python -m tests.standins --market us`."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event

from tests.standins.book import MarketBook
from tests.standins.faults import FAULTS
from tests.standins.standin import StandIn


def main() -> int:
    """Serve until interrupted; the lines printed are what a client's shell is to run."""
    options = _parser().parse_args()
    now = options.now
    if options.bars is None:
        today = (now or datetime.now(UTC)).date()
        book = MarketBook.synthetic(
            options.market, options.assets, options.first, today + timedelta(days=30), options.seed
        )
    else:
        membership = options.membership
        book = MarketBook.from_parquet(
            options.bars, options.market, seed=options.seed, membership=membership
        )
        now = now or datetime.combine(book.days[-1] + timedelta(days=1), datetime.min.time(), UTC)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with StandIn(book, now, port=options.port) as standin:
        for fault in options.fault:
            name, _, target = fault.partition("=")
            before = standin.faults[name].targets if name in standin.faults else ()
            standin.faults[name] = {*before, target}
        lines = [f"export {name}={value}" for name, value in standin.environment.items()]
        told = "the machine's clock" if now is None else f"{now:%Y-%m-%d %H:%M} UTC"
        size = f"{len(book.assets)} assets, {book.days[0]} to {book.days[-1]}"
        sys.stdout.write("\n".join([f"# {options.market}: {size}; it is {told}", *lines, ""]))
        sys.stdout.flush()
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name:24}{text}" for name, text in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.standins",
        description="Stand in for the providers of market data of one market on the loopback.",
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--market", choices=("us", "cn"), required=True)
    parser.add_argument("--bars", type=Path, help="a Parquet file of adjusted bars")
    parser.add_argument("--membership", type=Path, help="a file of index membership, with --bars")
    parser.add_argument("--assets", type=int, default=500, help="invented companies (500)")
    parser.add_argument("--first", type=date.fromisoformat, default=date(2015, 1, 5))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=0, help="any that is free")
    parser.add_argument("--now", type=_moment, help="what time it is, as 2022-12-30T22:00 in UTC")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=TARGET",
        help="switch a fault on for an asset, a host or '*'; may be repeated",
    )
    return parser


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
