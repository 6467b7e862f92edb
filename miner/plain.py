"""The plain form: an expression with all its numbers taken as equal.

Two expressions have one plain form if they differ in windows and constants only, in the order or
grouping of what may be reordered and regrouped, in a factor that is a number, in where a sign
stands, or in coats (`miner.coats`) under a rank. A number that is added is left out where it
changes no order in the end, and everywhere if it is tiny; but x * y is not x * (y + 1). A product
with its quotients is one node with many operands, and so is a sum with its differences: x * y / z
is x / z * y. x - DELAY(x, n) is DELTA(x, n), and x / DELAY(x, n) is 1 + TS_PCTCHANGE(x, n). No
other rule moves anything across a division or out of an operator.

A plain form is known by a hash of 64 bits: for a million forms, two have the same one by chance
with a probability of 3e-8. Hashes are the same in every process of one Python version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations
from typing import NamedTuple

from miner.coats import peel
from miner.symmetries import (
    BILINEAR,
    EVEN,
    EXCHANGED,
    MIRRORS,
    ODD,
    ORDER_OF_ASSETS,
    ORDER_OF_SESSIONS,
    RANKS,
    SAME,
    SHIFTED,
    UNSHIFTED,
)
from signals.expression import Call, Constant, Expression, Field
from signals.operators import OPERATORS, Operator

_SUM, _PRODUCT, _RAISED = "+", "*", "+#"
_CHAINS = {"ADD": _SUM, "SUBTRACT": _SUM, "MULTIPLY": _PRODUCT, "DIVIDE": _PRODUCT}
_ARITHMETIC = frozenset(_CHAINS)
_CHAINS |= {op: op for op in ("MAX", "MIN", "AND", "OR")}
#: Chains that are another chain, turned, where all their operands are: 1 / x / y is 1 / (x * y).
_TURNABLE = frozenset({_SUM, _PRODUCT, "MAX", "MIN"})
#: Added numbers up to this size keep a denominator from being 0, and say nothing.
_TINY = 1e-3
#: Chains of up to this many operands are known by all their parts, longer ones by their runs.
_ALL_PARTS = 6


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain form of an expression.

    Parameters
    ----------
    sign : int
        -1 where the expression is the form turned, else 1.
    key : int
        The hash of the form.
    size : int
        Nodes; a chain of k operands has k - 1 besides theirs.
    shifted : bool
        Whether the expression is the form plus a number.
    numbers : tuple of float
        What the form is blind to, in its order: windows, constants, factors but for 1 and -1.
    parts : tuple of (int, int)
        Key and size of each part of a chain of three operands or more.
    below : tuple of Plain
        Forms of the arguments.
    chain : tuple of Operand
        The operands, if this is a chain.
    kind : str
        Its operator; for sums and products one for all.
    """

    sign: int
    key: int
    size: int
    shifted: bool = False
    numbers: tuple[float, ...] = ()
    parts: tuple[tuple[int, int], ...] = ()
    below: tuple[Plain, ...] = ()
    chain: tuple[Operand, ...] = ()
    kind: str = ""

    @property
    def is_number(self) -> bool:
        """Whether this is a number and nothing else."""
        return self.key == _NUMBER.key


class Operand(NamedTuple):
    """One operand of a chain, and whether it is subtracted, divided by or turned."""

    key: int
    turned: bool
    form: Plain


@lru_cache(maxsize=1 << 13)
def plain(expression: Expression) -> Plain:
    """Return the plain form of a canonical expression."""
    if isinstance(expression, Field):
        return Plain(1, _hash("$", word(expression.name)), 1)
    if isinstance(expression, Constant):
        return replace(_NUMBER, numbers=(expression.value,))
    forms = tuple(_argument(expression.op, place, x) for place, x in enumerate(expression.args))
    if expression.op in _CHAINS:
        return _affine(expression, forms) or _built_chain(expression.op, forms)
    return _called(OPERATORS[expression.op], forms)


def _argument(op: str, place: int, arg: Expression) -> Plain:
    """Return the form of an argument, without coats where only its order counts."""
    if place == 0 and op in (ORDER_OF_ASSETS | ORDER_OF_SESSIONS):
        sign, inner = peel(arg, of_session=op in ORDER_OF_ASSETS)
        form = plain(inner)
        return replace(form, sign=sign * form.sign)
    return plain(arg)


def _affine(node: Call, forms: Sequence[Plain]) -> Plain | None:
    """Return the form of x times, over, plus or minus a number; None of any other call."""
    number = next((arg.value for arg in node.args if isinstance(arg, Constant)), None)
    form = next((form for form in forms if not form.is_number), None)
    if number is None or form is None or node.op not in _ARITHMETIC:
        return None
    if node.op in ("ADD", "SUBTRACT"):
        turned = node.op == "SUBTRACT" and form is forms[1]
        sign = -form.sign if turned else form.sign
        shifted = form.shifted or abs(number) > _TINY
        numbers = (
            *form.numbers,
            sign * (-number if node.op == "SUBTRACT" and not turned else number),
        )
        return replace(form, sign=sign, shifted=shifted, numbers=numbers)
    if node.op == "DIVIDE" and form is forms[1]:
        return None
    factor = abs(1 / number if node.op == "DIVIDE" else number)
    numbers = form.numbers if factor == 1 else (*form.numbers, factor)
    return replace(form, sign=-form.sign if number < 0 else form.sign, numbers=numbers)


def _called(operator: Operator, forms: Sequence[Plain]) -> Plain:
    """Return the form of a call that is no chain."""
    op, sign = SAME.get(operator.name, operator.name), 1
    shifted = op in SHIFTED and forms[0].shifted
    if op not in (SHIFTED | UNSHIFTED):
        forms = tuple(map(_raised, forms))
    marks = [form.sign < 0 for form in forms]
    if op in ODD:
        sign, marks[0] = forms[0].sign, False
        shifted = shifted or (op in RANKS and sign < 0)
    elif op in EVEN:
        marks[0] = False
    elif op in BILINEAR:
        sign, marks = forms[0].sign * forms[1].sign, [False] * len(forms)
    elif marks[0] and op in MIRRORS:
        op, sign, marks[0] = MIRRORS[op], -1, False
    elif marks[0] and op in EXCHANGED:
        op, marks[0] = EXCHANGED[op], False
    if op == "REGRESI":
        marks[1] = False
    known = [
        (_hash("-", f.key) if mark else f.key, f.numbers)
        for f, mark in zip(forms, marks, strict=True)
    ]
    if operator.commutative:
        series = operator.arguments.count("series")
        known[:series] = sorted(known[:series])
    return Plain(
        sign=sign,
        key=_hash(op, *(key for key, _ in known)),
        size=1 + sum(form.size for form in forms),
        shifted=shifted,
        numbers=tuple(number for _, numbers in known for number in numbers),
        below=tuple(forms),
        kind=op,
    )


def _raised(form: Plain) -> Plain:
    """Return a form that is plus a number as one that says so, for where it matters."""
    if not form.shifted:
        return form
    return Plain(
        form.sign,
        _hash(_RAISED, form.key),
        form.size,
        numbers=form.numbers,
        below=(form,),
        kind=_RAISED,
    )


def _built_chain(op: str, forms: Sequence[Plain]) -> Plain:
    """Return the form of a sum, a product, or a chain of another associative operator."""
    kind, sign, shifted = _CHAINS[op], 1, False
    if kind == _SUM:
        shifted = any(form.shifted for form in forms)
    else:
        forms = tuple(map(_raised, forms))
    if kind == _PRODUCT:
        sign = forms[0].sign * forms[1].sign
        forms = tuple(replace(form, sign=1) for form in forms)
    operands = _operands(kind, forms[0], against=False)
    operands += _operands(kind, forms[1], against=op in ("SUBTRACT", "DIVIDE"))
    if kind in (_SUM, _PRODUCT):
        operands = _without_numbers(kind, _contracted(kind, operands))
    form = _chained(kind, operands, sign)
    return replace(form, shifted=form.shifted or shifted)


def _operands(kind: str, form: Plain, *, against: bool) -> list[Operand]:
    """Return the operands a form brings into a chain."""
    against = against != (form.sign < 0)
    if form.kind == kind and (kind in (_SUM, _PRODUCT) or not against):
        return [Operand(key, own != against, part) for key, own, part in form.chain]
    return [Operand(form.key, against, replace(form, sign=1, shifted=False))]


def _contracted(kind: str, operands: list[Operand]) -> list[Operand]:
    """Write x with its own delay as a change: DELTA in a sum, TS_PCTCHANGE in a product."""
    for late in operands:
        if late.form.kind != "DELAY" or (kind == _PRODUCT and not late.turned):
            continue
        wanted = (late.form.below[0].key, not late.turned)
        now = next((x for x in operands if x[:2] == wanted), None)
        if now is not None:
            change = OPERATORS["DELTA" if kind == _SUM else "TS_PCTCHANGE"]
            form = _called(change, [now.form, late.form.below[1]])
            form = form if kind == _SUM else _raised(replace(form, shifted=True))
            rest = [x for x in operands if x is not late and x is not now]
            return _contracted(kind, [*rest, Operand(form.key, now.turned, form)])
    return operands


def _without_numbers(kind: str, operands: list[Operand]) -> list[Operand]:
    """Drop numbers, but for one over a product: 1 / x is not x."""
    rest = [x for x in operands if not x.form.is_number]
    if not rest or (kind == _PRODUCT and all(x.turned for x in rest)):
        return [*rest, Operand(_NUMBER.key, turned=False, form=_NUMBER)]
    return rest


def _chained(kind: str, operands: Sequence[Operand], sign: int) -> Plain:
    """Return the form of a chain with its parts."""
    if len(operands) == 1:
        form, turned, shifted = operands[0].form, operands[0].turned, False
        if form.kind == _RAISED:
            form, shifted = form.below[0], True
        return replace(form, sign=-sign if turned else sign, shifted=shifted)
    whole = _normal(kind, operands)
    parts = ((_normal(kind, part).key, _size(part)) for part in _parts(whole.operands))
    return Plain(
        sign=-sign if whole.turned else sign,
        key=whole.key,
        size=_size(operands),
        numbers=tuple(number for x in whole.operands for number in x.form.numbers),
        parts=tuple(parts),
        below=tuple(x.form for x in operands),
        chain=whole.operands,
        kind=whole.kind,
    )


class _Normal(NamedTuple):
    """A chain in its one order, turned where that comes first."""

    key: int
    turned: bool
    kind: str
    operands: tuple[Operand, ...]


def _normal(kind: str, operands: Sequence[Operand]) -> _Normal:
    """Return the one form of a chain or of a part of it."""
    ordered = tuple(sorted(operands, key=_order_with_numbers))
    turned = kind in _TURNABLE and all(x.turned for x in operands)
    if turned or kind == _SUM:
        other = [x._replace(turned=not x.turned) for x in operands]
        other.sort(key=_order_with_numbers)
        turned = turned or list(map(_order, other)) < list(map(_order, ordered))
        ordered = tuple(other) if turned else ordered
    kind = MIRRORS.get(kind, kind) if turned else kind
    key = _hash(kind, *(number for x in ordered for number in _order(x)))
    return _Normal(key, turned, kind, ordered)


def _order(operand: Operand) -> tuple[int, int]:
    return operand[0], int(operand[1])


def _order_with_numbers(operand: Operand) -> tuple[int, bool, tuple[float, ...]]:
    return operand.key, operand.turned, operand.form.numbers


def _parts(operands: Sequence[Operand]) -> Iterable[Sequence[Operand]]:
    """Return the parts of a chain of two operands or more, the whole left out."""
    count = len(operands)
    if count <= _ALL_PARTS:
        return [part for k in range(2, count) for part in combinations(operands, k)]
    return [operands[i:j] for i in range(count) for j in range(i + 2, count + 1) if j - i < count]


def _size(operands: Sequence[Operand]) -> int:
    return sum(x.form.size for x in operands) + len(operands) - 1


def _hash(op: str, *keys: int) -> int:
    return hash((word(op), *keys))


@lru_cache(maxsize=1 << 10)
def word(text: str) -> int:
    """Return a number for a name or a symbol, the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest())


_NUMBER = Plain(1, word("#"), 1)
