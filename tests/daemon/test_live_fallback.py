"""A live market whose provider is down: the second source goes on, and the way back is proved."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from daemon.data_inspection import data_facts
from daemon.feeds.switch import PROVED
from tests.daemon.live import LiveMarket, live_market, small_book
from tests.standins.baostock import BaostockStandIn

BEGUN = 150
YAHOO = ("query1.finance.yahoo.com", "query2.finance.yahoo.com")
TIINGO = {"fallback": "tiingo", "api_key": "secret"}
pytestmark = pytest.mark.skipif(
    find_spec("tiingo") is None or find_spec("baostock") is None,
    reason="the extras `tiingo` and `baostock` are not installed",
)


def assert_goes_and_comes_back(alive: LiveMarket, first: str, second: str, *down: str) -> None:
    """Live through a session without the first provider and one with it again."""
    alive.lived(BEGUN)
    alive.standin.faults["429"] = down
    alive.lived(BEGUN + 1)
    away, home = alive.session(BEGUN + 1), alive.session(BEGUN + 2)
    assert alive.statuses()[-1] == (f"{away}", 1, "final")
    assert alive.facts()["providers"] == {second: alive.facts()["bars"]}
    assert alive.switches() == [(away, first, second)]
    assert f"come from {second} instead of {first}" in alive.alerts()["provider-switched"]
    alive.standin.faults.clear()
    alive.lived(BEGUN + 2)
    assert alive.statuses()[-1] == (f"{home}", 1, "final")
    assert alive.switches() == [(away, first, second), (home, second, first)]
    assert alive.facts()["restated_bars"] == {}
    sources = [vintage.source for vintage in alive.vintages("session")]
    assert sources[:3] == [first, second, first]
    assert_bars_are_those_traded(alive)


def assert_bars_are_those_traded(alive: LiveMarket) -> None:
    """Compare what is stored of the three sessions with what the market did."""
    days = [alive.session(BEGUN + number) for number in range(3)]
    stored = alive.context.bars.bars(
        alive.name, as_of=alive.clock.now(), first=days[0], last=days[-1]
    )
    truth = {(row["session"], row["asset"]): row["close"] for row in alive.book.bars.to_pylist()}
    wanted = [truth[row["session"], row["asset"]] for row in stored.to_pylist()]
    assert stored.num_rows > 3 * 35
    np.testing.assert_allclose(stored["close"].to_numpy(), np.array(wanted, float), rtol=1e-6)


@pytest.mark.slow
def test_us_goes_on_with_tiingo_and_comes_back(tmp_path: Path) -> None:
    """Yahoo limits us for a session: it is published from Tiingo; the next one is Yahoo's again."""
    with live_market(tmp_path, small_book("us"), BEGUN, feed=TIINGO) as alive:
        assert_goes_and_comes_back(alive, "yahoo", "tiingo", *YAHOO)
        assert alive.alerts() == {}
        told = data_facts(alive.context, alive.market).switches
        assert [(row["before"], row["after"]) for row in told] == [
            ("yahoo", "tiingo"),
            ("tiingo", "yahoo"),
        ]
        assert all(row["n_sessions"] >= 60 and row["gap"] < 5e-4 for row in told)


@pytest.mark.slow
def test_cn_goes_on_with_baostock_and_comes_back(tmp_path: Path) -> None:
    """Eastmoney is silent for a session: it is published from baostock, and the next one not."""
    book = small_book("cn")
    with (
        BaostockStandIn(book, datetime(2023, 1, 4, tzinfo=UTC)) as second,
        live_market(tmp_path, book, BEGUN, second=second, feed={"fallback": "baostock"}) as alive,
    ):
        assert_goes_and_comes_back(alive, "akshare", "baostock", "*")
        # Eastmoney's adjusted prices do not tell the factor of one share: that one stays away
        assert alive.facts()["providers"] == {"akshare": 38, "baostock": 1}
        assert "1 assets are not the first source's now" in alive.alerts()["provider-switched"]


def test_a_session_the_first_source_never_has_comes_from_the_second(tmp_path: Path) -> None:
    """Yahoo answers, and lacks the session of every asset: it is published all the same."""
    with live_market(tmp_path, small_book("us"), BEGUN, feed=TIINGO) as alive:
        alive.lived(BEGUN)
        alive.standin.faults["missing_session"] = YAHOO
        alive.until(BEGUN + 1)
        alive.tick()
        assert alive.statuses()[-1] == (f"{alive.session(BEGUN + 1)}", 0, "provisional")
        assert alive.facts()["providers"] == {"tiingo": 39}
        assert alive.vintages("correction") == []


@pytest.mark.slow
def test_an_asset_the_second_source_tells_otherwise_is_quarantined(tmp_path: Path) -> None:
    """Its prices are a hundred times the stored ones: it has no bar, and the record says why."""
    with live_market(tmp_path, small_book("us"), BEGUN, feed=TIINGO) as alive:
        alive.lived(BEGUN)
        alive.standin.faults["429"] = YAHOO
        alive.standin.faults.switch("price_x100", "api.tiingo.com", times=1)
        alive.until(BEGUN + 1)
        alive.tick()
        bars = alive.facts()["bars"]
        [(_, asset, _)] = [said for said in alive.verdicts("quarantine") if said[2] == PROVED]
        assert alive.facts()["providers"] == {"tiingo": bars}
        assert any(text.startswith(f"{asset}: ") for text in alive.facts()["missing"])


@pytest.mark.slow
def test_the_session_waits_for_a_second_source_that_proves_nothing(tmp_path: Path) -> None:
    """Every series is told on another basis: nothing is stored, and the alert names the reason."""
    with live_market(tmp_path, small_book("us"), BEGUN, feed=TIINGO) as alive:
        alive.lived(BEGUN)
        alive.standin.faults["429"] = YAHOO
        alive.standin.faults["price_x100"] = "api.tiingo.com"
        alive.until(BEGUN + 1)
        alive.tick()
        assert alive.switches() == []
        assert {session for session, *_ in alive.statuses()} == {f"{alive.session(BEGUN)}"}
        assert "tiingo: not taken over" in alive.alerts()["stage-failed"]
