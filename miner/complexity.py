"""The complexity of an expression, and AlphaAgent's combined regulariser.

Source: arXiv 2502.16789, equations (4) and (8), with the sign of the alignment term put right: the
paper adds C, which is better when higher, to a sum that is better when lower; here 1 - C is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from signals.expression import Constant, Expression, depth, fields, free_parameters, size, walk
from signals.operators import lookback


@dataclass(frozen=True, slots=True)
class Complexity:
    """Measures of one expression.

    Parameters
    ----------
    length : int
        Symbolic length SL: nodes of the tree.
    parameters : int
        Free parameters PC: numeric constants, windows among them.
    features : int
        Raw features |F|: distinct fields.
    depth : int
        Longest path from the root to a leaf, in nodes.
    lookback : int
        Sessions needed behind the current one.
    """

    length: int
    parameters: int
    features: int
    depth: int
    lookback: int


@dataclass(frozen=True, slots=True)
class ComplexityLimits:
    """What a candidate may not exceed; a limit on each count, none on a ratio."""

    length: int = 24
    parameters: int = 6
    features: int = 4
    depth: int = 7
    lookback: int = 130


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the parts of R_g.

    R_g = length·SL + parameters·PC + ER, ER = similarity·S + alignment·(1-C) + features·log(1+|F|).
    The paper gives none. These make a candidate of five nodes, one window and one field cost about
    0.3 and one at every limit about 1.5, in units of the t-statistic the search maximises.
    """

    length: float = 0.02
    parameters: float = 0.04
    similarity: float = 0.02
    alignment: float = 1.0
    features: float = 0.2


def complexity(expression: Expression) -> Complexity:
    """Return the measures of `expression`."""
    return Complexity(
        length=size(expression),
        parameters=len(free_parameters(expression)),
        features=len(fields(expression)),
        depth=depth(expression),
        lookback=lookback(expression),
    )


def excess(measured: Complexity, limits: ComplexityLimits) -> str | None:
    """Return the first limit broken as text (`length 30 > 24`), None where all are kept."""
    for name in ("length", "parameters", "features", "depth", "lookback"):
        value, limit = getattr(measured, name), getattr(limits, name)
        if value > limit:
            return f"{name} {value} > {limit}"
    return None


def redundancy(expression: Expression) -> str | None:
    """Return the first operator that is given the same series twice as text, None if there is none.

    Such a call is a constant, or a longer way to write its argument.
    """
    for node in walk(expression):
        series = [arg for arg in node.args if not isinstance(arg, Constant)]
        if len(set(series)) < len(series):
            return f"{node} has the same argument twice"
    return None


@dataclass(frozen=True, slots=True)
class Regularisation:
    """R_g and what it is made of.

    Parameters
    ----------
    length, parameters : int
        SL and PC.
    similarity : int
        S: nodes of the largest common subtree with the references.
    alignment : float
        C in [0, 1]: how well hypothesis, description and expression agree.
    features : int
        |F|: distinct raw features.
    weights : Weights
        Of the parts.
    """

    length: int
    parameters: int
    similarity: int
    alignment: float
    features: int
    weights: Weights

    @property
    def exploration(self) -> float:
        """ER, lower is better."""
        return (
            self.weights.similarity * self.similarity
            + self.weights.alignment * (1.0 - self.alignment)
            + self.weights.features * log(1 + self.features)
        )

    @property
    def total(self) -> float:
        """R_g, lower is better."""
        counted = self.weights.length * self.length + self.weights.parameters * self.parameters
        return counted + self.exploration

    def to_json(self) -> dict[str, float | int]:
        """Return the parts under the paper's names, unweighted, with the sums they lead to."""
        return {
            "SL": self.length,
            "PC": self.parameters,
            "S": self.similarity,
            "C": self.alignment,
            "F": self.features,
            "log(1+F)": log(1 + self.features),
            "ER": self.exploration,
            "R_g": self.total,
        }


def regulariser(
    measured: Complexity, *, similarity: int, alignment: float, weights: Weights
) -> Regularisation:
    """Return R_g with its parts.

    Parameters
    ----------
    measured : Complexity
        Of the candidate.
    similarity, alignment, weights
        See `Regularisation`.
    """
    return Regularisation(
        length=measured.length,
        parameters=measured.parameters,
        similarity=similarity,
        alignment=alignment,
        features=measured.features,
        weights=weights,
    )


def regularisation(
    measured: Complexity, *, similarity: int, alignment: float, weights: Weights
) -> float:
    """Return R_g, lower is better; see `regulariser`."""
    return regulariser(measured, similarity=similarity, alignment=alignment, weights=weights).total
