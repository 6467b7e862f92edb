from __future__ import annotations

import numpy as np
import pytest

from daemon.life import (
    OVERWHELMING,
    PATIENCE,
    BookCount,
    judge_candidate,
    judge_challenger,
    remining_reason,
    watch,
)
from daemon.settings import BookSettings, MonitorSettings
from signals.decay import MonitorState, Verdict, start_monitor
from signals.panel import FloatArray

MONITOR = MonitorSettings(baseline_sessions=60)
BOOK = BookSettings(shadow_min=20, shadow_max=100, min_healthy=2, max_live=4)


def ranks(mean: float, n: int, seed: int = 0) -> FloatArray:
    """RankICs around `mean`; exactly `mean` on average, so that no draw decides a test."""
    noise = np.random.default_rng(seed).normal(0.0, 0.1, n)
    return np.asarray(mean + noise - noise.mean())


def monitored(mean: float = 0.05) -> MonitorState:
    return start_monitor(ranks(mean, 120))


def test_baseline_has_to_be_complete() -> None:
    """59 finite RankICs decide nothing, however many sessions they took."""
    seen = np.concatenate([ranks(0.05, 59), np.full(40, np.nan)])
    assert judge_candidate(seen, 1, MONITOR) == (None, None)


def test_declared_factor_without_data_is_rejected_in_the_end() -> None:
    """A factor whose RankICs stay undefined does not hold up re-mining for ever."""
    short = np.full(60 + PATIENCE - 1, np.nan)
    assert judge_candidate(short, 1, MONITOR) == (None, None)
    move, monitor = judge_candidate(np.append(short, np.nan), 1, MONITOR)
    assert move is not None
    assert (move.to_state, monitor) == ("rejected", None)


def test_short_validation_window_is_completed_by_forward_sessions() -> None:
    """Below 60 finite RankICs the first forward ones complete the baseline and are not judged."""
    assert judge_challenger(ranks(0.05, 40), ranks(0.3, 39), 1, BOOK) == (None, None)
    forward = np.concatenate([ranks(0.05, 20, 1), ranks(0.3, 20, 2)])
    move, _ = judge_challenger(ranks(0.05, 40), forward, 1, BOOK)
    assert move is not None
    assert (move.to_state, move.evidence["forward_sessions"]) == ("live", 20)


def test_declared_factor_above_zero_goes_live() -> None:
    """A baseline above zero makes it live, with its monitor and the evidence."""
    move, monitor = judge_candidate(ranks(0.05, 90), 1, MONITOR)
    assert move is not None
    assert monitor is not None
    assert move.to_state == "live"
    assert move.evidence["baseline_sessions"] == 60
    assert move.evidence["t"] >= 1.645
    assert monitor.verdict is Verdict.HEALTHY


@pytest.mark.parametrize("mean", [-0.05, 0.0, 0.01])
def test_declared_factor_not_above_zero_is_rejected(mean: float) -> None:
    """A baseline that could be zero has nothing to watch, and no monitor."""
    move, monitor = judge_candidate(ranks(mean, 60), 1, MONITOR)
    assert move is not None
    assert move.to_state == "rejected"
    assert monitor is None


def test_challenger_waits_for_its_first_sessions() -> None:
    """Fewer forward RankICs than `shadow_min` decide nothing, however good they are."""
    assert judge_challenger(ranks(0.05, 120), ranks(0.3, 19), 1, BOOK) == (None, None)


def test_challenger_is_borne_out() -> None:
    """Forward RankICs as validated make it live; its monitor starts from both windows."""
    move, monitor = judge_challenger(ranks(0.05, 120), ranks(0.08, 60, 1), 1, BOOK)
    assert move is not None
    assert monitor is not None
    assert (move.to_state, move.evidence["forward_sessions"]) == ("live", 60)
    assert monitor.baseline_mean == pytest.approx((120 * 0.05 + 60 * 0.08) / 180)


def test_challenger_is_not_borne_out() -> None:
    """Forward RankICs below zero reject it."""
    move, monitor = judge_challenger(ranks(0.05, 120), ranks(-0.08, 60, 1), 1, BOOK)
    assert move is not None
    assert move.to_state == "rejected"
    assert monitor is None


def test_challenger_without_forward_evidence_is_rejected_in_the_end() -> None:
    """At `shadow_max` sessions without a decision it goes, even without one finite RankIC."""
    move, _ = judge_challenger(ranks(0.05, 120), np.full(100, np.nan), 1, BOOK)
    assert move is not None
    assert move.to_state == "rejected"
    assert move.evidence["forward_rank_ic"] is None


def test_watching_passes_through_warning_to_decayed() -> None:
    """A factor that turns is warned of before it is called decayed."""
    watched = watch(monitored(), [-0.15] * 30, 63.0, None)
    assert watched.changes == (
        (Verdict.HEALTHY, Verdict.WARNING),
        (Verdict.WARNING, Verdict.DECAYED),
    )


def test_suspended_session_moves_no_number() -> None:
    """Data that may not be judged change the verdict once and the evidence not at all."""
    state = monitored()
    once = watch(state, [-0.9], 63.0, "coverage 0.5")
    again = watch(once.state, [-0.9], 63.0, "coverage 0.5")
    assert once.changes == ((Verdict.HEALTHY, Verdict.SUSPENDED),)
    assert again.changes == ()
    assert (again.state.evidence, again.state.n) == (state.evidence, 0)
    assert again.state.reason == "coverage 0.5"


def test_judgement_comes_back_with_the_next_session() -> None:
    """After a suspension the next RankIC restores the verdict the evidence implies."""
    suspended = watch(monitored(), [], 63.0, "stale").state
    watched = watch(suspended, [0.05], 63.0, None)
    assert watched.changes == ((Verdict.SUSPENDED, Verdict.HEALTHY),)


def test_overwhelming_evidence_retires_without_a_challenger() -> None:
    """Only evidence a hundred times the threshold retires by itself."""
    watched = watch(monitored(), [], 63.0, None)
    while watched.state.verdict is not Verdict.DECAYED:
        watched = watch(watched.state, [-0.1], 63.0, None)
    assert watched.retire is None
    gone = watch(watched.state, [-0.1] * 50, 63.0, None)
    assert gone.retire is not None
    assert gone.retire.to_state == "retired"
    assert gone.retire.evidence["evidence"] >= OVERWHELMING * 63.0


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (BookCount(healthy=2, decayed=0, shadow=0), None),
        (BookCount(healthy=2, decayed=1, shadow=0), "1 decayed"),
        (BookCount(healthy=2, decayed=1, shadow=1), None),
        (BookCount(healthy=2, decayed=2, shadow=1), "2 decayed"),
        (BookCount(healthy=1, decayed=0, shadow=0), "1 healthy, 2 wanted"),
        (BookCount(healthy=1, decayed=0, shadow=1), None),
        (BookCount(healthy=0, decayed=0, shadow=1), "0 healthy, 2 wanted"),
        (BookCount(healthy=4, decayed=1, shadow=0), None),
        (BookCount(healthy=3, decayed=2, shadow=1), None),
    ],
)
def test_remining_is_wanted(count: BookCount, reason: str | None) -> None:
    """One challenger for each decayed or missing factor; a full book and shadows count."""
    assert remining_reason(count, BOOK) == reason
