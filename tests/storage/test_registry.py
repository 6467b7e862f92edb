"""The factor registry's contract."""

from __future__ import annotations

import pytest

from signals.errors import ReservationError, StorageError
from storage import registry
from storage.database import Database
from storage.tables import FactorState
from tests.storage.build import at, day


def seeded(database: Database, *names: str) -> None:
    with database.transaction() as c:
        for name in names:
            registry.add(c, "us", name, "$close", origin="seed", session=day(0), now=at(0))


class TestRegistry:
    """What holds on every database."""

    def test_factor_begins_as_candidate(self, database: Database) -> None:
        """A new factor is a candidate with one event; its lineage comes back as it went in."""
        with database.transaction() as c:
            added = registry.add(
                c,
                "us",
                "mined_1",
                "RANK($close)",
                origin="mined",
                session=day(3),
                now=at(3),
                rule="accepted",
                hypothesis={"observation": "π", "horizon": 5},
                parents=["reversal_5"],
                evidence={"p": 0.1 + 0.2},
            )
        with database.read() as c:
            assert registry.get(c, "us", "mined_1") == added
            (event,) = registry.events(c, "us", "mined_1")
        assert (event.from_state, event.to_state, event.rule) == (None, "candidate", "accepted")
        assert event.evidence == {"p": 0.1 + 0.2}

    def test_id_names_one_factor_for_ever(self, database: Database) -> None:
        """An id cannot be registered twice in a market, but another market may use it."""
        seeded(database, "a")
        with database.transaction() as c:
            with pytest.raises(ReservationError, match="registered already"):
                registry.add(c, "us", "a", "$open", origin="seed", session=day(1), now=at(1))
            registry.add(c, "cn", "a", "$open", origin="seed", session=day(1), now=at(1))

    def test_life_of_a_factor(self, database: Database) -> None:
        """Candidate, shadow, live, retired, revived: each step sets its session, logs its rule."""
        seeded(database, "a")
        steps = ("shadow", "live", "retired", "shadow", "live")
        with database.transaction() as c:
            for number, state in enumerate(steps, start=1):
                factor = registry.transition(
                    c, "us", "a", state, session=day(number), rule=f"r{number}", now=at(number)
                )
        assert (factor.joined_session, factor.live_session, factor.retired_session) == (
            day(1),
            day(5),
            day(3),
        )
        with database.read() as c:
            assert [e.to_state for e in registry.events(c, "us", "a")] == ["candidate", *steps]
            assert registry.get(c, "us", "a") == factor

    def test_evidence_of_a_revived_factor_begins_anew(self, database: Database) -> None:
        """A revival may set where forward evidence and baseline begin; otherwise both stay."""
        seeded(database, "a")
        with database.transaction() as c:
            for number, state in enumerate(("live", "retired"), start=1):
                registry.transition(c, "us", "a", state, session=day(number), rule="r", now=at(1))
            factor = registry.transition(
                c, "us", "a", "shadow", session=day(5), rule="revived", now=at(5),
                joined_session=day(5), baseline_start=day(3),
            )  # fmt: skip
            assert (factor.joined_session, factor.baseline_start) == (day(5), day(3))
            undone = registry.transition(
                c, "us", "a", "retired", session=day(6), rule="undone", now=at(6)
            )
            assert (undone.joined_session, undone.retired_session) == (day(5), day(6))
            assert registry.get(c, "us", "a") == undone

    @pytest.mark.parametrize(
        "path", [("retired",), ("rejected", "shadow"), ("live", "rejected"), ("live", "shadow")]
    )
    def test_forbidden_arrow(self, database: Database, path: tuple[str, ...]) -> None:
        """A change of state without an arrow is an error and leaves the factor as it was."""
        seeded(database, "a")
        *allowed, forbidden = path
        with database.transaction() as c:
            for state in allowed:
                registry.transition(c, "us", "a", state, session=day(1), rule="r", now=at(1))
            with pytest.raises(StorageError, match="cannot become"):
                registry.transition(c, "us", "a", forbidden, session=day(2), rule="r", now=at(2))
            found = registry.get(c, "us", "a")
        assert found is not None
        assert found.state == (allowed[-1] if allowed else "candidate")

    def test_factors_are_ordered_by_id(self, database: Database) -> None:
        """The order of ids is that of their characters' codes on every database."""
        seeded(database, "b", "a_2", "B", "a2")
        with database.transaction() as c:
            registry.transition(c, "us", "b", "live", session=day(1), rule="r", now=at(1))
            assert [f.id for f in registry.factors(c, "us")] == ["B", "a2", "a_2", "b"]
            live = registry.factors(c, "us", [FactorState.LIVE, "retired"])
        assert [f.id for f in live] == ["b"]

    def test_unknown_factor(self, database: Database) -> None:
        """A factor that is not registered has no state to change."""
        with pytest.raises(StorageError, match="no factor 'x'"), database.transaction() as c:
            registry.transition(c, "us", "x", "live", session=day(1), rule="r", now=at(1))

    def test_events_within_sessions(self, database: Database) -> None:
        """Events can be cut to a range of sessions."""
        seeded(database, "a")
        with database.transaction() as c:
            registry.transition(c, "us", "a", "live", session=day(5), rule="r", now=at(5))
            assert len(registry.events(c, "us", first=day(5))) == 1
            assert len(registry.events(c, "us", last=day(4))) == 1
