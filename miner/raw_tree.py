"""Trees as AlphaAgent's regulator reads them: nothing is canonicalised, no name is looked up.

This is the compatibility mode. Its grammar, node counts and similarity are those of
`factor_ast.py` of the published code (RndmVariableQ/AlphaAgent, commit 1da96e9): a minus is a sign
only where a digit follows it and no operand precedes it, all numbers are floats, and only the
operands of + * == != && || may be swapped. The miner itself compares with `miner.originality`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lark import Lark, Token, v_args
from lark.exceptions import UnexpectedInput
from lark.visitors import Transformer_NonRecursive

from signals.errors import ExpressionError

GRAMMAR = r"""
?start: choice
?choice: either | either "?" choice ":" choice -> conditional
?either: both | either OR both -> binary
?both: compared | both AND compared -> binary
?compared: sum | compared COMPARISON sum -> binary
?sum: product | sum SIGN product -> binary
?product: atom | product TIMES atom -> binary
?atom: NUMBER -> number
    | NAME -> name
    | NAME "(" [choice ("," choice)*] ")" -> function
    | "(" choice ")"
OR: "||" | "|"
AND: "&&" | "&"
COMPARISON: ">=" | "<=" | "==" | "!=" | ">" | "<"
SIGN: "+" | "-"
TIMES: "*" | "/"
NAME: /\$?[A-Za-z][A-Za-z0-9_]*/
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?/
%ignore /[ \t\r\n]+/
"""

#: Operators whose two operands may be swapped.
COMMUTATIVE = frozenset({"+", "*", "==", "!=", "&&", "&", "||", "|"})


@dataclass(frozen=True, slots=True)
class RawTree:
    """A node and what is below it.

    Parameters
    ----------
    label : str
        Name, number, or symbol of the operator; a function's name ends in "(".
    args : tuple of RawTree
        Operands.
    """

    label: str
    args: tuple[RawTree, ...] = ()

    def walk(self) -> Iterator[RawTree]:
        """Yield every node, the root first."""
        yield self
        for arg in self.args:
            yield from arg.walk()

    @property
    def size(self) -> int:
        """Number of nodes."""
        return sum(1 for _ in self.walk())

    @property
    def constants(self) -> int:
        """Number of numeric nodes."""
        return sum(_is_number(node) for node in self.walk())

    @property
    def variables(self) -> frozenset[str]:
        """Distinct leaves that begin with a dollar sign."""
        return frozenset(node.label for node in self.walk() if node.label[0] == "$")


def parse_raw(text: str) -> RawTree:
    """Return the tree of `text`, as it is written.

    Raises
    ------
    ExpressionError
        If the regulator's grammar does not read it.
    """
    try:
        tree: RawTree = _Builder().transform(_parser().parse(text))
    except UnexpectedInput as error:
        raise ExpressionError(
            f"{text!r} is not read by the regulator's grammar: column {error.column}",
            rule="a sign stands before a digit only; there is no !, ^ or %",
            hint="write -1 * $close for -$close",
        ) from None
    return tree


def largest_common(a: RawTree, b: RawTree) -> int:
    """Return the nodes of the largest subtree of `a` that is isomorphic to one of `b`."""
    known = {_ordered(node) for node in b.walk()}
    return max((node.size for node in a.walk() if _ordered(node) in known), default=0)


def _ordered(tree: RawTree) -> RawTree:
    """Return `tree` with operands that may be swapped in one order."""
    args = tuple(map(_ordered, tree.args))
    return RawTree(tree.label, tuple(sorted(args, key=repr)) if _swaps(tree) else args)


def _swaps(tree: RawTree) -> bool:
    return tree.label in COMMUTATIVE


def _is_number(tree: RawTree) -> bool:
    return tree.label[0] in "+-.0123456789" and tree.label not in ("+", "-")


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


@v_args(inline=True)
class _Builder(Transformer_NonRecursive[Token, RawTree]):
    """Builds trees from the leaves up."""

    def number(self, token: Token) -> RawTree:
        return RawTree(repr(float(token)))

    def name(self, token: Token) -> RawTree:
        return RawTree(str(token))

    def function(self, token: Token, *args: RawTree) -> RawTree:
        return RawTree(f"{token}(", args)

    def binary(self, left: RawTree, symbol: Token, right: RawTree) -> RawTree:
        return RawTree(str(symbol), (left, right))

    def conditional(self, condition: RawTree, yes: RawTree, no: RawTree) -> RawTree:
        return RawTree("?", (condition, yes, no))
