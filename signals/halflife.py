"""When an IC began to fade and how fast, as intervals: one series barely identifies them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from signals.panel import FloatArray

#: Half-lives (in ICs; 0 is a step to nothing) that are weighed against each other.
HALF_LIVES = (0.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 130.0, 180.0, 250.0)
#: ICs at the end of the series that are looked at, and onsets tried among them.
MEMORY, ONSETS = 500, 100
#: Prior of a step to nothing; the fades share the rest. With a flat one the onset of steps lies
#: outside its 80 % interval three times in ten, because slow fades explain them from earlier on.
STEP_PRIOR = 0.5
#: The two ends of an 80 % interval.
ENDS = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class Onset:
    """When the mean IC began to fade: an 80 % interval and its middle.

    Parameters
    ----------
    earliest, middle, latest : int
        The 10 %, 50 % and 90 % point, in ICs before the last one: the IC that many before the end
        of the series is the first that had faded. ``earliest >= middle >= latest >= 1``.
    """

    earliest: int
    middle: int
    latest: int

    def to_json(self) -> dict[str, int]:
        """Return the fields as JSON values."""
        return {"earliest": self.earliest, "middle": self.middle, "latest": self.latest}


def fade(
    ics: FloatArray, variances: FloatArray, *, mean: float, kappa: float, nu: float
) -> tuple[Onset, tuple[float, float]]:
    """Return the 80 % intervals of onset and half-life of a mean IC that fades.

    Before an unknown onset the mean IC is `mean`; u ICs after it ``mean 2^(-u / H)``. Student-t
    likelihood tempered by `kappa`; the prior is 1/2 on a step and flat over the fades and the
    onset. Each interval is of the one posterior, summed over the other. On simulated factors, at
    the alarm, that of the onset holds the truth in 0.8 to 0.9 of steps, linear, exponential and
    power-law fades, and in 0.6 to 0.7 where half of the mean stays.

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
    tuple of (Onset, tuple of (float, float))
        The onset to within n / 100 ICs; the 10 % and the 90 % point of the half-life, both members
        of `HALF_LIVES`.
    """
    x, c = ics[-MEMORY:], variances[-MEMORY:] * (nu - 2)
    n = len(x)
    intact = np.log1p((x - mean) ** 2 / c)
    onsets = np.arange(0, n, max(1, n // ONSETS))
    fit = np.empty((len(HALF_LIVES), len(onsets)))
    for i, half_life in enumerate(HALF_LIVES):
        left = 0.5 ** (np.arange(1, n + 1) / half_life) if half_life else np.zeros(n)
        for j, onset in enumerate(onsets.tolist()):
            faded = np.log1p((x[onset:] - mean * left[: n - onset]) ** 2 / c[onset:])
            fit[i, j] = (nu + 1) / (2 * kappa) * (intact[onset:].sum() - faded.sum())
    weight = np.exp(fit - fit.max())
    weight[0] *= STEP_PRIOR / (1 - STEP_PRIOR) * (len(HALF_LIVES) - 1)
    low, high = (HALF_LIVES[place] for place in _points(weight.sum(axis=1), ENDS))
    places = _points(weight.sum(axis=0), (ENDS[0], 0.5, ENDS[1]))
    earliest, middle, latest = (int(n - onsets[place]) for place in places)
    return Onset(earliest, middle, latest), (low, high)


def half_life_interval(
    ics: FloatArray, variances: FloatArray, *, mean: float, kappa: float, nu: float
) -> tuple[float, float]:
    """Return the 80 % interval of the half-life alone; see `fade`."""
    return fade(ics, variances, mean=mean, kappa=kappa, nu=nu)[1]


def _points(weight: FloatArray, levels: tuple[float, ...]) -> list[int]:
    """Return where the cumulated weight reaches each level."""
    below = np.cumsum(weight / weight.sum())
    return [min(int(place), len(weight) - 1) for place in np.searchsorted(below, levels)]
