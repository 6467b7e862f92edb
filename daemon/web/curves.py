"""Series as the page draws them: a rolling mean with its band, thinned, in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from daemon.course import LEAST_EVIDENCE, SMOOTHING, trailing_mean
from signals.ic import Z95, hac_lags
from signals.panel import FloatArray, SessionArray

#: Points of one curve: more than a phone can show.
POINTS = 260
#: Rows of the table that says in figures what a curve shows.
ROWS = 8


@dataclass(frozen=True, eq=False)
class Curve:
    """What one figure shows.

    Parameters
    ----------
    caption : str
        What it is.
    sessions, mean, low, high : ndarray of shape (n,)
        A rolling mean RankIC with its 95 % band; NaN where not defined.
    level : float
        Mean of the baseline; NaN where there is none.
    evidence_sessions, ratio : ndarray of shape (m,)
        Evidence over threshold; empty where nothing is tested.
    marks : sequence of (date, str)
        Changes of state and verdict.
    """

    caption: str
    sessions: SessionArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    level: float
    evidence_sessions: SessionArray
    ratio: FloatArray
    marks: Sequence[tuple[date, str]] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not np.isfinite(self.mean).any() and not len(self.ratio)

    def to_json(self) -> dict[str, Any]:
        """Return what the script draws."""
        rows, tested = thinned(len(self.sessions)), thinned(len(self.ratio))
        first = str(self.sessions[0]) if len(self.sessions) else ""
        return {
            "kind": "curve",
            "sessions": self.sessions[rows].astype(str).tolist(),
            "mean": plain(self.mean[rows]),
            "low": plain(self.low[rows]),
            "high": plain(self.high[rows]),
            "level": round(self.level, 5) if np.isfinite(self.level) else None,
            "evidence_sessions": self.evidence_sessions[tested].astype(str).tolist(),
            "ratio": plain(np.maximum(self.ratio[tested], LEAST_EVIDENCE)),
            "marks": [
                {"session": day.isoformat(), "text": text}
                for day, text in self.marks
                if day.isoformat() >= first
            ][-12:],
        }

    @property
    def table(self) -> list[tuple[str, str, str, str]]:
        """Return session, mean, band and evidence of a few sessions, newest first."""
        found = np.flatnonzero(np.isfinite(self.mean))
        if not len(found):
            return []
        chosen = np.unique(np.linspace(found[0], found[-1], ROWS).round().astype(int))
        evidence = dict(zip(self.evidence_sessions.tolist(), self.ratio.tolist(), strict=True))
        rows = []
        for row in chosen[::-1]:
            ratio = evidence.get(self.sessions[row].item())
            band = f"{self.low[row]:+.3f} … {self.high[row]:+.3f}"
            rows.append((
                str(self.sessions[row]),
                f"{self.mean[row]:+.4f}" if np.isfinite(self.mean[row]) else "–",
                band if np.isfinite(self.low[row]) else "–",
                f"{ratio:.3g}" if ratio is not None else "–",
            ))  # fmt: skip
        return rows

    @property
    def said(self) -> str:
        """Return in a sentence what the figure shows, for those who cannot see it."""
        found = np.flatnonzero(np.isfinite(self.mean))
        if not len(found):
            return f"{self.caption}: nothing is measured yet."
        first, last = found[0], found[-1]
        text = (
            f"{self.caption}: {self.mean[first]:+.4f} at {self.sessions[first]}, "
            f"{self.mean[last]:+.4f} at {self.sessions[last]}"
        )
        if len(self.ratio):
            text += f"; evidence of decay is {self.ratio[-1]:.3g} of its threshold"
        return text + ". The table below has the figures."


def build_curve(
    caption: str,
    sessions: SessionArray,
    rank_ic: FloatArray,
    *,
    horizon: int,
    level: float = np.nan,
    evidence_sessions: SessionArray | None = None,
    ratio: FloatArray | None = None,
    marks: Sequence[tuple[date, str]] = (),
) -> Curve:
    """Return the curve of a series of RankICs.

    Parameters
    ----------
    sessions, rank_ic : ndarray of shape (n,)
        Ascending; NaN where not defined.
    horizon : int
        Sessions a label is held: so far do neighbouring RankICs overlap.
    """
    mean = trailing_mean(rank_ic)
    half = half_band(rank_ic, lags=hac_lags(SMOOTHING, horizon=horizon))
    return Curve(
        caption, sessions, mean, mean - half, mean + half, level,
        np.empty(0, "datetime64[D]") if evidence_sessions is None else evidence_sessions,
        np.empty(0) if ratio is None else ratio,
        marks,
    )  # fmt: skip


def half_band(values: FloatArray, *, lags: int, window: int = SMOOTHING) -> FloatArray:
    """Return half of the 95 % interval of each trailing mean, which stands autocorrelation.

    As `signals.ic.mean_with_interval` over each whole window at once; a missing value adds nothing
    at its place, so that the lags are those of sessions. NaN until half of a window is there.

    Parameters
    ----------
    values : ndarray of shape (n,)
    lags : int
        Bartlett lags.
    """
    if not len(values):
        return np.empty(0)
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    finite = np.isfinite(windows)
    count = finite.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, windows, 0.0).sum(axis=1) / count
        off = np.where(finite, windows - mean[:, None], 0.0)
        total = np.einsum("ij,ij->i", off, off)
        for lag in range(1, min(lags, window - 1) + 1):
            weight = 2 * (1 - lag / (lags + 1))
            total += weight * np.einsum("ij,ij->i", off[:, lag:], off[:, :-lag])
        half = Z95 * np.sqrt(np.maximum(total, 0.0) / count / (count - 1))
    return np.where(count >= window // 2, half, np.nan)


def thinned(n: int, points: int = POINTS) -> slice:
    """Return every so many of `n` rows, the last among them."""
    step = max(1, -(-n // points))
    return slice((n - 1) % step if n else 0, None, step)


def plain(values: FloatArray, digits: int = 5) -> list[float | None]:
    """Return numbers as JSON values; what is not finite becomes null."""
    return [round(v, digits) if np.isfinite(v) else None for v in values.tolist()]


def spark(values: FloatArray, *, width: int = 220, height: int = 44) -> dict[str, Any] | None:
    """Return the points of a small line and where zero lies, None where there is no line."""
    found = np.flatnonzero(np.isfinite(values))
    if len(found) < 2:
        return None
    rows = found[thinned(len(found), 110)]
    seen = values[rows]
    low, high = min(float(seen.min()), 0.0), max(float(seen.max()), 0.0)
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return round(height - 3 - (value - low) / span * (height - 6), 1)

    place = (rows - rows[0]) / max(rows[-1] - rows[0], 1) * width
    points = " ".join(f"{x:.1f},{y(v)}" for x, v in zip(place.tolist(), seen.tolist(), strict=True))
    return {"points": points, "zero": y(0.0), "width": width, "height": height}
