"""The gate a candidate passes once: validation out of sample, corrected for all that was tried."""

from __future__ import annotations

import math
from dataclasses import dataclass

from signals.ic import MeanEstimate


def student_survival(t: float, df: float) -> float:
    """Return P(T > t) of Student's t; NaN gives 1.

    Wallace's (1959) normal approximation, z = (8 df + 1) / (8 df + 3) sqrt(df log(1 + t²/df)); its
    relative error is below 5 % out to p = 1e-7 for df >= 60.
    """
    if math.isnan(t) or df < 1:
        return 1.0
    z = (8 * df + 1) / (8 * df + 3) * math.sqrt(df * math.log1p(t * t / df))
    return 0.5 * math.erfc(math.copysign(z, t) / math.sqrt(2.0))


def p_value(estimate: MeanEstimate) -> float:
    """Return the one-sided p-value of a mean above 0; what cannot be tested gives 1."""
    if estimate.n < 2:
        return 1.0
    return student_survival(estimate.t, estimate.n - 1)


def bonferroni(p: float, n_trials: int) -> float:
    """Return min(1, p · n_trials).

    `n_trials` counts every candidate that was measured, not the few that reached validation, and
    the trials of earlier searches on an overlapping validation too. It holds under any dependence
    among them.
    """
    return min(1.0, p * max(n_trials, 1))


@dataclass(frozen=True, slots=True)
class Bar:
    """What validation asks for.

    Parameters
    ----------
    alpha : float
        Chance that a search on a market without signal accepts anything, at most.
    min_ic : float
        Smallest validated RankIC worth having.
    max_correlation : float
        Largest |mean rank correlation| with a factor of the book or one accepted before.
    """

    alpha: float = 0.05
    min_ic: float = 0.01
    max_correlation: float = 0.7


def judgement(estimate: MeanEstimate, n_trials: int, bar: Bar) -> tuple[str | None, float]:
    """Return why validation refuses (None: it does not) and the corrected p-value.

    Parameters
    ----------
    estimate : MeanEstimate
        Of the incremental RankIC on validation, oriented by the sign found on train.
    n_trials : int
        Candidates measured, this search and earlier ones.
    bar : Bar
        What is asked for.
    """
    corrected = bonferroni(p_value(estimate), n_trials)
    if corrected > bar.alpha:
        return f"p = {corrected:.3g} > {bar.alpha:g} after {n_trials} trials", corrected
    if not estimate.mean >= bar.min_ic:
        return f"validated RankIC {estimate.mean:.4f} < {bar.min_ic:g}", corrected
    return None, corrected
