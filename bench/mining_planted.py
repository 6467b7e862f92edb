"""Searches on markets with one planted alpha: how often it is found, by its strength.

The formulas are `bench.planted.FORMULAS`, one per seed in their order; the sign is drawn. Found
means: an accepted factor whose mean rank correlation with the truth is at least 0.7 in absolute
value, over the whole panel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.mining_markets import simulated
from bench.mining_null import seeds
from bench.mining_pool import Runs, run_all
from bench.mining_search import Searched, correlations, plain, searched, zoos
from bench.mining_statistics import Share, median, share, text
from bench.planted import FORMULAS
from daemon.simulation import PlantedAlpha
from miner.problem import Problem, SearchSettings
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.grammar import parse
from signals.ic import rank_ic
from signals.labels import forward_returns
from signals.panel import FloatArray

#: |correlation| with the truth from which a factor is the planted one, and below which it is noise.
SAME, UNLIKE = 0.7, 0.3
#: Share of runs that must find an alpha of RankIC 0.03.
BAR = 0.8
N_ASSETS, N_SESSIONS = 300, 750


@dataclass(frozen=True)
class Task:
    """One market with an alpha in it."""

    seed: int
    formula: str
    strength: float
    settings: SearchSettings


@dataclass(frozen=True)
class Hunt:
    """What a search made of it.

    Parameters
    ----------
    formula : str
        The truth, without its sign.
    strength, realised : float
        RankIC that was planted, and the mean RankIC the truth had over the panel.
    found : bool
        Whether an accepted factor is the truth.
    accepted : dict of str to float
        Accepted factors with their correlation to the truth.
    false : int
        Accepted factors unlike the truth.
    best : float
        Largest |correlation| with the truth among the last survivors.
    finalist : float
        The same among the finalists.
    failure : str
        "" where found; `search` where no finalist was the truth; else what refused those that were.
    reason : str
        Why the first of those was refused.
    """

    seed: int
    formula: str
    sign: int
    strength: float
    realised: float
    found: bool
    accepted: dict[str, float]
    false: int
    best: float
    finalist: float
    measured: int
    failure: str
    reason: str
    seconds: float
    cpu_s: float


def tasks(runs: int, seed: int, strengths: Sequence[float], settings: SearchSettings) -> list[Task]:
    """Return the runs; each seed has one formula, at every strength."""
    return [
        Task(seed + number, FORMULAS[number % len(FORMULAS)], strength, settings)
        for number in range(runs)
        for strength in strengths
    ]


def run(task: Task) -> Hunt:
    """Plant one alpha and search for it."""
    begun, cpu_begun = perf_counter(), process_time()
    sign = 1 if np.random.default_rng([task.seed, 41]).random() < 0.5 else -1
    oriented = task.formula if sign > 0 else f"-1 * ({task.formula})"
    alpha = PlantedAlpha("planted", oriented, ((0, task.strength),))
    panel = simulated(task.seed, n_assets=N_ASSETS, n_sessions=N_SESSIONS, alphas=[alpha])
    problem = Problem(panel, references=zoos())
    found = searched(problem, task.settings, seed=task.seed)
    truth = evaluate([parse(oriented)], panel)[0]
    survivors = [survivor.expression for survivor in found.last.survivors]
    likeness = dict(zip(survivors, correlations(survivors, truth, panel), strict=True))
    accepted = [one.expression for one in found.outcome.accepted]
    kept = correlations(accepted, truth, panel)
    finalists = survivors[: task.settings.finalists]
    hit = any(abs(r) >= SAME for r in kept)
    failure, reason = ("", "") if hit else _failure(found, finalists, likeness)
    return Hunt(
        seed=task.seed,
        formula=task.formula,
        sign=sign,
        strength=task.strength,
        realised=realised(truth, panel.fields["close"]),
        found=hit,
        accepted={str(x): r for x, r in zip(accepted, kept, strict=True)},
        false=sum(abs(r) < UNLIKE for r in kept),
        best=max((abs(r) for r in likeness.values()), default=0.0),
        finalist=max((abs(likeness[x]) for x in finalists), default=0.0),
        measured=found.last.n_measured,
        failure=failure,
        reason=reason,
        seconds=perf_counter() - begun,
        cpu_s=process_time() - cpu_begun,
    )


def realised(truth: FloatArray, close: FloatArray) -> float:
    """Return the mean RankIC of the truth over the panel."""
    return float(np.nanmean(rank_ic(truth, forward_returns(close))))


def _failure(
    found: Searched, finalists: Sequence[Expression], likeness: dict[Expression, float]
) -> tuple[str, str]:
    """Return whether search or gate failed, and the reason the gate gave."""
    refused = [found.decisions.get(str(x)) for x in finalists if abs(likeness[x]) >= SAME]
    records = [record for record in refused if record is not None]
    if not records:
        return "search", "no finalist is the truth"
    last = max(records, key=lambda record: "p_value" in record.detail)
    return last.decision, str(last.detail.get("reason", ""))


def bench(
    console: Console,
    runs: int,
    seed: int,
    workers: int,
    settings: SearchSettings,
    strengths: Sequence[float],
) -> dict[str, Any]:
    """Run, print and return everything."""
    done = run_all(run, tasks(runs, seed, strengths, settings), workers=workers, title="planted")
    show(console, done, strengths)
    return {
        "wall_s": done.wall_s,
        "wanted": done.wanted,
        "runs": [plain(asdict(one)) for one in done.results],
        "found": {
            str(strength): plain(asdict(_found(part)))
            for strength, part in _by_strength(done.results, strengths)
        },
    }


def show(console: Console, done: Runs[Hunt], strengths: Sequence[float]) -> None:
    """Print the curve, and where the search or the gate failed."""
    curve = Table(title=f"One planted alpha, {N_ASSETS} × {N_SESSIONS}: {done.heading}")
    for title in ("RankIC", "realised", "found, 95 %", "0 % to 100 %"):
        curve.add_column(title, justify="left" if "to" in title else "right")
    about = Table(title="and what else came of it")
    for title in (
        "RankIC", "best survivor", "best finalist", "failed in search", "failed at the gate",
        "accepted", "of these noise", "measured", "s per run", "CPU s",
    ):  # fmt: skip
        about.add_column(title, justify="right")
    for strength, part in _by_strength(done.results, strengths):
        found = _found(part)
        curve.add_row(f"{strength:g}", _realised(part), str(found), _bar(found))
        gate = Counter(one.failure for one in part if one.failure not in {"", "search"})
        about.add_row(
            f"{strength:g}",
            text(median([one.best for one in part]), 2),
            text(median([one.finalist for one in part]), 2),
            str(sum(one.failure == "search" for one in part)),
            ", ".join(f"{count} {name}" for name, count in gate.most_common()) or "0",
            str(sum(len(one.accepted) for one in part)),
            str(sum(one.false for one in part)),
            text(median([float(one.measured) for one in part]), 0),
            text(median([one.seconds for one in part]), 1),
            text(median([one.cpu_s for one in part]), 1),
        )
    console.print(curve)
    console.print(about)
    console.print(
        "realised: mean and standard error over the runs; best survivor, best finalist "
        "(|correlation| with the truth), measured and seconds are medians; noise: accepted with "
        f"|correlation| < {UNLIKE:g}; {seeds(done.results)}"
    )
    for strength, part in _by_strength(done.results, strengths):
        if strength == 0.03:
            verdict = "met" if _found(part).value >= BAR else "missed"
            console.print(f"bar: 0.03 found in {100 * BAR:.0f} % of the runs or more: {verdict}")
    for one in done.results:
        if not one.found:
            console.print(f"  {one.strength:g} {one.formula}: {one.failure}: {one.reason}")


def _realised(part: Sequence[Hunt]) -> str:
    """Return the mean RankIC of the truth with its standard error."""
    truth = [one.realised for one in part]
    if len(truth) < 2:
        return "".join(f"{value:.4f}" for value in truth) or "-"
    return f"{np.mean(truth):.4f} ± {np.std(truth, ddof=1) / len(truth) ** 0.5:.4f}"


def _by_strength(
    results: Sequence[Hunt], strengths: Sequence[float]
) -> list[tuple[float, list[Hunt]]]:
    return [(s, [one for one in results if one.strength == s]) for s in strengths]


def _found(part: Sequence[Hunt]) -> Share:
    return share(sum(one.found for one in part), len(part))


def _bar(found: Share) -> str:
    """Return the share as a bar of 20 cells, its interval in lighter ones."""
    if not found.n:
        return ""
    low, at, high = (round(20 * value) for value in (found.low, found.value, found.high))
    return "█" * low + "▓" * (at - low) + "▒" * (high - at) + "·" * (20 - high)
