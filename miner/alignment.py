"""Alignment: whether hypothesis, description and expression speak of the same thing.

C = (c1 + c2) / 2 with c1 between hypothesis and description, c2 between description and expression
(arXiv 2502.16789, equation (7)), judged by rules where no model is asked. Each score is 1 less what
`DEDUCTIONS` takes off for each fault, never below 0; a fault repaired therefore never lowers it.
What words promise is the table of `miner.concepts`. Negations are not understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from miner.concepts import atoms_of, concepts, field_words, telling_operators
from miner.hypothesis import Hypothesis
from miner.spoken import Spoken, spoken
from signals.expression import Call, Constant, Expression, fields, lookback, walk, windows


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well three statements of one idea agree.

    Parameters
    ----------
    described : float
        c1 in [0, 1]: the description carries out the hypothesis.
    expressed : float
        c2 in [0, 1]: the expression computes what the description says.
    reasons : tuple of str
        What was found wrong.
    """

    described: float
    expressed: float
    reasons: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """C in [0, 1]."""
        return 0.5 * (self.described + self.expressed)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "described": self.described,
            "expressed": self.expressed,
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Alignment:
        """Return what `to_json` gave."""
        return cls(float(data["described"]), float(data["expressed"]), tuple(data["reasons"]))


class Deduction(NamedTuple):
    """What one kind of fault costs.

    Parameters
    ----------
    part : str
        `c1` or `c2`.
    amount : float
        Taken off for one fault.
    most : float
        Taken off for all faults of this kind together.
    fault : str
        What is wrong.
    """

    part: str
    amount: float
    most: float
    fault: str


#: What each kind of fault costs. None is fitted to data: a subject that is not there costs most of
#: a score, a field or a window part of it, silence little. One whole side that is wrong leaves
#: C = 0.5.
DEDUCTIONS: Mapping[str, Deduction] = MappingProxyType(
    {
        "subject": Deduction(
            "c1", 0.7, 0.7, "a share of the hypothesis's subjects is not described"
        ),
        "carrier": Deduction("c1", 0.7, 0.7, "no field read can carry a subject of the hypothesis"),
        "field unsaid": Deduction(
            "c1", 0.15, 0.45, "a field of the hypothesis is not described, or not read"
        ),
        "contrary": Deduction("c1", 0.5, 0.5, "the description states the contrary direction"),
        "direction unsaid": Deduction("c1", 0.1, 0.1, "only the hypothesis states a direction"),
        "refuted": Deduction("c1", 0.5, 0.5, "the measured sign is contrary to the hypothesis's"),
        "horizon": Deduction("c1", 0.2, 0.4, "windows are off the horizon by a factor of 2, of 4"),
        "horizon unsaid": Deduction("c1", 0.1, 0.1, "only the hypothesis states a horizon"),
        "empty": Deduction("c2", 0.7, 0.7, "the description names no concept and no field"),
        "claim": Deduction("c2", 0.7, 1.0, "a concept is claimed that cannot be computed so"),
        "light claim": Deduction("c2", 0.3, 0.6, "the same, of a word said lightly"),
        "field claimed": Deduction("c2", 0.3, 0.6, "a field is named and not read"),
        "field silent": Deduction("c2", 0.15, 0.45, "a field is read and not named"),
        "operator silent": Deduction("c2", 0.15, 0.3, "an operator is passed over in silence"),
        "window": Deduction("c2", 0.25, 0.5, "a window named is not there, nor anything near"),
        "window unsaid": Deduction("c2", 0.1, 0.1, "there are windows and none is named"),
        "lookback": Deduction(
            "c2", 0.2, 0.4, "the lookback is off the horizon by a factor of 2, of 4"
        ),
    }
)

#: Windows within this share of each other, or one session, are the same.
WINDOW_TOLERANCE = 0.15

#: Kind of fault, how many times it counts, and what to tell.
_Fault = tuple[str, float, str]


def alignment(
    hypothesis: Hypothesis, description: str, expression: Expression, *, measured: int = 0
) -> Alignment:
    """Return the alignment by rules.

    Parameters
    ----------
    hypothesis : Hypothesis
        Why. Its subjects are the concepts that its mechanism names; where that names none, those of
        its observation, its knowledge or its specification, the first that has any; of several
        found there one has to be described.
    description : str
        What is measured, in words; its first 4,000 characters are read.
    expression : Expression
        How.
    measured : int
        Sign of the RankIC on train; 0 before it is known.

    Returns
    -------
    Alignment
        The same for the same arguments; with a reason for each deduction.
    """
    said = spoken(description)
    described = [
        *_subject_faults(hypothesis, said, expression),
        *_direction_faults(hypothesis, said, expression, measured),
        *_horizon_faults(hypothesis, said, expression),
    ]
    expressed = [
        *_claim_faults(said, expression),
        *_field_faults(said, expression),
        *_window_faults(said, expression),
        *_lookback_faults(hypothesis, expression),
    ]
    reasons = tuple(reason for *_, reason in (*described, *expressed))
    return Alignment(_left(described), _left(expressed), reasons)


def subjects(hypothesis: Hypothesis) -> tuple[str, ...]:
    """Return the concepts a hypothesis is about, in the order of the table."""
    texts = (
        hypothesis.mechanism, hypothesis.observation, hypothesis.knowledge,
        hypothesis.specification,
    )  # fmt: skip
    named = next((found for text in texts if (found := spoken(text).concepts)), frozenset())
    return tuple(name for name in concepts() if name in named)


def _left(faults: Iterable[_Fault]) -> float:
    """Return 1 less the deductions, each kind up to its most."""
    taken: dict[str, float] = {}
    for kind, times, _ in faults:
        rule = DEDUCTIONS[kind]
        taken[kind] = min(taken.get(kind, 0.0) + times * rule.amount, rule.most)
    return max(0.0, 1.0 - sum(taken.values()))


def _subject_faults(hypothesis: Hypothesis, said: Spoken, f: Expression) -> Iterator[_Fault]:
    """Yield the subjects and fields of the hypothesis that description and fields leave out."""
    about = subjects(hypothesis)
    is_named = bool(spoken(hypothesis.mechanism).concepts)
    carrying = atoms_of(fields(f) & set(hypothesis.fields))
    unsaid = [n for n in about if said.concepts.isdisjoint({n, *concepts()[n].like})]
    for name in unsaid if is_named or len(unsaid) == len(about) else ():
        yield "subject", 1 / len(about), f"the hypothesis is about {name}, not the description"
    for concept in map(concepts().__getitem__, about):
        must = is_named or not concept.minor
        if must and not any(need <= carrying for need in concept.of_fields):
            told = f"the hypothesis is about {concept.name}, the expression {concept.lacks}"
            yield "carrier", 1.0, told
    for name in sorted(field_words().keys() & set(hypothesis.fields)):
        if name not in said.covered or name not in fields(f):
            who = "description" if name not in said.covered else "expression"
            yield "field unsaid", 1.0, f"the hypothesis speaks of {name}, not the {who}"


def _direction_faults(
    hypothesis: Hypothesis, said: Spoken, f: Expression, measured: int
) -> Iterator[_Fault]:
    """Yield where the signs stated and measured contradict each other."""
    stated = hypothesis.direction
    if stated == 0:
        return
    if said.direction == 0:
        yield "direction unsaid", 1.0, f"the hypothesis expects {stated:+d}, not the description"
    elif said.direction != stated and not _is_turned(f):
        yield (
            "contrary",
            1.0,
            f"the hypothesis expects {stated:+d}, the description {said.direction:+d}",
        )
    if measured * stated < 0:
        yield "refuted", 1.0, f"the hypothesis expects {stated:+d}, measured was {-stated:+d}"


def _is_turned(expression: Expression) -> bool:
    """Return whether it has a sign of its own, so that its quantity may point the other way."""
    return any(
        isinstance(node, Call)
        and (
            (node.op == "MULTIPLY" and _is_number(node.args[0], below=0.0))
            or (node.op in ("SUBTRACT", "DIVIDE") and _is_number(node.args[0]))
        )
        for node in walk(expression)
    )


def _is_number(expression: Expression, *, below: float = float("inf")) -> bool:
    return isinstance(expression, Constant) and expression.value < below


def _horizon_faults(hypothesis: Hypothesis, said: Spoken, f: Expression) -> Iterator[_Fault]:
    """Yield where the windows described do not make up the horizon.

    The expression is asked too: a wrong window in the description must not make up for a wrong
    horizon.
    """
    horizon = hypothesis.horizon
    if horizon <= 0:
        return
    told = f"the hypothesis speaks of {horizon} sessions"
    if not said.spans:
        yield "horizon unsaid", 1.0, f"{told}, no window is named"
    described = _off(horizon, said.spans[-1], sum(said.spans)) if said.spans else 0.0
    expressed = _off_expression(horizon, f)
    if described:
        yield "horizon", max(described, expressed), f"{told}, the description of {said.spans[-1]}"
    elif expressed:
        yield "horizon", expressed, f"{told}, the expression needs {lookback(f)}"


def _claim_faults(said: Spoken, expression: Expression) -> Iterator[_Fault]:
    """Yield concepts that are claimed and not carried, and operators that are not spoken of."""
    if said.is_empty:
        yield "empty", 1.0, "the description names nothing that could be computed"
    ops = frozenset(node.op for node in walk(expression) if isinstance(node, Call))
    atoms = atoms_of(fields(expression), ops)
    for name in sorted(said.concepts):
        concept = concepts()[name]
        if not concept.is_carried(atoms):
            kind = "light claim" if concept.minor else "claim"
            yield kind, 1.0, f"says {name}, {concept.lacks}"
    told = {op for name in said.concepts for op in concepts()[name].tells}
    for op in sorted(ops & telling_operators() - told):
        yield "operator silent", 1.0, f"computes {op}, which the description passes over"


def _field_faults(said: Spoken, expression: Expression) -> Iterator[_Fault]:
    """Yield fields that are named and not read, or read and not named."""
    used = fields(expression)
    atoms = atoms_of(used)
    for name, words in field_words().items():
        if name in said.claimed and not words.any & atoms:
            yield "field claimed", 1.0, f"says {name}, does not read it"
        if name in used and name not in said.covered:
            yield "field silent", 1.0, f"reads {name}, does not say so"


def _window_faults(said: Spoken, expression: Expression) -> Iterator[_Fault]:
    """Yield the worst of the windows that are named and not there."""
    there = _spans_of(expression)
    if not said.spans:
        if windows(expression):
            yield "window unsaid", 1.0, "names no window, uses some"
        return
    distances = {span: min(_distance(span, other) for other in there) for span in said.spans}
    worst = max(said.spans, key=lambda span: distances[span])
    off = distances[worst]
    if off:
        near = min(windows(expression) or there, key=lambda other: abs(other - worst))
        yield "window", off, f"says {worst} sessions, uses {near}"


def _lookback_faults(hypothesis: Hypothesis, expression: Expression) -> Iterator[_Fault]:
    """Yield where what the expression looks back on is not the horizon of the hypothesis."""
    horizon, behind = hypothesis.horizon, lookback(expression)
    off = _off_expression(horizon, expression)
    if horizon > 0 and off:
        told = f"the hypothesis speaks of {horizon} sessions, the expression looks back {behind}"
        yield "lookback", off, told


def _spans_of(expression: Expression) -> frozenset[int]:
    """Return every number of sessions somebody may name: windows, and what each node needs."""
    behind = {lookback(node) for node in walk(expression)}
    return frozenset({1, *windows(expression), *behind, *(n + 1 for n in behind)})


def _distance(named: int, there: int) -> float:
    """Return 0 for windows that are the same, 1 within a factor of two, 2 beyond."""
    if abs(named - there) <= max(1.0, WINDOW_TOLERANCE * named):
        return 0.0
    return 1.0 if named <= 2 * there <= 4 * named else 2.0


def _off_expression(horizon: int, expression: Expression) -> float:
    """Return how far a horizon is from the longest window and the whole lookback."""
    return _off(horizon, max(windows(expression), default=0), lookback(expression) + 1)


def _off(horizon: int, least: int, most: int) -> float:
    """Return 0 where a horizon is within twice of [least, most], 1 within four times, else 2."""
    ratio = max(horizon / max(most, 1), least / max(horizon, 1))
    return 0.0 if ratio <= 2 else 1.0 if ratio <= 4 else 2.0
