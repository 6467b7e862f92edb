"""The gate of a live market beside its index, and limits of the market's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daemon.history_gate import limits_of
from daemon.plausibility import LIMIT_JUMP
from daemon.settings import FeedSettings, GateSettings, MarketSettings, UniverseSettings
from tests.daemon.live import live_market, small_book

BEGUN = 150
INDICES = {"us": "^GSPC", "cn": "000905"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["us", "cn"])
def test_bars_unlike_the_index_are_refused(tmp_path: Path, name: str) -> None:
    """The index is told far away from its members: nothing is stored until it is not any more."""
    with live_market(tmp_path, small_book(name), BEGUN) as alive:
        session = alive.session(BEGUN)
        alive.standin.faults.switch("price_x100", INDICES[name], session=session)
        alive.tick()
        assert "the index's 9" in alive.alerts()["stage-failed"]
        assert alive.statuses() == []
        alive.standin.faults.clear()
        alive.later(minutes=5)
        alive.tick()
        levels = alive.book.index.values["close"]
        assert alive.statuses() == [(f"{session}", 0, "provisional")]
        told = alive.facts()["index_return"]
        assert told == pytest.approx(levels[BEGUN] / levels[BEGUN - 1] - 1.0, abs=2e-5)


def test_limits_are_those_of_the_settings() -> None:
    """A free market has the jump that is set; under price limits the exchange's go before."""
    gate = GateSettings(max_jump=1.0, max_broken=0.2, max_repeated=0.3, max_index_gap=0.04)
    plain = MarketSettings(
        feed=FeedSettings(kind="yahoo"), universe=UniverseSettings(index="sp500"), gate=gate
    )
    free = limits_of(plain, ["AAA"], small_book("us").days[0])
    assert (free.broken, free.repeated, free.index_gap) == (0.2, 0.3, 0.04)
    assert free.jump == pytest.approx(np.log(2.0))
    limited = plain.model_copy(update={"calendar": "XSHG"})
    held = limits_of(limited, ["600000", "688001"], small_book("cn").days[0])
    assert (held.jump, held.repeated, [*held.jumps]) == (LIMIT_JUMP, 0.3, ["688001"])
