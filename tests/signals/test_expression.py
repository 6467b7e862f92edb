"""Canonical trees: equal formulas are equal objects."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given

from signals.errors import ExpressionError
from signals.expression import (
    Call,
    Constant,
    Expression,
    Field,
    call,
    depth,
    fields,
    free_parameters,
    lookback,
    size,
    walk,
    windows,
)
from signals.grammar import Limits, parse
from tests.signals.reference import expressions

CLOSE, OPEN = Field("close"), Field("open")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("$close + $open", "$open + $close"),
        ("ADD($close, $open)", "$open + $close"),
        ("$a + ($b + $c)", "($c + $a) + $b"),
        ("MAX($close, RANK($open))", "MAX(RANK($open), $close)"),
        ("TS_CORR($close, $open, 5)", "TS_CORR($open, $close)"),
        ("TS_MEAN($close)", "TS_MEAN($close, 5.0)"),
        ("-$close", "$close * -1"),
        ("-(-$close)", "$close"),
        ("-1 * ($close - $open)", "$open - $close"),
        ("2 * $close * 3", "$close * (3 * 2)"),
        ("1 + $close + 2", "$close + SQRT(9)"),
        ("$close - 0", "$close / 1"),
        ("0 - $close", "-$close"),
        ("$return", "TS_PCTCHANGE($close)"),
        ("SUBTRACT($close, $open)", "$close - $open"),
    ],
)
def test_equal_formulas_are_equal(left: str, right: str) -> None:
    """Order, grouping, defaults, names of infix operators and constants make no difference."""
    assert parse(left) == parse(right)
    assert hash(parse(left)) == hash(parse(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("$close - $open", "$open - $close"),
        ("$close / $open", "$open / $close"),
        ("TS_MEAN($close, 5)", "TS_MEAN($close, 6)"),
        ("POW($close, 2)", "$close * $close"),
    ],
)
def test_different_formulas_differ(left: str, right: str) -> None:
    """What is not commutative keeps its order."""
    assert parse(left) != parse(right)


@given(expressions())
def test_text_parses_back(expression: Expression) -> None:
    """The text of an expression gives the same expression, and its text again."""
    if fields(expression):
        again = parse(str(expression), limits=Limits(lookback=10**6))
        assert again == expression
        assert str(again) == str(expression)


@given(expressions())
def test_call_is_idempotent(expression: Expression) -> None:
    """Building any node of a canonical tree again changes nothing."""
    for node in walk(expression):
        if isinstance(node, Call):
            assert call(node.op, *node.args) == node


@given(expressions())
def test_measures(expression: Expression) -> None:
    """Size counts nodes; depth, fields, numbers and windows are found among them."""
    nodes = list(walk(expression))
    assert size(expression) == len(nodes) >= depth(expression)
    assert {f"${name}" for name in fields(expression)} <= set(map(str, nodes))
    assert set(windows(expression)) <= set(free_parameters(expression))


def test_lookback_adds_up() -> None:
    """Windows count their sessions behind today, shifts all of theirs, EMA ten spans."""
    assert lookback(parse("TS_MEAN(DELAY($close, 5), 20)")) == 24
    assert lookback(parse("TS_CORR(DELTA($close, 3), TS_STD($volume, 10), 4)")) == 12
    assert lookback(parse("EMA($close, 3)")) == 29
    assert lookback(parse("RANK($close / $open)")) == 0


def test_text_keeps_parentheses_that_matter() -> None:
    """Infix operators are left-associative in the text as well."""
    assert str(parse("$a - ($b - $c)")) == "$a - ($b - $c)"
    assert str(parse("($a - $b) - $c")) == "$a - $b - $c"
    assert str(parse("($a + $b) / ($c * $d)")) == "($a + $b) / ($c * $d)"


def test_expression_survives_pickling() -> None:
    """A search may hand expressions to another process."""
    expression = parse("RANK(TS_STD($close, 20)) - 0.5")
    assert pickle.loads(pickle.dumps(expression)) == expression  # noqa: S301


@pytest.mark.parametrize(
    ("op", "args", "fact"),
    [
        ("NOPE", (CLOSE,), "unknown operator"),
        ("RANK", (), "0 arguments"),
        ("RANK", (Constant(5.0),), "constant"),
        ("DIVIDE", (Constant(5.0), Constant(0.0)), "not defined"),
        ("TS_MEAN", (CLOSE, OPEN), "as its window"),
        ("TS_MEAN", (CLOSE, Constant(0.0)), "window of 0"),
    ],
)
def test_call_refuses(op: str, args: tuple[Expression, ...], fact: str) -> None:
    """What is no call is refused when it is built, not when it is evaluated."""
    with pytest.raises(ExpressionError, match=fact):
        call(op, *args)
