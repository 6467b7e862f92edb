"""More seeds of the whole daemon under random faults: see `test_simulation`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.simulation.trial import try_seed


@pytest.mark.parametrize("seed", range(11, 21))
def test_every_invariant_holds(seed: int, begun: Path, begun_with_files: Path) -> None:
    """Whatever the seed draws: nothing lost, doubled, torn, told too early, kept secret or late."""
    try_seed(seed, begun, begun_with_files)
