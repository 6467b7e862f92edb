"""What is taken off a RankIC before it is monitored."""

from __future__ import annotations

import numpy as np
import pytest

from signals.residual import (
    Basis,
    choose_basis,
    fit_loadings,
    held_exposures,
    mean_rank_correlations,
    residual_rank_ic,
    style_residual,
)

NAN = float("nan")


def test_residual_has_no_exposure_to_any_style() -> None:
    """What is left is orthogonal to every style and to a constant, over the assets it covers."""
    rng = np.random.default_rng(3)
    styles = rng.standard_normal((3, 200))
    exposure = styles.sum(axis=0) + rng.standard_normal(200)
    exposure[:20] = NAN
    residual = style_residual(exposure, styles)
    there = np.isfinite(residual)
    assert there.tolist() == np.isfinite(exposure).tolist()
    assert np.abs(styles[:, there] @ residual[there]).max() < 1e-9
    assert abs(residual[there].sum()) < 1e-9


def test_a_missing_style_counts_as_its_mean() -> None:
    """An asset without a style keeps its place in the cross-section."""
    rng = np.random.default_rng(4)
    styles = rng.standard_normal((2, 100))
    exposure = rng.standard_normal(100)
    gaps = styles.copy()
    gaps[0, :10] = NAN
    filled = np.where(np.isfinite(gaps), gaps, 0.0)
    assert np.array_equal(style_residual(exposure, gaps), style_residual(exposure, filled))


def test_without_styles_nothing_changes() -> None:
    """No style, or too few assets to regress on, leaves the exposures as they are."""
    exposure = np.array([1.0, NAN, -1.0])
    assert style_residual(exposure, np.empty((0, 3))) is exposure
    assert style_residual(exposure, np.ones((1, 3))) is exposure


def test_exposures_are_averaged_over_the_sessions_held() -> None:
    """Half of the sessions at least are needed; assets outside the universe have none."""
    values = np.array([[1.0, 2.0, 3.0, 4.0], [NAN, 2.0, 3.0, 4.0], [NAN, 4.0, 3.0, 9.0]])
    held = held_exposures(values, np.array([True, True, True, False]))
    step = np.sqrt(3 / 2)
    assert np.isnan(held[[0, 3]]).all()
    assert held[1:3] == pytest.approx([(0 - 1 + 1) / 3, (step + 1 - 1) / 3])


def test_rank_ic_of_the_residual_ignores_what_a_style_earned() -> None:
    """A session that moves a style moves the raw RankIC and not the freed one."""
    rng = np.random.default_rng(5)
    style = rng.standard_normal((1, 500))
    own = rng.standard_normal(500)
    exposure = style[0] + own
    label = 3.0 * style[0] + rng.standard_normal(500)
    assert residual_rank_ic(exposure, style[:0], label) > 0.5
    assert abs(residual_rank_ic(exposure, style, label)) < 0.15


def test_mean_rank_correlation_is_over_what_both_have() -> None:
    """Equal exposures correlate 1, unrelated ones about 0; of absent ones nothing is known."""
    rng = np.random.default_rng(6)
    exposure = rng.standard_normal((11, 300))
    exposure[0, :50] = NAN
    late = exposure.copy()
    late[:8] = NAN
    others = np.array([exposure, rng.standard_normal((11, 300)), np.full((11, 300), NAN), late])
    same, unrelated, absent, hardly = mean_rank_correlations(exposure, others)
    assert same == pytest.approx(1.0)
    assert abs(unrelated) < 0.15
    assert np.isnan([absent, hardly]).all()


def test_loadings_find_what_a_rank_ic_follows() -> None:
    """The followed reference has nearly its slope, the other nearly none, a thin one no part."""
    rng = np.random.default_rng(7)
    references = {name: 0.1 * rng.standard_normal(2000) for name in ("a", "b", "thin")}
    references["thin"][: 2000 // 4] = NAN
    series = 0.03 + 0.5 * references["a"] + 0.02 * rng.standard_normal(2000)
    series[5] = NAN
    loadings, means = fit_loadings(series, references)
    assert set(loadings) == set(means) == {"a", "b"}
    assert loadings["a"] == pytest.approx(0.5 / 1.1, abs=0.02)  # a ridge of a tenth
    assert abs(loadings["b"]) < 0.02


def test_movement_is_beyond_the_means_and_skips_what_is_missing() -> None:
    """A reference without a RankIC stands at its mean."""
    basis = Basis(loadings={"a": 0.5, "b": 1.0}, means={"a": 0.02, "b": 0.0})
    assert basis.movement({"a": 0.12, "b": NAN}) == pytest.approx(0.05)
    assert basis.movement({}) == 0.0


def test_the_stronger_series_is_monitored() -> None:
    """Freed where that raises the t of the baseline, raw where the IC was the styles' own."""
    rng = np.random.default_rng(8)
    noise = 0.1 * rng.standard_normal((2, 500))
    strong, weak = 0.05 + noise[0] / 2, 0.01 + noise[1] / 2
    raw = 0.05 + noise[0]
    freed_basis, freed = choose_basis(raw, strong, ["size"], {})
    assert not freed_basis.raw
    assert freed is not raw
    assert freed_basis.t_freed > freed_basis.t_raw
    raw_basis, kept = choose_basis(raw, weak, ["size"], {})
    assert raw_basis.raw
    assert kept is raw


def test_basis_survives_json() -> None:
    """A stored basis comes back equal."""
    basis = Basis(("size", "beta"), {"a": 0.25}, {"a": 0.01}, 3.0, 4.0, 0.1, 0.07)
    assert Basis.from_json(basis.to_json()) == basis
