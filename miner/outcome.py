"""What a search came to: the factors accepted, and what became of every candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miner.complexity import Regularisation
from miner.hypothesis import Hypothesis
from miner.records import TrialRecord
from signals.expression import Expression
from signals.ic import MeanEstimate


@dataclass(frozen=True, slots=True)
class Accepted:
    """A factor that has passed every gate.

    Parameters
    ----------
    expression : Expression
        Oriented: a high value goes with a high label.
    hypothesis : Hypothesis
        With the measured direction of what was proposed.
    description : str
        What it measures, in words.
    train, valid : MeanEstimate
        Of the RankIC.
    added_train, added_valid : MeanEstimate
        Of the RankIC against what the book leaves of the label; `added_valid` is what was tested.
    p_value : float
        One-sided, of `added_valid`, corrected for all that were heard on this validation.
    p_single : float
        As if it had been the only one.
    n_heard : int
        Finalists heard on any part of this validation, by this search and earlier ones.
    n_effective : float
        Independent ones that would be as lucky.
    n_trials : int
        Candidates measured on train, by this search and earlier ones; for the record.
    regularisation : Regularisation
        R_g and its parts.
    turnover, stability, icir : float
        On train; see `miner.fitness.Measured`.
    closest, correlation : str, float
        The factor most like it of the book, the recently retired and those accepted before it, ""
        of none, and their mean rank correlation on train.
    parents : tuple of str
        Expressions it was bred from.
    origin : str
        Who proposed it.
    """

    expression: Expression
    hypothesis: Hypothesis
    description: str
    train: MeanEstimate
    valid: MeanEstimate
    added_train: MeanEstimate
    added_valid: MeanEstimate
    p_value: float
    p_single: float
    n_heard: int
    n_effective: float
    n_trials: int
    regularisation: Regularisation
    turnover: float
    stability: float
    icir: float
    closest: str
    correlation: float
    parents: tuple[str, ...]
    origin: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        estimates = ("train", "valid", "added_train", "added_valid")
        return {
            "expression": str(self.expression),
            "hypothesis": self.hypothesis.to_json(),
            "description": self.description,
            **{name: getattr(self, name).to_json() for name in estimates},
            "p_value": self.p_value,
            "p_single": self.p_single,
            "n_heard": self.n_heard,
            "n_effective": self.n_effective,
            "n_trials": self.n_trials,
            "regularisation": self.regularisation.total,
            "parts": self.regularisation.to_json(),
            "turnover": self.turnover,
            "stability": self.stability,
            "icir": self.icir,
            "closest": self.closest,
            "correlation": self.correlation,
            "parents": list(self.parents),
            "origin": self.origin,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search came to.

    Parameters
    ----------
    accepted : tuple of Accepted
        In the order of fitness on train.
    trials : tuple of TrialRecord
        All of the search, with what was decided about the finalists: `rescaled`, `correlated` and
        `weak` on train, `validation`, `surplus` and `accepted` after they were heard. For the
        ledger only.
    counts : mapping of str to int
        Candidates per gate.
    n_trials : int
        Candidates measured on train, by this search and earlier ones.
    n_heard : int
        Finalists the p-values are corrected for.
    n_effective : float
        Independent ones that would be as lucky.
    """

    accepted: tuple[Accepted, ...]
    trials: tuple[TrialRecord, ...]
    counts: Mapping[str, int]
    n_trials: int
    n_heard: int
    n_effective: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the trials."""
        return {
            "accepted": [accepted.to_json() for accepted in self.accepted],
            "counts": dict(self.counts),
            "n_trials": self.n_trials,
            "n_heard": self.n_heard,
            "n_effective": self.n_effective,
        }
