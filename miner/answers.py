"""What a language model may say, as types; whatever it says is made plain and short first.

Its text is data. It is parsed as an expression, or kept as bounded plain text; it is never
evaluated, formatted as code or used as a name of anything.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Characters kept of a sentence.
SENTENCE = 500
#: Characters kept of an expression; one that is longer is refused by the parser's own limit.
EXPRESSION = 600
#: Entries kept of a list.
MOST = 8


def plain(text: str, limit: int = SENTENCE) -> str:
    """Return `text` on one line, at most `limit` characters, without what does not print.

    Control, format (among them those that turn the direction of writing), surrogate, private and
    unassigned characters are left out; runs of blanks become one.
    """
    # of a very long text only the beginning is looked at
    kept = (
        " " if c.isspace() else c
        for c in text[: 4 * limit]
        if c.isspace() or not unicodedata.category(c).startswith("C")
    )
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _sentence(value: Any) -> Any:
    return plain(value) if isinstance(value, str) else value


def _expression(value: Any) -> Any:
    """Cut what is far too long, so that it is stored nowhere; the parser refuses what is left."""
    return value[: EXPRESSION + 1] if isinstance(value, str) else value


def _few(value: Any) -> Any:
    return value[:MOST] if isinstance(value, list) else value


def _share(value: Any) -> Any:
    """Return a number within [0, 1]; NaN is 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return 0.0 if value != value else float(min(max(value, 0), 1))  # noqa: PLR0124 - NaN


def _sign(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return (value > 0) - (value < 0)


def _horizon(value: Any) -> Any:
    """Return whole sessions from 0 to 1,000."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return 0 if value != value else int(min(max(value, 0), 1_000))  # noqa: PLR0124 - NaN


Sentence = Annotated[str, BeforeValidator(_sentence)]
ExpressionText = Annotated[str, BeforeValidator(_expression)]
Share = Annotated[float, BeforeValidator(_share)]


class Answer(BaseModel):
    """What every answer has: fields that were not asked for are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Idea(Answer):
    """A hypothesis about why some assets will do better than others."""

    observation: Sentence = Field(description="what is seen in prices and volumes")
    knowledge: Sentence = Field(description="the conditional rule drawn from it: if …, then …")
    justification: Sentence = Field(description="why it should persist")
    specification: Sentence = Field(description="what is measured, on which fields and windows")
    mechanism: Sentence = Field(description="one of the mechanisms of the list, as written there")
    fields: Annotated[tuple[Sentence, ...], BeforeValidator(_few)] = Field(
        description="the fields it speaks about, without the dollar sign"
    )
    direction: Annotated[Literal[-1, 0, 1], BeforeValidator(_sign)] = Field(
        default=0,
        description="1: a high value goes with a high return; -1: with a low one; 0: not said",
    )
    horizon: Annotated[int, BeforeValidator(_horizon)] = Field(
        default=0, description="sessions its windows look back on at most"
    )


class Factor(Answer):
    """One way to measure a hypothesis."""

    description: Sentence = Field(description="what the expression measures, in words")
    expression: ExpressionText = Field(description="the formula, in the language that was given")


class Factors(Answer):
    """Ways to measure one hypothesis that differ from each other in structure."""

    factors: Annotated[tuple[Factor, ...], BeforeValidator(_few)] = Field(
        description="the factors, best first"
    )


class Verdict(Answer):
    """How well one factor agrees with its description, and that with the hypothesis."""

    number: int = Field(description="number of the factor, as in the list")
    described: Share = Field(
        description="c1 from 0 to 1: the description carries out the hypothesis"
    )
    expressed: Share = Field(description="c2 from 0 to 1: the expression computes the description")
    reason: Sentence = Field(default="", description="what does not agree; empty where all does")


class Judgement(Answer):
    """Verdicts on the factors of one hypothesis, and what to look for next."""

    verdicts: Annotated[tuple[Verdict, ...], BeforeValidator(_few)] = Field(
        description="one for each factor"
    )
    feedback: Sentence = Field(
        default="", description="what the next hypothesis should do otherwise"
    )
