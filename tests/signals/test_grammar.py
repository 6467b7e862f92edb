"""Parsing: what is read, and where an error points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.errors import ExpressionError
from signals.expression import Call, Constant, Field
from signals.grammar import LIMITS, Limits, check_limits, parse


def refused(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    return caught.value


def test_tree_of_a_call() -> None:
    """The paper's example is read into nodes."""
    ranks = [Call("RANK", (Field(name),)) for name in ("close", "volume")]
    expected = Call("TS_CORR", (*ranks, Constant(10.0)))
    assert parse("TS_CORR(RANK($close), RANK($volume), 10)") == expected


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1 + 2 * $x", "1 + 2 * $x"),
        ("($x + 1) * 2", "2 * (1 + $x)"),
        ("$x / $y / $z", "$x / $y / $z"),
        ("-$x * $y", "-1 * $x * $y"),
        ("RANK(-$x)", "RANK(-1 * $x)"),
        ("$x - -1", "$x - -1"),
        ("+$x", "$x"),
        (".5 * $x", "0.5 * $x"),
        ("1e-3*$x", "0.001 * $x"),
        (" \n$x\t", "$x"),
    ],
)
def test_precedence_and_numbers(text: str, canonical: str) -> None:
    """Signs bind tighter than * and /, those tighter than + and -; numbers are as in Python."""
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "column", "fact", "hint"),
    [
        ("RANK(TS_MAEN($close, 5))", 6, "unknown operator 'TS_MAEN'", "TS_MEAN"),
        ("rank($close)", 1, "unknown operator 'rank'", "RANK"),
        ("RANK(close)", 6, "bare name 'close'", "$close"),
        ("$close + RANK", 10, "RANK has no arguments", "RANK(series)"),
        ("TS_MEAN($close, $open)", 17, "as its window", "TS_MEAN(series, window=5)"),
        ("TS_MEAN($close, 2.5)", 17, "window of 2.5", "TS_MEAN"),
        ("TS_MEAN($close, -5)", 17, "window of -5", "TS_MEAN"),
        ("TS_STD($close, 1)", 16, "window of 1", "TS_STD"),
        ("POW($close, $open)", 13, "as its number", "POW(series, number)"),
        ("TS_CORR($close, 5)", 17, "constant 5", "TS_CORR(series, series, window=5)"),
        ("RANK($close, $open)", 1, "2 arguments", "RANK(series)"),
        ("TS_CORR($close, 4, 10)", 17, "constant 4", "TS_CORR"),
        ("RANK($close", 12, "ends too early", "closing parenthesis is missing"),
        ("RANK($close))", 13, "unexpected ')'", "too many"),
        ("$close ^ 2", 8, "unexpected '^'", "operators"),
        ("$close trailing", 8, "unexpected 'trailing'", ""),
        ("$ + 1", 1, "unexpected '$'", "$close"),
        ("", 1, "ends too early", ""),
        ("$close + 1 / 0", 10, "not defined", "division by zero"),
        ("1e999 * $close", 1, "not finite", ""),
    ],
)
def test_error_points_at_its_column(text: str, column: int, fact: str, hint: str) -> None:
    """An error says what was found and where, with a caret, and how to mend it."""
    error = refused(text)
    assert fact in error.fact
    assert f"column {column}\n" in error.fact
    shown, caret = error.fact.splitlines()[1:]
    assert shown.strip() == text.strip()
    assert caret.index("^") == 4 + column - 1
    assert hint in error.hint


def test_long_text_is_shown_around_the_caret() -> None:
    """A terminal line is enough to see what is wrong."""
    _, shown, caret = refused("+".join(["$close"] * 20) + "+ oops + $close").fact.splitlines()
    assert len(shown) < 110
    assert shown[caret.index("^") :].startswith("oops")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("$x + " * 1000 + "$x", f"at most {LIMITS.text} are read"),
        ("RANK(" * 300 + "$x" + ")" * 300, "depth"),
        ("+".join(["$x"] * 100), "depth"),
        ("TS_MEAN($x, 513)", "at most 512"),
        ("EMA($x, 200)", "at most 1260"),
        ("5 + 3", "computed from bars"),
    ],
)
def test_limits(text: str, limit: str) -> None:
    """Text, depth, windows and lookback have limits, and a factor reads a field."""
    assert limit in refused(text).rule


def test_parentheses_and_signs_do_not_overflow_the_stack() -> None:
    """Nesting that leaves no node is read at any depth the text allows."""
    assert parse("(" * 1900 + "$x" + ")" * 1900) == parse("-" * 2000 + "$x") == Field("x")


def test_limits_can_be_tightened() -> None:
    """A search has its own idea of size."""
    with pytest.raises(ExpressionError, match="3 nodes"):
        check_limits(parse("$x + $y"), limits=Limits(nodes=2))


@given(st.text(alphabet="$ab(),+-*/ 12.TS_MEANRK", max_size=25))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text raises anything else than an ExpressionError."""
    try:
        expression = parse(text)
    except ExpressionError:
        return
    assert parse(str(expression)) == expression
