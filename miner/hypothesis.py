"""The structured hypothesis behind a factor, and how one is drawn from a mechanism.

There are two ways to a hypothesis. Hypothesis first: a mechanism is drawn, then an expression, and
`hypothesis_of` says what was meant, whether or not the expression still carries it. Expression
first: `mechanism_for` reads an expression as the mechanism whose subjects it shows.

A proposer that breeds should keep the mechanism of the mother (`hypothesis_of` with her mechanism
and the child's expression) and rename the child with `hypothesis_for` where it no longer fits
(`fits`): the lineage stays about something, and the tallies by mechanism count what the expression
is. Left unrenamed, a drifted child's C falls below 1, which costs it in R_g, and to 0.5 where it no
longer reads what its mechanism is about: a gate above 0.5 refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from miner.causes import MECHANISMS, Mechanism
from miner.orientation import orientation
from miner.reading import in_words
from miner.traits import shown
from signals.expression import Expression, fields, lookback

__all__ = [
    "MECHANISMS",
    "Hypothesis",
    "Mechanism",
    "description_for",
    "expected_direction",
    "fits",
    "hypothesis_for",
    "hypothesis_of",
    "mechanism_for",
]


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


#: What the expected sign is of, where that is not the last subject.
_QUANTITIES = {"momentum": "change", "reversal": "change"}

#: How a description speaks of a concept that is not called so in English.
_SPOKEN = {"position": "position in the range", "activity": "trading activity"}


def fits(mechanism: Mechanism, expression: Expression) -> bool:
    """Return whether `expression` reads no field but the mechanism's and shows its subjects."""
    return fields(expression) <= mechanism.fields and set(mechanism.subjects) <= shown(expression)


def expected_direction(mechanism: Mechanism, expression: Expression) -> int:
    """Return the sign the literature expects of `expression` as a factor of `mechanism`.

    The expected sign of the mechanism's quantity, turned where the expression falls with it; 0
    where the literature is divided or the expression does not clearly point either way.
    """
    if mechanism.direction == 0:
        return 0
    told = _QUANTITIES.get(mechanism.name, mechanism.subjects[-1])
    return mechanism.direction * orientation(expression, told)


def hypothesis_of(
    mechanism: Mechanism, expression: Expression, *, direction: int = 0
) -> Hypothesis:
    """Return the hypothesis that `expression` was drawn from `mechanism` to carry out.

    Nothing is checked: `miner.alignment` says how well it does.

    Parameters
    ----------
    mechanism : Mechanism
        What was meant.
    expression : Expression
        What was drawn.
    direction : int
        Sign with which high values should go with high labels, 0 where that is left open;
        `expected_direction` gives the literature's.
    """
    expected = f" The literature expects: {mechanism.expects}." if mechanism.expects else ""
    return Hypothesis(
        observation=mechanism.observation,
        knowledge=mechanism.knowledge + expected,
        justification=mechanism.justification,
        specification=f"{mechanism.name}: assets are ranked by {expression}{_sign(direction)}",
        fields=tuple(fields(expression)),
        direction=direction,
        horizon=lookback(expression),
        mechanism=mechanism.name,
    )


def mechanism_for(
    expression: Expression, mechanisms: Sequence[Mechanism] = MECHANISMS
) -> Mechanism:
    """Return what `expression` can be read as: the first mechanism it `fits`.

    Where it fits none, the first whose subjects it shows; where there is none either, the last.
    """
    traits = shown(expression)
    showing = [m for m in mechanisms if set(m.subjects) <= traits] or [mechanisms[-1]]
    used = fields(expression)
    return next((m for m in showing if used <= m.fields), showing[-1])


def hypothesis_for(
    expression: Expression, *, direction: int = 0, mechanisms: Sequence[Mechanism] = MECHANISMS
) -> Hypothesis:
    """Return the hypothesis of what `expression` can be read as (`mechanism_for`)."""
    return hypothesis_of(mechanism_for(expression, mechanisms), expression, direction=direction)


def description_for(hypothesis: Hypothesis, expression: Expression) -> str:
    """Return in plain English what `expression` computes, and the sign `hypothesis` expects.

    The words come from the expression alone, so that they fit the hypothesis only where it does.
    """
    concepts = ", ".join(_SPOKEN.get(name, name) for name in sorted(shown(expression)))
    behind = lookback(expression)
    span = f"looking back {behind} session{'s' * (behind != 1)}" if behind else "of one session"
    reading = f"{in_words(expression)}, {span}, ranked across assets"
    return f"{concepts}: {reading}{_sign(hypothesis.direction)}"


def _sign(direction: int) -> str:
    """Return what a direction says, as the end of a text."""
    if direction == 0:
        return ""
    return f". High values should go with {'high' if direction > 0 else 'low'} returns."
