"""Originality: common subtrees, and the evasions that must not work."""

from __future__ import annotations

import pytest

from miner.originality import OriginalityLimits, SubtreeIndex, borrowed, core
from signals.grammar import parse

KNOWN = "TS_CORR(RANK($high / $low), TS_MEAN($volume, 20), 10)"


@pytest.mark.parametrize(
    ("text", "common", "blind"),
    [
        (KNOWN, 9, 9),
        ("TS_CORR(RANK($high / $low), TS_MEAN($volume, 21), 10)", 4, 9),
        ("TS_MEAN($volume, 20) / $volume", 3, 3),
        ("TS_MEAN($volume, 15) / $volume", 1, 3),
        ("DELTA($open, 7)", 0, 1),
    ],
)
def test_the_largest_common_subtree_is_counted_in_nodes(text: str, common: int, blind: int) -> None:
    """Exactly, and with all numbers taken as equal."""
    found = SubtreeIndex([parse(KNOWN)]).similarity(parse(text))
    assert (found.common, found.common_blind) == (common, blind)


@pytest.mark.parametrize(
    ("known", "evasion"),
    [
        (KNOWN, "TS_CORR(RANK($high / $low), TS_MEAN($volume, 21), 9)"),
        (KNOWN, "-3 * RANK(TS_CORR(TS_MEAN($volume, 20), RANK($high / $low), 10) + 1)"),
        ("MAX($open, $close) / $low", "MAX($close, $open) / $low"),
        ("($open + $close) + $high", "$open + ($close + $high)"),
        ("$open - $close", "-1 * ($close - $open)"),
        ("-1 * TS_PCTCHANGE($close, 5)", "TS_PCTCHANGE($close, 6)"),
        ("RANK($open / $close)", "$open / $close"),
    ],
)
def test_an_evasion_is_recognised_as_a_copy(known: str, evasion: str) -> None:
    """Window jitter, swapped arguments, another grouping, a monotone coat, a short exact copy."""
    similarity = SubtreeIndex([parse(known)]).similarity(parse(evasion))
    assert similarity.copy
    assert borrowed(similarity, OriginalityLimits()) is not None


def test_a_short_factor_is_judged_on_its_merit() -> None:
    """A part of a known factor is no copy of it, and neither is a factor on common ground."""
    index = SubtreeIndex([parse(KNOWN), parse("RANK(DELTA($close, 5)) * $volume / $open")])
    for text in ("$high / $low", "RANK(DELTA($close, 5) / $close)", "RANK($close)"):
        assert borrowed(index.similarity(parse(text)), OriginalityLimits()) is None


def test_a_long_loan_is_refused() -> None:
    """More than 8 nodes in common that make up most of a candidate are too much."""
    found = SubtreeIndex([parse(KNOWN)]).similarity(parse(f"({KNOWN}) * ($open / $close)"))
    assert (found.common_blind, found.length, found.copy) == (9, 13, False)
    assert borrowed(found, OriginalityLimits()) == "shares 9 of 13 nodes with a known factor"
    assert borrowed(found, OriginalityLimits(share=0.8)) is None


def test_the_core_is_what_monotone_coats_hide() -> None:
    """A number over x ranks neither like x nor contrary to it where x changes sign, so it stays."""
    assert str(core(parse("2 - RANK(ZSCORE($close / $open) * 3)"))) == "$close / $open"
    assert str(core(parse("1 / $close"))) == "1 / $close"
