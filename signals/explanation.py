"""A verdict explained: evidence, onset, mean IC before and after, half-life, as intervals."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from signals.decay import (
    EVIDENCE_CAP,
    GAIN,
    NU,
    RECOVERY,
    MonitorState,
    Verdict,
    decay_ratio,
    fresh_part,
    next_variance,
)
from signals.halflife import Onset, fade
from signals.ic import MeanEstimate, hac_lags, mean_with_interval
from signals.panel import FloatArray

#: Verdicts that speak of a fading factor.
RAISED = (Verdict.WARNING, Verdict.DECAYED)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with what speaks for it.

    Parameters
    ----------
    verdict, standing : Verdict
        What is said, and what the evidence alone says.
    evidence, warning_level, threshold, recovery : float
        R, where a warning begins, A, and Q while decayed.
    baseline_mean, tested_mean, running_mean : float
        Mean IC of the baseline; the one that is expected; that of the last ICs, half-life 25.
    onset : Onset or None
        80 % interval of the beginning, in ICs before the last one, as the alarm saw it; None while
        nothing points to decay.
    before, after : MeanEstimate
        Mean IC up to the middle of the onset's interval and since; without an onset, before the
        monitor started and since. 95 % HAC intervals, which do not know that the split was chosen
        where the difference is large; `n` is 0 where there is none.
    half_life : tuple of (float, float) or None
        80 % interval in ICs, 0 being a step; None while there is no onset. One series barely
        identifies it: the interval is often wide, and is never a single number.
    """

    verdict: Verdict
    standing: Verdict
    reason: str
    evidence: float
    warning_level: float
    threshold: float
    recovery: float
    baseline_mean: float
    tested_mean: float
    running_mean: float
    onset: Onset | None
    before: MeanEstimate
    after: MeanEstimate
    half_life: tuple[float, float] | None

    @property
    def strain(self) -> float:
        """Evidence over threshold: decayed at 1."""
        return self.evidence / self.threshold

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; NaN becomes null."""
        return asdict(self) | {
            "verdict": self.verdict.value,
            "standing": self.standing.value,
            "onset": None if self.onset is None else self.onset.to_json(),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "half_life": None if self.half_life is None else list(self.half_life),
        }


@dataclass(frozen=True, slots=True)
class TwoExplanations:
    """The test on the monitored RankIC and the one on the raw RankIC, side by side.

    Parameters
    ----------
    monitored, raw : Explanation
        Freed of styles and peers, and as it is.
    """

    monitored: Explanation
    raw: Explanation

    @property
    def leading(self) -> Explanation:
        """The one the verdict rests on: the worse standing, then the nearer to its threshold."""
        order = (Verdict.HEALTHY, *RAISED)
        return max(
            (self.monitored, self.raw), key=lambda told: (order.index(told.standing), told.strain)
        )

    @property
    def reading(self) -> str:
        """What the two say together, in one sentence."""
        monitored = self.monitored.standing in RAISED
        # Its own threshold is ten times as high: what it says is read at that of the other.
        raw = self.raw.standing in RAISED or self.raw.evidence >= self.monitored.warning_level
        if monitored and raw:
            return "both have weakened: what the factor ranks by has gone, with and without styles"
        if monitored:
            return (
                "the raw RankIC still holds: what it earns now is what common styles or its peers "
                "earn too"
            )
        if raw:
            return (
                "freed of styles and peers it holds: what weakened is common to its peers or its "
                "styles, not its own"
            )
        return "both hold"

    def to_json(self) -> dict[str, Any]:
        """Return both as JSON values."""
        return {
            "monitored": self.monitored.to_json(),
            "raw": self.raw.to_json(),
            "reading": self.reading,
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
    # The first IC stands for its own predecessor: it is then taken as it is.
    fresh = fresh_part(finite, np.append(finite[:1], finite[:-1]), state.carry)
    n_live = min(state.n, len(finite))
    live = fresh[len(fresh) - n_live :]
    onset, half_life = None, None
    if state.standing in RAISED and n_live:
        variances, ratios = _retraced(state, live)
        stop = _alarm(ratios, state.threshold) + 1
        onset, half_life = fade(
            live[:stop], variances[:stop], mean=state.mean, kappa=state.kappa, nu=NU
        )
        later = n_live - stop
        onset = Onset(onset.earliest + later, onset.middle + later, onset.latest + later)
    split = len(finite) - (n_live if onset is None else onset.middle)
    before, after = finite[:split], finite[split:]
    return Explanation(
        verdict=state.verdict,
        standing=state.standing,
        reason=state.reason,
        evidence=state.evidence,
        warning_level=state.warning_level,
        threshold=state.threshold,
        recovery=state.recovery,
        baseline_mean=state.baseline_mean,
        tested_mean=state.mean,
        running_mean=state.ewma,
        onset=onset,
        before=mean_with_interval(before, lags=hac_lags(len(before), horizon=state.horizon)),
        after=mean_with_interval(after, lags=hac_lags(len(after), horizon=state.horizon)),
        half_life=half_life,
    )


def explain_two(
    monitored: MonitorState, monitored_ics: FloatArray, raw: MonitorState, raw_ics: FloatArray
) -> TwoExplanations:
    """Explain the test on the monitored RankIC and the one on the raw RankIC; see `explain`."""
    return TwoExplanations(explain(monitored, monitored_ics), explain(raw, raw_ics))


def _retraced(state: MonitorState, live: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the running variance before each live y, and l, at the mean tested now."""
    variances, ratios = np.empty(len(live)), np.empty(len(live))
    variance = state.variance0
    for i, y in enumerate(live.tolist()):
        variances[i] = variance
        ratios[i] = decay_ratio(y, state.mean, variance, state.kappa)
        variance = next_variance(y, state.mean, variance, state.variance0)
    return variances, ratios


def _alarm(ratios: FloatArray, threshold: float) -> int:
    """Return which IC raised the alarm that stands, the last one where none is found."""
    evidence, recovery, alarm = 0.0, 0.0, None
    for i, ratio in enumerate(ratios.tolist()):
        evidence = min((GAIN + evidence) * math.exp(ratio), EVIDENCE_CAP)
        if alarm is None:
            alarm = i if evidence >= threshold else None
            continue
        recovery = (1 + recovery) * math.exp(-ratio)
        if recovery >= RECOVERY:
            evidence, recovery, alarm = 0.0, 0.0, None
    return len(ratios) - 1 if alarm is None else alarm
