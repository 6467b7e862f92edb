"""Settings of re-mining: budget, gates, weights of the regulariser, who proposes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from daemon.group import Group, Positive, Share
from miner.acceptance import Bar
from miner.complexity import Weights
from miner.problem import SearchSettings

_SEARCH = SearchSettings()
_WEIGHTS = Weights()


class RegulariserSettings(Group):
    """Weights of R_g (miner.complexity.Weights), and of R_g in the fitness."""

    penalty: float = Field(
        default=_SEARCH.penalty, ge=0.0, description="weight of R_g in the fitness, in units of t"
    )
    length: float = Field(
        default=_WEIGHTS.length, ge=0.0, description="α1: of SL, nodes of the expression"
    )
    parameters: float = Field(
        default=_WEIGHTS.parameters, ge=0.0, description="α2: of PC, numbers in the expression"
    )
    similarity: float = Field(
        default=_WEIGHTS.similarity,
        ge=0.0,
        description="α3·β1: of S, nodes of the largest subtree a known factor has too",
    )
    alignment: float = Field(
        default=_WEIGHTS.alignment,
        ge=0.0,
        description="α3·β2: of 1 - C, how far hypothesis, description and expression differ",
    )
    features: float = Field(
        default=_WEIGHTS.features, ge=0.0, description="α3·β3: of log(1 + |F|), fields it reads"
    )

    def weights(self) -> Weights:
        """Return those of R_g."""
        return Weights(**self.model_dump(exclude={"penalty"}))


class MiningSettings(Group):
    """Re-mining. Budgets count candidates; the deadline only stops a run."""

    enabled: bool = Field(default=True, description="whether a `decayed` verdict opens a re-mining")
    train_sessions: int = Field(
        default=_SEARCH.train_sessions, ge=60, description="sessions candidates are fitted on"
    )
    valid_sessions: int = Field(
        default=_SEARCH.valid_sessions, ge=40, description="sessions finalists are proved on"
    )
    embargo: int = Field(
        default=_SEARCH.embargo,
        ge=0,
        description="sessions left out between the two, beyond those the label needs",
    )
    rounds: Positive = Field(default=_SEARCH.rounds, description="rounds of proposals")
    batch: int = Field(default=_SEARCH.batch, ge=2, description="candidates of one round")
    finalists: Positive = Field(
        default=_SEARCH.finalists, description="candidates that reach validation"
    )
    alpha: float = Field(
        default=_SEARCH.bar.alpha, gt=0.0, lt=0.5, description="false discoveries per re-mining"
    )
    cost_bps: float = Field(
        default=_SEARCH.cost_bps,
        ge=0.0,
        description="cost of trading inside a book, in basis points, charged to the fitness",
    )
    min_alignment: Share = Field(
        default=_SEARCH.min_alignment,
        description="smallest C of hypothesis, description and expression",
    )
    max_correlation: Share = Field(
        default=_SEARCH.bar.max_correlation,
        description="largest mean rank correlation with a live or recently retired factor",
    )
    zoos: tuple[Literal["alpha101", "alpha158"], ...] = Field(
        default=("alpha101", "alpha158"), description="packaged zoos a find must differ from"
    )
    zoo: Path | None = Field(
        default=None, description="TOML of further formulas a find must differ from"
    )
    weights: RegulariserSettings = Field(default_factory=RegulariserSettings)
    seed: int = Field(default=11, ge=0, description="seed of the search")
    deadline_seconds: int = Field(
        default=1800, ge=1, description="wall clock after which a run is stopped"
    )
    cluster: str | None = Field(
        default=None,
        min_length=1,
        description="address of a dask scheduler that measures candidates (extra `distributed`)",
    )

    def search(self, min_assets: int) -> SearchSettings:
        """Return what the miner is told.

        Parameters
        ----------
        min_assets : int
            Assets a session must have to count.
        """
        names = (
            "train_sessions", "valid_sessions", "embargo", "rounds", "batch", "finalists",
            "cost_bps", "min_alignment",
        )  # fmt: skip
        return SearchSettings(
            **{name: getattr(self, name) for name in names},
            min_assets=min_assets,
            penalty=self.weights.penalty,
            weights=self.weights.weights(),
            bar=Bar(alpha=self.alpha, max_correlation=self.max_correlation),
        )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.finalists > self.rounds * self.batch:
            raise ValueError(
                f"finalists {self.finalists} is above rounds × batch = {self.rounds * self.batch}; "
                "lower finalists or propose more"
            )
        return self
