"""Canonical sums, products and signs: one form for each formula, with the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.evaluate import evaluate
from signals.expression import (
    Call,
    Constant,
    Expression,
    call,
    constant,
    fields,
    negate,
    size,
    walk,
)
from signals.grammar import parse
from signals.operators import OPERATORS
from signals.panel import Panel
from tests.signals.reference import (
    Pair,
    Reference,
    agree,
    expressions,
    field_panel,
    pairs,
    random_panel,
    unexplained,
)

#: Operators that are exact on small whole numbers, in any order.
EXACT = (
    *("ADD", "SUBTRACT", "MULTIPLY", "NEGATIVE", "MAX", "MIN", "ABS", "SIGN", "FLOOR", "WHERE"),
    *("GT", "GE", "LT", "LE", "EQ", "NE", "AND", "OR", "DELAY", "DELTA", "TS_SUM", "TS_MAX"),
    *("TS_ARGMIN", "TS_RANK", "RANK", "CS_MIN", "GROUP_RANK"),
)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        # commutative order: constants, fields, calls; then by text
        ("$close + $a", "$a + $close"),
        ("RANK($a) * $b * 2", "2 * $b * RANK($a)"),
        ("ADD($b, $a)", "$a + $b"),
        ("MULTIPLY($b, $a)", "$a * $b"),
        ("$b == $a", "$a == $b"),
        ("$b && $a", "$a && $b"),
        # sums: positive terms less negative ones, regrouped
        ("$a + ($b + $c)", "$a + $b + $c"),
        ("$a - ($b - $c)", "$a + $c - $b"),
        ("$a - $b + $c - $d", "$a + $c - $b - $d"),
        ("$a + -1 * $b", "$a - $b"),
        ("-$b + $a", "$a - $b"),
        ("SUBTRACT($a, $b)", "$a - $b"),
        ("-$a - $b", "-1 * ($a + $b)"),
        ("-1 * ($a - $b)", "$b - $a"),
        ("0 - $a", "-1 * $a"),
        ("1 + $a + 2", "3 + $a"),
        ("$a - 1 - 2", "$a - 3"),
        ("$x - -1", "1 + $x"),
        ("$a - 0", "$a"),
        ("$a + 0", "$a"),
        ("1 - $a - 1", "-1 * $a"),
        # products: one constant, in front
        ("2 * $a * 3", "6 * $a"),
        ("$a * ($b * $c)", "$a * $b * $c"),
        ("1 * $a", "$a"),
        ("-$a * $b", "-1 * $a * $b"),
        ("-$a * -$b", "$a * $b"),
        ("-2 * ($a - $b)", "2 * ($b - $a)"),
        ("$c * ($a - $b) * -1", "$c * ($b - $a)"),
        ("0 * $a", "0 * $a"),
        # quotients: no sign below, none alone above
        ("$a / 1", "$a"),
        ("$a / -2", "-1 * ($a / 2)"),
        ("-$a / $b", "-1 * ($a / $b)"),
        ("$a / -$b", "-1 * ($a / $b)"),
        ("-$a / -$b", "$a / $b"),
        ("-2 / $a", "-2 / $a"),
        ("2 / -$a", "-2 / $a"),
        ("-(($a - $b) / $c)", "($b - $a) / $c"),
        ("$a / ($b / $c)", "$a / ($b / $c)"),
        ("$a / $b * $c", "$c * ($a / $b)"),
        # signs
        ("-(-$a)", "$a"),
        ("--$a", "$a"),
        ("-(2 * $a)", "-2 * $a"),
        ("-RANK($a)", "-1 * RANK($a)"),
        # idempotent and associative operators
        ("MAX($a, $a)", "$a"),
        ("MIN(MIN($b, $a), MIN($a, $c))", "MIN(MIN($a, $b), $c)"),
        ("MAX(MAX(1, $a), 2)", "MAX(2, $a)"),
        ("$a || ($b || $c)", "$a || $b || $c"),
        # comparisons: two are mirrored, a boolean is what it is
        ("$a < $b", "$b > $a"),
        ("$a <= $b", "$b >= $a"),
        ("LT($a, $b)", "$b > $a"),
        ("($a > $b) != 0", "$a > $b"),
        ("0 != ($a && $b)", "$a && $b"),
        ("$a != 0", "0 != $a"),
        ("!$a", "0 == $a"),
        ("!!($a > $b)", "0 == (0 == ($a > $b))"),
        # choices and folding
        ("1 ? $a : $b", "$a"),
        ("0 ? $a : $b", "$b"),
        ("2 > 1 ? $a : $b", "$a"),
        ("$a + SQRT(9) * 2 ^ 3", "24 + $a"),
        ("$a + MAX(1, 2) - (3 >= 2)", "1 + $a"),
        ("$a / (4 / 2)", "$a / 2"),
    ],
)
def test_canonical_form(written: str, canonical: str) -> None:
    """A rewriting that is exact for every value leaves one tree, and so one text."""
    assert str(parse(written)) == canonical
    assert parse(canonical) is parse(written)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("$a * 2 / 2", "$a"),
        ("$a - $a", "0 * $a"),
        ("$a + $a", "2 * $a"),
        ("$a / $b / $c", "$a / ($b * $c)"),
        ("$a * ($b + $c)", "$a * $b + $a * $c"),
        ("($a * $b) / $c", "$a * ($b / $c)"),
        ("LOG(EXP($a))", "$a"),
        ("NE($a, 0)", "$a"),
    ],
)
def test_rounding_is_not_rewritten(left: str, right: str) -> None:
    """What another order of roundings, or a missing value, could tell apart stays apart."""
    assert parse(left) is not parse(right)


@given(expressions(max_leaves=10))
def test_a_sign_taken_twice_is_gone(expression: Expression) -> None:
    """Negation is its own inverse, and no sign is carried in two places."""
    assert negate(negate(expression)) is expression
    assert negate(expression) is call("MULTIPLY", constant(-1), expression)
    assert abs(size(negate(expression)) - size(expression)) <= 4


@given(expressions(max_leaves=10))
def test_sums_and_products_hold_one_constant(expression: Expression) -> None:
    """Of a chain of sums or of products at most one operand is a number; none is 0 in a sum."""
    for node in walk(expression):
        if isinstance(node, Call) and node.op in ("ADD", "SUBTRACT", "MULTIPLY"):
            family = ("MULTIPLY",) if node.op == "MULTIPLY" else ("ADD", "SUBTRACT")
            numbers = [x for x in _operands(node, family) if isinstance(x, Constant)]
            assert len(numbers) <= 1
            assert all(number.value != 0 for number in numbers if node.op != "MULTIPLY")


def _operands(node: Expression, family: tuple[str, ...]) -> list[Expression]:
    if isinstance(node, Call) and node.op in family:
        return [part for arg in node.args for part in _operands(arg, family)]
    return [node]


@given(st.permutations(["$a", "$b", "RANK($c)", "2", "($a - $b)", "TS_MEAN($c, 3)"]))
def test_order_of_operands_is_forgotten(parts: list[str]) -> None:
    """Sums and products of the same operands are one, in whatever order they are written."""
    for symbol in ("+", "*"):
        one = parse(symbol.join(parts))
        assert one is parse(f"{parts[0]} {symbol} ({f' {symbol} '.join(parts[1:])})")
        assert one is parse(symbol.join(sorted(parts)))


# The same values ----------------------------------------------------------------------------------


def whole_numbers(seed: int) -> Panel:
    """Return a panel of small whole numbers, many of them equal, some missing."""
    rng = np.random.default_rng(seed)
    names = ("close", "open", "volume", "sector")
    columns = {name: rng.integers(-4, 5, (20, 6)).astype(np.float64) for name in names}
    for values in columns.values():
        values[rng.random(values.shape) < 0.1] = np.nan
    return field_panel(**columns)


@settings(max_examples=200, deadline=None)
@given(pair=pairs(EXACT, max_leaves=12), seed=st.integers(0, 10**6))
def test_rewriting_is_exact_where_arithmetic_is(pair: Pair, seed: int) -> None:
    """On whole numbers the canonical tree has, bit for bit, the values of the one written."""
    panel = whole_numbers(seed)
    # sums and windows of numbers with a fraction are not exact: of those that are drawn, 0.001
    if any(isinstance(n, Constant) and not (8 * n.value).is_integer() for n in walk(pair.written)):
        return
    judge = Reference(panel)
    expected, canonical = judge(pair.written), judge(pair.canonical)
    there = slice(judge.behind(pair.written), None)  # 1 ? x : y needs no lookback of y
    np.testing.assert_array_equal(canonical[there], expected[there])
    np.testing.assert_array_equal(evaluate([pair.canonical], panel)[0], canonical)


@settings(max_examples=200, deadline=None)
@given(pair=pairs(max_leaves=10), seed=st.integers(0, 10**6))
def test_rewriting_keeps_the_values(pair: Pair, seed: int) -> None:
    """The canonical tree of any operators has the values of the one written, to 9 digits.

    Left out are the cells in which rounding decides a comparison, or is all that is left.
    """
    panel = random_panel(seed, n_sessions=40, n_assets=6)
    judge = Reference(panel)
    wrong = ~agree(evaluate([pair.canonical], panel)[0], judge(pair.written), rtol=1e-9)
    wrong[: judge.behind(pair.written)] = False  # 1 ? x : y needs no lookback of y
    assert unexplained(wrong, pair.written, panel) == 0


@given(expressions())
def test_values_of_a_negation(expression: Expression) -> None:
    """-1 * x has the values of x with the other sign, bit for bit where the text has none."""
    panel = random_panel(3, n_sessions=40, n_assets=6)
    if fields(expression):
        value, negative = evaluate([expression, negate(expression)], panel)
        assert agree(-negative, value, rtol=1e-12).all()


@pytest.mark.parametrize("name", sorted(n for n, row in OPERATORS.items() if row.boolean))
def test_a_boolean_is_itself_compared_with_zero(name: str) -> None:
    """`x != 0` says nothing new of what is 0 or 1."""
    boolean = call(name, parse("$a"), parse("$b"))
    assert call("NE", boolean, constant(0)) is boolean
    assert call("NE", constant(0), boolean) is boolean
    assert call("NE", boolean, constant(1)) is not boolean
