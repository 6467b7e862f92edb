"""Trees: equal formulas are one object, and measures are sums over nodes."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

from signals.errors import ExpressionError
from signals.expression import (
    Call,
    Constant,
    Expression,
    Field,
    call,
    constant,
    depth,
    fields,
    free_parameters,
    lookback,
    size,
    walk,
    windows,
)
from signals.grammar import Limits, parse
from signals.operators import OPERATORS
from tests.signals.reference import Pair, expressions, pairs, sample_calls

CLOSE, OPEN = Field("close"), Field("open")

#: No limit that a generated tree could meet.
UNLIMITED = Limits(text=10**6, nodes=10**6, depth=10**4, window=10**6, lookback=10**9)


# One object ---------------------------------------------------------------------------------------


def test_equal_nodes_are_one_object() -> None:
    """A node built twice is the same node: a field, a number, a call, whatever they are given."""
    assert Field("close") is CLOSE
    assert Constant(5) is Constant(5.0) is constant(float(np.float32(5)))
    assert call("TS_MEAN", CLOSE, constant(5)) is call("TS_MEAN", Field("close"))
    assert Field("close") is not Field("Close")


def test_equality_is_identity() -> None:
    """Nodes compare and hash as objects, so that sets of trees cost nothing."""
    left, right = parse("RANK($close)"), parse("RANK( $close )")
    assert left is right
    assert {left: 1}[right] == 1
    assert len({parse("$a + $b"), parse("$b + $a"), parse("ADD($a, $b)")}) == 1
    assert left != parse("RANK($open)")


def test_nodes_are_frozen() -> None:
    """A node that many trees share cannot be changed."""
    for node, name in ((CLOSE, "name"), (Constant(1.0), "value"), (parse("RANK($close)"), "op")):
        with pytest.raises(AttributeError):
            setattr(node, name, "other")


@given(expressions())
def test_tree_survives_pickling_and_copying(expression: Expression) -> None:
    """What comes back from another process, or from a copy, is the node itself."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(expression, protocol)) is expression  # noqa: S301
    assert copy.deepcopy(expression) is copy.copy(expression) is expression


def test_tree_of_another_process_is_ours() -> None:
    """A search hands expressions to children; what they send back is one of our objects."""
    text = "RANK(TS_STD($close, 20)) - 0.5"
    program = (
        "import pickle, sys; from signals.grammar import parse; "
        f"sys.stdout.buffer.write(pickle.dumps(parse({text!r})))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert pickle.loads(run.stdout) is parse(text)  # noqa: S301


def test_threads_get_one_object() -> None:
    """Threads that build the same tree at the same time get the same nodes."""
    for trial in range(20):
        barrier = threading.Barrier(8)
        built: list[Expression] = []

        def build(number: int, start: threading.Barrier, out: list[Expression]) -> None:
            start.wait()
            out.append(parse(f"RANK($close - {number}.125) * TS_MEAN($new_{number}, 7)"))

        threads = [threading.Thread(target=build, args=(trial, barrier, built)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(built) == 8
        assert len(set(map(id, built))) == 1


def test_nodes_nobody_holds_are_forgotten() -> None:
    """The table of nodes holds no tree alive: a search of millions does not grow."""
    node = weakref.ref(parse("RANK($close - 123.456)"))
    gc.collect()
    assert node() is None


# Canonical form -----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(expressions(max_leaves=12))
def test_text_parses_back(expression: Expression) -> None:
    """The text of an expression of any operators gives the same object."""
    if fields(expression):
        assert parse(str(expression), limits=UNLIMITED) is expression


@settings(max_examples=200, deadline=None)
@given(pairs(max_leaves=12))
def test_writing_gives_the_canonical_tree(pair: Pair) -> None:
    """However a formula is written, its text is read into the canonical tree."""
    if fields(pair.canonical):
        assert parse(str(pair.written), limits=UNLIMITED) is pair.canonical


@settings(max_examples=200, deadline=None)
@given(expressions(max_leaves=12))
def test_call_is_idempotent(expression: Expression) -> None:
    """Building any node of a canonical tree again changes nothing."""
    for node in walk(expression):
        if isinstance(node, Call):
            assert call(node.op, *node.args) is node


def test_every_operator_is_generated() -> None:
    """What the tests above draw from holds every operator of the table."""
    drawn = {node.op for e in sample_calls(5) for node in walk(e) if isinstance(node, Call)}
    assert drawn == set(OPERATORS)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("TS_MEAN($close)", "TS_MEAN($close, 5.0)"),
        ("TS_QUANTILE($close)", "TS_QUANTILE($close, 5, 0.5)"),
        ("TS_CORR($close, $open, 5)", "TS_CORR($open, $close)"),
        ("TS_CORR($close, SEQUENCE(9), 9)", "TS_CORR(SEQUENCE(9), $close, 9)"),
        ("MAX($close, RANK($open))", "MAX(RANK($open), $close)"),
        ("$return", "TS_PCTCHANGE($close)"),
        ("POW($close, 2)", "$close ^ 2"),
        ("WHERE($a > $b, $a, $b)", "$a > $b ? $a : $b"),
    ],
)
def test_equal_formulas_are_one(left: str, right: str) -> None:
    """Defaults, order and infix spelling make no difference."""
    assert parse(left) is parse(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("$close / $open", "$open / $close"),
        ("$close ^ $open", "$open ^ $close"),
        ("TS_MEAN($close, 5)", "TS_MEAN($close, 6)"),
        ("POW($close, 2)", "$close * $close"),
        ("REGBETA($close, $open, 5)", "REGBETA($open, $close, 5)"),
        ("GROUP_MEAN($close, $open)", "GROUP_MEAN($open, $close)"),
        ("$close > $open", "$open > $close"),
        ("$a ? $b : $c", "$a ? $c : $b"),
    ],
)
def test_different_formulas_differ(left: str, right: str) -> None:
    """What is not commutative keeps its order."""
    assert parse(left) is not parse(right)


# Measures -----------------------------------------------------------------------------------------


@given(expressions())
def test_measures(expression: Expression) -> None:
    """Size counts nodes; depth, fields, numbers and windows are found among them."""
    nodes = list(walk(expression))
    assert size(expression) == len(nodes) >= depth(expression)
    assert {f"${name}" for name in fields(expression)} <= set(map(str, nodes))
    assert set(windows(expression)) <= set(free_parameters(expression))


@pytest.mark.parametrize(
    ("text", "sessions"),
    [
        ("TS_MEAN(DELAY($close, 5), 20)", 24),
        ("TS_CORR(DELTA($close, 3), TS_STD($volume, 10), 4)", 12),
        ("EMA($close, 3)", 29),
        ("SMA($close, 12, 2)", 109),
        ("SMA($close, 7, 2)", 59),
        ("SMA($close, 1, 1)", 9),
        ("REGBETA($close, SEQUENCE(20), 20)", 19),
        ("TS_QUANTILE($close, 10, 0.3)", 9),
        ("$close > DELAY($close, 4) ? TS_MEAN($close, 3) : $open", 4),
        ("RANK($close / $open)", 0),
    ],
)
def test_lookback_adds_up(text: str, sessions: int) -> None:
    """Windows count their sessions behind today, shifts all of theirs, averages ten spans."""
    assert lookback(parse(text)) == sessions


def test_windows_are_not_other_numbers() -> None:
    """Windows are found among the numbers: a quantile, a weight and an operand are none."""
    tree = parse("TS_QUANTILE($close, 10, 0.3) + SMA($open, 12, 2) * 0.5")
    assert sorted(windows(tree)) == [10, 12]
    assert sorted(free_parameters(tree)) == [0.3, 0.5, 2, 10, 12]


def test_text_keeps_parentheses_that_matter() -> None:
    """What binds weaker than its place is in parentheses, and nothing else."""
    for text in (
        "$a - $b - $c",
        "($a + $b) / ($c * $d)",
        "$a / ($b / $c)",
        "POW($a + $b, $c)",
        "$c * ($a > $b)",
        "$c && ($a || $b)",
        "$c || $a && $b",
        "($a ? $b : $c) / $d",
        "$a ? $b : $c ? $d : $e",
        "($a ? $b : $c) ? $d : $e",
        "$a ? ($b ? $c : $d) : $e",
        "RANK($a ? $b : $c)",
        "$a > ($b > $c)",
    ):
        assert str(parse(text)) == text


# Faults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "args", "fact"),
    [
        ("NOPE", (CLOSE,), "unknown operator"),
        ("rank", (CLOSE,), "unknown operator"),
        ("RANK", (), "0 arguments"),
        ("RANK", (Constant(5.0),), "constant"),
        ("DIVIDE", (Constant(5.0), Constant(0.0)), "not defined"),
        ("LOG", (Constant(-1.0),), "not defined"),
        ("MULTIPLY", (Constant(1e200), Constant(1e200)), "not defined"),
        ("TS_MEAN", (CLOSE, OPEN), "as its window"),
        ("TS_MEAN", (CLOSE, Constant(0.0)), "window of 0"),
        ("TS_QUANTILE", (CLOSE, Constant(5.0), Constant(2.0)), "given 5, 2"),
        ("GT", (CLOSE,), "1 arguments"),
        ("LT", (CLOSE,), "1 arguments"),
    ],
)
def test_call_refuses(op: str, args: tuple[Expression, ...], fact: str) -> None:
    """What is no call is refused when it is built, not when it is evaluated."""
    with pytest.raises(ExpressionError, match=fact):
        call(op, *args)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_constants_are_finite(value: float) -> None:
    """A number that is none is refused."""
    with pytest.raises(ExpressionError, match="not finite"):
        constant(value)


def test_zero_has_one_sign() -> None:
    """-0 is 0."""
    assert constant(-0.0) is constant(0.0)
    assert str(parse("$close * -0")) == "0 * $close"
