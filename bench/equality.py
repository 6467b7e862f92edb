"""Whether the engines compute the same, on a panel without gaps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.processes import Child, ChildError
from bench.rounds import Plan
from bench.workload import TASKS, parsed
from signals.expression import lookback
from signals.panel import FloatArray

#: Relative difference from which on a cell counts as off.
OFF = 1e-3
#: Values smaller than this share of the expression's median size are compared as if they were it.
FLOOR = 1e-3
#: Share of cells off up to which an expression counts as equal.
ALLOWED = 1e-3

#: Where engines mean something else, by engine: what is known, and which expressions it shows in.
KNOWN = {
    "ours": "float32: a difference of near-equal numbers has fewer digits (e03, e10), and what "
    "ranks such differences follows (e25)",
    "kunquant": "float32, as ours; ranks compare every bit, ours 20 (e19, e25, e29)",
    "bottleneck": "ranks compare every bit, ours 20 (e19, e25, e29); the newest of equal extremes "
    "counts, with ours the oldest (e21)",
    "polars": "ranks compare every bit, ours 20 (e19, e25, e29)",
    "pandas": "ranks compare every bit, ours 20 (e19, e25, e29)",
    "gplearn": "a division by less than 0.001 gives 1",
    "qlib": "ranks compare every bit, ours 20 (e19); a correlation is missing where a deviation "
    "is below 2e-5 (e15); results are rounded to float32",
}


@dataclass(frozen=True)
class Agreement:
    """How one engine's values compare with ours in float64.

    Parameters
    ----------
    off : dict of str to float
        Share of cells that are off or missing on one side only, by expression, after the lookback.
    """

    off: dict[str, float]

    @property
    def equal(self) -> int:
        """Expressions with at most 0.1 % of cells off."""
        return sum(share <= ALLOWED for share in self.off.values())

    @property
    def worst(self) -> list[tuple[str, float]]:
        """The others, worst first."""
        others = [(name, share) for name, share in self.off.items() if share > ALLOWED]
        return sorted(others, key=lambda pair: -pair[1])


def share_off(values: FloatArray, reference: FloatArray, skip: int) -> float:
    """Return the share of cells off, from row `skip` on."""
    a = values[skip:].astype(np.float64)
    b = reference[skip:].astype(np.float64)
    a = np.where(np.isfinite(a), a, np.nan)
    size = np.abs(b)
    floor = FLOOR * float(np.nanmedian(size)) if np.isfinite(size).any() else 0.0
    off = np.abs(a - b) > OFF * np.maximum(size, floor)
    return float(np.mean(off | (np.isnan(a) != np.isnan(b))))


def compare(keys: Sequence[str], plan: Plan) -> tuple[dict[str, Agreement], dict[str, str]]:
    """Compare every engine with our float64 values on the panel `clean`."""
    failed: dict[str, str] = {}
    found: dict[str, Agreement] = {}
    trees, _ = parsed()
    reference = _computed("ours64", plan)
    for key in keys:
        if key == "ours64":
            continue
        plan.say(f"comparing values: {key}")
        try:
            values = _computed(key, plan)
        except ChildError as error:
            failed[key] = str(error)
            continue
        found[key] = Agreement(
            {
                name: share_off(np.load(path), np.load(reference[name]), lookback(trees[name]))
                for name, path in values.items()
                if name in reference
            }
        )
        shutil.rmtree(plan.folder / f"values-{key}", ignore_errors=True)
    return found, failed


def _computed(key: str, plan: Plan) -> Mapping[str, Path]:
    child: Child = plan.child(key, plan.threads)
    try:
        refused = child.ask("load", panel="clean")["refused"]
        names = [task.name for task in TASKS if task.name not in refused]
        child.ask("values", names=names, into=f"values-{key}")
    finally:
        child.close()
    return {name: plan.folder / f"values-{key}" / f"{name}.npy" for name in names}
