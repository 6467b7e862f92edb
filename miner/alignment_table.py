"""The rules of alignment as the documentation has them: deductions, concepts, mechanisms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from miner.alignment import DEDUCTIONS
from miner.causes import MECHANISMS
from miner.concepts import Concept, concepts


def describe_deductions() -> str:
    """Return what each fault costs as a Markdown table."""
    rows = [
        (name, rule.part, f"{rule.amount:g}", f"{rule.most:g}", rule.fault)
        for name, rule in DEDUCTIONS.items()
    ]
    return _table(("kind", "of", "one", "at most", "what is wrong"), rows)


def describe_concepts() -> str:
    """Return the table of concepts as Markdown."""
    rows = [
        (
            concept.name,
            _words(concept),
            _needs(concept),
            concept.lacks,
            ", ".join(sorted(concept.like)),
            _names(concept.tells),
        )
        for concept in concepts().values()
    ]
    return _table(
        (
            "concept",
            "words",
            "needs one of",
            "else told",
            "or described as",
            "not to be passed over",
        ),
        rows,
    )


def describe_mechanisms() -> str:
    """Return the mechanisms of the offline proposer as Markdown."""
    rows = [
        (m.name, ", ".join(m.subjects), m.expects or "the literature is divided", m.source)
        for m in MECHANISMS
    ]
    return _table(("mechanism", "an expression of it shows", "expected", "source"), rows)


def _words(concept: Concept) -> str:
    said = ", ".join(concept.words) or " with ".join(sorted(concept.of))
    return f"{said} (said lightly)" if concept.minor else said


def _needs(concept: Concept) -> str:
    """Return the alternatives, their parts joined by plus signs."""
    return (
        ", ".join(
            " + ".join(
                f"`{atom}`" if atom.upper() == atom or atom[0] == "$" else f"any {atom}"
                for atom in sorted(need)
            )
            for need in concept.needs
        )
        or "nothing a bar holds"
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
