"""Asking a model over real HTTP: a loopback endpoint before the real client."""

from __future__ import annotations

import json
import logging
import tracemalloc
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from miner.agents import Turn
from signals.errors import ModelError
from signals.expression import fields
from signals.grammar import parse
from tests.daemon.llm.run import FIELDS, KEY, QUESTION, Run, by_model, proposed
from tests.standins.openai import HOSTILE, WAYS


@pytest.mark.parametrize("output", ["prompted", "tool", "native"])
def test_a_good_endpoint_proposes_factors(run: Run, output: str) -> None:
    """Idea, factors and judgement come back typed, however JSON is asked for; one request each."""
    drawn = proposed(run.proposer(output=output))
    assert run.endpoint.kinds == ["idea", "factors", "judge"]
    assert by_model(drawn) == 3
    assert len(drawn) > 3
    assert drawn[0].judged is not None
    assert (drawn[0].judged.described, drawn[0].judged.expressed) == (0.9, 0.7)
    assert drawn[0].hypothesis.fields == ("close", "volume")


@pytest.mark.parametrize("output", ["prompted", "tool", "native"])
def test_how_json_is_asked_for(run: Run, output: str) -> None:
    """The schema is in the prompt, in a tool, or in the response format, and only there."""
    run.model(output=output).idea(QUESTION)
    body = run.endpoint.log[0].body
    told = json.dumps(body["messages"])
    found = {"prompted": "justification" in told, "tool": "tools" in body}
    found["native"] = "response_format" in body
    assert found == {name: name == output for name in found}
    assert [m["role"] for m in body["messages"]] == ["system", "user"]


def test_only_listed_headers_are_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the machine nor another account is told of, whatever the environment holds."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "of-another-account")
    run.model().idea(QUESTION)
    run.model(api_key=None).idea(QUESTION)
    with_key, without = (asked.headers for asked in run.endpoint.log)
    assert with_key.pop("authorization") == f"Bearer {KEY}"  # type: ignore[attr-defined]
    expected = {
        "host", "connection", "content-type", "content-length", "accept", "accept-encoding",
        "user-agent",
    }  # fmt: skip
    assert {*with_key} == {*without} == expected
    assert "of-another-account" not in str(run.endpoint.log)


def test_json_between_sentences_is_read(run: Run) -> None:
    """A code fence and politeness around the JSON do no harm."""
    run.endpoint.way = "prose"
    assert by_model(proposed(run.proposer())) == 3


def test_text_that_is_no_expression_is_repaired(run: Run) -> None:
    """The endpoint hears the parser's column and hint, and its second version is proposed."""
    run.endpoint.way = "unparsable"
    assert by_model(proposed(run.proposer())) == 3 - 2
    assert run.endpoint.kinds == ["idea", "factors", "repair", "judge"]
    told = run.endpoint.log[2].text
    assert "gate parse" in told
    assert "column 19" in told
    assert "a closing parenthesis is missing" in told
    assert [row.kind for row in run.requests()] == run.endpoint.kinds


def test_repairs_over_http_are_bounded(run: Run) -> None:
    """A model that never writes an expression is asked so often and no more."""
    run.endpoint.way = "never_parsable"
    assert by_model(proposed(run.proposer(max_repairs=2))) == 0
    assert run.endpoint.kinds == ["idea", "factors", "repair", "repair"]


#: Way, settings, the row's outcome, a part of what is told, and whether asking on makes sense.
BAD = [
    ("nonsense", {}, "nonsense", "of no use", True),
    ("wrong_schema", {}, "nonsense", "of no use", True),
    ("no_choices", {}, "nonsense", "answer", True),
    ("deep", {}, "nonsense", "RecursionError", True),
    ("html", {}, "nonsense", "of no use", True),
    ("429", {}, "status 429", "status 429", True),
    ("500", {}, "status 500", "status 500", True),
    ("401", {}, "status 401", "status 401", False),
    ("redirect", {}, "status 307", "status 307", False),
    ("hang", {"timeout_seconds": 0.5}, "timeout", "within 0.5 s", True),
    ("trickle", {"timeout_seconds": 0.5}, "timeout", "within 0.5 s", True),
    ("reset", {}, "unreachable", "cannot be reached", True),
    ("huge", {}, "refused", "more than 262144 bytes", True),
    ("huge_chunked", {}, "refused", "more than 262144 bytes", True),
    ("gzip_bomb", {}, "refused", "compressed", True),
]


@pytest.mark.parametrize(("way", "given", "outcome", "told", "retryable"), BAD)
def test_a_bad_answer_is_one_request_and_a_model_error(
    run: Run, way: str, given: dict[str, Any], outcome: str, told: str, *, retryable: bool
) -> None:
    """Nothing is repeated behind our back, the row says how it ended, the error says it too."""
    run.endpoint.way = way
    error = run.refusal(**given)
    assert told in error.fact
    assert error.retryable == retryable
    assert len(run.endpoint.log) == 1
    assert [row.outcome for row in run.requests()] == [outcome]


def test_each_way_to_answer_is_tested() -> None:
    """No switch of the stand-in is left unused."""
    good = {"well", "prose", "no_usage", "absurd_usage"}
    others = {"unparsable", "never_parsable", "hostile"}
    assert {way for way, *_ in BAD} | good | others == set(WAYS)


@pytest.mark.parametrize("way", [way for way, *_ in BAD])
def test_a_run_goes_on_offline_and_says_so(run: Run, way: str) -> None:
    """Every round is full of offline candidates, and each failure is an event and a log line."""
    run.endpoint.way = way
    with capture_logs() as logs:
        agents = run.proposer(timeout_seconds=0.3, max_failures=2)
        rounds = [proposed(agents, number) for number in (1, 2, 3)]
    assert all(len(drawn) > 4 and by_model(drawn) == 0 for drawn in rounds)
    assert run.events[-1].turn is Turn.END
    assert len(run.endpoint.log) <= 2
    told = [line for line in logs if line["event"] == "language model failed"]
    assert [line["what"] for line in told] == [event.message for event in run.events]


def test_nobody_listens(run: Run) -> None:
    """A closed port is unreachable at once and costs nothing."""
    error = run.refusal(base_url="http://127.0.0.1:9/v1")
    assert "cannot be reached" in error.fact
    assert [(row.outcome, row.input_tokens) for row in run.requests()] == [("unreachable", 0)]


@pytest.mark.parametrize("way", ["hang", "trickle"])
def test_a_deadline_holds_for_the_whole_answer(run: Run, way: str) -> None:
    """One byte each tenth of a second does not move the deadline."""
    run.model().idea(QUESTION)  # what is imported on the way does not count
    run.endpoint.way = way
    started = monotonic()
    run.refusal(timeout_seconds=0.5)
    assert monotonic() - started < 3.0


@pytest.mark.parametrize("way", ["huge", "huge_chunked", "gzip_bomb"])
def test_ten_megabytes_are_not_read(run: Run, way: str) -> None:
    """Memory does not grow by the body, said in full or in chunks, plain or compressed."""
    run.endpoint.way = way
    run.refusal(max_response_bytes=100_000)  # the stand-in makes its body in this process too
    tracemalloc.start()
    run.refusal(max_response_bytes=100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_wait_that_the_endpoint_asks_for_is_kept(run: Run) -> None:
    """After 429 with Retry-After nothing is sent until the time is over, and nothing spent."""
    run.endpoint.way = "429"
    model = run.model()
    for told in ("status 429", "not to be asked for another"):
        with pytest.raises(ModelError, match=told):
            model.idea(QUESTION)
    assert len(run.endpoint.log) == len(run.requests()) == 1


def test_hostile_texts_end_as_bounded_plain_text(run: Run) -> None:
    """Only what parses is proposed, of known fields; other text is short, printable data."""
    run.endpoint.way = "hostile"
    agents = run.proposer(max_response_bytes=4_000_000, factors_per_idea=8, max_failures=99)
    drawn = [c for number in range(1, 4) for c in proposed(agents, number) if c.origin == "llm"]
    assert drawn
    for candidate in drawn:
        told = candidate.hypothesis.to_json() | {"description": candidate.description}
        texts = [value for value in told.values() if isinstance(value, str)]
        assert all(len(text) <= 500 and text.isprintable() for text in texts)
        assert fields(candidate.expression) <= {*FIELDS}
        assert candidate.judged is None or 0 <= candidate.judged.score <= 1
        assert str(parse(str(candidate.expression))) == str(candidate.expression)
    assert not Path("/tmp/owned").exists()  # noqa: S108 - what the text asks for


def test_hostile_texts_do_not_leave_their_place_in_a_prompt(run: Run) -> None:
    """What the model has said comes back cut, and cannot end the data it stands in."""
    run.endpoint.way = "hostile"
    agents = run.proposer(max_response_bytes=4_000_000, factors_per_idea=8, max_failures=99)
    for number in (1, 2):
        proposed(agents, number)
    assert {"repair", "judge"} <= {*run.endpoint.kinds}
    for asked in run.endpoint.log:
        question = asked.body["messages"][-1]["content"]
        assert len(question) < 20_000
        assert question.count("<data>") == question.count("</data>") == question.count("data>") / 2
        assert HOSTILE[4][:1_000] not in question


@pytest.mark.parametrize("way", ["well", "401", "500", "nonsense", "reset", "hostile"])
def test_the_key_is_in_no_log_and_no_error(
    run: Run, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the endpoint repeats it."""
    run.endpoint.way = way
    caplog.set_level(logging.DEBUG)
    structlog.reset_defaults()
    with capture_logs() as logs:
        agents = run.proposer()
        proposed(agents)
    told = f"{logs}{caplog.text}{agents.events}{agents!r}{run.settings()!r}{run.requests()}"
    assert KEY not in told
    assert KEY not in run.settings().model_dump_json()
    if way == "401":
        error = run.refusal()
        assert "***" in error.fact
        assert KEY not in f"{error}{error!r}{error.__cause__}{error.__suppress_context__}"
        assert error.__suppress_context__
