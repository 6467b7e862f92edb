"""What is searched, and by which rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from miner.acceptance import Bar
from miner.complexity import ComplexityLimits, Weights
from miner.memory import Decayed, Tally
from miner.originality import OriginalityLimits
from miner.split import Split, split
from signals.expression import Expression
from signals.labels import forward_returns
from signals.panel import FloatArray, Panel


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Budget, gates and bars of a search.

    Parameters
    ----------
    rounds, batch : int
        Rounds, and candidates measured in each.
    population : int
        Survivors kept; no two with an absolute correlation of `niche` or more.
    finalists : int
        Survivors that meet validation.
    train_sessions, valid_sessions : int
        Sessions of the two parts.
    embargo : int
        Sessions left out between them beyond the purge.
    min_assets : int
        A session with fewer assets does not count.
    min_coverage, max_turnover, min_spread : float
        See `miner.fitness.Measured`.
    min_train_t : float
        Smallest |t| on train of a finalist.
    min_alignment : float
        Smallest C of a candidate that is measured; of two sides one wrong and one right give 0.5.
    cost_bps : float
        Cost of trading inside a book, charged to the fitness.
    penalty : float
        Weight of R_g in the fitness, in units of t.
    max_accepted : int
        Factors accepted at most.
    """

    rounds: int = 10
    batch: int = 250
    population: int = 60
    finalists: int = 12
    train_sessions: int = 500
    valid_sessions: int = 250
    embargo: int = 5
    min_assets: int = 30
    min_coverage: float = 0.6
    max_turnover: float = 1.2
    min_spread: float = 0.5
    min_train_t: float = 2.5
    niche: float = 0.8
    penalty: float = 1.0
    max_accepted: int = 3
    cost_bps: float = 1.0
    min_alignment: float = 0.6
    complexity: ComplexityLimits = field(default_factory=ComplexityLimits)
    originality: OriginalityLimits = field(default_factory=OriginalityLimits)
    weights: Weights = field(default_factory=Weights)
    bar: Bar = field(default_factory=Bar)


@dataclass(frozen=True, eq=False)
class Problem:
    """What is searched.

    Parameters
    ----------
    panel : Panel
        Rows up to the session at whose close the search opens, none later.
    label_lag, horizon : int
        Sessions between knowing and trading, and sessions held.
    book : mapping of str to Expression
        Factors alive: live, shadow and decaying. A find must add to them.
    references : mapping of str to Expression
        Other factors a find must not repeat: the zoo, the retired.
    retired : mapping of str to Expression
        Factors retired of late; a find must not be one of them in value either.
    earlier_trials : int
        Candidates measured by earlier searches whose validation overlaps this one's.
    heard : sequence of Expression
        Finalists of those searches: validation was looked at for them too.
    decayed : sequence of Decayed
        Why retired factors died, for the proposer.
    experience : mapping of str to Tally
        What earlier searches saw on train, by mechanism.
    label : ndarray of shape (n_sessions, n_assets), optional
        Forward returns of each row, where they are not those of `$close`.
    """

    panel: Panel
    label_lag: int = 1
    horizon: int = 1
    book: Mapping[str, Expression] = field(default_factory=dict)
    references: Mapping[str, Expression] = field(default_factory=dict)
    retired: Mapping[str, Expression] = field(default_factory=dict)
    earlier_trials: int = 0
    heard: Sequence[Expression] = ()
    decayed: Sequence[Decayed] = ()
    experience: Mapping[str, Tally] = field(default_factory=dict)
    label: FloatArray | None = None

    @property
    def labels(self) -> FloatArray:
        """Forward returns of each row; NaN where they are not realised."""
        if self.label is not None:
            return self.label
        return forward_returns(self.panel.fields["close"], lag=self.label_lag, horizon=self.horizon)

    def split(self, settings: SearchSettings) -> Split:
        """Return the purged split of the panel."""
        return split(
            self.panel.n_sessions,
            self.label_lag,
            self.horizon,
            settings.train_sessions,
            settings.valid_sessions,
            settings.embargo,
        )
