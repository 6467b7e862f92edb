"""One search at a time over all markets, the most urgent first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import pytest

from daemon.context import Market
from daemon.reminers import ChildReminer, most_urgent
from signals.decay import Verdict
from signals.watch import Watch
from storage import alerts, history, jobs, registry
from storage.history import StateRow
from storage.tables import JobStatus, RemineJob
from tests.daemon.small import FIRST, SESSIONS, Living, living
from tests.daemon.test_judgement import monitor


class Children:
    """Starts processes that only wait, and remembers for whom."""

    def __init__(self, seconds: int = 60) -> None:
        self.seconds = seconds
        self.started: list[str] = []

    def __call__(self, _path: Path, market: Market, _job: RemineJob) -> subprocess.Popen[bytes]:
        self.started.append(market.name)
        command = [sys.executable, "-c", f"import time; time.sleep({self.seconds})"]
        return subprocess.Popen(command, start_new_session=True)


@contextmanager
def two_markets(path: Path, *strains: float) -> Iterator[Living]:
    """Open two markets, each with a job for one factor whose evidence is so many thresholds."""
    with living(path) as one:
        both = {name: replace(one.market, name=name) for name in ("us", "cn")}
        alive = replace(one, context=replace(one.context, markets=both))
        for name, strain in zip(both, strains, strict=True):
            add_job(alive, name, monitor(0.05, strain))
        yield alive


def add_job(alive: Living, market: str, state: Watch) -> None:
    session, now = SESSIONS[FIRST], alive.clock.now()
    with alive.context.database.transaction() as conn:
        registry.add(conn, market, "a", "$close", origin="seed", session=session, now=now)
        registry.transition(conn, market, "a", "live", session=session, rule="r", now=now)
        row = StateRow(market, "a", session, state.verdict, state.evidence, state.threshold,
                       state.to_json())  # fmt: skip
        history.append_states(conn, [row])
        decayed = ["a"] if state.verdict is Verdict.DECAYED else []
        jobs.open_job(conn, market, session, {"decayed": decayed}, 1, now)


@pytest.mark.parametrize(
    ("strains", "first"),
    [((2.0, 5.0), "cn"), ((5.0, 2.0), "us"), ((0.0, 1.5), "cn"), ((0.0, 0.0), "cn")],
)
def test_most_urgent_market_is_first(
    tmp_path: Path, strains: tuple[float, float], first: str
) -> None:
    """By weight lost times evidence; a book that is only short of factors comes last."""
    with two_markets(tmp_path, *strains) as alive:
        found = most_urgent(alive.context)
    assert found is not None
    assert found[0].name == first


def test_one_child_over_all_markets(tmp_path: Path) -> None:
    """Whichever market asks: one child, of the most urgent; the next when its job has ended."""
    with two_markets(tmp_path, 2.0, 5.0) as alive:
        children = Children()
        reminer = ChildReminer(alive.context, tmp_path / "settings.toml", children)
        us, cn = alive.context.markets["us"], alive.context.markets["cn"]
        try:
            for market in (us, cn, us):
                reminer.tend(market)
            assert children.started == ["cn"]
            with alive.context.database.transaction() as conn:
                [job] = jobs.jobs(conn, "cn")
                jobs.finish(conn, job, JobStatus.SUCCEEDED, alive.clock.now())
            reminer.kill(reminer.children["cn"])
            reminer.tend(us)
            assert children.started == ["cn", "us"]
            assert list(reminer.children) == ["us"]
        finally:
            reminer.stop()
        reminer.tend(cn)
        assert children.started == ["cn", "us"]


def test_child_of_another_market_is_looked_after(tmp_path: Path) -> None:
    """A child that fails three times gives up its job, and another market has its turn."""
    with two_markets(tmp_path, 2.0, 5.0) as alive:
        children = Children(seconds=0)
        reminer = ChildReminer(alive.context, tmp_path / "settings.toml", children)
        us, end = alive.context.markets["us"], monotonic() + 30
        while "us" not in children.started and monotonic() < end:
            reminer.tend(us)
            sleep(0.02)
        with alive.context.database.read() as conn:
            [job] = jobs.jobs(conn, "cn")
            raised = [alert.market for alert in alerts.open_alerts(conn)]
        reminer.stop()
    assert children.started == ["cn", "cn", "cn", "us"]
    assert job.status == JobStatus.FAILED
    assert "cn" in raised


#: A re-mining in small: rounds of a tenth of a second, the last of which is finished when asked.
ROUNDS = """
import sys, time
from pathlib import Path
from daemon.reminers import Stopping
stopping = Stopping()
stopping.listen()
for number in range(600):
    Path(sys.argv[1]).write_text(str(number))
    time.sleep(0.1)
    Path(sys.argv[2]).write_text(str(number))
    stopping.checkpoint(number)
"""


def test_child_ends_at_its_next_checkpoint(tmp_path: Path) -> None:
    """A stopping daemon lets a search finish the round it is in; what ignores it is killed."""
    begun, done = tmp_path / "begun", tmp_path / "done"

    def start(*_: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", ROUNDS, str(begun), str(done)]
        return subprocess.Popen(command, start_new_session=True)

    with two_markets(tmp_path, 2.0, 5.0) as alive:
        reminer = ChildReminer(alive.context, tmp_path / "settings.toml", start)
        reminer.tend(alive.context.markets["us"])
        end = monotonic() + 60
        while not done.exists() and monotonic() < end:
            sleep(0.02)
        [child] = reminer.children.values()
        reminer.stop()
    assert child.process.returncode == 0
    assert begun.read_text() == done.read_text()
