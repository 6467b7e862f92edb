"""The whole daemon over both markets with random faults: invariants I1 to I10, seed by seed.

`python -m bench.soak` does the same for as long as it is let; a failure tells how to have it again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench.soak import fitted, scratch
from tests.faults.simulation.edges import Died
from tests.faults.simulation.invariants import Broken
from tests.faults.simulation.simulated_daemon import Simulation
from tests.faults.simulation.sources import CALENDARS, FINALITY, exchange
from tests.faults.simulation.trial import try_seed
from tests.faults.simulation.troubles import Fault

#: The others are in `test_simulation_seeds`, so that two processes can share them.
SEEDS = range(1, 11)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds(seed: int, begun: Path, begun_with_files: Path) -> None:
    """Whatever the seed draws: nothing lost, doubled, torn, told too early, kept secret or late."""
    try_seed(seed, begun, begun_with_files)


def test_a_seed_is_the_same_again(begun: Path) -> None:
    """Equal seeds have equal faults at equal times, and end in equal bytes."""
    told = []
    for _ in range(2):
        with scratch() as folder:
            simulation = Simulation(folder / "run", 3, 3, often=1.0, template=begun).run()
            told.append([simulation.history, simulation.deaths, simulation.world.steps])
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "kind", ["clock +1 h", "clock -1 h", "clock +10 d", "clock -10 d", "suspended 8 h"]
)
@pytest.mark.parametrize("minutes", [-30, 15])
def test_clock_that_jumps(kind: str, minutes: int, begun: Path) -> None:
    """Around the close of both markets, for three hours: each session once, none left out."""
    with scratch() as folder:
        simulation = Simulation(folder / "run", 1, 4, often=0.0, template=begun)
        simulation.plan += [
            Fault(number, kind, None, at, at + timedelta(hours=3), day, 0)
            for number, (name, day) in enumerate(
                (name, exchange(name).next_session(simulation.begin)) for name in CALENDARS
            )
            for at in [exchange(name).finality(day, FINALITY) + timedelta(minutes=minutes)]
        ]
        simulation.plan.sort(key=lambda fault: fault.begins)
        simulation.run()
    assert simulation.deaths == 0


def test_a_breach_tells_its_seed_and_its_past(begun: Path) -> None:
    """What a failure says is enough to have it again."""

    def forget(simulation: Simulation) -> None:
        with closing(sqlite3.connect(simulation.root / "state" / "alphad.db")) as database:
            database.execute("DELETE FROM stage_runs WHERE stage = 'observe'")
            database.commit()

    with scratch() as folder, pytest.raises(Broken) as caught:
        Simulation(folder / "run", 8, 4, often=1.0, template=begun, on_session=forget).run()
    told = str(caught.value)
    assert told.startswith("I4: ")
    assert "python -m bench.soak --seed 8 --sessions 4 --often 1.0" in told
    assert "begins:   0" in told


def test_death_is_caught_by_nobody() -> None:
    """No handler of errors takes a death for one: it is no Exception."""
    assert not issubclass(Died, Exception)


def test_slope_of_a_line() -> None:
    """What grows by two in a hundred sessions has that slope, and no error."""
    sessions = np.arange(0.0, 1000.0, 20.0)
    slope, error = fitted(sessions, 5.0 + 0.02 * sessions)
    assert slope == pytest.approx(0.02)
    assert error == pytest.approx(0.0, abs=1e-12)
