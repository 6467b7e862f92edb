from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.calendar import MarketCalendar, Overlay
from daemon.demo import clear, demo_settings, rank_ic_line, tell
from daemon.feeds.simulated import SimulatedFeed
from daemon.replay import claim_directory
from daemon.simulation import default_alphas
from daemon.summary import Curve, Event, FactorRow, JobRow, Summary
from signals.errors import AlreadyRunningError, ConfigError
from storage.lock import StateLock

CALENDAR = MarketCalendar("XNYS", Overlay())
START = demo_settings(Path("out"), 7).markets["sim"].feed.start
SESSIONS = CALENDAR.sessions(START, CALENDAR.next_session(START, 1500))
DEATH, BIRTH = SESSIONS[996], SESSIONS[760]
REVERSAL = "-1 * TS_PCTCHANGE($close, 5)"


def row(name: str, origin: str, expression: str) -> FactorRow:
    return FactorRow(name, origin, "live", "healthy", 0.0, 252.0, 0.03, expression)


def event(number: int, subject: str, kind: str, why: str = "because") -> Event:
    return Event(SESSIONS[number].isoformat(), subject, kind, kind, why)


def summary(*events: Event) -> Summary:
    """Three years in which the score earns 0.04, 0.01 from the death on, 0.03 from 1100 on."""
    days = [day.isoformat() for day in SESSIONS[756:1400]]
    values = np.array([0.04] * 240 + [0.01] * 104 + [0.03] * 300)
    empty = np.empty(0)
    return Summary(
        market="sim", first_session=days[0], last_session=days[-1], sessions_due=644,
        sessions_published=644, published_twice=0, statuses={"final": 644}, data_note="simulated",
        version="0", years=[], events=list(events),
        factors=[row("reversal_5", "seed", REVERSAL), row("momentum_12_1", "seed", "$close"),
                 row("m001_1", "mined", "$high")],
        jobs=[JobRow(1, SESSIONS[1010].isoformat(), "1 decayed", "succeeded", 450, 9, ["m001_1"])],
        score_curve=Curve("published score", days, values, [], empty), curves=[],
    )  # fmt: skip


def told(*events: Event) -> str:
    feed = SimulatedFeed(CALENDAR, seed=7, n_assets=40)
    return "\n".join(tell(summary(*events), default_alphas(), SESSIONS, feed))


def test_story_of_a_death_that_is_found() -> None:
    """The alarm is told against the true date, then who came and who went."""
    story = told(
        event(1010, "reversal_5", "decayed"),
        event(1100, "m001_1", "live"),
        event(1101, "reversal_5", "retired", "replaced by m001_1"),
    )
    assert "644 of 644 sessions published." in story
    assert f"dies from {DEATH} on" in story
    assert f"is born on {BIRTH}" in story
    assert "reversal_5 is found decayed, 14 sessions after" in story
    assert "re-mining 1 (1 decayed) measures 450 candidates, validates 9, accepts m001_1." in story
    assert "m001_1 has proved itself in shadow and goes live: $high" in story
    assert "reversal_5 retires: replaced by m001_1." in story
    assert "False alarms, before anything had died: 0;" in story


def test_story_of_a_death_that_is_missed() -> None:
    """A death nobody noticed and an alarm that was false are told as they are."""
    story = told(event(900, "momentum_12_1", "decayed"))
    assert "The death of “reversal” was not found." in story
    assert f"died: 1 (momentum_12_1 {SESSIONS[900]})" in story


def test_rank_ic_before_during_after() -> None:
    """The replacement is a mined factor: a declared one whose id begins with m is none."""
    line = rank_ic_line(
        summary(event(1050, "momentum_12_1", "live"), event(1100, "m001_1", "live")),
        DEATH,
        SESSIONS[1010].isoformat(),
    )
    assert line == (
        "RankIC of the published score: before 0.0400 (240 sessions), "
        "from the death to the replacement 0.0100 (104 sessions), after 0.0300 (300 sessions)."
    )


def test_demo_deletes_only_what_a_demo_wrote(tmp_path: Path) -> None:
    """An earlier demo is cleared; a folder with anything else is refused, and left as it is."""
    out = tmp_path / "out"
    clear(out)
    claim_directory(out, demo_settings(out, 7))
    (out / "state").mkdir()
    (out / "report.html").touch()
    clear(out)
    assert list(out.iterdir()) == []
    (out / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds thesis\.tex"):
        clear(out)
    assert (out / "thesis.tex").exists()


def test_demo_does_not_delete_a_replay(tmp_path: Path) -> None:
    """The output of a replay of a user's own bars is kept, even of a market called `sim`."""
    (tmp_path / "alphad.toml").write_text('[markets.sim.feed]\nkind = "parquet"\npath = "x"\n')
    (tmp_path / "state").mkdir()
    with pytest.raises(ConfigError, match="the output of something else"):
        clear(tmp_path)
    assert (tmp_path / "state").is_dir()


def test_demo_does_not_delete_a_running_one(tmp_path: Path) -> None:
    """A second demo in the same directory is refused before it deletes the first one's state."""
    claim_directory(tmp_path, demo_settings(tmp_path, 7))
    with StateLock(tmp_path / "state"), pytest.raises(AlreadyRunningError, match="in use"):
        clear(tmp_path)
    assert (tmp_path / "state" / "lock").exists()
