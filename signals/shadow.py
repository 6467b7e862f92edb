"""The trial of a factor in shadow: Wald's sequential test on ICs nobody has selected on."""

from __future__ import annotations

import math
from enum import StrEnum

from signals.decay import MonitorState, decay_ratio, fresh_part, next_variance
from signals.panel import FloatArray


class Promotion(StrEnum):
    """What forward ICs say of a factor in shadow."""

    PROMOTE = "promote"
    REJECT = "reject"
    CONTINUE = "continue"


def judge_shadow(
    forward_ics: FloatArray,
    state: MonitorState,
    *,
    alpha: float = 0.05,
    beta: float = 0.05,
    min_sessions: int = 20,
    max_sessions: int = 250,
) -> tuple[Promotion, float]:
    """Judge a factor in shadow by its forward ICs alone: Wald's (1945) sequential test.

    The validated, shrunk mean of `state` against 0, with the monitor's own t likelihood: promote at
    ``ln((1 - beta) / alpha)``, reject at ``ln(beta / (1 - alpha))``.

    Parameters
    ----------
    forward_ics : ndarray of shape (n,)
        ICs realised since the factor joined, oldest first; NaN counts as a session without news.
    state : MonitorState
        `start_monitor` of the ICs the factor was validated on; only its constants are read.
    alpha, beta : float
        Chance to promote a factor without any IC, and to reject one that keeps its mean.
    min_sessions, max_sessions : int
        Finite ICs before any decision; sessions after which no decision is a rejection.

    Returns
    -------
    tuple of (Promotion, float)
        The first decision, with the log-likelihood ratio for the factor when it was taken; later
        ICs do not change it.
    """
    upper, lower = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    support, variance, finite, last_ic = 0.0, state.variance0, 0, state.last_ic
    for ic in forward_ics[:max_sessions].tolist():
        if not math.isfinite(ic):
            continue
        finite += 1
        fresh, last_ic = fresh_part(ic, last_ic, state.carry), ic
        support -= decay_ratio(fresh, state.mean, variance, state.kappa)
        variance = next_variance(fresh, state.mean, variance, state.variance0)
        if finite >= min_sessions and support >= upper:
            return Promotion.PROMOTE, support
        if finite >= min_sessions and support <= lower:
            return Promotion.REJECT, support
    if len(forward_ics) >= max_sessions:
        return Promotion.REJECT, support
    return Promotion.CONTINUE, support
