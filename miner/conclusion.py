"""The end of a search: the only place that sees validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.acceptance import judgement
from miner.hypothesis import Hypothesis
from miner.problem import Problem, SearchSettings
from miner.ranks import centred_ranks, closest, percentile_ranks, residual_ranks
from miner.records import Round, Survivor, TrialRecord
from miner.split import Split
from signals.errors import DataError
from signals.evaluate import evaluate
from signals.expression import Constant, Expression, call
from signals.ic import MeanEstimate, hac_lags, ic, mean_with_interval, rank_ic
from signals.panel import FloatArray


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
        One-sided, corrected for all trials.
    n_trials : int
        Trials it was corrected for.
    regularisation, turnover : float
        R_g, and the turnover on train.
    closest, correlation : str, float
        The factor of the book most like it ("" of an empty book), and their mean rank correlation
        on train.
    parents : tuple of str
        Expressions it was bred from.
    """

    expression: Expression
    hypothesis: Hypothesis
    description: str
    train: MeanEstimate
    valid: MeanEstimate
    added_train: MeanEstimate
    added_valid: MeanEstimate
    p_value: float
    n_trials: int
    regularisation: float
    turnover: float
    closest: str
    correlation: float
    parents: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        estimates = ("train", "valid", "added_train", "added_valid")
        return {
            "expression": str(self.expression),
            "hypothesis": self.hypothesis.to_json(),
            "description": self.description,
            **{name: getattr(self, name).to_json() for name in estimates},
            "p_value": self.p_value,
            "n_trials": self.n_trials,
            "regularisation": self.regularisation,
            "turnover": self.turnover,
            "closest": self.closest,
            "correlation": self.correlation,
            "parents": list(self.parents),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search came to.

    Parameters
    ----------
    accepted : tuple of Accepted
        In the order of fitness on train.
    trials : tuple of TrialRecord
        All of the search, with what validation decided about the finalists. For the ledger only.
    counts : mapping of str to int
        Candidates per gate.
    n_trials : int
        Trials the p-values are corrected for.
    """

    accepted: tuple[Accepted, ...]
    trials: tuple[TrialRecord, ...]
    counts: Mapping[str, int]
    n_trials: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the trials."""
        return {
            "accepted": [accepted.to_json() for accepted in self.accepted],
            "counts": dict(self.counts),
            "n_trials": self.n_trials,
        }


def conclude(problem: Problem, last: Round, settings: SearchSettings) -> Outcome:
    """Put the finalists of a search to the test; call it once per search.

    Finalists come in the order of their fitness on train. Each is evaluated in float64, oriented
    by the sign of its train IC, compared with the book and with those accepted before it (on
    train), and then tested on validation. Every refusal is recorded with its reason.

    Parameters
    ----------
    problem : Problem
        The one that was searched.
    last : Round
        The state after the last round.
    settings : SearchSettings
        Those of the search.

    Raises
    ------
    DataError
        If the panel is too short.
    """
    court = _Court(problem, settings)
    n_trials = problem.earlier_trials + last.n_measured
    decisions: dict[str, tuple[str, dict[str, Any]]] = {}
    accepted: list[Accepted] = []
    for survivor in last.survivors[: settings.finalists]:
        verdict = court.hear(survivor, n_trials)
        if verdict.accepted is not None and len(accepted) == settings.max_accepted:
            verdict = _Verdict("surplus", {"reason": f"{settings.max_accepted} accepted already"})
        decisions[str(survivor.expression)] = (verdict.decision, verdict.detail)
        if verdict.accepted is not None:
            accepted.append(verdict.accepted)
            court.admit(verdict.accepted)
    trials = tuple(_decided(trial, decisions) for trial in last.trials)
    counts = Counter(last.counts)
    counts.update(decision for decision, _ in decisions.values())
    return Outcome(tuple(accepted), trials, dict(counts), n_trials)


def _decided(
    trial: TrialRecord, decisions: Mapping[str, tuple[str, dict[str, Any]]]
) -> TrialRecord:
    if trial.expression not in decisions:
        return trial
    decision, detail = decisions[trial.expression]
    return TrialRecord(trial.number, trial.expression, decision, {**trial.detail, **detail})


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    decision: str
    detail: dict[str, Any]
    accepted: Accepted | None = None


class _Court:
    """Labels and book of both parts, in float64, and what has been admitted."""

    def __init__(self, problem: Problem, settings: SearchSettings) -> None:
        self._settings = settings
        self._split = parts = problem.split(settings)
        _assert_ranges(problem, parts)
        panel = problem.panel
        label = problem.labels
        self._panel = panel.rows(0, parts.valid.stop)
        self._first = parts.train.start
        span = slice(parts.train.start, parts.valid.stop)
        self._universe = panel.universe[span]
        self._label = np.where(self._universe, label[span], np.nan)
        self._train = slice(0, parts.train.stop - self._first)
        self._valid = slice(parts.valid.start - self._first, parts.valid.stop - self._first)
        self._book = self._values(list(problem.book.values()))
        self._target = residual_ranks(self._label, self._universe, self._book)
        train_universe = self._universe[self._train]
        self._peers: list[tuple[str, FloatArray]] = [
            (name, centred_ranks(values[self._train], train_universe))
            for name, values in zip(problem.book, self._book, strict=True)
        ]

    def _values(self, expressions: Sequence[Expression]) -> list[FloatArray]:
        return evaluate(expressions, self._panel, first=self._first, dtype=np.float64)

    def admit(self, accepted: Accepted) -> None:
        """Ask of later finalists that they add to `accepted` too."""
        values = self._values([accepted.expression])[0]
        ranks = centred_ranks(values[self._train], self._universe[self._train])
        self._peers.append((str(accepted.expression), ranks))
        self._book.append(values)
        self._target = residual_ranks(self._label, self._universe, self._book)

    def hear(self, survivor: Survivor, n_trials: int) -> _Verdict:
        """Judge one finalist; validation is looked at last."""
        if abs(survivor.t) < self._settings.min_train_t:
            reason = f"|t| {abs(survivor.t):.2f} < {self._settings.min_train_t:g} on train"
            return _Verdict("weak", {"reason": reason})
        sign = 1 if survivor.t > 0 else -1
        values = sign * self._values([survivor.expression])[0]
        ranks = centred_ranks(values[self._train], self._universe[self._train])
        name, correlation = closest(ranks, self._peers)
        limit = self._settings.bar.max_correlation
        if abs(correlation) > limit:
            reason = f"correlation {correlation:.2f} with {name}"
            return _Verdict("correlated", {"reason": reason})
        return self._tried(survivor, sign, values, (name, correlation), n_trials)

    def _tried(
        self,
        survivor: Survivor,
        sign: int,
        values: FloatArray,
        nearest: tuple[str, float],
        n_trials: int,
    ) -> _Verdict:
        least = self._settings.min_assets
        raw = rank_ic(values, self._label, min_assets=least)
        added = ic(percentile_ranks(values, self._universe), self._target, min_assets=least)
        bar = self._settings.bar
        train = self._estimate(raw, self._train)
        added_train = self._estimate(added, self._train)
        least_t = self._settings.min_train_t
        if not added_train.t >= least_t:
            reason = f"adds t {added_train.t:.2f} < {least_t:g} to book and accepted on train"
            return _Verdict("weak", {"train": train.to_json(), "reason": reason})
        valid = self._estimate(raw, self._valid)
        added_valid = self._estimate(added, self._valid)
        refused, p = judgement(added_valid, n_trials, bar)
        if refused is None and not valid.mean >= bar.min_ic:
            refused = f"validated RankIC {valid.mean:.4f} < {bar.min_ic:g} without the book"
        detail = {
            "train": train.to_json(),
            "valid": valid.to_json(),
            "added_valid": added_valid.to_json(),
            "p_value": p,
        }
        if refused is not None:
            return _Verdict("validation", detail | {"reason": refused})
        accepted = Accepted(
            expression=oriented(survivor.expression, sign),
            hypothesis=survivor.candidate.hypothesis.oriented(sign),
            description=survivor.candidate.description,
            train=train,
            valid=valid,
            added_train=added_train,
            added_valid=added_valid,
            p_value=p,
            n_trials=n_trials,
            regularisation=survivor.regularisation,
            turnover=survivor.turnover,
            closest=nearest[0],
            correlation=nearest[1],
            parents=survivor.candidate.parents,
        )
        return _Verdict("accepted", detail, accepted)

    def _estimate(self, series: FloatArray, part: slice) -> MeanEstimate:
        rows = series[part]
        return mean_with_interval(rows, lags=hac_lags(len(rows), horizon=self._split.horizon))


def _assert_ranges(problem: Problem, parts: Split) -> None:
    """Assert that every label is realised within the panel and that the parts are purged."""
    last_close = parts.valid.stop - 1 + parts.purge
    if last_close >= problem.panel.n_sessions:
        raise DataError(
            f"labels of validation end at row {last_close}, "
            f"the panel has {problem.panel.n_sessions}",
            rule="a label is used only once it is realised",
        )
    if parts.train.stop - 1 + parts.purge >= parts.valid.start:
        raise DataError(
            f"train {parts.train} and validation {parts.valid} share closes",
            rule="train and validation are purged by lag + horizon",
        )


def oriented(expression: Expression, sign: int) -> Expression:
    """Return `expression`, or -1 times it where `sign` is negative."""
    return expression if sign > 0 else call("MULTIPLY", Constant(-1.0), expression)
