"""A cluster measures what threads measure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon.stages.remine import searched
from daemon.workers import Workers, open_workers
from miner.problem import Problem, SearchSettings
from miner.proposer import GrammarProposer
from signals.errors import ConfigError
from tests.miner.market import market

distributed = pytest.importorskip("distributed")

SMALL = SearchSettings(
    rounds=2, batch=40, population=20, finalists=8, train_sessions=250, valid_sessions=120
)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Yield the address of a scheduler with two worker processes on this machine."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def rounds(workers: Workers) -> list[object]:
    """Return every round of one search as plain values."""
    seen: list[object] = []
    searched(
        Problem(market(3)),
        SMALL,
        GrammarProposer(),
        workers,
        5,
        on_round=lambda r: seen.append(r.to_json()),
    )
    return seen


@pytest.mark.filterwarnings("ignore")  # dask's own, at the end of its processes
def test_a_cluster_of_processes_finds_what_threads_find(scheduler: str) -> None:
    """The same seed gives the same rounds, every number of them."""
    with open_workers() as here:
        local = rounds(here)
    with open_workers(scheduler) as there:
        assert rounds(there) == local


def test_threads_work_where_no_scheduler_answers() -> None:
    """A cluster that is down costs time, and no re-mining."""
    with open_workers("tcp://127.0.0.1:9", connect_seconds=1) as here:
        assert here.executor.submit(sum, [1, 2]).result() == 3


def test_what_is_no_address_is_refused() -> None:
    """The error says what was given, and how an address looks."""
    with (
        pytest.raises(ConfigError, match="is no address") as caught,
        open_workers("nowhere://x", connect_seconds=1),
    ):
        pass
    assert "tcp://" in caught.value.hint
