"""The tables of the ablation."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table

from bench.mining_arms import ALL, Mined
from bench.mining_pool import Runs
from bench.mining_statistics import Clustered, clustered, median, share, slope, text

#: What a run is judged by.
Figure = Callable[[Mined], float]


def first_year(series: Sequence[float]) -> float:
    """Return the RankIC of the first year after mining, NaN of nothing."""
    return series[0] if series else math.nan


def each_accepted(one: Mined) -> float:
    """Return the mean first-year RankIC of the accepted factors, each by itself."""
    firsts = [first_year(series) for series in one.accepted.values()]
    return sum(firsts) / len(firsts) if firsts else math.nan


FIGURES: tuple[tuple[str, Figure], ...] = (
    ("picked, blended", lambda one: first_year(one.picked_blend)),
    ("accepted, each", each_accepted),
    ("accepted, blended", lambda one: first_year(one.accepted_blend)),
)


def show(console: Console, done: Runs[Mined], arms: Sequence[str], seed: int) -> None:
    """Print all tables."""
    present = [arm for arm in arms if any(one.arm == arm for one in done.results)]
    for table in (
        _pooled(done, present, seed),
        _differences(done.results, present, seed),
        _decay(done.results, present, seed),
        _refused(done.results, present),
        _by_year(done.results, present, "picked, blended", FIGURES[0][1]),
        _by_year(done.results, present, "accepted, blended", FIGURES[2][1]),
    ):
        console.print(table)
    console.print(
        "mean yearly RankIC out of sample; 95 % intervals resample market-years, and seeds within "
        "them: with few market-years they are rough. Later years since mining hold fewer "
        "market-years than the first; the slope is that within each search"
    )


def _pooled(done: Runs[Mined], arms: Sequence[str], seed: int) -> Table:
    table = Table(title=f"First year after mining: {done.heading}")
    table.add_column("arm")
    for title in (
        "runs accepting",
        "factors",
        *(name for name, _ in FIGURES),
        "measured",
        "s",
        "CPU s",
    ):
        table.add_column(title, justify="right")
    for arm in arms:
        part = [one for one in done.results if one.arm == arm]
        accepting = share(sum(bool(one.accepted) for one in part), len(part))
        table.add_row(
            arm,
            f"{accepting.hits} of {accepting.n}",
            str(sum(len(one.accepted) for one in part)),
            *(str(_mean_of(part, figure, seed)) for _, figure in FIGURES),
            text(median([float(one.counts["measured"]) for one in part]), 0),
            text(median([one.seconds for one in part]), 1),
            text(median([one.cpu_s for one in part]), 1),
        )
    return table


def _differences(results: Sequence[Mined], arms: Sequence[str], seed: int) -> Table:
    table = Table(title=f"Less `{ALL}` at the same market, year and seed, where both have a figure")
    table.add_column("arm")
    for name, _ in FIGURES:
        table.add_column(name, justify="right")
        table.add_column("pairs", justify="right")
    for arm in arms:
        if arm == ALL:
            continue
        cells = []
        for _, figure in FIGURES:
            found = paired(results, arm, figure, seed)
            cells += [str(found), str(found.runs)]
        table.add_row(arm, *cells)
    return table


def paired(results: Sequence[Mined], arm: str, figure: Figure, seed: int) -> Clustered:
    """Return the mean difference of an arm to `all`."""
    base = {(*one.cluster, one.seed): figure(one) for one in results if one.arm == ALL}
    groups: dict[Hashable, list[float]] = {}
    for one in results:
        if one.arm == arm and (*one.cluster, one.seed) in base:
            difference = figure(one) - base[*one.cluster, one.seed]
            groups.setdefault(one.cluster, []).append(difference)
    return clustered(groups, seed=seed)


def _decay(results: Sequence[Mined], arms: Sequence[str], seed: int) -> Table:
    longest = max((len(one.picked_blend) for one in results), default=0)
    shown = range(min(longest, 6))
    table = Table(title="What was picked, blended, by years since mining; slope per year")
    table.add_column("arm")
    for title in (*(f"year {age + 1}" for age in shown), "slope"):
        table.add_column(title, justify="right")
    for arm in arms:
        part = [one for one in results if one.arm == arm]
        ages = [_mean_of(part, partial(_at, age), seed) for age in shown]
        table.add_row(
            arm,
            *(f"{age.mean:+.4f}" for age in ages),
            str(_mean_of(part, lambda one: slope(one.picked_blend), seed)),
        )
    return table


def _refused(results: Sequence[Mined], arms: Sequence[str]) -> Table:
    gates = ("duplicate", "units", "complexity", "originality", "alignment", "coverage", "turnover")
    table = Table(title="Candidates the gates refused, in a hundred proposed")
    table.add_column("arm")
    for gate in gates:
        table.add_column(gate, justify="right")
    for arm in arms:
        part = [one.counts for one in results if one.arm == arm and "proposed" in one.counts]
        proposed = sum(counts["proposed"] for counts in part)
        shares = (sum(counts.get(gate, 0) for counts in part) for gate in gates)
        if proposed:
            table.add_row(arm, *(f"{100 * n / proposed:.1f}" for n in shares))
    return table


def _at(age: int, one: Mined) -> float:
    return one.picked_blend[age] if age < len(one.picked_blend) else math.nan


def _by_year(results: Sequence[Mined], arms: Sequence[str], name: str, figure: Figure) -> Table:
    clusters = sorted({one.cluster for one in results})
    table = Table(title=f"First year after mining, {name}: mean over the seeds (runs)")
    table.add_column("arm")
    for market, year in clusters:
        table.add_column(f"{market.upper()} {year}", justify="right")
    for arm in arms:
        cells = []
        for cluster in clusters:
            values = [figure(one) for one in results if one.arm == arm and one.cluster == cluster]
            values = [value for value in values if math.isfinite(value)]
            cells.append(f"{sum(values) / len(values):+.4f} ({len(values)})" if values else "-")
        table.add_row(arm, *cells)
    return table


def _mean_of(part: Sequence[Mined], figure: Figure, seed: int) -> Clustered:
    groups: dict[Hashable, list[float]] = {}
    for one in part:
        groups.setdefault(one.cluster, []).append(figure(one))
    return clustered(groups, seed=seed)
