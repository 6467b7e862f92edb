"""The table of concepts: which words speak of one, and what it takes to compute it.

It is data (`miner/data/concepts.toml`, listed in `docs/alignment.md`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

Atom: TypeAlias = str
Phrases: TypeAlias = dict[str, list[tuple[tuple[str, ...], str]]]


@dataclass(frozen=True, slots=True)
class Concept:
    """One row of the table.

    Parameters
    ----------
    name : str
        As reasons call it.
    words : tuple of str
        Ways to speak of it.
    needs : tuple of frozenset of str
        Alternatives of atoms (`$volume`, `TS_STD`, a group's name) without one of which nobody can
        claim it; none where bars cannot carry it at all.
    lacks : str
        What to tell where none is there.
    covers : frozenset of str
        Fields that are named by naming the concept.
    tells : frozenset of str
        Operators that a description may not pass over in silence.
    minor : bool
        Whether it is a word said lightly, such as `change`.
    of : frozenset of str
        Concepts it is made of: it is spoken of where all of them are.
    like : frozenset of str
        Concepts by which a description may speak of it as well.
    of_fields : tuple of frozenset of str
        `needs` without the operators: what the fields alone must be able to carry.
    """

    name: str
    words: tuple[str, ...]
    needs: tuple[frozenset[Atom], ...]
    lacks: str
    covers: frozenset[str] = frozenset()
    tells: frozenset[str] = frozenset()
    minor: bool = False
    of: frozenset[str] = frozenset()
    like: frozenset[str] = frozenset()
    of_fields: tuple[frozenset[Atom], ...] = ()

    def is_carried(self, atoms: frozenset[Atom]) -> bool:
        """Return whether one alternative of what it needs is among `atoms`."""
        return any(need <= atoms for need in self.needs)


@dataclass(frozen=True, slots=True)
class FieldWords:
    """How a text names a field.

    Parameters
    ----------
    claims : tuple of str
        Words that name it for certain.
    covers : tuple of str
        Words that may mean it.
    any : frozenset of str
        Atoms one of which must be read where it is claimed.
    """

    claims: tuple[str, ...]
    covers: tuple[str, ...]
    any: frozenset[Atom]


def concepts() -> Mapping[str, Concept]:
    """Return the table of concepts by name, in its order."""
    return table().concepts


def field_words() -> Mapping[str, FieldWords]:
    """Return how fields are named, by field."""
    return table().fields


def telling_operators() -> frozenset[str]:
    """Return the operators that no description may pass over in silence."""
    return table().telling


def groups() -> Mapping[str, frozenset[Atom]]:
    """Return the groups of atoms by name."""
    return table().groups


def atoms_of(names: Iterable[str], operators: Iterable[str] = ()) -> frozenset[Atom]:
    """Return the atoms of fields and operators, with the groups that hold one of them."""
    plain = frozenset(f"${name}" for name in names) | frozenset(operators)
    return plain | {name for name, members in groups().items() if members & plain}


@dataclass(frozen=True, slots=True)
class Table:
    """The whole table; phrases stand under their first word, the longest first."""

    concepts: Mapping[str, Concept]
    fields: Mapping[str, FieldWords]
    groups: Mapping[str, frozenset[Atom]]
    telling: frozenset[str]
    spans: Mapping[str, int]
    spoken: Phrases
    ignored: Phrases
    direction: Phrases


@cache
def table() -> Table:
    """Return the packaged table."""
    raw = tomllib.loads(files("miner").joinpath("data/concepts.toml").read_text("utf-8"))
    grouped = {name: frozenset(members) for name, members in raw["groups"].items()}
    known = {name: _concept(name, row, grouped) for name, row in raw["concepts"].items()}
    named = {
        name: FieldWords(tuple(row["claims"]), tuple(row["covers"]), frozenset(row["any"]))
        for name, row in raw["fields"].items()
    }
    said = [(word, f"concept:{c.name}") for c in known.values() for word in c.words]
    said += [(word, f"claims:{name}") for name, row in named.items() for word in row.claims]
    said += [(word, f"covers:{name}") for name, row in named.items() for word in row.covers]
    return Table(
        concepts=known,
        fields=named,
        groups=grouped,
        telling=frozenset(op for concept in known.values() for op in concept.tells),
        spans=raw["spans"],
        spoken=_phrases(said),
        ignored=_phrases((phrase, "") for phrase in raw["ignored"]["phrases"]),
        direction=_phrases((w, side) for side, ws in raw["direction"].items() for w in ws),
    )


def _concept(name: str, row: Mapping[str, Any], grouped: Mapping[str, frozenset[Atom]]) -> Concept:
    """Return a row of the table."""
    of_fields = {group for group, members in grouped.items() if _are_fields(members)}
    needs = tuple(frozenset(need) for need in row["needs"])
    return Concept(
        name=name,
        words=tuple(row["words"]),
        needs=needs,
        lacks=row["lacks"],
        covers=frozenset(row.get("covers", ())),
        tells=frozenset(row.get("tells", ())),
        minor=row.get("minor", False),
        of=frozenset(row.get("of", ())),
        like=frozenset(row.get("like", ())),
        of_fields=tuple(
            frozenset(atom for atom in need if _are_fields([atom]) or atom in of_fields)
            for need in needs
        ),
    )


def _are_fields(atoms: Iterable[Atom]) -> bool:
    return all(atom.startswith("$") for atom in atoms)


def _phrases(rows: Iterable[tuple[str, str]]) -> Phrases:
    """Return phrases and their plurals by their first word, the longest first."""
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for text, key in rows:
        for form in (text, f"{text}s"):
            words = tuple(form.split())
            found.setdefault(words[0], []).append((words, key))
    return {first: sorted(rows, key=lambda row: -len(row[0])) for first, rows in found.items()}
