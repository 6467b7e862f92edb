"""The decay monitor: a sequential test on a factor's ICs with a stated false-alarm budget.

A studentised-t Shiryaev-Roberts recursion (Shiryaev 1963; Roberts 1966; stationary optimality:
Pollak and Tartakovsky 2009). For each realised IC x, with m the mean that is tested, v the running
variance, kappa the ratio of long-run to plain variance and c = v (nu - 2)::

    l = (nu + 1) / (2 kappa) * (ln(1 + (x - m)^2 / c) - ln(1 + x^2 / c))   # > 0 speaks for decay
    R = (1 + R) exp(l)                                                     # decayed at R >= A
    Q = (1 + Q) exp(-l)                                                    # recovered at Q >= 120

While a factor is intact R grows by at most 1 an IC on average, so that a false alarm comes after A
ICs or later on average. With A = 63 N for each of N factors the whole book gives one false
`decayed` a quarter, by linearity, however its factors depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np

from signals.errors import DataError
from signals.halflife import half_life_interval
from signals.ic import MeanEstimate, autocorrelation, hac_lags, mean_with_interval
from signals.panel import FloatArray

#: Degrees of freedom of the t likelihood.
NU = 6.0
#: Fewest finite ICs a baseline may have.
MIN_BASELINE = 60
#: Standard errors taken off the mean of the baseline: a factor is chosen because it looked good.
CURSE = 1.0
#: Mean and standard deviation (in IC) of what factors are known to earn, and the least mean tested.
PRIOR_MEAN, PRIOR_SD, LEAST_MEAN = 0.03, 0.012, 0.008
#: Memory of the running variance and of the running mean, in ICs.
HALF_LIFE = 25.0
#: Warning starts at this part of the threshold and ends at 1/e of it.
WARNING_PART = 200 / 1260
#: Evidence of recovery (Q) at which a decayed factor is healthy again.
RECOVERY = 120.0
#: Evidence stops growing here, far beyond any threshold, so that it stays a finite number.
EVIDENCE_CAP = 1e12

_ALPHA = 1 - 0.5 ** (1 / HALF_LIFE)


class Verdict(StrEnum):
    """What the monitor says of a factor; recovery is the event decayed → healthy."""

    HEALTHY = "healthy"
    WARNING = "warning"
    DECAYED = "decayed"
    SUSPENDED = "suspended"


class Promotion(StrEnum):
    """What forward ICs say of a factor in shadow."""

    PROMOTE = "promote"
    REJECT = "reject"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class MonitorState:
    """Everything the monitor of one factor knows: scalars only, of fixed size.

    Parameters
    ----------
    verdict, standing : Verdict
        What is said now, and what the evidence alone says (they differ while suspended).
    reason : str
        Why the verdict is what it is.
    evidence, threshold : float
        R of the recursion, and A: `decayed` at ``R >= A``.
    recovery : float
        Q of the recursion while `decayed`, else 0.
    n, last_clear : int
        ICs used so far, and n when the CUSUM of l was last 0: onset is ``n - last_clear`` ago.
    cusum : float
        ``max(0, cusum + l)``.
    support : float
        Log-likelihood ratio *for* the factor since the start: the sum of -l.
    ewma : float
        Running mean of the ICs, half-life 25 ICs, from `mean` on.
    variance, variance0 : float
        Running variance of one IC, and that of the baseline.
    kappa : float
        Long-run variance / variance, from the overlap of labels.
    mean : float
        The mean that is tested: the baseline's, shrunk.
    baseline_mean, baseline_se : float
        Of the baseline as it is.
    horizon : int
        Sessions the label is held.
    """

    verdict: Verdict
    standing: Verdict
    reason: str
    evidence: float
    threshold: float
    recovery: float
    n: int
    last_clear: int
    cusum: float
    support: float
    ewma: float
    variance: float
    variance0: float
    kappa: float
    mean: float
    baseline_mean: float
    baseline_se: float
    horizon: int

    @property
    def warning_level(self) -> float:
        """Evidence at which the verdict turns from healthy to warning."""
        return self.threshold * WARNING_PART

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `from_json` gives back an equal state."""
        return asdict(self) | {"verdict": self.verdict.value, "standing": self.standing.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MonitorState:
        """Return the state that `to_json` wrote; missing or unknown fields are a DataError."""
        expected = {field.name for field in fields(cls)}
        if set(values) != expected:
            raise DataError(
                f"monitor state with unexpected fields {sorted(set(values) ^ expected)}",
                rule="a stored state has exactly the fields of MonitorState",
                hint="replay the factor's ICs through start_monitor and update",
            )
        verdicts = {name: Verdict(values[name]) for name in ("verdict", "standing")}
        return cls(**{**values, **verdicts})


def false_alarm_threshold(n_factors: int, sessions_per_false_alarm: int = 63) -> float:
    """Return A for a book of `n_factors` that allows one false `decayed` in so many sessions."""
    return float(sessions_per_false_alarm * max(n_factors, 1))


def start_monitor(
    baseline: FloatArray, *, horizon: int = 1, threshold: float = 1260.0
) -> MonitorState:
    """Return the state before the first live IC.

    The mean tested is ``max(w (m_b - se) + (1 - w) 0.03, 0.008)``, ``w = s^2 / (s^2 + se^2)``,
    ``s = 0.012``: the baseline's mean less one standard error, shrunk towards what factors earn.
    ``se^2 = v kappa / n`` and ``kappa = max(1, 1 + 2 sum_{L < horizon} rho_L)``.

    Parameters
    ----------
    baseline : ndarray of shape (n,)
        ICs of consecutive sessions before the first live one; NaN is skipped.
    horizon : int
        Sessions the label is held; labels overlap above 1.
    threshold : float
        A; see `false_alarm_threshold`.

    Raises
    ------
    DataError
        Fewer than 60 finite ICs, ICs that do not vary, or a threshold not above 1.
    """
    finite = baseline[np.isfinite(baseline)].astype(np.float64)
    if len(finite) < MIN_BASELINE or finite.min() == finite.max():
        raise DataError(
            f"a baseline of {len(finite)} finite ICs"
            + (", all equal" if len(finite) >= MIN_BASELINE else ""),
            rule=f"a baseline has at least {MIN_BASELINE} finite ICs that vary",
            hint="wait until enough sessions are realised, or check the factor's coverage",
        )
    if not 1 < threshold < EVIDENCE_CAP:
        raise DataError(f"threshold {threshold}", rule="1 < threshold < 1e12")
    baseline_mean, variance = float(finite.mean()), float(finite.var(ddof=1))
    kappa = max(1.0, 1 + 2 * sum(autocorrelation(baseline, lag) for lag in range(1, horizon)))
    se = math.sqrt(variance * kappa / len(finite))
    weight = PRIOR_SD**2 / (PRIOR_SD**2 + se**2)
    mean = max(weight * (baseline_mean - CURSE * se) + (1 - weight) * PRIOR_MEAN, LEAST_MEAN)
    return MonitorState(
        verdict=Verdict.HEALTHY,
        standing=Verdict.HEALTHY,
        reason="no IC since the baseline",
        evidence=0.0,
        threshold=float(threshold),
        recovery=0.0,
        n=0,
        last_clear=0,
        cusum=0.0,
        support=0.0,
        ewma=mean,
        variance=variance,
        variance0=variance,
        kappa=kappa,
        mean=mean,
        baseline_mean=baseline_mean,
        baseline_se=se,
        horizon=horizon,
    )


def update(state: MonitorState, ic: float) -> MonitorState:
    """Return the state after one more realised IC, in O(1); a NaN returns `state` itself.

    A suspended factor takes up the verdict its evidence implies with its next IC. `decayed` stays
    until the evidence of recovery reaches 120; everything then starts again from 0.
    """
    if not math.isfinite(ic):
        return state
    ratio = _decay_ratio(ic, state.mean, state.variance, state.kappa)
    evidence = min((1 + state.evidence) * math.exp(ratio), EVIDENCE_CAP)
    recovery = state.recovery
    cusum = max(0.0, state.cusum + ratio)
    if state.standing is Verdict.DECAYED:
        recovery = min((1 + recovery) * math.exp(-ratio), EVIDENCE_CAP)
    standing = _standing(state, evidence, recovery)
    reason = f"evidence {evidence:.4g} against {state.threshold:.4g}"
    if state.standing is Verdict.DECAYED:
        reason += f", recovery {recovery:.4g} against {RECOVERY:.4g}"
        if standing is Verdict.HEALTHY:
            evidence = recovery = cusum = 0.0
    n = state.n + 1
    return MonitorState(
        verdict=standing,
        standing=standing,
        reason=reason,
        evidence=evidence,
        threshold=state.threshold,
        recovery=recovery,
        n=n,
        last_clear=state.last_clear if cusum > 0 else n,
        cusum=cusum,
        support=state.support - ratio,
        ewma=state.ewma + _ALPHA * (ic - state.ewma),
        variance=_next_variance(ic, state.mean, state.variance, state.variance0),
        variance0=state.variance0,
        kappa=state.kappa,
        mean=state.mean,
        baseline_mean=state.baseline_mean,
        baseline_se=state.baseline_se,
        horizon=state.horizon,
    )


def suspend(state: MonitorState, reason: str) -> MonitorState:
    """Return the state with judgement withheld for `reason` (a data fault); no number moves."""
    return replace(state, verdict=Verdict.SUSPENDED, reason=reason)


def with_threshold(state: MonitorState, threshold: float) -> MonitorState:
    """Return the state under another threshold (the book grew or shrank), from the next IC on."""
    return replace(state, threshold=float(threshold))


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
    support, variance, finite = 0.0, state.variance0, 0
    for ic in forward_ics[:max_sessions].tolist():
        if not math.isfinite(ic):
            continue
        finite += 1
        support -= _decay_ratio(ic, state.mean, variance, state.kappa)
        variance = _next_variance(ic, state.mean, variance, state.variance0)
        if finite >= min_sessions and support >= upper:
            return Promotion.PROMOTE, support
        if finite >= min_sessions and support <= lower:
            return Promotion.REJECT, support
    if len(forward_ics) >= max_sessions:
        return Promotion.REJECT, support
    return Promotion.CONTINUE, support


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with what speaks for it.

    Parameters
    ----------
    onset_ago : int
        Estimated onset, in ICs before the last one; 0 while nothing points to decay.
    before, after : MeanEstimate
        Mean IC up to the onset and since, with 95 % HAC intervals; `n` is 0 where there is none.
    half_life : tuple of (float, float) or None
        80 % interval in ICs, 0 being a step; None while the evidence is below the warning level.
        One series barely identifies it: the interval is often wide, and is never a single number.
    """

    verdict: Verdict
    reason: str
    evidence: float
    warning_level: float
    threshold: float
    recovery: float
    tested_mean: float
    running_mean: float
    onset_ago: int
    before: MeanEstimate
    after: MeanEstimate
    half_life: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; NaN becomes null."""
        return asdict(self) | {
            "verdict": self.verdict.value,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "half_life": None if self.half_life is None else list(self.half_life),
        }


def explain(state: MonitorState, ics: FloatArray) -> Explanation:
    """Explain a verdict from the state and the ICs that led to it.

    Parameters
    ----------
    state : MonitorState
        The monitor's state.
    ics : ndarray of shape (n,)
        ICs that end with the last one `state` has seen; the baseline may come before the live ones.
        NaN is skipped.
    """
    finite = ics[np.isfinite(ics)].astype(np.float64)
    onset_ago = min(state.n - state.last_clear, len(finite))
    split = len(finite) - onset_ago
    before, after = finite[:split], finite[split:]
    live = finite[max(len(finite) - state.n, 0) :]
    suspicious = state.evidence >= state.warning_level and len(live) > 0
    return Explanation(
        verdict=state.verdict,
        reason=state.reason,
        evidence=state.evidence,
        warning_level=state.warning_level,
        threshold=state.threshold,
        recovery=state.recovery,
        tested_mean=state.mean,
        running_mean=state.ewma,
        onset_ago=onset_ago,
        before=mean_with_interval(before, lags=hac_lags(len(before), horizon=state.horizon)),
        after=mean_with_interval(after, lags=hac_lags(len(after), horizon=state.horizon)),
        half_life=_half_life(state, live) if suspicious else None,
    )


class _Detector:
    """The monitor behind one call, as scorers of detectors want it."""

    def __init__(self, state: MonitorState) -> None:
        self.state = state

    def update(self, ic: float) -> str:
        """Take one IC and return the verdict."""
        self.state = update(self.state, ic)
        return self.state.verdict.value


def make_detector(baseline_ic: FloatArray, horizon: int) -> _Detector:
    """Return a monitor at the default threshold whose ``update(ic)`` returns the verdict's text."""
    return _Detector(start_monitor(baseline_ic, horizon=horizon))


def _decay_ratio(ic: float, mean: float, variance: float, kappa: float) -> float:
    """Return l: the log-likelihood ratio of mean 0 against `mean`, tempered by kappa."""
    c = variance * (NU - 2)
    distance = math.log1p((ic - mean) ** 2 / c) - math.log1p(ic**2 / c)
    return (NU + 1) / (2 * kappa) * distance


def _next_variance(ic: float, mean: float, variance: float, variance0: float) -> float:
    """Clipped EWMA around mean/2, the same distance from both hypotheses; 1.06 undoes the clip."""
    surprise = 1.06 * min((ic - mean / 2) ** 2, 9 * variance)
    variance += _ALPHA * (surprise - variance)
    return min(max(variance, 0.25 * variance0), 6 * variance0)


def _standing(state: MonitorState, evidence: float, recovery: float) -> Verdict:
    """Verdict by evidence alone: decayed is left by recovery only, warning at 1/e of its level."""
    if state.standing is Verdict.DECAYED:
        return Verdict.HEALTHY if recovery >= RECOVERY else Verdict.DECAYED
    if evidence >= state.threshold:
        return Verdict.DECAYED
    level = state.warning_level
    if state.standing is Verdict.WARNING:
        level /= math.e
    return Verdict.WARNING if evidence >= level else Verdict.HEALTHY


def _half_life(state: MonitorState, live: FloatArray) -> tuple[float, float]:
    """Retrace the running variance over the live ICs and weigh the half-lives."""
    variances = np.empty(len(live))
    variance = state.variance0
    for i, ic in enumerate(live.tolist()):
        variances[i] = variance
        variance = _next_variance(ic, state.mean, variance, state.variance0)
    return half_life_interval(live, variances, mean=state.mean, kappa=state.kappa, nu=NU)
