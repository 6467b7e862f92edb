"""A live market from its first start: the real clients in their children, behind the stand-ins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from daemon.feeds.protocol import Parsed, Request
from tests.daemon.live import live_market, small_book

BEGUN = 150


@pytest.mark.parametrize("name", ["us", "cn"])
def test_first_start_and_a_session(tmp_path: Path, name: str) -> None:
    """Members and histories come along; a session is provisional, and final once told twice."""
    with live_market(tmp_path, small_book(name), BEGUN) as alive:
        alive.tick()
        facts = alive.facts()
        assert [status for *_, status in alive.statuses()] == ["provisional"]
        assert facts["backfill"]["bars"] > 5000
        assert (facts["coverage"], facts["confirmed"]) == (1.0, False)
        assert "survivorship" in facts["survivorship"]
        alive.later(minutes=10)
        alive.tick()
        assert len(alive.statuses()) == 1
        alive.later(minutes=21)
        alive.tick()
        alive.lived(BEGUN + 1)
        assert [(revision, status) for _, revision, status in alive.statuses()] == [
            (0, "provisional"),
            (1, "final"),
            (0, "provisional"),
            (1, "final"),
        ]
        assert alive.alerts() == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["us", "cn"])
def test_nothing_is_published_of_a_stale_feed(tmp_path: Path, name: str) -> None:
    """Bars that repeat yesterday's are refused and told; when the source moves on, so do we."""
    with live_market(tmp_path, small_book(name), BEGUN) as alive:
        alive.lived(BEGUN)
        alive.standin.faults["stale"] = "*"
        alive.until(BEGUN + 1)
        alive.tick()
        assert len(alive.statuses()) == 2
        assert "repeat those of the session before" in alive.alerts()["stage-failed"]
        assert [outcome for outcome, *_ in alive.verdicts("reject")] == ["reject"]
        alive.standin.faults.clear()
        alive.later(minutes=40)
        alive.tick()
        alive.later(minutes=31)
        alive.tick()
        assert [status for *_, status in alive.statuses()[2:]] == ["provisional", "final"]
        assert alive.alerts() == {}


@dataclass
class Failing:
    """A live feed whose answers nobody foresaw."""

    name: str = "failing"
    reconstructed: bool = False
    asked: int = 0

    def history(self, last: date) -> date | None:  # noqa: ARG002
        return None

    def fetch(self, request: Request) -> Parsed:
        return self.fetch_parsed(request)

    def fetch_parsed(self, request: Request) -> Parsed:  # noqa: ARG002
        self.asked += 1
        raise KeyError("close")


def test_an_error_nobody_foresaw_is_followed_by_a_pause(tmp_path: Path) -> None:
    """It ends the run as failed: nothing is asked until the pause is over, and hours are told."""
    with live_market(tmp_path, small_book("us"), BEGUN) as alive:
        feed = Failing()
        alive.market = replace(alive.market, feed=feed)
        for asked, minutes in ((1, 1), (1, 2), (2, 1), (2, 600)):
            if feed.asked == asked:
                alive.tick()
            else:
                with pytest.raises(KeyError):
                    alive.tick()
            assert feed.asked == asked
            alive.later(minutes=minutes)
        [run] = alive.runs()
        assert (run.status, run.attempts, run.error) == ("failed", 2, "KeyError: 'close'")
        assert "feed-late" not in alive.alerts()
        with pytest.raises(KeyError):
            alive.tick()
        assert "KeyError: 'close'" in alive.alerts()["feed-late"]


@pytest.mark.slow
def test_a_provider_that_limits_is_left_alone_and_caught_up_with(tmp_path: Path) -> None:
    """After a 429 nothing is asked for a while; the lost session comes with the next one."""
    with live_market(tmp_path, small_book("us"), BEGUN) as alive:
        alive.lived(BEGUN)
        alive.standin.faults["429"] = "*"
        alive.until(BEGUN + 1)
        alive.tick()
        assert "39 limited" in alive.alerts()["stage-failed"]
        asked = sum("yahoo" in entry.host for entry in alive.standin.log)
        alive.later(minutes=5)
        alive.tick()
        assert sum("yahoo" in entry.host for entry in alive.standin.log) == asked
        alive.standin.faults.clear()
        alive.until(BEGUN + 2)
        alive.later(hours=1)
        alive.tick()
        alive.tick()
        alive.later(minutes=31)
        alive.tick()
        sessions = [session for session, *_ in alive.statuses()]
        assert sessions.count(f"{alive.session(BEGUN + 1)}") == 1  # told after the next one opened
        assert alive.statuses()[-1] == (f"{alive.session(BEGUN + 2)}", 1, "final")
        assert alive.alerts() == {}


@pytest.mark.slow
def test_a_split_is_one_vintage_and_changes_no_stored_bar(tmp_path: Path) -> None:
    """Ten years told on another basis: one row with the split, adjusted returns unchanged."""
    with live_market(tmp_path, small_book("us"), BEGUN) as alive:
        alive.lived(BEGUN)
        name = alive.book.assets[5]
        before = alive.context.bars.panel("us", as_of=alive.clock.now(),
                                          last_session=alive.session(BEGUN))  # fmt: skip
        alive.standin.book = alive.book.with_event(name, alive.session(BEGUN + 1), split=4.0)
        alive.lived(BEGUN + 1)
        after = alive.context.bars.panel("us", as_of=alive.clock.now(),
                                         last_session=alive.session(BEGUN + 1))  # fmt: skip
        [split] = alive.vintages("split")
        assert split.n_rows == 1
        assert alive.vintages("correction") == []
        old, new = before.fields["close"], after.fields["close"]
        column, moved = before.assets.index(name), after.assets.index(name)
        assert (old[:, column] == new[:-1, moved]).all()
        assert abs(new[-1, moved] / new[-2, moved] - 1) < 0.2
