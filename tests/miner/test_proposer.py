"""The offline proposer: typed, varied, learning from the memory, and the same for a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from miner.alignment import Alignment
from miner.bandit import FLOOR, mechanism_weights
from miner.causes import MECHANISMS
from miner.complexity import ComplexityLimits, complexity, excess
from miner.hypothesis import fits, hypothesis_for
from miner.memory import Decayed, Memory, Refused, Tally
from miner.originality import core
from miner.proposer import GrammarProposer, Shares
from miner.records import Candidate, Survivor
from miner.trees import shape
from miner.units import is_scale_free
from signals.expression import Call, fields, size, walk
from signals.grammar import parse

FIELDS = ("open", "high", "low", "close", "volume")
EMPTY = Memory(1, FIELDS, (), {})
FRESH = Shares(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def survivor(text: str, t: float = 2.0) -> Survivor:
    expression = parse(text)
    return Survivor(
        Candidate(hypothesis_for(expression), text, expression),
        fitness=abs(t),
        ic=0.01,
        t=t,
        icir=0.1,
        stability=1.0,
        turnover=0.3,
        coverage=1.0,
        regularisation=0.3,
        similarity=0,
        alignment=Alignment(1.0, 1.0),
    )


SURVIVORS = (
    survivor("TS_CORR($high / $low, $volume, 10)", 5.0),
    survivor("$volume / TS_MEAN($volume, 20)", -3.0),
    survivor("RANK(TS_SKEW($close / $open, 20)) + RANK(TS_PCTCHANGE($close, 5))", 2.0),
)


def drawn(memory: Memory, seed: int, n: int = 300, **settings: object) -> list[Candidate]:
    proposer = GrammarProposer(**settings)  # type: ignore[arg-type]
    return proposer.propose(n, memory, np.random.default_rng(seed))


def mechanisms(candidates: Iterable[Candidate]) -> Counter[str]:
    return Counter(c.hypothesis.mechanism for c in candidates)


def test_fresh_candidates_are_different_scale_free_and_speak_of_what_they_read() -> None:
    """The hypothesis names the fields of the expression, and the expression fits its mechanism."""
    made = drawn(EMPTY, 1)
    assert len(made) == len({core(c.expression) for c in made}) == 300
    assert all(is_scale_free(c.expression) for c in made)
    assert all(fields(c.expression) == set(c.hypothesis.fields) for c in made)
    known = {mechanism.name: mechanism for mechanism in MECHANISMS}
    fitting = [fits(known[c.hypothesis.mechanism], c.expression) for c in made]
    assert np.mean(fitting) > 0.9
    assert {c.origin for c in made} == {"offline"}
    assert all(c.description for c in made)


def test_every_mechanism_has_its_turn() -> None:
    """Without experience none is left out."""
    assert set(mechanisms(drawn(EMPTY, 2, 1500))) == {m.name for m in MECHANISMS}


@pytest.mark.parametrize("memory", [EMPTY, replace(EMPTY, survivors=SURVIVORS)])
def test_hardly_a_proposal_is_too_complex(memory: Memory) -> None:
    """At most one of ten fresh and one of five bred ones breaks a limit of the gates."""
    made = drawn(memory, 3, 400)
    broken = [excess(complexity(c.expression), ComplexityLimits()) is not None for c in made]
    assert np.mean(broken) < (0.2 if memory.survivors else 0.1)


def test_offspring_name_their_parents_and_are_new() -> None:
    """With a survivor that stands out most candidates descend from survivors, by one or two."""
    made = drawn(replace(EMPTY, survivors=SURVIVORS), 4)
    bred = [c for c in made if c.parents]
    texts = {str(s.expression) for s in SURVIVORS}
    assert len(bred) > 150
    assert {len(c.parents) for c in bred} == {1, 2}
    assert {parent for c in bred for parent in c.parents} == texts
    assert not texts & {str(c.expression) for c in made}


def test_a_child_keeps_its_mothers_mechanism_where_it_still_fits() -> None:
    """And gets another where it has lost what that is about."""
    known = {mechanism.name: mechanism for mechanism in MECHANISMS}
    mother = SURVIVORS[1]
    meant = known[mother.candidate.hypothesis.mechanism]
    bred = [c for c in drawn(replace(EMPTY, survivors=(mother,)), 5) if len(c.parents) == 1]
    kept = {c.hypothesis.mechanism == meant.name for c in bred if fits(meant, c.expression)}
    lost = {c.hypothesis.mechanism == meant.name for c in bred if not fits(meant, c.expression)}
    assert kept == {True}
    assert lost == {False}


def test_more_is_drawn_anew_while_no_survivor_stands_out_of_chance() -> None:
    """The bar grows with the number of candidates measured."""
    promising = tuple(survivor(str(s.expression), 3.3) for s in SURVIVORS)
    few = replace(EMPTY, survivors=promising, tallies={"": Tally(50)})
    many = replace(few, tallies={"": Tally(5000)})
    fresh = [sum(not c.parents for c in drawn(memory, 6, 200)) for memory in (few, many)]
    assert fresh[0] < 0.75 * fresh[1]


def test_what_was_tried_is_not_proposed_again() -> None:
    """Neither by a fresh draw nor by breeding."""
    memory = replace(EMPTY, survivors=SURVIVORS)
    first = drawn(memory, 7)
    tried = frozenset(core(c.expression) for c in first)
    again = drawn(replace(memory, tried=tried), 7)
    assert len(again) > 250
    assert not tried & {core(c.expression) for c in again}


def test_a_decayed_factor_is_not_rebuilt_with_other_numbers() -> None:
    """Its tree does not come back, by any window, order or sign, though it did before."""
    common = Counter(shape(c.expression) for c in drawn(EMPTY, 8, 600)).most_common(3)
    dead = {name for name, _ in common}
    examples = [c.expression for c in drawn(EMPTY, 8, 600) if shape(c.expression) in dead]
    decayed = tuple(Decayed(e, "turnover", "RankIC 0.03 to 0.00") for e in examples)
    made = drawn(replace(EMPTY, decayed=decayed), 8, 600)
    assert len(made) == 600
    assert not dead & {shape(c.expression) for c in made}


def test_a_mechanism_whose_factors_decayed_is_drawn_less() -> None:
    """Less, not never."""
    decayed = tuple(Decayed(parse("$close / $open"), "trend", "") for _ in range(4))
    before, after = (
        mechanism_weights(MECHANISMS, memory, np.random.default_rng(9))
        for memory in (EMPTY, replace(EMPTY, decayed=decayed))
    )
    place = [m.name for m in MECHANISMS].index("trend")
    assert after[place] < before[place]
    assert after[place] >= FLOOR / len(MECHANISMS)


def test_a_mechanism_that_brought_survivors_is_drawn_more() -> None:
    """By its rate, whatever the number of trials."""
    tallies = {m.name: Tally(100, 0) for m in MECHANISMS} | {"turnover": Tally(100, 30)}
    place = [m.name for m in MECHANISMS].index("turnover")
    weights = [
        mechanism_weights(MECHANISMS, replace(EMPTY, tallies=tallies), np.random.default_rng(seed))
        for seed in range(50)
    ]
    assert np.mean([w[place] for w in weights]) > 3 / len(MECHANISMS)
    assert all(sum(w) == pytest.approx(1.0) for w in weights)


def test_no_mechanism_starves() -> None:
    """A thousand failures leave it its part of the floor; it is still proposed."""
    tallies = {m.name: Tally(1000, 0) for m in MECHANISMS} | {"turnover": Tally(1000, 900)}
    memory = replace(EMPTY, tallies=tallies)
    weights = mechanism_weights(MECHANISMS, memory, np.random.default_rng(10))
    assert min(weights) >= FLOOR / len(MECHANISMS)
    assert len(mechanisms(drawn(memory, 10, 1500))) == len(MECHANISMS)


def test_what_was_too_complex_is_proposed_again_shorter() -> None:
    """As a neighbour of itself with fewer nodes."""
    long = parse(
        "RANK(TS_CORR($high / $low, $volume / TS_MEAN($volume, 20), 10)) - "
        "RANK(TS_MEAN(TS_PCTCHANGE($close, 5), 10)) + RANK(TS_SKEW($close / $open, 20))"
    )
    refused = Refused(Candidate(hypothesis_for(long), "", long), "complexity", "length 30 > 24")
    repaired = drawn(replace(EMPTY, refused=(refused,)), 11, 10)[0]
    assert repaired.parents == (str(long),)
    assert size(repaired.expression) < size(long)


def test_what_was_no_original_is_proposed_again_changed_further() -> None:
    """With another shape, and naming what it was."""
    copy = parse("TS_CORR(RANK($high / $low), RANK($volume / TS_MEAN($volume, 20)), 10)")
    refused = Refused(Candidate(hypothesis_for(copy), "", copy), "originality", "copy")
    repaired = [drawn(replace(EMPTY, refused=(refused,)), seed, 10)[0] for seed in range(20)]
    heirs = [c for c in repaired if c.parents == (str(copy),)]
    assert len(heirs) > 15
    assert np.mean([shape(c.expression) != shape(copy) for c in heirs]) > 0.7


def test_questions_are_proposed_and_groups_only_where_the_panel_has_them() -> None:
    """A conditional is for every panel, a comparison within an industry for some."""

    def used(names: tuple[str, ...]) -> set[str]:
        made = drawn(replace(EMPTY, fields=names), 12, 1000, climbing=FRESH, searching=FRESH)
        return {n.op for c in made for n in walk(c.expression) if isinstance(n, Call)}

    assert "WHERE" in used(FIELDS)
    assert not [op for op in used(FIELDS) if op.startswith("GROUP_")]
    assert "GROUP_RANK" in used((*FIELDS, "industry"))


def test_fields_of_unknown_unit_are_left_alone() -> None:
    """What cannot be typed is not proposed."""
    made = drawn(replace(EMPTY, fields=(*FIELDS, "sentiment")), 13)
    assert "sentiment" not in {name for c in made for name in fields(c.expression)}


def test_the_same_memory_and_seed_propose_the_same() -> None:
    """Chance comes from the generator alone, and nothing is kept between calls."""
    memory = replace(EMPTY, survivors=SURVIVORS, tallies={"turnover": Tally(20, 3, 4.0)})
    proposer = GrammarProposer()
    first, again = (proposer.propose(80, memory, np.random.default_rng(14)) for _ in range(2))
    assert first == again == drawn(memory, 14, 80)
    assert first != drawn(memory, 15, 80)
