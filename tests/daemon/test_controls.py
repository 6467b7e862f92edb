"""Pausing, halting and resuming markets, and asking for a pass: beside a daemon that runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.health import assess
from daemon.heartbeat import beat, heartbeat_path
from daemon.inspection import owing
from daemon.operator import operating_user, set_control
from daemon.passes import RUN_NOW
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import InlineReminer, most_urgent, open_jobs
from signals.errors import StorageError
from storage import alerts, controls, jobs, ledger, requests
from storage.integrity import verify, verify_database
from storage.publishing import Publisher, publications
from storage.reader import SignalRefused, read_latest
from storage.tables import ControlState
from tests.daemon.live import live_market, small_book
from tests.daemon.small import (
    FIRST,
    MARKET,
    SESSIONS,
    Finished,
    Living,
    TroubledFeed,
    alphad,
    living,
)

PAUSED, HALTED, RUNNING = ControlState.PAUSED, ControlState.HALTED, ControlState.RUNNING


def order(path: Path, command: str, *more: str, reason: str = "a wrong feed") -> Finished:
    return alphad(command, "--config", path / "settings.toml", "--reason", reason, *more)


def tick(alive: Living) -> None:
    Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)


def published(alive: Living) -> list[int]:
    """Return the numbers of the sessions that are published."""
    with alive.context.database.read() as conn:
        return [SESSIONS.index(row.session) for row in publications(conn, MARKET)]


def stages(alive: Living, number: int) -> set[str]:
    with alive.context.database.read() as conn:
        return {run.stage for run in ledger.history(conn, MARKET, session=SESSIONS[number])}


def open_alerts(alive: Living) -> dict[str, str]:
    with alive.context.database.read() as conn:
        return {a.key: a.severity for a in alerts.open_alerts(conn, MARKET)}


def whole(alive: Living) -> bool:
    root = alive.context.publisher.root
    return verify(root) == verify_database(alive.context.database, root) == []


def read(alive: Living) -> str:
    """Return what a consumer gets: a publish id, or why not."""
    now = alive.clock.now()
    try:
        return read_latest(alive.context.publisher.root, MARKET, now=now).publish_id
    except SignalRefused as refused:
        return refused.reason


@contextmanager
def lived(path: Path, feed: TroubledFeed | None = None) -> Iterator[Living]:
    """Yield a market with one published session, and the next one due."""
    with living(path, feed, mining={"enabled": False}) as alive:
        tick(alive)
        alive.until(FIRST + 1)
        yield alive


def test_halt_and_resume_while_the_daemon_runs(tmp_path: Path) -> None:
    """Nothing begins and nothing can be read, with the reason, until it is resumed."""
    with lived(tmp_path) as alive:
        done = order(tmp_path, "halt")
        assert done.code == 0, done.err
        assert done.out.startswith(f"us is halted by {operating_user()} since")
        tick(alive)
        assert published(alive) == [FIRST]
        assert "a wrong feed" in read(alive)
        assert open_alerts(alive) == {"halted": "error"}
        assert whole(alive)
        assert order(tmp_path, "resume", reason="mended").code == 0
        assert read(alive) == "00000001"
        tick(alive)
        assert (published(alive), open_alerts(alive)) == ([FIRST, FIRST + 1], {})
        assert (read(alive), whole(alive)) == ("00000002", True)


def test_pause_leaves_what_is_published(tmp_path: Path) -> None:
    """Nothing begins, the pointer stays, a warning stays open as long as it lasts."""
    with lived(tmp_path) as alive:
        assert order(tmp_path, "pause", "--market", MARKET).code == 0
        alive.until(FIRST + 3)
        tick(alive)
        assert (published(alive), open_alerts(alive)) == ([FIRST], {"paused": "warning"})
        assert "expired" in read(alive)
        order(tmp_path, "resume")
        tick(alive)
        assert published(alive) == [FIRST, FIRST + 1, FIRST + 2, FIRST + 3]
        assert open_alerts(alive) == {}


def test_pause_that_turns_into_a_halt(tmp_path: Path) -> None:
    """The alert of the one gives way to that of the other; a halt is not turned into a pause."""
    with lived(tmp_path) as alive:
        order(tmp_path, "pause")
        order(tmp_path, "halt", reason="worse")
        assert open_alerts(alive) == {"halted": "error"}
        refused = order(tmp_path, "pause")
        assert (refused.code, open_alerts(alive)) == (65, {"halted": "error"})
        assert "Way out: alphad resume" in refused.err
        assert "worse" in read(alive)


def test_stop_between_two_stages(tmp_path: Path) -> None:
    """A stage that runs when the market is paused is finished, and the next one does not begin."""

    class PausedMeanwhile(TroubledFeed):
        def fetch(self, request: Any) -> Any:
            if SESSIONS[FIRST + 1] in request.sessions:
                set_control(alive.context, MARKET, PAUSED, reason="wait", who="ops")
            return super().fetch(request)

    with lived(tmp_path, PausedMeanwhile()) as alive:
        tick(alive)
        assert stages(alive, FIRST + 1) == {"ingest"}
        set_control(alive.context, MARKET, RUNNING, reason="go on", who="ops")
        tick(alive)
        assert published(alive) == [FIRST, FIRST + 1]


@pytest.mark.parametrize(
    "step", ["publish.in_folder", "publish.after_rename", "publish.after_mark"]
)
def test_halt_while_a_publication_is_on_its_way(tmp_path: Path, step: str) -> None:
    """It is kept and counts, and the pointer does not come back."""

    def passing(name: str) -> None:
        if name == step and not stopped:
            stopped.append(name)
            set_control(alive.context, MARKET, HALTED, reason="a wrong feed", who="ops")

    stopped: list[str] = []
    with lived(tmp_path) as alive:
        context = alive.context
        publisher = Publisher(context.publisher.root, context.database, passing=passing)
        tick(replace(alive, context=replace(context, publisher=publisher)))
        assert published(alive) == [FIRST, FIRST + 1]
        assert "halted by ops" in read(alive)
        assert whole(alive)
        set_control(alive.context, MARKET, RUNNING, reason="mended", who="ops")
        assert read(alive) == "00000002"


@pytest.mark.parametrize("mend", [tick, lambda alive: recover(alive.context)])
@pytest.mark.parametrize("state", [HALTED, RUNNING])
def test_kill_between_database_and_tree(tmp_path: Path, state: ControlState, mend: Any) -> None:
    """What the command could not carry out any more the next tick, or start, does."""
    with lived(tmp_path) as alive:
        if state is RUNNING:
            order(tmp_path, "halt")
        with alive.context.database.transaction() as conn:
            controls.set_state(conn, MARKET, state, reason="why", who="ops", now=alive.clock.now())
        assert not whole(alive)
        mend(alive)
        assert ("halted by ops" in read(alive)) == (state is HALTED)
        assert whole(alive)


def test_disk_that_refuses(tmp_path: Path) -> None:
    """The halt is in force all the same, the error says what is left to do, and a tick does it."""
    with lived(tmp_path) as alive:
        home = alive.context.publisher.root / MARKET / "v1"
        (home / ".halted.json.tmp").mkdir()
        done = order(tmp_path, "halt")
        assert done.code == StorageError.exit_code
        assert "us is halted, but its published tree does not show it" in done.err
        assert not (home / "latest.json").exists()
        (home / ".halted.json.tmp").rmdir()
        tick(alive)
        assert "a wrong feed" in read(alive)


def test_everything_is_kept(tmp_path: Path) -> None:
    """Who, when, why and what came of it: of each command, a repeated one included."""
    with lived(tmp_path):
        order(tmp_path, "pause")
        order(tmp_path, "pause", reason="again")
        order(tmp_path, "resume", reason="mended")
        config = tmp_path / "settings.toml"
        rows = alphad("requests", "--config", config, "--json").json()
        said = alphad("requests", "--config", config).out
    me = operating_user()
    assert [(row["command"], row["reason"], row["who"]) for row in rows] == [
        ("pause", "a wrong feed", me), ("pause", "again", me), ("resume", "mended", me),
    ]  # fmt: skip
    assert [row["outcome"] for row in rows] == [
        "running → paused", f"was paused already, by {me}", "paused → running",
    ]  # fmt: skip
    assert all(row["applied_at"] for row in rows)
    assert "resume" in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("halt", "--reason", " "), 65, "no reason is given"),
        (("halt", "--reason", "x", "--market", "mars"), 78, "market 'mars' is not configured"),
        (("pause", "--reason", "x"), 78, "several markets are configured: us, eu"),
    ],
)
def test_refusals(tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    """No reason, no such market, or not said which: an error, and nothing has changed."""
    with lived(tmp_path) as alive:
        config = tmp_path / "settings.toml"
        if "several" in says:
            config.write_text(config.read_text() + '[markets.eu]\ncalendar = "XETR"\n')
        done = alphad(*arguments, "--config", config)
        assert (done.code, open_alerts(alive)) == (code, {})
    assert says in done.err


def test_all_markets_at_once(tmp_path: Path) -> None:
    """`--all` halts every market of the settings; neither calendars nor feeds are needed for it."""
    with lived(tmp_path) as alive:
        config = tmp_path / "settings.toml"
        config.write_text(config.read_text() + '[markets.eu]\ncalendar = "NOWHERE"\n')
        done = order(tmp_path, "halt", "--all")
        assert done.code == 0, done.err
        with alive.context.database.read() as conn:
            states = [controls.state_of(conn, name) for name in (MARKET, "eu")]
    assert states == [HALTED, HALTED]
    assert "eu is halted" in done.out


def test_what_looks_tells_of_it(tmp_path: Path) -> None:
    """Status, health, explain and verify say that it is stopped, by whom and why."""
    with lived(tmp_path) as alive:
        order(tmp_path, "halt")
        config, me = tmp_path / "settings.toml", operating_user()
        beat(heartbeat_path(alive.context.settings.state_dir), alive.clock.now(), {})
        found = assess(alive.context)
        assert (found.alive, found.ready) == (True, False)
        assert found.facts[MARKET]["control"] == "halted"
        assert found.facts[MARKET]["stopped_by"] == me
        assert found.facts[MARKET]["because"] == "a wrong feed"
        status = alphad("status", "--config", config)
        assert f"halted by {me}: a wrong feed" in status.out
        assert f"overdue: {SESSIONS[FIRST + 1]} (and" in status.out
        [row] = alphad("status", "--config", config, "--json").json()
        assert row["control"]["state"] == "halted"
        assert "STOPPED by an operator: us" in alphad("health", "--config", config).out
        explained = alphad("explain", str(SESSIONS[FIRST + 1]), "--config", config)
        assert "Nothing is published for it: us is halted by" in explained.out
        told = alphad("explain", str(SESSIONS[FIRST]), "--config", config, "--json").json()
        assert (told["control"]["reason"], told["missing"]) == ("a wrong feed", None)
        verified = alphad("verify", "--config", config)
        assert verified.code == 0, verified.out
        assert f"us is halted by {me}: a wrong feed; it has no pointer" in verified.out


def test_no_search_begins_in_a_stopped_market(tmp_path: Path) -> None:
    """A re-mining that waits goes on waiting, and its market is passed over."""
    with living(tmp_path) as alive, alive.context.database.transaction() as conn:
        jobs.open_job(conn, MARKET, SESSIONS[FIRST], {"reason": "1 decayed"}, 1, alive.clock.now())
    with living(tmp_path) as alive:
        assert most_urgent(alive.context) is not None
        set_control(alive.context, MARKET, PAUSED, reason="wait", who="ops")
        assert most_urgent(alive.context) is None
        assert open_jobs(alive.context, alive.market) == []


def test_stop_is_no_failure(tmp_path: Path) -> None:
    """What had failed before a pause stays told: nothing has been tried again."""
    feed = TroubledFeed()
    with lived(tmp_path, feed) as alive:
        feed.silent.add(SESSIONS[FIRST + 1])
        tick(alive)
        set_control(alive.context, MARKET, PAUSED, reason="wait", who="ops")
        tick(alive)
        assert open_alerts(alive) == {"stage-failed": "error", "paused": "warning"}


def run_now(path: Path) -> Finished:
    return alphad("run-now", "--config", path / "settings.toml")


def outcomes(path: Path) -> list[str | None]:
    rows = alphad("requests", "--config", path / "settings.toml", "--json").json()
    return [row["outcome"] for row in rows if row["command"] == "run-now"]


def test_pass_that_is_asked_for_is_answered_once(tmp_path: Path) -> None:
    """The next tick says what came of it; the same waits once; no tick answers it again."""
    feed = TroubledFeed()
    with lived(tmp_path, feed) as alive:
        assert run_now(tmp_path).code == 0
        assert "asks for the same" in run_now(tmp_path).err
        assert outcomes(tmp_path) == [None]
        tick(alive)
        tick(alive)
        assert outcomes(tmp_path) == [f"published up to {SESSIONS[FIRST + 1]}"]
        run_now(tmp_path)
        tick(alive)
        feed.silent.add(alive.until(FIRST + 2))
        run_now(tmp_path)
        tick(alive)
        assert outcomes(tmp_path)[1:] == ["nothing was due", "it failed: the source is silent"]


def test_pass_in_a_stopped_market_is_refused(tmp_path: Path) -> None:
    """Asked for while it is stopped, or stopped before the tick: nothing begins."""
    with lived(tmp_path) as alive:
        run_now(tmp_path)
        order(tmp_path, "pause")
        refused = run_now(tmp_path)
        assert (refused.code, "us is paused by" in refused.err) == (65, True)
        tick(alive)
        assert outcomes(tmp_path) == ["refused: us is paused or halted"]
        assert published(alive) == [FIRST]


def test_interrupted_pass_waits_for_the_next_start(tmp_path: Path) -> None:
    """A daemon that stops before the end leaves the request; an error nobody foresaw answers it."""

    class Broken(TroubledFeed):
        def fetch(self, request: Any) -> Any:
            if SESSIONS[FIRST + 2] in request.sessions:
                raise RuntimeError
            return super().fetch(request)

    with lived(tmp_path, Broken()) as alive:
        run_now(tmp_path)
        loop = Reconciler(alive.context, InlineReminer(alive.context))
        loop.tick(alive.market, lambda: False)
        assert outcomes(tmp_path) == [None]
        alive.until(FIRST + 2)
        with pytest.raises(RuntimeError):
            tick(alive)
        assert outcomes(tmp_path) == ["it failed unexpectedly; look: alphad status"]


def test_halted_file_is_plain_json(tmp_path: Path) -> None:
    """Whoever reads the tree without our reader finds state, reason, who and when."""
    with lived(tmp_path) as alive:
        order(tmp_path, "halt")
        told = json.loads((alive.context.publisher.root / "us/v1/halted.json").read_bytes())
        assert told["state"] == "halted"
        assert (told["reason"], told["who"]) == ("a wrong feed", operating_user())
        assert datetime.fromisoformat(told["at"]).tzinfo == UTC
        assert told["publish_id"] == "00000001"


@pytest.mark.slow
def test_pass_does_not_wait_after_a_fetch_that_failed(tmp_path: Path) -> None:
    """A live feed is left alone for minutes after a failure, unless an operator will not wait."""
    with live_market(tmp_path, small_book("us"), 150) as alive:
        alive.standin.faults["500"] = "*"
        alive.tick()
        assert "stage-failed" in alive.alerts()
        alive.standin.faults.clear()
        asked = len(alive.standin.log)
        beat(heartbeat_path(alive.context.settings.state_dir), alive.clock.now(), {})
        assert "sooner with: alphad run-now" in str(owing(alive.context, alive.market))
        alive.tick()
        assert (len(alive.standin.log), alive.statuses()) == (asked, [])
        with alive.context.database.transaction() as conn:
            requests.ask(conn, alive.name, RUN_NOW, {}, reason="it is mended", who="ops",
                         now=alive.clock.now())  # fmt: skip
        alive.tick()
        with alive.context.database.read() as conn:
            [request] = requests.requests(conn)
        assert request.outcome == f"published up to {alive.session(150)}"
        assert [status for *_, status in alive.statuses()] == ["provisional"]


def test_alert_follows_what_the_database_says(tmp_path: Path) -> None:
    """Lost with a backup that was put in place, or left over from before one: a tick mends it."""
    with lived(tmp_path) as alive:
        for state, keys in ((HALTED, {"halted": "error"}), (RUNNING, {})):
            with alive.context.database.transaction() as conn:
                controls.set_state(
                    conn, MARKET, state, reason="why", who="ops", now=alive.clock.now()
                )
            tick(alive)
            assert open_alerts(alive) == keys
