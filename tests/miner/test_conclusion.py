"""The conclusion: validation decides once, and everything tried is paid for."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from miner.acceptance import Bar
from miner.alignment import Alignment
from miner.complexity import complexity, regularisation
from miner.conclusion import conclude, oriented
from miner.court import parts
from miner.hypothesis import hypothesis_for
from miner.problem import Problem, SearchSettings
from miner.records import Candidate, Round, Survivor, TrialRecord
from signals.errors import DataError
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
        survivors.append(
            Survivor(
                candidate=candidate,
                fitness=abs(t),
                ic=0.05,
                t=t,
                icir=0.4,
                stability=1.0,
                turnover=1.0,
                coverage=1.0,
                regularisation=0.3,
                similarity=2,
                alignment=Alignment(1.0, 0.5),
            )
        )
        trials.append(TrialRecord(number, str(e), "measured", {"t": t}))
    return Round(1, 0, tuple(survivors), tuple(trials), {"measured": len(trials)})


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem(market(20, planted=TRUTH, strength=0.15))


def test_an_accepted_factor_states_its_case(problem: Problem) -> None:
    """Train and validation RankIC, both p, how many were heard, and the parts of R_g."""
    outcome = conclude(problem, finalists(str(TRUTH), "TS_RANK($volume, 20)"), SETTINGS)
    (accepted,) = outcome.accepted
    assert accepted.expression == TRUTH
    assert accepted.hypothesis.direction == 1
    assert accepted.valid.mean == pytest.approx(0.13, abs=0.06)
    assert accepted.p_single <= accepted.p_value < 0.001
    assert (accepted.closest, accepted.correlation) == ("", 0.0)
    assert (accepted.n_heard, accepted.n_effective) == (1, 1.0)
    assert accepted.regularisation.total == pytest.approx(
        regularisation(complexity(TRUTH), similarity=2, alignment=0.75, weights=SETTINGS.weights)
    )
    assert [t.decision for t in outcome.trials] == ["accepted", "weak"]


def test_an_outcome_is_json(problem: Problem) -> None:
    """Every number a table or a ledger shows is in it."""
    outcome = conclude(problem, finalists(str(TRUTH)), SETTINGS)
    whole = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert (whole["n_trials"], whole["n_heard"], whole["n_effective"]) == (1, 1, 1.0)
    (accepted,) = whole["accepted"]
    assert {"SL", "PC", "S", "C", "F", "log(1+F)", "ER", "R_g"} == accepted["parts"].keys()
    assert accepted["regularisation"] == accepted["parts"]["R_g"]
    assert {"p_value", "p_single", "stability", "icir", "turnover", "n_heard"} <= accepted.keys()


def test_a_negative_factor_is_turned_round(problem: Problem) -> None:
    """The sign comes from train; what is accepted is -1 times what was proposed."""
    contrary = "($high - $close) / ($high - $low)"
    outcome = conclude(problem, finalists(contrary, t=-5.0), SETTINGS)
    (accepted,) = outcome.accepted
    assert accepted.expression == oriented(parse(contrary), -1)
    assert accepted.train.mean > 0
    assert accepted.hypothesis.direction == -1


def test_a_second_version_of_a_fitter_finalist_is_never_heard(problem: Problem) -> None:
    """It is told which it repeats, on train, and costs the first one nothing."""
    twin = "($close - $low) / ($high - $close)"
    outcome = conclude(problem, finalists(str(TRUTH), twin), SETTINGS)
    assert len(outcome.accepted) == outcome.n_heard == 1
    assert outcome.trials[1].decision == "correlated"
    assert str(TRUTH) in outcome.trials[1].detail["reason"]
    assert "valid" not in outcome.trials[1].detail


def test_the_recently_retired_are_peers_and_not_part_of_the_target(problem: Problem) -> None:
    """What is one of them in value is refused by name; what is not loses nothing to them."""
    twin = parse("($close - $low) / ($high - $close)")
    again = conclude(replace(problem, retired={"late": twin}), finalists(str(TRUTH)), SETTINGS)
    assert again.trials[0].decision == "correlated"
    assert again.trials[0].detail["reason"].endswith("with late")
    other = replace(problem, retired={"other": parse("TS_RANK($volume, 10)")})
    (alone,), (beside,) = (
        conclude(p, finalists(str(TRUTH)), SETTINGS).accepted for p in (problem, other)
    )
    assert beside.added_valid == alone.added_valid
    assert beside.closest == "other"


def test_a_factor_with_a_scale_is_refused_by_evaluating_it() -> None:
    """RANK($close), handed in past all gates of the search, and with a reason of its own."""
    refused = conclude(Problem(market(22)), finalists("RANK($close)"), SETTINGS)
    (trial,) = refused.trials
    assert trial.decision == "rescaled"
    assert "prices of single assets are multiplied by a constant" in trial.detail["reason"]
    assert refused.n_heard == 0


def test_all_that_were_heard_on_this_validation_are_paid_for() -> None:
    """The same evidence is worth less the more earlier finalists were heard beside it."""
    start = Problem(market(24, planted=TRUTH, strength=0.05))
    last = finalists(str(TRUTH))
    alone = conclude(start, last, SETTINGS)
    heard = [parse(f"TS_RANK($volume, {w}) - TS_RANK($high / $low, {w})") for w in range(5, 25)]
    among = conclude(replace(start, heard=[*heard, *heard, TRUTH]), last, SETTINGS)
    one, many = alone.trials[0].detail, among.trials[0].detail
    assert (alone.n_heard, among.n_heard) == (1, 21)
    assert 2 < among.n_effective < 21
    assert many["p_single"] == one["p_single"]
    assert many["p_value"] > 2 * one["p_value"]
    assert many["valid"] == one["valid"]


def test_heard_factors_whose_field_is_gone_still_count(problem: Problem) -> None:
    """They cannot be computed, and each adds the single p once more."""
    gone = [parse(f"TS_RANK($amount, {w})") for w in (5, 10, 20)]
    outcome = conclude(replace(problem, heard=gone), finalists(str(TRUTH)), SETTINGS)
    (accepted,) = outcome.accepted
    assert accepted.n_heard == 4


def test_what_was_measured_on_train_only_costs_nothing(problem: Problem) -> None:
    """Ten thousand earlier trials are recorded, and change no p."""
    last = finalists(str(TRUTH))
    before, after = (
        conclude(p, last, SETTINGS) for p in (problem, replace(problem, earlier_trials=10_000))
    )
    assert after.n_trials == 10_001
    assert after.accepted[0].p_value == before.accepted[0].p_value


def test_one_that_passed_but_adds_nothing_to_the_accepted_is_surplus() -> None:
    """Two faces of one signal, unlike enough to be called: the fitter is accepted, both heard."""
    start = Problem(market(20, planted=TRUTH, strength=0.25))
    half = "RANK(($close - $low) / ($high - $low)) + RANK($volume / TS_MEAN($volume, 10))"
    settings = replace(SETTINGS, bar=Bar(max_correlation=0.8))
    outcome = conclude(start, finalists(str(TRUTH), half), settings)
    first, second = outcome.trials
    assert (first.decision, second.decision) == ("accepted", "surplus")
    assert "accepted" in second.detail["reason"]
    assert {"valid", "p_value"} <= second.detail.keys()
    assert outcome.n_heard == 2
    assert conclude(start, finalists(half), settings).trials[0].decision == "accepted"


def test_no_more_are_accepted_than_asked_for() -> None:
    """Two true factors, room for one: the fitter gets it."""
    other = parse("TS_RANK($volume, 10)")
    start = Problem(market(25, planted=parse(f"RANK({TRUTH}) + RANK({other})"), strength=0.25))
    last = finalists(str(TRUTH), str(other))
    assert len(conclude(start, last, SETTINGS).accepted) == 2
    outcome = conclude(start, last, replace(SETTINGS, max_accepted=1))
    assert [t.decision for t in outcome.trials] == ["accepted", "surplus"]
    assert outcome.trials[1].detail["reason"] == "1 accepted already"


def test_train_knows_no_row_of_validation(problem: Problem) -> None:
    """Whoever is called, and every train number, stays when all rows from validation on change."""
    start = problem.split(SETTINGS).valid.start
    rng = np.random.default_rng(0)
    noise = {
        name: np.vstack([values[:start], rng.lognormal(3, 1, values[start:].shape)])
        for name, values in problem.panel.fields.items()
    }
    other = replace(problem, panel=replace(problem.panel, fields=noise))
    (one, _), (two, _) = parts(problem, SETTINGS), parts(other, SETTINGS)
    np.testing.assert_array_equal(one.label, two.label)
    assert one.panel.n_sessions == problem.split(SETTINGS).train.stop
    last = finalists(str(TRUTH))
    first, second = (conclude(p, last, SETTINGS).trials[0].detail for p in (problem, other))
    assert first["train"] == second["train"]
    assert first["valid"] != second["valid"]


def test_arrays_of_other_dates_are_never_scored(problem: Problem) -> None:
    """A label, values or a series with a row more than the part: a DataError, not a number."""
    train, valid = parts(problem, SETTINGS)
    (values,) = train.values([TRUTH])
    longer = np.vstack([values, values[:1]])
    for score in (train.raw, train.ranks, lambda x: train.left_by([x])):
        with pytest.raises(DataError, match="what is scored has 251 rows and 250 sessions"):
            score(longer)
    with pytest.raises(DataError, match="what is scored"):
        train.added(values, longer)
    with pytest.raises(DataError, match="what is scored"):
        train.mean(np.zeros(251))
    with pytest.raises(DataError, match="a label has 250 rows"):
        replace(train, first=train.first - 1)
    with pytest.raises(DataError, match="asked for are 120"):
        replace(train, span=valid.span)
    with pytest.raises(DataError, match="asked for are 250"):
        replace(
            train, panel=problem.panel.rows(0, train.panel.n_sessions + 1), first=train.first + 1
        )


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
