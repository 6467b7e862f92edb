"""The decay monitor: a sequential test on a factor's ICs with a stated false-alarm budget.

A studentised-t Shiryaev-Roberts recursion (Shiryaev 1963; Roberts 1966; stationary optimality:
Pollak and Tartakovsky 2009) on y, the part of each realised IC x that the last one did not carry
over from the overlap of labels. With m the mean that is tested, v the running variance of y, kappa
the ratio of its long-run to plain variance and c = v (nu - 2)::

    y = (x - carry x_last) / (1 - carry)                                   # y = x at horizon 1
    l = (nu + 1) / (2 kappa) * (ln(1 + (y - m)^2 / c) - ln(1 + y^2 / c))   # > 0 speaks for decay
    R = (0.7 + R) exp(l)                                                   # decayed at R >= A
    Q = (1 + Q) exp(-l)                                                    # recovered at Q >= 504
    C = max(0, C + l)                                                      # Page's (1954) CUSUM
    m <- posterior mean, given the ICs up to the last session with C = 0

While a factor of known mean is intact R grows by at most 0.7 an IC on average, so that a false
alarm comes after A / 0.7 ICs or later on average; the other 0.3 of the budget pays for what is not
known: the mean, its wandering, the variance. With A = 63 N for each of N factors the whole book
gives one false `decayed` a quarter, by linearity, however its factors depend on each other.

Where the parts come from:

- carry: prewhitening (Cochrane and Orcutt 1949) by the AR(1) that has the kappa of overlapping
  labels; those held h sessions, of a signal of persistence r, have autocorrelations (1 - L/h) r^L.
- baseline: the location of a Student t, by iterated weights (Lange, Little and Taylor 1989), less
  half a standard error for having been chosen, shrunk towards what factors earn (James-Stein).
- kappa: grows by half of what the means of 25 sessions vary beyond the overlap (batch means,
  Conway 1963): a healthy mean wanders.
- learning: live ICs carry no luck of selection, and correct a baseline that does. Only those before
  the CUSUM's estimate of onset count, so that a decayed factor is not learnt as the new normal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from signals.errors import DataError
from signals.ic import autocorrelation
from signals.panel import FloatArray

#: Degrees of freedom of the t likelihood.
NU = 6.0
#: Fewest finite ICs a baseline may have.
MIN_BASELINE = 60
#: Standard errors taken off the mean of the baseline: a factor is chosen because it looked good.
#: Half of the expected luck: the rest is learnt from live ICs.
CURSE = 0.5
#: What R gains before each IC: this part of the budget is for chance, the rest for what is unknown.
GAIN = 0.7
#: Mean and standard deviation (in IC) of what factors are known to earn, and the least mean tested.
PRIOR_MEAN, PRIOR_SD, LEAST_MEAN = 0.03, 0.012, 0.008
#: Memory of the running variance and of the running mean, in ICs.
HALF_LIFE = 25.0
#: Warning starts at this part of the threshold and ends at 1/e of it.
WARNING_PART = 1 / 3
#: Evidence of recovery (Q) at which a decayed factor is healthy again: a dead factor is taken for
#: recovered once in two years of sessions, or later.
RECOVERY = 504.0
#: Sessions in one batch mean, and the part of the batches' excess variance that is believed: some
#: twenty batches estimate it to within a third.
BATCH, BELIEF = 25, 0.5
#: The largest `carry`; near 1 the recursion would look at differences only.
MOST_CARRY = 0.95
#: The mean never has more than this many times the precision it started with.
MOST_LEARNT = 4.0
#: Evidence stops growing here, far beyond any threshold, so that it stays a finite number.
EVIDENCE_CAP = 1e12

_Ics = TypeVar("_Ics", float, FloatArray)
_ALPHA = 1 - 0.5 ** (1 / HALF_LIFE)


class Verdict(StrEnum):
    """What the monitor says of a factor; recovery is the event decayed → healthy."""

    HEALTHY = "healthy"
    WARNING = "warning"
    DECAYED = "decayed"
    SUSPENDED = "suspended"


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
        Running variance of y (an IC without what the last one carried over), and the baseline's.
    kappa : float
        Long-run variance / variance of y.
    carry, last_ic : float
        Part of an IC that carries over to the next by the overlap of labels; the last finite IC.
    mean, precision : float
        The mean that is tested (the baseline's, shrunk, then learnt) and 1 / its variance.
    pending_weight, pending_pull : float
        Precision of the ICs since the CUSUM was last 0, and their weighted distance from `mean`.
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
    carry: float
    last_ic: float
    mean: float
    precision: float
    pending_weight: float
    pending_pull: float
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
                hint="it is of another version: begin a new state_dir, it is filled from the bars",
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

    The mean tested first is ``max(w (m_b - se / 2) + (1 - w) 0.03, 0.008)``,
    ``w = s^2 / (s^2 + se^2)``, ``s = 0.012``, with m_b the t location of the baseline and
    ``se^2 = v kappa_x / n``. From the first autocorrelation alone (the sum of h - 1 estimates would
    be as noisy as they are many): ``kappa_x = 1 + 2 sum_{L < h} (1 - L / h) r^L``,
    ``r = rho_1 / (1 - 1 / h)``, over ``1 - (2 h - 1) / n`` for the mean being estimated.

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
    baseline_mean, variance_x = float(finite.mean()), float(finite.var(ddof=1))
    rho = autocorrelation(baseline, 1) if horizon > 1 else 0.0
    kappa_x = _overlap_kappa(rho, horizon, len(finite))
    carry = max(min(rho, (kappa_x - 1) / (kappa_x + 1), MOST_CARRY), 0.0)
    variance = variance_x * (1 - 2 * carry * rho + carry**2) / (1 - carry) ** 2
    kappa = max(variance_x * kappa_x / variance, 1.0)
    kappa *= 1 + BELIEF * max(_batch_kappa(baseline, variance_x) / kappa_x - 1, 0.0)
    se = math.sqrt(variance_x * kappa_x / len(finite))
    weight = PRIOR_SD**2 / (PRIOR_SD**2 + se**2)
    location = _location(fresh_part(finite[1:], finite[:-1], carry), baseline_mean, variance)
    mean = max(weight * (location - CURSE * se) + (1 - weight) * PRIOR_MEAN, LEAST_MEAN)
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
        carry=carry,
        last_ic=float(finite[-1]),
        mean=mean,
        precision=_first_precision(se),
        pending_weight=0.0,
        pending_pull=0.0,
        baseline_mean=baseline_mean,
        baseline_se=se,
        horizon=horizon,
    )


def update(state: MonitorState, ic: float) -> MonitorState:
    """Return the state after one more realised IC, in O(1); a NaN returns `state` itself.

    A suspended factor takes up the verdict its evidence implies with its next IC. `decayed` stays
    until the evidence of recovery reaches 504; everything then starts again from 0. The mean is
    learnt while the factor stands undecayed, each time the CUSUM is back at 0.
    """
    if not math.isfinite(ic):
        return state
    fresh = fresh_part(ic, state.last_ic, state.carry)
    ratio = decay_ratio(fresh, state.mean, state.variance, state.kappa)
    evidence = min((GAIN + state.evidence) * math.exp(ratio), EVIDENCE_CAP)
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
    mean, precision, weight, pull = _learn(state, fresh, cusum)
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
        variance=next_variance(fresh, state.mean, state.variance, state.variance0),
        variance0=state.variance0,
        kappa=state.kappa,
        carry=state.carry,
        last_ic=ic,
        mean=mean,
        precision=precision,
        pending_weight=weight,
        pending_pull=pull,
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


def fresh_part(ic: _Ics, last_ic: _Ics, carry: float) -> _Ics:
    """Return y: an IC without what the last one carried over, on the scale of the mean IC."""
    return (ic - carry * last_ic) / (1 - carry)


def _overlap_kappa(rho: float, horizon: int, n: int) -> float:
    """Long-run / plain variance of overlapping labels, from their first autocorrelation."""
    if horizon == 1:
        return 1.0
    persistence = min(max(rho / (1 - 1 / horizon), 0.0), 1.0)
    kappa = 1 + 2 * sum((1 - lag / horizon) * persistence**lag for lag in range(1, horizon))
    return kappa / max(1 - (2 * horizon - 1) / n, 0.25)


def _batch_kappa(baseline: FloatArray, variance: float) -> float:
    """Long-run / plain variance by the means of batches at least half finite; 1 with under 4."""
    batches = baseline[: len(baseline) // BATCH * BATCH].reshape(-1, BATCH)
    full = batches[2 * np.isfinite(batches).sum(axis=1) > BATCH]
    if len(full) < 4:
        return 1.0
    return float(np.nanmean(full, axis=1).var(ddof=1)) * BATCH / variance


def _location(values: FloatArray, mean: float, variance0: float) -> float:
    """Location of a Student t of running variance, by four rounds of iterated weights."""
    for _ in range(4):
        variance, total, weighted = variance0, 0.0, 0.0
        for value in values.tolist():
            weight = 1 / (variance * (NU - 2) + (value - mean) ** 2)
            total += weight
            weighted += weight * value
            # Around the mean itself: the baseline is taken to be intact.
            surprise = 1.06 * min((value - mean) ** 2, 9 * variance)
            variance += _ALPHA * (surprise - variance)
            variance = min(max(variance, 0.25 * variance0), 6 * variance0)
        mean = weighted / total
    return mean


def _first_precision(se: float) -> float:
    """1 / variance of the mean before any live IC: the baseline's and the prior's."""
    return 1 / se**2 + 1 / PRIOR_SD**2


def _learn(state: MonitorState, fresh: float, cusum: float) -> tuple[float, float, float, float]:
    """Return mean, precision, pending weight and pull; committed once the CUSUM is back at 0."""
    if state.standing is Verdict.DECAYED:
        return state.mean, state.precision, 0.0, 0.0
    information = 1 / (state.kappa * state.variance)
    surprise = (fresh - state.mean) ** 2 / state.variance
    weight = state.pending_weight + information
    robust = information * (NU + 1) / (NU - 2 + surprise)
    pull = state.pending_pull + robust * (fresh - state.mean)
    if cusum > 0:
        return state.mean, state.precision, weight, pull
    most = MOST_LEARNT * _first_precision(state.baseline_se)
    precision = min(state.precision + weight, most)
    return max(state.mean + pull / precision, LEAST_MEAN), precision, 0.0, 0.0


def decay_ratio(ic: float, mean: float, variance: float, kappa: float) -> float:
    """Return l: the log-likelihood ratio of mean 0 against `mean` at a y, tempered by kappa."""
    c = variance * (NU - 2)
    distance = math.log1p((ic - mean) ** 2 / c) - math.log1p(ic**2 / c)
    return (NU + 1) / (2 * kappa) * distance


def next_variance(ic: float, mean: float, variance: float, variance0: float) -> float:
    """Return the running variance after a y: an EWMA of clipped squares.

    Around mean / 2, the same distance from both hypotheses; 1.06 undoes the clip.
    """
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
