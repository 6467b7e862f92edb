"""The acceptance test: tails, correction, correlation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from miner.acceptance import (
    Bar,
    bonferroni,
    judgement,
    p_value,
    student_survival,
    value_correlation,
)
from signals.ic import MeanEstimate


def estimate(mean: float, t: float, n: int = 250) -> MeanEstimate:
    return MeanEstimate(mean, mean / t, 0.0, 0.0, t, n)


@pytest.mark.parametrize(
    ("t", "df", "p"),
    [
        (1.671, 60, 0.05), (3.460, 60, 0.0005), (1.658, 120, 0.05), (2.617, 120, 0.005),
        (3.373, 120, 0.0005), (0.0, 100, 0.5), (-1.658, 120, 0.95),
    ],
)  # fmt: skip
def test_student_survival_agrees_with_printed_tables(t: float, df: int, p: float) -> None:
    """Values of the usual tables of Student's t."""
    assert student_survival(t, df) == pytest.approx(p, rel=0.01)


@pytest.mark.parametrize("df", [60, 249])
@pytest.mark.parametrize("t", [3.0, 4.5, 6.0])
def test_student_survival_is_right_far_out(t: float, df: int) -> None:
    """Within 5 % of the integral of the density, where a correction for many trials looks."""
    x = np.linspace(t, t + 60, 400_001)
    log_density = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    density = np.exp(log_density - (df + 1) / 2 * np.log1p(x * x / df))
    assert student_survival(t, df) == pytest.approx(float(np.trapezoid(density, x)), rel=0.05)


def test_what_cannot_be_tested_has_p_one() -> None:
    """No t, or one session, is no evidence."""
    assert p_value(MeanEstimate(math.nan, math.nan, math.nan, math.nan, math.nan, 0)) == 1.0
    assert p_value(estimate(0.02, math.nan)) == 1.0
    assert bonferroni(0.3, 10) == 1.0
    assert bonferroni(0.001, 0) == 0.001


def test_the_same_evidence_is_worth_less_after_more_trials() -> None:
    """With t = 4 a candidate passes as one of 1,000 and fails as one of 10,000; a tiny IC fails."""
    assert judgement(estimate(0.03, 4.0), 1_000, Bar())[0] is None
    refused, p = judgement(estimate(0.03, 4.0), 10_000, Bar())
    assert refused is not None
    assert refused.endswith("> 0.05 after 10000 trials")
    assert 0.05 < p < 1
    assert judgement(estimate(0.005, 9.0), 1, Bar())[0] == "validated RankIC 0.0050 < 0.01"
    assert judgement(estimate(-0.03, -9.0), 1, Bar())[0] == "p = 1 > 0.05 after 1 trials"


def test_value_correlation_is_that_of_ranks_within_the_universe() -> None:
    """A monotone transform correlates 1, its negative -1; assets outside do not count."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5, 50))
    universe = np.ones(x.shape, dtype=bool)
    universe[:, 40:] = False
    other = np.where(universe, np.exp(x), rng.normal(size=x.shape))
    assert value_correlation(x, other, universe) == pytest.approx(1)
    assert value_correlation(x, -other, universe) == pytest.approx(-1)
    assert value_correlation(x, np.zeros_like(x), universe) == 0.0
