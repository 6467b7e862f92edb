"""The end of a search: the only place that sees validation.

First train decides who is called: a finalist must not depend on the scale of quotes, must be unlike
the book, the recently retired and every fitter finalist, and must add to the book on train. Then
all that are called are heard at once, each against what the *book* leaves of the label, and the
test for the best of all heard (`miner.best_of`) gives each a p-value that holds for the whole
family, whatever is accepted. Last they are accepted in the order of their fitness on train; a later
one must also add to those accepted before it, on train and on validation. That can only refuse
more, so the family's chance of a false acceptance stays what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.acceptance import judgement, student_survival
from miner.best_of import Family, best_of
from miner.complexity import complexity, regulariser
from miner.court import Bench, Peers, parts
from miner.invariance import changes_when_rescaled
from miner.outcome import Accepted, Outcome
from miner.problem import Problem, SearchSettings
from miner.records import Round, Survivor, TrialRecord
from signals.expression import Constant, Expression, call, fields
from signals.ic import MeanEstimate
from signals.panel import FloatArray

__all__ = ["Accepted", "Outcome", "conclude", "oriented"]


def conclude(problem: Problem, last: Round, settings: SearchSettings) -> Outcome:
    """Put the finalists of a search to the test; call it once per search.

    Parameters
    ----------
    problem : Problem
        The one that was searched.
    last : Round
        The state after the last round. Its seed also draws the resamples.
    settings : SearchSettings
        Those of the search.

    Raises
    ------
    DataError
        If the panel is too short, or an array is not of the dates it is meant for.
    """
    court = _Court(problem, settings, last.seed)
    n_trials = problem.earlier_trials + last.n_measured
    decisions: dict[str, _Verdict] = {}
    called: list[_Called] = []
    for survivor in last.survivors[: settings.finalists]:
        answer = court.call(survivor)
        if isinstance(answer, _Verdict):
            decisions[str(survivor.expression)] = answer
        else:
            called.append(answer)
    heard, family = court.hear(called, problem.heard)
    accepted = []
    for each in heard:
        verdict = court.judge(each, family, n_trials)
        decisions[str(each.called.survivor.expression)] = verdict
        if verdict.accepted is not None:
            accepted.append(verdict.accepted)
    trials = tuple(_decided(trial, decisions) for trial in last.trials)
    counts = Counter(last.counts)
    counts.update(verdict.decision for verdict in decisions.values())
    return Outcome(
        tuple(accepted), trials, dict(counts), n_trials, family.n_heard, family.n_effective
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    decision: str
    detail: dict[str, Any]
    accepted: Accepted | None = None


def _decided(trial: TrialRecord, decisions: Mapping[str, _Verdict]) -> TrialRecord:
    if trial.expression not in decisions:
        return trial
    verdict = decisions[trial.expression]
    detail = {**trial.detail, **verdict.detail}
    return TrialRecord(trial.number, trial.expression, verdict.decision, detail)


@dataclass(frozen=True, slots=True, eq=False)
class _Called:
    """A finalist that train has nothing against, with its values on train, oriented by train."""

    survivor: Survivor
    sign: int
    values: FloatArray
    train: MeanEstimate
    added: MeanEstimate


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """A called one after validation was looked at, with its values there."""

    called: _Called
    values: FloatArray
    valid: MeanEstimate
    added: MeanEstimate
    p_single: float
    p_family: float


class _Court:
    """Both parts of the split, and what has been accepted."""

    def __init__(self, problem: Problem, settings: SearchSettings, seed: int) -> None:
        self._settings = settings
        # no round of a search has the number 0
        self._rng = np.random.default_rng([seed, 0])
        self._train, self._valid = parts(problem, settings)
        book, retired = list(problem.book.values()), list(problem.retired.values())
        self._fitted = Bench(self._train, self._train.values(book))
        self._held_out = Bench(self._valid, self._valid.values(book))
        self._known, self._fitter = Peers(self._train), Peers(self._train)
        for names, values in (
            (problem.book, self._fitted.book),
            (problem.retired, self._train.values(retired)),
        ):
            for name, array in zip(names, values, strict=True):
                self._known.join(name, array)
        self._n_accepted = 0

    def call(self, survivor: Survivor) -> _Called | _Verdict:
        """Ask train whether a finalist is to be heard."""
        expression, least = survivor.expression, self._settings.min_train_t
        if abs(survivor.t) < least:
            return _weak(f"|t| {abs(survivor.t):.2f} < {least:g} on train")
        changes = changes_when_rescaled(expression, self._train.panel, self._rng)
        if changes is not None:
            return _Verdict("rescaled", {"reason": changes})
        sign = 1 if survivor.t > 0 else -1
        values = sign * self._train.values([expression])[0]
        for peers in (self._known, self._fitter):
            name, r = peers.closest(values)
            if abs(r) > self._settings.bar.max_correlation:
                return _Verdict("correlated", {"reason": f"correlation {r:.2f} with {name}"})
        train = self._train.mean(self._train.raw(values))
        added = self._train.mean(self._fitted.added(values))
        if not added.t >= least:
            return _weak(f"adds t {added.t:.2f} < {least:g} to the book on train", train)
        self._fitter.join(str(expression), values)
        return _Called(survivor, sign, values, train, added)

    def hear(
        self, called: Sequence[_Called], earlier: Sequence[Expression]
    ) -> tuple[list[_Heard], Family]:
        """Look at validation, once, for all that are called and all that were heard before."""
        values = [
            c.sign * x
            for c, x in zip(
                called, self._valid.values([c.survivor.expression for c in called]), strict=True
            )
        ]
        others, unseen = self._heard_before(called, earlier)
        series = [self._held_out.added(x) for x in (*values, *others)]
        family = best_of(series, horizon=self._valid.horizon, rng=self._rng, unseen=unseen)
        heard = [
            _Heard(
                called=each,
                values=values[i],
                valid=self._valid.mean(self._valid.raw(values[i])),
                added=self._valid.mean(series[i]),
                p_single=family.p_single[i],
                p_family=family.p_family[i],
            )
            for i, each in enumerate(called)
        ]
        return heard, family

    def _heard_before(
        self, called: Sequence[_Called], earlier: Sequence[Expression]
    ) -> tuple[list[FloatArray], int]:
        """Return validation values of those, oriented by train, and how many have none any more."""
        again = {c.survivor.expression for c in called}
        others = [x for x in dict.fromkeys(earlier) if x not in again]
        there = {*self._valid.panel.fields, "vwap"}
        known = [x for x in others if fields(x) <= there]
        means = [self._train.mean(self._fitted.added(x)).mean for x in self._train.values(known)]
        values = self._valid.values(known)
        turned = [-x if mean < 0 else x for x, mean in zip(values, means, strict=True)]
        return turned, len(others) - len(known)

    def judge(self, heard: _Heard, family: Family, n_trials: int) -> _Verdict:
        """Decide about one that was heard, those before it being decided."""
        bar, called = self._settings.bar, heard.called
        detail = {
            "train": called.train.to_json(),
            "valid": heard.valid.to_json(),
            "added_valid": heard.added.to_json(),
            "p_value": heard.p_family,
            "p_single": heard.p_single,
            "n_heard": family.n_heard,
        }
        refused = judgement(heard.added, heard.p_family, family.n_heard, bar)
        if refused is None and not heard.valid.mean >= bar.min_ic:
            refused = f"validated RankIC {heard.valid.mean:.4f} < {bar.min_ic:g} without the book"
        if refused is not None:
            return _Verdict("validation", detail | {"reason": refused})
        surplus = self._surplus(heard)
        if surplus is not None:
            return _Verdict("surplus", detail | {"reason": surplus})
        nearest = self._known.closest(called.values)
        self._admit(heard)
        return _Verdict(
            "accepted", detail, _accepted(heard, family, nearest, n_trials, self._settings)
        )

    def _surplus(self, heard: _Heard) -> str | None:
        """Return why one that passed is not needed beside those accepted before it."""
        least, alpha = self._settings.min_train_t, self._settings.bar.alpha
        if self._n_accepted == 0:
            return None
        if self._n_accepted == self._settings.max_accepted:
            return f"{self._n_accepted} accepted already"
        train = self._train.mean(self._fitted.added(heard.called.values))
        if not train.t >= least:
            return f"adds t {train.t:.2f} < {least:g} to book and accepted on train"
        valid = self._valid.mean(self._held_out.added(heard.values))
        p = student_survival(valid.t, valid.n - 1)
        if p > alpha:
            return f"adds to book and accepted with p = {p:.2g} > {alpha:g} on validation"
        return None

    def _admit(self, heard: _Heard) -> None:
        """Ask of later ones that they add to this one too."""
        self._n_accepted += 1
        self._fitted.seat(heard.called.values)
        self._held_out.seat(heard.values)
        self._known.join(str(heard.called.survivor.expression), heard.called.values)


def _weak(reason: str, train: MeanEstimate | None = None) -> _Verdict:
    detail = {} if train is None else {"train": train.to_json()}
    return _Verdict("weak", detail | {"reason": reason})


def _accepted(
    heard: _Heard,
    family: Family,
    nearest: tuple[str, float],
    n_trials: int,
    settings: SearchSettings,
) -> Accepted:
    survivor, sign = heard.called.survivor, heard.called.sign
    return Accepted(
        expression=oriented(survivor.expression, sign),
        hypothesis=survivor.candidate.hypothesis.oriented(sign),
        description=survivor.candidate.description,
        train=heard.called.train,
        valid=heard.valid,
        added_train=heard.called.added,
        added_valid=heard.added,
        p_value=heard.p_family,
        p_single=heard.p_single,
        n_heard=family.n_heard,
        n_effective=family.n_effective,
        n_trials=n_trials,
        regularisation=regulariser(
            complexity(survivor.expression),
            similarity=survivor.similarity,
            alignment=survivor.alignment.score,
            weights=settings.weights,
        ),
        turnover=survivor.turnover,
        stability=survivor.stability,
        icir=survivor.icir,
        closest=nearest[0],
        correlation=nearest[1],
        parents=survivor.candidate.parents,
        origin=survivor.candidate.origin,
    )


def oriented(expression: Expression, sign: int) -> Expression:
    """Return `expression`, or -1 times it where `sign` is negative."""
    return expression if sign > 0 else call("MULTIPLY", Constant(-1.0), expression)
