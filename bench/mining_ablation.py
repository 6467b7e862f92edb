"""Real markets mined year by year, with and without each regulariser, and by gplearn.

At the last session of each year one search per arm and seed starts from an empty book; what it
finds is judged by the raw RankIC in the years after. Two things are judged: what was *accepted*,
and what was *picked* (the three fittest on train, whatever validation says), so that there is a
figure where nothing was accepted. Several factors are blended by the mean of their ranks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from rich.console import Console

from bench.mining_ablation_report import show
from bench.mining_arms import ALL, ARMS, GPLEARN, Mined
from bench.mining_gplearn import features_text, is_installed, mine
from bench.mining_markets import DEVELOPED, YearWindow, real_panel, window, year_windows
from bench.mining_pool import run_all
from bench.mining_search import plain, searched
from miner.conclusion import oriented
from miner.problem import Problem, SearchSettings
from miner.ranks import centred_ranks
from signals.errors import ConfigError
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.ic import rank_ic
from signals.labels import forward_returns
from signals.panel import FloatArray, Panel

#: Factors of what was picked.
PICKED = 3
#: Sessions a search is not begun without.
LEAST = 700


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Parameters
    ----------
    judge : bool
        Whether years are read on which no constant was chosen; each such run is counted.
    years : tuple of int, optional
        First years that judge; all there are by default.
    """

    runs: int
    seed: int
    workers: int
    settings: SearchSettings
    markets: tuple[str, ...]
    arms: tuple[str, ...]
    folder: Path
    judge: bool = False
    years: tuple[int, ...] | None = None

    @classmethod
    def of(cls, options: argparse.Namespace, runs: int, settings: SearchSettings) -> Plan:
        """Return what the command line asks for."""
        arms = tuple(options.arms or ARMS)
        unknown = [name for name in arms if name not in ARMS]
        if unknown:
            raise ConfigError(
                f"there is no arm {unknown[0]!r}", rule=f"the arms are {', '.join(ARMS)}"
            )
        return cls(
            runs,
            options.seed,
            options.workers,
            settings,
            tuple(options.markets),
            arms,
            options.shared,
            options.judge,
            tuple(options.years) if options.years else None,
        )


@dataclass(frozen=True)
class Task:
    """One search."""

    arm: str
    market: str
    year: int
    seed: int
    plan: Plan


def windows(plan: Plan, market: str) -> list[YearWindow]:
    """Return the years of a market a plan judges."""
    settings = plan.settings
    panel = real_panel(plan.folder, market, judge=plan.judge)
    found = year_windows(panel.sessions, wanted=_wanted(settings), least=LEAST)
    return [w for w in found if plan.years is None or w.year in plan.years]


def _wanted(settings: SearchSettings) -> int:
    return settings.train_sessions + settings.valid_sessions + settings.embargo + 8


def tasks(plan: Plan) -> list[Task]:
    """Return the runs, seed by seed, so that a part of them is a smaller whole."""
    years = [(market, w.year) for market in plan.markets for w in windows(plan, market)]
    arms = [arm for arm in plan.arms if arm != GPLEARN or is_installed()]
    return [
        Task(arm, market, year, plan.seed + number, plan)
        for number in range(plan.runs)
        for market, year in years
        for arm in arms
    ]


def run(task: Task) -> Mined:
    """Mine one market at the end of one year, and judge by the years after."""
    begun, cpu_begun = perf_counter(), process_time()
    whole = real_panel(task.plan.folder, task.market, judge=task.plan.judge)
    when = next(w for w in windows(task.plan, task.market) if w.year == task.year)
    judged = _by_gplearn if task.arm == GPLEARN else _by_search
    accepted, picked, counts = judged(task, whole, when)
    judge = _Judge(whole, when, task.plan.settings.min_assets)
    return Mined(
        arm=task.arm,
        market=task.market,
        year=task.year,
        seed=task.seed,
        accepted={name: judge.yearly(values) for name, values in accepted},
        accepted_blend=judge.blend([values for _, values in accepted]),
        picked={name: judge.yearly(values) for name, values in picked},
        picked_blend=judge.blend([values for _, values in picked]),
        counts=counts,
        seconds=perf_counter() - begun,
        cpu_s=process_time() - cpu_begun,
    )


Named = list[tuple[str, FloatArray]]


def _by_search(task: Task, whole: Panel, when: YearWindow) -> tuple[Named, Named, dict[str, int]]:
    """Return what was accepted and picked, with values from `when.stop` on."""
    arm = ARMS[task.arm]
    panel, _ = window(whole, when.start, when.stop)
    settings = arm.settings(task.plan.settings)
    found = searched(arm.problem(panel), settings, seed=task.seed)
    accepted = [one.expression for one in found.outcome.accepted]
    picked = [
        oriented(survivor.expression, 1 if survivor.t >= 0 else -1)
        for survivor in found.last.survivors[:PICKED]
    ]
    return (
        _valued(accepted, whole, when.stop),
        _valued(picked, whole, when.stop),
        {**found.outcome.counts, "measured": found.last.n_measured},
    )


def _valued(expressions: Sequence[Expression], panel: Panel, first: int) -> Named:
    values = evaluate(expressions, panel, first=first)
    return [(str(x), v) for x, v in zip(expressions, values, strict=True)]


def _by_gplearn(task: Task, whole: Panel, when: YearWindow) -> tuple[Named, Named, dict[str, int]]:
    """Return its components as both: it accepts what it returns."""
    settings = task.plan.settings
    panel, _ = window(whole, when.start, when.stop)
    train = Problem(panel).split(settings).train
    known = panel.rows(0, train.stop)
    label = forward_returns(panel.fields["close"])[: train.stop]
    columns = [whole.assets.index(asset) for asset in panel.assets]
    later = _columns(whole.rows(when.start, whole.n_sessions), columns)
    evaluations = settings.rounds * settings.batch
    mined = mine(known, later, label, train, evaluations=evaluations, seed=task.seed)
    spread = []
    for values in mined.values:
        full = np.full((whole.n_sessions - when.stop, whole.n_assets), np.nan)
        full[:, columns] = values[when.stop - when.start :]
        spread.append(full)
    found = list(zip(mined.programs, spread, strict=True))
    return found, found, {"measured": evaluations}


def _columns(panel: Panel, columns: list[int]) -> Panel:
    return Panel(
        panel.sessions,
        tuple(panel.assets[column] for column in columns),
        {name: np.ascontiguousarray(v[:, columns]) for name, v in panel.fields.items()},
        np.ascontiguousarray(panel.universe[:, columns]),
        panel.origin,
    )


class _Judge:
    """The years after mining: labels and universe from the first row after the search on."""

    def __init__(self, panel: Panel, when: YearWindow, min_assets: int) -> None:
        self._universe = panel.universe[when.stop :]
        label = forward_returns(panel.fields["close"])[when.stop :]
        self._label = np.where(self._universe, label, np.nan)
        self._ages = [slice(a.start - when.stop, a.stop - when.stop) for a in when.ages]
        self._min_assets = min_assets

    def yearly(self, values: FloatArray) -> list[float]:
        """Return the mean RankIC of each year."""
        known = np.where(self._universe, values, np.nan)
        series = rank_ic(known, self._label, min_assets=self._min_assets)
        return [_mean(series[age]) for age in self._ages]

    def blend(self, values: Sequence[FloatArray]) -> list[float]:
        """Return the mean RankIC of each year of the mean of ranks; [] of nothing."""
        if not values:
            return []
        total = sum(centred_ranks(one, self._universe) for one in values)
        return self.yearly(np.asarray(total))


def _mean(series: FloatArray) -> float:
    finite = series[np.isfinite(series)]
    return float(finite.mean()) if len(finite) else np.nan


def bench(console: Console, plan: Plan) -> dict[str, Any]:
    """Run, print and return everything."""
    todo = tasks(plan)
    searches = plan.settings.rounds * plan.settings.batch
    console.print(
        f"{len(todo)} searches of at most {searches} candidates, {plan.settings.train_sessions} + "
        f"{plan.settings.valid_sessions} sessions, "
        + ("judging years too" if plan.judge else f"years up to {_developed(plan)} only")
    )
    done = run_all(run, todo, workers=plan.workers, title="ablation")
    show(console, done, plan.arms, plan.seed)
    for name in plan.arms:
        console.print(f"{name}: {ARMS[name].about}", highlight=False)
    if GPLEARN in plan.arms:
        state = features_text() if is_installed() else "not installed, its row is left out"
        console.print(f"gplearn: {state}", highlight=False)
    return {
        "wall_s": done.wall_s,
        "wanted": done.wanted,
        "judged": plan.judge,
        "judging_runs": sum(plan.judge and _judges(one, plan) for one in done.results),
        "gplearn": is_installed(),
        "baseline": ALL,
        "runs": [plain(asdict(one)) for one in done.results],
    }


def _developed(plan: Plan) -> str:
    return ", ".join(f"{market.upper()} {DEVELOPED[market]:%Y}" for market in plan.markets)


def _judges(one: Mined, plan: Plan) -> bool:
    """Return whether a run was judged by a year no constant was chosen on."""
    last = one.year + max(len(one.picked_blend), len(one.accepted_blend)) - 1
    return plan.judge and last > DEVELOPED[one.market].year
