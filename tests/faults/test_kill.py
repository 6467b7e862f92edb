"""A replay that is killed at random moments and resumed publishes the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.kills import Kill, differences, disturb, run_undisturbed, verify
from bench.polling import Polled
from tests.faults.market import replay_of


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_killed_replay_publishes_the_same_bytes(
    tmp_path: Path, bars: Path, config: Path, reference: dict[str, bytes]
) -> None:
    """After kill -9 at four random moments nothing differs, nothing is left over, all is whole."""
    replay = replay_of(config, bars)
    clean = run_undisturbed(replay, tmp_path / "clean")
    assert (clean.files == reference) is True  # the command and the function publish the same
    seen: list[Kill] = []
    rng = np.random.default_rng(20)
    polled = Polled()
    for out in disturb(replay, clean, tmp_path, rng, 4, lambda _, kill: seen.append(kill), polled):
        assert differences(out, clean) == []
        assert verify(out) == ""
    assert len(seen) == 4
    assert any(0 < kill.published < len(clean.moments) for kill in seen)
    assert polled.torn == []
    assert polled.publications > 1
