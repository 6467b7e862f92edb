"""Alignment by rules: what fits scores high, what does not scores low and is told why."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miner.alignment import Alignment, alignment, subjects
from miner.alignment_table import describe_concepts, describe_deductions, describe_mechanisms
from miner.concepts import concepts, field_words, groups
from miner.hypothesis import MECHANISMS, Hypothesis, description_for, hypothesis_for, hypothesis_of
from miner.sampling import Vocabulary, sample
from miner.spoken import spoken
from miner.units import RATIO
from signals.expression import Expression
from signals.grammar import parse
from signals.operators import OPERATORS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "alignment.md"
FIELDS = ("open", "high", "low", "close", "volume")


def about(mechanism: str, fields: str, horizon: int = 0, direction: int = 0) -> Hypothesis:
    return Hypothesis("", "", "", "", tuple(fields.split()), direction, horizon, mechanism)


def judged(hypothesis: Hypothesis, description: str, text: str, *, measured: int = 0) -> Alignment:
    return alignment(hypothesis, description, parse(text), measured=measured)


ALIGNED = [
    (
        about("liquidity", "close volume", 20),
        "20-session average illiquidity: absolute return of the close over the volume traded",
        "TS_MEAN(ABS(TS_PCTCHANGE($close, 1)) / ($volume / TS_MEAN($volume, 20)), 20)",
    ),
    (
        about("overnight move", "open close", 10),
        "Overnight return, the open relative to the previous close, averaged over ten days",
        "TS_MEAN($open / DELAY($close, 1), 10)",
    ),
    (
        about("reversal", "close", 5, -1),
        "Stocks with a high 5-day return underperform: short-term reversal of the closing price.",
        "TS_PCTCHANGE($close, 5)",
    ),
    (
        about("volatility", "close", 20, -1),
        "Volatility of daily returns over a month. Low-volatility stocks earn higher returns.",
        "TS_STD(TS_PCTCHANGE($close, 1), 20)",
    ),
    (
        about("price and volume", "close volume", 20),
        "Correlation between price changes and volume changes over the last 20 trading days",
        "TS_CORR(TS_PCTCHANGE($close, 1), TS_PCTCHANGE($volume, 1), 20)",
    ),
    (
        about("width of the range", "high low close", 10),
        "Ratio of the high-low range to the close, smoothed with a 10-day moving average",
        "TS_MEAN(($high - $low) / $close, 10)",
    ),
]


@pytest.mark.parametrize(("hypothesis", "description", "text"), ALIGNED)
def test_words_of_people_that_fit_score_1(
    hypothesis: Hypothesis, description: str, text: str
) -> None:
    """Nothing is taken off where hypothesis, description and expression agree."""
    assert judged(hypothesis, description, text) == Alignment(1.0, 1.0)


def test_liquidity_of_closing_prices_is_low_in_both() -> None:
    """Who says liquidity and reads no volume, spread or range is refused, and told so."""
    said = judged(
        about("liquidity", "close", 20), "Liquidity over 20 sessions", "TS_PCTCHANGE($close, 20)"
    )
    assert said.described <= 0.3
    assert said.expressed <= 0.3
    assert "says liquidity, reads no volume, no spread and no range" in said.reasons


def test_liquidity_is_low_in_both_though_the_hypothesis_names_a_volume() -> None:
    """A field the hypothesis only speaks about carries nothing: it has to be read."""
    said = judged(
        about("liquidity", "close volume"), "Liquidity by volume", "TS_PCTCHANGE($close, 20)"
    )
    assert max(said.described, said.expressed) <= 0.3


def test_overnight_without_an_open_is_refused() -> None:
    """A close alone knows no night."""
    said = judged(
        about("overnight", "close", 10),
        "The mean overnight gap over 10 sessions",
        "TS_MEAN(TS_PCTCHANGE($close, 1), 10)",
    )
    assert said.score < 0.3
    assert "says overnight, reads no open beside a close" in said.reasons


def test_sixty_sessions_that_are_five_cost_most_of_c2() -> None:
    """Windows named in words are looked for in the tree, and the horizon in its lookback."""
    said = judged(
        about("momentum", "close", 60),
        "60-session momentum of the closing price",
        "TS_PCTCHANGE($close, 5)",
    )
    assert said.score <= 0.35
    assert said.expressed <= 0.1
    assert "says 60 sessions, uses 5" in said.reasons


def test_naming_the_window_never_costs() -> None:
    """A horizon that is wrong costs the same whether or not the description names windows."""
    silent, named = (
        judged(about("momentum", "close", 60), words, "TS_PCTCHANGE($close, 5)").score
        for words in ("Momentum of the close", "5-session momentum of the close")
    )
    assert named > silent


@pytest.mark.parametrize(
    ("words", "sessions"),
    [
        ("a 20-session mean", (20,)),
        ("over two weeks and 3 months", (10, 63)),
        ("monthly", (21,)),
        ("the last 20 trading days", (20,)),
        ("10d against 60D", (10, 60)),
        ("a year", (252,)),
        ("the next 5 days", ()),
        ("5-day forward return", ()),
        ("yesterday", ()),
        ("99999999999999999999 days", ()),
    ],
)
def test_windows_are_read_from_words(words: str, sessions: tuple[int, ...]) -> None:
    """Sessions, days, weeks, months and years of the past; the future is no window."""
    assert spoken(words).spans == sessions


@pytest.mark.parametrize(
    ("words", "direction"),
    [
        ("High values should go with low returns.", -1),
        ("Low turnover outperforms, high turnover. Low turnover: no. Winners outperform", 0),
        ("Low-volatility stocks earn higher returns", -1),
        ("Past winners underperform", -1),
        ("Illiquid assets earn more; liquid assets earn less", 1),
        ("High volatility", 0),
        ("Outperform", 0),
    ],
)
def test_a_direction_is_a_side_before_an_outcome(words: str, direction: int) -> None:
    """Sentences that contradict each other state none."""
    said = spoken(words.replace("outperforms", "outperform"))
    assert said.direction == direction


def test_a_measured_sign_against_the_stated_one_costs() -> None:
    """A quarter of C; nothing where the sign is the stated one, or none is stated."""
    hypothesis, description, text = ALIGNED[2]
    assert judged(hypothesis, description, text, measured=-1).score == 1.0
    assert judged(hypothesis, description, text, measured=1).score == 0.75
    assert judged(hypothesis.oriented(0), description, text, measured=1).score == 1.0


def test_a_description_of_the_contrary_direction_costs() -> None:
    """Half of c1, more than saying nothing."""
    hypothesis, _, text = ALIGNED[2]
    contrary = "A high 5-day return of the close goes with high returns: no reversal."
    silent = "Reversal: 5-day return of the close."
    assert judged(hypothesis, contrary, text).described == 0.5
    assert judged(hypothesis, silent, text).described == 0.9


def test_a_turned_expression_may_be_described_by_what_it_turns() -> None:
    """`-1 * return` points up where losers outperform: no contradiction is seen in that."""
    said = judged(
        about("reversal", "close", 5, 1),
        "Negative of the 5-day return. Recent losers outperform recent winners over the next week.",
        "-1 * TS_PCTCHANGE($close, 5)",
    )
    assert said.score == 1.0


def test_an_empty_description_describes_nothing() -> None:
    """C is near 0 where the words could be about anything."""
    for words in ("", "A great factor.", "\0\0\0"):
        said = judged(about("turnover", "volume", 20), words, "$volume / TS_MEAN($volume, 20)")
        assert said.score < 0.1


def test_a_concept_no_bar_carries_is_never_carried() -> None:
    """Earnings and seasons are not in the bars."""
    said = judged(about("turnover", "volume"), "Volume after earnings", "TS_RANK($volume, 20)")
    assert "says beyond bars, no bar holds that" in said.reasons
    assert said.expressed <= 0.3


def test_a_part_of_a_word_says_nothing() -> None:
    """`arrange` is no range, `closely` no close, `rangé` neither."""
    for words in ("arrange", "ranged", "closely", "rangé", "illiquidities", "opened", "volumes4"):
        assert spoken(words).is_empty, words
    assert spoken("ranges").concepts == {"range"}
    assert spoken("ＶＯＬＵＭＥ").claimed == {"volume"}


def test_the_longest_phrase_is_the_one_said() -> None:
    """`mean reversion` takes no mean, `bid-ask spread` is not just any spread."""
    assert spoken("mean reversion").concepts == {"reversal"}
    assert spoken("bid-ask spread").concepts == {"bid-ask spread"}
    assert spoken("gap between the two").is_empty


def test_negations_are_not_understood() -> None:
    """`without volume` speaks of volume; the page says so."""
    assert spoken("without volume").claimed == {"volume"}
    assert "egations" in PAGE.read_text(encoding="utf-8")


def test_the_subject_is_the_mechanism_else_what_was_observed() -> None:
    """The first text with a concept decides."""
    hypothesis = Hypothesis("volume rises", "then ranges widen", "", "", ("volume",))
    assert subjects(hypothesis) == ("activity",)
    assert subjects(replace(hypothesis, mechanism="volatility")) == ("volatility",)
    assert subjects(replace(hypothesis, observation="", mechanism="x")) == ("range",)


def drawn(n: int, seed: int) -> list[Expression]:
    words, rng = Vocabulary.of(FIELDS), np.random.default_rng(seed)
    return [sample(RATIO, int(rng.integers(2, 5)), words, rng) for _ in range(n)]


def test_shuffled_descriptions_and_hypotheses_score_low() -> None:
    """Own words give 1.00; another's description 0.26, another's hypothesis 0.56 (mean of 400)."""
    expressions = drawn(400, 7)
    whys = [hypothesis_for(e) for e in expressions]
    words = [description_for(h, e) for h, e in zip(whys, expressions, strict=True)]
    order = np.random.default_rng(8).permutation(len(expressions))

    def mean(hypotheses: list[Hypothesis], descriptions: list[str]) -> float:
        triples = zip(hypotheses, descriptions, expressions, strict=True)
        return float(np.mean([alignment(*triple).score for triple in triples]))

    assert mean(whys, words) >= 0.99
    assert mean(whys, [words[i] for i in order]) < 0.4
    assert mean([whys[i] for i in order], words) < 0.65


FAULTS = ("claim", "other field", "window", "direction", "horizon", "fields", "subject", "refuted")


def spoilt(expression: Expression, faults: frozenset[str]) -> float:
    """Return C of an aligned candidate after `faults` were put into it."""
    hypothesis = hypothesis_for(expression, direction=1)
    description = description_for(hypothesis, expression)
    if "claim" in faults:
        description += " It shows seasonality."
    if "other field" in faults:
        description += " It reads $vwap."
    if "window" in faults:
        description += " It spans 1900 sessions."
    if "direction" in faults:
        description = description.replace("with high returns", "with low returns")
    if "horizon" in faults:
        hypothesis = replace(hypothesis, horizon=hypothesis.horizon * 20 + 400)
    if "fields" in faults:
        hypothesis = replace(hypothesis, fields=(*hypothesis.fields, "vwap"))
    if "subject" in faults:
        hypothesis = replace(hypothesis, mechanism="seasonality")
    measured = -1 if "refuted" in faults else 1
    return alignment(hypothesis, description, expression, measured=measured).score


@pytest.mark.parametrize("expression", drawn(12, 9), ids=str)
def test_repairing_a_fault_never_lowers_the_score(expression: Expression) -> None:
    """Whatever else is wrong, with one fault less C is not lower; the first always costs."""
    assert spoilt(expression, frozenset()) == 1.0
    for fault in FAULTS:
        assert spoilt(expression, frozenset({fault})) < 1.0 or fault == "fields"
    for n in (2, 3):
        for faults in combinations(FAULTS, n):
            worse = spoilt(expression, frozenset(faults))
            for fault in faults:
                assert spoilt(expression, frozenset(faults) - {fault}) >= worse


HOSTILE = [
    "volume " * 1500,
    "high low " * 1200 + "range",
    "20 " * 3000 + "sessions",
    "\x00\x1b[31m\u202e\ud800\uffff" * 1000,
    "ﷺ" * 10_000,
    "price and volume and " * 500,
    "((((" * 3000,
    "٣ days " * 1000,
    "a" * 1_000_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_is_read_fast_and_safely(text: str) -> None:
    """Ten kilobytes of anything take under a quarter of a second of computing and give a score."""
    start = process_time()
    said = judged(about(text, "close"), text, "TS_PCTCHANGE($close, 5)")
    assert process_time() - start < 0.25
    assert 0.0 <= said.score <= 1.0


@given(text=st.text(max_size=200), name=st.text(max_size=40), measured=st.sampled_from((-1, 0, 1)))
def test_any_text_gives_a_score_in_bounds_and_always_the_same(
    text: str, name: str, measured: int
) -> None:
    """Scores are in [0, 1], and a deduction has a reason."""
    hypothesis = about(name, "close", 5, 1)
    said = judged(hypothesis, text, "TS_PCTCHANGE($close, 5)", measured=measured)
    assert said == judged(hypothesis, text, "TS_PCTCHANGE($close, 5)", measured=measured)
    assert 0.0 <= said.described <= 1.0
    assert 0.0 <= said.expressed <= 1.0
    assert bool(said.reasons) == (said.score < 1.0)
    assert Alignment.from_json(said.to_json()) == said


def test_the_table_names_only_what_exists() -> None:
    """Fields, operators and groups of the table are there, and every concept is reachable."""
    known = {f"${name}" for name in field_words()} | set(OPERATORS)
    known |= {"$industry", "$sector", "$subindustry"}
    assert all(members <= known for members in groups().values())
    for concept in concepts().values():
        assert all(need <= known | groups().keys() for need in concept.needs), concept.name
        assert concept.tells <= OPERATORS.keys(), concept.name
        assert concept.like | concept.of <= concepts().keys(), concept.name
        assert all(concept.name in spoken(word).concepts for word in concept.words), concept.name


def test_the_page_is_what_the_tables_say() -> None:
    """docs/alignment.md holds deductions, concepts and mechanisms as the code has them."""
    page = PAGE.read_text(encoding="utf-8")
    assert describe_deductions() in page
    assert describe_concepts() in page
    assert describe_mechanisms() in page
    assert all(f"| {name} |" in describe_concepts() for name in concepts())


def test_an_expression_of_another_mechanism_scores_half() -> None:
    """A mutation that has left its mechanism keeps the honest half of C and loses the other."""
    liquidity = next(m for m in MECHANISMS if m.name == "liquidity")
    drifted = parse("TS_MEAN($close / $open, 5)")
    hypothesis = hypothesis_of(liquidity, drifted)
    said = alignment(hypothesis, description_for(hypothesis, drifted), drifted)
    assert said.described <= 0.3
    assert said.expressed == 1.0
