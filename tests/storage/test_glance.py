"""The contract of the bounded reads: so many rows and no more, however long a market has lived."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from storage import alerts, data, glance, history, jobs, ledger, registry
from storage.data import Said
from storage.database import Database
from storage.history import StateRow
from storage.tables import PublicationRecord, Vintage, table
from tests.storage.build import at, day, publish


def add(c: Connection, name: str, job: int | None = None) -> None:
    registry.add(
        c, "us", name, "$close", origin="seed" if job is None else "mined", session=day(0),
        now=at(0), detail=None if job is None else {"job": job},
    )  # fmt: skip


class TestGlance:
    """What holds on every database."""

    def test_newest_publication_of_each_session(self, database: Database, tmp_path: Path) -> None:
        """Sessions are counted, not revisions; the range holds both its ends."""
        for number in (1, 2, 3):
            publish(tmp_path, database, number)
        publish(tmp_path, database, 2, revision=1)
        with database.read() as c:
            rows = glance.published_between(c, "us", day(1), day(9), 2)
            later = glance.published_between(c, "us", day(2), day(2), 9)
            last = glance.recent_publications(c, "us", 2)
            before = glance.recent_publications(c, "us", 9, before="00000002")
            none = glance.published_between(c, "cn", day(0), day(9), 9)
        assert [(row.session, row.revision) for row in rows] == [(day(1), 0), (day(2), 1)]
        assert [row.publish_id for row in later] == ["00000004"]
        assert [row.publish_id for row in last] == ["00000004", "00000003"]
        assert [row.publish_id for row in before] == ["00000001"]
        assert none == []

    def test_reserved_publication_is_none(self, database: Database) -> None:
        """What is only reserved is not told."""
        values = {"market": "us", "publish_id": "00000001", "session": day(1), "revision": 0,
                  "status": "reserved", "path": "p", "reserved_at": at(1)}  # fmt: skip
        with database.transaction() as c:
            c.execute(insert(table(PublicationRecord)), values)
            assert glance.published_between(c, "us", day(0), day(9), 9) == []
            assert glance.recent_publications(c, "us", 9) == []

    def test_jobs_come_without_their_checkpoints(self, database: Database) -> None:
        """Newest first, with what is told of them; and the factors each brought."""
        with database.transaction() as c:
            first = jobs.open_job(c, "us", day(1), {"reason": "one"}, 1, at(1))
            jobs.finish(c, first, "succeeded", at(2), counts={"proposed": 9}, result={"tried": 8})
            second = jobs.open_job(c, "us", day(3), {"reason": "two"}, 2, at(3))
            jobs.save_checkpoint(c, jobs.start(c, second), {"large": "x" * 9999})
            for name, job in (("m001_1", 1), ("m001_2", 1), ("seed", None)):
                add(c, name, job)
            found = glance.recent_jobs(c, "us", 5)
            assert [job.id for job in glance.recent_jobs(c, "us", 1)] == [2]
            assert glance.mined_by(c, "us", [1, 2]) == {1: ["m001_1", "m001_2"]}
            assert glance.mined_by(c, "us", []) == {}
        assert [(job.id, job.status, job.counts) for job in found] == [
            (2, "running", None),
            (1, "succeeded", {"proposed": 9}),
        ]
        assert "checkpoint" not in glance.JobFacts._fields

    def test_details_of_the_last_sessions(self, database: Database) -> None:
        """The newest result of each session, oldest session first."""
        with database.transaction() as c:
            for number in range(6):
                run = ledger.begin(c, "us", day(number), "ingest", "a", at(number))
                ledger.succeed(c, run, at(number), {"bars": number})
            again = ledger.begin(c, "us", day(4), "ingest", "b", at(7), "restatement")
            ledger.succeed(c, again, at(7), {"bars": 40})
            ledger.begin(c, "us", day(6), "ingest", "a", at(6))
            found = glance.recent_details(c, "us", "ingest", 3)
        assert [(session, facts["bars"]) for session, facts in found] == [
            (day(3), 3), (day(4), 40), (day(5), 5),
        ]  # fmt: skip

    def test_what_the_gate_set_aside(self, database: Database) -> None:
        """By rule and outcome, most rows first, since a session; what was accepted is not told."""
        said = [
            Said("quarantine", "A", day(1), day(1), 1, "rule one", "fact", ""),
            Said("quarantine", "B", day(1), day(1), 5, "rule two", "fact", ""),
            Said("accept", "", day(1), day(1), 90, "", "", ""),
        ]
        with database.transaction() as c:
            data.append_verdicts(c, "us", day(1), at(1), said)
            data.append_verdicts(c, "us", day(3), at(3), said[:1])
            whole = glance.set_aside(c, "us", day(0), 9)
            assert [row.rule for row in glance.set_aside(c, "us", day(0), 1)] == ["rule two"]
            assert [row.rows for row in glance.set_aside(c, "us", day(2), 9)] == [1]
        assert whole == [
            ("quarantine", "rule two", 1, 5, day(1)),
            ("quarantine", "rule one", 2, 2, day(3)),
        ]

    def test_restatements_alone(self, database: Database) -> None:
        """Vintages that bring new sessions are none."""
        base = {"market": "us", "source": "test", "known_at": at(1), "reconstructed": False,
                "first_session": day(1), "last_session": day(1), "n_rows": 1, "n_assets": 1,
                "sha256": "0", "chain": "0"}  # fmt: skip
        causes = ("backfill", "session", "split", "correction")
        with database.transaction() as c:
            for number, cause in enumerate(causes, 1):
                row = {**base, "number": number, "cause": cause, "path": str(number)}
                c.execute(insert(table(Vintage)), row)
            assert [v.cause for v in glance.restated(c, "us", 9)] == ["correction", "split"]
            assert len(glance.restated(c, "us", 1)) == 1

    def test_where_monitors_stand(self, database: Database) -> None:
        """The last state of each factor asked for; none for one that is not watched."""
        with database.transaction() as c:
            for name in ("a", "b", "idle"):
                add(c, name)
            history.append_states(
                c,
                [
                    StateRow("us", name, day(number), "healthy", float(number), 100.0, {"n": 1})
                    for name in ("a", "b")
                    for number in range(3)
                ],
            )
            found = glance.standings(c, "us", ["a", "idle", "nobody"])
            assert glance.factor_counts(c, "us") == {"candidate": 3}
            assert glance.factor_ids(c, "us") == [
                ("a", "candidate"), ("b", "candidate"), ("idle", "candidate"),
            ]  # fmt: skip
            assert [f.id for f in glance.some_factors(c, "us", ["idle", "x", "a"])] == ["idle", "a"]
        assert found == {"a": (day(2), "healthy", 2.0, 100.0)}

    def test_resolved_alerts(self, database: Database) -> None:
        """Newest first; open ones are told elsewhere."""
        with database.transaction() as c:
            for number, key in enumerate(("one", "two", "open")):
                alerts.raise_alert(c, "us", key, "warning", key, at(number))
            for key in ("one", "two"):
                alerts.resolve(c, "us", key, at(5))
            assert [row.key for row in glance.recent_alerts(c, "us", 9)] == ["two", "one"]
            assert [row.key for row in glance.recent_alerts(c, "us", 1)] == ["two"]


@pytest.mark.parametrize("limit", [1, 3])
def test_limit_is_a_limit(sqlite: Database, tmp_path: Path, limit: int) -> None:
    """However many sessions there are, so many are told."""
    for number in range(5):
        publish(tmp_path, sqlite, number)
    with sqlite.read() as c:
        assert len(glance.published_between(c, "us", day(0), day(99), limit)) == limit
