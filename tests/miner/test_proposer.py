"""The offline proposer: what it proposes is typed, varied, and the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from miner.hypothesis import MECHANISMS, hypothesis_for
from miner.memory import Memory
from miner.proposer import GrammarProposer
from miner.records import Candidate, Survivor
from miner.sampling import Vocabulary, sample
from miner.units import PRICE, RATIO, SHARES, is_scale_free, unit
from miner.variation import MUTATIONS, crossed, mutated
from signals.expression import Expression, fields
from signals.grammar import parse

FIELDS = ("open", "high", "low", "close", "volume")


def survivor(text: str) -> Survivor:
    expression = parse(text)
    return Survivor(Candidate(hypothesis_for(expression), text, expression), 1, 0.01, 2, 1, 1, 0.3)


@pytest.mark.parametrize("wanted", [RATIO, PRICE, SHARES])
def test_a_sample_has_the_unit_asked_for(wanted: tuple[int, int]) -> None:
    """Whatever the depth, and its text parses back into it."""
    words, rng = Vocabulary.of(FIELDS), np.random.default_rng(0)
    drawn = [sample(wanted, int(rng.integers(1, 6)), words, rng) for _ in range(300)]
    assert {unit(e) for e in drawn} == {wanted}
    assert all(parse(str(e)) == e for e in drawn)


def test_fresh_candidates_are_varied_and_speak_of_one_mechanism() -> None:
    """Most of 300 are different, all are scale-free, every mechanism has its turn."""
    memory = Memory(1, FIELDS, (), {})
    drawn = GrammarProposer().propose(300, memory, np.random.default_rng(1))
    assert len({c.expression for c in drawn}) > 200
    assert all(is_scale_free(c.expression) for c in drawn)
    assert all(fields(c.expression) == set(c.hypothesis.fields) for c in drawn)
    names = {c.hypothesis.specification.split(":")[0] for c in drawn}
    assert names == {m.name for m in MECHANISMS}


def test_offspring_name_their_parents_and_differ_from_them() -> None:
    """With survivors most candidates descend from them, by mutation or from two parents."""
    memory = Memory(
        2,
        FIELDS,
        (
            survivor("TS_CORR($high / $low, $volume, 10)"),
            survivor("$volume / TS_MEAN($volume, 20)"),
        ),
        {},
    )
    drawn = GrammarProposer().propose(300, memory, np.random.default_rng(2))
    bred = [c for c in drawn if c.parents]
    assert len(bred) > 100
    assert {len(c.parents) for c in bred} == {1, 2}
    assert all(is_scale_free(c.expression) and str(c.expression) not in c.parents[:1] for c in bred)


@pytest.mark.parametrize("text", ["$close / $open", "TS_CORR(RANK($high / $low), $volume, 10)"])
def test_every_mutation_keeps_a_factor_a_factor(text: str) -> None:
    """500 mutations in a row never leave the grammar, and no kind of mutation fails."""
    words, rng = Vocabulary.of(FIELDS), np.random.default_rng(3)
    start = parse(text)
    for mutation, _ in MUTATIONS:
        mutation(start, words, rng)
    expression: Expression = start
    for _ in range(500):
        child = mutated(expression, words, rng)
        assert is_scale_free(child)
        assert fields(child)
        expression = child if len(str(child)) < 150 else start


def test_a_cross_has_its_mothers_unit() -> None:
    """A graft takes the place of a node of its own unit only."""
    rng = np.random.default_rng(4)
    mother, father = parse("$close / TS_MEAN($close, 20)"), parse("TS_MAX($high, 5) / $open")
    children = {str(crossed(mother, father, rng)) for _ in range(50)}
    assert children == {
        "TS_MAX($high, 5) / TS_MEAN($close, 20)",
        "$close / TS_MAX($high, 5)",
        "$close / TS_MEAN(TS_MAX($high, 5), 20)",
    }


def test_the_same_seed_proposes_the_same() -> None:
    """Chance comes from the generator alone."""
    memory = Memory(2, FIELDS, (survivor("TS_RANK($volume, 20)"),), {})
    one, two = (GrammarProposer().propose(50, memory, np.random.default_rng(5)) for _ in range(2))
    assert one == two
