"""The proposer that asks a model: who is asked for what, and what happens when that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miner.agents import AgentSettings, AgentsProposer, Event, Question, Turn
from miner.alignment import Alignment
from miner.answers import SENTENCE, Factor, Factors, Idea, Judgement, Verdict, plain
from miner.complexity import ComplexityLimits
from miner.hypothesis import MECHANISMS, Hypothesis
from miner.interpretation import readable
from miner.memory import Decayed, Memory, Refused, Tally, tallied
from miner.problem import Problem, SearchSettings
from miner.prompts import system_prompt
from miner.proposer import GrammarProposer
from miner.records import Candidate, Survivor, TrialRecord
from miner.search import search
from signals.errors import ModelError
from signals.expression import fields
from signals.grammar import parse
from signals.operators import OPERATORS
from tests.miner.market import market

FIELDS = ("close", "high", "low", "open", "volume")
MEAN, WIDTH = "$close / TS_MEAN($close, 10)", "TS_MEAN(($high - $low) / $close, 5)"
IDEA = Idea(
    observation="o",
    knowledge="k",
    justification="j",
    specification="s",
    mechanism=MECHANISMS[0].name,
    fields=("close", "$Volume", "secrets"),
    direction=-1,
    horizon=10,
)


def factors(*expressions: str) -> Factors:
    return Factors(
        factors=tuple(Factor(description=f"about {e}", expression=e) for e in expressions)
    )


@dataclass
class FakeModel:
    """Says what it is given, in order and then the last again; an exception is raised."""

    ideas: list[Any] = field(default_factory=lambda: [IDEA])
    proposals: list[Any] = field(default_factory=lambda: [factors(MEAN, WIDTH)])
    repairs: list[Any] = field(default_factory=lambda: [factors(MEAN)])
    judgements: list[Any] = field(default_factory=lambda: [Judgement(verdicts=())])
    asked: list[tuple[str, str]] = field(default_factory=list)

    def idea(self, question: Question) -> Idea:
        return self._next("idea", self.ideas, question)  # type: ignore[no-any-return]

    def factors(self, question: Question) -> Factors:
        return self._next("factors", self.proposals, question)  # type: ignore[no-any-return]

    def repair(self, question: Question) -> Factors:
        return self._next("repair", self.repairs, question)  # type: ignore[no-any-return]

    def judge(self, question: Question) -> Judgement:
        return self._next("judge", self.judgements, question)  # type: ignore[no-any-return]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.asked]

    def _next(self, kind: str, said: list[Any], question: Question) -> Any:
        self.asked.append((kind, question.text))
        answer = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def proposer(model: FakeModel, **given: int) -> AgentsProposer:
    settings = replace(AgentSettings(ideas_per_round=1), **given)  # type: ignore[arg-type]
    return AgentsProposer(model, GrammarProposer(), settings)


def memory(number: int = 1, **given: Any) -> Memory:
    return Memory(number, FIELDS, **{"survivors": (), "refusals": {}, **given})


def proposed(agents: AgentsProposer, told: Memory, n: int = 6) -> list[Candidate]:
    return agents.propose(n, told, np.random.default_rng(told.round))


def asked_of(candidates: Sequence[Candidate]) -> list[str]:
    return [str(c.expression) for c in candidates if c.origin == "llm"]


def refused(candidate: Candidate, gate: str = "units", reason: str = "changes") -> Memory:
    return memory(refused=(Refused(candidate, gate, reason),))


DOWN = ModelError("down", retryable=True)
NONSENSE = ModelError("no JSON", retryable=True, answered=True)
SPENT = ModelError("spent", over_budget=True)
NO_KEY = ModelError("status 401")


def test_a_batch_is_the_model_s_factors_and_then_offline_ones() -> None:
    """Idea, factors and judgement are asked once each; the offline proposer fills the batch."""
    model = FakeModel()
    drawn = proposed(proposer(model), memory())
    assert model.kinds == ["idea", "factors", "judge"]
    assert asked_of(drawn) == [str(parse(MEAN)), str(parse(WIDTH))]
    assert [c.origin for c in drawn[:2]] == ["llm", "llm"]
    assert 2 < len(drawn) <= 6
    assert all(c.origin == "offline" for c in drawn[2:])


def test_no_more_is_proposed_than_asked_for() -> None:
    """Of two factors of the model one is proposed where one is wanted."""
    assert len(proposed(proposer(FakeModel()), memory(), n=1)) == 1


def test_a_hypothesis_keeps_known_fields_and_listed_mechanisms_only() -> None:
    """Fields that are none are left out, and an invented mechanism is none."""
    invented = IDEA.model_copy(update={"mechanism": "magic"})
    first, second = (
        proposed(proposer(FakeModel(ideas=[idea])), memory())[0].hypothesis
        for idea in (IDEA, invented)
    )
    assert (first.fields, first.direction, first.horizon) == (("close", "volume"), -1, 10)
    assert (first.mechanism, second.mechanism) == (MECHANISMS[0].name, "")


def test_what_the_model_judges_is_kept_with_its_reason() -> None:
    """c1 and c2 go to the factor of their number; one without a verdict is left to the rules."""
    verdict = Verdict(number=2, described=0.75, expressed=0.25, reason="reads no volume")
    model = FakeModel(judgements=[Judgement(verdicts=(verdict,), feedback="Try volume.")])
    first, second = proposed(proposer(model), memory())[:2]
    assert first.judged is None
    assert second.judged == Alignment(0.75, 0.25, ("reads no volume",))


def test_the_judge_s_advice_is_in_the_next_idea_s_prompt() -> None:
    """Feedback of one round is told in the next."""
    model = FakeModel(judgements=[Judgement(verdicts=(), feedback="Try overnight moves.")])
    agents = proposer(model)
    for number in (1, 2):
        proposed(agents, memory(number))
    ideas = [text for kind, text in model.asked if kind == "idea"]
    assert ["Try overnight moves." in text for text in ideas] == [False, True]


def test_text_that_is_no_expression_goes_back_with_column_and_hint() -> None:
    """The repair prompt says where the text is wrong; the new version is proposed."""
    model = FakeModel(proposals=[factors("TS_MEAM($close, 10)", WIDTH)])
    drawn = proposed(proposer(model), memory())
    assert model.kinds == ["idea", "factors", "repair", "judge"]
    told = model.asked[2][1]
    assert all(word in told for word in ("TS_MEAM", "gate parse", "column 1", "TS_MEAN"))
    assert {*asked_of(drawn)} == {str(parse(MEAN)), str(parse(WIDTH))}


def test_an_expression_of_an_unknown_field_goes_back_too() -> None:
    """The repair prompt names the field and those there are."""
    model = FakeModel(proposals=[factors("$secrets / $close")])
    proposed(proposer(model), memory())
    assert "there is no field secrets" in model.asked[2][1]
    assert "open, volume" in model.asked[2][1]


def test_repairs_are_bounded() -> None:
    """A model that never writes an expression is asked to repair as often as is allowed."""
    model = FakeModel(proposals=[factors("(")], repairs=[factors(")")])
    agents = proposer(model, max_repairs=2)
    drawn = proposed(agents, memory())
    assert model.kinds == ["idea", "factors", "repair", "repair"]
    assert asked_of(drawn) == []
    assert [event.turn for event in agents.events] == [Turn.GO_ON]


def test_a_refused_candidate_goes_back_with_gate_and_reason() -> None:
    """Asked again in a round, the model hears which gate refused and why; its answer is judged."""
    model = FakeModel(proposals=[factors(WIDTH)])
    agents = proposer(model)
    first = proposed(agents, memory())[0]
    again = proposed(agents, refused(first, "originality", "5 nodes of alpha101_7"))
    assert model.kinds == ["idea", "factors", "judge", "repair", "judge"]
    assert "refused by the gate originality: 5 nodes of alpha101_7" in model.asked[3][1]
    assert asked_of(again) == [str(parse(MEAN))]
    assert again[0].hypothesis == first.hypothesis


def test_a_candidate_goes_back_at_most_so_often_in_a_round() -> None:
    """After `max_repairs` the model is asked no more, however often the search asks."""
    model = FakeModel()
    agents = proposer(model, max_repairs=1)
    first = proposed(agents, memory())[0]
    for _ in range(4):
        drawn = proposed(agents, refused(first))
    assert model.kinds.count("repair") == 1
    assert asked_of(drawn) == []


def test_refused_offline_candidates_are_not_the_model_s_to_repair() -> None:
    """Only what it has proposed itself goes back to it."""
    model = FakeModel()
    agents = proposer(model)
    proposed(agents, memory())
    before = len(model.asked)
    own = GrammarProposer().propose(1, memory(), np.random.default_rng(0))[0]
    proposed(agents, refused(own))
    assert len(model.asked) == before


@pytest.mark.parametrize(
    "model",
    [FakeModel(ideas=[DOWN, IDEA]), FakeModel(proposals=[DOWN, factors(MEAN)])],
    ids=["idea", "factors"],
)
def test_an_endpoint_that_is_down_makes_the_round_offline(model: FakeModel) -> None:
    """The batch is full all the same, the failure is told, and the next round asks again."""
    agents = proposer(model, ideas_per_round=3)
    assert asked_of(proposed(agents, memory())) == []
    assert agents.events == [Event(1, Turn.REST, "down")]
    count = len(model.asked)
    proposed(agents, memory(1))
    assert len(model.asked) == count
    assert asked_of(proposed(agents, memory(2))) != []


def test_nonsense_costs_one_idea_and_not_the_round() -> None:
    """A model that answers is asked for the next idea."""
    model = FakeModel(ideas=[NONSENSE, IDEA])
    agents = proposer(model, ideas_per_round=2)
    assert len(asked_of(proposed(agents, memory()))) == 2
    assert [event.turn for event in agents.events] == [Turn.GO_ON]


@pytest.mark.parametrize("error", [SPENT, NO_KEY])
def test_what_will_not_pass_ends_the_model_for_the_run(error: ModelError) -> None:
    """A used up budget or a wrong key is not tried again, and the run says so."""
    told: list[Event] = []
    model = FakeModel(ideas=[error, IDEA])
    agents = replace(proposer(model), on_event=told.append)
    for number in (1, 2, 3):
        assert asked_of(proposed(agents, memory(number))) == []
    assert model.kinds == ["idea"]
    assert told == [Event(1, Turn.END, error.fact)]
    assert agents.ended == error.fact


@pytest.mark.parametrize("error", [DOWN, NONSENSE])
def test_failures_in_a_row_end_the_model_for_the_run(error: ModelError) -> None:
    """After `max_failures` without a factor between them nothing is asked any more."""
    model = FakeModel(ideas=[error])
    agents = proposer(model, max_failures=3)
    for number in range(1, 9):
        proposed(agents, memory(number))
    assert model.kinds == ["idea"] * 3
    assert agents.events[-1].turn is Turn.END


def test_a_judge_that_fails_leaves_the_candidates_to_the_rules() -> None:
    """Factors are proposed unjudged."""
    drawn = proposed(proposer(FakeModel(judgements=[NONSENSE])), memory())
    assert len(asked_of(drawn)) == 2
    assert all(c.judged is None for c in drawn)


def test_a_repair_that_fails_keeps_what_could_be_read() -> None:
    """One factor of two is an expression, the endpoint goes down: the one is proposed."""
    model = FakeModel(proposals=[factors("(", WIDTH)], repairs=[DOWN])
    assert asked_of(proposed(proposer(model), memory())) == [str(parse(WIDTH))]
    assert "judge" not in model.kinds


def test_the_language_in_the_prompt_is_the_operator_table() -> None:
    """Each operator with its signature, each field, and the limits of the gates."""
    text = system_prompt(FIELDS, ComplexityLimits(length=17, depth=5))
    assert all(operator.signature in text for operator in OPERATORS.values())
    assert all(f"${name}" in text for name in FIELDS)
    assert "at most 17 nodes, depth 5," in text


def test_prompts_tell_what_train_and_life_have_shown() -> None:
    """Survivors with their figures on train, refusals by gate, tallies, and why factors decayed."""
    model = FakeModel()
    told = memory(
        survivors=(survivor(),),
        refusals={"originality": 41},
        tallies={"price path": Tally(30, 2, 3.75)},
        decayed=(Decayed(parse("$open / $close"), "price path", "RankIC 0.031 before, -0.002"),),
    )
    proposed(proposer(model), told)
    text = model.asked[0][1]
    parts = ("RankIC 0.0123, t 4.5", "originality: 41", "30 measured, 2 of them", "0.031 before")
    assert all(part in text for part in parts)


def survivor() -> Survivor:
    hypothesis = Hypothesis("o", "k", "j", "s", ("close",))
    candidate = Candidate(hypothesis, "d", parse(WIDTH))
    return Survivor(candidate, 4, 0.0123, 4.5, 0.2, 1, 0.3, 1, 0.4, 3, Alignment(1, 1))


def test_no_field_of_a_memory_can_hold_what_validation_said() -> None:
    """Of a trial's detail only mechanism and train's t reach a memory, and so a prompt."""
    detail = {
        "mechanism": "price path",
        "t": 2.5,
        "valid": {"mean": 0.987654},
        "added_valid": {"mean": 0.876543},
        "p_value": 0.765432,
        "reason": "p 0.765432 > 0.05",
    }
    trials = [TrialRecord(1, MEAN, "validation", detail)]
    told = memory(survivors=(survivor(),), tallies=tallied({}, trials, 2.0))
    model = FakeModel()
    proposed(proposer(model), told)
    said = "".join(text for _, text in model.asked) + repr(dataclasses.asdict(told))
    assert "price path: 1 measured" in said
    assert not any(secret in said for secret in ("987654", "876543", "765432"))
    assert {f.name for f in dataclasses.fields(Memory)} == {
        "round", "fields", "survivors", "refusals", "refused", "tallies", "decayed", "tried",
    }  # fmt: skip
    assert not {f.name for f in dataclasses.fields(Survivor)} & {*detail, "train"} - {"t"}


def test_the_gates_are_the_same_for_a_model() -> None:
    """In a search, what changes with the scale of a price goes back to the model and no further."""
    fair = tuple(Verdict(number=n, described=0.9, expressed=0.9) for n in (1, 2))
    model = FakeModel(
        proposals=[factors("RANK($close)", WIDTH)],
        repairs=[factors(MEAN)],
        judgements=[Judgement(verdicts=fair)],
    )
    problem = Problem(panel=market(1, n_sessions=260, n_assets=40))
    settings = SearchSettings(rounds=1, batch=12, train_sessions=100, valid_sessions=60)
    (state,) = search(problem, proposer(model), settings, seed=1)
    decided = {trial.expression: trial.decision for trial in state.trials}
    assert decided["RANK($close)"] == "units"
    assert model.kinds == ["idea", "factors", "judge", "repair", "judge"]
    assert "refused by the gate units" in model.asked[3][1]
    assert decided[str(parse(MEAN))] == decided[str(parse(WIDTH))] == "measured"


@given(st.text(max_size=300))
def test_whatever_a_model_writes_is_an_expression_or_refused(text: str) -> None:
    """No text raises anything, and what is read reads only known fields."""
    hypothesis = Hypothesis("o", "k", "j", "s", ())
    read, failed = readable(hypothesis, [Factor(description=text, expression=text)], FIELDS)
    assert len(read) + len(failed) == 1
    assert all(fields(candidate.expression) <= {*FIELDS} for candidate in read)


@given(st.text(), st.integers(1, 80))
def test_plain_text_is_short_prints_and_stays_as_it_is(text: str, limit: int) -> None:
    """One line of at most `limit` printing characters; to make it plain again changes nothing."""
    line = plain(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert plain(line, limit) == line


_ANYTHING: Callable[[], st.SearchStrategy[Any]] = lambda: st.recursive(  # noqa: E731
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(Idea.model_fields)), _ANYTHING()))
def test_an_idea_of_any_shape_is_bounded_or_refused(said: dict[str, Any]) -> None:
    """Validation fails as validation, or gives short texts and numbers within their range."""
    try:
        idea = Idea.model_validate(said)
    except ValueError:
        return
    texts = (idea.observation, idea.knowledge, idea.justification, *idea.fields)
    assert all(len(text) <= SENTENCE for text in texts)
    assert idea.direction in (-1, 0, 1)
    assert 0 <= idea.horizon <= 1_000


@pytest.mark.parametrize("number", [10**400, -(10**400), float("inf"), float("nan"), 2.5, -1])
def test_numbers_of_a_model_are_brought_into_their_range(number: float) -> None:
    """Shares lie within [0, 1] and horizons within 1,000 sessions, whatever is said."""
    verdict = Verdict.model_validate({"number": 1, "described": number, "expressed": number})
    idea = Idea.model_validate({**IDEA.model_dump(), "direction": number, "horizon": number})
    assert 0 <= verdict.described <= 1
    assert 0 <= idea.horizon <= 1_000
