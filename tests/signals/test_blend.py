"""Exposures, the shrinkage of both inputs, and the blended score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.blend import (
    Blend,
    blend,
    exposure_correlation,
    exposures,
    shrink_correlation,
    shrink_ics,
)
from signals.errors import DataError
from signals.panel import BoolArray, FloatArray

N = 60


def book(seed: int = 0, n_factors: int = 3) -> tuple[FloatArray, BoolArray]:
    """Give factor values with ties and gaps, and a universe that leaves some assets out."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.normal(size=(n_factors, N)), 1)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values, rng.random(N) < 0.8


def blended(
    exposed: FloatArray,
    mean_ic: list[float],
    *,
    se: float = 0.001,
    correlation: FloatArray | None = None,
    multiplier: list[float] | None = None,
    equal: bool = False,
) -> Blend:
    n = len(mean_ic)
    return blend(
        exposed,
        mean_ic=np.array(mean_ic),
        ic_se=np.full(n, se),
        correlation=np.eye(n) if correlation is None else correlation,
        multiplier=np.ones(n) if multiplier is None else np.array(multiplier),
        equal=equal,
    )


def test_exposures_are_standardised_mean_ranks_of_the_universe() -> None:
    """They equal the z-scores of pandas' average ranks, and are NaN where missing or outside."""
    values, universe = book()
    frame = pd.DataFrame(np.where(universe, values, np.nan)).rank(axis=1)
    expected = frame.sub(frame.mean(axis=1), axis=0).div(frame.std(axis=1, ddof=0), axis=0)
    found = exposures(values, universe)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(np.nanmean(found, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(found, axis=1), 1)


def test_factor_without_an_order_has_no_exposure() -> None:
    """A constant factor, one with a single value and one with none say nothing."""
    values = np.full((3, N), np.nan)
    values[0], values[1, 4] = 7.0, 1.0
    assert np.isnan(exposures(values, np.ones(N, dtype=bool))).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_assets_outside_the_universe_change_no_bit(seed: int, n_more: int) -> None:
    """Columns appended at the right and outside the universe leave exposures and score alone."""
    values, universe = book(seed)
    more = np.random.default_rng(seed).normal(size=(3, n_more))
    wide = exposures(np.hstack([values, more]), np.r_[universe, np.zeros(n_more, dtype=bool)])
    narrow = exposures(values, universe)
    np.testing.assert_array_equal(wide[:, :N], narrow)
    assert np.isnan(wide[:, N:]).all()
    scores = [blended(e, [0.02, 0.03, 0.04]).score for e in (wide, narrow)]
    np.testing.assert_array_equal(scores[0][:N], scores[1])


def test_correlation_of_exposures_is_averaged_over_sessions() -> None:
    """Each pair's entry is the mean of pandas' pairwise correlations; none is 0."""
    history = np.stack([exposures(*book(seed)) for seed in range(5)])
    expected = np.mean([pd.DataFrame(session.T).corr() for session in history], axis=0)
    found = exposure_correlation(history, min_assets=5)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(exposure_correlation(history, min_assets=N + 1), np.eye(3))


def test_noisy_ics_are_pulled_to_the_books_mean() -> None:
    """With large errors all factors get the mean of the book; with tiny ones each keeps its own."""
    mean_ic = np.array([0.01, 0.02, 0.06])
    np.testing.assert_allclose(shrink_ics(mean_ic, np.full(3, 0.1)), 0.03)
    np.testing.assert_allclose(shrink_ics(mean_ic, np.full(3, 1e-6)), mean_ic, rtol=1e-6)


def test_shrinkage_is_the_posterior_mean_of_the_normal_model() -> None:
    """With equal errors tau^2 is the sample variance less se^2, and the pull se^2 / variance."""
    mean_ic, se = np.array([0.00, 0.02, 0.03, 0.07]), 0.015
    pull = se**2 / mean_ic.var(ddof=1)
    expected = mean_ic + pull * (mean_ic.mean() - mean_ic)
    np.testing.assert_allclose(shrink_ics(mean_ic, np.full(4, se)), expected)


def test_factor_without_ics_gets_the_books_mean() -> None:
    """A factor whose mean IC is not known yet stands at the mean of those that are."""
    shrunk = shrink_ics(np.array([0.02, np.nan, 0.04]), np.array([1e-6, np.nan, 1e-6]))
    np.testing.assert_allclose(shrunk, [0.02, 0.03, 0.04])
    assert np.isnan(shrink_ics(np.array([0.1]), np.array([np.nan]))).all()


def test_correlation_is_pulled_to_the_identity_by_its_noise() -> None:
    """A single pair is multiplied by 1 - (1 - r^2)^2 / (r^2 (n - 1)), the pull within .1 and 1."""
    pair = np.array([[1.0, 0.2], [0.2, 1.0]])
    pull = (1 - 0.04) ** 2 / (0.04 * 99)
    assert shrink_correlation(pair, 100)[0, 1] == pytest.approx(0.2 * (1 - pull))
    assert shrink_correlation(pair, 100_000)[0, 1] == pytest.approx(0.18)
    assert shrink_correlation(pair, 3)[0, 1] == 0
    unknown = np.array([[1.0, np.nan], [np.nan, 1.0]])
    np.testing.assert_array_equal(shrink_correlation(unknown, 100), np.eye(2))


def test_uncorrelated_factors_are_weighted_by_their_ics() -> None:
    """With precise ICs and no correlation the weights are proportional to the ICs."""
    result = blended(exposures(*book()), [0.01, 0.02, 0.05], se=1e-6)
    np.testing.assert_allclose(result.weights, [0.125, 0.25, 0.625], rtol=1e-6)
    assert not result.fallback


def test_twins_share_the_weight_of_one() -> None:
    """Two nearly equal factors together get about what one independent factor gets."""
    correlation = np.array([[1.0, 0.98, 0.0], [0.98, 1.0, 0.0], [0.0, 0.0, 1.0]])
    rng = np.random.default_rng(1)
    exposed = exposures(rng.normal(size=(3, 500)), np.ones(500, dtype=bool))
    result = blended(exposed, [0.03, 0.03, 0.03], correlation=correlation)
    expected = np.linalg.solve(shrink_correlation(correlation, 500), np.full(3, 0.03))
    np.testing.assert_allclose(result.weights, expected / expected.sum())
    assert result.weights[0] + result.weights[1] == pytest.approx(result.weights[2], abs=0.05)


def test_verdicts_cut_the_weight() -> None:
    """A multiplier scales a factor's weight before the weights are made to sum 1."""
    result = blended(exposures(*book()), [0.02, 0.02, 0.02], multiplier=[1.0, 0.5, 0.1])
    np.testing.assert_allclose(result.weights, np.array([1.0, 0.5, 0.1]) / 1.6)


def test_negative_weights_are_cut_to_zero() -> None:
    """A factor whose shrunk IC is negative is left out, never sold short."""
    result = blended(exposures(*book()), [0.04, -0.02, 0.04], se=1e-6)
    np.testing.assert_allclose(result.weights, [0.5, 0, 0.5])


@pytest.mark.parametrize("mean_ic", [[-0.01, -0.02, -0.03], [np.nan, np.nan, np.nan]])
def test_book_without_earners_falls_back_to_equal_weights(mean_ic: list[float]) -> None:
    """When no factor earns a weight all get the same, and the blend says so."""
    result = blended(exposures(*book()), mean_ic)
    np.testing.assert_array_equal(result.weights, np.full(3, 1 / 3))
    assert result.fallback


def test_equal_weights_can_be_asked_for() -> None:
    """Asked for, equal weights are no fallback, whatever ICs and verdicts say."""
    result = blended(exposures(*book()), [0.1, 0.0, -0.1], multiplier=[0.1, 0, 1], equal=True)
    np.testing.assert_array_equal(result.weights, np.full(3, 1 / 3))
    assert not result.fallback


def test_score_is_the_standardised_weighted_sum() -> None:
    """The score is a z-score of the sum of weight times exposure, a missing exposure counting 0."""
    values, universe = book()
    exposed = exposures(values, universe)
    result = blended(exposed, [0.02, 0.02, 0.02])
    total = np.nan_to_num(exposed).sum(axis=0)
    total[np.isfinite(exposed).sum(axis=0) < 2] = np.nan
    np.testing.assert_allclose(result.score, (total - np.nanmean(total)) / np.nanstd(total))
    assert np.isnan(result.score[~universe]).all()


def test_asset_seen_by_less_than_half_the_weight_has_no_score() -> None:
    """Exactly half of the weight suffices, less does not."""
    values = np.random.default_rng(3).normal(size=(2, N))
    values[1, 0], values[0, 1] = np.nan, np.nan
    exposed = exposures(values, np.ones(N, dtype=bool))
    half = blended(exposed, [0.02, 0.02]).score
    assert np.isfinite(half).all()
    lopsided = blended(exposed, [0.02, 0.02], multiplier=[1.0, 0.5]).score
    assert np.isfinite(lopsided[0])
    assert np.isnan(lopsided[1])


def test_empty_book_has_no_score() -> None:
    """Without a factor there are no weights and no scores, and no error."""
    result = blended(np.empty((0, N)), [])
    assert result.weights.shape == result.shrunk_ic.shape == (0,)
    assert np.isnan(result.score).all()
    assert result.fallback


def test_inputs_that_do_not_fit_are_refused() -> None:
    """One entry a factor, and no negative multiplier: else an error that says so."""
    exposed = exposures(*book())
    with pytest.raises(DataError, match="3 factors"):
        blended(exposed, [0.02, 0.02])
    with pytest.raises(DataError, match="multipliers"):
        blended(exposed, [0.02, 0.02, 0.02], multiplier=[1, -1, 1])
