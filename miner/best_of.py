"""A test for the best of all whose validation was looked at.

Who counts. A validation row says nothing before somebody looks at it. The thousands of candidates
that are measured on train do not look: train is purged and embargoed from validation, so under the
null what train says of a candidate, and hence who becomes a finalist, is independent of the
finalists' validation. Selection among thousands therefore costs nothing here; selection among the
finalists does, and so does every look of an earlier search at any part of the same window. The
family is exactly those: whoever of this search is heard, accepted or not, and whoever was heard by
earlier searches whose validation overlaps, computed again on this window so that dependence is
known. A finalist that train alone refuses is never heard and does not count.

How. The step-down studentised max-t test (Romano and Wolf, "Stepwise multiple testing as formalized
data snooping", Econometrica 73, 2005). The null distribution of the maximum comes from a block
bootstrap with random signs: sessions are cut into blocks, and each resample multiplies whole blocks
by +1 or -1, the same for all members, which keeps autocorrelation within blocks, fat tails,
volatility clusters and the dependence between members as they are. Where block sums are symmetric
and independent it is exact at any number of blocks (Canay, Romano and Shaikh, "Randomization tests
under an approximate symmetry assumption", Econometrica 85, 2017). Circular blocks drawn with
replacement need many: of single nulls of 120 sessions they reject 5.5 to 6.3 % where 5 % are
promised, these 4 to 5 %.

Neighbouring blocks are not quite independent: labels that overlap reach from one into the next.
The statistic is made smaller by the share of the long-run variance that blocks of this length see,
which overlap fixes, and which is estimated as of an AR(1) for labels that do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from miner.acceptance import student_survival
from signals.errors import DataError
from signals.panel import FloatArray

#: Sign vectors drawn; no p-value is below 1 / (1 + RESAMPLES).
RESAMPLES = 9_999
#: Block length in units of the label's horizon, at least.
BLOCK_HORIZONS = 2
#: Below this many blocks no sign pattern is rare enough to say anything.
MIN_BLOCKS = 5
#: Statistics closer than this are tied: sums in another order differ by so much.
TIED = 1e-9
#: Where the effective number of trials is read off: the level of the largest of all.
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Family:
    """What the test says of each member.

    Parameters
    ----------
    p_single : tuple of float
        One-sided p of a mean above 0, as if it had been the only one looked at.
    p_family : tuple of float
        Corrected for all that were looked at; never below `p_single`.
    n_heard : int
        Members, and those that cannot be computed any more.
    n_effective : float
        Independent members whose largest statistic would be as large by chance; from 1 to
        `n_heard`.
    block : int
        Sessions in a block.
    """

    p_single: tuple[float, ...]
    p_family: tuple[float, ...]
    n_heard: int
    n_effective: float
    block: int


def best_of(
    series: Sequence[FloatArray], *, horizon: int, rng: Generator, unseen: int = 0
) -> Family:
    """Test each member's mean against all members' luck.

    Parameters
    ----------
    series : sequence of ndarray of shape (n_sessions,)
        Oriented RankIC of every member on the same sessions; NaN where a session does not count.
    horizon : int
        Sessions a label is held: neighbouring ones share all but one.
    rng : Generator
        Draws the signs.
    unseen : int
        Members that were looked at and cannot be computed any more; paid for by Bonferroni.

    Returns
    -------
    Family
        p = 1 of a member without variation, and of all where there are fewer than 5 blocks.

    Raises
    ------
    DataError
        If the series differ in length.
    """
    if len({len(x) for x in series}) > 1:
        raise DataError("series of different lengths", rule="one window judges the whole family")
    n_heard = len(series) + unseen
    x = np.stack(series, axis=1) if series else np.empty((0, 0))
    block = block_length(len(x), horizon)
    n_blocks = len(x) // block
    if not series or n_blocks < MIN_BLOCKS:
        ones = (1.0,) * len(series)
        return Family(ones, ones, n_heard, float(max(n_heard, 1)), block)
    sums = _block_sums(np.nan_to_num(x), n_blocks)
    observed = sums.sum(axis=0) * math.sqrt(seen_variance(x, len(x) / n_blocks, horizon))
    single = [_student(s, n_blocks) for s in observed]
    signs = rng.integers(0, 2, (RESAMPLES, n_blocks)) * 2.0 - 1.0
    # no BLAS: its sums depend on the number of threads
    resampled = np.einsum("bm,mk->bk", signs, sums)
    family = _stepped_down(observed, resampled)
    corrected = [min(1.0, max(f, s) + unseen * s) for f, s in zip(family, single, strict=True)]
    effective = min(_effective(resampled) + unseen, float(n_heard))
    return Family(tuple(single), tuple(corrected), n_heard, effective, block)


def block_length(n_sessions: int, horizon: int) -> int:
    """Return the sessions of a block: n^(1/3) rounded up, and two horizons where labels overlap."""
    overlap = BLOCK_HORIZONS * horizon if horizon > 1 else 1
    return max(math.ceil(round(math.cbrt(n_sessions), 9)), overlap)


def seen_variance(x: FloatArray, block: float, horizon: int) -> float:
    """Return the share of a sum's variance that its blocks show, in (0, 1].

    With autocovariances g_l blocks of b sessions show 1 - (2 / b) sum l g_l / (g_0 + 2 sum g_l) of
    the long-run variance. Labels held h sessions make g_l = 1 - l / h, so (h² - 1) / (3 h b) is
    hidden. Labels of one session that follow an AR(1) of coefficient f hide 2 f / (b (1 - f²)).

    Parameters
    ----------
    x : ndarray of shape (n_sessions, n_members)
        Gives f, pooled over members, where `horizon` is 1; a negative one counts as 0.
    block : float
        Sessions of a block, on average.
    horizon : int
        Of the label.
    """
    if horizon > 1:
        return 1.0 - (horizon * horizon - 1) / (3.0 * horizon * block)
    deviation = np.nan_to_num(x - _nanmean(x))
    scale = np.sqrt(np.einsum("tk,tk->k", deviation, deviation))
    unit = deviation / np.where(scale > 0, scale, 1.0)
    pooled = float(np.einsum("tk,tk->", unit[1:], unit[:-1])) / max(len(scale[scale > 0]), 1)
    f = min(max(pooled, 0.0), 0.9)
    return max(1.0 - 2.0 * f / (block * (1.0 - f * f)), 0.1)


def _nanmean(x: FloatArray) -> FloatArray:
    """Return the mean of each column without NaN; 0 of none."""
    n = np.isfinite(x).sum(axis=0)
    mean: FloatArray = np.nan_to_num(x).sum(axis=0) / np.maximum(n, 1)
    return mean


def _block_sums(x: FloatArray, n_blocks: int) -> FloatArray:
    """Return block sums whose squares add to 1 in each column; 0 in one that is all 0."""
    starts = np.linspace(0, len(x), n_blocks + 1).astype(int)[:-1]
    sums = np.add.reduceat(x, starts, axis=0)
    norm = np.sqrt(np.einsum("mk,mk->k", sums, sums))
    scaled: FloatArray = sums / np.where(norm > 0, norm, 1.0)
    return scaled


def _student(s: float, n_blocks: int) -> float:
    """Return the p of a sum of block sums whose squares add to 1: t of n_blocks - 1 degrees."""
    if s == 0:
        return 1.0
    rest = max(n_blocks - s * s, TIED)
    return student_survival(s * math.sqrt((n_blocks - 1) / rest), n_blocks - 1)


def _stepped_down(observed: FloatArray, resampled: FloatArray) -> list[float]:
    """Return the p of each member: of the largest against all, of the next without it, and so on.

    Parameters
    ----------
    observed : ndarray of shape (n_members,)
        Statistics; 0 of a member without variation.
    resampled : ndarray of shape (n_resamples, n_members)
        The same under random signs.
    """
    order = np.argsort(-observed, kind="stable")
    # largest among a member and all below it
    largest = np.maximum.accumulate(resampled[:, order[::-1]], axis=1)[:, ::-1]
    reached = (largest >= observed[order] - TIED).sum(axis=0)
    p = np.maximum.accumulate((1.0 + reached) / (1.0 + len(resampled)))
    result: npt.NDArray[np.float64] = np.empty(len(observed))
    result[order] = np.where(observed[order] == 0, 1.0, p)
    return [float(value) for value in result]


def _effective(resampled: FloatArray) -> float:
    """Return how many independent members would have the same chance to exceed the 95 % point.

    With q that point of the largest, and a the mean chance of one member to exceed it, n solves
    1 - (1 - a)^n = P(largest > q).
    """
    largest = resampled.max(axis=1)
    q = float(np.quantile(largest, 1 - LEVEL))
    any_above = float((largest > q).mean())
    one_above = float((resampled > q).mean())
    if not 0 < one_above <= any_above < 1:
        return 1.0
    return math.log1p(-any_above) / math.log1p(-one_above)
