"""The contract of the outbox: what a channel is told of an alert, when, and how often."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import alerts, outbox
from storage.database import Database
from storage.outbox import Channel, Policy
from storage.tables import Notification, PublicationRecord
from tests.storage.build import ZERO, day

HOUR = timedelta(hours=1)
OPS, PAGER = Channel("ops"), Channel("pager", "error")
BOTH = Policy(channels=(OPS, PAGER), pings=True)


def clock(minutes: float) -> datetime:
    return ZERO + timedelta(minutes=minutes)


@pytest.fixture
def told(database: Database) -> Iterator[Database]:
    """Return a database whose alerts are told to two channels."""
    outbox.attach(database, BOTH)
    yield database
    outbox.attach(database, outbox.NOBODY)


def opened(
    database: Database,
    minutes: float,
    severity: str = "error",
    message: str = "it broke",
    key: str = "stage-failed",
) -> None:
    with database.transaction() as c:
        alerts.raise_alert(c, "us", key, severity, message, clock(minutes))


def closed(database: Database, minutes: float, key: str = "stage-failed") -> None:
    with database.transaction() as c:
        alerts.resolve(c, "us", key, clock(minutes))


def swept(database: Database, minutes: float) -> int:
    with database.transaction() as c:
        policy = outbox.policy_of(c)
    return outbox.sweep(database, policy, clock(minutes))


def rows(database: Database, channel: str = "ops") -> list[Notification]:
    with database.read() as c:
        return [row for row in outbox.notifications(c) if row.channel == channel]


def kinds(database: Database, channel: str = "ops") -> list[str]:
    return [row.kind for row in rows(database, channel)]


def due(database: Database, minutes: float, channel: str = "ops") -> list[Notification]:
    with database.read() as c:
        return outbox.due(c, channel, clock(minutes))


def send(database: Database, minutes: float, channel: str = "ops", error: str = "") -> int:
    """Take what is due as a sender does; return how much it was."""
    found = due(database, minutes, channel)
    with database.transaction() as c:
        assert outbox.claim(c, found, clock(minutes))
        if error:
            outbox.mark_failed(c, found, clock(minutes), error, timedelta(hours=24))
        else:
            outbox.mark_sent(c, found, clock(minutes))
    return len(found)


class TestOutbox:
    """What holds on every database."""

    def test_alert_is_told_once(self, told: Database) -> None:
        """However often it is raised and whatever it says meanwhile, one message a channel."""
        for minute in range(5):
            opened(told, minute, message=f"attempt {minute}")
            swept(told, minute)
        assert kinds(told, "ops") == kinds(told, "pager") == ["raised"]
        [row] = rows(told)
        assert (row.market, row.key, row.severity) == ("us", "stage-failed", "error")
        assert row.message == "attempt 0"
        assert (row.created_at, row.next_attempt_at, row.attempts) == (clock(0), clock(0), 0)

    def test_recovery_is_told(self, told: Database) -> None:
        """A resolved alert is told as such, with what it was about; once."""
        opened(told, 0)
        closed(told, 90)
        closed(told, 91)
        swept(told, 200)
        assert kinds(told) == ["raised", "resolved"]
        assert "it broke" in rows(told)[1].message

    def test_rising_severity_is_told(self, told: Database) -> None:
        """Again only when it rises; a channel of errors hears of it when it has become one."""
        opened(told, 0, "warning")
        assert (kinds(told), kinds(told, "pager")) == (["raised"], [])
        opened(told, 1, "error")
        opened(told, 2, "warning", "better")
        opened(told, 3, "error", "worse")
        assert (kinds(told), kinds(told, "pager")) == (["raised", "changed"], ["raised"])
        assert "severity warning before" in rows(told)[1].message

    def test_severity_alone_is_a_change(self, told: Database) -> None:
        """An alert with the same words and another severity is another fact."""
        opened(told, 0, "warning")
        opened(told, 1, "error")
        assert kinds(told) == ["raised", "changed"]

    def test_who_was_not_told_hears_of_no_recovery(self, told: Database) -> None:
        """A warning's end is nothing to a channel of errors."""
        opened(told, 0, "warning")
        closed(told, 1)
        assert kinds(told, "pager") == []

    def test_unknown_severity_is_told(self, told: Database) -> None:
        """A word nobody has ranked counts as an error."""
        opened(told, 0, "critical")
        assert kinds(told, "pager") == ["raised"]

    def test_row_belongs_to_the_transaction(self, told: Database) -> None:
        """An alert that was never committed is never told."""

        def fail() -> None:
            with told.transaction() as c:
                alerts.raise_alert(c, "us", "x", "error", "half", clock(0))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert rows(told) == []

    def test_without_channels_no_row(self, database: Database) -> None:
        """In a replay nobody is told, and nothing is written."""
        opened(database, 0)
        closed(database, 1)
        with database.transaction() as c:
            assert outbox.enqueue_published(c, publication("00000001"), clock(0)) == 0
            assert outbox.notifications(c) == []

    def test_error_that_stays_is_told_again(self, told: Database) -> None:
        """A day later, and each day; a warning is not."""
        opened(told, 0)
        opened(told, 0, "warning", key="degraded")
        for hour in (1, 23, 24, 25, 47, 48, 72, 72.5):
            swept(told, 60 * hour)
        assert kinds(told) == ["raised", "raised", "reminder", "reminder", "reminder"]
        assert "open since 2024-01-01 22:00 UTC" in rows(told)[-1].message

    def test_flapping_alert_is_damped(self, told: Database) -> None:
        """Told as flapping once, then nothing until it has been quiet for an hour."""
        for minute in range(0, 120, 20):
            opened(told, minute)
            swept(told, minute + 1)
            closed(told, minute + 5)
        assert kinds(told) == ["raised", "resolved", "flapping"]
        assert "raised 2 times within 24 hours" in rows(told)[2].message
        assert swept(told, 104 + 60) == 0
        assert swept(told, 105 + 60) == 2
        assert kinds(told) == ["raised", "resolved", "flapping", "resolved"]
        assert "raised 6 times" in rows(told)[3].message
        opened(told, 105 + 60 + 61)
        assert kinds(told)[-1] == "raised"

    def test_flapping_that_worsens_is_told(self, told: Database) -> None:
        """Damping never hides that a warning has become an error."""
        for minute in (0, 10, 20):
            opened(told, minute, "warning")
            closed(told, minute + 5)
        opened(told, 30, "error")
        assert kinds(told) == ["raised", "resolved", "flapping", "changed"]

    def test_another_process_raises_and_resolves(self, told: Database) -> None:
        """Alerts of who knows no channel are told by the next look at them."""
        stranger = Database(told.engine.url.render_as_string(hide_password=False))
        opened(stranger, 0)
        assert rows(told) == []
        assert swept(told, 1) == 2
        closed(stranger, 2)
        assert swept(told, 3) == 2
        assert swept(told, 4) == 0
        assert kinds(told) == ["raised", "resolved"]
        stranger.close()

    def test_new_channel_hears_what_is_open(self, told: Database) -> None:
        """Whoever is added is told what stands now, and nothing that is over."""
        opened(told, 0)
        opened(told, 0, key="feed-late")
        closed(told, 1)
        outbox.attach(told, Policy(channels=(*BOTH.channels, Channel("new"))))
        swept(told, 2)
        assert [row.key for row in rows(told, "new")] == ["feed-late"]

    def test_markets_and_keys_are_apart(self, told: Database) -> None:
        """The same key in another market, or another key, is another story."""
        with told.transaction() as c:
            for market, key in (("us", "a"), ("cn", "a"), ("us", "b")):
                alerts.raise_alert(c, market, key, "error", "it broke", clock(0))
            alerts.resolve(c, "cn", "a", clock(1))
        told_of = [(row.market, row.key, row.kind) for row in rows(told)]
        assert told_of == [
            ("us", "a", "raised"), ("cn", "a", "raised"), ("us", "b", "raised"),
            ("cn", "a", "resolved"),
        ]  # fmt: skip

    def test_order_is_kept_while_the_first_waits(self, told: Database) -> None:
        """What follows about an alert waits behind what failed; other alerts do not."""
        opened(told, 0)
        assert send(told, 0, error="HTTP 500") == 1
        closed(told, 0.1)
        opened(told, 0.1, key="feed-late")
        assert [row.key for row in due(told, 0.1)] == ["feed-late"]
        assert send(told, 0.1) == 1
        assert [row.kind for row in due(told, 1)] == ["raised", "resolved"]

    def test_pauses_grow_and_end(self, told: Database) -> None:
        """Attempts become rare, never more than half an hour apart, and end after the bound."""
        opened(told, 0)
        minute, at = 0.0, []
        while due(told, minute):
            assert due(told, minute - 0.01) == []
            send(told, minute, error="HTTP 500")
            at.append(minute)
            [row] = rows(told)
            minute = (row.next_attempt_at - ZERO) / timedelta(minutes=1)
        gaps = [b - a for a, b in pairwise(at)]
        assert gaps[:8] == [0.25, 0.5, 1, 2, 4, 8, 16, 30]
        assert set(gaps[8:]) == {30}
        assert 24 * 60 <= at[-1] <= 24 * 60 + 30
        [row] = rows(told)
        assert (row.given_up_at, row.error) == (clock(at[-1]), "HTTP 500")
        with told.read() as c:
            assert outbox.given_up(c) == {"ops": 1}
            assert outbox.failures(c) == {"ops": len(at), "pager": 0}
            assert outbox.pending_count(c) == 1

    def test_open_alert_is_told_anew_after_giving_up(self, told: Database) -> None:
        """Who has not heard of it has to; who has not heard of a recovery need not any more."""
        opened(told, 0, "warning")
        give_up(told, 25 * 60)
        assert swept(told, 25 * 60) == 1
        assert kinds(told) == ["raised", "raised"]
        send(told, 25 * 60)
        closed(told, 26 * 60)
        give_up(told, 51 * 60)
        assert swept(told, 52 * 60) == 0

    def test_clock_that_was_ahead(self, told: Database) -> None:
        """A message of a time that has not come yet is due, and keeps none of its key waiting."""
        ahead = 10 * 24 * 60
        opened(told, ahead)
        closed(told, 0)
        opened(told, 180)
        assert [row.kind for row in due(told, 181)] == ["raised", "resolved", "raised"]
        send(told, 181, error="HTTP 500")
        assert due(told, 181) == []
        assert send(told, 182) == 3

    def test_sent_is_never_sent_again(self, told: Database) -> None:
        """A message that was marked is not due any more, and cannot be claimed."""
        opened(told, 0)
        found = due(told, 0)
        assert send(told, 0) == 1
        assert due(told, 10_000) == []
        with told.transaction() as c:
            assert not outbox.claim(c, found, clock(1))
            assert outbox.failures(c) == {"ops": 0, "pager": 0}

    def test_kill_before_the_mark_sends_once_more(self, told: Database) -> None:
        """What was claimed and never marked is due again after its pause."""
        opened(told, 0)
        found = due(told, 0)
        with told.transaction() as c:
            assert outbox.claim(c, found, clock(0))
        assert due(told, 0.2) == []
        assert [row.number for row in due(told, 0.25)] == [found[0].number]

    def test_one_of_two_senders_claims(self, told: Database) -> None:
        """What two have seen as due is sent by one."""
        opened(told, 0)
        found = due(told, 0)
        with told.transaction() as c:
            assert outbox.claim(c, found, clock(0))
        with told.transaction() as c:
            assert not outbox.claim(c, found, clock(0))

    def test_publication_is_told_once(self, told: Database) -> None:
        """To the dead-man alone; one that waits gives way to the next of its market."""
        with told.transaction() as c:
            for number in ("00000001", "00000001", "00000002"):
                outbox.enqueue_published(c, publication(number), clock(0))
            outbox.enqueue_published(c, publication("00000001", "cn"), clock(0))
        found = [(row.market, row.key, row.kind) for row in due(told, 0, outbox.DEAD_MAN)]
        assert found == [("us", "00000002", "published"), ("cn", "00000001", "published")]
        assert kinds(told) == []
        with told.read() as c:
            assert outbox.given_up(c) == {}

    def test_messages_of_a_channel_that_is_gone(self, told: Database) -> None:
        """They wait for it to come back, and are found once they are too old."""
        opened(told, 0)
        with told.read() as c:
            assert outbox.orphans(c, ["ops", "pager"], clock(9)) == []
            assert outbox.orphans(c, ["pager"], clock(-1)) == []
            [lost] = outbox.orphans(c, ["pager"], clock(9))
        assert lost.channel == "ops"

    def test_pruning_keeps_what_decides(self, told: Database) -> None:
        """What was sent long ago goes; what stands, waits or has failed stays."""
        opened(told, 0, key="over")
        closed(told, 1, key="over")
        opened(told, 2, key="open")
        opened(told, 3, key="late")
        send(told, 4)
        opened(told, 5, key="waits")
        with told.transaction() as c:
            assert outbox.prune(c, clock(4)) == 0
            assert outbox.prune(c, clock(100)) == 2
        assert [row.key for row in rows(told)] == ["open", "late", "waits"]
        assert swept(told, 101) == 0


def publication(publish_id: str, market: str = "us") -> PublicationRecord:
    return PublicationRecord(
        market=market, publish_id=publish_id, session=day(1), revision=0, status="published",
        path="", reserved_at=clock(0), status_text="final",
    )  # fmt: skip


def give_up(database: Database, minutes: float) -> None:
    """Give up whatever waits."""
    with database.transaction() as c:
        for channel in ("ops", "pager"):
            found = outbox.due(c, channel, clock(minutes))
            outbox.mark_failed(c, found, clock(minutes), "HTTP 500", timedelta(hours=24))


def test_two_senders_at_once_send_once(sqlite: Database) -> None:
    """Senders side by side share the messages between them."""
    outbox.attach(sqlite, BOTH)
    for number in range(20):
        opened(sqlite, 0, key=f"k{number}")

    def take(_: int) -> int:
        taken = 0
        for row in due(sqlite, 0):
            with sqlite.transaction() as c:
                if outbox.claim(c, [row], clock(0)):
                    outbox.mark_sent(c, [row], clock(0))
                    taken += 1
        return taken

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(8))) == 20


Step = st.tuples(
    st.sampled_from(["warning", "error", "resolve", "sweep"]), st.integers(0, 3), st.integers(1, 90)
)


@settings(max_examples=25)
@given(st.lists(Step, max_size=20))
def test_what_a_channel_believes_becomes_true(
    migrated_sqlite: Database, steps: list[tuple[str, int, int]]
) -> None:
    """After any history, and a quiet hour, each channel was told last what is the case."""
    database = migrated_sqlite
    with database.transaction() as c:
        for name in ("alerts", "notifications"):
            c.exec_driver_sql(f"DELETE FROM {name}")
    minute, raised = 0, 0
    for what, key, wait in steps:
        minute += wait
        if what == "resolve":
            closed(database, minute, f"k{key}")
        elif what == "sweep":
            swept(database, minute)
        else:
            raised += 1
            opened(database, minute, what, key=f"k{key}")
    swept(database, minute + 60)
    with database.read() as c:
        is_open = {alert.key for alert in alerts.open_alerts(c, "us")}
    last = {row.key: row for row in rows(database)}
    assert {key for key, row in last.items() if row.kind != "resolved"} == is_open
    assert len(rows(database)) <= 3 * raised + 2 * minute // 1440 * 4 + 4


@pytest.fixture(scope="module")
def migrated_sqlite(
    migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """Return a database that examples empty before they use it."""
    path = tmp_path_factory.mktemp("outbox") / "alphad.sqlite"
    shutil.copy(migrated_file, path)
    database = Database.file(path)
    outbox.attach(database, Policy(channels=(OPS,)))
    yield database
    database.close()
