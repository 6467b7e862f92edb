"""What is asked is counted before it is sent, and no budget is overdrawn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from miner.agents import Turn
from storage import model_usage
from storage.database import Database
from storage.model_usage import Spent
from tests.daemon.llm.run import NOON, QUESTION, Run, proposed


def test_tokens_and_money_are_counted(run: Run) -> None:
    """A row holds what the endpoint has counted, at the prices of the settings."""
    run.model(price_input=2.0, price_output=10.0).idea(QUESTION)
    (row,) = run.requests()
    assert (row.input_tokens, row.output_tokens, row.outcome) == (1_200, 300, "answered")
    assert row.cost == pytest.approx(1_200 * 2e-6 + 300 * 1e-5)
    assert (row.kind, row.model, row.at) == ("idea", "m", NOON)


@pytest.mark.parametrize("way", ["no_usage", "absurd_usage"])
def test_tokens_that_are_not_counted_count_at_their_worst(run: Run, way: str) -> None:
    """An endpoint that says nothing, or 10^18, has used what the request could use up."""
    run.endpoint.way = way
    run.model(max_output_tokens=777).idea(QUESTION)
    (row,) = run.requests()
    assert row.output_tokens == 777
    assert len(QUESTION.text) < row.input_tokens < 10_000


def test_a_request_is_on_record_before_it_is_sent(run: Run) -> None:
    """Whoever looks while the endpoint is silent sees the row at its worst."""
    run.endpoint.way = "hang"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(run.refusal, timeout_seconds=1.0)
        while not run.endpoint.log:
            sleep(0.01)
        assert [(row.outcome, row.output_tokens) for row in run.requests()] == [(None, 4_000)]
        assert "did not answer" in asking.result().fact


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"requests_per_run": 2}, "requests_per_run"),
        ({"requests_per_day": 2}, "requests_per_day"),
        ({"tokens_per_run": 12_000}, "tokens_per_run"),
        ({"tokens_per_day": 12_000}, "tokens_per_day"),
        ({"cost_per_run": 0.012, "price_output": 1.0, "price_input": 1.0}, "cost_per_run"),
        ({"cost_per_day": 0.012, "price_output": 1.0, "price_input": 1.0}, "cost_per_day"),
    ],
)
def test_no_budget_is_overdrawn(run: Run, given: dict[str, Any], name: str) -> None:
    """What may cost more than is left is not sent; the run ends offline and names the budget."""
    agents = run.proposer(**given)
    for number in range(1, 6):
        assert len(proposed(agents, number)) > 4
    assert run.events[-1].turn is Turn.END
    assert name in run.events[-1].message
    assert len(run.endpoint.log) == len(run.requests()) <= 10
    with run.database.read() as connection:
        spent = model_usage.of_run(connection, "us", 1)
    limit = {"requests": spent.requests, "tokens": spent.tokens, "cost": spent.cost}
    assert limit[name.partition("_")[0]] <= given[name]


def test_seconds_are_a_budget_too(run: Run) -> None:
    """A run that has waited long enough waits no more, and its last request gets only the rest."""
    run.endpoint.way = "hang"
    started = monotonic()
    assert "within 0.6 s" in run.refusal(seconds_per_run=0.6, timeout_seconds=60).fact
    assert "seconds_per_run" in run.refusal(seconds_per_run=0.6, timeout_seconds=60).fact
    assert monotonic() - started < 5.0
    assert len(run.endpoint.log) == 1


def test_budgets_outlive_the_process(run: Run, tmp_path: Path) -> None:
    """Another process of the same job finds spent what the first one spent."""
    run.model(requests_per_run=1).idea(QUESTION)
    other = Database.file(tmp_path / "alphad.sqlite")
    again = Run(other, run.endpoint, run.clock)
    assert again.refusal(requests_per_run=1).over_budget
    again.model(requests_per_run=1, job=2).idea(QUESTION)
    other.close()


def test_a_crash_while_asking_is_paid_for(run: Run) -> None:
    """A request that was never settled uses up the budget at its worst."""
    budget = run.model(tokens_per_run=10_000).budget
    budget.reserve("idea", 5_000)
    error = run.refusal(tokens_per_run=10_000)
    assert error.over_budget
    assert "9000 of 10000" in error.fact


def test_a_day_s_budget_is_new_at_midnight_utc(run: Run) -> None:
    """What was asked yesterday does not count today, of whatever job and market."""
    run.model(requests_per_day=1).idea(QUESTION)
    assert "requests_per_day" in run.refusal(requests_per_day=1, job=2).fact
    run.clock.advance(timedelta(hours=12))
    run.model(requests_per_day=1, job=2).idea(QUESTION)


def test_the_worst_case_of_a_request_is_bounded_by_its_bytes(run: Run) -> None:
    """No more tokens are reserved than the bytes that are sent, and no fewer."""
    run.model().idea(QUESTION)
    sent = int(run.endpoint.log[0].headers["content-length"])
    budget = run.model().budget
    size = len(QUESTION.system) + len(QUESTION.text) + 4_000
    assert sent <= size
    assert budget.reserve("idea", size).worst == Spent(1, size, 4_000, 0.0, 120.0)
