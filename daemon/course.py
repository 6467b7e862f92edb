"""The course of a factor, as terminal and report draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from daemon.factor_story import FactorStory
from signals.panel import FloatArray, SessionArray

#: Sessions of the trailing mean that the curves show; one session's RankIC is mostly noise.
SMOOTHING = 60
#: Evidence over threshold below this is drawn as this: nothing speaks for decay.
LEAST_EVIDENCE = 1e-3


@dataclass(frozen=True, eq=False)
class Course:
    """What is drawn of one factor.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (n,)
        Ascending.
    rank_ic : ndarray of shape (n,)
        NaN where there is none.
    level : float
        Mean RankIC of the baseline; NaN where there is none.
    evidence_sessions, ratio : ndarray of shape (m,)
        Evidence over threshold.
    marks : sequence of (date, str)
        Changes of state and verdict.
    """

    sessions: SessionArray
    rank_ic: FloatArray
    level: float
    evidence_sessions: SessionArray
    ratio: FloatArray
    marks: Sequence[tuple[date, str]] = ()


def trailing_mean(values: FloatArray, window: int = SMOOTHING) -> FloatArray:
    """Return the mean of the last `window` values, NaN skipped; NaN until half are there."""
    finite = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    rows = np.arange(1, len(values) + 1)
    start = np.maximum(rows - window, 0)
    n = count[rows] - count[start]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n >= window // 2, (total[rows] - total[start]) / n, np.nan)


def course(story: FactorStory) -> Course:
    """Return what is drawn of a factor: what its verdict rests on."""
    freed = story.leading is not None and story.leading is story.monitored
    series = story.freed if freed else story.series
    level = story.leading.explanation.baseline_mean if story.leading is not None else np.nan
    return Course(
        series.sessions,
        series.rank_ic,
        level,
        story.curve.sessions,
        story.curve.evidence / np.maximum(story.curve.threshold, 1.0),
        story.marks,
    )
