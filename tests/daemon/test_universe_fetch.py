"""Index lists through the real clients in the real child process, against the stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from daemon.constituents import CLIENT, INDICES, Constituents, Index, parse_constituents, query
from daemon.feeds.child import Child, Limits
from daemon.universe import Refreshed, refresh
from signals.errors import MembershipError
from storage.membership import Membership, Spell
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

#: exchange_calendars' own calls into pandas 3, which the stand-in makes, are deprecated (4.13.2).
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
INDEX = {"us": INDICES["sp500"], "cn": INDICES["csi500"]}


@dataclass
class Place:
    """A market's stand-in and a child that asks it."""

    book: MarketBook
    standin: StandIn
    child: Child
    index: Index

    def list(self) -> Constituents:
        reply = self.child.ask(query(self.index))
        assert reply.outcome == "ok", reply.error
        return parse_constituents(self.index, pa.ipc.open_stream(reply.payload).read_all())

    def refreshed(self, known: tuple[Spell, ...], on: date, **more: Any) -> Refreshed:
        self.standin.now = datetime(on.year, on.month, on.day, 23, tzinfo=UTC)
        days = self.book.days
        return refresh(
            self.index, known, self.list(), on=on, previous=days[days.index(on) - 1],
            first=days[0], **more,
        )  # fmt: skip

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        self.standin.faults[name] = "*"
        try:
            yield
        finally:
            del self.standin.faults[name]


@pytest.fixture(scope="module", params=["us", "cn"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    book = MarketBook.synthetic(
        request.param, 520, date(2022, 1, 4), date(2023, 6, 30), seed=3, n_members=500
    )
    now = datetime(2023, 6, 1, 22, tzinfo=UTC)
    folder: Path = tmp_path_factory.mktemp("client")
    with (
        StandIn(book, now) as standin,
        Child(CLIENT, Limits(request_seconds=10.0), folder, standin.environment) as child,
    ):
        yield Place(book, standin, child, INDEX[request.param])


def test_first_fetch_gives_the_members_there_are(place: Place) -> None:
    """Today's members are the book's; with a table of changes so are those of every session."""
    day = place.book.days[-20]
    found = place.refreshed((), day)
    membership = Membership(found.universe.spells)
    sessions = place.book.days if place.index.provider == "wikipedia" else (day,)
    for session in (each for each in sessions if each <= day):
        assert membership.members(session) == place.book.members(session)
    assert found.warnings == ()
    assert "survivorship bias" in found.universe.note


def test_every_session_is_followed_by_diff(place: Place) -> None:
    """Fetched day after day, the membership is the book's on each of them."""
    known: tuple[Spell, ...] = ()
    days = place.book.days[-250::25]
    for day in days:
        known = place.refreshed(known, day).universe.spells
        assert Membership(known).members(day) == place.book.members(day)
    assert len({place.book.members(day) for day in days}) > 1


@pytest.mark.parametrize("fault", ["duplicate_constituents", "short_constituents"])
def test_bad_list_is_refused(place: Place, fault: str) -> None:
    """A doubled or a shortened list never becomes a universe."""
    with place.fault(fault), pytest.raises(MembershipError, match="fetched list"):
        place.list()


def test_mass_change_is_held(place: Place) -> None:
    """Forty names exchanged at once change nothing."""
    day = place.book.days[-1]
    known = place.refreshed((), day).universe.spells
    with place.fault("mass_change"):
        held = place.refreshed(known, day)
    assert held.outcome == "held"
    assert held.universe.spells == known
    assert "80 names at once (40 join, 40 leave)" in held.message


@pytest.mark.parametrize(
    ("fault", "outcome"), [("html", "failed"), ("500", "failed"), ("reset", "limited")]
)
def test_provider_that_fails_gives_no_list(place: Place, fault: str, outcome: str) -> None:
    """An error page, a server's failure and a closed connection are told apart from a list."""
    with place.fault(fault):
        assert place.child.ask(query(place.index)).outcome == outcome
