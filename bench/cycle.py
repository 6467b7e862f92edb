"""The daily cycle of both markets: seconds from bars in hand to `_SUCCESS`, and what it grows with.

`python -m bench.cycle` lives through sessions of New York and Shanghai, simulated, with 1,000
assets and a book of 50 live factors over a warm store; `--growth` through others with fewer of each
and more years. Bars are made before the time runs; a day is the sum of what both markets took, one
after the other.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import tomli_w

from daemon.clock import ReplayClock
from daemon.context import Context, Market, open_context
from daemon.feeds.protocol import Request
from daemon.logs import configure_logging
from daemon.reconcile import STAGES
from daemon.settings import build_settings
from storage import registry
from storage.tables import FactorState

CALENDARS = {"us": "XNYS", "cn": "XSHG"}
#: Sessions whose RankICs a declared factor has to be proved on, and that of a year.
BASELINE, YEAR = 500, 252
#: What the simulated market's alphas are seen by, with windows of many lengths.
_FORMS = (
    "-1 * TS_PCTCHANGE($close, {window})",
    "-1 * TS_STD(TS_PCTCHANGE($close, 1), {window})",
    "TS_MEAN(($high - $close) / ($high - $low), {window})",
    "-1 * TS_RANK($close, {window})",
    "-1 * ($close - TS_MEAN($close, {window})) / TS_STD($close, {window})",
)


@dataclass(frozen=True)
class Size:
    """How large the markets are.

    Parameters
    ----------
    assets, factors : int
        Of each market; factors that are declared, more or fewer of which go live.
    years : float
        Of history before the first session that is measured.
    """

    assets: int = 1000
    factors: int = 50
    years: float = 3.0


@dataclass(frozen=True)
class Days:
    """What some days took.

    Parameters
    ----------
    stages : mapping of str to ndarray of shape (n_days,)
        Seconds of each stage, both markets together.
    live : mapping of str to int
        Live factors of each market.
    """

    stages: Mapping[str, Any]
    live: Mapping[str, int]

    @property
    def whole(self) -> Any:
        """Return the seconds of each day."""
        return np.sum([*self.stages.values()], axis=0)


def book(n_factors: int) -> str:
    """Return a seed book of formulas with one window or another."""
    factors = {}
    for number in range(n_factors):
        form = _FORMS[number % len(_FORMS)]
        factors[f"f{number:03d}"] = {
            "expression": form.format(window=4 + number // len(_FORMS) * 2),
            "observation": "planted",
            "knowledge": "planted",
            "justification": "planted",
            "source": "bench",
        }
    return tomli_w.dumps({"factors": factors})


@contextmanager
def opened(folder: Path, size: Size) -> Iterator[tuple[Context, ReplayClock]]:
    """Open both markets, empty."""
    (folder / "book.toml").write_text(book(size.factors), encoding="utf-8")
    sessions = round(size.years * YEAR)
    first = date(2025, 6, 2) - (date(2025, 6, 2) - date(2023, 6, 1)) * (sessions / (2 * YEAR))
    markets = {
        name: {
            "calendar": calendar,
            "seed_book": str(folder / "book.toml"),
            "feed": {"kind": "simulated", "assets": size.assets, "start": first},
            "monitor": {"baseline_sessions": min(BASELINE, sessions - 40)},
            "book": {"max_live": max(size.factors, 1)},
            "mining": {"enabled": False},
        }
        for name, calendar in CALENDARS.items()
    }
    settings = build_settings(
        {
            "state_dir": folder / "state",
            "publish_dir": folder / "published",
            "markets": markets,
        }
    )
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    with open_context(settings, clock) as context:
        yield context, clock


def measure(size: Size, days: int) -> Days:
    """Live through some days and return what they took; the first ones only warm up."""
    rows: dict[str, list[float]] = {name: [] for name, _ in STAGES}
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), size) as (context, clock):
        sessions = shared_sessions(context, size, days + 2)
        for session in sessions:
            took = dict.fromkeys(rows, 0.0)
            for market in sorted(context.markets.values(), key=lambda m: m.calendar.close(session)):
                market.feed.fetch(Request(market.name, (session,)))  # bars in hand
                clock.set(market.calendar.finality(session, 90))
                for name, stage in STAGES:
                    begun = perf_counter()
                    stage(context, market, session)
                    took[name] += perf_counter() - begun
            for name, seconds in took.items():
                rows[name].append(seconds)
        live = {name: n_live(context, market) for name, market in context.markets.items()}
    return Days({name: np.array(seconds[2:]) for name, seconds in rows.items()}, live)


def shared_sessions(context: Context, size: Size, n: int) -> list[date]:
    """Return sessions of both exchanges, after the history."""
    us, cn = (context.markets[name].calendar for name in ("us", "cn"))
    first = us.next_session(context.markets["us"].settings.feed.start, round(size.years * YEAR))
    days = us.sessions(first, us.next_session(first, 2 * n + 10))
    return [day for day in days if cn.is_session(day)][:n]


def n_live(context: Context, market: Market) -> int:
    with context.database.read() as conn:
        return len(registry.factors(conn, market.name, (FactorState.LIVE,)))


def tell(size: Size, days: Days) -> None:
    """Print a row."""
    low, high = np.quantile(days.whole, [0.5, 0.9])
    parts = "  ".join(f"{name} {np.median(days.stages[name]):6.3f}" for name in days.stages)
    print(
        f"{size.assets:>6} {size.factors:>7} {size.years:>5g}  {low:8.3f} {high:8.3f}   {parts}   "
        f"live {days.live['us']} + {days.live['cn']}   load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cycle", description=__doc__)
    parser.add_argument("--days", type=int, default=20, help="days measured (default: 20)")
    parser.add_argument("--growth", action="store_true", help="fewer assets, factors, years too")
    parser.add_argument("--assets", type=int, default=1000)
    parser.add_argument("--factors", type=int, default=50)
    parser.add_argument("--years", type=float, default=3.0)
    options = parser.parse_args()
    configure_logging(quiet=True)
    whole = Size(options.assets, options.factors, options.years)
    sizes = [whole]
    if options.growth:
        sizes += [replace(whole, assets=round(whole.assets * part)) for part in (0.25, 0.5)]
        sizes += [replace(whole, factors=round(whole.factors * part)) for part in (0.2, 0.5)]
        sizes += [replace(whole, years=years) for years in (6.0, 10.0)]
    print("assets factors years    median      90 %   seconds a day, and the median of each stage")
    for size in sizes:
        tell(size, measure(size, options.days))


if __name__ == "__main__":
    main()
