"""The search: deterministic, resumable, blind to validation, and honest about chance."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

from miner.alignment import Alignment
from miner.conclusion import Outcome, conclude
from miner.hypothesis import description_for, hypothesis_for
from miner.memory import Memory
from miner.problem import Problem, SearchSettings
from miner.proposer import GrammarProposer
from miner.records import Candidate, Round
from miner.search import alignment_of, search
from signals.errors import DataError
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.grammar import parse
from tests.miner.market import market

SMALL = SearchSettings(
    rounds=4, batch=50, population=20, finalists=8, train_sessions=250, valid_sessions=120
)


def last_round(problem: Problem, *, seed: int, settings: SearchSettings = SMALL) -> Round:
    *_, last = search(problem, GrammarProposer(), settings, seed=seed)
    return last


def mined(problem: Problem, *, seed: int, settings: SearchSettings = SMALL) -> Outcome:
    return conclude(problem, last_round(problem, seed=seed, settings=settings), settings)


def correlation(found: Expression, truth: Expression, problem: Problem) -> float:
    x, y = (
        np.argsort(np.argsort(v, axis=1), axis=1)
        for v in evaluate([found, truth], problem.panel, first=60)
    )
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "text", ["($high - $close) / ($high - $low)", "-1 * $volume / TS_MEAN($volume, 10)"]
)
def test_a_planted_factor_is_found_and_oriented(seed: int, text: str) -> None:
    """What is accepted correlates at least 0.7 with the truth, with its sign."""
    truth = parse(text)
    problem = Problem(market(seed, planted=truth, strength=0.15))
    outcome = mined(problem, seed=seed, settings=replace(SMALL, rounds=8))
    assert outcome.accepted
    assert correlation(outcome.accepted[0].expression, truth, problem) > 0.7
    assert outcome.accepted[0].valid.mean > 0.05


def test_a_market_without_signal_gives_nothing() -> None:
    """Of ten such searches, each free to err in one of forty, at most one accepts anything."""
    outcomes = [mined(Problem(market(100 + seed)), seed=seed) for seed in range(10)]
    assert sum(bool(outcome.accepted) for outcome in outcomes) <= 1
    assert all(outcome.counts["measured"] == outcome.n_trials > 150 for outcome in outcomes)


def test_rounds_do_not_depend_on_the_executor() -> None:
    """Two threads, or none: the same rounds to the last bit."""
    problem = Problem(market(7, planted=parse("TS_RANK($volume, 10)"), strength=0.1))
    alone = [r.to_json() for r in search(problem, GrammarProposer(), SMALL, seed=3)]
    with ThreadPoolExecutor(3) as executor:
        rounds = search(problem, GrammarProposer(), SMALL, seed=3, executor=executor)
        assert [r.to_json() for r in rounds] == alone
    assert alone != [r.to_json() for r in search(problem, GrammarProposer(), SMALL, seed=4)]


def test_a_resumed_search_ends_like_an_undisturbed_one() -> None:
    """After JSON and back, from any round; another seed is refused."""
    problem = Problem(market(8, planted=parse("TS_RANK($volume, 10)"), strength=0.1))
    whole = list(search(problem, GrammarProposer(), SMALL, seed=5))
    stored = Round.from_json(json.loads(json.dumps(whole[1].to_json(), allow_nan=False)))
    assert stored == whole[1]
    resumed = list(search(problem, GrammarProposer(), SMALL, seed=5, resume=stored))
    assert resumed == whole[2:]
    assert conclude(problem, resumed[-1], SMALL) == conclude(problem, whole[-1], SMALL)
    with pytest.raises(DataError, match="seed 5 cannot be resumed with seed 6"):
        next(search(problem, GrammarProposer(), SMALL, seed=6, resume=stored))


def test_validation_never_reaches_the_search() -> None:
    """With all rows from validation on replaced by noise every round stays as it is."""
    panel = market(9, planted=parse("TS_RANK($volume, 10)"), strength=0.1)
    start = Problem(panel).split(SMALL).valid.start
    rng = np.random.default_rng(0)
    noise = {
        name: np.vstack([values[:start], rng.lognormal(3, 1, values[start:].shape)])
        for name, values in panel.fields.items()
    }
    one, two = (
        [r.to_json() for r in search(Problem(p), GrammarProposer(), SMALL, seed=1)]
        for p in (panel, replace(panel, fields=noise))
    )
    assert one == two


def test_the_book_and_the_retired_are_not_found_again() -> None:
    """A planted factor that the book holds is not accepted, nor bred from, in any disguise."""
    truth = parse("($high - $close) / ($high - $low)")
    panel = market(1, planted=truth, strength=0.15)
    problem = Problem(panel, book={"known": truth})
    last = last_round(problem, seed=1)
    assert conclude(problem, last, SMALL).accepted == ()
    assert all(abs(correlation(s.expression, truth, problem)) < 0.7 for s in last.survivors[:3])


def test_every_candidate_is_counted_once() -> None:
    """Proposed = refused by a gate before data + measured; trials are numbered without a gap."""
    last = last_round(Problem(market(10)), seed=0)
    counts = last.counts
    before = sum(counts.get(k, 0) for k in ("duplicate", "units", "complexity", "originality"))
    assert counts["proposed"] == before + counts["measured"]
    assert last.n_measured == counts["measured"] == SMALL.rounds * SMALL.batch
    assert [t.number for t in last.trials] == list(range(1, len(last.trials) + 1))
    assert len({t.expression for t in last.trials}) == len(last.trials)
    assert last.best == max(last.survivors, key=lambda s: s.fitness)


@dataclass(frozen=True)
class Stubborn:
    """Proposes one expression, again and again."""

    text: str

    def propose(self, n: int, _memory: Memory, _rng: np.random.Generator) -> list[Candidate]:
        """Return it `n` times."""
        expression = parse(self.text)
        hypothesis = hypothesis_for(expression)
        described = description_for(hypothesis, expression)
        return [Candidate(hypothesis, described, expression)] * n


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        ("units", "RANK($close)"),
        ("originality", "3 * RANK(-1 * TS_PCTCHANGE($close, 7))"),
        ("complexity", "TS_MEAN(TS_MEAN(TS_MEAN($volume, 60), 60), 60) / $volume"),
        ("complexity", "RANK($close / $close) * ($close / $open)"),
        ("coverage", "SQRT(LOG($low / $high))"),
        ("ties", "SIGN(TS_PCTCHANGE($volume, 5) - 3)"),
        ("turnover", "TS_PCTCHANGE($close / $open, 1)"),
    ],
)
def test_a_proposer_that_leads_nowhere_ends_the_round(gate: str, text: str) -> None:
    """Each gate refuses what it is there for, repetition is a duplicate, and the round ends."""
    problem = Problem(market(11), book={"reversal": parse("TS_PCTCHANGE($close, 5)")})
    strict = replace(SMALL, max_turnover=1.05)
    first = next(search(problem, Stubborn(text), strict, seed=0))
    assert first.survivors == ()
    assert first.counts[gate] == 1
    assert [t.decision for t in first.trials] == [gate]
    assert conclude(problem, first, strict).accepted == ()


def test_a_lenient_judge_cannot_lift_what_an_expression_does_not_read() -> None:
    """Liquidity found in closing prices: the model is heard on c1, c2 is what the rules say."""
    expression = parse("TS_MEAN(TS_PCTCHANGE($close, 1), 10)")
    hypothesis = replace(hypothesis_for(expression), knowledge="Illiquid assets pay a premium.")
    candidate = Candidate(
        hypothesis, "liquidity: volume over range, 10 sessions", expression, judged=Alignment(1, 1)
    )
    found = alignment_of(candidate)
    assert found.described == 1
    assert found.expressed < 0.3
    assert any("liquidity" in reason for reason in found.reasons)
