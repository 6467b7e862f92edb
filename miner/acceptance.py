"""What validation asks of a finalist, once."""

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


@dataclass(frozen=True, slots=True)
class Bar:
    """What validation asks for.

    Parameters
    ----------
    alpha : float
        Chance that a re-mining on a market without signal accepts anything, at most: all finalists
        heard on any part of its validation share it. A test that rejects at exactly 5 % exceeds 5 %
        in half of all counts; half of that keeps below it.
    min_ic : float
        Smallest validated RankIC worth having.
    max_correlation : float
        Largest |mean rank correlation| with a factor of the book or one accepted before.
    """

    alpha: float = 0.025
    min_ic: float = 0.01
    max_correlation: float = 0.7


def judgement(estimate: MeanEstimate, p_family: float, n_heard: int, bar: Bar) -> str | None:
    """Return why validation refuses a finalist, None where it does not.

    Parameters
    ----------
    estimate : MeanEstimate
        Of the incremental RankIC on validation, oriented by the sign found on train.
    p_family : float
        Its p-value, corrected for all that were heard (`miner.best_of`).
    n_heard : int
        How many those are.
    bar : Bar
        What is asked for.
    """
    if not p_family <= bar.alpha:
        return f"p = {p_family:.3g} > {bar.alpha:g} as one of {n_heard} heard on this validation"
    if not estimate.mean >= bar.min_ic:
        return f"validated RankIC {estimate.mean:.4f} < {bar.min_ic:g}"
    return None
