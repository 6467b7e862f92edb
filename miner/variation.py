"""Mutation, crossover and repair of expressions; what is scale-free stays so."""

from __future__ import annotations

from numpy.random import Generator

from miner.neighbourhood import moved, moves
from miner.sampling import Vocabulary, one, sample
from miner.trees import nodes, rebuilt
from miner.units import RATIO, is_scale_free, unit
from signals.errors import ExpressionError
from signals.expression import Call, Constant, Expression, call, fields, negate

#: Share of mutations that are one step, one random subtree, and one random second term.
STEP, SUBTREE = 0.5, 0.85
#: Share of the steps that are far ones (`miner.neighbourhood`).
FAR = 0.35


def mutated(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Return a scale-free `expression` after one random mutation; it may come back unchanged."""
    kind = rng.random()
    try:
        if kind < STEP:
            return step(expression, words, rng)
        if kind < SUBTREE:
            child = change_subtree(expression, words, rng)
        else:
            child = combine(expression, words, rng)
    except ExpressionError:  # constants that met and have no value
        return expression
    return child if fields(child) and is_scale_free(child) else expression


def step(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Return a random neighbour; `miner.neighbourhood` has all of them."""
    around = moves(expression, words, far=rng.random() < FAR)
    if not around:
        return expression
    return moved(expression, *one(around, rng)) or expression


def change_subtree(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Replace one subtree by a random one of its unit."""
    places = [
        (path, measured)
        for path, node in nodes(expression)
        if not isinstance(node, Constant) and (measured := unit(node)) is not None
        if measured == RATIO or measured in words.units
    ]
    path, measured = one(places, rng)
    return rebuilt(expression, path, sample(measured, int(rng.integers(1, 4)), words, rng))


def combine(expression: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Join the whole with a random second term, as ranks or as a product."""
    other = sample(RATIO, int(rng.integers(2, 4)), words, rng)
    return joined(expression, other, rng, alike=rng.random() < 0.5)


def joined(
    left: Expression, right: Expression, rng: Generator, *, alike: bool = True
) -> Expression:
    """Return two pure numbers as one: as the sum or product of their ranks, or as a product.

    Ranks weigh both alike, whatever their spread. Where high values of the one go with low values
    of the other (`alike` is false), the second counts the other way round.
    """
    op = one(("TOTAL", "TOTAL", "MULTIPLY", "PRODUCT"), rng)
    if op == "PRODUCT":
        return call("MULTIPLY", left, right)
    if op == "TOTAL":
        return call("ADD" if alike else "SUBTRACT", call("RANK", left), call("RANK", right))
    return call("MULTIPLY", call("RANK", left), call("RANK", right if alike else negate(right)))


def crossed(left: Expression, right: Expression, rng: Generator) -> Expression:
    """Return `left` with one subtree replaced by one of `right` of the same unit."""
    grafts = [(node, unit(node)) for _, node in nodes(right) if isinstance(node, Call)]
    places = [(path, unit(node)) for path, node in nodes(left) if not isinstance(node, Constant)]
    fitting = [(path, graft) for path, u in places for graft, g in grafts if path and g == u]
    if not fitting:
        return left
    path, graft = one(fitting, rng)
    try:
        child = rebuilt(left, path, graft)
    except ExpressionError:  # constants that met and have no value
        return left
    return child if fields(child) and is_scale_free(child) else left
