"""The language as the documentation has it: every operator, and what other spellings mean."""

from __future__ import annotations

from collections.abc import Sequence

from signals.dialects import SPELLINGS, UNSUPPORTED
from signals.operators import OPERATORS, Kind, Operator

_TITLES = {
    Kind.ELEMENTWISE: "Each value by itself",
    Kind.CROSS_SECTION: "Over the assets of a session",
    Kind.TIME_SERIES: "Over the sessions of an asset",
}


def describe_operators() -> str:
    """Return the operator table as Markdown, one section for each kind."""
    head = (
        "operator",
        "meaning",
        "formula",
        "lookback",
        "missing values, ties",
        "source",
        "where AlphaAgent's code does something else",
    )
    sections = []
    for kind, title in _TITLES.items():
        rows = [_row(operator) for operator in OPERATORS.values() if operator.kind is kind]
        sections.append(f"## {title}\n\n{_table(head, rows)}")
    return "\n".join(sections)


def describe_spellings() -> str:
    """Return the spellings of other libraries as Markdown, one section for each library."""
    sections = []
    for library in dict.fromkeys(row.library for row in SPELLINGS.values()):
        rows = [
            (f"`{row.call}`", f"`{row.meaning}`", row.note)
            for row in SPELLINGS.values()
            if row.library == library
        ]
        sections.append(f"## {library}\n\n{_table(('written', 'means', 'note'), rows)}")
    refused = [(f"`{name}`", reason) for name, reason in UNSUPPORTED.items()]
    sections.append(f"## Not supported\n\n{_table(('name', 'reason'), refused)}")
    return "\n".join(sections)


def _row(operator: Operator) -> tuple[str, ...]:
    return (
        f"`{operator.signature}`",
        operator.doc,
        operator.formula,
        (operator.behind.__doc__ or "").rpartition(": ")[2].rstrip("."),
        operator.missing,
        operator.source,
        operator.deviates,
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *([c.replace("|", "\\|") for c in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
