"""The contract of operators' requests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from signals.errors import ReservationError
from storage import requests
from storage.database import Database
from tests.storage.build import at, day


def ask(database: Database, factor: str, market: str = "us", command: str = "retire") -> int:
    with database.transaction() as c:
        written = requests.ask(
            c, market, command, {"factor": factor}, reason="its data", who="ops", now=at(1)
        )
    assert written.number is not None
    return written.number


class TestRequests:
    """What holds on every database."""

    def test_request_waits_until_it_is_settled(self, database: Database) -> None:
        """It comes back as it was written, with number, time and user, and is pending."""
        number = ask(database, "a")
        with database.read() as c:
            [found] = requests.pending(c, "us")
            assert requests.pending(c, "cn") == []
        assert (found.number, found.command, found.arguments) == (number, "retire", {"factor": "a"})
        assert (found.reason, found.who, found.requested_at) == ("its data", "ops", at(1))
        assert (found.applied_at, found.applied_session, found.outcome) == (None, None, None)

    def test_settled_once(self, database: Database) -> None:
        """A request that has been dealt with keeps its outcome, and is never dealt with again."""
        ask(database, "a")
        with database.transaction() as c:
            [request] = requests.pending(c, "us")
            requests.settle(c, request, day(2), "a → retired", at(2))
            with pytest.raises(ReservationError, match="has been dealt with"):
                requests.settle(c, request, day(3), "again", at(3))
        with database.read() as c:
            assert requests.pending(c, "us") == []
            [found] = requests.requests(c)
        assert (found.applied_at, found.applied_session) == (at(2), day(2))
        assert found.outcome == "a → retired"

    def test_settling_belongs_to_the_transaction(self, database: Database) -> None:
        """An observation that fails leaves the request waiting."""
        ask(database, "a")

        def fail() -> None:
            with database.transaction() as c:
                requests.settle(c, requests.pending(c, "us")[0], day(2), "done", at(2))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        with database.read() as c:
            assert len(requests.pending(c, "us")) == 1

    def test_same_request_waits_once(self, database: Database) -> None:
        """While it waits the same is refused and its number named; another command is not."""
        number = ask(database, "a")
        with pytest.raises(ReservationError, match=f"request {number} of ops"):
            ask(database, "a")
        ask(database, "a", command="rollback")
        ask(database, "a", market="cn")
        ask(database, "b")
        with database.transaction() as c:
            requests.settle(c, requests.pending(c, "us")[0], day(2), "done", at(2))
        ask(database, "a")

    def test_order_of_asking(self, database: Database) -> None:
        """Requests come back in the order they were written, of one market or of all."""
        numbers = [ask(database, name, market) for name, market in
                   (("b", "us"), ("a", "cn"), ("a", "us"))]  # fmt: skip
        with database.read() as c:
            assert [r.number for r in requests.requests(c)] == sorted(numbers)
            assert [r.arguments["factor"] for r in requests.requests(c, "us")] == ["b", "a"]


def test_commands_write_while_an_observation_does(sqlite: Database) -> None:
    """Writers of requests and settlers of them do not stand in each other's way."""

    def settle_all(_: int) -> int:
        with sqlite.transaction() as c:
            waiting = requests.pending(c, "us")
            for request in waiting:
                requests.settle(c, request, day(2), "done", at(2))
        return len(waiting)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, sqlite, f"f{number}") for number in range(30)]
        settled = sum(pool.map(settle_all, range(15)))
        for future in asked:
            future.result()
    assert settled + settle_all(0) == 30
