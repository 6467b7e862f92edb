from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.failpoints import NAMES, arm, failpoint, parse_failpoint
from daemon.service_settings import FaultSettings
from daemon.settings import build_settings, load_settings, settings_toml
from signals.errors import ConfigError, StorageError
from storage import jobs
from storage.database import Database
from tests.daemon.small import DYING, FIRST, MARKET, SESSIONS, Home, market_bars

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def disarmed() -> Iterator[None]:
    """Leave no failpoint armed behind."""
    yield
    arm(None)


def test_every_name_is_a_step_of_the_code() -> None:
    """No name is without a place in the code, and no place without a name."""
    code = "".join(
        path.read_text()
        for room in ("daemon", "storage")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "failpoints.py"
    )
    placed = set(re.findall(r'(?:failpoint|passing)\("([a-z_.]+)"\)', code))
    of_stages = {
        f"{stage}.{when}_commit" for stage in ("ingest", "observe") for when in ("before", "after")
    }
    assert placed | of_stages == set(NAMES)
    assert 'failpoint(f"{stage}.before_commit")' in code


@pytest.mark.parametrize(
    "text",
    ["", "publish.after_mark", "publish.after_mark:", "publish.after_mark:explode",
     "publish.never:kill", "publish.after_mark:kill@0", "publish.after_mark:sleep",
     "publish.after_mark:sleep=-1", "publish.after_mark:kill@1 "],
)  # fmt: skip
def test_malformed(text: str) -> None:
    """What is no failpoint is refused, with the names there are."""
    with pytest.raises(ConfigError, match="is no failpoint") as caught:
        parse_failpoint(text)
    assert "publish.after_rename" in caught.value.hint


def test_refused_outside_test_mode(tmp_path: Path) -> None:
    """A failpoint without test.enabled stops the start; so does one that is none."""
    file = tmp_path / "alphad.toml"
    file.write_text("[test]\nfailpoint = 'publish.after_mark:kill'\n")
    with pytest.raises(ConfigError, match=r"test\.enabled"):
        load_settings(file, {})
    with pytest.raises(ConfigError, match="is no failpoint"):
        load_settings(
            file, {"ALPHAD_TEST__ENABLED": "true", "ALPHAD_TEST__FAILPOINT": "publish.never:kill"}
        )


def test_handed_on() -> None:
    """What a daemon writes for its child holds the failpoint."""
    test = {"enabled": True, "failpoint": "remine.after_round:kill@2"}
    settings = build_settings({"test": test})
    assert 'failpoint = "remine.after_round:kill@2"' in settings_toml(settings)
    assert settings.test == FaultSettings(enabled=True, failpoint="remine.after_round:kill@2")


@pytest.mark.usefixtures("disarmed")
def test_passings() -> None:
    """It happens at the passing that is named, or at each, and at no other step."""
    arm("observe.before_commit:raise@2")
    failpoint("observe.before_commit")
    failpoint("observe.after_commit")
    with pytest.raises(RuntimeError, match="at passing 2"):
        failpoint("observe.before_commit")
    failpoint("observe.before_commit")
    arm("observe.before_commit:raise")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            failpoint("observe.before_commit")
    arm(None)
    failpoint("observe.before_commit")


@pytest.mark.usefixtures("disarmed")
def test_full_disk() -> None:
    """A full disk is the system's error within a file operation, and ours elsewhere."""
    arm("publish.in_folder:enospc")
    with pytest.raises(OSError, match="No space left") as caught:
        failpoint("publish.in_folder")
    assert caught.value.errno == errno.ENOSPC
    arm("observe.before_commit:enospc")
    with pytest.raises(StorageError, match="No space left") as ours:
        failpoint("observe.before_commit")
    assert ours.value.retryable


def replay(home: Home, last: int, failpoint: str | None) -> subprocess.CompletedProcess[str]:
    """Replay in a process of its own, told to fail or not."""
    span = ["--from", SESSIONS[FIRST].isoformat(), "--to", SESSIONS[last].isoformat()]
    where = ["--bars", str(home.bars), "--out", str(home.out), "--config", str(home.settings)]
    command = [sys.executable, "-m", "daemon.cli", "replay", "--market", MARKET, *where, *span]
    told = {"ALPHAD_TEST__ENABLED": "true", "ALPHAD_TEST__FAILPOINT": failpoint}
    given = {name: value for name, value in told.items() if value and failpoint}
    return subprocess.run(
        command, env={**os.environ, **given}, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(120)
def test_killed_in_a_child(tmp_path: Path) -> None:
    """The process dies by SIGKILL at the very step, and goes on from there without the failpoint.

    Failpoints are of a run, not of what it writes: the output directory is gone on with.
    """
    home = Home(tmp_path / "home").write(market_bars())
    dead = replay(home, FIRST + 2, "publish.after_rename:kill@2")
    assert dead.returncode == -signal.SIGKILL
    assert "TEST MODE" in dead.stderr
    folders = sorted(path.parent.parent.name for path in home.published.rglob("_SUCCESS"))
    assert folders == [day.isoformat() for day in SESSIONS[FIRST : FIRST + 2]]
    assert SESSIONS[FIRST].isoformat() in (home.published / "latest.json").read_text()
    done = replay(home, FIRST + 2, None)
    assert (done.returncode, "TEST MODE" in done.stderr) == (0, False)
    assert SESSIONS[FIRST + 2].isoformat() in (home.published / "latest.json").read_text()
    assert len(list(home.published.rglob("_SUCCESS"))) == 3


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_killed_in_a_search(tmp_path: Path) -> None:
    """The child that re-mines is told to fail by the settings handed on; its round is kept."""
    home = Home(tmp_path).write(market_bars(DYING), mining={"enabled": False})
    assert home.replay(FIRST, FIRST + 5).code == 0
    with closing(Database.file(home.out / "state" / "alphad.db")) as database:
        with database.transaction() as conn:
            now, asked = datetime.now(UTC), {"reason": "asked"}
            job = jobs.open_job(conn, MARKET, SESSIONS[FIRST + 5], asked, 5, now)
        plain = home.config.read_text()
        fault = '[test]\nenabled = true\nfailpoint = "remine.after_round:kill@1"\n'
        home.config.write_text(plain + fault)
        assert remine(home, job.id) == -signal.SIGKILL
        with database.read() as conn:
            [reached] = jobs.jobs(conn, MARKET)
        assert (reached.checkpoint or {})["number"] == 1
        home.config.write_text(plain)
        assert remine(home, job.id) == 0
        with database.read() as conn:
            assert [each.status for each in jobs.jobs(conn, MARKET)] == ["succeeded"]


def remine(home: Home, job: int) -> int:
    """Carry a job out as the daemon's child does; return its exit code."""
    command = [sys.executable, "-m", "daemon.cli", "remine", "--config", str(home.config)]
    command += ["--market", MARKET, "--job", str(job), "--parent", str(os.getpid())]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_sleep_is_a_number() -> None:
    """Seconds may have a fraction, and a passing behind them."""
    found = parse_failpoint("publish.in_folder:sleep=0.25@3")
    assert (found.action, found.seconds, found.at) == ("sleep", 0.25, 3)
