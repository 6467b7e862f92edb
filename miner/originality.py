"""Originality: the largest common isomorphic subtree with factors that are known already.

Trees are compared in canonical form (`signals.expression.call`), so swapped arguments of MAX, ADD
for + and the like are no difference, and once more *blind* to numbers, so that neither is a
changed window. Source: arXiv 2502.16789, equations (5) and (6).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from signals.expression import Call, Constant, Expression, Field, size
from signals.operators import OPERATORS

#: Operators that do not change how one session ranks its assets when they stand at the root.
MONOTONE = frozenset({"RANK", "ZSCORE"})


def core(expression: Expression) -> Expression:
    """Return what is left when the root is stripped of all that leaves |RankIC| as it is.

    RANK and ZSCORE of x, x times or over a number, x plus or minus a number all rank assets as x
    does, or in the contrary order.
    """
    while isinstance(expression, Call):
        inner = _inside(expression)
        if inner is None:
            break
        expression = inner
    return expression


def _inside(node: Call) -> Expression | None:
    """Return the argument `node` is a monotone function of, if it is one."""
    if node.op in MONOTONE:
        return node.args[0]
    if node.op in ("ADD", "SUBTRACT", "MULTIPLY", "DIVIDE"):
        series = [arg for arg in node.args if not isinstance(arg, Constant)]
        divides_number = node.op == "DIVIDE" and isinstance(node.args[0], Constant)
        if len(series) == 1 and not divides_number:
            return series[0]
    return None


@dataclass(frozen=True, slots=True)
class Similarity:
    """How much of a candidate is known.

    Parameters
    ----------
    common : int
        Nodes of the largest subtree it shares with a reference, numbers included.
    common_blind : int
        The same, with all numbers taken as equal.
    length : int
        Nodes of the candidate's core.
    copy : bool
        Whether its whole core equals the whole core of a reference, numbers taken as equal.
    """

    common: int
    common_blind: int
    length: int
    copy: bool


class SubtreeIndex:
    """All subtrees of a set of expressions.

    One query costs the candidate's nodes, whatever the size of the set. A subtree gets a number
    when it is first seen; two isomorphic subtrees have one number, because the key of a node is its
    operator and its arguments' numbers.
    """

    def __init__(self, references: Iterable[Expression] = ()) -> None:
        self._numbers: tuple[dict[Hashable, int], dict[Hashable, int]] = ({}, {})
        self._roots: set[int] = set()
        for reference in references:
            self.add(reference)

    def add(self, expression: Expression) -> None:
        """Add `expression`, its core as a whole and all its subtrees."""
        stripped = core(expression)
        for blind in (False, True):
            root = self._intern(stripped, blind=blind)
            if blind:
                self._roots.add(root)
            self._intern(expression, blind=blind)

    def similarity(self, expression: Expression) -> Similarity:
        """Return how much of `expression` is in the index."""
        stripped = core(expression)
        root, blind = self._largest(stripped, blind=True)
        return Similarity(
            common=self._largest(stripped, blind=False)[1],
            common_blind=blind,
            length=size(stripped),
            copy=root in self._roots,
        )

    def _intern(self, node: Expression, *, blind: bool) -> int:
        numbers = self._numbers[blind]
        children = (
            [self._intern(arg, blind=blind) for arg in node.args] if isinstance(node, Call) else []
        )
        return numbers.setdefault(_key(node, children, blind=blind), len(numbers))

    def _largest(self, node: Expression, *, blind: bool) -> tuple[int | None, int]:
        """Return the number of `node`, if known, and the size of the largest known subtree."""
        numbers = self._numbers[blind]
        if not isinstance(node, Call):
            number = numbers.get(_key(node, [], blind=blind))
            return number, 0 if number is None else 1
        below = [self._largest(arg, blind=blind) for arg in node.args]
        children = [number for number, _ in below if number is not None]
        if len(children) == len(below):
            number = numbers.get(_key(node, children, blind=blind))
            if number is not None:
                return number, size(node)
        return None, max(largest for _, largest in below)


def _key(node: Expression, children: list[int], *, blind: bool) -> Hashable:
    """Return what isomorphic nodes share."""
    if isinstance(node, Field):
        return ("$", node.name)
    if isinstance(node, Constant):
        return ("#", None if blind else node.value)
    ordered = sorted(children) if OPERATORS[node.op].commutative else children
    return (node.op, *ordered)


@dataclass(frozen=True, slots=True)
class OriginalityLimits:
    """What a candidate may share with the references.

    Parameters
    ----------
    nodes : int
        A common subtree (numbers taken as equal) up to this many nodes is always allowed.
    share : float
        Beyond that, the part of the candidate the common subtree may make up.
    """

    nodes: int = 8
    share: float = 0.5


def borrowed(similarity: Similarity, limits: OriginalityLimits) -> str | None:
    """Return why the candidate is not original as text, None where it is."""
    if similarity.copy:
        return "the same tree as a known factor, up to numbers"
    share = similarity.common_blind / similarity.length
    if similarity.common_blind > limits.nodes and share > limits.share:
        return f"shares {similarity.common_blind} of {similarity.length} nodes with a known factor"
    return None
