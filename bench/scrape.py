"""How long one scrape of `/metrics` takes over a large book.

`python -m bench.scrape [--factors 200] [--years 3]` fills a real database - two markets, all their
factors live, the RankICs and monitor states of every session - and prints the median of twenty
scrapes, by wall clock and by CPU, and how long the first one after an observation takes: it reads
the book anew.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from prometheus_client import generate_latest
from sqlalchemy import Connection, insert

from daemon.clock import ReplayClock
from daemon.context import Context, Market, open_context
from daemon.heartbeat import beat, heartbeat_path
from daemon.metrics import build_registry
from daemon.settings import build_settings
from storage import alerts, history, jobs, ledger, registry
from storage.history import BookRow, ICRow, ScoreICRow, StateRow
from storage.tables import FactorState, JobStatus, ModelUsage, Vintage, table

#: The calendars of the two markets.
MARKETS = {"us": "XNYS", "cn": "XSHG"}
#: When the scrapes happen.
NOW = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
#: Re-minings and requests of a model in a year.
JOBS, REQUESTS = 12, 1200
#: As many letters as the state of a real monitor has.
STATE = {"basis": "x" * 1880}


@contextmanager
def filled(n_factors: int, years: int) -> Iterator[Context]:
    """Yield a state directory whose database is as large as after so many years."""
    with tempfile.TemporaryDirectory() as folder:
        values: dict[str, Any] = {
            "state_dir": Path(folder) / "state",
            "publish_dir": Path(folder) / "published",
            "llm": {"base_url": "http://127.0.0.1:9/v1", "model": "none"},
            "markets": {
                name: {"calendar": calendar, "seed_book": "sim", "feed": {"kind": "simulated"}}
                for name, calendar in MARKETS.items()
            },
        }
        with open_context(build_settings(values), ReplayClock(NOW)) as context:
            for market in context.markets.values():
                fill(context, market, n_factors, years)
            beat(
                heartbeat_path(context.settings.state_dir),
                NOW,
                dict.fromkeys(context.markets, NOW),
            )
            yield context


def fill(context: Context, market: Market, n_factors: int, years: int) -> None:
    """Write a market's past."""
    due = market.calendar.last_final(NOW, market.settings.ingest.finality_minutes)
    sessions = market.calendar.sessions(due - timedelta(days=365 * years), due)
    names = [f"factor_{number:03d}" for number in range(n_factors)]
    rng = np.random.default_rng(7)
    with context.database.transaction() as conn:
        for name in names:
            registry.add(
                conn, market.name, name, "$close", origin="seed", session=sessions[0], now=NOW
            )
            registry.transition(
                conn,
                market.name,
                name,
                FactorState.LIVE,
                session=sessions[0],
                rule="its baseline",
                now=NOW,
            )
        fill_ledger(conn, market.name, sessions)
        fill_rest(conn, market.name, sessions, years)
    for first in range(0, len(sessions), 50):
        with context.database.transaction() as conn:
            fill_history(conn, market.name, sessions[first : first + 50], names, rng)


def fill_history(
    conn: Connection,
    market: str,
    sessions: Sequence[date],
    names: Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Write the RankICs and the monitors of some sessions."""
    for day in sessions:
        values = rng.normal(0.02, 0.1, len(names)).tolist()
        history.append_ics(
            conn,
            [
                ICRow(market, name, day, day, value, value, 500)
                for name, value in zip(names, values, strict=True)
            ],
        )
        history.append_states(
            conn, [StateRow(market, name, day, "healthy", 0.1, 60.0, STATE) for name in names]
        )
        history.append_score_ics(conn, [ScoreICRow(market, day, day, "1", 0.02, 0.03, 500)])
        history.append_book_state(conn, BookRow(market, day, "healthy", 0.1, 60.0, STATE))


def fill_ledger(conn: Connection, market: str, sessions: Sequence[date]) -> None:
    """Write the runs of every session and the vintages they brought."""
    detail = {"coverage": 1.0, "quarantined": 0, "broken": [], "status": "final", "text": "x" * 200}
    for number, day in enumerate(sessions, start=1):
        for stage in ("ingest", "observe", "publish"):
            run = ledger.begin(conn, market, day, stage, "x", NOW)
            ledger.succeed(conn, run, NOW, detail)
        values = {
            "market": market, "number": number, "source": "sim", "known_at": NOW,
            "reconstructed": False, "cause": "session", "first_session": day, "last_session": day,
            "n_rows": 500, "n_assets": 500, "sha256": "x", "path": "x", "chain": "x",
        }  # fmt: skip
        conn.execute(insert(table(Vintage)), values)


def fill_rest(conn: Connection, market: str, sessions: Sequence[date], years: int) -> None:
    """Write re-minings, requests of a model and alerts."""
    for _ in range(JOBS * years):
        job = jobs.open_job(conn, market, sessions[0], {"decayed": []}, 1, NOW)
        counts = {"proposed": 2000, "complexity": 900, "originality": 600, "measured": 500}
        jobs.finish(conn, job, JobStatus.SUCCEEDED, NOW, counts=counts)
    request = {
        "market": market, "job": 1, "at": NOW, "model": "none", "kind": "factors",
        "input_tokens": 3000, "output_tokens": 800, "cost": 0.01, "seconds": 5.0,
        "outcome": "answered", "settled_at": NOW,
    }  # fmt: skip
    conn.execute(insert(table(ModelUsage)), [request] * (REQUESTS * years))
    for number in range(20):
        alerts.raise_alert(conn, market, f"decayed:{number}", "warning", "it has decayed", NOW)


def scrape(context: Context, times: int) -> tuple[list[float], list[float], str]:
    """Return the seconds of each scrape, its CPU seconds, and what the last one said."""
    registry_, wall, cpu, text = build_registry(context), [], [], b""
    for _ in range(times):
        begun, spent = perf_counter(), process_time()
        text = generate_latest(registry_)
        wall.append(perf_counter() - begun)
        cpu.append(process_time() - spent)
    return wall, cpu, text.decode()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factors", type=int, default=200)
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument("--times", type=int, default=21)
    options = parser.parse_args()
    with filled(options.factors, options.years) as context:
        path = context.database.path
        size = path.stat().st_size / 1e6 if path is not None else float("nan")
        scrape(context, 1)  # builds the calendars, as the daemon has
        wall, cpu, text = scrape(context, options.times)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    book = f"{options.factors} factors x {len(MARKETS)} markets x {options.years} years"
    print(f"{book}: {size:.0f} MB; {len(lines)} series, {len(text) / 1e3:.0f} kB")
    print(f"first scrape after an observation: {1000 * wall[0]:.1f} ms")
    low, median, high = 1000 * np.quantile(wall[1:], [0, 0.5, 0.9])
    print(
        f"the {len(wall) - 1} after it: median {median:.1f} ms (least {low:.1f}, 90 % {high:.1f})"
    )
    print(f"CPU time of one: median {1000 * np.median(cpu[1:]):.1f} ms")


if __name__ == "__main__":
    main()
