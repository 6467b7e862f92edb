"""The book's decay monitor: its recursion, whom it pools, its error rates and what it explains."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from signals.book_decay import (
    BookState,
    BookVerdict,
    start_book,
    update_book,
    with_members,
)
from signals.book_explanation import (
    Attribution,
    Breadth,
    Extent,
    attribution,
    breadth,
    explain_book,
)
from signals.decay import MonitorState, Verdict, start_monitor, suspend, update
from signals.errors import DataError
from signals.panel import FloatArray

MEAN, SD = 0.035, 0.1


def ics(rng: np.random.Generator, n: int, factors: int, correlation: float = 0.3) -> FloatArray:
    """Noise of shape (n, factors) with the tails of a t with 5 degrees of freedom, plus MEAN."""
    common, own = rng.standard_t(5, (n, 1)), rng.standard_t(5, (n, factors))
    mixed = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * own
    return MEAN + SD * math.sqrt(3 / 5) * mixed


def a_book(factors: int = 4, seed: int = 0) -> tuple[list[MonitorState], BookState]:
    """Return monitors and book after a baseline of 300 sessions."""
    past = ics(np.random.default_rng(seed), 300, factors)
    monitors = [start_monitor(column) for column in past.T]
    return monitors, start_book(past, monitors)


def lived(rng: np.random.Generator, means: FloatArray) -> tuple[list[BookState], list[int]]:
    """Let a book live after healthy baselines; return its states and how many stand decayed."""
    n, factors = means.shape
    values = ics(rng, 300 + n, factors)
    values[300:] += means - MEAN
    monitors = [start_monitor(column, threshold=63.0 * factors) for column in values[:300].T]
    state, states, decayed = start_book(values[:300], monitors), [], []
    for row in values[300:].tolist():
        state = update_book(state, list(zip(monitors, row, strict=True)))
        monitors = [update(monitor, ic) for monitor, ic in zip(monitors, row, strict=True)]
        states.append(state)
        decayed.append(sum(monitor.verdict is Verdict.DECAYED for monitor in monitors))
    return states, decayed


def t_log_density(x: float, mean: float, variance: float) -> float:
    """Student t with 6 degrees of freedom and this variance."""
    scale2 = variance * 4 / 6
    constant = math.lgamma(3.5) - math.lgamma(3) - math.log(math.pi * 6 * scale2) / 2
    return constant - 3.5 * math.log(1 + (x - mean) ** 2 / (6 * scale2))


def test_evidence_is_the_sum_of_likelihood_ratios_of_the_pooled_ic_over_every_onset() -> None:
    """R = sum_k prod_{i >= k} (f0(z_i) / f_{.85 mu}(z_i))^(1 / kappa), z the weighted mean IC."""
    monitors, state = a_book()
    mean = np.array([monitor.mean for monitor in monitors])
    variance = np.array([monitor.variance for monitor in monitors])
    weight = mean / (np.array([monitor.kappa for monitor in monitors]) * variance)
    scale = weight @ np.sqrt(variance)
    ratios = []
    for row in ics(np.random.default_rng(6), 40, 4) - MEAN / 2:
        z, tested = weight @ row / scale, 0.85 * weight @ mean / scale
        dead, intact = (t_log_density(z, m, state.variance) for m in (0.0, tested))
        ratios.append((dead - intact) / state.kappa)
        state = update_book(state, list(zip(monitors, row.tolist(), strict=True)))
    suffixes = np.cumsum(ratios[::-1])
    assert state.evidence == pytest.approx(np.exp(suffixes).sum(), rel=1e-9)
    assert state.onset_ago == (suffixes.argmax() + 1 if suffixes.max() > 0 else 0)


def test_past_without_wander_or_overlap_needs_no_tempering() -> None:
    """Kappa of independent sessions is near 1, and grows when all means wander together."""
    rng = np.random.default_rng(3)
    past = ics(rng, 500, 8)
    wander = np.repeat(rng.normal(0, 0.05, 10), 50)[:, None]
    monitors = [start_monitor(column) for column in past.T]
    assert start_book(past, monitors).kappa < 1.3
    assert start_book(past + wander, monitors).kappa > 2


def test_variance_of_the_pooled_ic_shows_the_correlation_of_the_noise() -> None:
    """In units of complete correlation z has variance (1 + (N - 1) rho) / N."""
    for correlation in (0.0, 0.6):
        past = ics(np.random.default_rng(4), 1000, 10, correlation)
        state = start_book(past, [start_monitor(column) for column in past.T])
        assert state.variance0 == pytest.approx((1 + 9 * correlation) / 10, rel=0.25)


def test_the_factor_under_suspicion_is_not_pooled() -> None:
    """What the factor with the most evidence of its own does changes nothing in the book."""
    monitors, state = a_book()
    monitors[2] = replace(monitors[2], evidence=5.0)
    a = update_book(state, [(m, -0.2 if i == 2 else 0.1) for i, m in enumerate(monitors)])
    b = update_book(state, [(m, 0.3 if i == 2 else 0.1) for i, m in enumerate(monitors)])
    assert a == b


@pytest.mark.parametrize(("ago", "pooled"), [(100, False), (20, True)])
def test_a_factor_decayed_long_before_is_not_pooled(ago: int, pooled: bool) -> None:
    """One whose onset lies more than 60 sessions before the book's is left out, no other."""
    monitors, state = a_book()
    monitors[0] = replace(monitors[0], evidence=9e9)  # the suspect
    monitors[1] = replace(monitors[1], standing=Verdict.DECAYED, n=200, last_clear=200 - ago)
    low, high = (
        update_book(state, [(m, ic if i == 1 else 0.1) for i, m in enumerate(monitors)])
        for ic in (-0.2, 0.2)
    )
    assert (low != high) is pooled


def test_missing_and_suspended_factors_are_left_out_of_the_day() -> None:
    """A NaN, a suspended factor whatever its IC, and an absent IC come to the same pool."""
    monitors, state = a_book(5)
    row = [0.05, -0.1, 0.2, 0.0, 0.1]
    missing = update_book(state, list(zip(monitors, [*row[:4], math.nan], strict=True)))
    withheld = [*monitors[:4], suspend(monitors[4], "stale feed")]
    assert missing == update_book(state, list(zip(withheld, row, strict=True)))
    assert missing.evidence != update_book(state, list(zip(monitors, row, strict=True))).evidence


def test_a_session_without_any_ic_changes_nothing() -> None:
    """With NaN for every factor the state itself is returned."""
    monitors, state = a_book()
    assert update_book(state, [(monitor, math.nan) for monitor in monitors]) is state


def test_fewer_than_three_factors_are_no_book() -> None:
    """Below 3 live factors the verdict is healthy and the evidence 0, whatever it was before."""
    monitors, state = a_book()
    weak = replace(state, verdict=BookVerdict.WEAKENING, evidence=1e6, cusum=9.0)
    after = update_book(weak, [(monitor, -0.5) for monitor in monitors[:2]])
    assert (after.verdict, after.evidence, after.cusum) == (BookVerdict.HEALTHY, 0.0, 0.0)
    assert start_book(np.empty((0, 1)), monitors[:1]).verdict is BookVerdict.HEALTHY


def test_one_factor_left_to_pool_adds_no_evidence() -> None:
    """With a single IC the session counts, the evidence stays."""
    monitors, state = a_book()
    members = [(m, -0.3 if i == 0 else math.nan) for i, m in enumerate(monitors)]
    after = update_book(replace(state, evidence=7.0, cusum=1.0), members)
    assert (after.evidence, after.n, after.onset_ago) == (7.0, 1, 1)


def test_the_order_of_the_factors_changes_no_bit() -> None:
    """Members given backwards lead to an equal state."""
    monitors, state = a_book(7)
    members = list(zip(monitors, ics(np.random.default_rng(1), 1, 7)[0].tolist(), strict=True))
    assert update_book(state, members) == update_book(state, members[::-1])


def test_a_stored_state_continues_as_if_never_stored() -> None:
    """JSON and back gives an equal state; one with other fields is refused."""
    monitors, state = a_book()
    state = update_book(state, [(monitor, -0.1) for monitor in monitors])
    stored = json.dumps(state.to_json(), allow_nan=False)
    assert BookState.from_json(json.loads(stored)) == state
    with pytest.raises(DataError, match="cusum"):
        BookState.from_json({k: v for k, v in state.to_json().items() if k != "cusum"})


def test_a_factor_that_joins_leaves_the_evidence_as_it_is() -> None:
    """`with_members` moves the constants of the book, not what it has seen."""
    monitors, state = a_book(4)
    state = replace(state, evidence=30.0, n=9, cusum=2.0, variance=0.4)
    past = ics(np.random.default_rng(8), 300, 6)
    after = with_members(state, past, [*monitors, *(start_monitor(c) for c in past[:, 4:].T)])
    assert after == replace(state, variance0=after.variance0, kappa=after.kappa)
    assert after.variance0 != state.variance0


@pytest.mark.parametrize(
    ("past", "message"),
    [
        (np.zeros((300, 3)), "3 monitors|4 monitors"),
        (np.full((300, 4), np.nan), "0 past sessions"),
        (np.full((300, 4), 0.1), "all equal"),
    ],
)
def test_a_past_that_says_nothing_is_refused(past: FloatArray, message: str) -> None:
    """Other columns than monitors, no ICs, or ICs that do not vary are a DataError."""
    with pytest.raises(DataError, match=message):
        start_book(past, a_book()[0])


def test_a_budget_of_one_session_is_refused() -> None:
    """One false alarm in every session is no budget."""
    with pytest.raises(DataError, match="one false alarm in 1"):
        start_book(np.empty((0, 0)), [], sessions_per_false_alarm=1)


def test_false_weakening_stays_within_one_a_year() -> None:
    """Sixteen intact books of 5, for two years each: under 0.9 a year with correlated noise."""
    alarms = 0
    for seed in range(16):
        states, _ = lived(np.random.default_rng([1, seed]), np.full((504, 5), MEAN))
        weak = [state.verdict is BookVerdict.WEAKENING for state in states]
        alarms += sum(now and not before for before, now in zip([False, *weak], weak, strict=False))
    assert 1 <= alarms <= 29


def test_all_factors_dying_is_found_before_half_of_their_own_tests_find_it() -> None:
    """In most books of 8 the weakening comes before the fourth own decay, within 40 sessions."""
    sooner = found = 0
    for seed in range(10):
        means = np.full((140, 8), MEAN)
        means[60:] = 0
        states, decayed = lived(np.random.default_rng([2, seed]), means)
        weak = [state.verdict is BookVerdict.WEAKENING for state in states]
        found += any(weak[60:100])
        sooner += True in weak[60:] and decayed[60 + weak[60:].index(True)] < 4
    assert found >= 7
    assert sooner >= 7


def test_one_factor_dying_is_not_the_book() -> None:
    """Of 20 books of 8 in which one dies, fewer than 8 are called weakening within 100 sessions."""
    called = 0
    for seed in range(20):
        means = np.full((140, 8), MEAN)
        means[40:, 0] = 0
        states, _ = lived(np.random.default_rng([3, seed]), means)
        called += any(state.verdict is BookVerdict.WEAKENING for state in states[40:])
    assert called < 8


def test_the_book_recovers_when_its_factors_do() -> None:
    """After 80 dead sessions, 60 good ones end the weakening, with all evidence at 0."""
    means = np.full((260, 8), MEAN)
    means[60:140] = 0
    states, _ = lived(np.random.default_rng(5), means)
    verdicts = [state.verdict for state in states]
    assert verdicts[139] is BookVerdict.WEAKENING
    assert BookVerdict.HEALTHY in verdicts[140:200]
    back = states[140 + verdicts[140:].index(BookVerdict.HEALTHY)]
    assert (back.evidence, back.recovery, back.cusum, back.onset_ago) == (0, 0, 0, 0)


def weak_book(onset_ago: int) -> tuple[list[MonitorState], BookState]:
    """Return a weakening that began `onset_ago` sessions before the last of 200."""
    monitors, state = a_book()
    return monitors, replace(
        state, verdict=BookVerdict.WEAKENING, n=200, last_clear=200 - onset_ago, evidence=900.0
    )


def test_breadth_counts_who_is_below_half_of_its_mean_since_the_onset() -> None:
    """Only ICs since the onset count, rows without any are no sessions, NaN is skipped."""
    monitors, state = weak_book(3)
    half = [monitor.mean / 2 for monitor in monitors]
    values = np.full((6, 4), 9.0)
    values[2] = np.nan
    values[1] = values[3:] = np.nan
    values[3:] = [half[0] - 0.001, half[1] + 0.001, half[2] - 0.5, np.nan]
    assert breadth(state, values, monitors) == Breadth(weak=2, counted=3, live=4)


@pytest.mark.parametrize(
    ("onset_ago", "weak", "verdict", "expected"),
    [
        (50, 3, BookVerdict.WEAKENING, Attribution.WITH_THE_BOOK),
        (150, 3, BookVerdict.WEAKENING, Attribution.OWN),  # it began long before
        (50, 2, BookVerdict.WEAKENING, Attribution.OWN),  # half of the others stand
        (50, 3, BookVerdict.HEALTHY, Attribution.OWN),
    ],
)
def test_a_decay_is_with_the_book_if_the_book_weakens_broadly_at_its_time(
    onset_ago: int, weak: int, verdict: BookVerdict, expected: Attribution
) -> None:
    """Verdict, breadth of two thirds and an overlapping onset are all needed."""
    monitors, state = weak_book(30)
    factor = replace(monitors[0], standing=Verdict.DECAYED, n=200, last_clear=200 - onset_ago)
    assert attribution(factor, replace(state, verdict=verdict), Breadth(weak, 4, 4)) is expected


@pytest.mark.parametrize(
    ("decayed", "level", "weakening", "extent"),
    [
        (0, 1.0, False, Extent.NONE),
        (1, 1.0, False, Extent.ONE),
        (2, 1.0, False, Extent.SEVERAL),
        (1, 1.0, True, Extent.SEVERAL),
        (1, 0.0, True, Extent.TOGETHER),
    ],
)
def test_the_explanation_tells_one_several_and_all_together(
    decayed: int, level: float, weakening: bool, extent: Extent
) -> None:
    """The sentence begins with the extent, and gives the means and counts it rests on."""
    monitors, state = weak_book(10)
    if not weakening:
        state = replace(state, verdict=BookVerdict.HEALTHY)
    monitors = [
        replace(m, standing=Verdict.DECAYED) if i < decayed else m for i, m in enumerate(monitors)
    ]
    values = np.tile([level * monitor.mean for monitor in monitors], (20, 1))
    found = explain_book(state, values, monitors)
    assert found.extent is extent
    assert found.sentence.lower().startswith(extent.value.split()[0])
    assert f"{state.expected:.4f} was expected" in found.sentence
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["extent"] == extent.value
