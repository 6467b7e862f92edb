"""Detectors of decay that a user would pick, each behind the call that scorers want.

Each is made of a baseline and answers `update(ic)` with `healthy` or `decayed`. Those of `river`
are its own classes, fed the baseline first, as one would who has a stream.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from signals.decay import make_detector
from signals.panel import FloatArray


class Detector(Protocol):
    """What a scorer drives."""

    def update(self, ic: float) -> str:
        """Take one IC, NaN where there is none, and return the verdict."""


#: Makes a detector of a baseline of ICs and a horizon.
Maker = Callable[[FloatArray, int], Detector]


@dataclass(frozen=True)
class Family:
    """A detector with the one number that sets how easily it alarms.

    Parameters
    ----------
    name : str
        As printed.
    made : callable
        Number to maker.
    default : float
        What a user begins with.
    calm, eager : float
        Numbers between which the calibrated one is sought: few alarms, many alarms.
    """

    name: str
    made: Callable[[float], Maker]
    default: float
    calm: float
    eager: float


class Rolling:
    """Decayed while the mean (or ICIR) of the last 60 ICs is below a part of the baseline's."""

    window = 60

    def __init__(self, baseline: FloatArray, part: float, *, ratio: bool) -> None:
        finite = baseline[np.isfinite(baseline)]
        self.last = finite[-self.window :].tolist()
        self.place = 0
        self.sum = sum(self.last)
        self.squares = sum(value * value for value in self.last)
        self.ratio = ratio
        self.least = part * float(finite.mean() / (finite.std() if ratio else 1.0))

    def update(self, ic: float) -> str:
        """Take one IC."""
        if not math.isnan(ic):
            old, self.last[self.place] = self.last[self.place], ic
            self.place = (self.place + 1) % self.window
            self.sum += ic - old
            self.squares += ic * ic - old * old
        level = self.sum / self.window
        if self.ratio:
            level /= math.sqrt(max(self.squares / self.window - level * level, 1e-9))
        return "decayed" if level < self.least else "healthy"


class Cusum:
    """Page's one-sided CUSUM of standardised ICs, designed for the loss of the whole mean."""

    def __init__(self, baseline: FloatArray, threshold: float) -> None:
        self.mean = float(np.nanmean(baseline))
        self.sd = float(np.nanstd(baseline))
        self.slack = self.mean / self.sd / 2
        self.threshold = threshold
        self.sum = 0.0

    def update(self, ic: float) -> str:
        """Take one IC."""
        if not math.isnan(ic):
            self.sum = max(0.0, self.sum + (self.mean - ic) / self.sd - self.slack)
        return "decayed" if self.sum >= self.threshold else "healthy"


class Streamed:
    """A drift detector of `river`: decayed where it sees a drift, downwards if it is asked to."""

    def __init__(self, drift: Any, baseline: FloatArray, *, downwards: bool) -> None:
        self.drift = drift
        self.downwards = downwards
        for value in baseline.tolist():
            self.update(value)

    def update(self, ic: float) -> str:
        """Take one IC."""
        if math.isnan(ic):
            return "healthy"
        before = self.drift.estimation if self.downwards else 0.0
        self.drift.update(ic)
        if not self.drift.drift_detected:
            return "healthy"
        fell = not self.downwards or self.drift.estimation < before
        return "decayed" if fell else "healthy"


def rolling(*, ratio: bool) -> Callable[[float], Maker]:
    return lambda part: lambda baseline, _horizon: Rolling(baseline, part, ratio=ratio)


def cusum(threshold: float) -> Maker:
    return lambda baseline, _horizon: Cusum(baseline, threshold)


def user_families() -> tuple[Family, ...]:
    """Return the detectors a user would pick; those of `river` where it is installed."""
    families = [
        Family("60-day mean", rolling(ratio=False), 0.5, -3.0, 0.9),
        Family("60-day ICIR", rolling(ratio=True), 0.5, -3.0, 0.9),
        Family("CUSUM", cusum, 5.0, 60.0, 2.0),
    ]
    try:
        from river import drift
    except ImportError:
        return tuple(families)

    def page_hinkley(threshold: float) -> Maker:
        mode = "both" if threshold == 50.0 else "down"  # 50 and both are the defaults
        return lambda baseline, _horizon: Streamed(
            drift.PageHinkley(threshold=threshold, mode=mode), baseline, downwards=False
        )

    def adwin(delta: float) -> Maker:
        return lambda baseline, _horizon: Streamed(
            drift.ADWIN(delta=delta), baseline, downwards=True
        )

    return (
        *families,
        Family("Page-Hinkley (river)", page_hinkley, 50.0, 40.0, 0.2),
        Family("ADWIN (river)", adwin, 0.002, 1e-4, 0.9999),
    )


def ours() -> Mapping[str, Maker]:
    """Return the monitor under its name."""
    return {"signals.decay": make_detector}
