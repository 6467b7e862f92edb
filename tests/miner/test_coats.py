"""Coats: what may be taken off a factor, proven by evaluating what is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from miner.coats import core, peel
from miner.ranges import value_range
from miner.sampling import Vocabulary, sample
from miner.units import MONEY, PRICE, RATIO, SHARES
from signals.errors import ExpressionError
from signals.expression import Expression
from signals.grammar import parse
from tests.miner.ranking import ROUGH, ranks_alike, values_of

#: Coats, and what looks like one.
COATS = (
    *("RANK({})", "ZSCORE({})", "SCALE({}, -2)", "-0.5 * {}", "{} + 3", "3 - {}", "2 / {}"),
    *("LOG({})", "LOG(1 + {})", "SQRT({})", "EXP({})", "ABS({})", "POW({}, 2)", "POW({}, 3)"),
    *("POW({}, -1)", "SIGN({})", "{} / DELAY({}, 2)", "TS_VAR({}, 5)", "{} / $close", "$open / {}"),
    *("TS_RANK({}, 9)", "MAX({}, 0.5)", "$volume * {}", "{} - $high", "FLOOR({})"),
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("2 - RANK(ZSCORE($close / $open) * 3)", "$close / $open"),
        ("SCALE($close - $open, -1)", "$close - $open"),
        ("2 * $open * $volume + 3", "$open * $volume"),
        ("3 - $open - $volume", "$open + $volume"),
        ("3 * $close / (2 * $open * $volume)", "$close / ($open * $volume)"),
        ("1 / $close", "$close"),
        ("LOG($high / $low)", "$high / $low"),
        ("LOG(1 + TS_PCTCHANGE($close, 5))", "TS_PCTCHANGE($close, 5)"),
        ("EXP(TS_CORR($close, $volume, 9))", "TS_CORR($close, $volume, 9)"),
        ("SQRT($volume)", "$volume"),
        ("POW($close - $open, 3)", "$close - $open"),
        ("POW($close, -0.5)", "$close"),
        ("DELAY($close, 5) / $close", "TS_PCTCHANGE($close, 5)"),
        ("TS_VAR($close, 9)", "TS_STD($close, 9)"),
    ],
)
def test_a_coat_is_taken_off(text: str, left: str) -> None:
    """Whatever leaves the ranking as it is, or turns it round."""
    assert str(core(parse(text))) == left


@pytest.mark.parametrize(
    "text",
    [
        "LOG($volume)",  # no value where nothing was traded
        "1 / $volume",
        "1 / ($close - $open)",  # jumps where the difference changes its sign
        "SQRT($close - $open)",
        "POW($close - $open, 2)",
        "EXP($close)",  # too large for a float32
        "SIGN($close - $open)",
        "FLOOR($close)",
        "0 * $close",
        "LOG($turnover)",  # nothing is known of that field
        "DELTA($close, 5) / $close",  # nothing moves across a division
        "TS_RANK($close, 9)",
    ],
)
def test_what_is_not_proven_stays(text: str) -> None:
    """Even where it is a coat on most days."""
    assert core(parse(text)) is parse(text)


def test_coats_of_one_session_stay_under_what_compares_sessions() -> None:
    """A rank among the assets of each session is another series than the value itself."""
    assert peel(parse("2 * RANK($close)"), of_session=False) == (1, parse("RANK($close)"))
    assert peel(parse("-2 * RANK($close)")) == (-1, parse("$close"))


def dressed(seed: int, coats: list[str]) -> Expression:
    rng = np.random.default_rng(seed)
    words = Vocabulary.of(("open", "high", "low", "close", "volume", "amount"))
    unit = (RATIO, PRICE, SHARES, MONEY)[int(rng.integers(4))]
    expression = sample(unit, int(rng.integers(1, 4)), words, rng)
    for coat in coats:
        try:
            expression = parse(coat.replace("{}", f"({expression})"))
        except ExpressionError:  # too deep, or too long
            break
    return expression


@given(st.integers(0, 2**32), st.lists(st.sampled_from(COATS), max_size=4, unique=True))
@settings(max_examples=60)
def test_the_core_ranks_assets_as_its_factor_does(seed: int, coats: list[str]) -> None:
    """Or in the contrary order, with values for the same assets, whatever it is dressed in.

    Of what rounding leaves the same, such as 3 + 1e-20 and 3 + 1e-22, nothing is said, nor of
    powers that leave the range of a float.
    """
    expression = dressed(seed, coats)
    sizes = np.abs(values_of(core(expression), ROUGH))
    assume(np.all((sizes < 1e30) | np.isnan(sizes)))
    assume(np.all((sizes > 1e-30) | (sizes == 0) | np.isnan(sizes)))
    assert ranks_alike(expression, core(expression), ties=1.0)
    assert core(core(expression)) is core(expression)


@given(st.integers(0, 2**32), st.lists(st.sampled_from(COATS), max_size=4, unique=True))
@settings(max_examples=60)
def test_no_value_is_outside_its_range(seed: int, coats: list[str]) -> None:
    """What a coat's proof rests on."""
    expression = dressed(seed, coats)
    values = values_of(expression, ROUGH)
    finite = values[np.isfinite(values)]
    known = value_range(expression)
    slack = 1e-5 * np.abs(finite)
    assert np.all(finite + slack >= known.low)
    assert np.all(finite - slack <= known.high)
    assert known.zero or np.all(finite != 0)
