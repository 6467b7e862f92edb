"""How much noise the monitored RankIC loses on real bars, and what that buys.

`python -m bench.noise`

For each factor whose baseline RankIC is above zero: standard deviations of the raw and of the
monitored RankIC, in the baseline and after it, and the delay until the per-factor test finds a
death. The death is planted into real noise: the series after the baseline, less its mean, begins
at every 20th session (round and round); delays are counted in sessions from the death on, the
evidence starting at 0. False alarms are those of the same noise around the tested mean.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.panels import MARKETS, load_panel, shared_folder
from miner.books import seed_book
from signals.decay import MonitorState, Verdict, start_monitor, update
from signals.ic import hac_lags, mean_with_interval
from signals.monitored import factor_values, surroundings
from signals.panel import FloatArray, Panel

#: First session of the baseline: the longest lookback lies behind it.
BEGIN = 260
BASELINE = 500
#: One-sided 5 % point: a factor below it would not be live.
BASELINE_T = 1.645
STEP = 20
LIMIT = 750


@dataclass(frozen=True)
class Row:
    """One factor on one market."""

    market: str
    factor: str
    monitored: str
    t_raw: float
    t_freed: float
    sd_ratio: float
    sd_ratio_after: float
    delay_raw: float
    delay_monitored: float
    false_raw: float
    false_monitored: float


def delays(state: MonitorState, noise: FloatArray) -> FloatArray:
    """Return the sessions until `decayed` for a death at every 20th session of the noise."""
    found = []
    for start in range(0, len(noise), STEP):
        now, count = state, 0
        for value in np.roll(noise, -start)[:LIMIT].tolist():
            now, count = update(now, value), count + 1
            if now.verdict is Verdict.DECAYED:
                break
        found.append(count)
    return np.array(found, dtype=np.float64)


def false_alarms(state: MonitorState, noise: FloatArray) -> float:
    """Return `decayed` verdicts a year on the noise around the tested mean."""
    alarms, now = 0, state
    for value in (noise + state.mean).tolist():
        now = update(now, value)
        if now.verdict is Verdict.DECAYED:
            alarms, now = alarms + 1, state
    return alarms / len(noise) * 252


def judged(baseline: FloatArray, after: FloatArray, horizon: int) -> tuple[float, float]:
    """Return the median delay and the false alarms a year of one series."""
    state = start_monitor(baseline, horizon=horizon)
    seen = after[np.isfinite(after)]
    noise = seen - seen.mean()
    return float(np.median(delays(state, noise))), false_alarms(state, noise)


def rows(market: str, panel: Panel, lag: int) -> list[Row]:
    """Return a row for each factor of the market's seed book that would be live."""
    stop = BEGIN + BASELINE
    baseline = surroundings(panel, BEGIN, stop, lag=lag, horizon=1)
    after = surroundings(panel, stop, panel.n_sessions - lag - 1, lag=lag, horizon=1)
    book = seed_book(market)
    expressions = [seed.expression for seed in book]
    found = []
    for seed, early, late in zip(
        book, factor_values(expressions, baseline), factor_values(expressions, after), strict=True
    ):
        raw = baseline.rank_ics(baseline.exposures_of(early), ())
        estimate = mean_with_interval(raw, lags=hac_lags(BASELINE))
        if not estimate.t >= BASELINE_T:
            continue
        basis, monitored = baseline.begin(early)
        raw_after = after.rank_ics(after.exposures_of(late), ())
        monitored_after = after.monitored(basis, late)
        slow, wrong = judged(raw, raw_after, 1)
        quick, wrong_too = judged(monitored, monitored_after, 1)
        found.append(
            Row(
                market,
                seed.id,
                "raw" if basis.raw else "freed",
                basis.t_raw,
                basis.t_freed,
                basis.sd_freed / basis.sd_raw,
                float(np.nanstd(monitored_after) / np.nanstd(raw_after)),
                slow,
                quick,
                wrong,
                wrong_too,
            )
        )
    return found


def show(console: Console, found: list[Row]) -> None:
    """Print the table."""
    table = Table(
        "market", "factor", "monitored", "t raw", "t freed", "sd freed/raw",
        "sd monitored/raw, after", "delay raw", "delay monitored", "false/year raw",
        "false/year monitored",
    )  # fmt: skip
    for row in found:
        table.add_row(
            row.market, row.factor, row.monitored, f"{row.t_raw:.1f}", f"{row.t_freed:.1f}",
            f"{row.sd_ratio:.2f}", f"{row.sd_ratio_after:.2f}", f"{row.delay_raw:.0f}",
            f"{row.delay_monitored:.0f}", f"{row.false_raw:.2f}", f"{row.false_monitored:.2f}",
        )  # fmt: skip
    console.print(table)
    both = [row for row in found if row.monitored == "freed"]
    if both:
        ratio = float(np.median([row.delay_monitored / row.delay_raw for row in both]))
        console.print(
            f"{len(both)} of {len(found)} factors are monitored freed; "
            f"median delay {ratio:.2f} × that of the raw RankIC"
        )


def main() -> int:
    """Print the tables of both markets."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.noise")
    parser.add_argument("--shared", type=Path, default=shared_folder(), help="folder of real bars")
    parser.add_argument("--market", choices=sorted(MARKETS), help="one market (default: both)")
    parser.add_argument("--lag", type=int, default=1, help="sessions between knowing and trading")
    options = parser.parse_args()
    console = Console()
    for market in [options.market] if options.market else sorted(MARKETS):
        panel = load_panel(options.shared, market)
        show(console, rows(market, panel, options.lag))
    return 0


if __name__ == "__main__":
    sys.exit(main())
