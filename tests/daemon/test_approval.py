"""A promotion that needs a person: it waits in shadow, and nothing but the person ends the wait."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from daemon.approval import Approval, Note, approval_in, asks, request_for, settle_with_person
from daemon.life import Move
from daemon.operator import operating_user
from storage import alerts, jobs, registry
from storage.tables import FactorEvent, FactorState
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
from tests.daemon.test_operator import (
    ALPHAS,
    CALM,
    CHALLENGER,
    INCUMBENT,
    JOINED,
    ask,
    asked,
    events,
    factor,
    published,
)
from tests.daemon.test_stages import live_on
from tests.storage.build import at, day

#: The last session all tests go on from: the challenger has won, the incumbent is still there.
LIVED = FIRST + 30
KEY = f"approval-needed:{CHALLENGER}"
WON = Move("live", "it is borne out", {"forward_rank_ic": 0.05, "forward_sessions": 30})
LOST = Move("rejected", "no place in the book", {})


@pytest.mark.parametrize(
    ("move", "held", "expired", "state", "noted"),
    [
        (None, None, False, None, False),  # its trial goes on
        (LOST, None, False, "rejected", False),  # it has lost by itself: nobody is asked
        (WON, None, False, None, True),  # it has won: the person is asked
        (WON, Approval(day(1)), False, None, False),  # once
        (WON, Approval(day(1)), True, None, False),
        (LOST, Approval(day(1)), False, None, False),  # its place was lost while it waited
        (LOST, Approval(day(1)), True, None, False),
        (None, Approval(day(1)), True, None, False),
        (WON, Approval(day(1), day(9)), False, "live", False),
        (None, Approval(day(1), day(9)), False, None, False),
        (LOST, Approval(day(1), day(9)), False, None, False),  # approved, it waits for a place
        (LOST, Approval(day(1), day(9)), True, "rejected", False),  # until its trial is over
    ],
)
def test_what_becomes_of_it(
    move: Move | None, held: Approval | None, expired: bool, state: str | None, noted: bool
) -> None:
    """Without a person nothing that has won goes live, and nothing that waits is rejected."""
    after, note = settle_with_person("a", move, held, expired=expired)
    assert (after.to_state if after else None, note is not None) == (state, noted)


def event(number: int, before: str, after: str, **evidence: Any) -> FactorEvent:
    return FactorEvent(
        market="us", factor="a", session=day(number), from_state=before, to_state=after,
        rule="", evidence=evidence or None, at=at(number),
    )  # fmt: skip


def test_history_tells_who_waits() -> None:
    """A note counts until the state changes: what was asked in an earlier trial is over."""
    joined = event(1, "candidate", "shadow")
    needed = event(5, "shadow", "shadow", approval="needed")
    given = event(8, "shadow", "shadow", approval="given", request=3)
    left = event(9, "shadow", "live")
    assert approval_in([joined]) is None
    assert approval_in([joined, needed]) == Approval(day(5))
    assert approval_in([joined, needed, given]) == Approval(day(5), day(8))
    assert approval_in([joined, needed, given, left, event(12, "retired", "shadow")]) is None


def test_alert_names_what_to_do() -> None:
    """It says what was won, whose place is taken, and both commands."""
    said = request_for("us", asks("a", Move("live", "won", {**WON.evidence, "replaces": "b"})))
    assert "RankIC +0.0500 in 30 sessions" in said
    assert "in the place of b" in said
    assert "alphad approve a --market us --reason TEXT" in said
    assert "alphad retire a --market us --reason TEXT" in said
    assert "beside the others" in request_for("us", asks("a", WON))
    assert Note("a", "", {"approval": "needed"}).needed


@contextmanager
def market(path: Path, *, approval: bool = True, **book: Any) -> Iterator[Living]:
    """Open the market in which a challenger replaces the incumbent, if somebody approves it."""
    tables: dict[str, dict[str, Any]] = {
        "mining": {"enabled": False},
        "monitor": {"sessions_per_false_alarm": 252},
        "book": {"shadow_min": 5, "approval": approval, **book},
    }
    with living(path, TroubledFeed(ALPHAS), **tables) as alive:
        yield alive


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a market in which the challenger has won and waits; not to be changed."""
    path = tmp_path_factory.mktemp("waiting")
    with market(path) as alive:
        live_on(alive, FIRST)
        now = alive.clock.now()
        with alive.context.database.transaction() as conn:  # as a re-mining registers it
            registry.add(conn, MARKET, CHALLENGER, CALM, origin="mined", session=SESSIONS[FIRST],
                         now=now, baseline_start=SESSIONS[30])  # fmt: skip
            registry.transition(conn, MARKET, CHALLENGER, FactorState.SHADOW,
                                session=SESSIONS[JOINED], rule="validated", now=now)  # fmt: skip
        live_on(alive, LIVED)
    return path


@pytest.fixture
def path(lived: Path, tmp_path: Path) -> Path:
    """Return a copy of that market to go on with."""
    return Path(shutil.copytree(lived, tmp_path / "market"))


def approve(path: Path, name: str = CHALLENGER) -> Finished:
    return ask(path, "approve", name, "looked at its trades")


def open_alerts(alive: Living) -> dict[str, str]:
    with alive.context.database.read() as conn:
        return {alert.key: alert.message for alert in alerts.open_alerts(conn, MARKET)}


def waiting_since(alive: Living) -> date:
    held = approval_in(events(alive, CHALLENGER))
    assert held is not None
    assert held.given is None
    return held.asked


def test_winner_waits_for_a_person(path: Path) -> None:
    """It stays in shadow, asks once, weighs nothing, and an alert is open meanwhile."""
    with market(path) as alive:
        assert factor(alive, CHALLENGER).state == "shadow"
        notes = [e for e in events(alive, CHALLENGER) if e.from_state == e.to_state]
        assert [note.session for note in notes] == [waiting_since(alive)]
        assert notes[0].evidence is not None
        assert notes[0].evidence["replaces"] == INCUMBENT
        assert f"alphad approve {CHALLENGER}" in open_alerts(alive)[KEY]
        assert set(published(alive, LIVED)) == {INCUMBENT}
        with alive.context.database.read() as conn:
            assert jobs.jobs(conn, MARKET) == []
    said = alphad("explain", CHALLENGER, "--config", path / "settings.toml").out
    assert f"{CHALLENGER} has won its trial and waits since" in said
    assert "shadow as before" in said


def test_approved_it_goes_live_with_the_next_observation(path: Path) -> None:
    """It takes the place it has won; who approved it and why is in its history."""
    with market(path) as alive:
        done = approve(path)
        assert done.code == 0, done.err
        assert f"request 1: {CHALLENGER} is approved" in done.out
        live_on(alive, LIVED + 2)
        assert set(published(alive, LIVED + 1)) == {CHALLENGER}
        assert KEY not in open_alerts(alive)
        *_, note, joined = events(alive, CHALLENGER)
        assert factor(alive, INCUMBENT).state == "retired"
    assert note.rule == f"approved by {operating_user()}: looked at its trades"
    assert note.evidence == {"request": 1, "approval": "given"}
    assert joined.to_state == "live"
    assert joined.evidence is not None
    assert joined.evidence["replaces"] == INCUMBENT
    [row] = asked(path)
    assert (
        row["outcome"] == f"{INCUMBENT} → retired; {CHALLENGER} → live"
        or row["outcome"] == f"{CHALLENGER} → live"
    )
    assert row["applied_session"] == SESSIONS[LIVED + 1].isoformat()


def test_trial_does_not_end_while_it_waits(path: Path) -> None:
    """Long after `shadow_max` it still waits; approved then, it goes live."""
    with market(path, shadow_max=5) as alive:
        live_on(alive, LIVED + 4)
        assert factor(alive, CHALLENGER).state == "shadow"
        assert KEY in open_alerts(alive)
        approve(path)
        live_on(alive, LIVED + 5)
        assert factor(alive, CHALLENGER).state == "live"


def test_refused_by_a_person(path: Path) -> None:
    """`alphad retire` ends the wait, and the alert with it."""
    with market(path) as alive:
        ask(path, "retire", CHALLENGER, "it trades too much")
        live_on(alive, LIVED + 1)
        assert factor(alive, CHALLENGER).state == "retired"
        assert KEY not in open_alerts(alive)
        assert set(published(alive, LIVED + 1)) == {INCUMBENT}


def test_approval_and_refusal_in_one_session(path: Path) -> None:
    """The request that was first is the one applied."""
    with market(path) as alive:
        approve(path)
        ask(path, "retire", CHALLENGER)
        live_on(alive, LIVED + 1)
        assert factor(alive, CHALLENGER).state == "live"
        assert asked(path)[1]["outcome"] == "refused: request 1 came first"


def test_approval_survives_a_session_that_cannot_be_judged(path: Path) -> None:
    """On bad data nothing moves; with the next good session the approved one does."""
    with market(path) as alive:
        approve(path)
        feed = alive.market.feed
        assert isinstance(feed, TroubledFeed)
        feed.absent[SESSIONS[LIVED + 1]] = 8
        live_on(alive, LIVED + 1)
        assert factor(alive, CHALLENGER).state == "shadow"
        assert KEY not in open_alerts(alive)
        assert asked(path)[0]["outcome"].endswith("goes live as soon as it has a place")
        again = approve(path)
        assert (again.code, "approved already" in again.err) == (65, True)
        said = alphad("explain", CHALLENGER, "--config", path / "settings.toml").out
        assert f"was approved on {SESSIONS[LIVED + 1]}" in said
        for number in range(LIVED + 2, LIVED + 12):
            live_on(alive, number)
            if factor(alive, CHALLENGER).state == "live":
                break
        assert factor(alive, CHALLENGER).state == "live"


def test_setting_taken_back(path: Path) -> None:
    """Once no approval is needed any more what waits goes live, and the alert closes."""
    with market(path, approval=False) as alive:
        live_on(alive, LIVED + 1)
        assert factor(alive, CHALLENGER).state == "live"
        assert KEY not in open_alerts(alive)


@pytest.mark.parametrize("name", [INCUMBENT, "continuation"])
def test_only_what_waits_is_approved(path: Path, name: str) -> None:
    """A live factor, or a rejected one: an error, and no request."""
    done = approve(path, name)
    assert done.code == 65
    assert f"{name} does not wait for approval" in done.err
    assert asked(path) == []


def test_revival_is_undone_also_while_it_waits(path: Path) -> None:
    """A note is no move: the rollback of a revived factor finds the revival behind it."""
    with market(path) as alive:
        session, now = SESSIONS[LIVED], alive.clock.now()
        with alive.context.database.transaction() as conn:
            for state in (FactorState.RETIRED, FactorState.SHADOW):
                registry.transition(
                    conn, MARKET, CHALLENGER, state, session=session, rule="test", now=now
                )
            asking = asks(CHALLENGER, WON)
            registry.note(
                conn, MARKET, CHALLENGER,
                session=session, rule=asking.rule, now=now, evidence=asking.evidence,
            )  # fmt: skip
        done = ask(path, "rollback", CHALLENGER)
    assert done.code == 0, done.err
    assert f"{CHALLENGER} → retired" in done.out
