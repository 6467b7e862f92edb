"""Originality: common subtrees, and the evasions that must not work."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miner.originality import OriginalityLimits, SubtreeIndex, Tried, borrowed, core
from miner.plain import plain
from miner.raw_tree import largest_common, parse_raw
from miner.sampling import Vocabulary, sample
from miner.units import FIELD_UNITS, RATIO
from miner.zoo import zoo
from signals.expression import Call, Constant, Expression, call, fields
from signals.grammar import parse
from signals.operators import OPERATORS
from tests.miner.ranking import WHOLE, ranks_alike

KNOWN = "TS_CORR(RANK($high / $low), TS_MEAN($volume, 20), 10)"
LIMITS = OriginalityLimits()

#: The same factor in other words: its ranks are those of the first, or the contrary ones.
RESPELLED = [
    ("TS_CORR($open, $volume, 20)", "TS_CORR($volume, $open, 20)"),
    ("MAX($open, $close) / $low", "MAX($close, $open) / $low"),
    ("ADD($open, $close) / $low", "($close + $open) / $low"),
    ("SUBTRACT($high, $low) / $close", "($high - $low) / $close"),
    ("(($open + $close) + $high) / $low", "($open + ($close + $high)) / $low"),
    ("($open - $close) / $low", "-1 * (($close - $open) / $low)"),
    ("$open - $close", "$close - $open"),
    ("RANK($open / $close)", "$open / $close"),
    ("$open / $close", "RANK(RANK($open / $close))"),
    ("$open / $close", "$close / $open"),
    ("$high / $low", "LOG($high / $low)"),
    ("TS_PCTCHANGE($close, 5)", "LOG(1 + TS_PCTCHANGE($close, 5))"),
    ("TS_PCTCHANGE($close, 5)", "DELAY($close, 5) / $close"),
    ("DELTA($close, 5) / $volume", "($close - DELAY($close, 5)) / $volume"),
    ("$open * $volume / $close", "$volume / $close * $open"),
    ("$open / $close / $volume", "$open / ($volume * $close)"),
    ("TS_STD($close, 20)", "TS_VAR($close, 20)"),
    ("TS_MAX($close, 9) / $open", "-1 * (TS_MIN(-1 * $close, 9) / $open)"),
    ("TS_MEAN(RANK($close), 5)", "TS_MEAN(1 - RANK(-2 * $close), 5)"),
    ("TS_CORR($high - $low, $volume, 20)", "TS_CORR(2 * $volume + 3, $low - $high, 20)"),
    ("TS_RANK($close / $open, 9)", "TS_RANK($open / $close, 9)"),
    ("TS_MEAN($close, 8) / $open", "TS_SUM($close, 8) / $open"),
    ("RANK($volume) * ($open / $low)", "RANK(SQRT($volume)) * ($open / $low)"),
    ("MAX($open, $low) - $close", "$close + MIN(-1 * $open, -1 * $low)"),
    ("($close - $low) / ($high - $low)", "($close - $low) / ($high - $low + 1e-12)"),
]

#: A known factor with other numbers.
JITTERED = [
    (KNOWN, "TS_CORR(RANK($high / $low), TS_MEAN($volume, 21), 9)"),
    (KNOWN, "-3 * RANK(TS_CORR(TS_MEAN($volume, 20), RANK($high / $low), 10) + 1)"),
    ("-1 * TS_PCTCHANGE($close, 5)", "TS_PCTCHANGE($close, 6)"),
    (
        "TS_STD($close, 5) + TS_MEAN($close, 9) + TS_MEAN($open, 2) * $low",
        "TS_MEAN($open, 70) * $low + TS_MEAN($close, 4) + TS_STD($close, 9)",
    ),
    ("POW($close / $open, 2) - $low", "POW($close / $open, 4) - $low"),
    ("TS_SUM($close, 20) / 20 / $open", "TS_MEAN($close, 10) / $open"),
]


@pytest.mark.parametrize(
    ("text", "common", "blind"),
    [
        (KNOWN, 9, 9),
        ("TS_CORR(RANK($high / $low), TS_MEAN($volume, 21), 10)", 4, 9),
        ("TS_MEAN($volume, 20) / $volume", 3, 3),
        ("TS_MEAN($volume, 15) / $volume", 1, 3),
        ("$high / $low * $volume", 3, 3),
        ("$high * $volume / $low", 1, 3),
        ("DELTA($open, 20)", 0, 0),
    ],
)
def test_the_largest_common_subtree_is_counted_in_nodes(text: str, common: int, blind: int) -> None:
    """Exactly, and with all numbers taken as equal; a number alone is nothing in common."""
    found = SubtreeIndex([parse(KNOWN)]).similarity(parse(text))
    assert (found.common, found.common_blind) == (common, blind)


@pytest.mark.parametrize(("known", "evasion"), [*RESPELLED[:-2], *JITTERED, *RESPELLED[-2:]])
def test_an_evasion_is_recognised_as_a_copy(known: str, evasion: str) -> None:
    """Of whatever size: a short exact copy is one too."""
    for here, there in ((known, evasion), (evasion, known), (known, known)):
        similarity = SubtreeIndex.of({"theirs": parse(here)}).similarity(parse(there))
        assert similarity.copy
        assert borrowed(similarity, LIMITS) == "the same tree as theirs up to numbers"


@pytest.mark.parametrize(("known", "evasion"), RESPELLED)
def test_what_is_called_respelled_ranks_assets_alike(known: str, evasion: str) -> None:
    """Or in the contrary order; on whole bars, as a rank in a window counts what is there."""
    assert ranks_alike(parse(known), parse(evasion), WHOLE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RANK($open / $close) * RANK($volume)", "RANK($close / $open) * RANK($volume)"),
        ("TS_PCTCHANGE($close, 1) * $volume", "$close / DELAY($close, 1) * $volume"),
        ("(1 + $close / $open) * ZSCORE($volume)", "$close / $open * ZSCORE($volume)"),
        ("ABS($close / $open - 1)", "ABS($close / $open)"),
        ("DELTA($close, 5) / $close", "DELTA($open, 5) / $close"),
        ("1 / ($close - $open)", "$close - $open"),
        ("SIGN($close - $open)", "$close - $open"),
        ("LOG($volume)", "$volume"),
        ("POW($close - $open, 2)", "$close - $open"),
        ("TS_MAX($close, 5) / $open", "TS_MIN($close, 5) / $open"),
        ("TS_RANK(RANK($close), 9)", "TS_RANK($close, 9)"),
        ("$close / $open / $low", "$close / ($open / $low)"),
        ("$open - $close + $low", "$open - ($close + $low)"),
        ("TS_CORR($close, $open, 9)", "TS_COVARIANCE($close, $open, 9)"),
    ],
)
def test_factors_that_rank_otherwise_are_no_copies(one: str, other: str) -> None:
    """A turned rank inside a product, a reciprocal of what changes sign, a sign, a square."""
    assert not SubtreeIndex([parse(one)]).similarity(parse(other)).copy
    assert not ranks_alike(parse(one), parse(other))


def test_a_short_factor_is_judged_on_its_merit() -> None:
    """A part of a known factor is no copy of it, and neither is a factor on common ground."""
    index = SubtreeIndex([parse(KNOWN), parse("RANK(DELTA($close, 5)) * $volume / $open")])
    for text in ("$high / $low", "RANK(DELTA($close, 5) / $close)", "RANK($close)"):
        assert borrowed(index.similarity(parse(text)), LIMITS) is None


def test_no_ratio_refuses_a_short_factor_against_the_whole_zoo() -> None:
    """AlphaAgent's regulator refuses it, because one node in three is a variable."""
    index = SubtreeIndex(
        entry.expression for name in ("alpha101", "alpha158") for entry in zoo(name)
    )
    short = index.similarity(parse("RANK(DELTA($close, 5) / $close)"))
    assert (short.common_blind, short.length_blind) == (3, 5)
    assert borrowed(short, LIMITS) is None


def test_a_long_loan_is_refused_and_its_owner_named() -> None:
    """More than 8 nodes in common that make up most of a candidate are too much."""
    index = SubtreeIndex.of({"other": parse("$close / $low"), "alpha_042": parse(KNOWN)})
    found = index.similarity(parse(f"({KNOWN}) * ($open / $close)"))
    assert (found.common_blind, found.length_blind, found.copy) == (9, 13, False)
    assert (found.share, found.share_blind) == (9 / 13, 9 / 13)
    assert borrowed(found, LIMITS) == "shares 9 of 13 nodes with alpha_042"
    assert borrowed(found, OriginalityLimits(share=0.8)) is None
    assert borrowed(found, OriginalityLimits(nodes=9)) is None


def test_a_term_put_between_does_not_hide_a_loan() -> None:
    """Of a sum and of a product every part is known, whatever stands between its operands."""
    index = SubtreeIndex([parse("RANK($open) * RANK($volume)"), parse("$high - $low")])
    assert index.similarity(parse("RANK($open) * RANK($low) * RANK($volume)")).common_blind == 5
    assert index.similarity(parse("$high + $close - $low + $open")).common_blind == 3


def test_a_factor_without_a_name_is_called_known() -> None:
    """References may come without names."""
    found = SubtreeIndex([parse(KNOWN)]).similarity(parse(KNOWN))
    assert borrowed(found, LIMITS) == "the same tree as a known factor up to numbers"


def test_the_first_of_equal_references_is_named() -> None:
    """So a refusal reads the same in every run."""
    index = SubtreeIndex.of({"b": parse("$high / $low"), "a": parse("$low / $high")})
    assert index.similarity(parse("$high / $low")).reference == "b"
    assert len(index) == 2


def test_nothing_is_shared_with_nothing() -> None:
    """An empty index refuses nobody."""
    found = SubtreeIndex().similarity(parse(KNOWN))
    assert (found.common, found.common_blind, found.copy, found.reference) == (0, 0, False, "")


#: Respelled without a number that says nothing.
SAME_NUMBERS = [
    (one, other)
    for one, other in RESPELLED
    if not any(part in other for part in ("TS_SUM", "1 - RANK", "+ 3", "1e-12"))
]


@pytest.mark.parametrize(("one", "other"), SAME_NUMBERS)
def test_a_search_tries_no_factor_twice(one: str, other: str) -> None:
    """In whatever words."""
    assert Tried([parse(one)]).repeats(parse(other), LIMITS) == "the same factor was tried before"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TS_MEAN($close, 5) / $open", "TS_MEAN($close, 6) / $open"),
        ("TS_MEAN($close, 5) / TS_MEAN($open, 9)", "TS_MEAN($close, 9) / TS_MEAN($open, 5)"),
        ("TS_MEAN($open / TS_MEAN($open, 5), 9)", "TS_MEAN($open / TS_MEAN($open, 9), 5)"),
        ("2 * $open - $close - $low", "3 * $open - $close - $low"),
        ("($close - 2) / $low", "($close - 3) / $low"),
        ("DELTA($close, 2) / $low", "DELTA($close, 3) / $low"),
        ("DELTA(TS_MEAN($close, 5), 3) / $low", "DELTA(TS_MEAN($close, 3), 5) / $low"),
    ],
)
def test_other_numbers_are_worth_a_trial(one: str, other: str) -> None:
    """Evolution needs neighbours, though they are no originals."""
    assert SubtreeIndex([parse(one)]).similarity(parse(other)).copy
    assert Tried([parse(one)]).repeats(parse(other), LIMITS) is None


def test_a_search_does_not_try_every_window() -> None:
    """Each is a trial that the best of all is discounted for."""
    tried, limits = Tried(), OriginalityLimits(variants=3)
    for window in (5, 6, 7, 7):
        assert tried.repeats(parse(f"TS_MEAN($open, {window}) / $low"), limits) in (
            None,
            "the same factor was tried before",
        )
        tried.add(parse(f"TS_MEAN($open, {window}) / $low"))
    refused = tried.repeats(parse("TS_MEAN($open, 8) / $low"), limits)
    assert refused == "tried with 3 other sets of numbers before"


@given(st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=40)
def test_only_what_ranks_alike_is_taken_for_the_same_factor(one: int, other: int) -> None:
    """Two draws of one formula with windows of their own are told apart, unless they agree."""
    first, second = random_expression(one), with_windows(random_expression(one), other % 20 + 2)
    if Tried([first]).repeats(second, LIMITS) is not None:
        assert ranks_alike(first, second, WHOLE)


def random_expression(seed: int) -> Expression:
    rng = np.random.default_rng(seed)
    return sample(RATIO, int(rng.integers(2, 7)), Vocabulary.of(FIELD_UNITS), rng)


@given(st.integers(0, 2**32), st.integers(2, 50))
@settings(max_examples=40)
def test_no_number_is_seen_by_the_blind_form(seed: int, shift: int) -> None:
    """Other windows sort and group the operands of a formula otherwise, but it stays the same."""
    expression = random_expression(seed)
    assert plain(with_windows(expression, shift)).key == plain(expression).key


def with_windows(node: Expression, shift: int) -> Expression:
    if not isinstance(node, Call):
        return node
    kinds = OPERATORS[node.op].arguments
    args = (
        Constant(arg.value % shift + 5)
        if kind == "window" and isinstance(arg, Constant)
        else with_windows(arg, shift)
        for kind, arg in zip(kinds, node.args, strict=True)
    )
    return call(node.op, *args)


@given(st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=40)
def test_the_index_finds_what_a_comparison_of_all_pairs_finds(one: int, other: int) -> None:
    """The compatibility mode compares every subtree with every other and knows no index."""
    known, asked = random_expression(one), core(random_expression(other))
    known = call("SUBTRACT", known, call("MULTIPLY", Constant(3.0), asked.args[0]))
    index = SubtreeIndex([known, core(known)])
    trees = [parse_raw(str(tree)) for tree in (known, core(known))]
    most = max(largest_common(parse_raw(str(asked)), tree) for tree in trees)
    if most == 1:  # there a number counts as a subtree too
        most = int(bool(fields(asked) & fields(known)))
    assert index.similarity(asked).common == most


@given(st.integers(0, 2**32), st.integers(0, 2**32))
@settings(max_examples=40)
def test_what_is_known_stays_known(one: int, other: int) -> None:
    """More references never make a candidate more original."""
    asked, index = random_expression(one), SubtreeIndex()
    before = index.similarity(asked)
    for reference in (random_expression(other), asked):
        index.add(reference)
        after = index.similarity(asked)
        assert after.common >= before.common
        assert after.common_blind >= before.common_blind
        assert after.common_blind <= after.length_blind
        before = after
    assert before.copy
    assert before.share == before.share_blind == 1.0
