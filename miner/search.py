"""The search: rounds of propose, gate, measure, select; on train only.

The one function that touches validation is `miner.conclusion.conclude`; nothing here can, because
`build_training` cuts the panel before the first round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from miner.acceptance import Bar
from miner.complexity import (
    ComplexityLimits,
    Weights,
    complexity,
    excess,
    redundancy,
    regularisation,
)
from miner.fitness import Fingerprint, Measured, Training, build_training, measure
from miner.originality import OriginalityLimits, SubtreeIndex, borrowed, core
from miner.proposer import Memory, Proposer
from miner.records import Candidate, Round, Survivor, TrialRecord
from miner.split import Split, split
from miner.units import is_scale_free
from signals.errors import DataError
from signals.expression import Expression
from signals.grammar import parse
from signals.panel import Panel

#: Candidates measured by one task; fixed, so that no result depends on how many workers there are.
CHUNK = 16
#: Times a proposer is asked to fill one round before the round goes on with what it has.
MAX_ASKS = 6


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Budget, gates and bars of a search.

    Parameters
    ----------
    rounds, batch : int
        Rounds, and candidates measured in each.
    population : int
        Survivors kept; no two with an absolute correlation of `niche` or more.
    finalists : int
        Survivors that meet validation.
    train_sessions, valid_sessions : int
        Sessions of the two parts.
    min_assets : int
        A session with fewer assets does not count.
    min_coverage, max_turnover, min_spread : float
        See `miner.fitness.Measured`.
    min_train_t : float
        Smallest |t| on train of a finalist.
    penalty : float
        Weight of R_g in the fitness, in units of t.
    max_accepted : int
        Factors accepted at most.
    """

    rounds: int = 10
    batch: int = 100
    population: int = 60
    finalists: int = 20
    train_sessions: int = 500
    valid_sessions: int = 250
    min_assets: int = 30
    min_coverage: float = 0.6
    max_turnover: float = 1.2
    min_spread: float = 0.5
    min_train_t: float = 2.5
    niche: float = 0.8
    penalty: float = 1.0
    max_accepted: int = 3
    complexity: ComplexityLimits = field(default_factory=ComplexityLimits)
    originality: OriginalityLimits = field(default_factory=OriginalityLimits)
    weights: Weights = field(default_factory=Weights)
    bar: Bar = field(default_factory=Bar)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is searched.

    Parameters
    ----------
    panel : Panel
        Rows up to the session at whose close the search opens, none later.
    label_lag, horizon : int
        Sessions between knowing and trading, and sessions held.
    book : mapping of str to Expression
        Factors alive: live, shadow and decaying. A find must add to them.
    references : sequence of Expression
        Other factors a find must not repeat: the zoo, the retired.
    earlier_trials : int
        Candidates measured by earlier searches whose validation overlaps this one's.
    """

    panel: Panel
    label_lag: int = 1
    horizon: int = 1
    book: Mapping[str, Expression] = field(default_factory=dict)
    references: Sequence[Expression] = ()
    earlier_trials: int = 0

    def split(self, settings: SearchSettings) -> Split:
        """Return the purged split of the panel."""
        return split(
            self.panel.n_sessions,
            self.label_lag,
            self.horizon,
            settings.train_sessions,
            settings.valid_sessions,
        )


def search(
    problem: Problem,
    proposer: Proposer,
    settings: SearchSettings,
    *,
    seed: int,
    executor: Executor | None = None,
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
    training = build_training(
        problem.panel,
        problem.split(settings),
        list(problem.book.values()),
        min_assets=settings.min_assets,
    )
    state = resume or Round(number=0, seed=seed, survivors=(), trials=(), counts={})
    gates = _Gates(problem, settings, state)
    engine = _Engine(proposer, gates, training, settings, executor)
    population = engine.remeasured(state.survivors)
    while state.number < settings.rounds:
        state, population = engine.next_round(state, population)
        yield state


Population = list[tuple[Survivor, Fingerprint]]


class _Gates:
    """The gates before measuring, and the memory of what has been tried."""

    def __init__(self, problem: Problem, settings: SearchSettings, state: Round) -> None:
        self._settings = settings
        self._known = SubtreeIndex((*problem.book.values(), *problem.references))
        self._tried = {core(parse(trial.expression)) for trial in state.trials}

    def refusal(self, candidate: Candidate) -> tuple[str, str] | None:
        """Return the gate that refuses and why, None where the candidate may be measured."""
        expression = candidate.expression
        stripped = core(expression)
        if stripped in self._tried:
            return "duplicate", ""
        self._tried.add(stripped)
        if not is_scale_free(expression):
            return "units", "changes when prices or volumes of one asset are rescaled"
        broken = redundancy(expression) or excess(complexity(expression), self._settings.complexity)
        if broken:
            return "complexity", broken
        copied = borrowed(self._known.similarity(expression), self._settings.originality)
        return ("originality", copied) if copied else None

    def regularisation(self, candidate: Candidate) -> float:
        """Return R_g; a hypothesis made from its expression is aligned with it, so C is 1."""
        return regularisation(
            complexity(candidate.expression),
            similarity=self._known.similarity(candidate.expression).common_blind,
            alignment=1.0,
            weights=self._settings.weights,
        )


@dataclass(frozen=True)
class _Engine:
    """All that stays as it is from round to round."""

    proposer: Proposer
    gates: _Gates
    training: Training
    settings: SearchSettings
    executor: Executor | None

    def next_round(self, state: Round, population: Population) -> tuple[Round, Population]:
        """Propose, gate, measure and select once."""
        counts = Counter(state.counts)
        trials = list(state.trials)
        admitted = self._admitted(state, counts, trials)
        grown = list(population)
        results = self._measured([candidate.expression for candidate in admitted])
        for candidate, measured in zip(admitted, results, strict=True):
            burden = self.gates.regularisation(candidate)
            survivor = _survivor(candidate, measured, burden, self.settings)
            decision, reason = _decision(measured, self.settings)
            detail = {"ic": survivor.ic, "t": survivor.t, "fitness": survivor.fitness} | reason
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
        )
        rng = np.random.default_rng([state.seed, memory.round])
        admitted: list[Candidate] = []
        for _ in range(MAX_ASKS):
            wanted = self.settings.batch - len(admitted)
            if wanted == 0:
                break
            for candidate in self.proposer.propose(wanted, memory, rng)[:wanted]:
                counts["proposed"] += 1
                refused = self.gates.refusal(candidate)
                if refused is None:
                    admitted.append(candidate)
                    continue
                gate, reason = refused
                counts[gate] += 1
                if gate != "duplicate":
                    trials.append(_trial(trials, candidate, gate, {"reason": reason}))
        return admitted

    def _measured(self, expressions: Sequence[Expression]) -> list[Measured]:
        """Measure in chunks of a fixed size, in order."""
        chunks = [expressions[i : i + CHUNK] for i in range(0, len(expressions), CHUNK)]
        run = partial(measure, training=self.training)
        done = map(run, chunks) if self.executor is None else self.executor.map(run, chunks)
        return [measured for chunk in done for measured in chunk]


def _survivor(
    candidate: Candidate, measured: Measured, burden: float, settings: SearchSettings
) -> Survivor:
    return Survivor(
        candidate=candidate,
        fitness=abs(measured.t) - settings.penalty * burden,
        ic=measured.ic,
        t=measured.t,
        turnover=measured.turnover,
        coverage=measured.coverage,
        regularisation=burden,
    )


def _decision(measured: Measured, settings: SearchSettings) -> tuple[str, dict[str, str]]:
    """Return what train decides about a measured candidate, and why."""
    if measured.coverage < settings.min_coverage or not np.isfinite(measured.ic):
        return "coverage", {"reason": f"{measured.coverage:.2f} < {settings.min_coverage:g}"}
    if measured.turnover > settings.max_turnover:
        return "turnover", {"reason": f"{measured.turnover:.2f} > {settings.max_turnover:g}"}
    if measured.spread < settings.min_spread:
        return "ties", {"reason": f"spread {measured.spread:.2f} < {settings.min_spread:g}"}
    return "measured", {}


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
        detail={k: v for k, v in detail.items() if isinstance(v, str) or np.isfinite(v)},
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
