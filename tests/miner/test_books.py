"""Seed books and hypotheses."""

from __future__ import annotations

import pytest

from miner.books import parse_book, seed_book, seed_books
from miner.hypothesis import Hypothesis, hypothesis_for
from miner.units import is_scale_free
from signals.errors import ConfigError
from signals.expression import fields
from signals.grammar import parse


@pytest.mark.parametrize("name", ["us", "cn", "sim"])
def test_a_declared_book_holds_original_scale_free_factors(name: str) -> None:
    """Every book has at least five different factors, each scale-free, with a source."""
    book = seed_book(name)
    assert len({seed.expression for seed in book}) == len({seed.id for seed in book}) >= 5
    for seed in book:
        assert is_scale_free(seed.expression)
        assert set(seed.hypothesis.fields) == fields(seed.expression)
        assert seed.source


def test_an_unknown_book_is_refused_with_the_names_there_are() -> None:
    """The error names every declared book."""
    assert seed_books() == ("us", "cn", "sim")
    with pytest.raises(ConfigError, match="us, cn, sim"):
        seed_book("mars")


def test_a_users_own_book_is_read() -> None:
    """A book is TOML with one table per factor; a missing key or broken TOML is a ConfigError."""
    row = "\n".join(f'{k} = "."' for k in ("observation", "knowledge", "justification", "source"))
    text = f'[factors.mine]\nexpression = "-1 * TS_PCTCHANGE($close, 3)"\n{row}'
    (seed,) = parse_book(text)
    assert seed.id == "mine"
    assert seed.hypothesis.horizon == 3
    for broken in (text.replace('source = "."', ""), "[factors", "x = 1", "factors = 1"):
        with pytest.raises(ConfigError):
            parse_book(broken)


def test_a_hypothesis_survives_json_and_names_what_the_expression_reads() -> None:
    """The narrowest mechanism that has all fields gives the words; JSON loses nothing."""
    hypothesis = hypothesis_for(parse("TS_CORR($close, $volume, 10)"))
    assert hypothesis.fields == ("close", "volume")
    assert hypothesis.specification.startswith("price and volume:")
    assert hypothesis.horizon == 9
    assert Hypothesis.from_json(hypothesis.to_json()) == hypothesis
    assert hypothesis.oriented(-1).direction == -1
