"""What a search is judged by must not be known to it beforehand."""

from __future__ import annotations

import pytest

from bench.planted import FORMULAS
from miner.books import seed_book, seed_books
from miner.causes import MECHANISMS
from miner.originality import SubtreeIndex, core
from miner.sampling import features
from miner.templates import templates
from miner.units import is_scale_free
from miner.zoo import ZOOS, zoo
from signals.expression import Expression
from signals.grammar import parse


def levels(expression: Expression) -> int:
    """Return how many operators stand above the deepest leaf."""
    return 1 + max(map(levels, expression.args)) if expression.args else 0


@pytest.fixture(scope="module")
def known() -> SubtreeIndex:
    """Return the zoos, the seed books and the offline proposer's own words."""
    books = [seed.expression for book in seed_books() for seed in seed_book(book)]
    zoos = [entry.expression for name in ZOOS for entry in zoo(name)]
    words = [parse(text) for mechanism in MECHANISMS for text in mechanism.forms]
    return SubtreeIndex([*books, *zoos, *features(), *templates(), *words])


@pytest.mark.parametrize("text", FORMULAS)
def test_a_planted_formula_is_new_and_of_two_to_four_levels(text: str, known: SubtreeIndex) -> None:
    """It is in no zoo, no book and no template, whatever its numbers."""
    planted = parse(text)
    assert not known.similarity(planted).copy
    assert 2 <= levels(core(planted)) <= 4
    assert is_scale_free(planted)


def test_the_list_is_long_and_without_repeats() -> None:
    """Thirty formulas at least, no two alike."""
    trees = {core(parse(text)) for text in FORMULAS}
    assert len(trees) == len(FORMULAS) >= 30
