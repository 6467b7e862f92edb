"""What a search hands out: candidates, survivors, trials, and the state after a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miner.alignment import Alignment
from miner.hypothesis import Hypothesis
from signals.expression import Expression
from signals.grammar import parse


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is proposed: a hypothesis, what the expression measures, and the expression.

    Parameters
    ----------
    hypothesis : Hypothesis
        Why it should rank assets.
    description : str
        What it measures, in words.
    expression : Expression
        In canonical form.
    parents : tuple of str
        Text of the expressions it was bred from.
    judged : Alignment, optional
        What a model that was asked said of it; the rules of `miner.alignment` are heard too.
    origin : str
        Who proposed it.
    """

    hypothesis: Hypothesis
    description: str
    expression: Expression
    parents: tuple[str, ...] = ()
    judged: Alignment | None = None
    origin: str = "offline"


_NUMBERS = (
    "fitness", "ic", "t", "icir", "stability", "turnover", "coverage", "regularisation",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Survivor:
    """A candidate that lives on in the population, and what *train* said of it.

    Parameters
    ----------
    candidate : Candidate
        As it was proposed.
    fitness : float
        |t| less the weighted regulariser; higher is better.
    ic, t : float
        Mean incremental RankIC on train and its HAC t-statistic.
    icir, stability, turnover, coverage : float
        See `miner.fitness.Measured`.
    regularisation : float
        R_g.
    similarity : int
        S, nodes it has in common with a reference.
    alignment : Alignment
        C with its parts and reasons, the measured sign known.
    """

    candidate: Candidate
    fitness: float
    ic: float
    t: float
    icir: float
    stability: float
    turnover: float
    coverage: float
    regularisation: float
    similarity: int
    alignment: Alignment

    @property
    def expression(self) -> Expression:
        """Of the candidate."""
        return self.candidate.expression

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        judged = self.candidate.judged
        return {
            "expression": str(self.expression),
            "hypothesis": self.candidate.hypothesis.to_json(),
            "description": self.candidate.description,
            "parents": list(self.candidate.parents),
            "judged": None if judged is None else judged.to_json(),
            "origin": self.candidate.origin,
            "similarity": self.similarity,
            "alignment": self.alignment.to_json(),
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Survivor:
        """Return what `to_json` gave."""
        candidate = Candidate(
            hypothesis=Hypothesis.from_json(data["hypothesis"]),
            description=data["description"],
            expression=parse(data["expression"]),
            parents=tuple(data["parents"]),
            judged=None if data["judged"] is None else Alignment.from_json(data["judged"]),
            origin=data["origin"],
        )
        return cls(
            candidate,
            similarity=int(data["similarity"]),
            alignment=Alignment.from_json(data["alignment"]),
            **{name: float(data[name]) for name in _NUMBERS},
        )


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One candidate and what became of it.

    Parameters
    ----------
    number : int
        From 1, in the order of proposal.
    expression : str
        Its text.
    decision : str
        `measured`, the gate that refused it (`units`, `complexity`, `originality`, `coverage`,
        `turnover`, `ties`), or after `conclude` for a finalist `rescaled`, `weak`, `correlated`,
        `validation`, `surplus`, `accepted`.
    detail : mapping
        Numbers and the reason.
    """

    number: int
    expression: str
    decision: str
    detail: Mapping[str, Any]

    @property
    def is_measured(self) -> bool:
        """Whether it was given a number on train, and so counts as a trial of the validation."""
        return "t" in self.detail

    def to_json(self) -> list[Any]:
        """Return plain values."""
        return [self.number, self.expression, self.decision, dict(self.detail)]


@dataclass(frozen=True, slots=True)
class Round:
    """The state of a search after a round: all that is needed to go on.

    Parameters
    ----------
    number : int
        Rounds done; 0 is the state before the first.
    seed : int
        Of the search. The generator of round n is `default_rng([seed, n])`, so it needs no state.
    survivors : tuple of Survivor
        The population, best first.
    trials : tuple of TrialRecord
        Every distinct candidate so far.
    counts : mapping of str to int
        Candidates proposed, refused per gate, and measured.
    """

    number: int
    seed: int
    survivors: tuple[Survivor, ...]
    trials: tuple[TrialRecord, ...]
    counts: Mapping[str, int]

    @property
    def best(self) -> Survivor | None:
        """The fittest survivor."""
        return self.survivors[0] if self.survivors else None

    @property
    def n_measured(self) -> int:
        """Candidates that were measured on train."""
        return sum(trial.is_measured for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "number": self.number,
            "seed": self.seed,
            "survivors": [survivor.to_json() for survivor in self.survivors],
            "trials": [trial.to_json() for trial in self.trials],
            "counts": dict(self.counts),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Round:
        """Return what `to_json` gave."""
        return cls(
            number=data["number"],
            seed=data["seed"],
            survivors=tuple(Survivor.from_json(survivor) for survivor in data["survivors"]),
            trials=tuple(TrialRecord(*trial) for trial in data["trials"]),
            counts=dict(data["counts"]),
        )
