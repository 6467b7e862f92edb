"""Hypotheses: every mechanism is about something, and what is said of an expression is so."""

from __future__ import annotations

import numpy as np
import pytest

from miner.alignment import alignment, subjects
from miner.concepts import atoms_of, concepts
from miner.hypothesis import (
    MECHANISMS,
    Hypothesis,
    Mechanism,
    description_for,
    expected_direction,
    fits,
    hypothesis_for,
    hypothesis_of,
)
from miner.reading import TEMPLATES, in_words
from miner.sampling import Vocabulary, sample
from miner.spoken import spoken
from miner.traits import shown
from miner.units import FIELD_UNITS, RATIO, is_scale_free
from miner.zoo import ZOOS, zoo
from signals.expression import Call, fields, walk
from signals.grammar import parse
from signals.operators import OPERATORS

FIELDS = ("open", "high", "low", "close", "volume", "amount")
NAMES = [mechanism.name for mechanism in MECHANISMS]


def named(name: str) -> Mechanism:
    return MECHANISMS[NAMES.index(name)]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=NAMES)
def test_the_name_of_a_mechanism_speaks_of_its_subjects(mechanism: Mechanism) -> None:
    """Its subjects are concepts of the table, and what its name is heard to say is among them."""
    assert mechanism.subjects
    assert set(mechanism.subjects) <= concepts().keys()
    hypothesis = hypothesis_of(mechanism, parse(mechanism.forms[0]))
    assert set(subjects(hypothesis)) & set(mechanism.subjects)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=NAMES)
def test_the_forms_of_a_mechanism_are_of_it(mechanism: Mechanism) -> None:
    """They read its fields, show its subjects, are scale-free and aligned with it."""
    for text in mechanism.forms:
        form = parse(text)
        hypothesis = hypothesis_of(mechanism, form)
        assert is_scale_free(form)
        assert fits(mechanism, form)
        assert alignment(hypothesis, description_for(hypothesis, form), form).score == 1.0


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=NAMES)
def test_a_mechanism_says_what_the_literature_expects_where_it_expects_something(
    mechanism: Mechanism,
) -> None:
    """A direction comes with words that state it, none without; every cause has a source."""
    assert bool(mechanism.expects) == (mechanism.direction != 0)
    assert mechanism.source
    assert mechanism.windows
    assert mechanism.fields <= FIELD_UNITS.keys()
    assert mechanism.expects in hypothesis_of(mechanism, parse(mechanism.forms[0])).knowledge


def test_names_are_unique() -> None:
    """Tallies are kept by them."""
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "TS_MEAN(ABS(TS_PCTCHANGE($close, 1)) / ($amount / TS_MEAN($amount, 20)), 20)",
            "liquidity",
        ),
        ("TS_CORR($close, $volume, 10)", "price and volume"),
        (
            "RANK($high / $low) - RANK($volume / TS_MEAN($volume, 20))",
            "divergence of price and volume",
        ),
        ("$open / DELAY($close, 1)", "overnight move"),
        ("$close / $open", "intraday move"),
        ("($close - $low) / ($high - $low)", "position in the range"),
        ("$high / $low", "width of the range"),
        ("TS_MAX(TS_PCTCHANGE($close, 1), 20)", "lottery"),
        ("TS_STD(TS_PCTCHANGE($close, 1), 20)", "volatility"),
        ("TS_STD($volume, 20) / TS_MEAN($volume, 20)", "variation of turnover"),
        ("TS_PCTCHANGE($close, 5)", "reversal"),
        ("TS_PCTCHANGE($close, 60)", "momentum"),
        ("$close / TS_MEAN($close, 20)", "trend"),
        ("TS_PCTCHANGE($volume, 5)", "turnover"),
        ("TS_PCTCHANGE($close, 1) * TS_RANK($volume, 20)", "price moves and volume"),
        ("TS_CORR($high, $low, 20)", "price path"),
    ],
)
def test_an_expression_is_read_as_what_it_computes(text: str, name: str) -> None:
    """The most special mechanism it shows, whatever else has its fields."""
    assert hypothesis_for(parse(text)).mechanism == name


def test_an_expression_of_no_known_field_still_has_a_hypothesis() -> None:
    """The last mechanism stands in."""
    assert hypothesis_for(parse("TS_MEAN($float_shares, 5)")).mechanism == NAMES[-1]


def test_words_of_an_expression() -> None:
    """Plain English, with parentheses where its parts would run together."""
    assert (
        in_words(parse("TS_MEAN($high / $low, 12)")) == "mean over 12 sessions of (high over low)"
    )
    assert in_words(parse("TS_RANK(TS_STD($amount, 5), 20)")) == (
        "rank among its own 20 sessions of standard deviation over 5 sessions of traded value"
    )
    assert in_words(parse("$close > DELAY($close, 1) ? 1 : 0")) == (
        "1 where (whether close exceeds (close 1 session before)), else 0"
    )


def test_every_operator_has_words() -> None:
    """Adding an operator is adding its words."""
    assert TEMPLATES.keys() == OPERATORS.keys()


def test_a_description_states_the_direction_of_its_hypothesis() -> None:
    """So that the rules can hear it."""
    form = parse("TS_STD(TS_PCTCHANGE($close, 1), 20)")
    for direction in (-1, 0, 1):
        hypothesis = hypothesis_for(form, direction=direction)
        assert hypothesis.direction == direction
        assert spoken(description_for(hypothesis, form)).direction == direction
        assert spoken(hypothesis.specification).direction == direction


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_from_a_random_expression_is_aligned(seed: int) -> None:
    """C ≥ 0.9 for 100 expressions of any depth, with and without a direction."""
    words, rng = Vocabulary.of(FIELDS), np.random.default_rng(seed)
    for _ in range(100):
        expression = sample(RATIO, int(rng.integers(1, 6)), words, rng)
        hypothesis = hypothesis_for(expression, direction=int(rng.integers(-1, 2)))
        said = alignment(hypothesis, description_for(hypothesis, expression), expression)
        assert said.score >= 0.9, (str(expression), said.reasons)


@pytest.mark.parametrize("name", ZOOS)
def test_what_is_read_from_published_formulas_is_aligned(name: str) -> None:
    """C ≥ 0.9 for whatever people have written, comparisons and industries too."""
    for entry in zoo(name):
        hypothesis = hypothesis_for(entry.expression)
        described = description_for(hypothesis, entry.expression)
        said = alignment(hypothesis, described, entry.expression)
        assert said.score >= 0.9, (entry.name, said.reasons)


def test_what_is_shown_is_carried() -> None:
    """A concept whose computation is recognised has what the table asks for."""
    words, rng = Vocabulary.of(FIELDS), np.random.default_rng(11)
    for _ in range(300):
        expression = sample(RATIO, int(rng.integers(1, 5)), words, rng)
        ops = {node.op for node in walk(expression) if isinstance(node, Call)}
        atoms = atoms_of(fields(expression), ops)
        assert all(concepts()[name].is_carried(atoms) for name in shown(expression))


def test_a_drawn_mechanism_is_kept_whatever_the_expression() -> None:
    """`hypothesis_of` says what was meant; alignment says whether it was met."""
    expression = parse("TS_STD($volume, 20) / TS_MEAN($volume, 20)")
    meant = hypothesis_of(named("overnight move"), expression, direction=-1)
    assert meant.mechanism == "overnight move"
    assert meant.direction == -1
    assert not fits(named("overnight move"), expression)
    assert alignment(meant, description_for(meant, expression), expression).score <= 0.5
    assert Hypothesis.from_json(meant.to_json()) == meant


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=NAMES)
def test_the_forms_point_the_way_of_their_quantity(mechanism: Mechanism) -> None:
    """Their expected sign is the mechanism's, or left open, and turns with the expression."""
    signs = {expected_direction(mechanism, parse(text)) for text in mechanism.forms}
    turned = {expected_direction(mechanism, parse(f"-1 * ({text})")) for text in mechanism.forms}
    assert signs <= {mechanism.direction, 0}
    assert mechanism.direction in signs
    assert turned == {-sign for sign in signs}


@pytest.mark.parametrize(
    ("name", "text", "direction"),
    [
        ("width of the range", "TS_MEAN($low / $high, 10)", 1),
        ("width of the range", "TS_MEAN($high / $low, 5) / TS_MEAN($high / $low, 40)", 0),
        ("reversal", "DELAY($close, 5) / $close", 1),
        ("reversal", "ABS(TS_PCTCHANGE($close, 5))", 0),
        ("momentum", "RANK(TS_PCTCHANGE($close, 60))", 1),
        ("intraday move", "$open / $close", 1),
        ("position in the range", "($high - $close) / ($high - $low)", 1),
        ("lottery", "TS_MIN(TS_PCTCHANGE($close, 1), 20)", 0),
        ("volatility", "1 - RANK(TS_STD(TS_PCTCHANGE($close, 1), 20))", 1),
        ("turnover", "TS_RANK($volume, 20)", 0),
        ("volatility", "$volume / TS_MEAN($volume, 20)", 0),
    ],
)
def test_the_expected_sign_is_that_of_the_expression(name: str, text: str, direction: int) -> None:
    """More of the quantity or less of it, or neither for certain."""
    assert expected_direction(named(name), parse(text)) == direction
