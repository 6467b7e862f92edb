"""All that a proposer may know; nothing in it comes from a validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from miner.records import Candidate, Survivor, TrialRecord
from signals.expression import Expression


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate a gate has turned away, and why."""

    candidate: Candidate
    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decayed:
    """A factor that lived and died.

    Parameters
    ----------
    expression : Expression
        What it was.
    mechanism : str
        Of its hypothesis.
    why : str
        How it died, for people and models: its RankIC before and after, how long it took.
    """

    expression: Expression
    mechanism: str
    why: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one mechanism's candidates, on train.

    Parameters
    ----------
    measured : int
        Candidates that were given a number.
    survived : int
        Of these, those with |t| above the bar for finalists.
    best : float
        Largest |t|.
    """

    measured: int = 0
    survived: int = 0
    best: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(
            self.measured + other.measured,
            self.survived + other.survived,
            max(self.best, other.best),
        )


def tallied(
    before: Mapping[str, Tally], trials: Iterable[TrialRecord], bar: float
) -> dict[str, Tally]:
    """Return the tallies by mechanism with `trials` added.

    Parameters
    ----------
    before : mapping of str to Tally
        Of earlier trials.
    trials : iterable of TrialRecord
        Only what train said of them is read.
    bar : float
        |t| from which a candidate counts as survived.
    """
    tallies = dict(before)
    for trial in trials:
        if trial.is_measured:
            name, t = trial.detail.get("mechanism", ""), abs(trial.detail["t"])
            tallies[name] = tallies.get(name, Tally()) + Tally(1, int(t >= bar), t)
    return tallies


@dataclass(frozen=True, slots=True)
class Memory:
    """What a proposer is told when it is asked.

    Parameters
    ----------
    round : int
        Number of the round to come, from 1.
    fields : tuple of str
        Fields of the panel.
    survivors : tuple of Survivor
        The population, best first.
    refusals : mapping of str to int
        How many candidates each gate has refused so far.
    refused : tuple of Refused
        What the gates turned away of the answer before, in this round: to be repaired.
    tallies : mapping of str to Tally
        By mechanism, this search and earlier ones.
    decayed : tuple of Decayed
        Factors that were retired, and why.
    tried : frozenset of Expression
        Cores (`miner.originality.core`) of all candidates of this search so far.
    """

    round: int
    fields: tuple[str, ...]
    survivors: tuple[Survivor, ...]
    refusals: Mapping[str, int]
    refused: tuple[Refused, ...] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    decayed: tuple[Decayed, ...] = ()
    tried: frozenset[Expression] = frozenset()
