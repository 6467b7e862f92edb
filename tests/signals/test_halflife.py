"""The half-life interval on series whose half-life is known."""

from __future__ import annotations

import numpy as np
import pytest

from signals.halflife import HALF_LIVES, half_life_interval


@pytest.mark.parametrize("half_life", [0.0, 20.0, 90.0])
def test_half_life_of_a_nearly_noiseless_fade_is_found(half_life: float) -> None:
    """With little noise the interval closes around the true half-life."""
    rng = np.random.default_rng(1)
    u = np.maximum(np.arange(400) - 99, 0)
    left = 0.5 ** (u / half_life) if half_life else (u == 0) * 1.0
    ics = 0.03 * left + rng.normal(0, 0.004, 400)
    low, high = half_life_interval(ics, np.full(400, 0.004**2), mean=0.03, kappa=1.0, nu=6.0)
    at = HALF_LIVES.index(half_life)
    assert low <= half_life <= high
    assert HALF_LIVES.index(high) - HALF_LIVES.index(low) <= 1
    assert low >= HALF_LIVES[max(at - 1, 0)]


def test_noise_leaves_the_half_life_open() -> None:
    """At the noise of real ICs one series says next to nothing, and the interval shows it."""
    ics = np.random.default_rng(2).normal(0.03, 0.1, 60)
    low, high = half_life_interval(ics, np.full(60, 0.01), mean=0.03, kappa=1.0, nu=6.0)
    assert high - low >= 100


def test_interval_covers_the_true_half_life_about_as_often_as_it_says() -> None:
    """Over 100 fades with a half-life of 40 ICs the 80 % interval holds it 7 times in 10."""
    rng = np.random.default_rng(3)
    mean = 0.03 * 0.5 ** (np.maximum(np.arange(200) - 79, 0) / 40)
    held = 0
    for _ in range(100):
        ics = mean + rng.normal(0, 0.05, 200)
        low, high = half_life_interval(ics, np.full(200, 0.0025), mean=0.03, kappa=1.0, nu=6.0)
        held += low <= 40 <= high
    assert held >= 70
