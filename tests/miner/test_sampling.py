"""The grammar: every draw has its unit, and questions and groups appear where they may."""

from __future__ import annotations

import numpy as np
import pytest

from miner.sampling import Vocabulary, question, sample, spoken
from miner.templates import (
    SINGLE,
    SINGLE_OF_RATIO,
    filled,
    from_form,
    from_template,
    single,
    templates,
)
from miner.units import PRICE, RATIO, SHARES, is_scale_free, unit
from signals.errors import ExpressionError
from signals.evaluate import evaluate
from signals.expression import Call, Constant, Expression, Field, fields, walk, windows
from signals.grammar import parse
from signals.operators import OPERATORS
from tests.miner.market import market

FIELDS = ("open", "high", "low", "close", "volume")
WORDS = Vocabulary.of(FIELDS)


def drawn(n: int, words: Vocabulary, seed: int) -> list[Expression]:
    rng = np.random.default_rng(seed)
    return [sample(RATIO, int(rng.integers(2, 5)), words, rng) for _ in range(n)]


def operators(expressions: list[Expression]) -> set[str]:
    return {node.op for e in expressions for node in walk(e) if isinstance(node, Call)}


@pytest.mark.parametrize("wanted", [RATIO, PRICE, SHARES])
def test_a_sample_has_the_unit_asked_for(wanted: tuple[int, int]) -> None:
    """Whatever the depth, and its text parses back into it."""
    rng = np.random.default_rng(0)
    made = [sample(wanted, int(rng.integers(1, 6)), WORDS, rng) for _ in range(300)]
    assert {unit(e) for e in made} == {wanted}
    assert all(parse(str(e)) == e for e in made)


def test_the_grammar_speaks_of_every_kind_of_operator() -> None:
    """Averages, quantiles, higher moments, regressions and questions are all drawn."""
    averages = {"TS_MEAN", "EMA", "DECAYLINEAR", "TS_MEDIAN", "TS_QUANTILE", "DELAY", "DELTA"}
    spreads = {"TS_STD", "TS_MAD", "TS_SKEW", "TS_KURT", "TS_MAX", "TS_MIN", "TS_PCTCHANGE"}
    places = {"TS_ARGMAX", "TS_ARGMIN", "TS_RANK", "TS_ZSCORE", "RANK"}
    pairs = {"TS_CORR", "TS_COVARIANCE", "REGBETA", "REGRESI", "MAX", "MIN"}
    wanted = averages | spreads | places | pairs | {"SIGN", "ABS", "GT", "WHERE"}
    assert wanted <= operators(drawn(6000, WORDS, 1)) <= set(OPERATORS)


def test_a_group_is_only_ever_asked_for_where_the_panel_has_one() -> None:
    """And where it has, a group field is nothing but the second argument of a group operator."""
    grouped = {"GROUP_RANK", "GROUP_ZSCORE", "GROUP_MEAN"}
    assert not grouped & operators(drawn(2000, WORDS, 2))
    made = drawn(2000, Vocabulary.of((*FIELDS, "industry")), 2)
    assert grouped <= operators(made)
    told = Field("industry")
    calls = [node for e in made for node in walk(e) if isinstance(node, Call)]
    holders = {(node.op, node.args.index(told)) for node in calls if told in node.args}
    assert holders == {(op, 1) for op in grouped}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GROUP_RANK(TS_PCTCHANGE($close, 5), $industry)", RATIO),
        ("GROUP_RANK($close, $industry)", None),
        ("GROUP_MEAN(TS_PCTCHANGE($close, 5), $volume)", None),
        ("RANK($industry)", None),
        ("TS_MEAN($industry, 5)", None),
    ],
)
def test_a_group_is_no_number(text: str, expected: tuple[int, int] | None) -> None:
    """Its values have no unit, and only they tell groups apart."""
    assert unit(parse(text)) == expected


def test_a_question_is_answered_by_0_or_1() -> None:
    """On real numbers, and whichever fields it asks about."""
    rng, panel = np.random.default_rng(3), market(1, n_sessions=140, n_assets=20)
    asked = [question(WORDS, rng) for _ in range(30)]
    assert all(is_scale_free(e) for e in asked)
    for values in evaluate(asked, panel):
        assert set(np.unique(values[np.isfinite(values)])) <= {0.0, 1.0}


def test_a_vocabulary_of_one_field_is_enough() -> None:
    """Close alone still gives hundreds of factors and templates, and no other field."""
    words, rng = WORDS.only({"close"}, (5, 10, 20)), np.random.default_rng(4)
    made = [sample(RATIO, 3, words, rng) for _ in range(300)]
    made += [from_template(words, rng) for _ in range(300)]
    assert len(set(made)) > 200
    assert {name for e in made for name in fields(e)} == {"close"}
    assert all(is_scale_free(e) for e in made)


def test_templates_are_scale_free_and_keep_what_stands_twice() -> None:
    """One draw of a slot stands wherever the slot does, and windows keep their order."""
    text = "TS_STD($ratio, 5) / TS_STD($ratio, 20)"
    assert parse(text) in templates()
    slots: dict[Expression, Expression] = {
        Field("ratio"): parse("$high / $low"),
        Constant(5.0): Constant(10.0),
        Constant(20.0): Constant(60.0),
    }
    assert filled(parse(text), slots) == parse(
        "TS_STD($high / $low, 10) / TS_STD($high / $low, 60)"
    )
    rng = np.random.default_rng(5)
    made = [from_template(WORDS, rng) for _ in range(500)]
    assert all(is_scale_free(e) for e in made)
    assert not {"level", "near", "ratio", "other", "any", "asked"} & set().union(*map(fields, made))


def test_single_statistics_are_soon_all_seen() -> None:
    """Every statistic of every feature and field comes within some thousand draws."""
    rng = np.random.default_rng(8)
    made = [single(WORDS, rng) for _ in range(4000)]
    assert all(is_scale_free(e) for e in made)
    pairs = {(e.op, e.args[0]) for e in made if isinstance(e, Call)}
    wanted = {(op, e) for op in (*SINGLE, *SINGLE_OF_RATIO) for e in spoken(WORDS.names)}
    wanted |= {(op, Field(name)) for op in SINGLE for name in FIELDS}
    assert wanted <= pairs
    stacked = sum((e.op, e.args[0]) not in wanted for e in made if isinstance(e, Call))
    assert 0.3 < stacked / len(made) < 0.5


def test_a_form_gets_other_windows_and_nothing_else() -> None:
    """Two windows of one size stay equal, and the larger stays the larger."""
    rng = np.random.default_rng(6)
    form = parse("TS_MEAN($close, 5) / TS_MEAN($close, 20)")
    made = [from_form(form, WORDS, rng) for _ in range(50)]
    pairs = {windows(e) for e in made}
    assert len(pairs) > 10
    assert all(short < long for short, long in pairs)


def test_no_draw_has_a_window_its_operator_refuses() -> None:
    """A draw that fails costs a candidate; there is none among thousands."""
    rng, failed = np.random.default_rng(7), 0
    for _ in range(2000):
        try:
            from_template(WORDS, rng)
        except ExpressionError:
            failed += 1
    assert failed == 0
