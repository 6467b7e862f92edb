"""One seed of the simulation, as `make test` tries it."""

from __future__ import annotations

import gc
from pathlib import Path

from bench.soak import scratch
from tests.faults.simulation.invariants import resources
from tests.faults.simulation.simulated_daemon import Simulation

#: Sessions of New York; with Shanghai's some sixty are lived through.
SESSIONS = 31


def try_seed(seed: int, begun: Path, begun_with_files: Path) -> None:
    """Live through one seed; a breach of an invariant raises, and tells how to have it again."""
    live = seed % 3 == 0  # it takes twice as long
    template = begun if live else begun_with_files
    with scratch() as folder:
        simulation = Simulation(
            folder / "run", seed, SESSIONS, often=0.5, live=live, template=template
        )
        before = resources()
        simulation.run()
        gc.collect()  # frames of those who died hold mapped files
        _, descriptors, threads = resources()
    assert simulation.market_sessions >= 60
    assert simulation.published > 30
    assert descriptors <= before[1] + 2
    assert threads <= before[2] + 2
