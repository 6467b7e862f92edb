"""What would be published is shown, and nothing is written for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from daemon.dry_run import difference, rehearse, scores
from daemon.operator import set_control
from daemon.stages import ingest, observe, publish
from daemon.stages.published import Published, load_published
from signals.errors import DataError
from storage.publishing import head
from storage.tables import ControlState
from tests.daemon.small import FIRST, MARKET, SESSIONS, Home, Living, alphad, living


def everything(*roots: Path) -> dict[Path, bytes | None]:
    """Return every byte of some folders; SQLite's shared memory, which readers use, aside."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.suffix != ".db-shm" and not path.name.endswith("-shm")
    }


def test_nothing_has_changed_since_the_publication(home: Home) -> None:
    """With the same bars and book every score is the published one; the command says so."""
    found = alphad("dry-run", "--market", MARKET, "--config", home.config, "--json").json()
    assert found["session"] == found["against"]["session"] == SESSIONS[FIRST + 4].isoformat()
    assert found["against"] == {
        "publish_id": "00000005",
        "session": found["session"],
        "common": found["scores"],
        "rank_correlation": 1.0,
        "largest": [],
        "joined": [],
        "left": [],
    }
    assert found["scores"] > 20
    assert found["reasons"][-1] == "published after the time it could be traded on"
    assert [factor["id"] for factor in found["factors"]] != []
    said = alphad("dry-run", "--config", home.config).out
    assert "would be published degraded" in said
    assert "rank correlation: 1.0000" in said
    assert "no score differs" in said


def forget_the_cache(home: Home) -> None:
    shutil.rmtree(home.out / "state" / "cache")


def leave_it(_home: Home) -> None:
    """Change nothing."""


@pytest.mark.parametrize("before", [leave_it, forget_the_cache])
def test_command_leaves_every_byte(home: Home, before: Callable[[Home], None]) -> None:
    """State and output are the same file for file, with a warm cache of bars and without one."""
    before(home)
    kept = everything(home.out)
    assert alphad("dry-run", "--config", home.config).code == 0
    assert alphad("dry-run", "--config", home.config, "--json").code == 0
    assert everything(home.out) == kept


def test_settings_of_today_count(home: Home) -> None:
    """It says what a change of settings would do before the daemon is told of it."""
    text = home.config.read_text()
    home.config.write_text(text.replace("shadow_min = 5", "shadow_min = 5\nmin_healthy = 5"))
    found = alphad("dry-run", "--config", home.config, "--json").json()
    assert found["status"] == "degraded"
    assert found["reasons"][0] == "1 healthy factors, 5 wanted"
    assert found["against"]["rank_correlation"] == 1.0


def test_every_state_of_a_session_is_left_as_it_is(tmp_path: Path) -> None:
    """Before and after each stage, paused and halted: nothing moves; what it says comes true."""
    with living(tmp_path, mining={"enabled": False}) as alive:
        roots = (alive.context.settings.state_dir, alive.context.publisher.root)
        with pytest.raises(DataError, match="us has no session that is ingested"):
            rehearse(alive.context, alive.market)
        for number in range(FIRST, FIRST + 3):
            session = alive.until(number)
            for stage in (ingest.run, observe.run, publish.run):
                stage(alive.context, alive.market, session)
                kept = everything(*roots)
                found, against = rehearse(alive.context, alive.market)
                assert everything(*roots) == kept
                if stage is observe.run:
                    promised, status = scores(found.instruments, found.score), found.status
            assert against is not None
            assert (against.rank_correlation, against.largest) == (1.0, ())
            assert promised == published(alive, session)
            assert status.value == status_of(alive)
        for state in (ControlState.PAUSED, ControlState.HALTED):
            set_control(alive.context, MARKET, state, reason="wait", who="ops")
            kept = everything(*roots)
            rehearse(alive.context, alive.market)
            assert everything(*roots) == kept


def published(alive: Living, session: date) -> dict[str, float]:
    found = load_published(alive.context, alive.market, session)
    assert found is not None
    return scores(found.instruments, found.score)


def status_of(alive: Living) -> str | None:
    with alive.context.database.read() as conn:
        row = head(conn, MARKET)
    assert row is not None
    return row.status_text


def test_damaged_publication_is_told(home: Home) -> None:
    """What cannot be compared with is an error that names the folder, and changes nothing."""
    [file] = home.published.glob(f"sessions/{SESSIONS[FIRST + 4]}/*/signals.parquet")
    file.write_bytes(b"torn")
    kept = everything(home.out)
    done = alphad("dry-run", "--config", home.config)
    assert done.code == 74
    assert "cannot be read back" in done.err
    assert everything(home.out) == kept


def test_changes_are_told_the_largest_first(tmp_path: Path) -> None:
    """Instruments in both are compared; those with a score on one side only are named."""
    with living(tmp_path, mining={"enabled": False}) as alive:
        session = alive.until(FIRST)
        for stage in (ingest.run, observe.run, publish.run):
            stage(alive.context, alive.market, session)
        found, _ = rehearse(alive.context, alive.market)
        with alive.context.database.read() as conn:
            last = head(conn, MARKET)
    assert last is not None
    now = replace(found, instruments=("a", "b", "c", "d"), score=np.array([1.0, 2.0, -1.0, np.nan]))
    then = Published("00000001", ("a", "b", "d", "c"), np.array([1.5, 0.0, 3.0, -1.0]))
    told = difference(now, then, last)
    assert (told.common, told.joined, told.left) == (3, (), ("d",))
    assert [(change.instrument, change.by) for change in told.largest] == [("b", 2.0), ("a", -0.5)]
    assert told.rank_correlation == 0.5
