"""The decay monitor: its recursion, its error rates, its verdicts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.decay import (
    MonitorState,
    Verdict,
    false_alarm_threshold,
    make_detector,
    start_monitor,
    suspend,
    update,
    with_threshold,
)
from signals.errors import DataError
from signals.panel import FloatArray

MEAN, SD = 0.035, 0.1


def ics(rng: np.random.Generator, mean: float, n: int) -> FloatArray:
    """ICs with the tails of a t with 5 degrees of freedom."""
    return mean + SD * math.sqrt(3 / 5) * rng.standard_t(5, n)


def started(seed: int = 0, threshold: float = 1260.0) -> MonitorState:
    return start_monitor(ics(np.random.default_rng(seed), MEAN, 500), threshold=threshold)


def fed(state: MonitorState, values: FloatArray) -> list[MonitorState]:
    states = []
    for value in values.tolist():
        state = update(state, value)
        states.append(state)
    return states


def t_log_density(x: float, mean: float, variance: float) -> float:
    """Student t with 6 degrees of freedom and this variance."""
    scale2 = variance * 4 / 6
    constant = math.lgamma(3.5) - math.lgamma(3) - math.log(math.pi * 6 * scale2) / 2
    return constant - 3.5 * math.log(1 + (x - mean) ** 2 / (6 * scale2))


def test_evidence_is_the_sum_of_likelihood_ratios_over_every_onset() -> None:
    """R is 0.7 times the sum over onsets k of prod_{i >= k} (f0(x_i) / fm(x_i))^(1 / kappa)."""
    values = ics(np.random.default_rng(6), MEAN / 2, 60)
    state, ratios = started(), []
    for value in values.tolist():
        decayed = t_log_density(value, 0, state.variance)
        intact = t_log_density(value, state.mean, state.variance)
        ratios.append((decayed - intact) / state.kappa)
        state = update(state, value)
    suffixes = np.cumsum(ratios[::-1])
    assert state.recovery == 0  # never decayed: nothing was reset
    assert state.evidence == pytest.approx(0.7 * np.exp(suffixes).sum(), rel=1e-9)
    assert state.support == pytest.approx(-sum(ratios), rel=1e-9)
    assert state.cusum == pytest.approx(max(0.0, suffixes.max()), rel=1e-9)
    assert state.n - state.last_clear == (suffixes.argmax() + 1 if suffixes.max() > 0 else 0)


def test_baseline_is_shrunk_towards_what_factors_earn() -> None:
    """The baseline less half a se and 0.03 are weighted by precision; 0.008 is the least."""
    baseline = ics(np.random.default_rng(1), 0.05, 400)
    state = start_monitor(baseline)
    se = baseline.std(ddof=1) / 20
    precision = np.array([1 / se**2, 1 / 0.012**2])
    expected = precision @ [baseline.mean() - se / 2, 0.03] / precision.sum()
    assert state.mean == pytest.approx(expected, rel=0.1)  # a t location is near the mean
    assert state.baseline_se == pytest.approx(se)
    assert start_monitor(baseline - 0.5).mean == 0.008


def test_overlap_of_labels_widens_the_error_of_the_mean() -> None:
    """Sums of five sessions have a long-run variance five times their variance."""
    noise = np.random.default_rng(2).normal(size=3004)
    overlapping = 0.03 + 0.04 * np.convolve(noise, np.ones(5), "valid")
    state = start_monitor(overlapping, horizon=5)
    long_run = state.baseline_se**2 * 3000 / overlapping.var(ddof=1)
    assert long_run == pytest.approx(5, rel=0.15)
    assert state.carry == pytest.approx(4 / 6, rel=0.1)  # (kappa - 1) / (kappa + 1)
    assert start_monitor(overlapping, horizon=1).carry == 0
    assert start_monitor(ics(np.random.default_rng(3), MEAN, 500), horizon=5).kappa >= 1


def test_wandering_mean_raises_kappa() -> None:
    """A baseline whose mean moves over months is noisier in the long run than its sessions say."""
    values = ics(np.random.default_rng(4), MEAN, 500)
    months = np.repeat([0.04, -0.04], 50)
    assert start_monitor(values + np.tile(months, 5)).kappa > 1.5 * start_monitor(values).kappa


def test_mean_is_learnt_from_what_speaks_for_the_factor_only() -> None:
    """Live ICs above what was expected raise the mean; those of a decay leave it where it was."""
    strong = fed(started(), ics(np.random.default_rng(5), 2 * MEAN, 250))
    assert strong[-1].mean > started().mean
    dead = fed(started(), np.full(150, -0.03))
    assert dead[-1].verdict is Verdict.DECAYED
    assert dead[-1].mean == started().mean


@pytest.mark.parametrize(
    ("baseline", "fact"),
    [
        (np.full(500, np.nan), "0 finite"),
        (np.r_[np.linspace(0, 0.1, 59), np.full(441, np.nan)], "59 finite"),
        (np.full(500, 0.03), "all equal"),
    ],
)
def test_unusable_baseline_is_refused(baseline: FloatArray, fact: str) -> None:
    """Fewer than 60 finite ICs, or ICs that do not vary, are an error with fact and rule."""
    with pytest.raises(DataError, match=fact) as error:
        start_monitor(baseline)
    assert "at least 60" in error.value.rule


def test_threshold_follows_the_size_of_the_book() -> None:
    """One false alarm a quarter for 20 factors is A = 1260, and no other A can be nonsense."""
    assert false_alarm_threshold(20) == 1260.0
    assert false_alarm_threshold(4, sessions_per_false_alarm=250) == 1000.0
    assert false_alarm_threshold(0) == 63.0
    assert with_threshold(started(), 630).warning_level == pytest.approx(210)
    with pytest.raises(DataError, match="threshold"):
        started(threshold=1.0)


def test_healthy_factors_stay_within_the_false_alarm_budget() -> None:
    """Over 200 healthy factors the rate of false `decayed` is at most 1 in 1260 ICs."""
    rng = np.random.default_rng(11)
    alarms = days = 0
    for _ in range(200):
        detector = make_detector(ics(rng, MEAN, 500), 1)
        for value in ics(rng, MEAN, 1260).tolist():
            days += 1
            if detector.update(value) == "decayed":
                alarms += 1
                break
    assert 0 < alarms / days <= 1 / 1260


def test_dead_factor_is_found_in_weeks_not_years() -> None:
    """After a step to zero half the factors are `decayed` within 75 ICs and nine in ten in 180."""
    rng = np.random.default_rng(12)
    delays = []
    for _ in range(100):
        state = start_monitor(ics(rng, MEAN, 500))
        states = fed(state, ics(rng, 0.0, 400))
        found = [s.verdict is Verdict.DECAYED for s in states]
        delays.append(found.index(True) if any(found) else 400)
    assert 20 < np.median(delays) < 75
    assert np.quantile(delays, 0.9) < 180


def test_verdicts_walk_from_healthy_over_warning_to_decayed_and_back() -> None:
    """A dead factor warns first; one that comes back is healthy again and starts from nothing."""
    rng = np.random.default_rng(13)
    states = fed(started(), np.r_[ics(rng, 0.0, 150), ics(rng, MEAN, 250)])
    verdicts = [s.verdict for s in states]
    order = list(dict.fromkeys(verdicts))
    assert order[-3:] == [Verdict.HEALTHY, Verdict.WARNING, Verdict.DECAYED]
    back = verdicts.index(Verdict.HEALTHY, verdicts.index(Verdict.DECAYED))
    assert back > 150
    assert states[back].evidence == states[back].recovery == states[back].cusum == 0
    assert "recovery" in states[back].reason


def test_warning_does_not_flap() -> None:
    """A warning starts at a third of the threshold and ends only below 1/e of that."""
    sinking = fed(started(), np.full(100, -0.02))
    warned = [s.verdict for s in sinking].index(Verdict.WARNING)
    assert sinking[warned - 1].evidence < 420 <= sinking[warned].evidence
    rising = fed(sinking[warned], np.full(100, 0.06))
    cleared = [s.verdict for s in rising].index(Verdict.HEALTHY)
    assert rising[cleared].evidence < 420 / math.e <= rising[cleared - 1].evidence < 420


def test_missing_ic_changes_nothing() -> None:
    """A NaN or infinite IC gives back the very state."""
    state = update(started(), 0.01)
    assert update(state, math.nan) is state
    assert update(state, math.inf) is state


def test_suspension_moves_no_number_and_ends_with_the_next_ic() -> None:
    """A data fault withholds judgement; a decayed factor is decayed again when it ends."""
    decayed = fed(started(), np.full(150, -0.03))[-1]
    held = suspend(decayed, "stale feed")
    assert (held.verdict, held.reason) == (Verdict.SUSPENDED, "stale feed")
    assert update(held, math.nan) is held
    numbers = ("evidence", "variance", "n", "cusum", "support", "ewma", "recovery")
    assert [getattr(held, name) for name in numbers] == [getattr(decayed, name) for name in numbers]
    assert update(held, -0.01) == update(decayed, -0.01)
    assert update(held, -0.01).verdict is Verdict.DECAYED


@given(st.lists(st.floats(-1, 1), max_size=80))
@settings(max_examples=50, deadline=None)
def test_state_survives_json_bit_for_bit(values: list[float]) -> None:
    """A state written to JSON and read back is equal, and continues equally."""
    state = fed(started(), np.array([0.01, *values]))[-1]
    text = json.dumps(state.to_json(), allow_nan=False)
    again = MonitorState.from_json(json.loads(text))
    assert again == state
    assert isinstance(again.verdict, Verdict)
    assert update(again, -0.02) == update(state, -0.02)


def test_state_of_another_version_is_refused() -> None:
    """A stored state that lacks a field, or has one more, names it."""
    values = started().to_json() | {"colour": 1}
    with pytest.raises(DataError, match="colour"):
        MonitorState.from_json(values)
    del values["colour"], values["kappa"]
    with pytest.raises(DataError, match="kappa"):
        MonitorState.from_json(values)


def test_evidence_stays_finite_for_ever() -> None:
    """Twenty years of a reversed factor leave numbers that JSON can say."""
    state = fed(started(), np.full(5000, -0.05))[-1]
    assert state.verdict is Verdict.DECAYED
    assert state.evidence == 1e12
    json.dumps(state.to_json(), allow_nan=False)


def test_one_wild_ic_decides_nothing() -> None:
    """A single impossible day (IC -0.9) neither decays a factor nor blows up its variance."""
    before = fed(started(), ics(np.random.default_rng(2), MEAN, 100))[-1]
    after = update(before, -0.9)
    assert after.verdict is Verdict.HEALTHY
    assert after.variance < 1.3 * before.variance
