"""Parsing: what is read, and where an error points."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.errors import ExpressionError
from signals.expression import Call, Constant, Field, size
from signals.grammar import LIMITS, Limits, check_limits, parse


def refused(text: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    return caught.value


def test_tree_of_a_call() -> None:
    """The paper's example is read into nodes."""
    ranks = [Call("RANK", (Field(name),)) for name in ("close", "volume")]
    expected = Call("TS_CORR", (*ranks, Constant(10.0)))
    assert parse("TS_CORR(RANK($close), RANK($volume), 10)") is expected


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1 + 2 * $x", "1 + 2 * $x"),
        ("($x + 1) * 2", "2 * (1 + $x)"),
        ("$x / $y / $z", "$x / $y / $z"),
        ("$x - $y - $z", "$x - $y - $z"),
        ("-$x * $y", "-1 * $x * $y"),
        ("RANK(-$x)", "RANK(-1 * $x)"),
        ("$x - -1", "1 + $x"),
        ("+$x", "$x"),
        (".5 * $x", "0.5 * $x"),
        ("5. * $x", "5 * $x"),
        ("1e-3*$x", "0.001 * $x"),
        ("1E3*$x", "1000 * $x"),
        (" \n$x\t", "$x"),
    ],
)
def test_precedence_and_numbers(text: str, canonical: str) -> None:
    """Signs bind tighter than * and /, those tighter than + and -; numbers are as in Python."""
    assert str(parse(text)) == canonical
    assert parse(canonical) is parse(text)


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        # ^ binds tightest, to the right; a sign in front is outside, behind it inside
        ("$a ^ $b ^ $c", "POW($a, POW($b, $c))"),
        ("-$a ^ 2", "-(POW($a, 2))"),
        ("$a ^ -2", "POW($a, -2)"),
        ("2 * $a ^ 2", "2 * (POW($a, 2))"),
        ("$a ^ $b * $c", "(POW($a, $b)) * $c"),
        # then signs and !, * and /, + and -, comparisons, &&, ||, ?:
        ("!$a == $b", "(!$a) == $b"),
        ("!$a ^ 2", "!($a ^ 2)"),
        ("-!$a", "-(!$a)"),
        ("$a + $b > $c - $d", "($a + $b) > ($c - $d)"),
        ("$a > $b > $c", "($a > $b) > $c"),
        ("$a < $b == $c", "($a < $b) == $c"),
        ("$a > $b && $c > $d", "($a > $b) && ($c > $d)"),
        ("$a && $b || $c && $d", "($a && $b) || ($c && $d)"),
        ("$a || $b && $c", "$a || ($b && $c)"),
        ("$a > $b ? $c + 1 : $d", "($a > $b) ? ($c + 1) : $d"),
        ("$a || $b ? $c : $d", "($a || $b) ? $c : $d"),
        ("$a ? $b : $c ? $d : $e", "$a ? $b : ($c ? $d : $e)"),
        ("$a ? $b ? $c : $d : $e", "$a ? ($b ? $c : $d) : $e"),
        ("$a + ($b ? $c : $d)", "$a + WHERE($b, $c, $d)"),
        # one spelling beside the other
        ("$a & $b | $c", "($a && $b) || $c"),
        ("$a <= $b", "GE($b, $a)"),
        ("$a != $b", "NE($b, $a)"),
        ("$a == $b", "EQ($b, $a)"),
        ("!$a", "EQ($a, 0)"),
        ("LE($a, $b)", "$b >= $a"),
    ],
)
def test_precedence_of_the_whole_language(text: str, grouped: str) -> None:
    """Every infix operator binds as documented: the text is what its parentheses say."""
    assert parse(text) is parse(grouped)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("RANK(close)", "RANK($close)"),
        ("close / open", "$close / $open"),
        ("vwap - sector", "$vwap - $sector"),
        ("returns", "TS_PCTCHANGE($close, 1)"),
        ("$return", "TS_PCTCHANGE($close, 1)"),
        ("adv20", "TS_MEAN($close * $volume, 20)"),
        ("IndNeutralize(close, IndClass.sector)", "$close - GROUP_MEAN($close, $sector)"),
        ("Ref($close, 5)", "DELAY($close, 5)"),
        ("Mean($close, 5) / Std($close, 5)", "TS_MEAN($close, 5) / TS_STD($close, 5)"),
        ("If(Gt($a, $b), $a, $b)", "$a > $b ? $a : $b"),
        ("Greater($a, $b)", "MAX($a, $b)"),
        ("Slope($close, 20)", "REGBETA($close, SEQUENCE(20), 20)"),
        ("rank(correlation(close, volume, 10))", "RANK(TS_CORR($close, $volume, 10))"),
        ("ts_rank(close, 7.9)", "TS_RANK($close, 7)"),
        ("ts_mean(close, 5)", "TS_MEAN($close, 5)"),
        ("MAX($a)", "CS_MAX($a)"),
        ("MAX($a, $b, $c)", "MAX(MAX($a, $b), $c)"),
        ("Mean(Ref($close, 1), 5)", "TS_MEAN(DELAY($close, 1), 5)"),
    ],
)
def test_dialects_mean_ours(text: str, meaning: str) -> None:
    """Bare names and calls of other libraries are read into the same tree as our own."""
    assert parse(text) is parse(meaning)


@pytest.mark.parametrize(
    ("text", "column", "fact", "hint"),
    [
        # names
        ("RANK(TS_MAEN($close, 5))", 6, "unknown operator 'TS_MAEN'", "TS_MEAN"),
        ("RANKS($close)", 1, "unknown operator 'RANKS'", "RANK"),
        ("RANK(klose)", 6, "bare name 'klose'", "$klose"),
        ("$close + RANK", 10, "RANK has no arguments", "RANK(series)"),
        ("$ + 1", 1, "unexpected '$'", "$close"),
        ("$close @ 2", 8, "unexpected '@'", "remove it"),
        # arguments, in whatever spelling
        ("TS_MEAN($close, $open)", 17, "as its window", "TS_MEAN(series, window=5)"),
        ("TS_MEAN($close, 2.5)", 17, "window of 2.5", "TS_MEAN"),
        ("TS_MEAN($close, -5)", 17, "window of -5", "TS_MEAN"),
        ("TS_STD($close, 1)", 16, "window of 1", "TS_STD"),
        ("TS_QUANTILE($close, 5, 2)", 1, "given 5, 2", "TS_QUANTILE(series, window=5, number=0.5)"),
        ("1 + SMA($close, 3, 4)", 5, "given 3, 4", "SMA(series, window, number)"),
        ("TS_CORR($close, 5)", 17, "constant 5", "TS_CORR(series, series, window=5)"),
        ("RANK($close, $open)", 1, "2 arguments", "RANK(series)"),
        ("TS_CORR($close, 4, 10)", 17, "constant 4", "TS_CORR"),
        ("$a > RANK(3)", 11, "constant 3", "RANK"),
        ("$a + TS_MEAN(SEQUENCE(5), 5)", 14, "SEQUENCE(5)", "REGBETA"),
        ("REGBETA($close, SEQUENCE(5), 6)", 17, "SEQUENCE(5)", "REGBETA"),
        # dialects
        ("1 + Ref($close, -1)", 5, "Ref means", "DELAY"),
        ("Mean($close)", 1, "Mean has 1 arguments", "Mean(x, n)"),
        ("ts_backfill(close, 5)", 1, "ts_backfill is not supported", "operators that are"),
        ("1 + PERCENTILE($close, 0.5)", 5, "PERCENTILE is not supported", "operators that are"),
        # parentheses and places
        ("RANK($close", 12, "ends too early", "closing parenthesis is missing"),
        ("RANK($close))", 13, "unexpected ')'", "too many"),
        ("$close trailing", 8, "unexpected 'trailing'", ""),
        ("$a ** 2", 5, "unexpected '*'", ""),
        ("$a ^", 5, "ends too early", "complete it"),
        ("$a > ", 5, "ends too early", "complete it"),
        ("$a ? $b", 8, "ends too early", ""),
        ("$a ? $b : ", 10, "ends too early", ""),
        ("$a : $b", 4, "unexpected ':'", ""),
        ("$a > > $b", 6, "unexpected '>'", ""),
        ("$a = $b", 4, "unexpected '='", "remove it"),
        ("$a && || $b", 7, "unexpected '||'", ""),
        ("$a !", 4, "unexpected '!'", ""),
        ("RANK($a,)", 9, "unexpected ')'", ""),
        ("", 1, "ends too early", ""),
        ("   ", 1, "ends too early", ""),
        # numbers
        ("$close + 1 / 0", 10, "not defined", "division by zero"),
        ("$close + LOG(0 - 1)", 10, "not defined", "between constants"),
        ("$close + 10 ^ 400", 10, "not defined", "overflow"),
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
        ("^".join(["$x"] * 100), "depth"),
        ("$a ? " * 100 + "$x" + " : $b" * 100, "depth"),
        ("TS_MEAN($x, 513)", "at most 512"),
        ("REGBETA($x, SEQUENCE(513), 513)", "at most 512"),
        ("EMA($x, 200)", "at most 1260"),
        ("SMA($x, 200, 1)", "at most 1260"),
        ("5 + 3", "computed from bars"),
        ("2 > 1 ? 3 : 4", "computed from bars"),
        ("SEQUENCE(5)", "computed from bars"),
    ],
)
def test_limits(text: str, limit: str) -> None:
    """Text, depth, windows and lookback have limits, and a factor reads a field."""
    assert limit in refused(text).rule


def test_too_many_nodes_are_refused() -> None:
    """A wide tree of little depth meets the limit on nodes."""
    wide = "$x"
    for i in range(7):
        wide = f"RANK({wide}) / TS_MEAN({wide}, {i + 2})"
        if len(wide) > LIMITS.text // 3:
            break
    assert "nodes" in refused(wide).fact


@pytest.mark.parametrize("opening", ["(", "-", "+", "!"])
def test_nesting_does_not_overflow_the_stack(opening: str) -> None:
    """Nesting is read at any depth the text allows, or refused: no text ends the process."""
    closing = ")" if opening == "(" else ""
    text = opening * 1900 + "$x" + closing * 1900
    if opening == "!":
        assert "levels of nesting" in refused(text).fact
    else:
        assert parse(text) is Field("x")


def test_limits_can_be_tightened() -> None:
    """A search has its own idea of size."""
    with pytest.raises(ExpressionError, match="3 nodes"):
        check_limits(parse("$x + $y"), limits=Limits(nodes=2))


#: Parts of texts, whole and broken.
PARTS = ("$a", "$close", "close", "RANK", "TS_MEAN", "Ref", "rank", "SEQUENCE", "(", ")", ",")
SIGNS = ("+", "-", "*", "/", "^", "<", ">", "=", "!", "&", "|", "?", ":", ".", "5", "1e", "0", " ")


@given(st.lists(st.sampled_from((*PARTS, *SIGNS)), max_size=14).map("".join))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text raises anything else than an ExpressionError; what is read is read again."""
    try:
        expression = parse(text)
    except ExpressionError:
        return
    assert parse(str(expression)) is expression


@given(st.text(max_size=20))
def test_no_character_breaks_the_parser(text: str) -> None:
    """Characters of any alphabet are refused, never an error of the parser's own."""
    with pytest.raises(ExpressionError):
        parse(f"{text} § $close")


@pytest.mark.timeout(30)  # what is not bounded takes minutes, or all memory
@pytest.mark.parametrize(
    "text",
    [
        "((($a-" * 12 + "$c" + ")*$b)+$b)" * 12,
        "ts_scale(" * 12 + "close" + ",5)" * 12,
        "scale_down(" * 12 + "close" + ")" * 12,
        "winsorize(" * 9 + "close" + ")" * 9,
        "+".join(["(" + "*".join(["(" + "+".join(["$a"] * 9) + ")"] * 10) + ")"] * 9),
        "||".join(["(" + "&&".join(["($a||$b)"] * 10) + ")"] * 20),
    ],
    ids=["nested sums", "ts_scale", "scale_down", "winsorize", "sums of products", "choices"],
)
def test_no_text_costs_more_than_its_length(text: str) -> None:
    """What would be an enormous tree is refused while it is built, or read at once."""
    with contextlib.suppress(ExpressionError):
        assert size(parse(text)) <= LIMITS.nodes


@pytest.mark.parametrize(
    "text",
    ["1e200*$close*(1e200*$volume)", "1e308+$close+($open+1e308)", "$a-(-1e308-($b+1e308))"],
)
def test_constants_stay_finite_within_a_chain(text: str) -> None:
    """A constant that overflows while terms are regrouped is refused: no text holds inf."""
    assert "finite" in refused(text).rule


@pytest.mark.parametrize(
    "text", ["$close + -SEQUENCE(5)", "RANK(-SEQUENCE(5)) * $a", "REGBETA($a, -SEQUENCE(20), 20)"]
)
def test_a_sign_does_not_carry_a_sequence_past_its_rule(text: str) -> None:
    """SEQUENCE(n) is a regressor, with a sign or without."""
    assert "regressor" in refused(text).rule
