"""The conclusion: validation decides once, and everything tried is paid for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from miner.conclusion import conclude, oriented
from miner.hypothesis import hypothesis_for
from miner.problem import Problem, SearchSettings
from miner.records import Candidate, Round, Survivor, TrialRecord
from signals.expression import Expression
from signals.grammar import parse
from tests.miner.market import market

SETTINGS = SearchSettings(train_sessions=250, valid_sessions=120)
TRUTH = parse("($close - $low) / ($high - $low)")


def finalists(*texts: str, t: float = 5.0) -> Round:
    survivors, trials = [], []
    for number, text in enumerate(texts, start=1):
        e: Expression = parse(text)
        candidate = Candidate(hypothesis_for(e), text, e)
        survivors.append(Survivor(candidate, abs(t), 0.05, t, 1.0, 1.0, 0.3))
        trials.append(TrialRecord(number, str(e), "measured", {"t": t}))
    return Round(1, 0, tuple(survivors), tuple(trials), {"measured": len(trials)})


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(market(20, planted=TRUTH, strength=0.15))


def test_an_accepted_factor_states_its_case(problem: Problem) -> None:
    """Train and validation RankIC, the corrected p, and JSON of all of it."""
    outcome = conclude(problem, finalists(str(TRUTH), "TS_RANK($volume, 20)"), SETTINGS)
    (accepted,) = outcome.accepted
    assert accepted.expression == TRUTH
    assert accepted.hypothesis.direction == 1
    assert accepted.valid.mean == pytest.approx(0.13, abs=0.06)
    assert accepted.p_value < 1e-6
    assert (accepted.closest, accepted.correlation) == ("", 0.0)
    assert [t.decision for t in outcome.trials] == ["accepted", "weak"]
    assert json.loads(json.dumps(outcome.to_json(), allow_nan=False))["n_trials"] == 2


def test_a_negative_factor_is_turned_round(problem: Problem) -> None:
    """The sign comes from train; what is accepted is -1 times what was proposed."""
    contrary = "($high - $close) / ($high - $low)"
    outcome = conclude(problem, finalists(contrary, t=-5.0), SETTINGS)
    (accepted,) = outcome.accepted
    assert accepted.expression == oriented(parse(contrary), -1)
    assert accepted.train.mean > 0
    assert accepted.hypothesis.direction == -1


def test_a_second_version_of_an_accepted_factor_is_refused(problem: Problem) -> None:
    """It is told which factor it repeats."""
    twin = "($close - $low) / ($high - $close)"
    outcome = conclude(problem, finalists(str(TRUTH), twin), SETTINGS)
    assert len(outcome.accepted) == 1
    assert outcome.trials[1].decision == "correlated"
    assert str(TRUTH) in outcome.trials[1].detail["reason"]


def test_earlier_trials_on_the_same_validation_are_paid_for(problem: Problem) -> None:
    """The same evidence that passes alone fails after very many earlier trials."""
    last = finalists(str(TRUTH))
    (accepted,) = conclude(problem, last, SETTINGS).accepted
    many = 2 * int(0.05 / accepted.p_value)
    outcome = conclude(replace(problem, earlier_trials=many), last, SETTINGS)
    assert outcome.accepted == ()
    assert outcome.n_trials == many + 1
    assert outcome.trials[0].decision == "validation"


def test_a_factor_that_dies_with_train_is_refused() -> None:
    """Validation is looked at: noise there refuses what train praises."""
    alive, dead = market(21, planted=TRUTH, strength=0.15), market(21)
    start = Problem(alive).split(SETTINGS).valid.start
    ratio = alive.fields["close"][start - 1] / dead.fields["close"][start - 1]
    fields = {
        name: np.vstack([alive.fields[name][:start], dead.fields[name][start:] * scale])
        for name, scale in [
            *((n, ratio) for n in ("open", "high", "low", "close")),
            ("volume", 1.0),
        ]
    }
    outcome = conclude(Problem(replace(alive, fields=fields)), finalists(str(TRUTH)), SETTINGS)
    assert outcome.accepted == ()
    assert outcome.trials[0].decision == "validation"
    assert outcome.trials[0].detail["train"]["t"] > 5


def test_weak_finalists_never_meet_validation(problem: Problem) -> None:
    """Below the least |t| on train a finalist is refused without a validation number."""
    outcome = conclude(problem, finalists(str(TRUTH), t=1.0), SETTINGS)
    assert outcome.trials[0].decision == "weak"
    assert "valid" not in outcome.trials[0].detail
