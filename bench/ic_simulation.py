"""Simulated live RankICs of factors that stay or fade: a second opinion beside the scorer's.

Noise, overlap, means, luck of selection, gaps and fades are all of another kind than in
`score_detector.py`, so that nothing can be fitted to both:

- volatility is GARCH(1, 1); innovations are a skewed t, a mixture of two normals or Gaussian;
- labels held h sessions, of a signal of persistence r, have autocovariance ``(1 - k / h) r^k``;
- means are ``0.012 + Gamma(2.2, 0.010)``; the best of 1 to 30 candidates was selected;
- single sessions are missing, and blocks of 3 to 14.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: How a mean fades; see `_left`.
SCENARIOS = ("step", "to20", "sigmoid", "power", "stairs", "flipdamp", "half", "noisyexp")
#: Sessions of the baseline.
BASELINE = 400
#: Degrees of freedom and skewness of the t innovations.
NU, SKEW = 4.5, 0.8


def simulated(scenario: str, n: int, horizon: int, seed: int, sessions: int) -> dict[str, Any]:
    """Return paths in the form the scorer's own generator gives.

    Parameters
    ----------
    scenario : str
        One of `SCENARIOS`, or `healthy`.
    n, horizon, seed, sessions : int
        Paths, sessions a label is held, seed, live sessions.

    Returns
    -------
    dict
        `base` of shape (n, 400) and `live` of shape (n, sessions), NaN where missing; `sg` the
        standard deviation of each live session; `mu` the true mean, `om` the root of the long-run
        variance, `tau` the onset, each of shape (n,); `kap` the mean long-run / plain variance.
    """
    rng = np.random.default_rng([77, seed, horizon, zlib.crc32(scenario.encode())])
    total = BASELINE + sessions
    noise, sd, kappa, long_run = _noise(rng, n, total, horizon)
    mean = np.minimum(0.012 + rng.gamma(2.2, 0.010, n), 0.09)
    onset = np.minimum(20 + rng.geometric(1 / 180, n), 400)
    left = np.ones((n, total))
    if scenario != "healthy":
        passed = np.arange(sessions)[None] - onset[:, None]
        left[:, BASELINE:] = np.where(passed >= 0, _left(scenario, np.maximum(passed, 0)), 1.0)
    x = noise + left * mean[:, None]
    x[:, :BASELINE] += _luck(rng, noise, mean, long_run)[:, None]
    x = np.clip(x, -0.9, 0.9)
    x[rng.random(x.shape) < 0.015] = np.nan
    for _ in range(2):
        start, length = rng.integers(0, total - 20, n), rng.integers(3, 15, n)
        since = np.arange(total)[None] - start[:, None]
        x[(since >= 0) & (since < length[:, None])] = np.nan
    return {
        "scn": scenario,
        "h": horizon,
        "base": x[:, :BASELINE],
        "live": x[:, BASELINE:],
        "sg": sd[:, BASELINE:],
        "mu": mean,
        "om": long_run,
        "tau": onset,
        "kap": float(kappa.mean()),
    }


def _left(scenario: str, u: npt.NDArray[np.int64]) -> Floats:
    """Return the part of the mean that is left u sessions after the onset."""
    shapes: dict[str, Floats] = {
        "step": np.zeros(u.shape),
        "to20": np.full(u.shape, 0.2),
        "sigmoid": 1 / (1 + np.exp((u - 60) / 15.0)),
        "power": 1 / (1 + u / 40.0),
        "stairs": np.select([u < 50, u < 100, u < 150], [0.6, 0.3, 0.15], 0.0),
        "flipdamp": np.full(u.shape, -0.5),
        "half": np.full(u.shape, 0.5),
        "noisyexp": 0.5 ** (u / 80.0) * (1 + 0.3 * np.sin(u / 17.0)),
    }
    return shapes[scenario]


def _noise(
    rng: np.random.Generator, n: int, total: int, horizon: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return noise, its daily standard deviation, kappa and the root of the long-run variance."""
    length = total + horizon
    z = _innovations(rng, n, length)
    sd = np.empty((n, length))
    variance = np.exp(rng.normal(0, 0.3, n))
    for t in range(length):
        sd[:, t] = np.sqrt(variance)
        variance = 0.03 + (0.07 * np.minimum(z[:, t] ** 2, 12) + 0.90) * variance
    level = np.exp(rng.normal(math.log(0.095), 0.22, n))[:, None]
    sd *= level
    weights = _overlap(rng.uniform(0.3, 0.95, n), horizon)
    shocks = sd * z
    x = np.zeros((n, total))
    for j in range(horizon):
        x += weights[:, [j]] * shocks[:, horizon - j : length - j]
    slow = rng.uniform(-0.05, 0.05, n)
    for t in range(1, total):
        x[:, t] += slow * x[:, t - 1]
    kappa = weights.sum(axis=1) ** 2 * (1 + slow) / (1 - slow)
    return x, sd[:, horizon:], kappa, np.sqrt(kappa) * level[:, 0]


def _innovations(rng: np.random.Generator, n: int, length: int) -> Floats:
    """Return standard innovations, each path of one of three laws."""
    law = rng.integers(0, 3, n)
    z: Floats = rng.standard_normal((n, length))
    wild = np.where(rng.random((n, length)) < 0.08, 3.0, 1.0) / math.sqrt(0.92 + 0.08 * 9)
    z = np.where(law[:, None] == 1, z * wild, z)
    # Fernandez and Steel (1998): a t stretched on one side, standardised by its own moments
    size = np.abs(rng.standard_t(NU, (n, length))) * math.sqrt((NU - 2) / NU)
    right = rng.random((n, length)) < SKEW**2 / (1 + SKEW**2)
    first = 2 * math.sqrt(NU - 2) * math.gamma((NU + 1) / 2)
    first /= math.sqrt(math.pi) * (NU - 1) * math.gamma(NU / 2)
    mean = first * (SKEW - 1 / SKEW)
    spread = math.sqrt((SKEW**3 + SKEW**-3) / (SKEW + 1 / SKEW) - mean**2)
    skewed = (np.where(right, size * SKEW, -size / SKEW) - mean) / spread
    return np.where(law[:, None] == 0, skewed, z)


def _overlap(persistence: Floats, horizon: int) -> Floats:
    """Return moving-average weights, shape (n, horizon), of unit variance and tapered covariance.

    Spectral factorisation by the cepstrum (Kolmogorov 1939).
    """
    if horizon == 1:
        return np.ones((len(persistence), 1))
    n_points = 256
    lag = np.minimum(np.arange(n_points), n_points - np.arange(n_points))
    covariance = np.where(lag < horizon, (1 - lag / horizon) * persistence[:, None] ** lag, 0)
    spectrum = np.maximum(np.fft.fft(covariance, axis=1).real, 1e-4)
    cepstrum = np.fft.ifft(np.log(spectrum), axis=1).real
    cepstrum[:, 0] /= 2
    cepstrum[:, n_points // 2 :] = 0
    weights = np.fft.ifft(np.exp(np.fft.fft(cepstrum, axis=1)), axis=1).real[:, :horizon]
    scaled: Floats = weights / np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return scaled


def _luck(rng: np.random.Generator, noise: Floats, mean: Floats, long_run: Floats) -> Floats:
    """Return what selection adds to a baseline: the best of 1 to 30 correlated rivals, t > 1.5."""
    se = long_run / math.sqrt(BASELINE)
    own = noise[:, :BASELINE].mean(axis=1) / se
    rivals = rng.choice([1, 3, 10, 30], len(mean))
    luckiest = own.copy()
    for number in range(1, 30):
        other = 0.6 * own + 0.8 * rng.standard_normal(len(mean))
        luckiest = np.where(number < rivals, np.maximum(luckiest, other), luckiest)
    luckiest = np.maximum(luckiest, 1.5 - mean / se)
    added: Floats = (luckiest - own) * se
    return added
