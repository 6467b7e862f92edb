"""What a candidate is worth on train: the RankIC it adds to what the book earns already.

The label is ranked in each session and freed of the book's exposures, so that a copy of a live
factor is worth nothing. Nothing here sees a row from which a validation label is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from miner.problem import Problem, SearchSettings
from miner.ranks import percentile_ranks, residual_ranks
from signals.errors import DataError
from signals.evaluate import Evaluator, evaluate
from signals.expression import Expression
from signals.ic import hac_lags, ic, mean_with_interval
from signals.operators import lookback
from signals.panel import BoolArray, FloatArray, Panel

#: Mean |difference| of two independent uniform percentile ranks; the unit of turnover.
INDEPENDENT = 1.0 / 3.0
#: Sessions whose ranks stand for all in comparing survivors.
FINGERPRINT_SESSIONS = 12
#: Parts of train that are looked at one by one.
PARTS = 4

Fingerprint = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Training:
    """All that fitness may see.

    Parameters
    ----------
    panel : Panel
        float32 rows up to the last row of train.
    first : int
        First row of train.
    target : ndarray of float32, shape (n_train, n_assets)
        What the book leaves of the label's ranks, per session; NaN where there is no label.
    horizon : int
        Of the label.
    min_assets : int
        Sessions with fewer assets that have value and label do not count.
    """

    panel: Panel
    first: int
    target: FloatArray
    horizon: int
    min_assets: int

    @property
    def universe(self) -> BoolArray:
        """Of the rows of train."""
        return self.panel.universe[self.first :]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A candidate on train.

    Parameters
    ----------
    ic : float
        Mean over sessions of the RankIC against the target; NaN where it was never defined.
    t : float
        Its HAC t-statistic.
    icir : float
        Mean over standard deviation, per session.
    stability : float
        Share of the parts of train (`PARTS`) in which the mean has the sign of the whole.
    turnover : float
        Mean change of percentile rank between sessions; 1 is that of independent values.
    coverage : float
        Share of labelled cells that have a value, from the session on that fills the lookback.
    spread : float
        Variance of the ranks relative to that of ranks without ties; 3 p (1 - p) for a factor that
        only tells a share p of the assets from the rest.
    fingerprint : ndarray of float32, shape (12 * n_assets,)
        Standardised ranks of some sessions; the dot product of two is their correlation.
    """

    ic: float
    t: float
    icir: float
    stability: float
    turnover: float
    coverage: float
    spread: float
    fingerprint: Fingerprint


def build_training(problem: Problem, settings: SearchSettings) -> Training:
    """Cut what fitness may see from the panel of `problem`.

    Raises
    ------
    DataError
        If a label of train would end where validation starts, or later.
    """
    split = problem.split(settings)
    known = problem.panel.rows(0, split.valid.start)
    last_close = split.train.stop - 1 + split.purge
    if last_close >= known.n_sessions or known.n_sessions != split.valid.start:
        raise DataError(
            f"labels of train end at row {last_close}, {known.n_sessions} rows are known before "
            f"validation starts at row {split.valid.start}",
            rule="fitness sees nothing that validation is made of",
        )
    label = replace(problem, panel=known).labels[split.train]
    seen = problem.panel.rows(0, split.train.stop)
    single = replace(
        seen, fields={name: np.asarray(v, dtype=np.float32) for name, v in seen.fields.items()}
    )
    book = list(problem.book.values())
    values = evaluate(book, single, first=split.train.start, dtype=np.float32)
    target = residual_ranks(label, seen.universe[split.train], values)
    return Training(
        panel=single,
        first=split.train.start,
        target=target.astype(np.float32),
        horizon=split.horizon,
        min_assets=settings.min_assets,
    )


def fitness(measured: Measured, burden: float, settings: SearchSettings) -> float:
    """Return what a candidate is worth: |t| less the weighted regulariser."""
    return abs(measured.t) - settings.penalty * burden


def measure(expressions: Sequence[Expression], training: Training) -> list[Measured]:
    """Measure `expressions` on train, one after the other in the same memory."""
    evaluator = Evaluator(training.panel, dtype=np.float32)
    run = partial(_measured, training=training)
    # one at a time: a batch would share little, and hold more memory than the cache does
    return [m for x in expressions for m in evaluator.map(run, [x], first=training.first)]


def _measured(expression: Expression, values: FloatArray, *, training: Training) -> Measured:
    """Measure one factor on train."""
    filled = max(0, lookback(expression) - training.first)
    ranks = percentile_ranks(values, training.universe)
    wanted = int(np.count_nonzero(np.isfinite(training.target[filled:])))
    have = int(np.count_nonzero(np.isfinite(ranks[filled:] + training.target[filled:])))
    series = ic(ranks, training.target, min_assets=training.min_assets)
    estimate = mean_with_interval(series, lags=hac_lags(len(series), horizon=training.horizon))
    some = ranks[np.linspace(len(ranks) // 4, len(ranks) - 1, FINGERPRINT_SESSIONS).astype(int)]
    change = np.abs(ranks[filled + 1 :] - ranks[filled:-1])
    missing = np.isnan(change)
    np.copyto(change, 0, where=missing)
    moves = change.size - int(np.count_nonzero(missing))
    return Measured(
        ic=estimate.mean,
        t=estimate.t if math.isfinite(estimate.t) else 0.0,
        icir=_icir(series),
        stability=_stability(series, estimate.mean),
        turnover=float(change.sum(dtype=np.float64)) / max(moves, 1) / INDEPENDENT,
        coverage=have / wanted if wanted else 0.0,
        spread=_spread(some),
        fingerprint=_fingerprint(some),
    )


def _icir(series: FloatArray) -> float:
    """Return mean over standard deviation of the defined ICs; 0 where there is none."""
    defined = series[np.isfinite(series)]
    spread = float(defined.std()) if len(defined) else 0.0
    return float(defined.mean()) / spread if spread > 0 else 0.0


def _stability(series: FloatArray, mean: float) -> float:
    """Return the share of the parts of train in which the mean has the sign of `mean`."""
    parts = [part[np.isfinite(part)] for part in np.array_split(series, PARTS)]
    return sum(len(part) > 0 and part.mean() * mean > 0 for part in parts) / PARTS


def _spread(ranks: FloatArray) -> float:
    """Return the mean variance of percentile ranks over its value without ties, 1/12."""
    finite = np.isfinite(ranks)
    n = np.count_nonzero(finite, axis=1)
    x = np.where(finite, ranks, 0).astype(np.float64)
    mean = x.sum(axis=1) / np.maximum(n, 1)
    variance = (x * x).sum(axis=1) / np.maximum(n, 1) - mean * mean
    return 12 * float(variance[n > 1].mean()) if (n > 1).any() else 0.0


def _fingerprint(ranks: FloatArray) -> Fingerprint:
    """Return ranks as one unit vector; missing ones are neutral."""
    centred = np.where(np.isfinite(ranks), ranks - np.float32(0.5), 0).astype(np.float32)
    flat = centred.reshape(-1)
    norm = float(np.sqrt((flat * flat).sum(dtype=np.float64)))
    return flat / np.float32(norm) if norm > 0 else flat
