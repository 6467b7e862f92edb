"""The life of a factor: which state it moves to, by which rule, on which evidence. Pure.

::

    candidate ──baseline──▶ live ──overwhelming or replaced──▶ retired
        │                    ▲
        └──▶ rejected        │ forward evidence
    (mined) shadow ──────────┘──▶ rejected

The state says what a factor may do; the monitor's verdict (`healthy`, `warning`, `decayed`,
`suspended`) says how it does. They are kept apart: a decayed factor stays live with a cut weight
until a challenger has proved itself, or until its own evidence is overwhelming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.settings import BookSettings, MarketSettings, MonitorSettings
from signals.decay import (
    MIN_BASELINE,
    MonitorState,
    Verdict,
    start_monitor,
    suspend,
    update,
    with_threshold,
)
from signals.ic import hac_lags, mean_with_interval
from signals.panel import FloatArray
from signals.shadow import Promotion, judge_shadow

#: One-sided 5 % point of the normal law: what a declared factor's baseline has to reach.
BASELINE_T = 1.645
#: Sessions beyond its baseline in which a declared factor may lack a RankIC, before it is rejected.
PATIENCE = 125
#: A factor whose evidence exceeds its threshold this many times retires without a challenger.
OVERWHELMING = 100.0


@dataclass(frozen=True)
class Move:
    """A change of state with the rule that made it and what the rule saw."""

    to_state: str
    rule: str
    evidence: dict[str, Any]


def judge_candidate(
    rank_ics: FloatArray, horizon: int, monitor: MonitorSettings
) -> tuple[Move | None, MonitorState | None]:
    """Return what becomes of a declared factor, and its monitor when it goes live.

    Parameters
    ----------
    rank_ics : ndarray of shape (n_sessions,)
        Its realised RankICs, oldest first; NaN where a session had too few assets.
    horizon : int
        Sessions its label is held.
    monitor : MonitorSettings
        The length of the baseline.

    Returns
    -------
    Move or None, MonitorState or None
        None while the baseline is incomplete. A factor whose baseline RankIC is not above zero
        (HAC t below 1.645) is rejected: a monitor has nothing to watch there.
    """
    baseline = rank_ics[np.isfinite(rank_ics)][-monitor.baseline_sessions :]
    if len(baseline) < monitor.baseline_sessions:
        finite = np.flatnonzero(np.isfinite(rank_ics))
        begun = len(rank_ics) - (int(finite[0]) if len(finite) else 0)
        if begun < monitor.baseline_sessions + PATIENCE:
            return None, None
        evidence: dict[str, Any] = {"sessions": begun, "rank_ics": len(baseline)}
        return Move("rejected", "too few of its RankICs are defined", evidence), None
    estimate = mean_with_interval(baseline, lags=hac_lags(len(baseline), horizon=horizon))
    evidence = {
        "baseline_sessions": len(baseline),
        "baseline_rank_ic": estimate.mean,
        "t": estimate.t,
    }
    if not estimate.t >= BASELINE_T:
        rule = f"baseline RankIC is not above zero (t below {BASELINE_T})"
        return Move("rejected", rule, evidence), None
    move = Move("live", f"baseline RankIC is above zero (t at least {BASELINE_T})", evidence)
    return move, start_monitor(baseline, horizon=horizon)


def judge_challenger(
    baseline: FloatArray, forward: FloatArray, horizon: int, book: BookSettings
) -> tuple[Move | None, MonitorState | None]:
    """Return what becomes of a mined factor in shadow, and its monitor when it goes live.

    Parameters
    ----------
    baseline : ndarray of shape (n_sessions,)
        RankICs of its validation window: out of sample for the search, not for the selection.
    forward : ndarray of shape (n_forward,)
        RankICs realised since it joined: nobody has selected on these.
    horizon : int
        Sessions its label is held.
    book : BookSettings
        Bounds of the shadow period.

    Returns
    -------
    Move or None, MonitorState or None
        None while the evidence decides nothing. A validation window of fewer than 60 finite ICs is
        completed by the first forward ones, which then are not judged.
    """
    baseline, forward, missing = complete_baseline(baseline, forward)
    if missing:
        if len(forward) < book.shadow_max:
            return None, None
        evidence: dict[str, Any] = {"forward_sessions": len(forward), "baseline_missing": missing}
        return Move("rejected", "too few of its RankICs are known to judge it", evidence), None
    state = start_monitor(baseline, horizon=horizon)
    decision, support = judge_shadow(
        forward, state, min_sessions=book.shadow_min, max_sessions=book.shadow_max
    )
    if decision is Promotion.CONTINUE:
        return None, None
    seen = forward[np.isfinite(forward)]
    evidence = {
        "forward_sessions": len(seen),
        "forward_rank_ic": float(seen.mean()) if len(seen) else None,
        "expected_rank_ic": state.mean,
        "log_likelihood_ratio": support,
    }
    if decision is Promotion.REJECT:
        return Move("rejected", "forward RankIC in shadow does not bear it out", evidence), None
    whole = np.concatenate([baseline, forward])
    move = Move("live", "forward RankIC in shadow bears it out", evidence)
    return move, start_monitor(whole, horizon=horizon)


def complete_baseline(
    baseline: FloatArray, forward: FloatArray
) -> tuple[FloatArray, FloatArray, int]:
    """Return baseline and forward ICs, moved to make the baseline whole, and how many it lacks."""
    missing = MIN_BASELINE - int(np.isfinite(baseline).sum())
    if missing <= 0:
        return baseline, forward, 0
    finite = np.flatnonzero(np.isfinite(forward))[:missing]
    if len(finite) < missing:
        return baseline, forward, missing - len(finite)
    cut = int(finite[-1]) + 1
    return np.concatenate([baseline, forward[:cut]]), forward[cut:], 0


@dataclass(frozen=True)
class Watched:
    """A live factor's monitor after a session, and the verdicts it passed through."""

    state: MonitorState
    changes: tuple[tuple[Verdict, Verdict], ...]
    retire: Move | None


def watch(
    state: MonitorState, rank_ics: Sequence[float], threshold: float, suspended: str | None
) -> Watched:
    """Feed newly realised RankICs to a live factor's monitor.

    Parameters
    ----------
    state : MonitorState
        As stored after the last session.
    rank_ics : sequence of float
        Newly realised, oldest first.
    threshold : float
        The book's alarm threshold today.
    suspended : str or None
        Why the data of this session may not be judged, if they may not.
    """
    changes = []
    state = with_threshold(state, threshold)
    before = state.verdict
    if suspended is not None:
        state = suspend(state, suspended)
        if before is not state.verdict:
            changes.append((before, state.verdict))
        return Watched(state, tuple(changes), None)
    for value in rank_ics:
        before = state.verdict
        state = update(state, float(value))
        if before is not state.verdict:
            changes.append((before, state.verdict))
    retire = None
    if state.verdict is Verdict.DECAYED and state.evidence >= OVERWHELMING * threshold:
        evidence = {"evidence": state.evidence, "threshold": threshold}
        retire = Move("retired", f"evidence of decay above {OVERWHELMING:.0f} thresholds", evidence)
    return Watched(state, tuple(changes), retire)


@dataclass(frozen=True)
class BookCount:
    """How many factors stand where, after a session's moves."""

    healthy: int
    decayed: int
    shadow: int


def remining_reason(count: BookCount, book: BookSettings) -> str | None:
    """Return why the book needs re-mining, or None if it does not.

    One challenger is wanted for each decayed factor and for each factor the book is short of; those
    already in shadow count.
    """
    short = max(0, book.min_healthy - count.healthy)
    wanted = max(count.decayed, short) - count.shadow
    if wanted <= 0 or count.healthy + count.shadow >= book.max_live:
        return None
    if count.decayed:
        return f"{count.decayed} decayed"
    return f"{count.healthy} healthy, {book.min_healthy} wanted"


def cooldown(accepted: bool, settings: MarketSettings) -> int:  # noqa: FBT001 - the one fact
    """Return how many sessions lie between a re-mining and the next.

    After one that accepted nothing half of the validation window has to be new: on the old one the
    same search finds the same, and each trial on it raises the bar for the next.
    """
    pause = settings.book.cooldown_sessions
    return pause if accepted else max(pause, settings.mining.valid_sessions // 2)
