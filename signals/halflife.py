"""How fast a factor's IC fades, as an interval: one series barely identifies it."""

from __future__ import annotations

import numpy as np

from signals.panel import FloatArray

#: Half-lives (in ICs; 0 is a step to nothing) that are weighed against each other.
HALF_LIVES = (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 130.0, 180.0, 250.0)
#: ICs at the end of the series that are looked at, and onsets tried among them.
MEMORY, ONSETS = 500, 100


def half_life_interval(
    ics: FloatArray, variances: FloatArray, *, mean: float, kappa: float, nu: float
) -> tuple[float, float]:
    """Return the 80 % interval of the half-life with which the mean IC fades.

    Before an unknown onset the mean IC is `mean`; u ICs after it ``mean 2^(-u / H)``. Student-t
    likelihood tempered by `kappa`, flat prior over `HALF_LIVES` and over the onset.

    Parameters
    ----------
    ics : ndarray of shape (n,)
        Finite ICs, oldest first, n >= 1; the last 500 are used.
    variances : ndarray of shape (n,)
        Variance of each IC as known before it.
    mean, kappa, nu : float
        Mean IC of the intact factor, long-run / plain variance, degrees of freedom.

    Returns
    -------
    tuple of (float, float)
        The 10 % and the 90 % point, both members of `HALF_LIVES`.
    """
    x, c = ics[-MEMORY:], variances[-MEMORY:] * (nu - 2)
    n = len(x)
    intact = np.log1p((x - mean) ** 2 / c)
    onsets = range(0, n, max(1, n // ONSETS))
    fit = np.empty((len(HALF_LIVES), len(onsets)))
    for i, half_life in enumerate(HALF_LIVES):
        left = 0.5 ** (np.arange(1, n + 1) / half_life) if half_life else np.zeros(n)
        for j, onset in enumerate(onsets):
            faded = np.log1p((x[onset:] - mean * left[: n - onset]) ** 2 / c[onset:])
            fit[i, j] = (nu + 1) / (2 * kappa) * (intact[onset:].sum() - faded.sum())
    weight = np.exp(fit - fit.max()).sum(axis=1)
    below = np.cumsum(weight / weight.sum())
    low, high = np.searchsorted(below, (0.1, 0.9))
    return HALF_LIVES[int(low)], HALF_LIVES[min(int(high), len(HALF_LIVES) - 1)]
