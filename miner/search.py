"""The search: rounds of propose, gate, measure, select; on train only.

The one function that touches validation is `miner.conclusion.conclude`; nothing here can, because
`build_training` cuts the panel before the first round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from miner.alignment import Alignment, alignment
from miner.complexity import complexity, excess, redundancy, regularisation
from miner.fitness import Fingerprint, Measured, Training, build_training, fitness, measure
from miner.memory import Memory, Refused, tallied
from miner.originality import SubtreeIndex, Tried, borrowed, core
from miner.problem import Problem, SearchSettings
from miner.proposer import Proposer
from miner.records import Candidate, Round, Survivor, TrialRecord
from miner.units import is_scale_free
from signals.errors import DataError
from signals.expression import Expression
from signals.grammar import parse

#: Candidates measured by one task; fixed, so that no result depends on how many workers there are.
CHUNK = 16
#: Times a proposer is asked to fill one round before the round goes on with what it has.
MAX_ASKS = 6

#: Hands what every task reads to the workers, once; what it returns is passed to the tasks.
Share: TypeAlias = Callable[[Training], Any]


def in_memory(training: Training) -> Training:
    """Return `training` as it is: workers that share this process's memory need no more."""
    return training


def search(
    problem: Problem,
    proposer: Proposer,
    settings: SearchSettings,
    *,
    seed: int,
    executor: Executor | None = None,
    share: Share = in_memory,
    resume: Round | None = None,
) -> Iterator[Round]:
    """Yield the state after each round.

    Parameters
    ----------
    problem : Problem
        What is searched.
    proposer : Proposer
        Where candidates come from.
    settings : SearchSettings
        Budget and gates.
    seed : int
        The same seed gives the same rounds, whatever the executor and however often resumed.
    executor : Executor, optional
        Measures chunks of candidates side by side.
    share : callable, optional
        Hands the training data to the executor's workers: of a cluster, its `scatter`.
    resume : Round, optional
        The state to go on from.

    Raises
    ------
    DataError
        If the panel is too short, or `resume` is of another seed.
    """
    if resume is not None and resume.seed != seed:
        raise DataError(
            f"a search of seed {resume.seed} cannot be resumed with seed {seed}",
            rule="a resumed search gives what an undisturbed one gives",
        )
    training = build_training(problem, settings)
    state = resume or Round(number=0, seed=seed, survivors=(), trials=(), counts={})
    gates = _Gates(problem, settings, state)
    engine = _Engine(proposer, gates, training, problem, settings, executor, share(training))
    population = engine.remeasured(state.survivors)
    while state.number < settings.rounds:
        state, population = engine.next_round(state, population)
        yield state


Population = list[tuple[Survivor, Fingerprint]]


class _Gates:
    """The gates before measuring, and the memory of what has been tried."""

    def __init__(self, problem: Problem, settings: SearchSettings, state: Round) -> None:
        self._settings = settings
        known = {**problem.references, **problem.retired, **problem.book}
        self._known = SubtreeIndex.of(known)
        self._tried = Tried()
        self.tried: set[Expression] = set()
        for trial in state.trials:
            self._note(parse(trial.expression))

    def _note(self, expression: Expression) -> None:
        self._tried.add(expression)
        self.tried.add(core(expression))

    def refusal(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return the gate that refuses and why, None where the candidate may be measured."""
        expression = candidate.expression
        repeated = self._tried.repeats(expression, self._settings.originality)
        if repeated:
            return "duplicate", repeated
        self._note(expression)
        if not is_scale_free(expression):
            return "units", "changes when prices or volumes of one asset are rescaled"
        broken = redundancy(expression) or excess(complexity(expression), self._settings.complexity)
        if broken:
            return "complexity", broken
        copied = borrowed(self._known.similarity(expression), self._settings.originality)
        if copied:
            return "originality", copied
        aligned = alignment_of(candidate)
        if aligned.score < self._settings.min_alignment:
            return "alignment", f"C = {aligned.score:.2f}: {'; '.join(aligned.reasons)}"
        return None

    def weighed(self, candidate: Candidate, measured: Measured) -> Survivor:
        """Return a measured candidate with R_g and what it is worth."""
        aligned = alignment_of(candidate, measured=int(np.sign(measured.t)))
        similarity = self._known.similarity(candidate.expression).common_blind
        burden = regularisation(
            complexity(candidate.expression),
            similarity=similarity,
            alignment=aligned.score,
            weights=self._settings.weights,
        )
        return Survivor(
            candidate=candidate,
            fitness=fitness(measured, burden, self._settings),
            ic=measured.ic,
            t=measured.t,
            icir=measured.icir,
            stability=measured.stability,
            turnover=measured.turnover,
            coverage=measured.coverage,
            regularisation=burden,
            similarity=similarity,
            alignment=aligned,
        )


def alignment_of(candidate: Candidate, *, measured: int = 0) -> Alignment:
    """Return the alignment by rules, or what a model said of it where one was asked.

    Facts are not left to it: what an expression reads, so that a lenient judge, or one that wrote
    what it judges, cannot lift c2 above what the rules give; and the sign that was measured, which
    takes off c1 what the rules take off.
    """
    told = (candidate.hypothesis, candidate.description, candidate.expression)
    ruled = alignment(*told, measured=measured)
    judged = candidate.judged
    if judged is None:
        return ruled
    refuted = alignment(*told).described - ruled.described
    return Alignment(
        max(0.0, judged.described - refuted),
        min(judged.expressed, ruled.expressed),
        (*judged.reasons, *ruled.reasons),
    )


@dataclass(frozen=True)
class _Engine:
    """All that stays as it is from round to round."""

    proposer: Proposer
    gates: _Gates
    training: Training
    problem: Problem
    settings: SearchSettings
    executor: Executor | None
    shared: Any

    def next_round(self, state: Round, population: Population) -> tuple[Round, Population]:
        """Propose, gate, measure and select once."""
        counts = Counter(state.counts)
        trials = list(state.trials)
        admitted = self._admitted(state, counts, trials)
        grown = list(population)
        results = self._measured([candidate.expression for candidate in admitted])
        for candidate, measured in zip(admitted, results, strict=True):
            survivor = self.gates.weighed(candidate, measured)
            decision, reason = _decision(measured, self.settings)
            detail = _told(survivor) | reason
            trials.append(_trial(trials, candidate, decision, detail))
            counts["measured"] += 1
            if decision == "measured":
                grown.append((survivor, measured.fingerprint))
            else:
                counts[decision] += 1
        kept = _selected(grown, self.settings)
        survivors = tuple(survivor for survivor, _ in kept)
        done = Round(state.number + 1, state.seed, survivors, tuple(trials), dict(counts))
        return done, kept

    def remeasured(self, survivors: Sequence[Survivor]) -> Population:
        """Return survivors with their fingerprints, which a stored round does not hold."""
        measured = self._measured([survivor.expression for survivor in survivors])
        return [(s, m.fingerprint) for s, m in zip(survivors, measured, strict=True)]

    def _admitted(
        self, state: Round, counts: Counter[str], trials: list[TrialRecord]
    ) -> list[Candidate]:
        """Ask the proposer until a batch has passed the gates that need no data."""
        memory = Memory(
            round=state.number + 1,
            fields=tuple(sorted(self.training.panel.fields)),
            survivors=state.survivors,
            refusals={k: v for k, v in counts.items() if k not in ("proposed", "measured")},
            tallies=tallied(self.problem.experience, state.trials, self.settings.min_train_t),
            decayed=tuple(self.problem.decayed),
            tried=frozenset(self.gates.tried),
        )
        rng = np.random.default_rng([state.seed, memory.round])
        admitted: list[Candidate] = []
        for _ in range(MAX_ASKS):
            wanted = self.settings.batch - len(admitted)
            if wanted == 0:
                break
            turned_away = []
            for candidate in self.proposer.propose(wanted, memory, rng)[:wanted]:
                counts["proposed"] += 1
                refused = self.gates.refusal(candidate)
                if refused is None:
                    admitted.append(candidate)
                    continue
                gate, reason = refused
                counts[gate] += 1
                turned_away.append(Refused(candidate, gate, reason))
                if gate != "duplicate":
                    trials.append(_trial(trials, candidate, gate, {"reason": reason}))
            tried = frozenset(self.gates.tried)
            memory = replace(memory, refused=tuple(turned_away), tried=tried)
        return admitted

    def _measured(self, expressions: Sequence[Expression]) -> list[Measured]:
        """Measure in chunks of a fixed size, in order."""
        chunks = [expressions[i : i + CHUNK] for i in range(0, len(expressions), CHUNK)]
        if self.executor is None:
            return [m for chunk in chunks for m in measure(chunk, self.training)]
        tasks = [self.executor.submit(measure, chunk, self.shared) for chunk in chunks]
        return [measured for task in tasks for measured in task.result()]


def _decision(measured: Measured, settings: SearchSettings) -> tuple[str, dict[str, str]]:
    """Return what train decides about a measured candidate, and why."""
    if measured.coverage < settings.min_coverage or not np.isfinite(measured.ic):
        return "coverage", {"reason": f"{measured.coverage:.2f} < {settings.min_coverage:g}"}
    if measured.turnover > settings.max_turnover:
        return "turnover", {"reason": f"{measured.turnover:.2f} > {settings.max_turnover:g}"}
    if measured.spread < settings.min_spread:
        return "ties", {"reason": f"spread {measured.spread:.2f} < {settings.min_spread:g}"}
    return "measured", {}


def _told(survivor: Survivor) -> dict[str, str | float]:
    """Return what the ledger keeps of a measured candidate."""
    told: dict[str, str | float] = {
        "ic": survivor.ic,
        "t": survivor.t,
        "fitness": survivor.fitness,
        "C": survivor.alignment.score,
        "origin": survivor.candidate.origin,
    }
    if survivor.alignment.reasons:
        told["alignment"] = "; ".join(survivor.alignment.reasons)
    return told


def _trial(
    trials: Sequence[TrialRecord],
    candidate: Candidate,
    decision: str,
    detail: Mapping[str, str | float],
) -> TrialRecord:
    return TrialRecord(
        number=len(trials) + 1,
        expression=str(candidate.expression),
        decision=decision,
        detail={"mechanism": candidate.hypothesis.mechanism}
        | {k: v for k, v in detail.items() if isinstance(v, str) or np.isfinite(v)},
    )


def _selected(population: Population, settings: SearchSettings) -> Population:
    """Return the fittest, each unlike all fitter ones."""
    ordered = sorted(population, key=lambda item: (-item[0].fitness, str(item[0].expression)))
    kept: Population = []
    for item in ordered:
        if len(kept) == settings.population:
            break
        # no BLAS: its sums depend on the number of threads
        like = max((abs(float(np.einsum("i,i->", item[1], other))) for _, other in kept), default=0)
        if like < settings.niche:
            kept.append(item)
    return kept
