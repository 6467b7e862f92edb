"""A challenger replaces an incumbent, and what an operator may then ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.operator import operating_user
from daemon.simulation import PlantedAlpha
from signals.decay import Verdict
from signals.watch import Watch
from storage import alerts, history, registry
from storage.history import StateRow
from storage.tables import Factor, FactorEvent, FactorState
from tests.daemon.small import (
    FIRST,
    MARKET,
    SESSIONS,
    Finished,
    Living,
    TroubledFeed,
    alphad,
    living,
    names,
)
from tests.daemon.test_stages import live_on, manifest

CALM = "-1 * TS_STD(TS_PCTCHANGE($close, 1), 20)"
#: What the book declares turns, and comes back; what nobody declared stays.
ALPHAS = (
    PlantedAlpha(
        "reversal",
        "-1 * TS_PCTCHANGE($close, 5)",
        ((90, 0.25), (91, -0.3), (132, -0.3), (133, 0.35)),
    ),
    PlantedAlpha("calm", CALM, ((0, 0.3),)),
)
#: When the challenger joins, and the last session of the market all tests go on from.
JOINED, LIVED = FIRST + 20, FIRST + 33
CHALLENGER, INCUMBENT = "m001_1", "reversal"


@contextmanager
def market(path: Path, **book: Any) -> Iterator[Living]:
    tables: dict[str, dict[str, Any]] = {
        "mining": {"enabled": False},
        "monitor": {"sessions_per_false_alarm": 252},
        "book": {"shadow_min": 5, **book},
    }
    with living(path, TroubledFeed(ALPHAS), **tables) as alive:
        yield alive


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a market in which the challenger has replaced the incumbent; not to be changed."""
    path = tmp_path_factory.mktemp("replaced")
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
    copied = Path(shutil.copytree(lived, tmp_path / "market"))
    settings = copied / "settings.toml"
    settings.write_text(settings.read_text().replace(str(lived), str(copied)))
    return copied


def ask(path: Path, command: str, factor: str, reason: str = "a wrong feed") -> Finished:
    config = path / "settings.toml"
    return alphad(command, factor, "--config", config, "--market", MARKET, "--reason", reason)


def asked(path: Path) -> Any:
    return alphad("requests", "--config", path / "settings.toml", "--json").json()


def factor(alive: Living, name: str) -> Factor:
    with alive.context.database.read() as conn:
        found = registry.get(conn, MARKET, name)
    assert found is not None
    return found


def events(alive: Living, name: str) -> list[FactorEvent]:
    with alive.context.database.read() as conn:
        return registry.events(conn, MARKET, name)


def monitor(alive: Living, name: str, number: int) -> Watch:
    with alive.context.database.read() as conn:
        record = history.last_state(conn, MARKET, name, until=SESSIONS[number])
    assert record is not None
    return Watch.from_json(record.state)


def published(alive: Living, number: int) -> dict[str, str]:
    return {row["id"]: row["verdict"] for row in manifest(alive, number)["factors"]}


def test_challenger_replaces_the_incumbent(path: Path) -> None:
    """Both move in one session, and each event holds the comparison that was won."""
    with market(path) as alive:
        joined, left = events(alive, CHALLENGER)[-1], events(alive, INCUMBENT)[-1]
        number = SESSIONS.index(left.session)
        before = published(alive, number - 1)
        after = published(alive, number)
        with alive.context.database.read() as conn:
            opened = names(alerts.open_alerts(conn, MARKET))
    assert (joined.to_state, left.to_state) == ("live", "retired")
    assert joined.session == left.session
    assert left.rule == f"replaced by {CHALLENGER}"
    assert joined.evidence is not None
    assert left.evidence is not None
    comparison = joined.evidence["comparison"]
    assert comparison == left.evidence["comparison"]
    assert joined.evidence["replaces"] == comparison["incumbent"] == INCUMBENT
    assert comparison["rank_ic"] > comparison["incumbent_rank_ic"]
    assert comparison["log_likelihood_ratio"] >= 2.94
    assert comparison["sessions"] >= 5
    assert left.evidence["evidence"] > 0
    assert before == {INCUMBENT: "decayed"}
    assert after == {CHALLENGER: "healthy"}
    assert f"decayed:{INCUMBENT}" not in opened


def test_rollback_brings_the_incumbent_back(path: Path) -> None:
    """The next publication has the incumbent, decayed as it was, and not the challenger."""
    with market(path) as alive:
        retired = factor(alive, INCUMBENT).retired_session
        assert retired is not None
        live_on(alive, LIVED + 3)
        done = ask(path, "rollback", CHALLENGER)  # the daemon has the state open
        assert done.code == 0, done.err
        assert "request 1: m001_1 → retired; reversal → shadow; reversal → live" in done.out
        assert published(alive, LIVED + 3) == {CHALLENGER: "healthy"}
        live_on(alive, LIVED + 4)
        assert published(alive, LIVED + 4) == {INCUMBENT: "decayed"}
        was = monitor(alive, INCUMBENT, SESSIONS.index(retired))
        assert monitor(alive, INCUMBENT, LIVED + 4) == was
        assert was.verdict is Verdict.DECAYED
        moves = {name: events(alive, name) for name in (CHALLENGER, INCUMBENT)}
        back = factor(alive, INCUMBENT)
        with alive.context.database.read() as conn:
            assert f"decayed:{INCUMBENT}" in names(alerts.open_alerts(conn, MARKET))
    rule = f"rolled back by {operating_user()}: a wrong feed"
    last = [*moves[CHALLENGER][-1:], *moves[INCUMBENT][-2:]]
    assert [move.to_state for move in last] == ["retired", "shadow", "live"]
    assert {(move.rule, move.session) for move in last} == {(rule, SESSIONS[LIVED + 4])}
    assert all(move.evidence == {"request": 1} for move in last)
    assert back.joined_session == SESSIONS[FIRST]


def test_request_is_applied_once(path: Path) -> None:
    """It waits, is applied by one observation, and by no later one; its outcome is kept."""
    with market(path) as alive:
        ask(path, "rollback", CHALLENGER)
        [before] = asked(path)
        live_on(alive, LIVED + 3)
        [after] = asked(path)
        moved = [event.session for event in events(alive, CHALLENGER)]
    assert (before["applied_at"], before["outcome"]) == (None, None)
    assert (before["command"], before["arguments"]) == ("rollback", {"factor": CHALLENGER})
    assert (before["reason"], before["who"]) == ("a wrong feed", operating_user())
    assert after["applied_session"] == SESSIONS[LIVED + 1].isoformat()
    assert after["outcome"] == "m001_1 → retired; reversal → shadow; reversal → live"
    assert moved.count(SESSIONS[LIVED + 1]) == 1
    assert max(moved) == SESSIONS[LIVED + 1]
    said = alphad("requests", "--config", path / "settings.toml").out
    assert "rollback" in said


def test_failed_observation_leaves_the_request(path: Path) -> None:
    """A request is settled with the moves it asked for, or neither is."""
    with market(path) as alive:
        ask(path, "retire", CHALLENGER)
        feed = alive.market.feed
        assert isinstance(feed, TroubledFeed)
        feed.silent.add(SESSIONS[LIVED + 1])
        with pytest.raises(Exception, match="silent"):
            live_on(alive, LIVED + 1)
        assert asked(path)[0]["applied_at"] is None
        assert factor(alive, CHALLENGER).state == "live"
        feed.silent.clear()
        live_on(alive, LIVED + 1)
        assert asked(path)[0]["outcome"] == "m001_1 → retired"
        assert factor(alive, CHALLENGER).state == "retired"


def test_retirement_alone_is_undone(path: Path) -> None:
    """The rollback of a retired factor leaves its successor where it is."""
    with market(path) as alive:
        ask(path, "rollback", INCUMBENT)
        live_on(alive, LIVED + 1)
        assert set(published(alive, LIVED + 1)) == {CHALLENGER, INCUMBENT}


def test_full_book_refuses(path: Path) -> None:
    """What cannot be known when it is asked for is refused by the observation, with its reason."""
    with market(path, max_live=1) as alive:
        ask(path, "rollback", INCUMBENT)
        live_on(alive, LIVED + 1)
        assert asked(path)[0]["outcome"] == "refused: the book is full (1 live)"
        assert factor(alive, INCUMBENT).state == "retired"


def test_second_request_about_a_factor_is_refused(path: Path) -> None:
    """A factor moves by command once a session: the request that was first is the one applied."""
    with market(path) as alive:
        ask(path, "rollback", CHALLENGER)
        ask(path, "retire", CHALLENGER)
        ask(path, "revive", INCUMBENT)
        live_on(alive, LIVED + 1)
        outcomes = [row["outcome"] for row in asked(path)]
        assert outcomes[1:] == ["refused: request 1 came first"] * 2
        assert published(alive, LIVED + 1) == {INCUMBENT: "decayed"}


def test_revival_by_command(path: Path) -> None:
    """It is in shadow, its forward evidence begins now, its baseline is what came before."""
    with market(path) as alive:
        ask(path, "revive", INCUMBENT, "the rules have changed")
        live_on(alive, LIVED + 1)
        found, last = factor(alive, INCUMBENT), events(alive, INCUMBENT)[-1]
        assert found.state == "shadow"
        assert found.joined_session == SESSIONS[LIVED + 1]
        assert found.baseline_start == SESSIONS[LIVED - 60]
        assert last.rule == f"revived by {operating_user()}: the rules have changed"
        ask(path, "rollback", INCUMBENT, "no, they have not")
        live_on(alive, LIVED + 2)
        assert factor(alive, INCUMBENT).state == "retired"


def test_retired_factor_that_recovers_is_revived(path: Path) -> None:
    """It goes on being measured, returns to shadow by evidence, and has to win there again."""
    with market(path) as alive:
        watch = monitor(alive, INCUMBENT, LIVED)
        assert 0 < watch.raw.recovery < 2
        # as after a longer recovery than the market has
        better = replace(
            watch,
            raw=replace(watch.raw, recovery=60.0),
            monitored=replace(watch.monitored, recovery=60.0),
        )
        row = StateRow(MARKET, INCUMBENT, SESSIONS[LIVED], better.verdict, better.evidence,
                       better.threshold, better.to_json())  # fmt: skip
        with alive.context.database.transaction() as conn:
            history.append_states(conn, [row])
        live_on(alive, FIRST + 49)
        moves = events(alive, INCUMBENT)
        with alive.context.database.read() as conn:
            measured = history.ics(conn, MARKET, INCUMBENT).sessions[-1].item()
    [revived] = [move for move in moves if move.from_state == "retired"]
    assert revived.rule.startswith("revived: ")
    assert revived.evidence is not None
    assert revived.evidence["required"] == 504
    assert revived.session > moves[2].session
    assert measured == SESSIONS[FIRST + 47]


def test_factor_retired_by_command_stays_so(path: Path) -> None:
    """However it recovers: only a command takes back what a command did."""
    with market(path) as alive:
        ask(path, "rollback", INCUMBENT)
        live_on(alive, LIVED + 1)
        ask(path, "retire", INCUMBENT)
        live_on(alive, FIRST + 49)
        assert factor(alive, INCUMBENT).state == "retired"


def test_factor_is_measured_as_long_as_it_may_recover(path: Path) -> None:
    """Beyond `revival_sessions` a retired factor has no new RankICs."""
    with market(path, revival_sessions=3) as alive:
        live_on(alive, FIRST + 45)
        retired = SESSIONS.index(events(alive, INCUMBENT)[-1].session)
        with alive.context.database.read() as conn:
            last = history.ics(conn, MARKET, INCUMBENT).sessions[-1].item()
    assert last == SESSIONS[retired + 3 - 2]


@pytest.mark.parametrize(
    ("command", "name", "reason", "says"),
    [
        ("rollback", "nobody", "why", "us has no factor 'nobody'"),
        ("rollback", "continuation", "why", "candidate → rejected at"),
        ("revive", CHALLENGER, "why", "only a retired factor is revived"),
        ("retire", INCUMBENT, "why", "live factors and those in shadow can be retired"),
        ("retire", CHALLENGER, " ", "no reason is given"),
    ],
)
def test_refusal_that_is_known_at_once(
    path: Path, command: str, name: str, reason: str, says: str
) -> None:
    """An unknown factor, nothing to undo, no reason: an error, and no request."""
    done = ask(path, command, name, reason)
    assert done.code == 65
    assert says in done.err
    assert "Way out: " in done.err
    assert asked(path) == []


def test_same_is_asked_once(path: Path) -> None:
    """While a request waits the same one is an error that names it."""
    assert ask(path, "retire", CHALLENGER).code == 0
    again = ask(path, "retire", CHALLENGER, "another reason")
    assert again.code == 74
    assert f"request 1 of {operating_user()}" in again.err
    assert len(asked(path)) == 1


def test_successor_of_a_revived_incumbent(path: Path) -> None:
    """A replacement is no longer undone when the one replaced is back by another way."""
    with market(path) as alive:
        ask(path, "revive", INCUMBENT)
        live_on(alive, LIVED + 1)
        done = ask(path, "rollback", CHALLENGER)
    assert done.code == 65
    assert "reversal, which is no longer retired" in done.err


def test_requests_know_none() -> None:
    """Requests are read from state that is there."""
    assert alphad("requests", "--config", "/nowhere.toml").code == 78
