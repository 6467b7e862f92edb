from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daemon.life import (
    OVERWHELMING,
    PATIENCE,
    BookCount,
    Followed,
    Move,
    begin_recovery,
    by_urgency,
    follow,
    judge_candidate,
    judge_retired,
    measured_retired,
    remining_reason,
)
from daemon.settings import BookSettings, MonitorSettings
from signals.decay import RECOVERY, Verdict, start_monitor
from signals.panel import FloatArray
from signals.watch import SHARED, Watch, strain, update
from tests.daemon.watches import watch_of

MONITOR = MonitorSettings(baseline_sessions=60)
BOOK = BookSettings(shadow_min=20, shadow_max=100, min_healthy=2, max_live=4)


def ranks(mean: float, n: int, seed: int = 0) -> FloatArray:
    """RankICs around `mean`; exactly `mean` on average, so that no draw decides a test."""
    noise = np.random.default_rng(seed).normal(0.0, 0.1, n)
    return np.asarray(mean + noise - noise.mean())


def monitored(mean: float = 0.05) -> Watch:
    return watch_of(start_monitor(ranks(mean, 120)))


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


def lived(watch: Watch, values: list[float], threshold: float = 63.0) -> list[Followed]:
    """Return what each session came to; both RankICs are the same."""
    steps = []
    for value in values:
        steps.append(follow(watch, value, value, threshold, None))
        watch = steps[-1].watch
    return steps


def test_watching_passes_through_warning_to_decayed() -> None:
    """A factor that turns is warned of before it is called decayed."""
    steps = [step for step in lived(monitored(), [-0.15] * 30) if step.left is not None]
    assert [(step.left, step.watch.verdict) for step in steps] == [
        (Verdict.HEALTHY, Verdict.WARNING),
        (Verdict.WARNING, Verdict.DECAYED),
    ]


def test_suspended_session_moves_no_number() -> None:
    """Data that may not be judged change the verdict once and the evidence not at all."""
    before = monitored()
    once = follow(before, -0.9, -0.9, 63.0, "coverage 0.5")
    again = follow(once.watch, -0.9, -0.9, 63.0, "coverage 0.5")
    assert (once.left, once.watch.verdict) == (Verdict.HEALTHY, Verdict.SUSPENDED)
    assert again.left is None
    assert (again.watch.evidence, again.watch.monitored.n) == (before.evidence, 0)
    assert again.watch.reason == "coverage 0.5"


def test_judgement_comes_back_with_the_next_session() -> None:
    """After a suspension the next RankIC restores the verdict the evidence implies."""
    suspended = follow(monitored(), 0.0, 0.0, 63.0, "stale").watch
    back = follow(suspended, 0.05, 0.05, 63.0, None)
    assert (back.left, back.watch.verdict) == (Verdict.SUSPENDED, Verdict.HEALTHY)


def test_overwhelming_evidence_retires_without_a_challenger() -> None:
    """Only evidence a hundred times the threshold retires by itself."""
    steps = lived(monitored(), [-0.1] * 80)
    fallen = next(n for n, step in enumerate(steps) if step.watch.verdict is Verdict.DECAYED)
    assert steps[fallen].retire is None
    [gone] = [step.retire for step in steps if step.retire is not None]
    assert gone.to_state == "retired"
    assert gone.evidence["evidence"] >= OVERWHELMING * gone.evidence["threshold"]


def decayed(
    mean: float = 0.05, strain: float = 2.0, threshold: float = 63.0, recovery: float = 0.0
) -> Watch:
    """Return a decayed factor's watch; evidence is so many times its threshold."""
    state = replace(
        monitored(mean).monitored,
        threshold=SHARED * threshold,
        evidence=strain * SHARED * threshold,
        verdict=Verdict.DECAYED,
        standing=Verdict.DECAYED,
        recovery=recovery,
    )
    return watch_of(state)


def test_factor_brought_back_is_not_retired_for_old_evidence() -> None:
    """Evidence that was overwhelming when it came back retires nobody; rising above it does."""
    kept = lived(decayed(strain=2 * OVERWHELMING), [-0.1, -0.1])
    assert strain(kept[-1].watch.leading) > 2 * OVERWHELMING
    assert all(step.retire is None for step in kept)
    rising = lived(decayed(strain=0.99 * OVERWHELMING), [-0.1] * 5)
    assert any(step.retire is not None for step in rising)


def test_smaller_book_may_make_evidence_overwhelming() -> None:
    """A threshold that falls under a factor's evidence retires it as rising evidence does."""
    before = decayed(strain=0.5 * OVERWHELMING, threshold=630.0)
    assert follow(before, 0.0, 0.0, 630.0, None).retire is None
    assert follow(before, 0.0, 0.0, 63.0, None).retire is not None


def test_retired_factor_is_measured_for_two_years_of_sessions() -> None:
    """`revival_sessions` after it retired, and not one longer; 0 measures none."""
    assert measured_retired(504, BookSettings())
    assert not measured_retired(505, BookSettings())
    assert not measured_retired(1, BookSettings(revival_sessions=0))


def recovered(watch: Watch, values: list[float]) -> tuple[Watch, Move | None, int]:
    """Return watch, revival if there was one, and the sessions it took; both RankICs are equal."""
    for number, value in enumerate(values, start=1):
        watch, move = judge_retired(watch, value, value)
        if move is not None:
            return watch, move, number
    return watch, None, len(values)


def test_retired_factor_that_recovers_is_revived() -> None:
    """RankICs as before it decayed bring it back to shadow, with the evidence of recovery."""
    watch = begin_recovery(decayed(recovery=500.0))
    watch, move, _ = recovered(watch, [0.05, float("nan"), 0.05])
    assert move is None
    assert 0 < watch.raw.recovery < 5
    watch, move, _ = recovered(watch, ranks(0.06, 300, 3).tolist())
    assert move is not None
    assert (move.to_state, move.anew) == ("shadow", True)
    assert move.rule.startswith("revived: ")
    assert move.evidence["required"] == RECOVERY
    assert watch.standing is Verdict.HEALTHY


def test_both_tests_have_to_see_the_recovery() -> None:
    """A factor whose own part stays gone is not revived for what its styles earn."""
    watch = begin_recovery(decayed())
    for value in ranks(0.06, 300, 3).tolist():
        watch, move = judge_retired(watch, -value, value)
        assert move is None
    assert watch.raw.standing is Verdict.HEALTHY


def test_recovery_is_the_sum_of_likelihood_ratios_over_every_onset() -> None:
    """Q is the sum over onsets k of exp of the support since k."""
    watch = begin_recovery(decayed())
    supports = [watch.raw.support]
    for value in ranks(0.03, 30, 4).tolist():
        watch, move = judge_retired(watch, value, value)
        assert move is None
        supports.append(watch.raw.support)
    expected = sum(np.exp(supports[-1] - before) for before in supports[:-1])
    assert watch.raw.recovery == pytest.approx(expected)


def test_dead_factor_is_revived_once_in_two_years_or_later() -> None:
    """Without any RankIC evidence of recovery reaches 504 after about 504 sessions on average."""
    rng = np.random.default_rng(5)
    lengths = []
    for _ in range(150):
        watch = begin_recovery(watch_of(start_monitor(rng.normal(0.035, 0.1, 500))))
        lengths.append(recovered(watch, rng.normal(0.0, 0.1, 5000).tolist())[2])
    assert np.mean(lengths) >= 0.9 * 504  # 150 waiting times tell their mean within 8 %


def test_recovered_factor_is_mostly_revived() -> None:
    """One that earns again what it earned comes back within two years, as good as always."""
    rng = np.random.default_rng(6)
    watch = begin_recovery(decayed(0.035))
    revived = [recovered(watch, rng.normal(0.035, 0.1, 504).tolist())[1] for _ in range(60)]
    assert sum(move is not None for move in revived) >= 57


def earning(watch: Watch, mean: float) -> Watch:
    """Return the watch with another tested mean."""
    return watch_of(replace(watch.monitored, mean=mean))


def test_urgency_is_weight_lost_times_evidence() -> None:
    """Of the decayed alone: the share of the book's tested mean, less what is kept, times R / A."""
    book = {
        "strong": earning(decayed(strain=2.0), 0.06),
        "weak": earning(decayed(strain=5.0), 0.02),
        "healthy": earning(monitored(), 0.02),
    }
    urgent = by_urgency(book, 0.1)
    assert list(urgent) == ["strong", "weak"]
    assert urgent == pytest.approx({"strong": 0.6 * 0.9 * 2.0, "weak": 0.2 * 0.9 * 5.0})
    surer = book | {"weak": earning(decayed(strain=10.0), 0.02)}
    assert list(by_urgency(surer, 0.1)) == ["weak", "strong"]
    assert by_urgency({"healthy": book["healthy"]}, 0.1) == {}


def test_recovery_ends_the_urgency() -> None:
    """A factor that is healthy again asks for nobody to replace it."""
    watch = decayed()
    while watch.standing is Verdict.DECAYED:
        watch = update(watch, 0.1, 0.1)
    assert by_urgency({"back": watch}, 0.1) == {}


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
