"""Simpler forms of an expression: steps that leave it with fewer nodes."""

from __future__ import annotations

from miner.neighbourhood import moves
from miner.sampling import Vocabulary
from miner.trees import Path, nodes
from signals.expression import Expression, size


def shrinking(expression: Expression, words: Vocabulary) -> list[tuple[Path, Expression]]:
    """Return the steps from `expression` that put less in a place than stands there.

    An argument takes the place of its call, or a feature that of a longer pure number. As with
    `miner.neighbourhood.moves`, what a step leads to is not made yet.
    """
    sizes = {path: size(node) for path, node in nodes(expression)}
    around = (*moves(expression, words), *moves(expression, words, far=True))
    return [(path, new) for path, new in around if size(new) < sizes[path]]
