"""The contract of what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from signals.errors import StorageError
from storage import history, registry
from storage.database import Database
from storage.history import ICRow, ScoreICRow, StateRow
from tests.storage.build import at, day

NAN = float("nan")


def seeded(database: Database) -> None:
    with database.transaction() as c:
        for name in ("a", "b"):
            registry.add(c, "us", name, "$close", origin="seed", session=day(0), now=at(0))


def ic_row(factor: str, number: int, value: float) -> ICRow:
    return ICRow("us", factor, day(number), day(number + 2), value, value / 3, 250)


class TestHistory:
    """What holds on every database."""

    def test_ics_come_back_exactly(self, database: Database) -> None:
        """ICs come back to the last bit, ascending, with NaN where they were not defined."""
        seeded(database)
        values = [1 / 3, NAN, -0.0123456789012345678]
        with database.transaction() as c:
            history.append_ics(c, [ic_row("a", n, v) for n, v in enumerate(values)][::-1])
        with database.read() as c:
            got = history.ics(c, "us", "a")
        assert got.sessions.tolist() == [day(0), day(1), day(2)]
        assert np.array_equal(got.ic, values, equal_nan=True)
        assert np.array_equal(got.rank_ic, np.array(values) / 3, equal_nan=True)

    def test_ics_can_be_cut(self, database: Database) -> None:
        """A range of sessions is closed, and what was not realised yet can be left out."""
        seeded(database)
        with database.transaction() as c:
            history.append_ics(c, [ic_row("a", n, n / 10) for n in range(10)])
            assert len(history.ics(c, "us", "a", day(2), day(4)).ic) == 3
            assert history.ics(c, "us", "a", realised_by=day(5)).sessions[-1] == np.datetime64(
                day(3)
            )

    def test_later_measurement_replaces(self, database: Database) -> None:
        """The IC of a session measured again is the later one."""
        seeded(database)
        with database.transaction() as c:
            history.append_ics(c, [ic_row("a", 1, 0.1)])
            history.append_ics(c, [ic_row("a", 1, 0.2)])
            assert history.ics(c, "us", "a").ic.tolist() == [0.2]

    def test_ic_of_unknown_factor(self, database: Database) -> None:
        """A factor that is not registered has no IC."""
        with pytest.raises(StorageError, match="refused"), database.transaction() as c:
            history.append_ics(c, [ic_row("x", 1, 0.1)])

    def test_book_ics(self, database: Database) -> None:
        """The ICs of the whole book come in one call, by id."""
        seeded(database)
        with database.transaction() as c:
            history.append_ics(c, [ic_row(f, n, n / 10) for f in "ba" for n in range(3)])
            got = history.book_ics(c, "us", day(1))
        assert list(got) == ["a", "b"]
        assert got["b"].ic.tolist() == [0.1, 0.2]

    def test_empty_series(self, database: Database) -> None:
        """A factor without ICs has an empty series."""
        with database.read() as c:
            got = history.ics(c, "us", "a")
        assert (len(got.sessions), len(got.ic), got.sessions.dtype) == (0, 0, np.dtype("M8[D]"))

    def test_score_ics(self, database: Database) -> None:
        """The ICs of the score are kept beside the publication they measure."""
        with database.transaction() as c:
            row = ScoreICRow("us", day(1), day(3), "00000007", 0.02, NAN, 300)
            history.append_score_ics(c, [row])
            got = history.score_ics(c, "us")
        assert got.ic.tolist() == [0.02]
        assert np.isnan(got.rank_ic[0])

    def test_monitor_states(self, database: Database) -> None:
        """The latest state comes back exactly, for one factor or for all, at any session."""
        seeded(database)
        states = [
            StateRow("us", f, day(n), "healthy", n / 7, 1260.0, {"mean": n / 7, "n": n})
            for f in "ab"
            for n in range(4)
        ]
        with database.transaction() as c:
            history.append_states(c, states)
            last = history.last_state(c, "us", "a")
            every = history.last_states(c, "us", until=day(2))
            curve = history.state_curve(c, "us", "b", day(1))
        assert last is not None
        assert last.state == {"mean": 3 / 7, "n": 3}
        assert {f: s.evidence for f, s in every.items()} == {"a": 2 / 7, "b": 2 / 7}
        assert curve.evidence.tolist() == [1 / 7, 2 / 7, 3 / 7]
        assert curve.verdicts == ("healthy",) * 3

    def test_no_state_yet(self, database: Database) -> None:
        """A factor without a monitor has no state."""
        seeded(database)
        with database.read() as c:
            assert history.last_state(c, "us", "a") is None
            assert history.last_states(c, "us") == {}

    def test_verdict_events(self, database: Database) -> None:
        """Changes of verdict are kept in order, with their evidence."""
        seeded(database)
        with database.transaction() as c:
            for n, (old, new) in enumerate([("healthy", "warning"), ("warning", "decayed")]):
                history.append_verdict(c, "us", "a", day(n), old, new, {"R": 200.5}, at(n))
            got = history.verdict_events(c, "us", first=day(1))
        assert [(e.from_verdict, e.to_verdict) for e in got] == [("warning", "decayed")]
        assert got[0].evidence == {"R": 200.5}
        assert got[0].at == at(1)
