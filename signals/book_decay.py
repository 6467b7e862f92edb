"""The book's decay monitor: all factors weakening together, told from one factor decaying.

A studentised-t Shiryaev-Roberts recursion, that of `signals.decay`, on the pooled ICs of a session.
With y, m, v and kappa of each factor's own monitor as they stood before the session::

    w_i = m_i / (kappa_i v_i)                         # most weight where decay shows best
    s   = sum w_i sqrt(v_i)                           # what would be one deviation at correlation 1
    z   = sum w_i y_i / s,   mu = sum w_i m_i / s     # mu is the mean of z while all are intact
    l   = t log-likelihood ratio of mean 0 against 0.85 mu at z, with the book's variance and kappa
    R   = (1 + R) exp(l)                              # weakening at R >= A
    Q   = (1 + Q) exp(-l)                             # over at Q >= A
    C   = max(0, C + l)                               # its last zero estimates the onset

With known noise E[R - t] <= 0 while at least 0.85 of what is expected is there, so that a false
alarm comes after A sessions or later on average: A is the budget itself. The missing 0.15 pays for
what the factors have in common and no baseline shows: the winner's curse that learning has not yet
undone, and healthy means that wander together.

Who is pooled:

- not the suspect, the factor whose own evidence of decay was highest before the session. One factor
  dying alone is soon out of the pool, and since the choice looks only backwards, the mean of the
  others is not bent by it;
- not a factor decayed on its own, that is more than 60 sessions before the book's onset.

Weights and scale are taken anew every session from those pooled, so that no one has to be told when
factors join, leave or miss a day. The variance of z, which rises with the correlation of their
noise, is tracked; the book's past gives its start, and kappa: what prewhitening leaves of the
overlap (by sums over one horizon) times half of the excess of 25-session sums (a common wander).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np

from signals.decay import (
    BATCH,
    BELIEF,
    EVIDENCE_CAP,
    HALF_LIFE,
    MIN_BASELINE,
    MonitorState,
    Verdict,
    decay_ratio,
    fresh_part,
    next_variance,
)
from signals.errors import DataError
from signals.panel import FloatArray

#: Fewest live factors that are a book, and fewest pooled in one session.
MIN_LIVE, MIN_POOLED = 3, 2
#: The part of the expected pooled mean that an intact book has at least.
INTACT = 0.85
#: Sessions by which estimates of the same onset may differ.
ONSET_SLACK = 60

_ALPHA = 1 - 0.5 ** (1 / HALF_LIFE)


class BookVerdict(StrEnum):
    """What the monitor says of a book."""

    HEALTHY = "healthy"
    WEAKENING = "weakening"


@dataclass(frozen=True, slots=True)
class BookState:
    """Everything the monitor of one book knows: scalars only, of fixed size.

    Parameters
    ----------
    verdict : BookVerdict
        What is said now.
    reason : str
        Why the verdict is what it is.
    evidence, threshold : float
        R of the recursion, and A: `weakening` at ``R >= A``.
    recovery : float
        Q of the recursion while `weakening`, else 0.
    n, last_clear : int
        Sessions used so far, and n when the CUSUM of l was last 0: onset is ``n - last_clear`` ago.
    cusum : float
        ``max(0, cusum + l)``.
    variance, variance0 : float
        Running variance of z, and that of the book's past.
    kappa : float
        Long-run variance / variance of z.
    pooled, expected : float
        Running means, half-life 25 sessions, of the pooled IC and of what it should be.
    """

    verdict: BookVerdict
    reason: str
    evidence: float
    threshold: float
    recovery: float
    n: int
    last_clear: int
    cusum: float
    variance: float
    variance0: float
    kappa: float
    pooled: float
    expected: float

    @property
    def onset_ago(self) -> int:
        """Estimated onset, in sessions before the last one; 0 while nothing points to it."""
        return self.n - self.last_clear

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `from_json` gives back an equal state."""
        return asdict(self) | {"verdict": self.verdict.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BookState:
        """Return the state that `to_json` wrote; missing or unknown fields are a DataError."""
        expected = {field.name for field in fields(cls)}
        if set(values) != expected:
            raise DataError(
                f"book state with unexpected fields {sorted(set(values) ^ expected)}",
                rule="a stored state has exactly the fields of BookState",
                hint="it is of another version: start the book's monitor anew from its past ICs",
            )
        return cls(**{**values, "verdict": BookVerdict(values["verdict"])})


def start_book(
    past: FloatArray,
    monitors: Sequence[MonitorState],
    *,
    sessions_per_false_alarm: float = 252.0,
) -> BookState:
    """Return the state before the first live session of a book.

    Parameters
    ----------
    past : ndarray of shape (n_sessions, n_factors)
        ICs of consecutive sessions before the first live one, a column for each of `monitors`; NaN
        is missing. Baselines serve well: only their variances and correlations are used.
    monitors : sequence of MonitorState
        Of the live factors. With fewer than 3 nothing is read of `past`; see `with_members`.
    sessions_per_false_alarm : float
        A: the book allows one false `weakening` in so many sessions.

    Raises
    ------
    DataError
        A budget not above 1, or what `with_members` raises.
    """
    if not 1 < sessions_per_false_alarm < EVIDENCE_CAP:
        raise DataError(
            f"one false alarm in {sessions_per_false_alarm} sessions", rule="1 < sessions < 1e12"
        )
    state = BookState(
        verdict=BookVerdict.HEALTHY,
        reason="no session since the start",
        evidence=0.0,
        threshold=float(sessions_per_false_alarm),
        recovery=0.0,
        n=0,
        last_clear=0,
        cusum=0.0,
        variance=1.0,
        variance0=1.0,
        kappa=1.0,
        pooled=0.0,
        expected=0.0,
    )
    return with_members(state, past, monitors)


def with_members(state: BookState, past: FloatArray, monitors: Sequence[MonitorState]) -> BookState:
    """Return the state with variance and kappa of other members, after some joined or left.

    Evidence, onset and verdict stay. Not calling this after a change costs precision, not sense:
    the running variance follows within some 25 sessions.

    Parameters
    ----------
    past : ndarray of shape (n_sessions, n_factors)
        ICs of the sessions up to now, a column for each of `monitors`; some 500 are enough.
    monitors : sequence of MonitorState
        Of those live from now on; fewer than 3 leave the state as it is.

    Raises
    ------
    DataError
        If columns and monitors differ in number, or fewer than 60 sessions have two ICs that follow
        on one another in the same two factors, or the pooled IC does not vary.
    """
    if past.ndim != 2 or past.shape[1] != len(monitors):
        raise DataError(
            f"past ICs of shape {past.shape}, {len(monitors)} monitors",
            rule="past is (n_sessions, n_factors), a column for each monitor",
        )
    if len(monitors) < MIN_LIVE:
        return state
    pooled = _pooled_past(past.astype(np.float64), monitors)
    if len(pooled) < MIN_BASELINE or pooled.min() == pooled.max():
        raise DataError(
            f"{len(pooled)} past sessions with two ICs or more, or all equal",
            rule=f"a book's past has at least {MIN_BASELINE} sessions whose pooled IC varies",
            hint="give the factors' baselines",
        )
    variance0 = float(pooled.var(ddof=1))
    overlap = max(_variance_ratio(pooled, max(m.horizon for m in monitors)), 1.0)
    kappa = overlap * (1 + BELIEF * max(_variance_ratio(pooled, BATCH) / overlap - 1, 0.0))
    variance = variance0 if state.n == 0 else state.variance
    return replace(state, variance=variance, variance0=variance0, kappa=kappa)


def update_book(state: BookState, members: Sequence[tuple[MonitorState, float]]) -> BookState:
    """Return the state after one more session, in O(number of live factors).

    Parameters
    ----------
    state : BookState
        After the last session.
    members : sequence of (MonitorState, float)
        Each live factor's monitor as it was *before* this session's IC, with that IC; NaN where it
        has none. Suspended factors count as live and are not pooled.

    Returns
    -------
    BookState
        `state` itself if no factor has an IC. Below 3 live factors the verdict is `healthy` and the
        evidence 0: the book then says nothing that the factors' own tests do not say. With fewer
        than 2 factors to pool the evidence stays as it is.
    """
    if len(members) < MIN_LIVE:
        return _cleared(state, f"{len(members)} live factors, {MIN_LIVE} make a book")
    if not any(_heard(monitor, ic) for monitor, ic in members):
        return state
    n = state.n + 1
    pool = _pool(state, members)
    if len(pool) < MIN_POOLED:
        clear = n if state.cusum == 0 else state.last_clear
        return replace(state, n=n, last_clear=clear, reason=f"{len(pool)} factors left to pool")
    # Exact sums: the order of the members changes no bit.
    weights = [m.mean / (m.kappa * m.variance) for m, _ in pool]
    weighted = list(zip(weights, pool, strict=True))
    total = math.fsum(weights)
    scale = math.fsum(w * math.sqrt(m.variance) for w, (m, _) in weighted) / total
    pooled = math.fsum(w * fresh_part(x, m.last_ic, m.carry) for w, (m, x) in weighted) / total
    expected = math.fsum(w * m.mean for w, (m, _) in weighted) / total
    z, tested = pooled / scale, INTACT * expected / scale
    ratio = decay_ratio(z, tested, state.variance, state.kappa)
    evidence = min((1 + state.evidence) * math.exp(ratio), EVIDENCE_CAP)
    cusum = max(0.0, state.cusum + ratio)
    before = (state.pooled, state.expected) if state.n else (expected, expected)
    state = replace(
        state,
        reason=f"evidence {evidence:.4g} against {state.threshold:.4g}",
        evidence=evidence,
        n=n,
        last_clear=state.last_clear if cusum > 0 else n,
        cusum=cusum,
        variance=next_variance(z, tested, state.variance, state.variance0),
        pooled=before[0] + _ALPHA * (pooled - before[0]),
        expected=before[1] + _ALPHA * (expected - before[1]),
    )
    if state.verdict is BookVerdict.HEALTHY:
        weak = evidence >= state.threshold
        return replace(state, verdict=BookVerdict.WEAKENING) if weak else state
    recovery = min((1 + state.recovery) * math.exp(-ratio), EVIDENCE_CAP)
    reason = f"{state.reason}, recovery {recovery:.4g} against {state.threshold:.4g}"
    if recovery >= state.threshold:
        return _cleared(state, reason)
    return replace(state, recovery=recovery, reason=reason)


def overlaps(monitor: MonitorState, state: BookState) -> bool:
    """Return whether a factor's onset is the book's or later, as far as estimates can tell."""
    return monitor.n - monitor.last_clear <= state.onset_ago + ONSET_SLACK


def _heard(monitor: MonitorState, ic: float) -> bool:
    return math.isfinite(ic) and monitor.verdict is not Verdict.SUSPENDED


def _pool(
    state: BookState, members: Sequence[tuple[MonitorState, float]]
) -> list[tuple[MonitorState, float]]:
    """Return who is pooled today: not the suspect, nor one that decayed on its own."""
    suspect = max(range(len(members)), key=lambda i: members[i][0].evidence)
    pool = []
    for i, (monitor, ic) in enumerate(members):
        is_suspect = i == suspect and monitor.evidence > 0
        on_its_own = monitor.standing is Verdict.DECAYED and not overlaps(monitor, state)
        if _heard(monitor, ic) and not is_suspect and not on_its_own:
            pool.append((monitor, ic))
    return pool


def _cleared(state: BookState, reason: str) -> BookState:
    """Healthy, with all evidence at 0."""
    return replace(
        state,
        verdict=BookVerdict.HEALTHY,
        reason=reason,
        evidence=0.0,
        recovery=0.0,
        cusum=0.0,
        last_clear=state.n,
    )


def _pooled_past(past: FloatArray, monitors: Sequence[MonitorState]) -> FloatArray:
    """Return z of each past session with two factors or more, at the monitors' first variances."""
    mean, kappa, variance = (
        np.array([getattr(monitor, name) for monitor in monitors])
        for name in ("mean", "kappa", "variance0")
    )
    fresh = np.column_stack(
        [fresh_part(past[1:, i], past[:-1, i], m.carry) for i, m in enumerate(monitors)]
    )
    finite = np.isfinite(fresh)
    weights = np.where(finite, mean / (kappa * variance), 0.0)
    enough = finite.sum(axis=1) >= MIN_POOLED
    weighted = (weights * np.where(finite, fresh, 0.0)).sum(axis=1)
    pooled: FloatArray = weighted[enough] / (weights @ np.sqrt(variance))[enough]
    return pooled


def _variance_ratio(values: FloatArray, k: int) -> float:
    """Variance of sums of k neighbours over k variances (Lo and MacKinlay 1988), overlapping."""
    n, deviation = len(values), values - values.mean()
    if k == 1 or n < 2 * k:
        return 1.0
    totals = np.concatenate([[0.0], np.cumsum(deviation)])
    sums = totals[k:] - totals[:-k]
    return float((sums**2).mean() / (k * (deviation**2).mean()) / (1 - k / n))
