"""Where finalists are judged: the two parts of the split, each with dates, labels and book.

A part is cut before anything is computed on it: what is evaluated for train knows no row after
train, and what is scored against holds exactly the rows its dates say, or it is a DataError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from miner.problem import Problem, SearchSettings
from miner.ranks import centred_ranks, closest, percentile_ranks, residual_ranks
from miner.split import Span
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.ic import MeanEstimate, hac_lags, ic, mean_with_interval, rank_ic
from signals.panel import BoolArray, FloatArray, Panel, SessionArray


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one part, in float64, and what they are scored against.

    Parameters
    ----------
    span : Span
        Dates it is meant for.
    panel : Panel
        Rows up to the last one of the part.
    first : int
        Its first row.
    label : ndarray of shape (n_sessions, n_assets)
        Forward returns of its rows; NaN outside the universe.
    horizon, min_assets : int
        Of the label, and the assets a session needs to count.
    """

    span: Span
    panel: Panel
    first: int
    label: FloatArray
    horizon: int
    min_assets: int

    def __post_init__(self) -> None:
        self.span.holds(self.sessions, len(self.label), "a label")

    @property
    def sessions(self) -> SessionArray:
        """Of its rows."""
        return self.panel.sessions[self.first :]

    @property
    def universe(self) -> BoolArray:
        """Of its rows."""
        return self.panel.universe[self.first :]

    def values(self, expressions: Sequence[Expression]) -> list[FloatArray]:
        """Return factor values on its rows."""
        return evaluate(expressions, self.panel, first=self.first, dtype=np.float64)

    def ranks(self, values: FloatArray) -> FloatArray:
        """Return centred ranks, as correlations are taken of."""
        return centred_ranks(self._held(values), self.universe)

    def left_by(self, book: Sequence[FloatArray]) -> FloatArray:
        """Return what `book` leaves of the label's ranks."""
        return residual_ranks(self.label, self.universe, [self._held(values) for values in book])

    def raw(self, values: FloatArray) -> FloatArray:
        """Return the RankIC of each session."""
        return rank_ic(self._held(values), self.label, min_assets=self.min_assets)

    def added(self, values: FloatArray, target: FloatArray) -> FloatArray:
        """Return the RankIC of each session against what a book has left."""
        ranks = percentile_ranks(self._held(values), self.universe)
        return ic(ranks, self._held(target), min_assets=self.min_assets)

    def mean(self, series: FloatArray) -> MeanEstimate:
        """Return the mean of a series of its sessions."""
        lags = hac_lags(len(self._held(series)), horizon=self.horizon)
        return mean_with_interval(series, lags=lags)

    def _held(self, values: FloatArray) -> FloatArray:
        self.span.holds(self.sessions, len(values), "what is scored")
        return values


def parts(problem: Problem, settings: SearchSettings) -> tuple[Part, Part]:
    """Return train and validation.

    Raises
    ------
    DataError
        If the panel is too short, or a label of one part is realised where it must not be known.
    """
    split = problem.split(settings)
    train_span, valid_span = split.spans(problem.panel.sessions)
    before = replace(problem, panel=problem.panel.rows(0, split.valid.start))

    def part(source: Problem, span: Span, rows: slice) -> Part:
        panel = problem.panel.rows(0, rows.stop)
        label = np.where(panel.universe[rows], source.labels[rows], np.nan)
        return Part(span, panel, rows.start, label, split.horizon, settings.min_assets)

    return part(before, train_span, split.train), part(problem, valid_span, split.valid)


@dataclass
class Bench:
    """One part with the factors a find must add to; more join while finalists are accepted.

    Parameters
    ----------
    part : Part
        Its rows.
    book : list of ndarray
        Values of the factors of the book.
    """

    part: Part
    book: list[FloatArray]
    target: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.target = self.part.left_by(self.book)

    def added(self, values: FloatArray) -> FloatArray:
        """Return the RankIC `values` add to the book in each session."""
        return self.part.added(values, self.target)

    def seat(self, values: FloatArray) -> None:
        """Ask of what comes that it adds to `values` too."""
        self.book.append(values)
        self.target = self.part.left_by(self.book)


@dataclass
class Peers:
    """Factors a find must be unlike in value, by their ranks on train.

    Parameters
    ----------
    part : Part
        Train.
    ranks : list of (str, ndarray)
        Names and centred ranks.
    """

    part: Part
    ranks: list[tuple[str, FloatArray]] = field(default_factory=list)

    def join(self, name: str, values: FloatArray) -> None:
        """Add a factor by its values on train."""
        self.ranks.append((name, self.part.ranks(values)))

    def closest(self, values: FloatArray) -> tuple[str, float]:
        """Return the name of the factor most like `values`, and their mean rank correlation."""
        return closest(self.part.ranks(values), self.ranks)
