"""What a text speaks of: concepts, fields, windows and a direction, by whole words.

A word counts wherever it stands: `without volume` speaks of volume, because negations are not
understood. Reading takes time in proportion to the text, of which only the beginning is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from miner.concepts import Phrases, table

#: Characters of a text that are read; more than any honest description has.
LONGEST_TEXT = 4_000
#: Longest span in sessions that a text can name; larger numbers are no windows.
LONGEST_SPAN = 2_000

#: Marks the end of a sentence among the words; a phrase spans neither this nor other punctuation.
_STOP = "."
_PAUSE = ","
_WORD = re.compile(r"\$?[^\W_]+|[.;!?]|[,:()]")
_MARKS = {";": _STOP, "!": _STOP, "?": _STOP, ":": _PAUSE, "(": _PAUSE, ")": _PAUSE}
_NUMBERED = re.compile(r"(\d{1,4})(d|w|m|y)?")
_UNITS = {"d": "day", "w": "week", "m": "month", "y": "year"}
_NUMBERS = {
    name: n
    for n, name in enumerate(
        ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
         "twelve"), 1)
} | {"a": 1, "an": 1, "fifteen": 15, "twenty": 20, "thirty": 30, "sixty": 60}  # fmt: skip
_BETWEEN = frozenset({"trading", "business", "calendar", "consecutive"})
_AHEAD = frozenset({"next", "following", "coming", "subsequent", "future", "forward", "ahead"})


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a text speaks of.

    Parameters
    ----------
    concepts : frozenset of str
        Names of concepts.
    claimed, covered : frozenset of str
        Fields named for certain, and those that are named or implied.
    spans : tuple of int
        Sessions of the windows it names, ascending; those of the future are left out.
    direction : int
        +1 or -1 where it says with what return a high value goes, 0 where it does not.
    """

    concepts: frozenset[str] = frozenset()
    claimed: frozenset[str] = frozenset()
    covered: frozenset[str] = frozenset()
    spans: tuple[int, ...] = ()
    direction: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no concept and no field is spoken of."""
        return not self.concepts and not self.covered


def spoken(text: str) -> Spoken:
    """Return what `text` speaks of; only its first `LONGEST_TEXT` characters are read."""
    return _spoken(text[:LONGEST_TEXT])


@lru_cache(maxsize=512)
def _spoken(text: str) -> Spoken:
    known = table()
    words = tokens(text)
    heard = frozenset(_matches(_without(words, known.ignored), known.spoken))
    named = {key.partition(":")[2] for key in heard if key.startswith("concept:")}
    named |= {c.name for c in known.concepts.values() if c.of and c.of <= named}
    claimed = {key.partition(":")[2] for key in heard if key.startswith("claims:")}
    covered = {key.partition(":")[2] for key in heard if key.startswith("covers:")}
    implied = {name for concept in named for name in known.concepts[concept].covers}
    return Spoken(
        concepts=frozenset(named),
        claimed=frozenset(claimed),
        covered=frozenset(claimed | covered | implied),
        spans=_spans(words, known.spans),
        direction=_direction(words, known.direction),
    )


def tokens(text: str) -> list[str]:
    """Return the words of a text in lower case; the end of a sentence is a word too."""
    plain = unicodedata.normalize("NFKC", text[:LONGEST_TEXT])[:LONGEST_TEXT].casefold()
    return [_MARKS.get(word, word) for word in _WORD.findall(plain)]


def _at(words: Sequence[str], i: int, phrases: Phrases) -> tuple[int, list[str]]:
    """Return length and keys of the longest phrases that begin at word `i`; 0 and none."""
    length, keys = 0, list[str]()
    for phrase, key in phrases.get(words[i], ()):
        if len(phrase) < length:
            break
        if tuple(words[i : i + len(phrase)]) == phrase:
            length = len(phrase)
            keys.append(key)
    return length, keys


def _matches(words: Sequence[str], phrases: Phrases) -> Iterator[str]:
    """Yield the keys of all phrases, longest first, none inside another."""
    i = 0
    while i < len(words):
        length, keys = _at(words, i, phrases)
        yield from keys
        i += max(length, 1)


def _without(words: Sequence[str], phrases: Phrases) -> list[str]:
    """Return `words` with a pause in the place of each of `phrases`."""
    kept, i = list[str](), 0
    while i < len(words):
        length, _ = _at(words, i, phrases)
        kept.append(_PAUSE if length else words[i])
        i += max(length, 1)
    return kept


def _spans(words: Sequence[str], spans: Mapping[str, int]) -> tuple[int, ...]:
    """Return the spans a text names: `20-session`, `two weeks`, `20d`, `a month`, `monthly`."""
    found = set[int]()
    for i, word in enumerate(words):
        number, unit = _NUMBERED.fullmatch(word), word.removesuffix("s")
        named = unit in spans or (number and number[2])
        if not named or not _AHEAD.isdisjoint(words[max(0, i - 3) : i + 2]):
            continue
        if number and number[2]:
            found.add(int(number[1]) * spans[_UNITS[number[2]]])
        else:
            count = _count(words, i)
            if count is not None:
                found.add(count * spans[unit])
            elif spans[unit] > 1:
                found.add(spans[unit])
    return tuple(sorted(n for n in found if 0 < n <= LONGEST_SPAN))


def _count(words: Sequence[str], i: int) -> int | None:
    """Return the number before the unit at `i` (`20 trading days`), None if there is none."""
    place = i - 1 - (i > 1 and words[i - 1] in _BETWEEN)
    word = words[place] if place >= 0 else ""
    if word.isascii() and word.isdecimal() and len(word) <= 4:
        return int(word)
    return _NUMBERS.get(word)


def _direction(words: Sequence[str], phrases: Phrases) -> int:
    """Return the one direction that all sentences which state one agree on, else 0."""
    signs = {sign for sentence in _sentences(words) if (sign := _side(sentence, phrases))}
    return signs.pop() if len(signs) == 1 else 0


def _sentences(words: Sequence[str]) -> Iterator[list[str]]:
    """Yield the words between stops."""
    sentence = list[str]()
    for word in words:
        if word == _STOP:
            yield sentence
            sentence = []
        else:
            sentence.append(word)
    yield sentence


def _side(sentence: Sequence[str], phrases: Phrases) -> int:
    """Return the first side of a sentence times the first outcome after it, else 0."""
    side = 0
    for key in _matches(sentence, phrases):
        if key in {"more", "less"}:
            side = side or (1 if key == "more" else -1)
        elif side:
            return side if key == "good" else -side
    return 0
