"""Alignment: whether hypothesis, description and expression speak of the same thing.

Source: arXiv 2502.16789, equation (7): C = (c1 + c2) / 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miner.hypothesis import Hypothesis
from signals.expression import Expression, fields


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well three statements of one idea agree.

    Parameters
    ----------
    described : float
        c1 in [0, 1]: the description carries out the hypothesis.
    expressed : float
        c2 in [0, 1]: the expression computes what the description says.
    reasons : tuple of str
        What was found wrong.
    """

    described: float
    expressed: float
    reasons: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """C in [0, 1]."""
        return 0.5 * (self.described + self.expressed)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "described": self.described,
            "expressed": self.expressed,
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Alignment:
        """Return what `to_json` gave."""
        return cls(float(data["described"]), float(data["expressed"]), tuple(data["reasons"]))


def alignment(
    hypothesis: Hypothesis, description: str, expression: Expression, *, measured: int = 0
) -> Alignment:
    """Return the alignment by rules.

    Parameters
    ----------
    hypothesis : Hypothesis
        Why.
    description : str
        What is measured, in words.
    expression : Expression
        How.
    measured : int
        Sign of the RankIC on train; 0 before it is known.
    """
    missing = set(hypothesis.fields) - fields(expression)
    reasons = tuple(f"the hypothesis speaks of {name}" for name in sorted(missing))
    return Alignment(1.0, 0.0 if missing else 1.0, reasons)
