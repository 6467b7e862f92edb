"""The contract of what is kept about requests to language models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from signals.errors import ReservationError
from storage import model_usage
from storage.database import Database
from storage.model_usage import Spent
from storage.tables import ModelUsage
from tests.storage.build import at

WORST = Spent(1, 1_000, 500, 0.25, 60.0)


def reserved(
    c: Connection, when: datetime, *, market: str = "us", job: int = 1, kind: str = "idea"
) -> ModelUsage:
    return model_usage.reserve(c, market, job, at=when, model="m", kind=kind, worst=WORST)


class TestModelUsage:
    """What holds on every database."""

    def test_a_reserved_request_counts_at_its_worst(self, database: Database) -> None:
        """A crash between asking and settling forgets nothing."""
        with database.transaction() as c:
            reserved(c, at(1))
        with database.read() as c:
            assert model_usage.of_run(c, "us", 1) == WORST
            assert model_usage.of_day(c, at(1)) == WORST

    def test_a_settled_request_counts_as_it_was(self, database: Database) -> None:
        """Settling replaces the worst case by what was used up."""
        with database.transaction() as c:
            request = reserved(c, at(1))
            model_usage.settle(c, request, Spent(1, 10, 5, 0.01, 2.5), "answered", at(1))
            assert model_usage.of_run(c, "us", 1) == Spent(1, 10, 5, 0.01, 2.5)
            (row,) = model_usage.requests(c, "us", 1)
        assert (row.kind, row.outcome, row.settled_at) == ("idea", "answered", at(1))

    def test_a_request_is_settled_once(self, database: Database) -> None:
        """A second settling is refused."""
        with database.transaction() as c:
            request = reserved(c, at(1))
            model_usage.settle(c, request, WORST, "answered", at(1))
            with pytest.raises(ReservationError, match="settled or unknown"):
                model_usage.settle(c, request, Spent(), "answered", at(1))

    def test_a_run_is_one_job_of_one_market(self, database: Database) -> None:
        """Other jobs and markets do not count for a run; a day counts them all."""
        with database.transaction() as c:
            for market, job in (("us", 1), ("us", 2), ("cn", 1)):
                reserved(c, at(1), market=market, job=job)
            assert model_usage.of_run(c, "us", 1).requests == 1
            assert model_usage.of_day(c, at(1)).requests == 3

    def test_a_day_is_a_utc_day(self, database: Database) -> None:
        """Midnight UTC begins a new day, whatever the zone of the time that is given."""
        with database.transaction() as c:
            reserved(c, datetime(2024, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC))
            reserved(c, datetime(2024, 3, 2, 0, 0, tzinfo=UTC))
            reserved(c, datetime(2024, 3, 2, 23, 59, tzinfo=UTC))
            for day, requests in ((1, 1), (2, 2), (3, 0)):
                noon = datetime(2024, 3, day, 12, tzinfo=UTC)
                assert model_usage.of_day(c, noon).requests == requests

    def test_a_run_without_a_job_counts_from_its_beginning(self, database: Database) -> None:
        """What was asked before `since` belongs to another run."""
        with database.transaction() as c:
            for hour in (1, 5):
                reserved(c, at(hour), job=model_usage.NO_JOB)
            assert model_usage.of_run(c, "us", model_usage.NO_JOB, since=at(2)).requests == 1

    def test_nothing_asked_is_nothing_spent(self, database: Database) -> None:
        """Sums of no rows are zeros."""
        with database.read() as c:
            assert model_usage.of_run(c, "us", 1) == Spent()
            assert Spent().tokens == 0

    def test_the_lock_makes_reservations_wait(self, database: Database) -> None:
        """Of eight that each see a rest for five requests, five reserve."""

        def ask(_: int) -> bool:
            with database.transaction() as c:
                model_usage.lock(c)
                if model_usage.of_day(c, at(1)).requests >= 5:
                    return False
                reserved(c, at(1))
                return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(ask, range(8))) == 5
