"""What a language model's answers mean here: hypotheses, candidates, alignments.

Its text is parsed as an expression or kept as bounded plain text; nothing else is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from miner.alignment import Alignment
from miner.answers import EXPRESSION, Factor, Idea, Verdict, plain
from miner.hypothesis import MECHANISMS, Hypothesis
from miner.records import Candidate
from signals.errors import ExpressionError
from signals.expression import fields
from signals.grammar import Limits, parse

#: Origin of a candidate that a model has proposed.
ORIGIN = "llm"
#: How large a model's expression may be to be read at all; the gates are stricter.
READABLE = Limits(text=EXPRESSION, nodes=100, depth=30)

#: Of what is no candidate: description, expression as written, gate and reason.
Failed: TypeAlias = tuple[str, str, str, str]


def hypothesis_of(idea: Idea, known: Sequence[str]) -> Hypothesis:
    """Return an idea as a hypothesis.

    Parameters
    ----------
    idea : Idea
        As the model has stated it.
    known : sequence of str
        Fields of the panel; others are left out, and a mechanism that is not listed is none.
    """
    names = {mechanism.name for mechanism in MECHANISMS}
    return Hypothesis(
        observation=plain(idea.observation),
        knowledge=plain(idea.knowledge),
        justification=plain(idea.justification),
        specification=plain(idea.specification),
        fields=tuple({name.strip(" $").lower() for name in idea.fields} & {*known}),
        direction=idea.direction,
        horizon=idea.horizon,
        mechanism=idea.mechanism if idea.mechanism in names else "",
    )


def readable(
    hypothesis: Hypothesis, factors: Iterable[Factor], known: Sequence[str]
) -> tuple[list[Candidate], list[Failed]]:
    """Return the candidates among a model's factors, and why the others are none.

    Parameters
    ----------
    hypothesis : Hypothesis
        What they measure.
    factors : iterable of Factor
        As the model has written them.
    known : sequence of str
        Fields of the panel; an expression that reads another one is refused.
    """
    candidates: list[Candidate] = []
    failed: list[Failed] = []
    for factor in factors:
        description = plain(factor.description)
        try:
            expression = parse(factor.expression, limits=READABLE)
            unknown = sorted(fields(expression) - {*known})
            if unknown:
                raise ExpressionError(
                    f"there is no field {', '.join(unknown)}",
                    rule=f"the fields are {', '.join(known)}",
                )
        except ExpressionError as error:
            failed.append((description, plain(factor.expression), "parse", plain(str(error))))
        else:
            candidates.append(Candidate(hypothesis, description, expression, origin=ORIGIN))
    return candidates, failed


def alignment_of(verdict: Verdict) -> Alignment:
    """Return a model's verdict as the alignment of a candidate."""
    reasons = (plain(verdict.reason),) if verdict.reason else ()
    return Alignment(verdict.described, verdict.expressed, reasons)
