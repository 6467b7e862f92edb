"""The packaged zoos, a user's own, and the formulas AlphaAgent's authors published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from miner.zoo import ZOOS, left_out, parse_zoo, zoo
from signals.errors import ConfigError, ExpressionError
from signals.expression import fields
from signals.grammar import parse

#: Formulas as their sources print them, in other libraries' spelling.
PRINTED = {
    "alpha_001": "(rank(Ts_ArgMax(SignedPower(((returns < 0) ? stddev(returns, 20) : close), 2.), "
    "5)) - 0.5)",
    "alpha_007": "((adv20 < volume) ? ((-1 * ts_rank(abs(delta(close, 7)), 60)) * "
    "sign(delta(close, 7))) : (-1 * 1))",
    "alpha_041": "(((high * low)^0.5) - vwap)",
    "alpha_061": "(rank((vwap - ts_min(vwap, 16.1219))) < rank(correlation(vwap, adv180, "
    "17.9282)))",
    "alpha_071": "max(Ts_Rank(decay_linear(correlation(Ts_Rank(close, 3.43976), Ts_Rank(adv180, "
    "12.0647), 18.0175), 4.20501), 15.6948), Ts_Rank(decay_linear((rank(((low + open) - (vwap + "
    "vwap)))^2), 16.4662), 4.4388))",
    "alpha_084": "SignedPower(Ts_Rank((vwap - ts_max(vwap, 15.3217)), 20.7127), "
    "delta(close, 4.96796))",
    "KUP2": "($high-Greater($open, $close))/($high-$low+1e-12)",
    "BETA20": "Slope($close, 20)/$close",
    "RSQR60": "Rsquare($close, 60)",
    "RESI5": "Resi($close, 5)/$close",
    "QTLU10": "Quantile($close, 10, 0.8)/$close",
    "IMXD30": "(IdxMax($high, 30)-IdxMin($low, 30))/30",
    "CNTD5": "Mean($close>Ref($close, 1), 5)-Mean($close<Ref($close, 1), 5)",
    "SUMN20": "Sum(Greater(Ref($close, 1)-$close, 0), 20)/"
    "(Sum(Abs($close-Ref($close, 1)), 20)+1e-12)",
}

#: The Alpha101 formulas of which AlphaAgent's transcription and ours are one tree. The others
#: lack vwap and industries, take volume for dollar volume, round windows, or differ by mistake.
TRANSCRIBED_ALIKE = (
    *(2, 3, 4, 6, 9, 10, 12, 13, 15, 16, 18, 20, 22, 23, 24, 26, 37, 38, 40, 44, 46, 49, 51),
    *(53, 54, 55, 60, 101),
)

_FRACTION = "is given a window of .*\\."
_ARGUMENTS = "has . arguments"
_TEXT = "unexpected|ends too early"
#: What cannot be read of `alphaagent_zoo.json`: place, name, what is wrong with it, our error.
UNREAD = (
    (44, "Alpha#45", "correlates over two sessions, which gives a sign", "a window of 2"),
    (62, "Alpha#63", "a window that is no whole number", _FRACTION),
    (63, "Alpha#64", "a window that is no whole number", _FRACTION),
    (64, "Alpha#65", "a window that is no whole number", _FRACTION),
    (65, "Alpha#66", "a window that is no whole number", _FRACTION),
    (66, "Alpha#67", "a window that is no whole number", _FRACTION),
    (71, "Alpha#72", "a window that is no whole number", _FRACTION),
    (77, "Alpha#78", "SUM without a window", _ARGUMENTS),
    (80, "Alpha#81", "a window that is no whole number", _FRACTION),
    (81, "Alpha#82", "a window that is no whole number", _FRACTION),
    (92, "Alpha#93", "a window that is no whole number", _FRACTION),
    (97, "Alpha#98", "a window that is no whole number", _FRACTION),
    (101, "factor_name", "the heading of a table", "bare name"),
    (126, "3", "** for a power", _TEXT),
    (127, "4", "a parenthesis too many", _TEXT),
    (132, "10", "a parenthesis too many", _TEXT),
    (140, "18", "SIGN with two arguments", _ARGUMENTS),
    (141, "19", "a parenthesis too many", _TEXT),
    (149, "Price_Volume_Trend_Factor_V1", "a parenthesis too few", _TEXT),
    (158, "5", "a misplaced parenthesis", _TEXT),
    (163, "9", "a misplaced parenthesis", _TEXT),
    (191, "36", "a misplaced parenthesis", _TEXT),
    (192, "37", "a misplaced parenthesis", _TEXT),
    (203, "30", "a parenthesis too many", _TEXT),
    (204, "31", "a parenthesis too many", _TEXT),
    (206, "33", "an ellipsis for an argument", _TEXT),
    (210, "37", "an ellipsis for an argument", _TEXT),
    (211, "38", "an ellipsis for an argument", _TEXT),
    (212, "39", "an ellipsis for an argument", _TEXT),
    (214, "41", "an ellipsis for an argument", _TEXT),
    (219, "46", "an ellipsis for an argument", _TEXT),
    (221, "48", "an ellipsis for an argument", _TEXT),
    (238, "Adaptive Smoothing and Weighting Factor\tDECAYLINEAR", "cut at a stray tab", _TEXT),
    (239, "2", "EMA of span 200 looks back 1999 sessions", "1999 sessions of lookback"),
    (240, "Moving Average Crossover Factor", "a delay of 0 sessions", "a window of 0"),
    (241, "Bollinger Bands Width Factor", "SMA(x, 20, 1e-8) has no end", "lookback|SMA is"),
)


@pytest.fixture(scope="module")
def published(shared_data: Path) -> list[dict[str, Any]]:
    """Return AlphaAgent's published formulas; they lie beside the real bars, never in a release."""
    path = shared_data.parent / "reference" / "alphaagent_zoo.json"
    if not path.is_file():
        pytest.skip(f"AlphaAgent's formulas are not here: {path}")
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["factors"]
    return rows


def test_the_packaged_zoos_are_whole_and_name_their_source() -> None:
    """82 of 101 formulas need only bars, the rest are accounted for; Alpha158 has its 158."""
    alpha101, alpha158 = map(zoo, ZOOS)
    numbers = {entry.name for entry in alpha101} | left_out("alpha101").keys()
    assert numbers == {f"alpha_{n:03d}" for n in range(1, 102)}
    assert (len(alpha101), len(left_out("alpha101"))) == (82, 19)
    assert (len(alpha158), left_out("alpha158")) == (158, {})
    assert {entry.source for entry in alpha101} == {
        "Kakushadze (2015), 101 Formulaic Alphas, arXiv:1601.00991"
    }
    assert all("qlib" in entry.source and "MIT" in entry.source for entry in alpha158)


@pytest.mark.parametrize("name", ZOOS)
def test_every_entry_reads_bars_only_and_prints_as_itself(name: str) -> None:
    """What an entry prints parses to the same tree; it needs prices and volume."""
    for entry in zoo(name):
        assert parse(str(entry.expression)) == entry.expression, entry.name
        assert fields(entry.expression) <= {"open", "high", "low", "close", "volume", "vwap"}


@pytest.mark.parametrize("name", PRINTED)
def test_an_entry_is_what_its_source_prints(name: str) -> None:
    """A formula in its own library's spelling is the same tree as the packaged entry."""
    entries = {entry.name: entry.expression for known in ZOOS for entry in zoo(known)}
    assert parse(PRINTED[name]) == entries[name]


def test_an_unknown_zoo_is_refused_with_the_names_there_are() -> None:
    """The error names every packaged zoo."""
    with pytest.raises(ConfigError) as caught:
        zoo("alpha360")
    assert caught.value.rule == "the packaged zoos are alpha101, alpha158"


def test_a_users_own_zoo_may_be_written_in_any_dialect() -> None:
    """Names, expressions and source come back in the file's order."""
    text = 'source = "mine"\n[factors]\nslow = "Mean($close, 50)"\nfast = "ts_mean(close, 5)"\n'
    slow, fast = parse_zoo(text, file="own.toml")
    assert slow == ("slow", parse("TS_MEAN($close, 50)"), "mine")
    assert fast == ("fast", parse("TS_MEAN($close, 5)"), "mine")


def test_a_wrong_expression_is_refused_with_file_entry_and_column() -> None:
    """The error says where to look."""
    text = 'source = "mine"\n[factors]\nslow = "RANK(Ref($close, -1))"\n'
    with pytest.raises(ExpressionError, match=r"own.toml, entry 'slow': .*column 6"):
        parse_zoo(text, file="own.toml")


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("source = ", "own.toml is no TOML: .*"),
        ("x = 1", "own.toml has the unknown key 'x'"),
        ('[factors]\nslow = "$close"', "own.toml names no source"),
        ('source = "mine"', "own.toml has no factors"),
        ('source = "mine"\n[factors]\nslow = 3', "own.toml, entry 'slow': 3 is no text"),
    ],
)
def test_a_malformed_zoo_is_refused(text: str, fact: str) -> None:
    """The error names the file and what is wrong with it."""
    with pytest.raises(ConfigError, match=fact):
        parse_zoo(text, file="own.toml")


def test_alphaagents_formulas_are_read_but_for_those_that_are_none(
    published: list[dict[str, Any]],
) -> None:
    """Every published formula parses and prints as itself, or is refused for its stated reason."""
    unread = {place: (name, error) for place, name, _, error in UNREAD}
    for place, row in enumerate(published):
        if place in unread:
            name, error = unread[place]
            assert row["name"] == name
            with pytest.raises(ExpressionError, match=error):
                parse(row["expression"])
        else:
            expression = parse(row["expression"])
            assert parse(str(expression)) == expression


def test_two_transcriptions_of_the_paper_agree(published: list[dict[str, Any]]) -> None:
    """Where AlphaAgent's authors changed nothing for want of data, their tree is ours."""
    theirs = {row["name"]: row["expression"] for row in published if row["is_alpha101"]}
    ours = {entry.name: entry.expression for entry in zoo("alpha101")}
    for n in TRANSCRIBED_ALIKE:
        assert parse(theirs[f"Alpha#{n}"]) == ours[f"alpha_{n:03d}"], n
