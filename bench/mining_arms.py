"""The regularisers one by one: what a search is without each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bench.mining_search import zoos
from miner.complexity import ComplexityLimits
from miner.problem import Problem, SearchSettings
from signals.panel import Panel

ALL = "all"
GPLEARN = "gplearn"
#: What a candidate may have without the complexity gate; the lookback stays, for its data.
WIDE = {"length": 60, "parameters": 20, "features": 20, "depth": 12}

Change = Callable[[SearchSettings], SearchSettings]


@dataclass(frozen=True)
class Arm:
    """One way to search.

    Parameters
    ----------
    name : str
        As printed.
    about : str
        What is switched off.
    changes : tuple of callable
        What is done to the settings.
    references : bool
        Whether the zoos are known to the search.
    """

    name: str
    about: str
    changes: tuple[Change, ...] = ()
    references: bool = True

    def settings(self, settings: SearchSettings) -> SearchSettings:
        """Return the settings of this arm."""
        for change in self.changes:
            settings = change(settings)
        return settings

    def problem(self, panel: Panel) -> Problem:
        """Return the problem of this arm: an empty book."""
        return Problem(panel, references=zoos() if self.references else {})


def _unoriginal(settings: SearchSettings) -> SearchSettings:
    return replace(
        settings,
        originality=replace(settings.originality, nodes=10_000, share=1.0),
        weights=replace(settings.weights, similarity=0.0),
    )


def _unbounded(settings: SearchSettings) -> SearchSettings:
    limits: ComplexityLimits = replace(settings.complexity, **WIDE)
    weights = replace(settings.weights, length=0.0, parameters=0.0, features=0.0)
    return replace(settings, complexity=limits, weights=weights)


def _unaligned(settings: SearchSettings) -> SearchSettings:
    weights = replace(settings.weights, alignment=0.0)
    return replace(settings, min_alignment=0.0, weights=weights)


_ARMS = (
    Arm(ALL, "every regulariser, zoos as references"),
    Arm(
        "no originality",
        "no references, no limit on common subtrees, S not in R_g; repeats of this search and "
        "survivors alike in value are refused as ever",
        (_unoriginal,),
        references=False,
    ),
    Arm(
        "no complexity",
        "length 60, parameters 20, features 20, depth 12; SL, PC and |F| not in R_g",
        (_unbounded,),
    ),
    Arm(
        "no alignment",
        "no least C, C not in R_g; the offline proposer writes its hypotheses for its expressions, "
        "so C is mostly near 1 and this arm may hardly differ",
        (_unaligned,),
    ),
    Arm("none", "none of the three", (_unoriginal, _unbounded, _unaligned), references=False),
    Arm(GPLEARN, "a SymbolicTransformer with as many evaluations (see bench.mining_gplearn)"),
)
ARMS: Mapping[str, Arm] = {arm.name: arm for arm in _ARMS}


@dataclass(frozen=True)
class Mined:
    """What came of it: yearly RankICs from the first year after mining on.

    Parameters
    ----------
    accepted : dict of str to list of float
        By expression.
    accepted_blend, picked_blend : list of float
        Of the mean of ranks; empty where there is none.
    picked : dict of str to list of float
        By expression.
    counts : dict of str to int
        Candidates proposed, refused per gate and measured; `measured` only of gplearn.
    """

    arm: str
    market: str
    year: int
    seed: int
    accepted: dict[str, list[float]]
    accepted_blend: list[float]
    picked: dict[str, list[float]]
    picked_blend: list[float]
    counts: dict[str, int]
    seconds: float
    cpu_s: float

    @property
    def cluster(self) -> tuple[str, int]:
        """Runs of one cluster were judged by the same returns."""
        return self.market, self.year
