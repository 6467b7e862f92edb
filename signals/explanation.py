"""A verdict explained: evidence, onset, mean IC before and after, half-life as an interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from signals.decay import NU, MonitorState, Verdict, fresh_part, next_variance
from signals.halflife import half_life_interval
from signals.ic import MeanEstimate, hac_lags, mean_with_interval
from signals.panel import FloatArray


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
    # The first IC stands for its own predecessor: it is then taken as it is.
    fresh = fresh_part(finite, np.append(finite[:1], finite[:-1]), state.carry)
    live = fresh[max(len(finite) - state.n, 0) :]
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


def _half_life(state: MonitorState, live: FloatArray) -> tuple[float, float]:
    """Retrace the running variance over the live y and weigh the half-lives."""
    variances = np.empty(len(live))
    variance = state.variance0
    for i, ic in enumerate(live.tolist()):
        variances[i] = variance
        variance = next_variance(ic, state.mean, variance, state.variance0)
    return half_life_interval(live, variances, mean=state.mean, kappa=state.kappa, nu=NU)
