"""One search from its problem to its outcome, and what validation saw of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.conclusion import Outcome, conclude
from miner.problem import Problem, SearchSettings
from miner.proposer import GrammarProposer, Proposer
from miner.ranks import centred_ranks, ranked_correlation
from miner.records import Round, TrialRecord
from miner.search import search
from miner.zoo import ZOOS, zoo
from signals.evaluate import Evaluator, evaluate
from signals.expression import Expression
from signals.panel import FloatArray, Panel

#: What the record of a finalist has once validation was looked at.
HEARD = "p_value"


@dataclass(frozen=True, eq=False)
class Searched:
    """A search that has ended.

    Parameters
    ----------
    last : Round
        Its state after the last round.
    outcome : Outcome
        What came of the finalists.
    search_s, conclude_s : float
        Seconds of the two.
    """

    last: Round
    outcome: Outcome
    search_s: float
    conclude_s: float

    @property
    def heard(self) -> list[TrialRecord]:
        """Finalists that met validation."""
        return [trial for trial in self.outcome.trials if HEARD in trial.detail]

    @property
    def smallest_p(self) -> float:
        """Smallest corrected p-value; 1 where validation heard nobody."""
        values = [trial.detail[HEARD] for trial in self.heard]
        return min((float(p) for p in values if p is not None), default=1.0)

    @property
    def decisions(self) -> dict[str, TrialRecord]:
        """What became of each expression."""
        return {trial.expression: trial for trial in self.outcome.trials}


def offline_proposer() -> Proposer:
    """Return the proposer that needs no model."""
    return GrammarProposer()


def searched(
    problem: Problem, settings: SearchSettings, *, seed: int, proposer: Proposer | None = None
) -> Searched:
    """Search to the end of the budget, and conclude."""
    begun = time.perf_counter()
    last = Round(number=0, seed=seed, survivors=(), trials=(), counts={})
    for last in search(problem, proposer or offline_proposer(), settings, seed=seed):  # noqa: B007
        pass
    halfway = time.perf_counter()
    outcome = conclude(problem, last, settings)
    return Searched(last, outcome, halfway - begun, time.perf_counter() - halfway)


def zoos() -> dict[str, Expression]:
    """Return every formula of the packaged zoos by its name: what a find must not repeat."""
    return {f"{name}/{entry.name}": entry.expression for name in ZOOS for entry in zoo(name)}


def correlations(expressions: Sequence[Expression], truth: FloatArray, panel: Panel) -> list[float]:
    """Return the mean cross-sectional rank correlation of each with `truth`, over the panel."""
    known = centred_ranks(truth, panel.universe)

    def alike(_: Expression, values: FloatArray) -> float:
        return ranked_correlation(centred_ranks(values, panel.universe), known)

    return Evaluator(panel, dtype=np.float64).map(alike, expressions)


def persistence(expression: Expression, panel: Panel, sessions: int) -> float:
    """Return the mean rank correlation of a factor with itself `sessions` rows earlier."""
    ranks = centred_ranks(evaluate([expression], panel)[0], panel.universe)
    return ranked_correlation(ranks[sessions:], ranks[:-sessions])


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NaN becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
