from __future__ import annotations

from datetime import date

import pytest

from daemon.calendar import MarketCalendar, Overlay
from daemon.feeds.open import open_feed
from daemon.feeds.protocol import Request
from daemon.feeds.simulated import SimulatedFeed
from daemon.settings import FeedSettings
from daemon.validation import check_bars
from signals.errors import DataError

CALENDAR = MarketCalendar("XNYS", Overlay())
DAYS = (date(2018, 1, 2), date(2018, 1, 3), date(2018, 1, 4))


def feed(seed: int = 7) -> SimulatedFeed:
    return SimulatedFeed(CALENDAR, seed=seed, n_assets=40)


def test_bars_pass_the_gate() -> None:
    """Simulated bars are in the schema and break no rule."""
    table = feed().fetch(Request("sim", DAYS))
    checked = check_bars(table, sessions=DAYS, min_assets=40, max_quarantined=0.0)
    assert checked.table.num_rows == 120
    assert checked.quarantined == ()


def test_one_fetch_or_many_give_the_same_bars() -> None:
    """A backfill and day by day, in another process, see one market."""
    whole = feed().fetch(Request("sim", DAYS)).slice(40, 40)
    single = feed()
    single.fetch(Request("sim", DAYS[:1]))
    assert single.fetch(Request("sim", DAYS[1:2])).equals(whole)
    assert not feed(seed=8).fetch(Request("sim", DAYS[1:2])).equals(whole)


def test_market_begins_at_its_start() -> None:
    """Before the start there is no history and there are no bars; after it numbers count from 0."""
    simulated = feed()
    assert simulated.history(date(2017, 12, 29)) is None
    assert simulated.history(date(2020, 1, 1)) == DAYS[0]
    assert simulated.session_number(DAYS[2]) == 2
    assert simulated.fetch(Request("sim", (date(2017, 12, 29), DAYS[0]))).num_rows == 40
    with pytest.raises(DataError, match="no session of the simulated market"):
        simulated.session_number(date(2018, 1, 6))


def test_assets_may_be_chosen() -> None:
    """A request for some assets returns only theirs."""
    table = feed().fetch(Request("sim", DAYS, assets=("SIM0003", "SIM0001")))
    assert table.column("asset").to_pylist() == ["SIM0001", "SIM0003"] * 3


def test_feed_is_built_from_settings() -> None:
    """Settings of a simulated feed give that market."""
    built = open_feed(FeedSettings(assets=40), CALENDAR)
    assert built.name == "simulated"
    assert built.fetch(Request("sim", DAYS)).equals(feed().fetch(Request("sim", DAYS)))
