"""The trial in shadow: its error rates, alone and against an incumbent."""

from __future__ import annotations

import math

import numpy as np
import pytest

from signals.decay import MonitorState, start_monitor
from signals.errors import DataError
from signals.panel import FloatArray
from signals.shadow import (
    RECENT,
    Comparison,
    Promotion,
    advantages,
    judge_pair,
    judge_shadow,
)

MEAN, SD = 0.035, 0.1


def ics(rng: np.random.Generator, mean: float, n: int) -> FloatArray:
    """ICs with the tails of a t with 5 degrees of freedom."""
    return mean + SD * math.sqrt(3 / 5) * rng.standard_t(5, n)


def started() -> MonitorState:
    return start_monitor(ics(np.random.default_rng(0), MEAN, 500))


def shadow_rates(mean: float, seed: int, n: int = 300) -> dict[Promotion, float]:
    rng = np.random.default_rng(seed)
    state = start_monitor(ics(rng, MEAN, 500))
    verdicts = [judge_shadow(ics(rng, mean, 250), state)[0] for _ in range(n)]
    return {promotion: verdicts.count(promotion) / n for promotion in Promotion}


def test_worthless_shadow_is_rarely_promoted() -> None:
    """A factor without any IC is promoted at most about one time in twenty."""
    rates = shadow_rates(0.0, 21)
    assert rates[Promotion.PROMOTE] <= 0.07
    assert rates[Promotion.CONTINUE] == 0


def test_shadow_that_keeps_its_mean_is_mostly_promoted() -> None:
    """A factor that earns forward what it earned in validation is promoted nine times in ten."""
    assert shadow_rates(MEAN, 22)[Promotion.PROMOTE] >= 0.9


def test_shadow_is_not_judged_before_its_time() -> None:
    """Overwhelming evidence decides nothing before 20 finite ICs; NaN does not count."""
    state = started()
    assert judge_shadow(np.full(19, 0.2), state)[0] is Promotion.CONTINUE
    assert judge_shadow(np.r_[np.full(19, 0.2), np.nan], state)[0] is Promotion.CONTINUE
    promotion, support = judge_shadow(np.full(20, 0.2), state)
    assert promotion is Promotion.PROMOTE
    assert support >= math.log(19)


def test_first_decision_on_a_shadow_stands() -> None:
    """ICs after the decision change neither it nor its figure."""
    state = started()
    decided = judge_shadow(np.full(20, 0.2), state)
    assert judge_shadow(np.r_[np.full(20, 0.2), np.full(100, -0.3)], state) == decided


def test_undecided_shadow_is_rejected_at_the_end() -> None:
    """After 250 sessions without a decision, missing ones included, the factor is rejected."""
    state = started()
    undecided = np.tile([state.mean / 2 + 0.01, state.mean / 2 - 0.01], 125)
    assert judge_shadow(undecided[:249], state)[0] is Promotion.CONTINUE
    assert judge_shadow(undecided, state)[0] is Promotion.REJECT
    assert judge_shadow(np.full(250, np.nan), state) == (Promotion.REJECT, 0.0)


def correlated(
    rng: np.random.Generator, n: int, rho: float, horizon: int = 1
) -> tuple[FloatArray, FloatArray]:
    """Noise of two factors: t with 5 degrees of freedom, a common part, overlapping labels."""
    draws = rng.standard_t(5, (3, n + horizon - 1)) * math.sqrt(3 / 5) * SD
    kernel = np.ones(horizon) / math.sqrt(horizon)
    common, one, two = (np.convolve(row, kernel, "valid") for row in draws)
    share, rest = math.sqrt(rho), math.sqrt(1 - rho)
    return share * common + rest * one, share * common + rest * two


def duels(
    rho: float, *, ours: float, earned: FloatArray, seed: int, horizon: int = 1, n: int = 250
) -> list[Comparison]:
    """Compare over 250 sessions after a baseline of 250; `earned` is the incumbent's true mean."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        one, two = correlated(rng, 500, rho, horizon)
        challenger = ours + one
        mean = start_monitor(challenger[:250], horizon=horizon).mean
        found.append(judge_pair(challenger, earned + two, 250, mean, horizon=horizon))
    return found


def until(change: int, after: float, before: float = MEAN) -> FloatArray:
    """Return the mean of a factor that changes at a row; the challenger joins at row 250."""
    return np.concatenate([np.full(change, before), np.full(500 - change, after)])


def share(found: list[Comparison], outcome: Promotion) -> float:
    return sum(comparison.outcome is outcome for comparison in found) / len(found)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("horizon", [1, 5])
def test_incumbent_that_earns_as_much_is_rarely_replaced(rho: float, horizon: int) -> None:
    """With equal means, however correlated, at most one challenger in twenty is taken."""
    for earned in (0.0, MEAN):
        found = duels(rho, ours=earned, earned=np.full(500, earned), seed=31, horizon=horizon)
        assert share(found, Promotion.PROMOTE) <= 0.05


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
def test_incumbent_that_recovers_is_rarely_replaced(rho: float) -> None:
    """One that earned nothing before the challenger joined, and earns as much since, is kept."""
    earned = np.r_[until(187, 0.0)[:250], np.full(250, MEAN)]
    found = duels(rho, ours=MEAN, earned=earned, seed=32)
    assert share(found, Promotion.PROMOTE) <= 0.05


@pytest.mark.parametrize(
    ("rho", "won", "sessions"), [(0.0, 0.75, 160), (0.4, 0.9, 110), (0.8, 0.95, 60)]
)
def test_dead_incumbent_is_replaced(rho: float, won: float, sessions: int) -> None:
    """A challenger that keeps its mean beats a dead factor, the sooner the more they correlate."""
    found = duels(rho, ours=MEAN, earned=until(187, 0.0), seed=33)
    assert share(found, Promotion.PROMOTE) >= won
    assert share(found, Promotion.REJECT) <= 0.05
    took = [c.sessions for c in found if c.outcome is Promotion.PROMOTE]
    assert np.median(took) <= sessions


def test_incumbent_that_dies_meanwhile_is_replaced() -> None:
    """It need not have been dead when the challenger joined: delta follows what it still earns."""
    found = duels(0.4, ours=MEAN, earned=until(250, 0.0), seed=34)
    assert share(found, Promotion.PROMOTE) >= 0.75


@pytest.mark.parametrize("truth", ["null", "alternative"])
def test_error_rates_hold_without_a_last_session(truth: str) -> None:
    """Differences of mean 0 win with at most alpha; those of mean delta lose with at most beta."""
    rng, found = np.random.default_rng(35), []
    wrong = Promotion.PROMOTE if truth == "null" else Promotion.REJECT
    for _ in range(200):
        one, two = (ics(rng, 0.0, 1500) for _ in range(2))
        if truth == "alternative":
            one[250:] += advantages(two, 250, 0.05)
        found.append(judge_pair(one, two, 250, 0.05, horizon=1, max_sessions=1250, min_sessions=1))
    assert share(found, wrong) <= 0.05
    assert share(found, Promotion.CONTINUE) <= 0.05


def test_advantage_is_what_the_incumbent_cannot_still_earn() -> None:
    """It is the validated mean less the incumbent's recent mean and one standard error of that."""
    incumbent = ics(np.random.default_rng(36), 0.01, 250)
    recent = incumbent[137:200]
    se = recent.std() / math.sqrt(RECENT)
    [delta, *rest] = advantages(incumbent, 200, 0.06)
    assert len(rest) == 49
    assert delta == pytest.approx(0.06 - recent.mean() - se, rel=1e-9)
    assert advantages(incumbent - 1, 249, 0.06).tolist() == [0.06]
    assert advantages(incumbent + 1, 249, 0.06).tolist() == [0.008]


def test_advantage_of_a_session_knows_nothing_of_it() -> None:
    """Changing the incumbent's ICs from a session on changes only later advantages."""
    incumbent = ics(np.random.default_rng(37), 0.03, 250)
    incumbent[::9] = np.nan
    changed = np.r_[incumbent[:220], incumbent[220:] + 0.01]
    same = advantages(incumbent, 200, 0.06) == advantages(changed, 200, 0.06)
    assert same[:21].all()
    assert not same.all()


def test_what_moves_both_alike_cancels() -> None:
    """A shock that befalls both in the last session leaves the evidence as it was."""
    rng = np.random.default_rng(38)
    one, two, shock = ics(rng, 0.1, 121), ics(rng, 0.0, 121), np.r_[np.zeros(120), 0.7]
    calm = judge_pair(one, two, 120, 0.05, horizon=1)
    shaken = judge_pair(one + shock, two + shock, 120, 0.05, horizon=1)
    assert shaken.log_likelihood_ratio == pytest.approx(calm.log_likelihood_ratio)
    assert calm.sessions == shaken.sessions == 1


def test_comparison_is_open_for_so_long() -> None:
    """After its last session no decision is taken any more; NaN is a session without news."""
    rng = np.random.default_rng(39)
    one, two = ics(rng, MEAN, 400), ics(rng, MEAN, 400)
    late = np.r_[one[:120], np.full(280, 0.9)]
    still = judge_pair(one[:120], two[:120], 100, MEAN, horizon=1)
    assert still.outcome is Promotion.CONTINUE
    assert judge_pair(late, two, 100, MEAN, horizon=1, max_sessions=20) == still
    assert judge_pair(late, two, 100, MEAN, horizon=1).outcome is Promotion.PROMOTE
    one[100:] = np.nan
    none = judge_pair(one, two, 100, MEAN, horizon=1)
    assert (none.outcome, none.sessions, none.log_likelihood_ratio) == (Promotion.CONTINUE, 0, 0.0)
    assert math.isnan(none.advantage)


def test_comparison_needs_sixty_sessions_with_both() -> None:
    """Where one of the two has no IC there is no difference to learn the noise from."""
    rng = np.random.default_rng(40)
    one, two = ics(rng, MEAN, 120), ics(rng, MEAN, 120)
    one[:25], two[75:100] = np.nan, np.nan
    with pytest.raises(DataError, match="50 finite"):
        judge_pair(one, two, 100, MEAN, horizon=1)
