"""The neighbourhood of an expression: all that one small step leads to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

from miner.originality import core
from miner.sampling import SHARES, Vocabulary, spoken
from miner.trees import Path, nodes, rebuilt
from miner.units import FIELD_UNITS, GROUPS, RATIO, is_scale_free, unit
from signals.errors import ExpressionError
from signals.expression import Call, Constant, Expression, Field, call, fields, size
from signals.operators import OPERATORS

#: Operators that take the same arguments and mean something near.
FAMILIES: tuple[frozenset[str], ...] = (
    frozenset({"TS_MEAN", "EMA", "DECAYLINEAR", "TS_MEDIAN", "TS_MAX", "TS_MIN", "DELAY"}),
    frozenset({"TS_RANK", "TS_ZSCORE", "TS_PCTCHANGE"}),
    frozenset({"TS_STD", "TS_MAD", "TS_MEAN", "DELTA"}),
    frozenset({"TS_SKEW", "TS_KURT", "TS_ZSCORE"}),
    frozenset({"TS_ARGMAX", "TS_ARGMIN", "TS_RANK"}),
    frozenset({"TS_CORR", "TS_COVARIANCE", "REGBETA", "REGRESI"}),
    frozenset({"ADD", "SUBTRACT", "MAX", "MIN"}),
    frozenset({"MULTIPLY", "DIVIDE"}),
    frozenset({"RANK", "ZSCORE", "SIGN"}),
    frozenset({"GROUP_RANK", "GROUP_ZSCORE", "GROUP_MEAN"}),
)
#: Operators with windows.
Wrappers: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]
#: Operators on one series of pure numbers, with the windows they are first tried with.
WRAPPERS: Wrappers = (
    ("TS_MEAN", (5, 20)),
    ("DECAYLINEAR", (10,)),
    ("TS_STD", (20,)),
    ("TS_ZSCORE", (20,)),
    ("TS_RANK", (20,)),
    ("TS_SKEW", (20,)),
    ("DELTA", (1, 5)),
    ("DELAY", (1, 5)),
    ("ABS", ()),
    ("SIGN", ()),
    ("RANK", ()),
)
#: The same for a price or a volume.
LEVEL_WRAPPERS: Wrappers = (
    ("TS_MEAN", (5, 20)),
    ("DELAY", (1,)),
    ("TS_STD", (20,)),
)
#: Nodes of a pure number that may be swapped for a feature.
SMALL = 8


def neighbours(expression: Expression, words: Vocabulary) -> tuple[Expression, ...]:
    """Return the scale-free expressions one step away, each once.

    A near step moves a window to the next one of its ladder, up or down; swaps a field for another
    of its unit or an operator for another of its family; or puts an argument in the place of its
    call. A far one puts an operator around a series, or a feature in the place of a small pure
    number. What ranks assets as `expression` does, or in the contrary order, is no neighbour.
    """
    found = {core(expression): expression}
    for path, new in (*moves(expression, words), *moves(expression, words, far=True)):
        child = moved(expression, path, new)
        if child is not None:
            found.setdefault(core(child), child)
    return tuple(found.values())[1:]


def moves(
    expression: Expression, words: Vocabulary, *, far: bool = False
) -> list[tuple[Path, Expression]]:
    """Return the near or far steps from `expression`: a place, and what is put there.

    What they lead to is not made yet (`moved`), and need not be a factor.
    """
    steps = _far if far else _near
    return [(path, new) for path, node in nodes(expression) for new in steps(node, words)]


def moved(expression: Expression, path: Path, new: Expression) -> Expression | None:
    """Return `expression` after a step, None where that is no scale-free factor."""
    try:
        child = rebuilt(expression, path, new)
    except ExpressionError:  # a window its operator cannot have, or no number left
        return None
    return child if fields(child) and is_scale_free(child) else None


@lru_cache(maxsize=1 << 13)  # most expressions share most of their nodes
def _near(node: Expression, words: Vocabulary) -> tuple[Expression, ...]:
    """Return what may stand in the place of `node` after a near step."""
    if isinstance(node, Field):
        alike = words.groups if node.name in GROUPS else words.alike(FIELD_UNITS[node.name])
        return tuple(Field(name) for name in alike if name != node.name)
    if not isinstance(node, Call):
        return ()
    found = [*_with_other_numbers(node, words), *_with_other_operator(node)]
    found += (arg for arg in node.args if not isinstance(arg, Constant))
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1 << 13)
def _far(node: Expression, words: Vocabulary) -> tuple[Expression, ...]:
    """Return what may stand in the place of `node` after a far step."""
    if isinstance(node, Field):
        return () if node.name in GROUPS else tuple(_wrapped(node, LEVEL_WRAPPERS))
    if not isinstance(node, Call) or unit(node) != RATIO:
        return ()
    features = spoken(words.names) if size(node) <= SMALL else ()
    return (*_wrapped(node, WRAPPERS), *features)


def _with_other_numbers(node: Call, words: Vocabulary) -> Iterator[Expression]:
    for number, (kind, arg) in enumerate(zip(OPERATORS[node.op].arguments, node.args, strict=True)):
        if not isinstance(arg, Constant) or kind == "series":
            continue
        ladder: tuple[float, ...] = words.ladder(node.op) if kind == "window" else SHARES
        below = [x for x in ladder if x < arg.value][-1:]
        above = [x for x in ladder if x > arg.value][:1]
        for value in (*below, *above):
            yield from _called(node.op, _put(node.args, number, Constant(float(value))))


def _with_other_operator(node: Call) -> Iterator[Expression]:
    for family in FAMILIES:
        if node.op in family:
            for op in sorted(family - {node.op}):
                yield from _called(op, node.args)
                if op in ("SUBTRACT", "DIVIDE"):
                    yield from _called(op, node.args[::-1])
    if node.op in ("SUBTRACT", "DIVIDE"):
        yield from _called(node.op, node.args[::-1])


def _wrapped(node: Expression, wrappers: Wrappers) -> Iterator[Expression]:
    for op, windows in wrappers:
        for window in windows or (None,):
            yield from _called(op, (node,) if window is None else (node, Constant(float(window))))


def _called(op: str, args: tuple[Expression, ...]) -> Iterator[Expression]:
    try:
        yield call(op, *args)
    except ExpressionError:
        return


def _put(args: tuple[Expression, ...], place: int, new: Expression) -> tuple[Expression, ...]:
    return (*args[:place], new, *args[place + 1 :])
