"""The heartbeat file, and what is told from it alone."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.heartbeat import HEARTBEAT_LIMIT, beat, heartbeat_path, look

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


def beating(
    state: Path, *, heartbeat: float = 0.0, tick: float = 0.0, limit: float = 630.0
) -> Path:
    """Beat so many seconds ago."""
    path = heartbeat_path(state)
    ticked = {"us": NOW, "cn": NOW - timedelta(seconds=tick)}
    beat(path, NOW - timedelta(seconds=heartbeat), ticked, limit)
    return path


@pytest.mark.parametrize(
    ("heartbeat", "tick", "why"),
    [
        (0.0, 0.0, None),
        (HEARTBEAT_LIMIT, 630.0, None),
        (HEARTBEAT_LIMIT + 1, 0.0, "the last heartbeat is of 2026-03-04T11:58:59+00:00"),
        (0.0, 631.0, "cn does not get on"),
        (-HEARTBEAT_LIMIT - 1, 0.0, "the last heartbeat is of 2026-03-04T12:01:01+00:00"),
    ],
)
def test_alive_is_beating_and_getting_on(
    tmp_path: Path, heartbeat: float, tick: float, why: str | None
) -> None:
    """A dead scheduler, a stuck market and a heartbeat from the future are each told as that."""
    beating(tmp_path, heartbeat=heartbeat, tick=tick)
    found = look(tmp_path, NOW)
    assert found["alive"] is (why is None)
    assert found["because"] == ([] if why is None else [why])
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"at": "noon", "ticked": {}}'])
def test_what_is_no_heartbeat_is_not_alive(tmp_path: Path, text: str | None) -> None:
    """A missing or torn file is not taken for life."""
    if text is not None:
        heartbeat_path(tmp_path).write_text(text)
    assert look(tmp_path, NOW)["because"] == [f"there is no heartbeat in {tmp_path}"]


def test_a_heartbeat_without_a_limit_still_counts(tmp_path: Path) -> None:
    """One written before an update has no limit: its age alone decides."""
    path = beating(tmp_path, tick=9000.0)
    said = json.loads(path.read_text())
    del said["limit"]
    path.write_text(json.dumps(said))
    assert look(tmp_path, NOW)["alive"]


def test_the_command_says_so_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alphad health --state` gives 1 for a daemon that died long ago, and says why."""
    beating(tmp_path)
    assert main(["health", "--state", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("NOT ALIVE: cn does not get on; us")
    beat(heartbeat_path(tmp_path), datetime.now(UTC), {})
    assert main(["health", "--state", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["alive"] is True


def test_looking_imports_nothing_large(tmp_path: Path) -> None:
    """Neither numbers, tables, databases nor settings are loaded to read one small file."""
    program = (
        "import sys; from daemon.cli import main; main(['health', '--state', sys.argv[1]]);"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "daemon" in loaded
    assert not loaded & {"numpy", "pandas", "numba", "pyarrow", "sqlalchemy", "pydantic", "rich"}
