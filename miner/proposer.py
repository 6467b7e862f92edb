"""Who proposes candidates: the protocol, and the offline proposer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from numpy.random import Generator

from miner.bandit import mechanism_weights, weighted
from miner.causes import MECHANISMS, Mechanism
from miner.hypothesis import (
    description_for,
    expected_direction,
    fits,
    hypothesis_of,
    mechanism_for,
)
from miner.memory import Memory, Refused
from miner.neighbourhood import moved, moves
from miner.originality import core
from miner.records import Candidate, Survivor
from miner.sampling import Vocabulary, one, sample
from miner.simplification import shrinking
from miner.templates import forms, from_form, from_template, single
from miner.trees import Path, shape
from miner.units import RATIO
from miner.variation import FAR, crossed, joined, mutated
from signals.errors import ExpressionError
from signals.expression import Expression


class Proposer(Protocol):
    """Anything that proposes; the gates are the same for all."""

    def propose(self, n: int, memory: Memory, rng: Generator) -> list[Candidate]:
        """Return up to `n` candidates; what they are worth is decided elsewhere."""
        ...


@dataclass(frozen=True)
class Shares:
    """What the candidates of a round are made of, once there are survivors.

    Parameters
    ----------
    fresh : float
        Drawn anew.
    step : float
        Neighbours of good survivors.
    simplification : float
        Shorter neighbours of good survivors.
    mutation, crossover, join : float
        Survivors changed at random, with a subtree of another, and two of them as one.
    """

    fresh: float
    step: float
    simplification: float
    mutation: float
    crossover: float
    join: float


#: While no survivor stands out of what chance gives the best of so many.
SEARCHING = Shares(fresh=0.6, step=0.2, simplification=0.0, mutation=0.1, crossover=0.05, join=0.05)
#: Once one does.
CLIMBING = Shares(fresh=0.3, step=0.3, simplification=0.05, mutation=0.15, crossover=0.1, join=0.1)
#: Steps looked at for one that is new.
MAX_TRIES = 8


@dataclass(frozen=True)
class GrammarProposer:
    """Propose without a model: templates and grammar of a mechanism, then what survived, varied.

    Nothing is kept between calls: the same memory and the same generator give the same proposals.

    Parameters
    ----------
    mechanisms : tuple of Mechanism
        Causes to draw from; each restricts fields and windows.
    searching, climbing : Shares
        What candidates are made of before and after a survivor stands out.
    forms, templates, singles : float
        Shares of the fresh draws that start from a form of their mechanism, fill a template, and
        are one statistic of one series; the others are random trees.
    greed : float
        A place as parent goes to the best survivor with this chance, else to the next, and so on.
    """

    mechanisms: tuple[Mechanism, ...] = MECHANISMS
    searching: Shares = SEARCHING
    climbing: Shares = CLIMBING
    forms: float = 0.1
    templates: float = 0.25
    singles: float = 0.25
    greed: float = 0.15

    def propose(self, n: int, memory: Memory, rng: Generator) -> list[Candidate]:
        """Return `n` scale-free candidates, fewer where variation led nowhere."""
        return _Desk(self, memory, rng).filled(n)


class _Desk:
    """One answer in the making."""

    def __init__(self, proposer: GrammarProposer, memory: Memory, rng: Generator) -> None:
        self._proposer = proposer
        self._memory = memory
        self._rng = rng
        self._words = Vocabulary.of(memory.fields)
        self._mechanisms = {mechanism.name: mechanism for mechanism in proposer.mechanisms}
        self._weights = mechanism_weights(proposer.mechanisms, memory, rng)
        self._known = {core(survivor.expression) for survivor in memory.survivors} | memory.tried
        self._dead = {shape(decayed.expression) for decayed in memory.decayed}
        self._answer: list[Candidate] = []

    def filled(self, n: int) -> list[Candidate]:
        """Return up to `n` candidates: what was refused, repaired, then new ones."""
        for refused in self._memory.refused:
            if len(self._answer) < n // 2:
                self._repair(refused)
        shares = self._shares()
        makers: tuple[tuple[Callable[[], None], float], ...] = (
            (self._fresh, shares.fresh),
            (self._step, shares.step),
            (self._simplify, shares.simplification),
            (self._mutation, shares.mutation),
            (self._crossover, shares.crossover),
            (self._join, shares.join),
        )
        for _ in range(4 * n):
            if len(self._answer) >= n:
                break
            weighted(makers, self._rng)()
        return self._answer

    def _shares(self) -> Shares:
        """Return what to make: only fresh draws without survivors, more of them without promise."""
        survivors = self._memory.survivors
        if not survivors:
            return Shares(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        tried = sum(tally.measured for tally in self._memory.tallies.values())
        by_chance = math.sqrt(2.0 * math.log(2.0 * max(tried, 1)))
        climbing = max(abs(survivor.t) for survivor in survivors) > by_chance
        return self._proposer.climbing if climbing else self._proposer.searching

    def _fresh(self) -> None:
        causes = tuple(zip(self._proposer.mechanisms, self._weights, strict=True))
        cause = weighted(causes, self._rng)
        try:
            self._add(self._drawn(cause), cause.name)
        except ExpressionError:  # a window its operator cannot have
            return

    def _drawn(self, cause: Mechanism) -> Expression:
        """Return an expression from a form of the mechanism, a template, or the grammar."""
        words, kind = self._words.only(cause.fields, cause.windows), self._rng.random()
        known = forms(cause.forms, self._words.names)
        if known and kind < self._proposer.forms:
            drawn = from_form(one(known, self._rng), words, self._rng)
            return mutated(drawn, words, self._rng) if self._rng.random() < 0.5 else drawn
        kind -= self._proposer.forms
        if 0 <= kind < self._proposer.templates:
            return from_template(words, self._rng)
        kind -= self._proposer.templates
        if 0 <= kind < self._proposer.singles:
            return single(words, self._rng)
        return sample(RATIO, int(self._rng.choice((2, 2, 3, 3, 3, 4))), words, self._rng)

    def _step(self) -> None:
        mother = self._parent()
        far = self._rng.random() < FAR
        child = self._moved(mother.expression, moves(mother.expression, self._words, far=far))
        if child is not None:
            self._breed(child, mother)

    def _simplify(self) -> None:
        mother = self._parent()
        child = self._moved(mother.expression, shrinking(mother.expression, self._words))
        if child is not None:
            self._breed(child, mother)

    def _moved(self, start: Expression, around: list[tuple[Path, Expression]]) -> Expression | None:
        """Return what a random one of the steps `around` leads to, if it is new."""
        for _ in range(min(MAX_TRIES, len(around))):
            child = moved(start, *one(around, self._rng))
            if child is not None and core(child) not in self._known:
                return child
        return None

    def _mutation(self) -> None:
        mother = self._parent()
        child = mutated(mother.expression, self._words, self._rng)
        if self._rng.random() < 0.3:
            child = mutated(child, self._words, self._rng)
        self._breed(child, mother)

    def _crossover(self) -> None:
        mother, father = self._parent(), self._parent()
        self._breed(crossed(mother.expression, father.expression, self._rng), mother, father)

    def _join(self) -> None:
        mother, father = self._parent(), self._parent()
        if mother is not father:
            alike = mother.t * father.t > 0
            child = joined(mother.expression, father.expression, self._rng, alike=alike)
            self._breed(child, mother, father)

    def _repair(self, refused: Refused) -> None:
        """Propose what may pass the gate that has turned a candidate away."""
        expression = refused.candidate.expression
        mechanism, parent = refused.candidate.hypothesis.mechanism, str(expression)
        if refused.gate == "complexity":
            shorter = self._moved(expression, shrinking(expression, self._words))
            if shorter is not None:
                self._add(shorter, mechanism, parent)
        elif refused.gate == "originality":
            further = mutated(expression, self._words, self._rng)
            self._add(mutated(further, self._words, self._rng), mechanism, parent)

    def _parent(self) -> Survivor:
        """Return a survivor; they are ordered, and a better one is likelier."""
        place = int(self._rng.geometric(self._proposer.greed)) - 1
        return self._memory.survivors[place % len(self._memory.survivors)]

    def _breed(self, child: Expression, mother: Survivor, *others: Survivor) -> None:
        """Add a child under its mother's mechanism."""
        parents = (str(parent.expression) for parent in (mother, *others))
        self._add(child, mother.candidate.hypothesis.mechanism, *parents)

    def _add(self, expression: Expression, mechanism: str, *parents: str) -> None:
        """Add a candidate that is neither known nor a factor that has decayed.

        It rests on `mechanism` where it still fits that, else on the one it can be read as, and
        expects the sign that the literature does.
        """
        stripped = core(expression)
        if stripped in self._known or (self._dead and shape(expression) in self._dead):
            return
        self._known.add(stripped)
        meant = self._mechanisms.get(mechanism)
        if meant is None or not fits(meant, expression):
            meant = mechanism_for(expression, self._proposer.mechanisms)
        direction = expected_direction(meant, expression)
        hypothesis = hypothesis_of(meant, expression, direction=direction)
        described = description_for(hypothesis, expression)
        self._answer.append(Candidate(hypothesis, described, expression, parents))
