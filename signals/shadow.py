"""The trial of a factor in shadow: Wald's sequential tests on ICs nobody has selected on.

Two questions, each a test of mean 0 against a mean above it, by the monitor's own t likelihood
(`signals.decay`), over the sessions since the factor joined:

- Does it earn? Its forward ICs, against the mean it was validated with (`judge_shadow`).
- Does it earn more than the one it is to replace? The paired differences of their ICs
  (`judge_pair`)::

      d[t] = IC_challenger[t] - IC_incumbent[t]
      delta[t] = max(m - u[t], 0.008),   u[t] = max(a[t] + s[t], 0)

  m is the challenger's validated, shrunk mean; u is what the incumbent still earns at most: the
  mean a of its last 63 ICs before t, and their standard error s more. Under the null hypothesis
  d has mean 0 or less, under the alternative delta. As delta[t] rests on what was known before t,
  the likelihood ratio is a martingale under the null hypothesis, and Wald's bound holds (Robbins
  and Siegmund 1974); an incumbent that dies while it is being compared is beaten the sooner. What
  moves both factors alike cancels in d, as correlated factors are. Variance, carry and kappa of d
  start from the sessions before the challenger joined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from signals.decay import (
    LEAST_MEAN,
    MonitorState,
    decay_ratio,
    fresh_part,
    next_variance,
    start_monitor,
)
from signals.panel import FloatArray

#: ICs of an incumbent, before the challenger joined, that tell what it still earns.
RECENT = 63


class Promotion(StrEnum):
    """What forward ICs say of a factor in shadow."""

    PROMOTE = "promote"
    REJECT = "reject"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a challenger stands against an incumbent.

    Parameters
    ----------
    outcome : Promotion
        Promote: the challenger earns more. Reject: it does not. Continue: not decided.
    log_likelihood_ratio : float
        For the challenger, when the decision was taken, or so far.
    sessions : int
        Sessions with both ICs up to then.
    advantage : float
        delta of the last session judged; NaN before any.
    """

    outcome: Promotion
    log_likelihood_ratio: float
    sessions: int
    advantage: float


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
    seen = forward_ics[:max_sessions]
    means = np.full(len(seen), state.mean)
    outcome, support, _ = _wald(seen, means, state, alpha, beta, min_sessions)
    if outcome is Promotion.CONTINUE and len(forward_ics) >= max_sessions:
        return Promotion.REJECT, support
    return outcome, support


def judge_pair(
    challenger: FloatArray,
    incumbent: FloatArray,
    first: int,
    mean: float,
    *,
    horizon: int,
    alpha: float = 0.05,
    beta: float = 0.05,
    min_sessions: int = 20,
    max_sessions: int = 250,
) -> Comparison:
    """Judge whether a challenger earns more than an incumbent, by Wald's sequential test.

    Parameters
    ----------
    challenger, incumbent : ndarray of shape (n,)
        ICs of the same sessions, oldest first; a session where either is NaN brings no news.
    first : int
        The first row that is judged; nothing the challenger was chosen by lies after it.
    mean : float
        The challenger's validated, shrunk mean.
    horizon : int
        Sessions the label is held.
    alpha, beta : float
        Chance to replace an incumbent that earns as much, and to reject a challenger that earns
        delta more.
    min_sessions, max_sessions : int
        Finite differences before any decision; rows after which none is taken any more.

    Raises
    ------
    DataError
        Fewer than 60 rows before `first` with both ICs, or differences that do not vary.
    """
    stop = min(first + max_sessions, len(challenger))
    difference = (challenger - incumbent)[:stop]
    before, forward = difference[:first], difference[first:]
    state = start_monitor(before, horizon=horizon)
    # its standard error over that of as many ICs whose labels do not overlap
    overlap = state.baseline_se**2 * np.isfinite(before).sum() / np.nanvar(before, ddof=1)
    deltas = advantages(incumbent[:stop], first, mean, overlap=float(overlap))
    outcome, support, judged = _wald(forward, deltas, state, alpha, beta, min_sessions)
    used = deltas[np.isfinite(forward)][:judged]
    return Comparison(outcome, support, judged, float(used[-1]) if judged else math.nan)


def advantages(
    incumbent: FloatArray, first: int, mean: float, *, overlap: float = 1.0
) -> FloatArray:
    """Return delta for each row from `first` on, from the incumbent's ICs before that row.

    Parameters
    ----------
    incumbent : ndarray of shape (n,)
        Its ICs, oldest first; NaN is skipped. At least 2 before `first`.
    mean : float
        The challenger's validated, shrunk mean.
    overlap : float
        Variance of a mean over that of as many independent ICs.

    Returns
    -------
    ndarray of shape (n - first,)
    """
    finite = np.isfinite(incumbent)
    known = np.r_[0.0, incumbent[finite]]
    sums, squares = np.cumsum(known), np.cumsum(known**2)
    stop = (np.cumsum(finite) - finite)[first:]
    start = np.maximum(stop - RECENT, 0)
    n = stop - start
    earned = (sums[stop] - sums[start]) / n
    variance = np.maximum((squares[stop] - squares[start]) / n - earned**2, 0.0)
    at_most = np.maximum(earned + np.sqrt(variance * overlap / n), 0.0)
    return np.asarray(np.maximum(mean - at_most, LEAST_MEAN))


def _wald(
    ics: FloatArray,
    means: FloatArray,
    state: MonitorState,
    alpha: float,
    beta: float,
    min_sessions: int,
) -> tuple[Promotion, float, int]:
    """Return the first decision, its log-likelihood ratio and the finite ICs it took."""
    upper, lower = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    support, variance, finite, last_ic = 0.0, state.variance0, 0, state.last_ic
    for ic, mean in zip(ics.tolist(), means.tolist(), strict=True):
        if not math.isfinite(ic):
            continue
        finite += 1
        fresh, last_ic = fresh_part(ic, last_ic, state.carry), ic
        support -= decay_ratio(fresh, mean, variance, state.kappa)
        variance = next_variance(fresh, mean, variance, state.variance0)
        if finite >= min_sessions and support >= upper:
            return Promotion.PROMOTE, support, finite
        if finite >= min_sessions and support <= lower:
            return Promotion.REJECT, support, finite
    return Promotion.CONTINUE, support, finite
