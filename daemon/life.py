"""The life of a factor: which state it moves to, by which rule, on which evidence. Pure.

::

    declared ─▶ candidate ─┬─ its baseline earns ───────────▶ live
                           └─ it does not ──────────────────▶ rejected
    mined ────▶ shadow ────┬─ a challenger that has won ────▶ live       (`daemon.challenger`)
                           ├─ one that has not ─────────────▶ rejected
                           └─ a revival undone by command ──▶ retired
                live ──────┬─ beaten by a challenger ───────▶ retired
                           ├─ evidence of decay overwhelming▶ retired
                           └─ by command ───────────────────▶ retired
                retired ───┬─ it has recovered: revived ────▶ shadow, where it has to win again
                           ├─ by command: revived ──────────▶ shadow, the same
                           └─ retirement undone by command ─▶ shadow ─▶ live, its monitor as it was

The state says what a factor may do; the monitor's verdict (`healthy`, `warning`, `decayed`,
`suspended`) says how it does. They are kept apart: a decayed factor stays live with a cut weight
until a challenger has beaten it, or until its own evidence is overwhelming; one that recovers
meanwhile is kept. What commands do is in `daemon.stages.requested`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daemon.settings import BookSettings, MarketSettings, MonitorSettings
from signals.decay import RECOVERY, MonitorState, Verdict, start_monitor
from signals.ic import hac_lags, mean_with_interval
from signals.panel import FloatArray
from signals.watch import Watch, strain, suspend, update, with_threshold

#: Sessions after which a re-mining that came to no end is tried again.
RETRY_SESSIONS = 5
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
    #: Whether its forward evidence begins anew: a revival.
    anew: bool = False


def judge_candidate(
    rank_ics: FloatArray, horizon: int, monitor: MonitorSettings
) -> tuple[Move | None, MonitorState | None]:
    """Return what becomes of a declared factor, and its raw test when it goes live.

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


@dataclass(frozen=True)
class Followed:
    """A live factor's watch after a session, and the verdict it left, if it left one."""

    watch: Watch
    left: Verdict | None
    retire: Move | None


def follow(
    watch: Watch, monitored: float, raw: float, threshold: float, suspended: str | None
) -> Followed:
    """Feed one more session to a live factor's watch.

    Parameters
    ----------
    watch : Watch
        As stored after the last session.
    monitored, raw : float
        The RankICs realised now; NaN where there is none.
    threshold : float
        The book's alarm threshold today.
    suspended : str or None
        Why the data of this session may not be judged, if they may not.
    """
    before, overwhelmed = watch.verdict, strain(watch.leading) >= OVERWHELMING
    watch = with_threshold(watch, threshold)
    if suspended is not None:
        watch = suspend(watch, suspended)
        return Followed(watch, before if before is not watch.verdict else None, None)
    watch = update(watch, monitored, raw)
    left = before if before is not watch.verdict else None
    retire = None
    # Only the crossing retires: an operator who brings such a factor back means to keep it.
    crossed = not overwhelmed and strain(watch.leading) >= OVERWHELMING
    if watch.verdict is Verdict.DECAYED and crossed:
        evidence = {"evidence": watch.evidence, "threshold": watch.threshold}
        retire = Move("retired", f"evidence of decay above {OVERWHELMING:.0f} thresholds", evidence)
    return Followed(watch, left, retire)


def measured_retired(sessions_since: int, book: BookSettings) -> bool:
    """Return whether a factor is still measured so many sessions after it retired."""
    return sessions_since <= book.revival_sessions


def begin_recovery(watch: Watch) -> Watch:
    """Return the watch a retired factor's recovery is judged from: no evidence of it so far."""
    monitored, raw = (
        replace(test, verdict=Verdict.DECAYED, standing=Verdict.DECAYED, recovery=0.0)
        for test in (watch.monitored, watch.raw)
    )
    return replace(watch, monitored=monitored, raw=raw)


def judge_retired(watch: Watch, monitored: float, raw: float) -> tuple[Watch, Move | None]:
    """Return a retired factor's watch after one more session, and its revival on recovery.

    Parameters
    ----------
    watch : Watch
        From `begin_recovery` at first, then as returned here: the reverse recursion runs on both
        tests, whichever had called it decayed.
    monitored, raw : float
        The RankICs realised now; NaN where there is none.

    Returns
    -------
    Watch, Move or None
        Once both tests have evidence of recovery 504 the move to shadow: a dead factor gets there
        once in two years or later, and still has to win on forward RankICs.
    """
    after = update(watch, monitored, raw)
    if after.standing is Verdict.DECAYED:
        return after, None
    evidence = {
        "required": RECOVERY,
        "monitored_running_mean": after.monitored.ewma,
        "running_rank_ic": after.raw.ewma,
        "tested_mean": after.raw.mean,
    }
    rule = f"revived: evidence of recovery since it retired reached {RECOVERY:.0f} in both tests"
    return after, Move("shadow", rule, evidence, anew=True)


def by_urgency(watches: Mapping[str, Watch], decayed_multiplier: float) -> dict[str, float]:
    """Return the decayed factors with their urgency, the most urgent first.

    Urgency is the weight lost times the evidence over its threshold. The weight lost is the share
    of the book's expected RankIC that the factor stood for, less what it may keep.

    Parameters
    ----------
    watches : mapping of str to Watch
        Of every live factor.
    decayed_multiplier : float
        What is left of a decayed factor's weight.
    """
    whole = sum(watch.raw.mean for watch in watches.values())
    found = {
        name: watch.raw.mean / whole * (1 - decayed_multiplier) * strain(watch.leading)
        for name, watch in watches.items()
        if watch.standing is Verdict.DECAYED
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


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


def cooldown(result: Mapping[str, Any] | None, settings: MarketSettings) -> int:
    """Return how many sessions lie between a re-mining and the next.

    After one that accepted nothing half of the validation window has to be new: on the old one the
    same search finds the same, and each trial on it raises the bar for the next. After one that
    came to no end, and so heard nobody, a few.

    Parameters
    ----------
    result : mapping or None
        Of the re-mining, as the ledger has it.
    """
    told = result or {}
    pause = settings.book.cooldown_sessions
    if told.get("accepted"):
        return pause
    if "tried" not in told:
        return min(pause, RETRY_SESSIONS)
    return max(pause, settings.mining.valid_sessions // 2)
