"""The test for the best of all that were heard."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from miner.best_of import RESAMPLES, Family, best_of, block_length, seen_variance
from signals.errors import DataError
from signals.panel import FloatArray

#: Standard error of a p-value of 5 % read off the resamples.
ERROR = math.sqrt(0.05 * 0.95 / RESAMPLES)


def noise(seed: int, n: int, k: int, *, rho: float = 0.0) -> FloatArray:
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((n, k))
    return 0.1 * (math.sqrt(rho) * rng.standard_normal((n, 1)) + math.sqrt(1 - rho) * own)


def judged(x: FloatArray, *, horizon: int = 1, unseen: int = 0, seed: int = 0) -> Family:
    rng = np.random.default_rng(seed)
    return best_of(list(x.T), horizon=horizon, rng=rng, unseen=unseen)


def test_one_member_gets_the_p_of_students_t_on_its_block_means() -> None:
    """Of 240 sessions in 34 blocks, with 33 degrees of freedom; printed tables say 1.692."""
    x = noise(1, 238, 1)[:, 0]
    blocks = x.reshape(34, 7)
    blocks = blocks - blocks.mean()
    # uncorrelated neighbours, so that nothing is hidden; the mean set to t = 1.692
    root = blocks.mean(axis=1).std(ddof=1) / math.sqrt(34)
    series = (blocks + 1.692 * root).reshape(-1, 1)
    hidden = seen_variance(series, 7, 1)
    family = judged(series)
    assert family.block == 7
    assert family.p_single[0] == pytest.approx(0.05, abs=0.004 + 0.2 * (1 - hidden))
    assert family.p_family[0] == pytest.approx(family.p_single[0], abs=0.01)
    assert (family.n_heard, family.n_effective) == (1, 1.0)


def test_independent_members_cost_what_sidak_says() -> None:
    """The family's p of the best of twelve is 1 - (1 - p)^12, and twelve count as twelve."""
    x = noise(2, 500, 12)
    x[:, 0] += 0.006
    family = judged(x)
    best = family.p_single[0]
    assert best == min(family.p_single) < 0.05
    assert family.p_family[0] == pytest.approx(1 - (1 - best) ** 12, rel=0.35)
    assert family.n_effective == pytest.approx(12, rel=0.15)


def test_copies_count_once() -> None:
    """Twelve times the same series is one chance, near copies are few."""
    x = noise(3, 250, 1) + 0.012
    alone, twelve = judged(x), judged(np.repeat(x, 12, axis=1))
    assert twelve.p_family[0] == pytest.approx(alone.p_family[0], abs=4 * ERROR)
    assert twelve.n_heard == 12
    assert twelve.n_effective == pytest.approx(1, abs=1e-9)
    assert 1 < judged(noise(3, 250, 12, rho=0.9)).n_effective < 8


def test_p_values_step_down() -> None:
    """A second true member is judged without the first; none is below the one before it."""
    x = noise(4, 250, 6)
    x[:, :2] += 0.05
    p = judged(x).p_family
    ordered = sorted(range(6), key=lambda k: judged(x).p_single[k])
    assert p[0] < 0.001 > p[1]
    assert all(p[a] <= p[b] for a, b in pairwise(ordered))
    assert all(f >= s for f, s in zip(p, judged(x).p_single, strict=True))


def test_p_values_are_shares_of_all_sign_patterns() -> None:
    """Of forty sessions in ten blocks all 1,024 patterns are gone through, the first with two."""
    x = noise(14, 40, 2, rho=0.5) + 0.03
    assert seen_variance(x, 4, 1) == 1.0
    family = judged(x)
    sums = x.reshape(10, 4, 2).sum(axis=1)
    signs = np.array(list(product((-1, 1), repeat=10)))
    t = (signs @ sums) / np.sqrt((sums**2).sum(axis=0))
    first = int(np.argmin(family.p_single))
    seen = t[-1]
    best = np.mean(t.max(axis=1) >= seen[first] - 1e-9)
    other = max(best, np.mean(t[:, 1 - first] >= seen[1 - first] - 1e-9))
    assert family.block == 4
    assert family.p_family[first] == pytest.approx(max(best, family.p_single[first]), abs=0.008)
    assert family.p_family[1 - first] == pytest.approx(
        max(other, family.p_single[1 - first]), abs=0.008
    )


def test_what_was_heard_and_is_lost_is_paid_by_bonferroni() -> None:
    """Three that cannot be computed any more add three times the single p."""
    x = noise(5, 250, 4) + 0.01
    here, lost = judged(x), judged(x, unseen=3)
    for p, q, single in zip(here.p_family, lost.p_family, here.p_single, strict=True):
        assert q == pytest.approx(min(1, p + 3 * single))
    assert lost.n_heard == 7
    assert lost.n_effective == pytest.approx(here.n_effective + 3)


def test_overlapping_labels_are_not_taken_for_evidence() -> None:
    """Sums over ten sessions have the t of the sessions they are made of, not three times that."""
    rng = np.random.default_rng(6)
    own = rng.standard_normal((300, 509))
    overlapping = np.apply_along_axis(lambda v: np.convolve(v, np.ones(10), "valid"), 1, own)
    p = judged(overlapping.T, horizon=10).p_single
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.038)
    assert block_length(500, 10) == 20
    assert seen_variance(overlapping.T, 20, 10) == pytest.approx(1 - 99 / 600)


@pytest.mark.parametrize("kind", ["fat tails", "clusters", "persistent"])
def test_the_best_of_noise_is_accepted_as_often_as_promised(kind: str) -> None:
    """Of 250 families of eight on 120 sessions 5 % have a member with p <= 5 %, give or take."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(250):
        x = rng.standard_t(3, (120, 8)) if kind == "fat tails" else rng.standard_normal((120, 8))
        x += rng.standard_normal((120, 1))
        if kind == "clusters":
            x *= np.exp(np.sin(np.arange(120) / 15))[:, None]
        if kind == "persistent":
            for t in range(1, 120):
                x[t] += 0.15 * x[t - 1]
        hits += min(judged(x, seed=hits).p_family) <= 0.05
    # three standard errors
    assert hits / 250 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 250)


def test_missing_sessions_count_for_nothing() -> None:
    """NaN is no evidence; a member that is all NaN has p = 1 and leaves the others as they are."""
    x = noise(8, 250, 3) + 0.02
    x[::5, 1] = np.nan
    x[:, 2] = np.nan
    family = judged(x)
    assert family.p_family[2] == family.p_single[2] == 1.0
    # a fifth of the evidence is gone
    assert family.p_single[1] == pytest.approx(
        judged(np.delete(x, slice(None, None, 5), axis=0)).p_single[1], abs=0.05
    )


def test_too_few_sessions_prove_nothing() -> None:
    """Four blocks have sixteen sign patterns: nothing is rare among them. No member, no test."""
    certain = np.ones((99, 2))
    assert judged(certain, horizon=10).p_family == (1.0, 1.0)
    assert judged(certain).p_family[0] < 0.001
    assert judged(np.empty((250, 0))).n_heard == 0


def test_the_same_seed_gives_the_same_p() -> None:
    """And another gives nearly the same."""
    x = noise(10, 250, 5) + 0.01
    assert judged(x) == judged(x)
    assert judged(x, seed=1).p_family == pytest.approx(judged(x).p_family, abs=5 * ERROR)


def test_one_window_judges_the_family() -> None:
    """Series of different lengths are a DataError."""
    with pytest.raises(DataError, match="one window"):
        best_of([np.ones(5), np.ones(6)], horizon=1, rng=np.random.default_rng(0))
