"""Mutation, crossover and simplification of expressions; what is scale-free stays so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from numpy.random import Generator

from miner.sampling import Vocabulary, one, sample
from miner.units import FIELD_UNITS, RATIO, is_scale_free, unit
from signals.errors import ExpressionError
from signals.expression import Call, Constant, Expression, Field, call, fields

#: Positions of a node from the root: argument numbers.
Path = tuple[int, ...]

#: Operators that take the same arguments and mean something near.
FAMILIES: tuple[frozenset[str], ...] = (
    frozenset({"TS_MEAN", "EMA", "DECAYLINEAR", "TS_MAX", "TS_MIN", "DELAY"}),
    frozenset({"TS_RANK", "TS_ZSCORE", "TS_PCTCHANGE"}),
    frozenset({"TS_STD", "TS_MEAN", "DELTA"}),
    frozenset({"TS_ARGMAX", "TS_ARGMIN"}),
    frozenset({"TS_CORR", "TS_COVARIANCE"}),
    frozenset({"ADD", "SUBTRACT", "MAX", "MIN"}),
    frozenset({"MULTIPLY", "DIVIDE"}),
    frozenset({"RANK", "ZSCORE", "SIGN"}),
)
_INFIX = frozenset({"ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "MAX", "MIN", "POW"})
_WRAPPERS = ("TS_MEAN", "DECAYLINEAR", "TS_ZSCORE", "TS_RANK", "TS_STD", "DELTA", "RANK", "ABS")


def nodes(expression: Expression) -> Iterator[tuple[Path, Expression]]:
    """Yield every node with its path, the root first."""
    yield (), expression
    for number, arg in enumerate(expression.args):
        for path, node in nodes(arg):
            yield (number, *path), node


def replaced(expression: Expression, path: Path, new: Expression) -> Expression:
    """Return `expression` in canonical form with the node at `path` replaced by `new`."""
    if not path:
        return new
    assert isinstance(expression, Call)  # noqa: S101 - a path comes from `nodes`
    args = list(expression.args)
    args[path[0]] = replaced(args[path[0]], path[1:], new)
    return call(expression.op, *args)


def change_window(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Move one window to a neighbour on its ladder."""
    places = [
        ((*path, number), node.op, arg.value)
        for path, node in nodes(expression)
        if isinstance(node, Call) and node.op not in _INFIX
        for number, arg in enumerate(node.args)
        if isinstance(arg, Constant)
    ]
    if not places:
        return expression
    path, op, value = one(places, rng)
    ladder = words.ladder(op)
    nearest = min(range(len(ladder)), key=lambda i: abs(ladder[i] - value))
    step = int(rng.choice((-2, -1, 1, 2)))
    window = ladder[min(max(nearest + step, 0), len(ladder) - 1)]
    return replaced(expression, path, Constant(float(window)))


def change_field(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Replace one field by another of its unit."""
    places = [(path, node.name) for path, node in nodes(expression) if isinstance(node, Field)]
    path, name = one(places, rng)
    others = [f for f in words.alike(FIELD_UNITS[name]) if f != name]
    return replaced(expression, path, Field(one(others, rng))) if others else expression


def change_operator(expression: Expression, _: Vocabulary, rng: Generator) -> Expression:
    """Replace one operator by another of its family."""
    places = [
        (path, node, [op for op in sorted(family) if op != node.op])
        for path, node in nodes(expression)
        if isinstance(node, Call)
        for family in FAMILIES
        if node.op in family
    ]
    if not places:
        return expression
    path, node, ops = one(places, rng)
    return replaced(expression, path, call(one(ops, rng), *node.args))


def change_subtree(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Replace one subtree by a random one of its unit."""
    places = [
        (path, measured)
        for path, node in nodes(expression)
        if not isinstance(node, Constant) and (measured := unit(node)) is not None
        if measured == RATIO or measured in words.units
    ]
    path, measured = one(places, rng)
    return replaced(expression, path, sample(measured, int(rng.integers(1, 4)), words, rng))


def hoist(expression: Expression, _: Vocabulary, rng: Generator) -> Expression:
    """Simplify: put a node's own descendant of the same unit in its place."""
    places = [
        (path, below)
        for path, node in nodes(expression)
        if isinstance(node, Call)
        for deeper, below in nodes(node)
        if deeper and not isinstance(below, Constant) and unit(below) == unit(node)
    ]
    if not places:
        return expression
    path, below = one(places, rng)
    return replaced(expression, path, below)


def wrap(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Put an operator of one series around a node that is a pure number."""
    places = [
        path
        for path, node in nodes(expression)
        if not isinstance(node, Constant) and unit(node) == RATIO
    ]
    path = one(places, rng)
    node = expression
    for number in path:
        node = node.args[number]
    op = one(_WRAPPERS, rng)
    if op in ("RANK", "ABS"):
        return replaced(expression, path, call(op, node))
    return replaced(expression, path, call(op, node, Constant(float(one(words.ladder(op), rng)))))


def combine(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Join the whole with a random second term, as ranks or as a product."""
    other = sample(RATIO, int(rng.integers(2, 4)), words, rng)
    op = one(("ADD", "SUBTRACT", "MULTIPLY", "PRODUCT"), rng)
    if op == "PRODUCT":
        return call("MULTIPLY", expression, other)
    return call(op, call("RANK", expression), call("RANK", other))


#: Mutations with their weights.
MUTATIONS: tuple[tuple[Callable[[Expression, Vocabulary, Generator], Expression], float], ...] = (
    (change_window, 3.0),
    (change_field, 2.0),
    (change_operator, 2.0),
    (change_subtree, 3.0),
    (hoist, 2.0),
    (wrap, 2.0),
    (combine, 1.0),
)


def mutated(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Return a scale-free `expression` after one random mutation; it may come back unchanged."""
    point = rng.random() * sum(weight for _, weight in MUTATIONS)
    for mutation, weight in MUTATIONS:
        point -= weight
        if point < 0:
            try:
                child = mutation(expression, words, rng)
            except ExpressionError:  # a window too short for its new operator, or no number left
                return expression
            return child if fields(child) and is_scale_free(child) else expression
    return expression


def crossed(left: Expression, right: Expression, rng: Generator) -> Expression:
    """Return `left` with one subtree replaced by one of `right` of the same unit."""
    grafts = [node for _, node in nodes(right) if isinstance(node, Call)]
    places = [(path, unit(node)) for path, node in nodes(left) if not isinstance(node, Constant)]
    fitting = [(path, graft) for path, u in places for graft in grafts if path and unit(graft) == u]
    if not fitting:
        return left
    path, graft = one(fitting, rng)
    try:
        return replaced(left, path, graft)
    except ExpressionError:  # constants that met and have no value
        return left
