"""The structured hypothesis behind a factor, and the mechanisms that give rise to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from signals.expression import Expression, fields
from signals.operators import lookback


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Why a factor should rank assets: AlphaAgent's four parts, and what needs no model to check.

    Parameters
    ----------
    observation, knowledge, justification, specification : str
        What is seen, the conditional rule drawn from it, why it should persist, and how it is
        measured.
    fields : tuple of str
        The fields it speaks about, sorted.
    direction : int
        +1 where a high value of the described quantity should go with a high label, -1 for the
        contrary, 0 where the hypothesis does not say.
    horizon : int
        Sessions its windows look back on at most.
    mechanism : str
        Name of the cause it rests on (`MECHANISMS`), "" where it names none.
    """

    observation: str
    knowledge: str
    justification: str
    specification: str
    fields: tuple[str, ...]
    direction: int = 0
    horizon: int = 0
    mechanism: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(sorted(self.fields)))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "observation": self.observation,
            "knowledge": self.knowledge,
            "justification": self.justification,
            "specification": self.specification,
            "fields": list(self.fields),
            "direction": self.direction,
            "horizon": self.horizon,
            "mechanism": self.mechanism,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hypothesis:
        """Return what `to_json` gave."""
        return cls(**{**data, "fields": tuple(data["fields"])})

    def oriented(self, direction: int) -> Hypothesis:
        """Return the same hypothesis with the sign that was measured."""
        return replace(self, direction=direction)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A cause known from the literature, the fields that carry it and what follows from it."""

    name: str
    fields: frozenset[str]
    windows: tuple[int, ...]
    observation: str
    knowledge: str
    justification: str


_SHORT = (2, 3, 5, 10, 20)
_MIDDLE = (5, 10, 20, 40, 60)
_ANY = (2, 3, 5, 10, 20, 30, 40, 60)

#: From narrow to wide: an expression belongs to the first mechanism that has all its fields.
MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism(
        "price path",
        frozenset({"close"}),
        _ANY,
        "Closing prices move away from their recent path and come back, or go on.",
        "If a price has gone far over a short span, then liquidity providers are paid to take the "
        "other side; "
        "over a long span information is absorbed slowly.",
        "Limited risk-bearing capacity and slow diffusion of information do not vanish with one "
        "trade.",
    ),
    Mechanism(
        "overnight and intraday",
        frozenset({"open", "close"}),
        _SHORT,
        "Prices set at the open and prices set at the close are made by different investors.",
        "If the overnight move and the intraday move of an asset disagree, then the clientele "
        "that pushed too "
        "far is corrected.",
        "Clienteles that trade at the open and at the close persist.",
    ),
    Mechanism(
        "position in the range",
        frozenset({"high", "low", "close"}),
        _SHORT,
        "Where the close stands between the extremes of a span shows who was in a hurry.",
        "If the close stands near an extreme, then the pressure that carried it there is partly "
        "transient.",
        "Immediacy has to be paid for in every session.",
    ),
    Mechanism(
        "bar shape",
        frozenset({"open", "high", "low", "close"}),
        _ANY,
        "The shape and width of the bars say how contested a price was.",
        "If ranges widen or narrow against their own past, then uncertainty about the asset has "
        "changed.",
        "Risk is priced across assets, and investors with a lottery preference overpay for it.",
    ),
    Mechanism(
        "turnover",
        frozenset({"volume"}),
        _MIDDLE,
        "Trading activity departs from its own norm.",
        "If activity of an asset is unusually high or low, then attention or disagreement has "
        "changed.",
        "Attention is scarce and disagreement with constrained short sales is priced.",
    ),
    Mechanism(
        "price and volume",
        frozenset({"close", "volume"}),
        _MIDDLE,
        "Moves on heavy volume and moves on light volume are continued differently.",
        "If price and volume move together, then the move was bought by the impatient and is "
        "given back in part.",
        "Volume separates trading for information from trading for liquidity.",
    ),
    Mechanism(
        "price, range and volume",
        frozenset({"open", "high", "low", "close", "volume"}),
        _ANY,
        "Bars and activity together show how much trade a given move took.",
        "If a move took much volume, or a range was wide for little volume, then liquidity has "
        "changed.",
        "Compensation for liquidity and for risk varies between assets and persists.",
    ),
)  # fmt: skip


def hypothesis_for(
    expression: Expression, *, direction: int = 0, mechanisms: Sequence[Mechanism] = MECHANISMS
) -> Hypothesis:
    """Return what `expression` can be read as: the narrowest mechanism that has its fields."""
    used = fields(expression)
    known = next((m for m in mechanisms if used <= m.fields), mechanisms[-1])
    return Hypothesis(
        observation=known.observation,
        knowledge=known.knowledge,
        justification=known.justification,
        specification=f"{known.name}: assets are ranked by {expression}",
        fields=tuple(used),
        direction=direction,
        horizon=lookback(expression),
        mechanism=known.name,
    )
