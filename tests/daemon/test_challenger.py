"""What becomes of a challenger: alone, against decayed incumbents, in a full book."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.challenger import Duel, Series, duel, judge_challenger, replaced, settle
from daemon.life import Move
from daemon.settings import BookSettings
from signals.decay import start_monitor
from signals.panel import FloatArray
from signals.shadow import Comparison, Promotion
from tests.daemon.watches import watch_of
from tests.storage.build import day

BOOK = BookSettings(shadow_min=20, shadow_max=100)
OWN = Move("live", "forward RankIC in shadow bears it out", {"log_likelihood_ratio": 3.0})


def ranks(mean: float, n: int, seed: int = 0) -> FloatArray:
    """RankICs around `mean`; exactly `mean` on average, so that no draw decides a test."""
    noise = np.random.default_rng(seed).normal(0.0, 0.1, n)
    return np.asarray(mean + noise - noise.mean())


def test_short_validation_window_is_completed_by_forward_sessions() -> None:
    """Below 60 finite RankICs the first forward ones complete the baseline and are not judged."""
    assert judge_challenger(ranks(0.05, 40), ranks(0.3, 39), 1, BOOK) == (None, None)
    forward = np.concatenate([ranks(0.05, 20, 1), ranks(0.3, 20, 2)])
    move, _ = judge_challenger(ranks(0.05, 40), forward, 1, BOOK)
    assert move is not None
    assert (move.to_state, move.evidence["forward_sessions"]) == ("live", 20)


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


def met(name: str, outcome: Promotion) -> Duel:
    return Duel(name, Comparison(outcome, 1.0, 30, 0.02), 0.04, 0.01)


WON, LOST, OPEN = Promotion.PROMOTE, Promotion.REJECT, Promotion.CONTINUE


def test_most_urgent_incumbent_that_is_beaten_is_replaced() -> None:
    """The first in order of urgency that it beats: open and lost comparisons are passed over."""
    duels = [met("a", OPEN), met("b", WON), met("c", WON)]
    move, gone = settle(OWN, duels, place=False, expired=False)
    assert move is not None
    assert gone is duels[1]
    assert move.to_state == "live"
    assert "earns more than b" in move.rule
    assert (move.evidence["replaces"], move.evidence["log_likelihood_ratio"]) == ("b", 3.0)
    assert move.evidence["comparison"] == {
        "incumbent": "b",
        "outcome": "promote",
        "log_likelihood_ratio": 1.0,
        "sessions": 30,
        "advantage_tested": 0.02,
        "rank_ic": 0.04,
        "incumbent_rank_ic": 0.01,
    }


@pytest.mark.parametrize(
    ("outcomes", "place", "expired", "state"),
    [
        ([], True, False, "live"),  # nobody is decayed, or he has recovered: its own test is enough
        ([], False, False, None),
        ([], False, True, "rejected"),
        ([OPEN], True, False, None),
        ([LOST, OPEN], True, False, None),
        ([OPEN], True, True, "live"),
        ([OPEN], False, True, "rejected"),
        ([LOST], True, False, "live"),
        ([LOST, LOST], False, False, "rejected"),
    ],
)
def test_challenger_that_has_beaten_nobody(
    outcomes: list[Promotion], place: bool, expired: bool, state: str | None
) -> None:
    """It waits while a comparison is open; then it needs a place, and replaces nobody."""
    duels = [met(f"f{number}", outcome) for number, outcome in enumerate(outcomes)]
    move, gone = settle(OWN, duels, place=place, expired=expired)
    assert gone is None
    assert (move.to_state if move else None) == state
    if move is not None:
        assert len(move.evidence["comparisons"]) == len(outcomes)
        assert all(met.incumbent in move.rule for met in duels)
        assert ("no place" in move.rule) == (state == "rejected")


def test_replaced_incumbent_keeps_the_evidence() -> None:
    """Its retirement names the successor, the comparison, and its own evidence of decay."""
    watch = watch_of(start_monitor(ranks(0.05, 120), threshold=63.0))
    move = replaced(met("old", WON), "new", watch)
    assert (move.to_state, move.rule) == ("retired", "replaced by new")
    assert move.evidence["replaced_by"] == "new"
    assert move.evidence["comparison"]["incumbent_rank_ic"] == 0.01
    assert (move.evidence["evidence"], move.evidence["threshold"]) == (0.0, 63.0)


def series(values: FloatArray, first: int = 0) -> Series:
    days = [day(first + number) for number in range(len(values))]
    return Series(np.array(days, dtype="datetime64[D]"), values)


def test_duel_judges_common_forward_sessions() -> None:
    """Only sessions since it joined with both RankICs count; the means are over the same."""
    ours = np.r_[ranks(0.05, 100, 1), ranks(0.15, 40, 2)]
    theirs = np.r_[ranks(0.0, 100, 3), ranks(-0.1, 40, 4)]
    ours[110] = np.nan
    found = duel(series(ours), "old", series(theirs[5:], 5), joined=day(100), mean=0.05,
                 horizon=1, book=BOOK)  # fmt: skip
    assert found.comparison.outcome is WON
    assert found.comparison.sessions >= 20
    judged = np.delete(np.arange(100, 140), 10)[: found.comparison.sessions]
    assert found.rank_ic == pytest.approx(ours[judged].mean())
    assert found.incumbent_rank_ic == pytest.approx(theirs[judged].mean())


def test_duel_completes_its_baseline_with_forward_sessions() -> None:
    """With 50 common sessions before, the first ten forward ones tell the noise, unjudged."""
    ours, theirs = ranks(0.05, 80, 1), ranks(0.0, 80, 2)
    found = duel(series(ours), "old", series(theirs), joined=day(50), mean=0.05, horizon=1,
                 book=BOOK)  # fmt: skip
    assert found.comparison.sessions == 20


@pytest.mark.parametrize("same", [True, False])
def test_duel_that_cannot_be_judged_is_open(same: bool) -> None:
    """Without 60 common sessions, or between twins, nothing is decided."""
    ours = ranks(0.05, 140, 1)
    theirs = series(ours) if same else series(ranks(0.0, 59, 2), 81)
    found = duel(series(ours), "old", theirs, joined=day(100), mean=0.05, horizon=1, book=BOOK)
    assert (found.comparison.outcome, found.comparison.sessions) == (OPEN, 0)
    assert found.to_json()["advantage_tested"] is None
    assert (found.rank_ic, found.incumbent_rank_ic) == (None, None)
