"""Blending: the exposures of a book's factors become one score a session.

Weights are Grinold and Kahn's ``C^-1 ic`` for exposures of unit variance, with both inputs shrunk:
the mean ICs towards the book's (empirical Bayes), the correlation towards the identity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from signals.errors import DataError
from signals.ic import ic
from signals.panel import BoolArray, FloatArray

#: Least pull of the correlation towards the identity: bounds the leverage of near duplicates.
LEAST_SHRINKAGE = 0.1
#: Least part of the weight whose exposures an asset must have to get a score.
LEAST_PRESENT = 0.5


@dataclass(frozen=True, eq=False)
class Blend:
    """One session's blend.

    Parameters
    ----------
    weights : ndarray of shape (n_factors,)
        Not negative, sum 1 (empty for an empty book).
    shrunk_ic : ndarray of shape (n_factors,)
        Mean ICs after shrinkage; NaN if no factor has any.
    score : ndarray of shape (n_assets,)
        Mean 0 and standard deviation 1 over the assets that have one, NaN elsewhere.
    fallback : bool
        No factor earned a weight, so all got that of their multiplier.
    """

    weights: FloatArray
    shrunk_ic: FloatArray
    score: FloatArray
    fallback: bool


def exposures(values: FloatArray, universe: BoolArray) -> FloatArray:
    """Return the standardised ranks of each factor over the universe of one session.

    Parameters
    ----------
    values : ndarray of shape (n_factors, n_assets)
        Factor values of one session; what is not finite is missing.
    universe : ndarray of bool, shape (n_assets,)
        Assets that take part.

    Returns
    -------
    ndarray of float64, shape (n_factors, n_assets)
        Mean ranks less their mean, over their standard deviation (ddof 0): mean 0 and standard
        deviation 1 whatever the ties. NaN outside the universe, where missing, and for a factor
        that does not vary. Sums are of integers: columns outside the universe change no bit.
    """
    out = np.full(values.shape, np.nan)
    for row, factor in zip(out, values, strict=True):
        present = np.flatnonzero(universe & np.isfinite(factor))
        if len(present) < 2:
            continue
        _, place, ties = np.unique(factor[present], return_inverse=True, return_counts=True)
        doubled = (2 * np.cumsum(ties) - ties + 1)[place]  # twice the mean rank: an integer
        n = len(present)
        spread = n * int(doubled @ doubled) - (n * (n + 1)) ** 2
        if spread > 0:
            row[present] = (doubled - (n + 1)) / (math.sqrt(spread) / n)
    return out


def exposure_correlation(history: FloatArray, *, min_assets: int = 30) -> FloatArray:
    """Return the mean over sessions of the cross-sectional correlation of exposures.

    Parameters
    ----------
    history : ndarray of shape (n_sessions, n_factors, n_assets)
        `exposures` of past sessions; each pair of factors uses the assets finite in both.
    min_assets : int
        A session with fewer such assets does not count for the pair.

    Returns
    -------
    ndarray of shape (n_factors, n_factors)
        Symmetric, 1 on the diagonal; 0 for a pair that no session speaks about.
    """
    n_factors = history.shape[1]
    out: FloatArray = np.eye(n_factors)
    for i in range(n_factors):
        for j in range(i):
            series = ic(history[:, i], history[:, j], min_assets=min_assets)
            series = series[np.isfinite(series)]
            if len(series):
                out[i, j] = out[j, i] = math.fsum(series) / len(series)
    return out


def shrink_ics(mean_ic: FloatArray, ic_se: FloatArray) -> FloatArray:
    """Return the mean ICs shrunk towards the book's (empirical Bayes, normal-normal).

    ``(tau^2 ic + se^2 mu) / (tau^2 + se^2)`` with mu the mean weighted by 1/se^2 and tau^2 the
    variance between factors by DerSimonian and Laird (1986). What no standard error is known for
    gets mu; if that holds for all of them the result is NaN.

    Parameters
    ----------
    mean_ic, ic_se : ndarray of shape (n_factors,)
        Mean ICs and their standard errors.
    """
    known = np.isfinite(mean_ic) & np.isfinite(ic_se) & (ic_se > 0)
    out = np.full(len(mean_ic), np.nan)
    if not known.any():
        return out
    x, variance = mean_ic[known].astype(np.float64), ic_se[known].astype(np.float64) ** 2
    precision = 1 / variance
    total = math.fsum(precision)
    mu = math.fsum(precision * x) / total
    excess = math.fsum(precision * (x - mu) ** 2) - (len(x) - 1)
    scale = total - math.fsum(precision**2) / total
    tau2 = max(0.0, excess / scale) if len(x) > 1 else 0.0
    out[:] = mu
    out[known] = (tau2 * x + variance * mu) / (tau2 + variance)
    return out


def shrink_correlation(correlation: FloatArray, n_assets: int) -> FloatArray:
    """Return the correlation pulled towards the identity by Schäfer and Strimmer (2005).

    Off the diagonal times ``1 - lambda``, ``lambda = sum Var(r) / sum r^2`` over the pairs, with
    ``Var(r) = (1 - r^2)^2 / (n_assets - 1)``, within [0.1, 1]. The n of one session is used however
    many were averaged, for exposures hardly change from one session to the next.

    Parameters
    ----------
    correlation : ndarray of shape (n_factors, n_factors)
        Symmetric; what is not finite counts as 0.
    n_assets : int
        Assets in one cross-section.
    """
    r = np.clip(np.where(np.isfinite(correlation), correlation, 0.0), -1.0, 1.0)
    np.fill_diagonal(r, 0.0)
    squares = math.fsum((r**2).ravel())
    n_pairs = r.size - len(r)
    noise = (math.fsum(((1 - r**2) ** 2).ravel()) - len(r)) / max(n_assets - 1, 1)
    pull = noise / squares if n_pairs and squares > 0 else 1.0
    shrunk: FloatArray = r * (1 - min(max(pull, LEAST_SHRINKAGE), 1.0))
    np.fill_diagonal(shrunk, 1.0)
    return shrunk


def blend(
    exposures: FloatArray,
    *,
    mean_ic: FloatArray,
    ic_se: FloatArray,
    correlation: FloatArray,
    multiplier: FloatArray,
    equal: bool = False,
) -> Blend:
    """Blend one session's exposures into a score.

    ``w = max(C^-1 ic, 0) * multiplier``, made to sum 1, with `shrink_ics` and `shrink_correlation`.

    Parameters
    ----------
    exposures : ndarray of shape (n_factors, n_assets)
        Of this session; NaN counts as 0, which is neutral, in the weighted sum.
    mean_ic, ic_se : ndarray of shape (n_factors,)
        Mean ICs realised so far and their standard errors; NaN where there is none yet.
    correlation : ndarray of shape (n_factors, n_factors)
        See `exposure_correlation`.
    multiplier : ndarray of shape (n_factors,)
        By verdict: 1 healthy, less for warning and decayed; not negative.
    equal : bool
        Give every factor the same weight instead.

    Returns
    -------
    Blend
        An asset has a score where factors of at least half the weight have an exposure.

    Raises
    ------
    DataError
        If the shapes do not agree, or a multiplier is negative or not finite.
    """
    n_factors = len(exposures)
    shapes = (mean_ic.shape, ic_se.shape, multiplier.shape)
    if shapes != ((n_factors,),) * 3 or correlation.shape != (n_factors, n_factors):
        raise DataError(
            f"{n_factors} factors, but inputs of shapes {shapes} and {correlation.shape}",
            rule="mean_ic, ic_se, multiplier and correlation have one entry a factor",
        )
    if not (np.isfinite(multiplier) & (multiplier >= 0)).all():
        raise DataError(f"multipliers {multiplier.tolist()}", rule="finite and not negative")
    shrunk = shrink_ics(mean_ic, ic_se)
    n_assets = int(np.isfinite(exposures).any(axis=0).sum())
    raw = np.zeros(n_factors)
    if not equal and np.isfinite(shrunk).all():
        raw = np.maximum(_inverse_times(shrink_correlation(correlation, n_assets), shrunk), 0.0)
        raw = raw * multiplier
    total = math.fsum(raw)
    fallback = not equal and total <= 0
    if fallback:
        raw = multiplier.astype(np.float64)  # what the verdicts say still holds
        total = math.fsum(raw)
    weights = raw / total if total > 0 else np.full(n_factors, 1 / max(n_factors, 1))
    return Blend(weights, shrunk, _score(exposures, weights), fallback)


def _inverse_times(correlation: FloatArray, vector: FloatArray) -> FloatArray:
    """``C^-1 v`` with the eigenvalues kept at 0.1 or more: pairwise estimates may be indefinite."""
    values, vectors = np.linalg.eigh(correlation)
    out: FloatArray = vectors @ ((vectors.T @ vector) / np.maximum(values, LEAST_SHRINKAGE))
    return out


def _score(exposures: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted sum over the factors in order, then z-scores with exactly rounded sums."""
    total, present = np.zeros(exposures.shape[1]), np.zeros(exposures.shape[1])
    for row, weight in zip(exposures, weights, strict=True):
        there = np.isfinite(row)
        total += np.where(there, row, 0.0) * weight
        present += there * weight
    score = np.full(len(total), np.nan)
    scored = np.flatnonzero((present > 0) & (present >= LEAST_PRESENT - 1e-12))
    if len(scored) > 1:
        deviation = total[scored] - math.fsum(total[scored]) / len(scored)
        spread = math.sqrt(math.fsum(deviation**2) / len(scored))
        if spread > 1e-12:
            score[scored] = deviation / spread
    return score
