"""What a candidate is worth on train: the RankIC it adds to what the book earns already.

The label is ranked in each session and freed of the book's exposures, so that a copy of a live
factor is worth nothing. Nothing here sees a row from which a validation label is made.

What it costs. A factor is traded by its ranks: asset i weighs (r_i - m) / sum |r_i - m|, with m the
mean rank, so one unit of money is invested, long and short together. With ranks even on [0, 1] a
label earns IC · s · sd(r) / mean |r - m| = 1.155 · IC · s, where s is the cross-sectional standard
deviation of the labels, and takes trades of 4 · mean |change of r| = 4/3 · turnover, in units of
the turnover of independent values. While a label of h sessions is held, ranks that wander change
at most √h times as much as in one session, and never more than independent ones. So at a cost of c
per unit traded the RankIC that only pays for its trading is
``c · 4/3 · min(1, √h · turnover) / (1.155 · s)``.
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
from miner.split import Span
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
#: What each part of train in which the RankIC has the other sign takes off, in units of t: half of
#: what R_g takes off a long expression. More would only repeat what t says already: of candidates
#: with the same t one with a bad part is hardly less likely to be true.
PART_PENALTY = 0.25
#: Standard deviation over mean absolute deviation of even ranks, sqrt(1/12) / (1/4).
RANKS_LEVER = 2.0 / math.sqrt(3.0)
#: Traded per unit of turnover, in units of the money invested.
TRADED = 4.0 / 3.0
#: One basis point.
BPS = 1e-4

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
    dispersion : float
        Cross-sectional standard deviation of the labels in the median session; NaN of no label.
    span, judged : Span
        Dates of train, and of the validation it must end before.
    """

    panel: Panel
    first: int
    target: FloatArray
    horizon: int
    min_assets: int
    dispersion: float
    span: Span
    judged: Span

    def __post_init__(self) -> None:
        self.span.holds(self.panel.sessions[self.first :], len(self.target), "what is fitted to")
        self.span.ends_before(self.judged)

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
    drag : float
        RankIC that one basis point of cost takes away; 0 where labels do not vary.
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
    drag: float
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
    span, judged = split.spans(problem.panel.sessions)
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
        dispersion=_dispersion(label, seen.universe[split.train]),
        span=span,
        judged=judged,
    )


def _dispersion(label: FloatArray, universe: BoolArray) -> float:
    """Return the cross-sectional standard deviation of the labels in the median session."""
    known = universe & np.isfinite(label)
    n = known.sum(axis=1)
    x = np.where(known, label, 0).astype(np.float64)
    centre = x.sum(axis=1) / np.maximum(n, 1)
    deviation = np.where(known, x - centre[:, None], 0)
    variance = (deviation * deviation).sum(axis=1) / np.maximum(n - 1, 1)
    return float(np.sqrt(np.median(variance[n > 1]))) if (n > 1).any() else math.nan


def fitness(measured: Measured, burden: float, settings: SearchSettings) -> float:
    """Return what a candidate is worth on train, in units of t; higher is better.

    It is |t| of the RankIC net of cost, |t| (1 - cost_bps · drag / |ic|), less 1/4 for each quarter
    of train in which it has the other sign, less the weighted regulariser.

    Parameters
    ----------
    measured : Measured
        On train.
    burden : float
        R_g.
    settings : SearchSettings
        `cost_bps` is what one unit traded costs *inside a blended book*, where most trades of one
        factor meet those of another; it is not a broker's tariff. `penalty` weighs R_g.
    """
    t = abs(measured.t)
    cost = settings.cost_bps * measured.drag / abs(measured.ic) if t > 0 else 0.0
    unstable = PART_PENALTY * PARTS * (1.0 - measured.stability)
    worth: float = t * (1.0 - cost) - unstable - settings.penalty * burden
    return worth


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
    turnover = float(change.sum(dtype=np.float64)) / max(moves, 1) / INDEPENDENT
    return Measured(
        ic=estimate.mean,
        t=estimate.t if math.isfinite(estimate.t) else 0.0,
        icir=_icir(series),
        stability=_stability(series, estimate.mean),
        turnover=turnover,
        coverage=have / wanted if wanted else 0.0,
        drag=cost_drag(turnover, training.dispersion, training.horizon),
        spread=_spread(some),
        fingerprint=_fingerprint(some),
    )


def cost_drag(turnover: float, dispersion: float, horizon: int) -> float:
    """Return the RankIC that one basis point of cost takes away; see the module's text.

    Parameters
    ----------
    turnover : float
        Mean change of percentile rank between sessions; 1 is that of independent values.
    dispersion : float
        Cross-sectional standard deviation of the labels; nothing is charged where it is 0 or NaN.
    horizon : int
        Of the label.
    """
    if not dispersion > 0:
        return 0.0
    traded = TRADED * min(1.0, math.sqrt(horizon) * turnover)
    return BPS * traded / (RANKS_LEVER * dispersion)


def _icir(series: FloatArray) -> float:
    """Return mean over standard deviation of the defined ICs; 0 where there is none."""
    defined = series[np.isfinite(series)]
    spread = float(defined.std()) if len(defined) else 0.0
    return float(defined.mean()) / spread if spread > 0 else 0.0


def _stability(series: FloatArray, mean: float) -> float:
    """Return the share of the parts of train in which the mean has the sign of `mean`."""
    parts = [part[np.isfinite(part)] for part in np.array_split(series, PARTS)]
    return sum(bool(len(part) and part.mean() * mean > 0) for part in parts) / PARTS


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
