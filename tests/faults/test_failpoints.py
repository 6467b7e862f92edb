"""One kill -9 at each named step: what is gone on with ends in the bytes of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from bench.kills import published_files
from bench.live_faults import BEGUN
from daemon.failpoints import NAMES
from daemon.replay import run_replay
from daemon.summary import Summary
from storage.database import Database
from storage.integrity import verify, verify_database
from tests.daemon.live import live_market, small_book
from tests.faults.market import BEGIN, MARKET, SESSIONS, settings_of
from tests.faults.test_live import Place, make_place, wait_for

__all__ = ["make_place"]

#: Steps of a session, and the passing at which the process dies.
IN_A_SESSION = {
    "ingest.before_write": 3,
    "ingest.after_vintage": 3,
    "ingest.before_commit": 3,
    "ingest.after_commit": 3,
    "observe.before_commit": 3,
    "observe.after_commit": 3,
    "publish.after_reserve": 3,
    "publish.in_folder": 9,
    "publish.before_rename": 3,
    "publish.after_rename": 3,
    "publish.before_commit": 3,
    "publish.after_mark": 3,
    "publish.before_pointer": 3,
    "publish.after_pointer": 3,
}
IN_A_REMINING = {"remine.after_round": 1, "remine.before_finish": 1, "remine.after_finish": 1}
WHILE_MIGRATING = {"migrate.after_backup": 1, "migrate.before_commit": 1}
WHILE_STARTING = {"start.after_epoch": 1, "recover.after_abandon": 1}
ELSEWHERE = {"recover.before_adopt": 1, "alert.after_commit": 1, "backfill.after_chunk": 1}
#: The steps whose kill takes a few seconds and is of every `make test`.
QUICK = ("ingest.after_vintage", "publish.before_rename", "publish.before_commit")
#: Sessions that a quick one lives through.
SPAN = 8


def steps(of: dict[str, int]) -> list[object]:
    """Return the cases of some steps; those that are not quick are for `make faults`."""
    return [
        pytest.param(name, n, marks=() if name in QUICK else pytest.mark.slow, id=name)
        for name, n in of.items()
    ]


def armed(name: str, passing: int) -> dict[str, str]:
    """Return the environment of a process that is to die at a step."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAD_")}
    told = {"ALPHAD_TEST__ENABLED": "true", "ALPHAD_TEST__FAILPOINT": f"{name}:kill@{passing}"}
    return ours | told


def die(config: Path, bars: Path, out: Path, last: date, name: str, passing: int) -> None:
    """Replay in a process of its own that dies at a step."""
    span = ["--from", SESSIONS[BEGIN].isoformat(), "--to", last.isoformat()]
    files = ["--bars", str(bars), "--config", str(config), "--out", str(out)]
    replay = [sys.executable, "-m", "daemon.cli", "replay", "--market", MARKET, *files, *span]
    done = subprocess.run(
        replay, env=armed(name, passing), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def go_on(config: Path, bars: Path, out: Path, last: date) -> dict[str, bytes]:
    """Replay the same to its end and return what is published; all of it is whole."""
    settings = settings_of(config, bars, out)
    run_replay(settings, MARKET, SESSIONS[BEGIN], last, lambda *_: None)
    assert list(out.rglob(".*.tmp")) == []
    assert verify(settings.publish_dir) == []
    database = Database.file(settings.state_dir / "alphad.db")
    try:
        assert verify_database(database, settings.publish_dir, settings.state_dir) == []
    finally:
        database.close()
    return published_files(out)


def upto(reference: dict[str, bytes], last: date) -> dict[str, bytes]:
    """Return the folders of the sessions up to a last one."""
    return {
        name: data
        for name, data in reference.items()
        if "sessions" in name and date.fromisoformat(Path(name).parent.parent.name) <= last
    }


def test_every_step_has_its_kill() -> None:
    """A step that is named is one at which a process is killed here."""
    there = [IN_A_SESSION, IN_A_REMINING, WHILE_MIGRATING, WHILE_STARTING, ELSEWHERE]
    assert sorted(name for of in there for name in of) == sorted(NAMES)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "passing"), steps(IN_A_SESSION))
def test_killed_in_a_session(
    name: str, passing: int, config: Path, bars: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """Killed between two steps of a session, it publishes the same bytes, and nothing is left."""
    last = SESSIONS[BEGIN + SPAN - 1]
    die(config, bars, tmp_path / "out", last, name, passing)
    files = go_on(config, bars, tmp_path / "out", last)
    there = {n: data for n, data in files.items() if "sessions" in n}
    assert (there == upto(reference, last)) is True


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_killed_while_it_recovers(
    config: Path, bars: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """Killed once more before a folder that a first kill left is counted, it counts it then."""
    last = SESSIONS[BEGIN + SPAN - 1]
    die(config, bars, tmp_path / "out", last, "publish.after_rename", 3)
    die(config, bars, tmp_path / "out", last, "recover.before_adopt", 1)
    files = go_on(config, bars, tmp_path / "out", last)
    there = {n: data for n, data in files.items() if "sessions" in n}
    assert (there == upto(reference, last)) is True


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "passing"), steps(IN_A_REMINING))
def test_killed_in_a_remining(
    name: str,
    passing: int,
    config: Path,
    bars: Path,
    tmp_path: Path,
    reference: dict[str, bytes],
    undisturbed: Summary,
) -> None:
    """Killed around a round or the end of a re-mining, what it accepts is the same."""
    opened = SESSIONS.index(date.fromisoformat(undisturbed.jobs[0].opened))
    last = SESSIONS[opened + 12]
    die(config, bars, tmp_path / "out", last, name, passing)
    files = go_on(config, bars, tmp_path / "out", last)
    there = {n: data for n, data in files.items() if "sessions" in n}
    assert (there == upto(reference, last)) is True


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "passing"), steps(WHILE_MIGRATING))
def test_killed_while_migrating(
    name: str, passing: int, config: Path, bars: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """Killed while an older release's tables are brought up to date, the next start does it."""
    state = tmp_path / "out" / "state"
    state.mkdir(parents=True)
    older(state / "alphad.db")
    last = SESSIONS[BEGIN + 1]
    die(config, bars, tmp_path / "out", last, name, passing)
    files = go_on(config, bars, tmp_path / "out", last)
    there = {n: data for n, data in files.items() if "sessions" in n}
    assert (there == upto(reference, last)) is True


def older(path: Path) -> None:
    """Make an empty database as the release before the last migration left it."""
    config = Config()
    config.set_main_option("script_location", "storage:migrations")
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_revision("head")
    database = Database.file(path)
    with database.transaction() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, str(head.down_revision))
    database.close()


def killed_daemon(place: Place, name: str, passing: int) -> None:
    """Run the daemon until it dies at a step."""
    run = [sys.executable, "-m", "daemon.cli", "run", "--config", str(place.config)]
    done = subprocess.run(
        run, env=armed(name, passing), capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("name", "passing"), steps(WHILE_STARTING))
def test_killed_while_starting(name: str, passing: int, make_place: Callable[..., Place]) -> None:
    """Killed before it has begun anything, the daemon starts again and publishes."""
    place = make_place(enabled=False)
    killed_daemon(place, name, passing)
    with place.running() as live:
        wait_for(lambda: place.published() == {place.sessions[-1]})
        assert live.terminate()[0] == 0
    assert place.findings() == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_killed_after_an_alert(make_place: Callable[..., Place]) -> None:
    """Killed once an alert is stored, it is there after the next start, and is resolved by it."""
    place = make_place(enabled=False)
    file = place.root / "bars.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    killed_daemon(place, "alert.after_commit", 1)
    assert "stage-failed" in place.alerts()
    file.write_bytes(whole)
    with place.running() as live:
        wait_for(lambda: place.published() == {place.sessions[-1]})
        wait_for(lambda: "stage-failed" not in place.alerts())
        assert live.terminate()[0] == 0
    assert place.findings() == []


#: Lives through the first session of a live market, and dies after the first histories are kept.
BACKFILL = """
import sys
from pathlib import Path
from bench.live_faults import BEGUN
from daemon.failpoints import arm
from tests.daemon.live import live_market, small_book
with live_market(Path(sys.argv[1]), small_book("us"), BEGUN) as alive:
    arm("backfill.after_chunk:kill@1")
    alive.tick()
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_killed_in_a_backfill(tmp_path: Path) -> None:
    """Killed between two histories, the rest is fetched, and the scores are the same."""
    died = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BACKFILL, str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    published = []
    for name in ("killed", "undisturbed"):
        with live_market(tmp_path / name, small_book("us"), BEGUN) as alive:
            alive.tick()
            assert alive.alerts().keys() <= {"degraded"}
            (row,) = alive.publications()
            folder = alive.context.publisher.directory(row)
            published.append((folder / "signals.parquet").read_bytes())
    assert published[0] == published[1]
