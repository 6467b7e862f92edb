"""A challenger in shadow: its own test, and the comparison with the incumbent it is to replace.

::

    own test open ─▶ it waits                   own test lost ─▶ rejected
    own test won ──┬─ a decayed incumbent is beaten ─────▶ live, and that one retired
                   ├─ none is decayed ───────────────────▶ live if there is a place, else it waits
                   ├─ a comparison is open, time is left ▶ it waits
                   └─ no decayed incumbent is beaten ────▶ live if there is a place, else rejected

Decayed incumbents are compared with in order of urgency, and the first that is beaten is replaced.
Nothing waits longer than `book.shadow_max` sessions. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from daemon.life import Move
from daemon.settings import BookSettings
from signals.decay import MIN_BASELINE, MonitorState, start_monitor
from signals.panel import FloatArray, SessionArray
from signals.shadow import Comparison, Promotion, judge_pair, judge_shadow
from signals.watch import Watch


@dataclass(frozen=True)
class Series:
    """RankICs by session, ascending, NaN where not defined; arrays of shape (n_sessions,)."""

    sessions: SessionArray
    rank_ic: FloatArray


@dataclass(frozen=True)
class Duel:
    """A challenger against one decayed incumbent.

    Parameters
    ----------
    rank_ic, incumbent_rank_ic : float or None
        Means over the sessions judged, those with both; None without one.
    """

    incumbent: str
    comparison: Comparison
    rank_ic: float | None
    incumbent_rank_ic: float | None

    def to_json(self) -> dict[str, Any]:
        """Return what the registry keeps of it."""
        advantage = self.comparison.advantage
        return {
            "incumbent": self.incumbent,
            "outcome": self.comparison.outcome.value,
            "log_likelihood_ratio": self.comparison.log_likelihood_ratio,
            "sessions": self.comparison.sessions,
            "advantage_tested": advantage if math.isfinite(advantage) else None,
            "rank_ic": self.rank_ic,
            "incumbent_rank_ic": self.incumbent_rank_ic,
        }


def judge_challenger(
    baseline: FloatArray, forward: FloatArray, horizon: int, book: BookSettings
) -> tuple[Move | None, MonitorState | None]:
    """Return what a factor in shadow has proved by itself, and its monitor if it is to go live.

    Parameters
    ----------
    baseline : ndarray of shape (n_sessions,)
        RankICs of its validation window: out of sample for the search, not for the selection. Those
        before its revival, for a revived one.
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


def duel(
    challenger: Series,
    name: str,
    incumbent: Series,
    *,
    joined: date,
    mean: float,
    horizon: int,
    book: BookSettings,
) -> Duel:
    """Compare a challenger with an incumbent over the sessions since it joined.

    Parameters
    ----------
    name : str
        The incumbent's.
    joined : date
        The challenger's first forward session.
    mean : float
        Its validated, shrunk mean RankIC.
    horizon : int
        Sessions the label is held.
    book : BookSettings
        Bounds of the shadow period.

    Returns
    -------
    Duel
        Not decided while fewer than 60 sessions with both RankICs lie before the first one judged;
        where the challenger joined earlier, forward sessions complete them and are not judged.
    """
    days, ours, theirs = np.intersect1d(
        challenger.sessions, incumbent.sessions, assume_unique=True, return_indices=True
    )
    first, second = challenger.rank_ic[ours], incumbent.rank_ic[theirs]
    both = np.flatnonzero(np.isfinite(first - second))
    cut = int((days < np.datetime64(joined, "D")).sum())
    if len(both) >= MIN_BASELINE:
        cut = max(cut, int(both[MIN_BASELINE - 1]) + 1)
    before = (first - second)[:cut]
    known = before[np.isfinite(before)]
    if len(known) < MIN_BASELINE or known.min() == known.max():
        return Duel(name, Comparison(Promotion.CONTINUE, 0.0, 0, math.nan), None, None)
    comparison = judge_pair(
        first,
        second,
        cut,
        mean,
        horizon=horizon,
        min_sessions=book.shadow_min,
        max_sessions=book.shadow_max,
    )
    judged = both[both >= cut][: comparison.sessions]
    means = (float(s[judged].mean()) if len(judged) else None for s in (first, second))
    return Duel(name, comparison, *means)


def settle(
    own: Move, duels: Sequence[Duel], *, place: bool, expired: bool
) -> tuple[Move | None, Duel | None]:
    """Return the move of a challenger that has won its own test, and whom it replaces.

    Parameters
    ----------
    own : Move
        From `judge_challenger`: to live.
    duels : sequence of Duel
        Against each decayed incumbent, the most urgent first.
    place : bool
        Whether the book has room for one more, with every incumbent in it.
    expired : bool
        Whether it has been in shadow for `book.shadow_max` sessions.
    """
    for met in duels:
        if met.comparison.outcome is Promotion.PROMOTE:
            rule = f"{own.rule}; it earns more than {met.incumbent}, which has decayed"
            evidence = own.evidence | {"replaces": met.incumbent, "comparison": met.to_json()}
            return Move("live", rule, evidence), met
    undecided = any(met.comparison.outcome is Promotion.CONTINUE for met in duels)
    if undecided and not expired:
        return None, None
    names = ", ".join(met.incumbent for met in duels)
    evidence = own.evidence | {"comparisons": [met.to_json() for met in duels]}
    if place:
        beside = f"; beside {names}, which it has not beaten" if duels else ""
        return replace(own, rule=own.rule + beside, evidence=evidence), None
    if not duels and not expired:
        return None, None
    why = f"it has not beaten {names}" if duels else "it has waited as long as it may"
    return Move("rejected", f"no place in the book: {why}", evidence), None


def replaced(met: Duel, challenger: str, incumbent: Watch) -> Move:
    """Return the move of the incumbent that a challenger has beaten."""
    evidence = {
        "replaced_by": challenger,
        "comparison": met.to_json(),
        "evidence": incumbent.evidence,
        "threshold": incumbent.threshold,
    }
    return Move("retired", f"replaced by {challenger}", evidence)
