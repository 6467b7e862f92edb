"""The compatibility mode against what AlphaAgent's published code answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from miner.raw_tree import largest_common, parse_raw
from signals.errors import ExpressionError
from signals.grammar import parse

DOCS = Path(__file__).resolve().parents[2] / "docs" / "originality.md"

#: Why our language answers otherwise than the regulator.
MINUS = "a minus may stand before anything"
NOT = "`!x` is read, as x == 0"
POWER = "`^` is read, as Alpha101 writes it"
NO_FIELD = "a factor reads bars, and this is a number"
SPELLED = "of the names without a dollar only Alpha101's are read"
BARE = "Alpha101's spelling of `$close`; operands are sorted"
OPERATOR = "an operator has the arguments that the table says"
SORTED = "operands that may be swapped are sorted"
ADDED = "a sum has one number, and its operands are sorted"


class Probe(NamedTuple):
    """A text, the regulator's answer, ours, and why they differ; None is a refusal."""

    text: str
    theirs: str | None
    ours: str | None
    reason: str = ""


PROBES = (
    Probe("-$close", None, "-1 * $close", MINUS),
    Probe("-RANK($close)", None, "-1 * RANK($close)", MINUS),
    Probe("$close-1", "($close - 1.0)", "$close - 1"),
    Probe("$close -1", "($close - 1.0)", "$close - 1"),
    Probe("1-$close", "(1.0 - $close)", "1 - $close"),
    Probe("$close - -1", "($close - -1.0)", "1 + $close", ADDED),
    Probe("RANK(-1*$close)", "RANK((-1.0 * $close))", "RANK(-1 * $close)"),
    Probe("-1*RANK($close)", "(-1.0 * RANK($close))", "-1 * RANK($close)"),
    Probe("($close>$open)?1:0", "(($close > $open) ? 1.0 : 0.0)", "$close > $open ? 1 : 0"),
    Probe(
        "$close>$open?$close:$open",
        "(($close > $open) ? $close : $open)",
        "$close > $open ? $close : $open",
    ),
    Probe(
        "$a>1?1:$b>2?2:3",
        "(($a > 1.0) ? 1.0 : (($b > 2.0) ? 2.0 : 3.0))",
        "$a > 1 ? 1 : $b > 2 ? 2 : 3",
    ),
    Probe(
        "($close>$open)&&($high>$low)",
        "(($close > $open) && ($high > $low))",
        "$close > $open && $high > $low",
    ),
    Probe(
        "($close>$open)||($high>$low)&&($a>1)",
        "(($close > $open) || (($high > $low) && ($a > 1.0)))",
        "$a > 1 && $high > $low || $close > $open",
        SORTED,
    ),
    Probe("!($a>1)", None, "0 == ($a > 1)", NOT),
    Probe("$close*$open*$high", "(($close * $open) * $high)", "$close * $high * $open", SORTED),
    Probe("$close-$open-$high", "(($close - $open) - $high)", "$close - $high - $open", SORTED),
    Probe("$close+$open*2>1", "(($close + ($open * 2.0)) > 1.0)", "$close + 2 * $open > 1", SORTED),
    Probe("1e-8", "1e-08", None, NO_FIELD),
    Probe("$close ^ 2", None, "POW($close, 2)", POWER),
    Probe("POW($close,2)", "POW($close, 2.0)", "POW($close, 2)"),
    Probe("$close%2", None, None),
    Probe("close+1", "(close + 1.0)", "1 + $close", BARE),
    Probe("MEAN()", "MEAN()", None, OPERATOR),
    Probe("$close == $open", "($close == $open)", "$close == $open"),
    Probe("TRUE", "TRUE", None, SPELLED),
    Probe("RANK($close)RANK($open)", None, None),
    Probe("$close>$open>$low", "(($close > $open) > $low)", "$close > $open > $low"),
    Probe("2**3", None, None),
    Probe(
        "$close - DELAY($close,1)/2",
        "($close - (DELAY($close, 1.0) / 2.0))",
        "$close - DELAY($close, 1) / 2",
    ),
    Probe("-0.5", "-0.5", None, NO_FIELD),
    Probe("- 0.5", None, None),
    Probe("1 -1", "(1.0 - 1.0)", None, NO_FIELD),
    Probe("(-1)*$close", "(-1.0 * $close)", "-1 * $close"),
    Probe("(-$close)", None, "-1 * $close", MINUS),
    Probe("MAX(-DELTA($close, 1), 0)", None, "MAX(0, -1 * DELTA($close, 1))", MINUS),
)


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> dict[str, Any]:
    """Return the published code's answers; they lie beside the real bars, never in a release."""
    path = shared_data.parent / "reference" / "alphaagent_similarity.json"
    if not path.is_file():
        pytest.skip(f"AlphaAgent's answers are not here: {path}")
    answers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return answers


def test_common_subtrees_are_the_reference_s_on_all_pairs(reference: dict[str, Any]) -> None:
    """300 pairs, 220 drawn evenly and 80 with something in common."""
    pairs = reference["pairs"]
    sizes = [largest_common(parse_raw(pair["a"]), parse_raw(pair["b"])) for pair in pairs]
    assert len(pairs) == 300
    assert sizes == [pair["lcs_size"] for pair in pairs]


def test_counts_are_the_reference_s_on_all_expressions(reference: dict[str, Any]) -> None:
    """Nodes, numeric constants and distinct variables of 100 expressions."""
    trees = [parse_raw(row["expression"]) for row in reference["counts"]]
    counted = [(tree.size, tree.constants, len(tree.variables)) for tree in trees]
    names = ("num_all_nodes", "num_free_args", "num_unique_vars")
    assert len(trees) == 100
    assert counted == [tuple(row[name] for name in names) for row in reference["counts"]]


def test_the_compatibility_grammar_reads_what_the_regulator_s_reads(
    reference: dict[str, Any],
) -> None:
    """Of 35 probes, the same are refused, and the others have as many nodes."""
    probes = reference["parser_probes"]
    assert len(probes) == 35
    assert [nodes_of(probe["expr"]) for probe in probes] == [p.get("nodes") for p in probes]


def test_the_probes_are_the_reference_s(reference: dict[str, Any]) -> None:
    """The table below repeats its texts and answers."""
    assert [(p.text, p.theirs) for p in PROBES] == [
        (row["expr"], row.get("ast")) for row in reference["parser_probes"]
    ]


def nodes_of(text: str) -> int | None:
    try:
        return parse_raw(text).size
    except ExpressionError:
        return None


@pytest.mark.parametrize("probe", PROBES, ids=[probe.text for probe in PROBES])
def test_our_language_s_answer_to_a_probe(probe: Probe) -> None:
    """Where it is another tree, or one refuses what the other reads, there is a reason."""
    try:
        ours = str(parse(probe.text))
    except ExpressionError:
        ours = None
    assert ours == probe.ours
    assert bool(probe.reason) == (not same_tree(probe.theirs, ours))


def same_tree(theirs: str | None, ours: str | None) -> bool:
    if theirs is None or ours is None:
        return theirs is ours
    return parse_raw(theirs) == parse_raw(ours)


@pytest.mark.parametrize("probe", PROBES, ids=[probe.text for probe in PROBES])
def test_a_probe_stands_in_the_documentation(probe: Probe) -> None:
    """With both answers and the reason."""
    assert row_of(probe) in DOCS.read_text(encoding="utf-8").splitlines()


def row_of(probe: Probe) -> str:
    """Return the row of the documentation's table."""
    cells = [f"`{text}`" if text else "refused" for text in probe[:3]]
    escaped = [cell.replace("|", "\\|") for cell in (*cells, probe.reason)]
    return f"| {' | '.join(escaped)} |"


@pytest.mark.parametrize(
    ("one", "other", "size"),
    [
        ("$a + $b * 2", "2 * $b + $a", 5),
        ("MAX($a, $b)", "MAX($b, $a)", 1),
        ("ADD($a, $b)", "$a + $b", 1),
        ("($a + $b) + $c", "$a + ($b + $c)", 1),
        ("$a - $b", "-1 * ($b - $a)", 1),
        ("TS_MEAN($a, 20) / TS_STD($a, 20)", "TS_MEAN($a, 21) / TS_STD($a, 21)", 1),
        ("TS_MEAN($a, 5)", "TS_MEAN($a, 5.0)", 3),
        ("RANK(TS_MEAN($a - $b, 5))", "1 - RANK(TS_MEAN($a - $b, 5))", 6),
        ("F($a) * G($b + 1, 2)", "3 / (G(1 + $b, 2) * F($a))", 8),
        ("$a > $b ? $c : 1", "$a > $b ? $c : 1.0", 6),
        ("$a && $b", "$b && $a", 3),
        ("F()", "F()", 1),
        ("$a", "$b", 0),
    ],
)
def test_the_compatibility_mode_is_as_easily_evaded(one: str, other: str, size: int) -> None:
    """Sizes the reference file lacks, and the evasions that `miner.originality` catches."""
    assert largest_common(parse_raw(one), parse_raw(other)) == size
