"""Complexity: the counts, the limits, and the combined regulariser."""

from __future__ import annotations

from math import log

import pytest

from miner.complexity import (
    Complexity,
    ComplexityLimits,
    Weights,
    complexity,
    excess,
    regularisation,
    regulariser,
)
from signals.grammar import parse


def test_counts_of_a_known_tree() -> None:
    """TS_CORR(RANK($close), DELAY($volume, 3), 10) has 7 nodes, 2 numbers, 2 fields."""
    measured = complexity(parse("TS_CORR(TS_RANK($close, 5), DELAY($volume, 3), 10)"))
    assert measured == Complexity(length=8, parameters=3, features=2, depth=3, lookback=13)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("length", ComplexityLimits(length=7)),
        ("parameters", ComplexityLimits(parameters=2)),
        ("features", ComplexityLimits(features=1)),
        ("depth", ComplexityLimits(depth=2)),
        ("lookback", ComplexityLimits(lookback=12)),
    ],
)
def test_each_limit_refuses_and_says_so(name: str, limits: ComplexityLimits) -> None:
    """The refusal names the count, its value and its limit."""
    measured = complexity(parse("TS_CORR(TS_RANK($close, 5), DELAY($volume, 3), 10)"))
    assert excess(measured, ComplexityLimits()) is None
    assert excess(measured, limits) == (
        f"{name} {getattr(measured, name)} > {getattr(limits, name)}"
    )


def test_regularisation_is_the_papers_sum_with_alignment_the_right_way_round() -> None:
    """R_g = a1 SL + a2 PC + b1 S + b2 (1 - C) + b3 log(1 + |F|): better alignment lowers it."""
    measured = complexity(parse("TS_MEAN($close, 5) / $close"))
    weights = Weights(length=1, parameters=10, similarity=100, alignment=1000, features=10000)
    got = regularisation(measured, similarity=3, alignment=0.25, weights=weights)
    assert got == pytest.approx(5 + 10 + 300 + 750 + 10000 * log(2))
    assert got > regularisation(measured, similarity=3, alignment=0.5, weights=weights)


def test_the_parts_of_the_regulariser_add_up() -> None:
    """A table can show SL, PC, S, C, log(1 + |F|) and what they weigh together."""
    measured = complexity(parse("TS_CORR($close, $volume, 10)"))
    weights = Weights()
    parts = regulariser(measured, similarity=3, alignment=0.5, weights=weights).to_json()
    assert {name: parts[name] for name in ("SL", "PC", "S", "C", "F")} == {
        "SL": 4, "PC": 1, "S": 3, "C": 0.5, "F": 2,
    }  # fmt: skip
    assert parts["log(1+F)"] == pytest.approx(log(3))
    assert parts["ER"] == pytest.approx(0.02 * 3 + 1.0 * 0.5 + 0.2 * log(3))
    assert parts["R_g"] == pytest.approx(0.02 * 4 + 0.04 * 1 + parts["ER"])
    assert parts["R_g"] == regularisation(measured, similarity=3, alignment=0.5, weights=weights)
