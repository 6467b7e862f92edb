"""The live daemon as a real process: it catches up, answers, stops, dies and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.kills import published_files
from daemon.calendar import MarketCalendar
from daemon.replay import run_replay
from daemon.settings import load_settings
from signals.errors import AlreadyRunningError
from storage import alerts, jobs, ledger
from storage.database import Database
from storage.integrity import Finding, verify, verify_database
from storage.tables import JobStatus, RemineJob
from tests.faults.market import MARKET, make_bars, market_table, write_bars, write_config

#: Sessions of the file.
N_SESSIONS = 120
#: A search that outlasts every test: it is there to be killed.
ENDLESS = {"rounds": 5000, "batch": 60}


def quiet_calendar() -> MarketCalendar:
    """Return a calendar whose next session is not final before these tests are over."""
    now = datetime.now(UTC)
    for name in ("XNYS", "XTKS", "XLON"):
        calendar = MarketCalendar(name)
        if calendar.last_final(now, 90) == calendar.last_final(now + timedelta(minutes=20), 90):
            return calendar
    raise AssertionError("three exchanges on three continents do not close together")


@dataclass(frozen=True)
class Place:
    """A directory with a settings file and bars up to the last final session."""

    config: Path
    root: Path
    calendar: MarketCalendar
    sessions: list[date]

    @contextmanager
    def database(self) -> Iterator[Database]:
        with closing(Database.file(self.root / "state" / "alphad.db")) as database:
            yield database

    def jobs(self) -> list[RemineJob]:
        with self.database() as database, database.read() as conn:
            return jobs.jobs(conn, MARKET)

    def alerts(self) -> dict[str, str]:
        with self.database() as database, database.read() as conn:
            return {alert.key: alert.message for alert in alerts.open_alerts(conn, MARKET)}

    def published(self) -> set[date]:
        with self.database() as database, database.read() as conn:
            return ledger.succeeded(conn, MARKET, "publish")

    def findings(self) -> list[Finding]:
        """Return what is wrong with what is published and stored."""
        out = self.root / "published"
        with self.database() as database:
            return [*verify(out), *verify_database(database, out, self.root / "state")]

    def alphad(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "daemon.cli", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    @contextmanager
    def running(self) -> Iterator[Live]:
        """Run `alphad run`; whatever is left of it is killed at the end."""
        command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(self.config)]
        log = self.root / f"log-{time.monotonic_ns()}.jsonl"
        with log.open("wb") as said, subprocess.Popen(command, stderr=said) as process:
            live = Live(process, log)
            try:
                wait_for(lambda: bool(live.events("running")) or process.poll() is not None)
                assert process.poll() is None, log.read_text(encoding="utf-8")
                yield live
            finally:
                process.kill()
                process.wait()
                for pid in live.children():
                    if alive(pid):
                        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Live:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of the log with this event."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [row for row in map(parsed, lines) if row.get("event") == name]

    def children(self) -> list[int]:
        """Return the process id of every re-mining it has started."""
        return [int(row["pid"]) for row in self.events("re-mining started")]

    def get(self, path: str) -> tuple[int, str]:
        """Return status code and body of one of its pages."""
        address = f"{self.events('running')[0]['web']}{path}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - loopback
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit code and the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        return code, time.monotonic() - started


def parsed(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def wait_for(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so; fail when it is not in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def make_place(tmp_path: Path) -> Callable[..., Place]:
    """Return what makes a place, with changes to the mining settings."""

    def make(**mining: Any) -> Place:
        calendar = quiet_calendar()
        last = calendar.last_final(datetime.now(UTC), 90)
        sessions = calendar.sessions(calendar.previous_session(last, N_SESSIONS - 1), last)
        bars = write_bars(tmp_path / "bars.parquet", make_bars(calendar, sessions))
        table = market_table(bars, calendar=calendar.name, **mining)
        more = {
            "state_dir": str(tmp_path / "state"),
            "publish_dir": str(tmp_path / "published"),
            "tick_seconds": 1,
            "web": {"port": 0},
        }
        config = write_config(tmp_path / "alphad.toml", table, **more)
        return Place(config, tmp_path, calendar, sessions)

    return make


def begin_before(place: Place, behind: int) -> None:
    """Publish up to some sessions before the last one, so that the daemon has to catch up."""
    settings = load_settings(place.config, {"ALPHAD_MARKETS__SMALL__MINING__ENABLED": "false"})
    first, last = place.sessions[-behind - 2], place.sessions[-behind - 1]
    run_replay(settings, MARKET, first, last, lambda *_: None)


@pytest.mark.timeout(120)
def test_daemon_publishes_answers_and_stops(make_place: Callable[..., Place]) -> None:
    """From nothing: history, session, signals, re-mining; a second one is refused; it stops."""
    place = make_place()
    with place.running() as live:
        wait_for(lambda: live.get("/readyz")[0] == 200)
        code, said = live.get("/healthz")
        assert (code, json.loads(said)["alive"]) == (200, True)
        assert json.loads(said)[MARKET]["sessions_behind"] == 0
        code, said = live.get("/metrics")
        assert code == 200
        assert f'alphad_published_session_lag_sessions{{market="{MARKET}"}} 0.0' in said
        assert place.published() == {place.sessions[-1]}
        assert place.alphad("health").returncode == 0
        second = place.alphad("run")
        assert second.returncode == AlreadyRunningError.exit_code
        assert f"in use by process {live.process.pid}" in second.stderr
        assert "Way out: " in second.stderr
        wait_for(lambda: [job.status for job in place.jobs()] == [JobStatus.SUCCEEDED])
        assert (place.jobs()[0].result or {})["tried"] > 0
        code, seconds = live.terminate()
        assert code == 0
        assert seconds < 15
    assert place.findings() == []


@pytest.mark.timeout(120)
def test_daemon_killed_while_it_catches_up_goes_on(make_place: Callable[..., Place]) -> None:
    """Killed in the midst of catching up: the next start publishes each session once."""
    place = make_place()
    begin_before(place, 12)
    before = published_files(place.root)
    with place.running() as live:
        wait_for(lambda: len(place.published()) >= 4)
        live.process.kill()
        live.process.wait()
    with place.running() as live:
        wait_for(lambda: place.published() == set(place.sessions[-14:]))
        wait_for(lambda: live.get("/readyz")[0] == 200)
        assert live.terminate()[0] == 0
    after = published_files(place.root)
    assert all(after[name] == data for name, data in before.items() if "sessions" in name)
    assert len([name for name in after if name.endswith("_SUCCESS")]) == 14
    assert place.findings() == []


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_killed_search_fails_alone(make_place: Callable[..., Place]) -> None:
    """Killed each time, a re-mining ends `failed`, with an alert; publishing goes on."""
    place = make_place(**ENDLESS)
    begin_before(place, 5)
    with place.running() as live:
        wait_for(lambda: place.published() == set(place.sessions[-7:]))
        wait_for(lambda: place.jobs()[0].checkpoint is not None)
        assert alive(live.children()[0])  # it has run beside the publishing
        killed: list[int] = []

        def kill_until_failed() -> bool:
            for child in live.children():
                if child not in killed:  # a job may be begun again some times
                    os.kill(child, signal.SIGKILL)
                    killed.append(child)
            return place.jobs()[0].status == JobStatus.FAILED

        wait_for(kill_until_failed)
        wait_for(lambda: "remining" in place.alerts())
        assert "exit code -9" in place.alerts()["remining"]
        wait_for(lambda: live.get("/readyz")[0] == 200)
        assert live.terminate()[0] == 0
    assert place.findings() == []


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_search_does_not_outlive_its_daemon(make_place: Callable[..., Place]) -> None:
    """With the daemon its search ends, however it ends; the next daemon goes on with the job."""
    place = make_place(**ENDLESS)
    with place.running() as live:
        wait_for(lambda: bool(place.jobs()) and place.jobs()[0].checkpoint is not None)
        (first,) = live.children()
        live.process.kill()
        live.process.wait()
        wait_for(lambda: not alive(first), 10)
    reached = place.jobs()[0].checkpoint
    assert reached is not None
    with place.running() as live:
        wait_for(lambda: (place.jobs()[0].checkpoint or {})["number"] > reached["number"])
        second = live.children()[-1]
        code, seconds = live.terminate()
        assert code == 0
        assert seconds < 15
        assert not alive(second)
    assert [job.status for job in place.jobs()] == [JobStatus.RUNNING]  # to be gone on with
    assert place.alerts().keys() <= {"degraded"}
    assert place.findings() == []
