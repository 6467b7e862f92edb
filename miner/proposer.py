"""Who proposes candidates: the protocol, and the offline proposer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from numpy.random import Generator

from miner.hypothesis import MECHANISMS, Mechanism, hypothesis_for
from miner.memory import Memory
from miner.records import Candidate, Survivor
from miner.sampling import Vocabulary, one, sample
from miner.units import RATIO
from miner.variation import crossed, mutated
from signals.expression import Expression


class Proposer(Protocol):
    """Anything that proposes; the gates are the same for all."""

    def propose(self, n: int, memory: Memory, rng: Generator) -> list[Candidate]:
        """Return up to `n` candidates; what they are worth is decided elsewhere."""
        ...


@dataclass(frozen=True)
class GrammarProposer:
    """Propose without a model: a mechanism's grammar, then variation of what survived.

    Parameters
    ----------
    mechanisms : tuple of Mechanism
        Causes to draw from; each restricts fields and windows.
    fresh : float
        Share of candidates drawn anew once there are survivors; the rest are offspring.
    crossover : float
        Share of the offspring that have two parents.
    tournament : int
        Survivors drawn for a place as parent; the best of them gets it.
    """

    mechanisms: tuple[Mechanism, ...] = MECHANISMS
    fresh: float = 0.3
    crossover: float = 0.3
    tournament: int = 4

    def propose(self, n: int, memory: Memory, rng: Generator) -> list[Candidate]:
        """Return `n` scale-free candidates, fewer where variation led nowhere."""
        words = Vocabulary.of(memory.fields)
        proposed = []
        for _ in range(n):
            fresh = not memory.survivors or rng.random() < self.fresh
            candidate = self._fresh(words, rng) if fresh else self._offspring(words, memory, rng)
            if candidate is not None:
                proposed.append(candidate)
        return proposed

    def _fresh(self, words: Vocabulary, rng: Generator) -> Candidate:
        cause = one(self.mechanisms, rng)
        depth = int(rng.choice((2, 2, 3, 3, 3, 4)))
        expression = sample(RATIO, depth, words.only(cause.fields, cause.windows), rng)
        return self._candidate(expression, ())

    def _offspring(self, words: Vocabulary, memory: Memory, rng: Generator) -> Candidate | None:
        mother = self._parent(memory, rng)
        parents: tuple[str, ...] = (str(mother.expression),)
        if rng.random() < self.crossover:
            father = self._parent(memory, rng)
            parents = (*parents, str(father.expression))
            child = crossed(mother.expression, father.expression, rng)
        else:
            child = mutated(mother.expression, words, rng)
            if rng.random() < 0.3:
                child = mutated(child, words, rng)
        if child == mother.expression:
            return None
        return self._candidate(child, parents)

    def _parent(self, memory: Memory, rng: Generator) -> Survivor:
        """Return the best of a few survivors; they are ordered, so the lowest place wins."""
        places = rng.integers(len(memory.survivors), size=self.tournament)
        return memory.survivors[int(places.min())]

    def _candidate(self, expression: Expression, parents: tuple[str, ...]) -> Candidate:
        hypothesis = hypothesis_for(expression, mechanisms=self.mechanisms)
        return Candidate(hypothesis, hypothesis.specification, expression, parents)
