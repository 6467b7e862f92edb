"""Cross-sectional ranks, what a book leaves of them, and how alike two factors are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from signals.cross_section import rank
from signals.panel import BoolArray, FloatArray

#: Keeps the normal equations of a session solvable where book factors coincide.
RIDGE = 1e-8


def percentile_ranks(values: FloatArray, universe: BoolArray) -> FloatArray:
    """Return what RANK gives for `values` of shape (n_sessions, n_assets); NaN where missing."""
    known = np.ascontiguousarray(universe)
    return rank(
        np.ascontiguousarray(values), universe=known, out=np.empty(values.shape, values.dtype)
    )


def centred_ranks(values: FloatArray, universe: BoolArray) -> FloatArray:
    """Return percentile ranks less their mean; missing values are 0, which is neutral.

    Parameters
    ----------
    values : ndarray of shape (n_sessions, n_assets)
        Factor values.
    universe : ndarray of bool, shape (n_sessions, n_assets)
        Assets outside take no part.
    """
    ranks = percentile_ranks(values, universe)
    finite = np.isfinite(ranks)
    n = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    centre = np.where(finite, ranks, 0).sum(axis=1, keepdims=True) / n
    return np.where(finite, ranks - centre, 0)


def residual_ranks(
    label: FloatArray, universe: BoolArray, book: Sequence[FloatArray]
) -> FloatArray:
    """Return, per session, the residual of the label's ranks on the ranks of the book's factors.

    Parameters
    ----------
    label : ndarray of shape (n_sessions, n_assets)
        Forward returns.
    universe : ndarray of bool, shape (n_sessions, n_assets)
        Assets outside get NaN.
    book : sequence of ndarray of shape (n_sessions, n_assets)
        Values of the book's factors; a missing value counts as neutral.

    Returns
    -------
    ndarray of float64, shape (n_sessions, n_assets)
        Mean 0 in each session; NaN where there is no label. Without a book, the centred ranks.
    """
    ranks = percentile_ranks(np.asarray(label, dtype=np.float64), universe)
    finite = np.isfinite(ranks)
    n = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    y = np.where(finite, ranks, 0)
    y = np.where(finite, y - y.sum(axis=1, keepdims=True) / n, 0)
    if book:
        x = np.stack([np.where(finite, centred_ranks(f, universe), 0) for f in book], axis=2)
        x = np.where(finite[:, :, None], x - x.sum(axis=1, keepdims=True) / n[:, :, None], 0)
        x = x.astype(np.float64)
        gram = np.einsum("tak,tal->tkl", x, x) + RIDGE * np.eye(len(book))
        beta = np.linalg.solve(gram, np.einsum("tak,ta->tk", x, y)[:, :, None])
        y = y - np.einsum("tak,tk->ta", x, beta[:, :, 0])
    return np.where(finite, y, np.nan)


def ranked_correlation(x: FloatArray, y: FloatArray) -> float:
    """Return the mean over sessions of the rank correlation of two factors, given centred ranks.

    Sessions where either does not vary are skipped; 0 where none is left.
    """
    xy = np.einsum("ta,ta->t", x, y)
    scale = np.sqrt(np.einsum("ta,ta->t", x, x) * np.einsum("ta,ta->t", y, y))
    varied = scale > 0
    return float(np.mean(xy[varied] / scale[varied])) if varied.any() else 0.0


def closest(x: FloatArray, others: Sequence[tuple[str, FloatArray]]) -> tuple[str, float]:
    """Return the factor most like `x` in absolute value and its correlation, ("", 0) of none."""
    best = ("", 0.0)
    for name, y in others:
        r = ranked_correlation(x, y)
        if abs(r) > abs(best[1]):
            best = (name, r)
    return best
