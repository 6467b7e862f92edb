"""The watch over one live factor: the test on its monitored RankIC, and the raw one beside it.

What is monitored is low in noise and blind to what befalls everybody (`signals.residual`); a factor
that dies together with its whole family would hide there. The raw RankIC is therefore tested too,
at ten times the threshold: it takes a tenth of what the first test takes of the budget for false
alarms, and the thresholds are raised so that both together keep it::

    1 / (1.1 A) + 1 / (11 A) = 1 / A
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from signals import decay
from signals.decay import MonitorState, Verdict
from signals.errors import DataError
from signals.panel import FloatArray
from signals.residual import Basis

#: Threshold of the test on the raw RankIC over that of the monitored one.
RAW_FACTOR = 10.0
#: Both thresholds over the book's, so that together they keep its budget.
SHARED = 1 + 1 / RAW_FACTOR

#: Sessions in a row without a RankIC after which a factor is not judged any more.
SILENT = 20

_ORDER = (Verdict.HEALTHY, Verdict.WARNING, Verdict.DECAYED)


@dataclass(frozen=True, slots=True)
class Watch:
    """Everything known of a live factor's decay: of fixed size, and restartable from JSON.

    Parameters
    ----------
    monitored, raw : MonitorState
        The tests on the monitored and on the raw RankIC.
    basis : Basis
        What the monitored RankIC is freed of.
    silent : int
        Sessions in a row that brought neither RankIC.
    """

    monitored: MonitorState
    raw: MonitorState
    basis: Basis
    silent: int = 0

    @property
    def leading(self) -> MonitorState:
        """The test that is nearer to its threshold; the monitored one's while both are equal."""
        tests = (self.monitored, self.raw)
        return max(tests, key=lambda test: (_ORDER.index(test.standing), strain(test)))

    @property
    def standing(self) -> Verdict:
        """What the evidence alone says: the worse of both."""
        return self.leading.standing

    @property
    def verdict(self) -> Verdict:
        """What is said now."""
        tests = (self.monitored, self.raw)
        if all(test.verdict is Verdict.SUSPENDED for test in tests):
            return Verdict.SUSPENDED
        return self.standing

    @property
    def evidence(self) -> float:
        """R of the leading test."""
        return self.leading.evidence

    @property
    def threshold(self) -> float:
        """A of the leading test."""
        return self.leading.threshold

    @property
    def reason(self) -> str:
        """Both tests in one sentence."""
        if self.verdict is Verdict.SUSPENDED:
            return self.raw.reason
        if self.basis.raw:
            return f"RankIC: {self.monitored.reason}"
        return f"freed of styles and peers: {self.monitored.reason}; raw: {self.raw.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `from_json` gives back an equal watch."""
        return {
            "monitored": self.monitored.to_json(),
            "raw": self.raw.to_json(),
            "basis": self.basis.to_json(),
            "silent": self.silent,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Watch:
        """Return the watch that `to_json` wrote; missing or unknown fields are a DataError."""
        if set(values) != {"monitored", "raw", "basis", "silent"}:
            raise DataError(
                f"a stored watch with the fields {sorted(values)}",
                rule="a stored watch has monitored, raw, basis and silent",
                hint="it is of another version: begin a new state_dir, it is filled from the bars",
            )
        return cls(
            MonitorState.from_json(values["monitored"]),
            MonitorState.from_json(values["raw"]),
            Basis.from_json(values["basis"]),
            values["silent"],
        )


def strain(test: MonitorState) -> float:
    """Return evidence over threshold: an alarm is at 1."""
    return test.evidence / test.threshold


def start_watch(
    monitored: FloatArray, raw: MonitorState, basis: Basis, *, threshold: float
) -> Watch:
    """Return the watch before the first live RankIC.

    Parameters
    ----------
    monitored : ndarray of shape (n,)
        Monitored RankICs of the baseline; of one session each, so that no labels overlap.
    raw : MonitorState
        The test on the raw RankIC, started on the baseline's.
    basis : Basis
        What `monitored` is freed of.
    threshold : float
        The book's A; see `signals.decay.false_alarm_threshold`.

    Raises
    ------
    DataError
        From `signals.decay.start_monitor`.
    """
    watch = Watch(decay.start_monitor(monitored, horizon=1), raw, basis)
    return with_threshold(watch, threshold)


def with_threshold(watch: Watch, threshold: float) -> Watch:
    """Return the watch under another threshold of the book, from the next RankIC on."""
    return replace(
        watch,
        monitored=decay.with_threshold(watch.monitored, SHARED * threshold),
        raw=decay.with_threshold(watch.raw, SHARED * RAW_FACTOR * threshold),
    )


def update(watch: Watch, monitored: float, raw: float) -> Watch:
    """Return the watch after one more session; a NaN leaves its test where it is.

    After 20 sessions in a row without either RankIC judgement is suspended: a factor that says
    nothing is not healthy.
    """
    if math.isfinite(monitored) or math.isfinite(raw):
        return replace(
            watch,
            monitored=decay.update(watch.monitored, monitored),
            raw=decay.update(watch.raw, raw),
            silent=0,
        )
    watch = replace(watch, silent=watch.silent + 1)
    if watch.silent < SILENT:
        return watch
    return suspend(watch, f"no RankIC for {watch.silent} sessions")


def suspend(watch: Watch, reason: str) -> Watch:
    """Return the watch with judgement withheld for `reason`; no number moves."""
    return replace(
        watch,
        monitored=decay.suspend(watch.monitored, reason),
        raw=decay.suspend(watch.raw, reason),
    )
