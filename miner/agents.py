"""The proposer that asks a language model: idea agent, factor agent, eval agent.

An idea is a hypothesis, its factors are two or three expressions, and a judgement says how well the
three statements agree. What a gate refuses goes back to the model with the gate and its reason, a
bounded number of times. The rest of each batch, and all of it once the model fails, comes from an
offline proposer.

The model is behind a protocol: nothing here knows of a network. Its text is parsed as an expression
or kept as bounded plain text (`miner.answers`), and nothing else is ever done with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from numpy.random import Generator

from miner.answers import Factor, Factors, Idea, Judgement, plain
from miner.complexity import ComplexityLimits
from miner.hypothesis import Hypothesis
from miner.interpretation import ORIGIN, Failed, alignment_of, hypothesis_of, readable
from miner.memory import Memory
from miner.prompts import factors_prompt, idea_prompt, judge_prompt, repair_prompt, system_prompt
from miner.proposer import Proposer
from miner.records import Candidate
from signals.errors import ModelError


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked.

    Parameters
    ----------
    system : str
        What holds for every question: the task and the language.
    text : str
        The question itself.
    """

    system: str
    text: str


class Model(Protocol):
    """A language model; every method raises a ModelError where it is of no help."""

    def idea(self, question: Question) -> Idea:
        """Return a hypothesis."""
        ...

    def factors(self, question: Question) -> Factors:
        """Return factors that measure a hypothesis."""
        ...

    def repair(self, question: Question) -> Factors:
        """Return better versions of refused factors."""
        ...

    def judge(self, question: Question) -> Judgement:
        """Return how well factors agree with their descriptions and their hypothesis."""
        ...


class Turn(StrEnum):
    """What a failure of the model leads to."""

    GO_ON = "the model is asked on"
    REST = "the rest of this round is offline"
    END = "the rest of the run is offline"


@dataclass(frozen=True, slots=True)
class Event:
    """A failure of the model, and what follows from it.

    Parameters
    ----------
    round : int
        Of the search.
    turn : Turn
        What follows.
    message : str
        What happened; plain text of bounded length.
    """

    round: int
    turn: Turn
    message: str


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How much a model is asked.

    Parameters
    ----------
    ideas_per_round, factors_per_idea : int
        Hypotheses of one round, and factors of one hypothesis.
    max_repairs : int
        Times the refused factors of one hypothesis go back to the model.
    max_failures : int
        Failures in a row after which the rest of the run is offline.
    limits : ComplexityLimits
        What the gates let through, for the prompt.
    """

    ideas_per_round: int = 2
    factors_per_idea: int = 3
    max_repairs: int = 2
    max_failures: int = 3
    limits: ComplexityLimits = field(default_factory=ComplexityLimits)


def ignore(_: Event) -> None:
    """Do nothing about an event."""


@dataclass
class AgentsProposer:
    """Propose what a model thinks of first, and the rest offline.

    Parameters
    ----------
    model : Model
        Asked at the beginning of each round, and again with what the gates have refused.
    offline : Proposer
        Fills every batch.
    settings : AgentSettings
        How much is asked.
    on_event : callable
        Told of every failure.
    """

    model: Model
    offline: Proposer
    settings: AgentSettings = field(default_factory=AgentSettings)
    on_event: Callable[[Event], None] = ignore
    #: What has gone wrong so far.
    events: list[Event] = field(default_factory=list, init=False)
    #: Candidates the model has proposed so far.
    n_proposed: int = field(default=0, init=False)
    _round: int = field(default=0, init=False)
    _turn: Turn = field(default=Turn.GO_ON, init=False)
    _failures: int = field(default=0, init=False)
    _repairs: Counter[Hypothesis] = field(default_factory=Counter, init=False)
    _feedback: str = field(default="", init=False)

    @property
    def ended(self) -> str | None:
        """Why the model is asked no more in this run; None while it is."""
        return self.events[-1].message if self._turn is Turn.END else None

    def propose(self, n: int, memory: Memory, rng: Generator) -> list[Candidate]:
        """Return up to `n` candidates, those of the model first."""
        asked = self._asked(memory)[:n]
        self.n_proposed += len(asked)
        if len(asked) == n:
            return asked
        return [*asked, *self.offline.propose(n - len(asked), memory, rng)]

    def _asked(self, memory: Memory) -> list[Candidate]:
        fresh = memory.round != self._round
        if fresh and self._turn is not Turn.END:
            self._round, self._turn = memory.round, Turn.GO_ON
            self._repairs.clear()
        if self._turn is not Turn.GO_ON:
            return []
        return self._ideas(memory) if fresh else self._second_versions(memory)

    def _ideas(self, memory: Memory) -> list[Candidate]:
        """Return the candidates of new hypotheses."""
        candidates: list[Candidate] = []
        for _ in range(self.settings.ideas_per_round):
            try:
                candidates += self._idea(memory)
            except ModelError as error:
                self._note(error)
            if self._turn is not Turn.GO_ON:
                break
        return candidates

    def _idea(self, memory: Memory) -> list[Candidate]:
        idea = self.model.idea(self._question(idea_prompt(memory, self._feedback), memory))
        hypothesis = hypothesis_of(idea, memory.fields)
        wanted = self.settings.factors_per_idea
        answer = self.model.factors(
            self._question(factors_prompt(hypothesis, memory, wanted), memory)
        )
        candidates = self._read(hypothesis, answer.factors[:wanted], memory)
        if not candidates and self._turn is Turn.GO_ON:
            raise ModelError("no factor of the model could be read", retryable=True, answered=True)
        return self._judged(candidates, memory)

    def _second_versions(self, memory: Memory) -> list[Candidate]:
        """Return new versions of the model's candidates that the gates have refused."""
        failed: dict[Hypothesis, list[Failed]] = {}
        for refused in memory.refused:
            candidate = refused.candidate
            if candidate.origin == ORIGIN:
                facts = (candidate.description, str(candidate.expression))
                failed.setdefault(candidate.hypothesis, []).append(
                    (*facts, refused.gate, refused.reason)
                )
        candidates: list[Candidate] = []
        for hypothesis, facts_of in failed.items():
            repaired = self._repaired(hypothesis, facts_of, memory)
            candidates += self._judged(repaired, memory)
        return candidates

    def _read(
        self, hypothesis: Hypothesis, factors: Iterable[Factor], memory: Memory
    ) -> list[Candidate]:
        """Return the factors that are expressions, those that were not after repair."""
        read, failed = readable(hypothesis, factors, memory.fields)
        return [*read, *self._repaired(hypothesis, failed, memory)] if failed else read

    def _repaired(
        self, hypothesis: Hypothesis, failed: Sequence[Failed], memory: Memory
    ) -> list[Candidate]:
        """Return new versions of what failed, as far as the model succeeds in time."""
        candidates: list[Candidate] = []
        while failed and self._turn is Turn.GO_ON:
            if self._repairs[hypothesis] == self.settings.max_repairs:
                break
            self._repairs[hypothesis] += 1
            question = self._question(repair_prompt(hypothesis, failed), memory)
            try:
                answer = self.model.repair(question)
            except ModelError as error:
                self._note(error)
                break
            read, failed = readable(hypothesis, answer.factors[: len(failed)], memory.fields)
            candidates += read
        return candidates

    def _judged(self, candidates: Sequence[Candidate], memory: Memory) -> list[Candidate]:
        """Return the candidates with what the model says of them; rules judge where it fails."""
        kept = list(dict.fromkeys(candidates))
        if not kept or self._turn is not Turn.GO_ON:
            return kept
        self._failures = 0
        try:
            answer = self.model.judge(self._question(judge_prompt(kept, memory), memory))
        except ModelError as error:
            self._note(error)
            return kept
        self._feedback = plain(answer.feedback)
        said = {verdict.number: verdict for verdict in answer.verdicts}
        return [
            replace(candidate, judged=alignment_of(said[number])) if number in said else candidate
            for number, candidate in enumerate(kept, start=1)
        ]

    def _question(self, text: str, memory: Memory) -> Question:
        return Question(system_prompt(memory.fields, self.settings.limits), text)

    def _note(self, error: ModelError) -> None:
        """Decide what a failure leads to, and say so."""
        self._failures += 1
        lasting = error.over_budget or not (error.retryable or error.answered)
        if lasting or self._failures >= self.settings.max_failures:
            self._turn = Turn.END
        elif not error.answered:
            self._turn = Turn.REST
        event = Event(self._round, self._turn, plain(error.fact))
        self.events.append(event)
        self.on_event(event)
