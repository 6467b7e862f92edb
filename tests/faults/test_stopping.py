"""SIGTERM in the midst of each stage: it ends in time, nothing is half done, and it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import ledger
from storage.tables import RunStatus
from tests.faults.market import MARKET
from tests.faults.test_live import Place, begin_before, make_place, wait_for

__all__ = ["make_place"]

#: Seconds that a stage takes at the step where it is told to stop.
LONG = 3.0
#: A step of each stage.
STEPS = (
    "ingest.before_commit",
    "observe.before_commit",
    "publish.in_folder",
    "publish.before_pointer",
    "remine.after_round",
)


def running(place: Place, step: str, log: Path) -> subprocess.Popen[bytes]:
    """Start a daemon that takes its time at a step."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAD_")}
    told = {
        "ALPHAD_TEST__ENABLED": "true",
        "ALPHAD_TEST__FAILPOINT": f"{step}:sleep={LONG}@1",
    }
    command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(place.config)]
    with log.open("wb") as said:
        return subprocess.Popen(command, stderr=said, env=ours | told)


def is_running(place: Place, stage: str) -> bool:
    """Say whether the ledger shows a stage as running."""
    with place.database() as database, database.read() as conn:
        runs = ledger.history(conn, MARKET, stage=stage)
    return any(run.status == RunStatus.RUNNING for run in runs)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", STEPS)
def test_stops_in_every_stage(step: str, make_place: Callable[..., Place]) -> None:
    """Told to stop while a stage takes its time, it ends with code 0; the next start does the rest.

    What a kill in the same place leaves is told by test_failpoints.
    """
    place = make_place(enabled=step.startswith("remine"))
    begin_before(place, 3)
    name = step.partition(".")[0]
    process = running(place, step, place.root / "log")
    try:
        if name == "remine":
            wait_for(lambda: bool(place.jobs()) and place.jobs()[0].checkpoint is not None)
        else:
            wait_for(lambda: is_running(place, name))
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=45) == 0, (place.root / "log").read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait()
    assert place.findings() == []
    left = len(place.published())
    with place.running() as live:
        wait_for(lambda: place.published() == set(place.sessions[-5:]))
        assert live.terminate()[0] == 0
    assert left <= 5
    assert place.findings() == []
