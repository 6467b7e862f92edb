"""Originality: the largest common isomorphic subtree with factors that are known already.

Trees are compared twice: as they are in canonical form (`signals.expression.call`), and in plain
form (`miner.plain`), blind to windows and constants, to grouping, coats and where a sign stands.
Source: arXiv 2502.16789, equations (5) and (6), where S is a number of nodes; S as a share of the
candidate is ours, because 9 common nodes of 10 are a copy and 9 of 40 are an idea in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from miner.coats import core
from miner.plain import Plain, plain, word
from signals.expression import Call, Constant, Expression, Field, size

__all__ = [
    "OriginalityLimits",
    "Similarity",
    "SubtreeIndex",
    "Tried",
    "borrowed",
    "core",
    "tree_hash",
]


@dataclass(frozen=True, slots=True)
class Similarity:
    """How much of a candidate is known.

    Parameters
    ----------
    common : int
        Nodes of the largest subtree its core shares with a reference, numbers included.
    common_blind : int
        Nodes of the largest part its plain form shares with that of a reference.
    length : int
        Nodes of its core.
    length_blind : int
        Nodes of its core's plain form.
    copy : bool
        Whether its whole core equals the whole core of a reference in plain form.
    reference : str
        Name of the first reference that has the largest common part; "" if it has no name, or if
        nothing is in common.
    """

    common: int
    common_blind: int
    length: int
    length_blind: int
    copy: bool
    reference: str = ""

    @property
    def share(self) -> float:
        """`common` as a share of the core, in [0, 1]."""
        return self.common / self.length

    @property
    def share_blind(self) -> float:
        """`common_blind` as a share of the core's plain form, in [0, 1]."""
        return self.common_blind / self.length_blind


class Tried:
    """What one search has measured: no factor twice, and none in ever more windows.

    Evolution needs neighbours, so another window is no copy here. But each is a trial of its own,
    and to try every window of one formula is to fit the windows.
    """

    def __init__(self, expressions: Iterable[Expression] = ()) -> None:
        self._factors: set[tuple[int, tuple[float, ...]]] = set()
        self._forms: Counter[int] = Counter()
        for expression in expressions:
            self.add(expression)

    def add(self, expression: Expression) -> None:
        """Note that `expression` was tried; a second time makes no difference."""
        form = plain(core(expression))
        if (form.key, form.numbers) not in self._factors:
            self._factors.add((form.key, form.numbers))
            self._forms[form.key] += 1

    def repeats(self, expression: Expression, limits: OriginalityLimits) -> str | None:
        """Return why it need not be tried as text, None where it is new.

        The same factor is the same plain form with the same numbers in the same places.
        """
        form = plain(core(expression))
        if (form.key, form.numbers) in self._factors:
            return "the same factor was tried before"
        if self._forms[form.key] >= limits.variants:
            return f"tried with {self._forms[form.key]} other sets of numbers before"
        return None


class SubtreeIndex:
    """All subtrees of a set of expressions, as 64-bit hashes with the first that has each.

    A query costs the candidate's nodes, whatever the size of the set. The set costs about 100 bytes
    for each subtree that no earlier expression has; the expressions themselves are not kept.
    """

    def __init__(self, references: Iterable[Expression] = ()) -> None:
        self._names: list[str] = []
        self._subtrees: dict[int, int] = {}
        self._parts: dict[int, int] = {}
        self._wholes: dict[int, int] = {}
        for reference in references:
            self.add(reference)

    @classmethod
    def of(cls, references: Mapping[str, Expression]) -> SubtreeIndex:
        """Return an index of named expressions."""
        index = cls()
        for name, expression in references.items():
            index.add(expression, name)
        return index

    def __len__(self) -> int:
        """Return the number of expressions added."""
        return len(self._names)

    def add(self, expression: Expression, name: str = "") -> None:
        """Add `expression` under `name`: its core as a whole, and all parts of both."""
        number = len(self._names)
        self._names.append(name)
        stripped = core(expression)
        self._wholes.setdefault(plain(stripped).key, number)
        for tree in dict.fromkeys((stripped, expression)):
            self._add_subtrees(tree, number)
            self._add_parts(plain(tree), number)

    def similarity(self, expression: Expression) -> Similarity:
        """Return how much of `expression` is in the index."""
        stripped = core(expression)
        form = plain(stripped)
        whole = self._wholes.get(form.key)
        largest, found = self._largest_part(form)
        number = found if whole is None else whole
        return Similarity(
            common=self._largest_subtree(stripped),
            common_blind=largest,
            length=size(stripped),
            length_blind=form.size,
            copy=whole is not None,
            reference="" if number is None else self._names[number],
        )

    def _add_subtrees(self, tree: Expression, number: int) -> None:
        waiting = [tree]
        while waiting:
            node = waiting.pop()
            key = tree_hash(node)
            if key not in self._subtrees:  # else all below is there too
                self._subtrees[key] = number
                waiting.extend(node.args)

    def _add_parts(self, tree: Plain, number: int) -> None:
        waiting = [tree]
        while waiting:
            form = waiting.pop()
            if form.key not in self._parts:
                self._parts[form.key] = number
                waiting.extend(form.below)
            for key, _ in form.parts:
                self._parts.setdefault(key, number)

    def _largest_subtree(self, tree: Expression) -> int:
        """Return the nodes of the largest known subtree; a number alone is none."""
        largest, waiting = 0, [tree]
        while waiting:
            node = waiting.pop()
            if size(node) <= largest or isinstance(node, Constant):
                continue
            if tree_hash(node) in self._subtrees:
                largest = size(node)
            else:
                waiting.extend(node.args)
        return largest

    def _largest_part(self, tree: Plain) -> tuple[int, int | None]:
        """Return the nodes of the largest known part and the first expression that has it."""
        largest, first = 0, None
        waiting = [tree]
        while waiting:
            form = waiting.pop()
            if form.size <= largest or form.is_number:
                continue
            for key, nodes in _parts_of(form):
                if nodes > largest and key in self._parts:
                    largest, first = nodes, self._parts[key]
            if largest < form.size:
                waiting.extend(form.below)
        return largest, first


def _parts_of(form: Plain) -> Iterator[tuple[int, int]]:
    yield form.key, form.size
    yield from form.parts


@lru_cache(maxsize=1 << 13)
def tree_hash(node: Expression) -> int:
    """Return the hash of a canonical tree, numbers included."""
    if isinstance(node, Field):
        return hash((word("$"), word(node.name)))
    if isinstance(node, Constant):
        return hash((word("#"), word(repr(node.value))))  # hash(-1.0) == hash(-2.0)
    assert isinstance(node, Call)  # noqa: S101 - there is no other node
    return hash((word(node.op), *map(tree_hash, node.args)))


@dataclass(frozen=True, slots=True)
class OriginalityLimits:
    """What a candidate may share with the references.

    Parameters
    ----------
    nodes : int
        A common part (numbers taken as equal) up to this many nodes is always allowed.
    share : float
        Beyond that, the part of the candidate the common part may make up.
    variants : int
        Candidates of one search that differ in numbers only.
    """

    nodes: int = 8
    share: float = 0.5
    variants: int = 40


def borrowed(similarity: Similarity, limits: OriginalityLimits) -> str | None:
    """Return why the candidate is not original as text, None where it is."""
    reference = similarity.reference or "a known factor"
    if similarity.copy:
        return f"the same tree as {reference} up to numbers"
    if similarity.common_blind > limits.nodes and similarity.share_blind > limits.share:
        return (
            f"shares {similarity.common_blind} of {similarity.length_blind} nodes with {reference}"
        )
    return None
