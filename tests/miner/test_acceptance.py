"""What validation asks for: tails of Student's t, and the verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest

from miner.acceptance import Bar, judgement, student_survival
from signals.ic import MeanEstimate


def estimate(mean: float) -> MeanEstimate:
    return MeanEstimate(mean, mean / 4, 0.0, 0.0, 4.0, 250)


@pytest.mark.parametrize(
    ("t", "df", "p"),
    [
        (1.671, 60, 0.05), (3.460, 60, 0.0005), (1.658, 120, 0.05), (2.617, 120, 0.005),
        (3.373, 120, 0.0005), (0.0, 100, 0.5), (-1.658, 120, 0.95), (2.015, 5, 0.05),
        (1.812, 10, 0.05), (2.764, 10, 0.01), (2.845, 20, 0.005),
    ],
)  # fmt: skip
def test_student_survival_agrees_with_printed_tables(t: float, df: int, p: float) -> None:
    """Values of the usual tables of Student's t."""
    assert student_survival(t, df) == pytest.approx(p, rel=0.02)


@pytest.mark.parametrize("df", [60, 249])
@pytest.mark.parametrize("t", [3.0, 4.5, 6.0])
def test_student_survival_is_right_far_out(t: float, df: int) -> None:
    """Within 5 % of the integral of the density, where a correction for many trials looks."""
    x = np.linspace(t, t + 60, 400_001)
    log_density = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    density = np.exp(log_density - (df + 1) / 2 * np.log1p(x * x / df))
    assert student_survival(t, df) == pytest.approx(float(np.trapezoid(density, x)), rel=0.05)


def test_what_has_no_t_is_no_evidence() -> None:
    """NaN, or no degree of freedom, is p = 1."""
    assert student_survival(math.nan, 100) == 1.0
    assert student_survival(5.0, 0) == 1.0


def test_a_finalist_passes_by_its_corrected_p_and_its_size() -> None:
    """Refused above alpha, refused below the least RankIC, and refused without a number."""
    assert judgement(estimate(0.03), 0.02, 12, Bar()) is None
    assert judgement(estimate(0.03), 0.06, 12, Bar()) == (
        "p = 0.06 > 0.025 as one of 12 heard on this validation"
    )
    assert judgement(estimate(0.005), 0.001, 1, Bar()) == "validated RankIC 0.0050 < 0.01"
    assert judgement(estimate(math.nan), 0.001, 1, Bar()) == "validated RankIC nan < 0.01"
    assert judgement(estimate(0.03), math.nan, 1, Bar()) is not None
