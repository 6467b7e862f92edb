"""The contract of re-mining jobs and of alerts."""

from __future__ import annotations

import pytest

from signals.errors import ReservationError
from storage import alerts, jobs
from storage.database import Database
from storage.jobs import TrialRow
from storage.tables import JobStatus
from tests.storage.build import at, day


class TestJobs:
    """What holds on every database."""

    def test_ids_count_in_each_market(self, database: Database) -> None:
        """Ids count from 1 in each market."""
        with database.transaction() as c:
            got = [
                jobs.open_job(c, m, day(1), {"why": "decay"}, 7, at(1)) for m in ("us", "us", "cn")
            ]
        assert [(job.market, job.id) for job in got] == [("us", 1), ("us", 2), ("cn", 1)]

    def test_job_is_resumed_from_its_checkpoint(self, database: Database) -> None:
        """What a round stored is there after the process is gone."""
        seed = 2**63 - 1
        with database.transaction() as c:
            job = jobs.start(c, jobs.open_job(c, "us", day(1), {"factor": "a"}, seed, at(1)))
            jobs.save_checkpoint(c, job, {"round": 3, "best": 1 / 3}, {"complexity": 12})
        with database.read() as c:
            (found,) = jobs.jobs(c, "us", open_only=True)
        assert (found.checkpoint, found.counts) == ({"round": 3, "best": 1 / 3}, {"complexity": 12})
        assert (found.seed, found.status) == (seed, JobStatus.RUNNING)

    def test_finished_job_never_changes(self, database: Database) -> None:
        """A finished job keeps its result and refuses a checkpoint."""
        with database.transaction() as c:
            job = jobs.open_job(c, "us", day(1), {}, 7, at(1))
            done = jobs.finish(
                c, job, "succeeded", at(2), result={"accepted": ["x"]}, joined_session=day(2)
            )
            with pytest.raises(ReservationError, match="finished or unknown"):
                jobs.save_checkpoint(c, job, {})
            assert jobs.get(c, "us", 1) == done == jobs.last_job(c, "us")
            assert jobs.jobs(c, open_only=True) == []

    def test_trials_are_counted(self, database: Database) -> None:
        """The candidates of jobs opened since a session can be counted."""
        with database.transaction() as c:
            for number in (1, 5):
                job = jobs.open_job(c, "us", day(number), {}, 7, at(number))
                rows = [TrialRow(n, "$close", "fitness", {"ic": n / 3}) for n in range(number)]
                jobs.record_trials(c, job, rows)
            assert [t.detail for t in jobs.trials(c, "us", 2)][1] == {"ic": 1 / 3}


class TestAlerts:
    """What holds on every database."""

    def test_open_alert_is_raised_once(self, database: Database) -> None:
        """There is one open alert of a key, and it says what was said last."""
        with database.transaction() as c:
            assert alerts.raise_alert(c, "us", "degraded", "warning", "no factor", at(1), day(1))
            assert not alerts.raise_alert(c, "us", "degraded", "warning", "no factor", at(2))
            assert alerts.raise_alert(c, "us", "degraded", "warning", "again", at(2), day(2))
            assert [a.message for a in alerts.open_alerts(c, "us")] == ["again"]
            assert alerts.raise_alert(c, "cn", "degraded", "warning", "no factor", at(1))
            assert alerts.resolve(c, "us", "degraded", at(3))
            assert not alerts.resolve(c, "us", "degraded", at(3))
            assert alerts.raise_alert(c, "us", "degraded", "warning", "anew", at(4))
            assert [a.message for a in alerts.open_alerts(c, "us")] == ["anew"]
            assert len(alerts.open_alerts(c)) == 2
            assert [a.resolved_at for a in alerts.alerts(c, "us")] == [at(3), None]
