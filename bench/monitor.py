"""The decay monitor beside what a user would pick, its cost, and what it said of real factors.

`python -m bench.monitor --baselines` judges detectors on simulated RankICs: the 60-day mean below
half of the baseline's, the same of the ICIR, a CUSUM, Page-Hinkley and ADWIN of `river`, each at
its defaults and calibrated to our false alarms, beside `signals.decay`. The judge is
`score_detector.py`, imported from where it lies; a simulator of other noise gives a second opinion.

`python -m bench.monitor --timing` updates 200 factors by one session, from the database and back.

`python -m bench.monitor --real` lives through two real markets with five classical factors.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np

from bench.detectors import ours, user_families
from bench.judging import Hearing, Row, courts, load_scorer, scorer_path
from bench.panels import MARKETS, load_panel, shared_folder
from bench.real_history import BEGIN, Life, Setting, live_through, monitored_series, raw_series
from signals.decay import start_monitor
from signals.errors import AlphadError
from signals.ic import MeanEstimate
from signals.residual import Basis
from signals.styles import REFERENCES, STYLES
from signals.watch import Watch, start_watch, update
from storage import history, registry
from storage.database import Database
from storage.history import StateRow

#: Factors and repetitions of the timing.
FACTORS, RUNS = 200, 25


def baselines(options: argparse.Namespace) -> None:
    """Print a table for each simulator and horizon."""
    families = user_families()
    if not any("river" in family.name for family in families):
        tell("river is not installed: its Page-Hinkley and ADWIN are left out (pip install river)")
    scores: dict[tuple[str, str, str], list[float]] = {}
    for judged in courts(load_scorer(options.scorer)):
        for horizon in options.horizons:
            tell(f"{judged.name}, horizon {horizon}: drawing paths")
            hearing = Hearing(judged, horizon, options.seed, options.n, options.n_healthy)
            rows = hearing.rows(ours(), families, tell)
            show_rows(f"{judged.name}, horizon {horizon}, seed {options.seed}", rows)
            for row in rows:
                scores.setdefault((judged.name, row.name, row.kind), []).append(row.score)
    print("\nmean score over the horizons (1: as fast as an oracle, within the budget)")
    for (court, name, kind), values in scores.items():
        print(f"  {court:<20} {name:<22} {kind:<11} {np.mean(values):.2f}")


def show_rows(title: str, rows: Sequence[Row]) -> None:
    """Print what detectors did; delays are median/90 % in sessions."""
    scenarios = list(rows[0].delays)
    head = " ".join(f"{name:>9}" for name in scenarios)
    print(f"\n{title}\n{'detector':<22} {'set to':<16} {'false/yr':>8} {head} {'score':>6}")
    for row in rows:
        cells = " ".join(f"{said(*row.delays[name]):>9}" for name in scenarios)
        print(
            f"{row.name:<22} {row.setting:<16} {row.false_alarms:>8.2f} {cells} {row.score:>6.2f}",
            flush=True,
        )


def said(median: float, most: float) -> str:
    """Return two delays; never within the simulated sessions is inf."""
    return "/".join("inf" if not np.isfinite(v) else f"{v:.0f}" for v in (median, most))


def timing(runs: int) -> None:
    """Print the milliseconds of loading, updating and saving the states of 200 factors."""
    rng = np.random.default_rng(1)
    names = [f"factor_{number:03d}" for number in range(FACTORS)]
    states = {name: new_watch(rng) for name in names}
    session = date(2024, 1, 2)
    seconds: dict[str, list[float]] = {"load": [], "update": [], "save": []}
    with tempfile.TemporaryDirectory() as folder:
        database = Database.file(Path(folder) / "alphad.db")
        database.migrate()
        now = datetime(2024, 1, 1, tzinfo=UTC)
        with database.transaction() as conn:
            for name in names:
                registry.add(conn, "us", name, "$close", origin="seed", session=session, now=now)
            history.append_states(conn, stored(session, states))
        for _ in range(runs + 1):
            session += timedelta(days=1)
            begun = perf_counter()
            with database.read() as conn:
                loaded = {
                    name: Watch.from_json(row.state)
                    for name, row in history.last_states(conn, "us").items()
                }
            read = perf_counter()
            new = {
                name: update(watch, *rng.normal(0.03, 0.1, 2).tolist())
                for name, watch in loaded.items()
            }
            updated = perf_counter()
            with database.transaction() as conn:
                history.append_states(conn, stored(session, new))
            saved = perf_counter()
            for part, spent in zip(
                seconds, (read - begun, updated - read, saved - updated), strict=True
            ):
                seconds[part].append(spent)
        database.close()
    whole = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    print(f"{FACTORS} factors by one session, SQLite, median of {runs} runs:")
    for part, values in {**seconds, "all": whole}.items():
        print(f"  {part:<7} {1000 * statistics.median(values[1:]):>7.2f} ms")  # the first warms up


def new_watch(rng: np.random.Generator) -> Watch:
    """Return a watch as most are: freed of every style and reference."""
    numbers = dict.fromkeys(REFERENCES, 0.1)
    return start_watch(
        rng.normal(0.03, 0.07, 500),
        start_monitor(rng.normal(0.03, 0.1, 500)),
        Basis(tuple(STYLES), numbers, numbers),
        threshold=63.0 * FACTORS,
    )


def stored(session: date, states: dict[str, Watch]) -> list[StateRow]:
    """Return states as the database keeps them."""
    return [
        StateRow(
            "us", name, session, state.verdict, state.evidence, state.threshold, state.to_json()
        )
        for name, state in states.items()
    ]


def real(options: argparse.Namespace) -> None:
    """Print the lives of five classical factors on each market."""
    for market in [options.market] if options.market else sorted(MARKETS):
        tell(f"{market}: reading bars")
        panel = load_panel(options.shared, market)
        setting = Setting(horizon=options.horizon, begin=options.begin, threshold=options.threshold)
        series = raw_series if options.series == "raw" else monitored_series()
        lives = live_through(panel, setting, series, tell)
        print(
            f"\n{market}: {options.series} RankIC, horizon {setting.horizon}, baseline "
            f"{panel.sessions[setting.begin]} to {panel.sessions[setting.stop - 1]}, "
            f"A = {setting.threshold:.0f}"
        )
        for life in lives:
            show_life(life)


def show_life(life: Life) -> None:
    """Print one factor's verdicts, and what the 60-day rule would have said."""
    turned = "" if life.sign > 0 else ", turned round"
    print(
        f"\n  {life.factor}{turned}: baseline RankIC {interval(life.baseline)}, "
        f"t {life.baseline.t:.1f}; live {life.first} to {life.last}"
    )
    for change in life.changes:
        print(
            f"    {change.session}  {change.before.value:>7} → {change.after.value:<8}"
            + "; ".join(change.evidence)
        )
        print(
            f"      RankIC of the year before {interval(change.year_before)}, "
            f"after {interval(change.year_after)}"
        )
    if not life.changes:
        print("    healthy throughout")
    years = (life.last - life.first).days / 365.25
    print(
        f"    60-day rule: fired {len(life.rule_fired)} times in {years:.1f} years, true "
        f"{100 * life.rule_share:.0f} % of the time; {', '.join(map(str, life.rule_fired))}"
    )


def interval(estimate: MeanEstimate) -> str:
    """Return a mean with its 95 % interval."""
    if estimate.n < 2:
        return "unknown"
    return f"{estimate.mean:+.4f} ({estimate.low:+.4f} … {estimate.high:+.4f}, n {estimate.n})"


def tell(text: str) -> None:
    """Say on stderr what is being done."""
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.monitor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--baselines", action="store_true", help="detectors on simulated RankICs")
    parser.add_argument("--timing", action="store_true", help="200 factors by one session")
    parser.add_argument("--real", action="store_true", help="five factors on two real markets")
    judged = parser.add_argument_group("baselines")
    judged.add_argument("--scorer", type=Path, default=scorer_path(), help="score_detector.py")
    judged.add_argument("--horizons", type=int, nargs="*", default=[1, 5, 10])
    judged.add_argument("--seed", type=int, default=31)
    judged.add_argument("--n", type=int, default=200, help="paths of each scenario")
    judged.add_argument("--n-healthy", type=int, default=600, help="healthy paths")
    lived = parser.add_argument_group("real")
    lived.add_argument("--shared", type=Path, default=shared_folder(), help="folder of real bars")
    lived.add_argument("--market", choices=sorted(MARKETS), help="one market (default: both)")
    lived.add_argument("--series", choices=("monitored", "raw"), default="monitored")
    lived.add_argument("--horizon", type=int, default=1, help="sessions a label is held")
    lived.add_argument("--begin", type=int, default=BEGIN, help="first row of the baseline")
    lived.add_argument("--threshold", type=float, default=1260.0, help="A of the book")
    parser.add_argument("--runs", type=int, default=RUNS, help="repetitions of the timing")
    options = parser.parse_args()
    if not (options.baselines or options.timing or options.real):
        parser.error("say what to run: --baselines, --timing or --real")
    try:
        if options.timing:
            timing(options.runs)
        if options.real:
            real(options)
        if options.baselines:
            baselines(options)
    except AlphadError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
