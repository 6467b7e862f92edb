"""The monitored RankIC: freed of common styles, and of what a session did to everybody.

For one session, with z the standardised ranks of the factor (the mean of those of the last h
sessions where the label is held for h: what a holder of h overlapping portfolios holds), S those of
the styles and r the one-session label::

    e = z - S beta,  beta by least squares over the assets        # no exposure to any style is left
    x = RankIC(e, r) - sum_j b_j (RankIC(e_j, r) - mean_j)        # e_j: the references, likewise

A style or reference that the factor itself is - mean rank correlation above 0.5 in the baseline, or
not known there - is left out. The b_j come from a ridge regression over the baseline and stay as
they are.

Whether this lowers the noise of a factor more than its mean is a fact of the factor: where the
baseline's t statistic is larger as it is, the raw RankIC is monitored (`Basis.raw`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from signals.blend import exposures
from signals.errors import DataError
from signals.ic import hac_lags, mean_with_interval, rank_ic
from signals.panel import BoolArray, FloatArray

#: Mean rank correlation above which a style or a reference is the factor itself.
SAME = 0.5
#: Sessions between two correlations of exposures: they hardly change from one to the next.
CORRELATION_STEP = 5
#: Ridge penalty, as a part of the baseline's length: references are standardised.
RIDGE = 0.1
#: A reference takes part where this share of its baseline is there.
THERE = 0.8


@dataclass(frozen=True, slots=True)
class Basis:
    """How the RankIC of one factor is freed of noise; fixed when its monitor starts.

    Parameters
    ----------
    styles : tuple of str
        Those that are regressed out of the exposures.
    loadings : mapping of str to float
        Of each reference's RankIC.
    means : mapping of str to float
        Each reference's mean RankIC over the baseline.
    t_raw, t_freed : float
        t statistic of the baseline's mean RankIC as it is, and freed, each half of the sessions by
        what the other half says; the larger one is monitored.
    sd_raw, sd_freed : float
        Standard deviations of both over the baseline.
    """

    styles: tuple[str, ...] = ()
    loadings: Mapping[str, float] = field(default_factory=dict)
    means: Mapping[str, float] = field(default_factory=dict)
    t_raw: float = 0.0
    t_freed: float = 0.0
    sd_raw: float = 0.0
    sd_freed: float = 0.0

    @property
    def raw(self) -> bool:
        """Whether the raw RankIC is monitored."""
        return not self.styles and not self.loadings

    def movement(self, references: Mapping[str, float]) -> float:
        """Return what a session did to everybody, on the scale of this factor's RankIC.

        A reference without a RankIC counts as standing at its mean.
        """
        moves = (
            loading * (references.get(name, np.nan) - self.means[name])
            for name, loading in self.loadings.items()
        )
        return float(sum(move for move in moves if np.isfinite(move)))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `from_json` gives back an equal basis."""
        return asdict(self) | {"styles": list(self.styles)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Basis:
        """Return the basis that `to_json` wrote; missing or unknown fields are a DataError."""
        expected = {each.name for each in fields(cls)}
        if set(values) != expected:
            raise DataError(
                f"a stored basis with unexpected fields {sorted(set(values) ^ expected)}",
                rule="a stored basis has exactly the fields of Basis",
                hint="it is of another version: begin a new state_dir, it is filled from the bars",
            )
        return cls(**{**values, "styles": tuple(values["styles"])})


def held_exposures(values: FloatArray, universe: BoolArray) -> FloatArray:
    """Return the standardised ranks of a factor, averaged over the sessions it is held for.

    Parameters
    ----------
    values : ndarray of shape (horizon, n_assets)
        Factor values of the last `horizon` sessions, oldest first.
    universe : ndarray of bool, shape (n_assets,)
        Assets that take part on the last of them.

    Returns
    -------
    ndarray of shape (n_assets,)
        NaN outside the universe and where fewer than half of the sessions have a value.
    """
    ranked = exposures(values, universe)
    there = np.isfinite(ranked)
    count = there.sum(axis=0)
    total = np.where(there, ranked, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * count > len(values), total / count, np.nan)


def style_residual(exposure: FloatArray, styles: FloatArray) -> FloatArray:
    """Return what styles do not explain of exposures, by least squares over the assets.

    Parameters
    ----------
    exposure : ndarray of shape (n_assets,)
        NaN where missing.
    styles : ndarray of shape (n_styles, n_assets)
        Standardised ranks; a missing one counts as the mean, 0.

    Returns
    -------
    ndarray of shape (n_assets,)
        NaN where `exposure` is.
    """
    there = np.flatnonzero(np.isfinite(exposure))
    if not len(styles) or len(there) <= len(styles) + 1:
        return exposure
    regressors = np.ones((len(there), len(styles) + 1))
    regressors[:, 1:] = np.nan_to_num(styles[:, there].T)
    beta, *_ = np.linalg.lstsq(regressors, exposure[there], rcond=1e-10)
    residual = np.full_like(exposure, np.nan)
    residual[there] = exposure[there] - regressors @ beta
    return residual


def residual_rank_ic(
    exposure: FloatArray, styles: FloatArray, label: FloatArray, *, min_assets: int = 30
) -> float:
    """Return the RankIC of one session's exposures without their styles.

    Parameters
    ----------
    exposure, label : ndarray of shape (n_assets,)
        NaN where missing.
    styles : ndarray of shape (n_styles, n_assets)
        See `style_residual`.
    min_assets : int
        With fewer assets finite in both it is NaN.
    """
    residual = style_residual(exposure, styles)
    return float(rank_ic(residual[None], label[None], min_assets=min_assets)[0])


def mean_rank_correlations(exposure: FloatArray, others: FloatArray) -> FloatArray:
    """Return the mean rank correlation of a factor with each of several others.

    Parameters
    ----------
    exposure : ndarray of shape (n_sessions, n_assets)
        Standardised ranks, NaN where missing.
    others : ndarray of shape (n_others, n_sessions, n_assets)
        Likewise.

    Returns
    -------
    ndarray of shape (n_others,)
        Over every fifth session; NaN where fewer than half of these have three assets in both:
        what was hardly seen is not known.
    """
    means = np.full(len(others), np.nan)
    for number, other in enumerate(others):
        seen = []
        for row in range(0, len(exposure), CORRELATION_STEP):
            there = np.isfinite(exposure[row]) & np.isfinite(other[row])
            x, y = exposure[row][there], other[row][there]
            if there.sum() > 2 and x.std() > 0 and y.std() > 0:
                seen.append(np.corrcoef(x, y)[0, 1])
        if 2 * len(seen) >= len(range(0, len(exposure), CORRELATION_STEP)):
            means[number] = np.mean(seen)
    return means


def fit_loadings(
    rank_ics: FloatArray, references: Mapping[str, FloatArray]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return how a factor's RankIC has followed those of the references, and their means.

    Ridge regression on standardised references, penalty n / 10; sessions where the factor has no
    RankIC are left out, a reference without one stands at its mean.

    Parameters
    ----------
    rank_ics : ndarray of shape (n_sessions,)
        The factor's, over the baseline.
    references : mapping of str to ndarray of shape (n_sessions,)
        Those with less than 80 % of the sessions are left out.

    Returns
    -------
    tuple of (dict, dict)
        Loadings and means by name.
    """
    rows = np.isfinite(rank_ics)
    chosen = {
        name: series[rows]
        for name, series in references.items()
        if rows.any() and np.isfinite(series[rows]).mean() >= THERE
    }
    if not chosen:
        return {}, {}
    means = {name: float(np.nanmean(series)) for name, series in chosen.items()}
    moves = np.array([np.nan_to_num(series - means[name]) for name, series in chosen.items()])
    spread = np.maximum(moves.std(axis=1, keepdims=True), 1e-12)
    moves /= spread
    n = moves.shape[1]
    gram = moves @ moves.T + RIDGE * n * np.eye(len(moves))
    slopes = np.linalg.solve(gram, moves @ (rank_ics[rows] - rank_ics[rows].mean()))
    return dict(zip(chosen, (slopes / spread[:, 0]).tolist(), strict=True)), means


def choose_basis(
    raw: FloatArray,
    residual: FloatArray,
    styles: Sequence[str],
    references: Mapping[str, FloatArray],
) -> tuple[Basis, FloatArray]:
    """Return how a factor is to be monitored, and its monitored RankICs over the baseline.

    Parameters
    ----------
    raw, residual : ndarray of shape (n_sessions,)
        RankICs of the baseline as they are, and without styles.
    styles : sequence of str
        Those that `residual` is without.
    references : mapping of str to ndarray of shape (n_sessions,)
        RankICs of the references that the factor itself is not, without their styles.
    """
    held_out = _held_out(residual, references)
    estimates = [
        mean_with_interval(series, lags=hac_lags(max(int(np.isfinite(series).sum()), 1)))
        for series in (raw, held_out)
    ]
    basis = Basis(
        t_raw=estimates[0].t,
        t_freed=estimates[1].t,
        sd_raw=float(np.nanstd(raw)),
        sd_freed=float(np.nanstd(held_out)),
    )
    if not basis.t_freed > basis.t_raw:
        return basis, raw
    loadings, means = fit_loadings(residual, references)
    basis = replace(basis, styles=tuple(styles), loadings=loadings, means=means)
    return basis, _freed(basis, residual, references)


def _freed(basis: Basis, residual: FloatArray, references: Mapping[str, FloatArray]) -> FloatArray:
    """Take what each session did to everybody off a factor's RankICs."""
    moves = [
        basis.movement({name: series[row] for name, series in references.items()})
        for row in range(len(residual))
    ]
    freed: FloatArray = residual - np.array(moves)
    return freed


def _held_out(residual: FloatArray, references: Mapping[str, FloatArray]) -> FloatArray:
    """Free each half of the sessions by what the other half says: a fit flatters itself."""
    half = len(residual) // 2
    freed = np.empty(len(residual))
    for here, there in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        loadings, means = fit_loadings(
            residual[there], {name: series[there] for name, series in references.items()}
        )
        other = {name: series[here] for name, series in references.items()}
        freed[here] = _freed(Basis(loadings=loadings, means=means), residual[here], other)
    return freed
