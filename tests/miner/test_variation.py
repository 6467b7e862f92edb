"""Variation: what is scale-free stays so, and the neighbourhood is complete."""

from __future__ import annotations

import numpy as np
import pytest

from miner.neighbourhood import moved, neighbours
from miner.originality import core
from miner.sampling import Vocabulary, sample
from miner.simplification import shrinking
from miner.trees import nodes, rebuilt, shape
from miner.units import RATIO, is_scale_free
from miner.variation import crossed, joined, mutated, step
from signals.expression import Expression, fields, size
from signals.grammar import parse

FIELDS = ("open", "high", "low", "close", "volume")
WORDS = Vocabulary.of(FIELDS)


def near(text: str, words: Vocabulary = WORDS) -> set[str]:
    return {str(e) for e in neighbours(parse(text), words)}


@pytest.mark.parametrize("text", ["$close / $open", "TS_CORR(RANK($high / $low), $volume, 10)"])
def test_every_mutation_keeps_a_factor_a_factor(text: str) -> None:
    """500 mutations in a row never leave the grammar."""
    rng, start = np.random.default_rng(3), parse(text)
    expression: Expression = start
    for _ in range(500):
        child = mutated(expression, WORDS, rng)
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


@pytest.mark.parametrize(
    ("alike", "ranked"),
    [
        (True, {"RANK($close / $open) + RANK({})", "RANK($close / $open) * RANK({})"}),
        (False, {"RANK($close / $open) - RANK({})", "RANK($close / $open) * RANK(-1 * {})"}),
    ],
)
def test_two_factors_are_joined_so_that_they_agree(alike: bool, ranked: set[str]) -> None:
    """As ranks, the second turned where it points the other way, or as a plain product."""
    rng = np.random.default_rng(5)
    left, right = parse("$close / $open"), parse("TS_STD($volume / $open, 5)")
    made = {joined(left, right, rng, alike=alike) for _ in range(60)}
    wanted = {parse(text.format(right)) for text in ranked}
    assert made == wanted | {parse("$close / $open * TS_STD($volume / $open, 5)")}


def test_a_neighbourhood_has_every_window_up_and_down() -> None:
    """The next ones of the ladder; of one beside the ladder, those on its sides."""
    assert {"TS_ZSCORE($volume, 15)", "TS_ZSCORE($volume, 30)"} <= near("TS_ZSCORE($volume, 20)")
    assert {"TS_ZSCORE($volume, 10)", "TS_ZSCORE($volume, 15)"} <= near("TS_ZSCORE($volume, 12)")
    assert {"TS_PCTCHANGE($close, 3)", "TS_PCTCHANGE($close, 10)"} <= near(
        "TS_PCTCHANGE($close, 5)"
    )
    assert "TS_QUANTILE($close, 20, 0.2) / $close" in near("TS_QUANTILE($close, 20, 0.8) / $close")


def test_a_neighbourhood_has_every_field_of_the_unit() -> None:
    """A price for a price, never a price for a volume."""
    found = near("TS_CORR($close, $volume, 10)")
    assert {f"TS_CORR(${name}, $volume, 10)" for name in ("open", "high", "low")} <= found
    assert "TS_CORR($close, $close, 10)" not in found


def test_a_neighbourhood_has_every_operator_of_the_family() -> None:
    """With the arguments swapped too where that is another factor."""
    found = near("TS_STD($high / $low, 10) - TS_MEAN($close / $open, 5)")
    assert "TS_MAD($high / $low, 10) - TS_MEAN($close / $open, 5)" in found
    assert "TS_STD($low / $high, 10) - TS_MEAN($close / $open, 5)" in found
    swapped = near("TS_SKEW($volume / TS_STD($volume, 10), 20)")
    assert "TS_SKEW(TS_STD($volume, 10) / $volume, 20)" in swapped


def test_a_neighbourhood_goes_outwards_and_inwards() -> None:
    """An operator more around a series, an argument in the place of its call."""
    found = near("TS_MEAN($high / $low, 10)")
    assert {"$high / $low", "TS_RANK(TS_MEAN($high / $low, 10), 20)"} <= found
    assert "TS_MEAN(TS_PCTCHANGE($volume, 1), 10)" in found


def test_a_neighbourhood_holds_nothing_twice_and_not_its_centre() -> None:
    """Not in another form either: -x and RANK(x) rank as x does; and all is scale-free."""
    rng = np.random.default_rng(6)
    for expression in (sample(RATIO, 3, WORDS, rng) for _ in range(20)):
        found = neighbours(expression, WORDS)
        cores = [core(e) for e in found]
        assert len(set(cores)) == len(cores)
        assert core(expression) not in cores
        assert all(is_scale_free(e) and fields(e) for e in found)


def test_a_random_step_leads_to_a_neighbour() -> None:
    """Or nowhere new: it is drawn without making all of them."""
    rng, start = np.random.default_rng(7), parse("TS_CORR($close / $open, $volume, 20)")
    around = {core(e) for e in neighbours(start, WORDS)} | {core(start)}
    made = [step(start, WORDS, rng) for _ in range(60)]
    assert {core(e) for e in made if is_scale_free(e)} <= around
    assert len(set(made)) > 20


def test_groups_are_swapped_for_groups() -> None:
    """An industry for a sector where the panel has both, never for a price."""
    words = Vocabulary.of((*FIELDS, "industry", "sector"))
    found = near("GROUP_RANK($close / $open, $industry)", words)
    assert "GROUP_RANK($close / $open, $sector)" in found
    assert "GROUP_ZSCORE($close / $open, $industry)" in found


def test_simpler_forms_are_shorter_neighbours() -> None:
    """Each term alone, an average left away, a feature for what was longer."""
    expression = parse("RANK(TS_MEAN($high / $low, 10)) - RANK($volume / TS_MEAN($volume, 30))")
    made = [moved(expression, *step) for step in shrinking(expression, WORDS)]
    found = {e for e in made if e is not None}
    assert {size(e) < size(expression) for e in found} == {True}
    assert {core(e) for e in found} <= {core(e) for e in neighbours(expression, WORDS)}
    assert parse("RANK($high / $low) - RANK($volume / TS_MEAN($volume, 30))") in found
    assert parse("RANK(TS_MEAN($high / $low, 10))") in found


def test_a_tree_is_rebuilt_at_any_place() -> None:
    """Every node put back where it was gives the same tree."""
    expression = parse("TS_CORR(DELTA($close, 5) / $open, $volume, 10)")
    assert all(rebuilt(expression, path, node) is expression for path, node in nodes(expression))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("TS_MEAN($high / $low, 10)", "RANK(TS_MEAN($high / $low, 60))", True),
        ("TS_CORR($close, $volume, 10)", "-1 * TS_CORR($volume, $close, 30)", True),
        ("TS_MEAN($high / $low, 10)", "TS_MEAN($low / $high, 10)", False),
    ],
)
def test_a_shape_is_blind_to_numbers_order_and_sign(left: str, right: str, same: bool) -> None:
    """It tells factors apart by operators and fields alone."""
    assert (shape(parse(left)) == shape(parse(right))) == same
