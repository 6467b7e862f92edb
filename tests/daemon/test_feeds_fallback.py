from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from daemon.calendar import MarketCalendar, Overlay
from daemon.clock import ReplayClock
from daemon.feeds.child import Limits
from daemon.feeds.extras import check_fallback, open_fallback
from daemon.feeds.fallback import FallbackFeed
from daemon.feeds.protocol import Feed, Parsed, Request
from daemon.feeds.provider import ProviderFeed
from daemon.feeds.switch import Switch, prove_overlap
from daemon.feeds.yahoo import YahooProvider
from signals.errors import BarsError, ConfigError, FeedError
from storage.bars import BAR_SCHEMA
from tests.daemon.traded import RandomMarket, changed, day
from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

#: A market of four assets and 100 sessions; A1 splits within the sessions that are compared.
MARKET = RandomMarket(1, {(50, 1): (2.0, 0.01), (97, 2): (1.0, 0.02)}, n_sessions=100)
BARS = MARKET.table()
LAST = 97
ALL = MARKET.assets
TODAY = Request("us", (day(LAST), day(LAST + 1)), ALL)
needs_tiingo = pytest.mark.skipif(
    find_spec("tiingo") is None, reason="the extra `tiingo` is not installed"
)


@dataclass
class Stub:
    """A source with a table; what it lacks or does wrong is said."""

    name: str
    table: Any = field(default_factory=lambda: BARS)
    lacks: Sequence[str] = ()
    error: FeedError | None = None
    reconstructed: bool = True
    asked: list[Request] = field(default_factory=list)

    def history(self, last: date) -> date | None:
        return day(0) if day(0) <= last else None

    def fetch_parsed(self, request: Request) -> Parsed:
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        names = [each for each in request.assets or () if each not in self.lacks]
        sessions = pa.array(request.sessions, pa.date32())
        rows = pc.and_(
            pc.is_in(self.table["asset"], pa.array(names, pa.string())),
            pc.is_in(self.table["session"], sessions),
        )
        table = self.table.filter(rows)
        there = set(table["asset"].to_pylist())
        missing = {each: "timeout: no answer" for each in request.assets or () if each not in there}
        return Parsed(table, missing, dict.fromkeys(there, f"{self.name} said"), ())


def stored_until(session: date, table: Any = BARS) -> Callable[[Sequence[str]], Any]:
    """Return a store of the bars before a session."""

    def stored(assets: Sequence[str]) -> Any:
        named = pc.is_in(table["asset"], pa.array(assets, pa.string()))
        return table.filter(pc.and_(named, pc.less(table["session"], session)))

    return stored


def join(
    primary: Stub,
    secondary: Stub,
    stored: Callable[[Sequence[str]], Any] | None = None,
    *switches: Switch,
) -> FallbackFeed:
    stored = stored or stored_until(day(LAST))
    found = {
        asset: tuple(each for each in switches if each.asset == asset)
        for asset in {each.asset for each in switches}
    }
    return FallbackFeed(primary, secondary, stored=stored, switched=lambda: found)


#: A1 has been the secondary's for a while.
AWAY = Switch("A1", "yahoo", "tiingo", day(95), None)


def down() -> FeedError:
    return FeedError("yahoo is down", rule="it answers", hint="wait", retryable=True)


def closes(table: Any, asset: str) -> dict[date, float]:
    rows = table.filter(pc.equal(table["asset"], asset))
    return dict(zip(rows["session"].to_pylist(), rows["close"].to_pylist(), strict=True))


def test_a_complete_primary_leaves_the_secondary_in_peace() -> None:
    """It is a feed under the primary's name, with its bars, and nothing else is asked."""
    primary, secondary = Stub("yahoo"), Stub("tiingo")
    feed: Feed = join(primary, secondary)
    assert (feed.name, feed.reconstructed, feed.history(day(3))) == ("yahoo", True, day(0))
    table = feed.fetch(TODAY)
    assert table.schema.equals(BAR_SCHEMA)
    assert table.num_rows == 2 * len(ALL)
    assert secondary.asked == []


def test_a_missing_asset_is_taken_over_where_the_overlap_agrees() -> None:
    """The secondary is asked for it alone, over the stored sessions; the switch is told."""
    secondary = Stub("tiingo")
    joined = join(Stub("yahoo", lacks=["A1"]), secondary).fetch_parsed(TODAY)
    assert joined.missing == {}
    assert closes(joined.table, "A1") == {
        each: close for each, close in closes(BARS, "A1").items() if each in TODAY.sessions
    }
    assert joined.sources["A1"] == "tiingo said"
    (switch,) = joined.switches
    assert (switch.asset, switch.before, switch.after) == ("A1", "yahoo", "tiingo")
    assert switch.session == day(LAST)
    assert switch.overlap is not None
    assert switch.overlap.n_sessions == 90
    assert joined.warnings == (str(switch),)
    (request,) = secondary.asked
    assert request.assets == ("A1",)
    assert request.sessions == tuple(day(number) for number in range(LAST - 90, LAST + 2))


def test_a_session_that_the_primary_lacks_is_the_secondarys() -> None:
    """The days before it are told by the primary, and the last one is all that changes hands."""
    window = replace(TODAY, sessions=tuple(day(number) for number in range(LAST - 5, LAST + 1)))
    gone = pc.and_(pc.equal(BARS["asset"], "A1"), pc.equal(BARS["session"], day(LAST)))
    primary, secondary = Stub("yahoo", BARS.filter(pc.invert(gone))), Stub("tiingo")
    joined = join(primary, secondary).fetch_parsed(window)
    assert [(each.asset, each.session) for each in joined.switches] == [("A1", day(LAST))]
    assert [*closes(joined.table, "A1")] == [*window.sessions]
    assert joined.table.num_rows == 6 * len(ALL)
    assert joined.providers["A1"] == "tiingo"


def test_a_series_that_ended_long_ago_is_not_looked_for() -> None:
    """Nothing of the window is stored of it: no other source is asked."""
    ended = pc.and_(pc.equal(BARS["asset"], "A1"), pc.greater(BARS["session"], day(LAST - 8)))
    left = BARS.filter(pc.invert(ended))
    window = replace(TODAY, sessions=tuple(day(number) for number in range(LAST - 9, LAST + 1)))
    secondary = Stub("tiingo")
    stored = stored_until(day(LAST - 9), left)
    join(Stub("yahoo", left), secondary, stored).fetch_parsed(window)
    assert secondary.asked == []


def test_returns_that_differ_leave_the_asset_missing() -> None:
    """10 basis points on one session are too many: the first outcome stands, with both reasons."""
    off = BARS["close"].to_numpy().copy()
    off[len(ALL) * 80 + 1] *= 1.001
    secondary = Stub("tiingo", changed(BARS, close=off))
    joined = join(Stub("yahoo", lacks=["A1", "A2"]), secondary).fetch_parsed(TODAY)
    assert [switch.asset for switch in joined.switches] == ["A2"]
    assert set(joined.missing) == {"A1"}
    reason = "timeout: no answer; tiingo: not taken over: A1 returns"
    assert joined.missing["A1"].startswith(reason)
    assert "A1" not in joined.table["asset"].to_pylist()


def test_prices_on_another_basis_are_refused() -> None:
    """Half of every price has the same returns, and would halve the series where it begins."""
    names = ("open", "high", "low", "close")
    half = changed(BARS, **{name: BARS[name].to_numpy() / 2.0 for name in names})
    with pytest.raises(BarsError, match=r"A1 closes at .* in one source and at"):
        prove_overlap(stored_until(day(LAST))(["A1"]), stored_until(day(LAST), half)(["A1"]))


def test_too_short_a_past_is_no_proof() -> None:
    """With 59 stored sessions nobody takes over."""
    since = pc.greater_equal(BARS["session"], day(LAST - 59))
    stored = stored_until(day(LAST), BARS.filter(since))
    joined = join(Stub("yahoo", lacks=["A1"]), Stub("tiingo"), stored).fetch_parsed(TODAY)
    assert "A1 has 59 sessions in both sources" in joined.missing["A1"]
    assert joined.switches == ()


def test_what_is_stored_is_not_told_again() -> None:
    """Of a trailing window the new provider gives only what comes after the stored bars."""
    window = replace(TODAY, sessions=tuple(day(number) for number in range(LAST - 5, LAST + 1)))
    joined = join(Stub("yahoo", lacks=["A1"]), Stub("tiingo")).fetch_parsed(window)
    assert [*closes(joined.table, "A1")] == [day(LAST)]
    assert len(closes(joined.table, "A0")) == 6


def test_a_series_may_begin_with_the_secondary() -> None:
    """Where nothing is stored there is nothing to agree with; the beginning is told."""
    joined = join(Stub("yahoo", lacks=["A3"]), Stub("tiingo"), lambda _: BARS.slice(0, 0))
    (switch,) = joined.fetch_parsed(TODAY).switches
    assert switch == Switch("A3", "", "tiingo", day(LAST), None)


def test_a_taken_over_series_goes_back_when_the_primary_proves_itself() -> None:
    """The way back is a switch of the same kind; the secondary is not asked any more."""
    secondary = Stub("tiingo")
    joined = join(Stub("yahoo"), secondary, None, AWAY).fetch_parsed(TODAY)
    (switch,) = joined.switches
    assert (switch.before, switch.after, switch.session) == ("tiingo", "yahoo", day(LAST))
    assert joined.sources["A1"] == "yahoo said"
    assert secondary.asked == []


def test_a_taken_over_series_stays_while_the_primary_lacks_it() -> None:
    """No new switch, and nothing from before the old one."""
    window = replace(TODAY, sessions=tuple(day(number) for number in range(LAST - 5, LAST + 1)))
    feed = join(Stub("yahoo", lacks=["A1"]), Stub("tiingo"), None, AWAY)
    joined = feed.fetch_parsed(window)
    assert (joined.switches, joined.missing) == ((), {})
    assert [*closes(joined.table, "A1")] == [day(95), day(96), day(97)]


def test_a_session_that_is_stored_is_nobody_elses() -> None:
    """Where nothing new is asked for the other provider is not asked, in either direction."""
    request = replace(TODAY, sessions=(day(LAST - 1),))
    primary, secondary = Stub("yahoo", lacks=["A2"]), Stub("tiingo")
    joined = join(primary, secondary, None, AWAY).fetch_parsed(request)
    assert [each.assets for each in primary.asked] == [("A0", "A2", "A3")]
    assert [each.assets for each in secondary.asked] == [("A1",)]
    assert joined.providers == {"A0": "yahoo", "A1": "tiingo", "A3": "yahoo"}
    assert joined.missing["A2"].startswith("timeout: no answer; tiingo: empty: no bar of a session")


def test_a_series_that_is_back_has_its_first_providers_past_again() -> None:
    """Of a series that was away from 80 to 89 the primary tells what came before and after."""
    away = (replace(AWAY, session=day(80)), Switch("A1", "tiingo", "yahoo", day(90), None))
    window = replace(TODAY, sessions=tuple(day(number) for number in range(78, 92)))
    joined = join(Stub("yahoo"), Stub("tiingo"), None, *away).fetch_parsed(window)
    told = [day(number) for number in (78, 79, 90, 91)]
    assert [*closes(joined.table, "A1")] == told


def test_a_secondary_that_fails_its_own_series_is_an_error() -> None:
    """A1 and A2 are its own: one of four may be lost, two may not."""
    secondary = Stub("tiingo", error=FeedError("tiingo is down", retryable=True))
    primary = Stub("yahoo", lacks=["A1", "A2"])
    with pytest.raises(FeedError, match="tiingo is down; 2 of 4 assets"):
        join(primary, secondary, None, AWAY, replace(AWAY, asset="A2")).fetch_parsed(TODAY)


def test_a_factor_that_one_session_does_not_tell_is_asked_for_with_the_one_before() -> None:
    """A snapshot without a factor is no reason to leave the primary: its history may have it."""

    class Snapshot(Stub):
        def fetch_parsed(self, request: Request) -> Parsed:
            lone = len(request.sessions) == 1
            self.lacks = ["A1"] if lone else []
            parsed = super().fetch_parsed(request)
            return replace(parsed, missing=dict.fromkeys(self.lacks, "adjustment undetermined"))

    primary, secondary = Snapshot("akshare"), Stub("baostock")
    joined = join(primary, secondary).fetch_parsed(replace(TODAY, sessions=(day(LAST),)))
    assert (joined.missing, joined.switches, secondary.asked) == ({}, (), [])
    assert primary.asked[-1].sessions == (day(LAST - 1), day(LAST))
    assert joined.table.num_rows == len(ALL)


def test_the_secondary_fills_in_for_a_primary_that_is_down() -> None:
    """Every asset is taken over, and the failure is a warning."""
    joined = join(Stub("yahoo", error=down()), Stub("tiingo")).fetch_parsed(TODAY)
    assert joined.missing == {}
    assert [switch.asset for switch in joined.switches] == [*ALL]
    assert joined.warnings[0] == "yahoo: yahoo is down"


def test_a_primary_that_is_down_is_asked_once() -> None:
    """Its failure counts for the series that could go back to it as well; they stay."""
    primary = Stub("yahoo", error=down())
    joined = join(primary, Stub("tiingo"), None, AWAY).fetch_parsed(TODAY)
    assert len(primary.asked) == 1
    assert [switch.asset for switch in joined.switches] == ["A0", "A2", "A3"]
    assert joined.missing == {}


@pytest.mark.parametrize(
    "secondary", [Stub("tiingo", error=FeedError("tiingo too")), Stub("tiingo", lacks=["A1", "A2"])]
)
def test_past_the_budget_the_error_is_the_primarys(secondary: Stub) -> None:
    """A secondary that is down too, or leaves more than one asset of four, is no way out."""
    with pytest.raises(FeedError, match=r"yahoo is down; \d of 4 assets of us") as caught:
        join(Stub("yahoo", error=down()), secondary).fetch_parsed(TODAY)
    assert caught.value.retryable
    assert caught.value.hint == "wait"


def test_a_secondary_that_is_down_costs_nothing() -> None:
    """The primary's bars stand; what it lacks stays missing, with both reasons."""
    secondary = Stub("tiingo", error=FeedError("no key"))
    joined = join(Stub("yahoo", lacks=["A1"]), secondary).fetch_parsed(TODAY)
    assert joined.missing == {"A1": "timeout: no answer; tiingo: failed: no key"}
    assert joined.table.num_rows == 2 * 3
    assert joined.warnings == ("tiingo: no key",)


def test_all_assets_means_those_of_the_universe() -> None:
    """Without names the universe is asked; without one nobody knows."""
    primary = Stub("yahoo")
    feed = FallbackFeed(
        primary,
        Stub("tiingo"),
        stored=stored_until(day(LAST)),
        switched=dict,
        universe=lambda _: ("A0", "A2"),
    )
    feed.fetch(replace(TODAY, assets=None))
    assert primary.asked[0].assets == ("A0", "A2")
    with pytest.raises(FeedError, match="no asset is known"):
        join(primary, Stub("tiingo")).fetch(replace(TODAY, assets=None))


CALENDAR = MarketCalendar("XNYS", Overlay())
EVENING = datetime(2023, 12, 29, 23, tzinfo=UTC)


@cache
def book() -> MarketBook:
    return MarketBook.synthetic("us", 8, date(2023, 1, 3), date(2023, 12, 29))


def behind(primary: Any, kind: str, **changes: Any) -> FallbackFeed:
    given: dict[str, Any] = {
        "clock": ReplayClock(EVENING),
        "finality": lambda session: CALENDAR.finality(session, 90),
        "start": book().days[0],
        "stored": stored_until(book().days[-2], book().bars),
        "switched": dict,
        "limits": Limits(memory_mb=1024),
        "pace_seconds": 0.001,
    }
    return open_fallback(kind, primary, **(given | changes))


@needs_tiingo
def test_tiingo_goes_on_where_yahoo_is_limited() -> None:
    """Both real clients: Yahoo says 429, and the two sessions come from Tiingo, as traded."""
    with StandIn(book(), EVENING) as standin:
        yahoo = ProviderFeed(
            YahooProvider(lambda session: CALENDAR.finality(session, 90)),
            clock=ReplayClock(EVENING),
            start=book().days[0],
            limits=Limits(memory_mb=1024),
            environment=standin.environment,
        )
        feed = behind(yahoo, "tiingo", api_key="secret", environment=standin.environment)
        standin.faults["429"] = ("query1.finance.yahoo.com", "query2.finance.yahoo.com")
        joined = feed.fetch_parsed(Request("us", book().days[-2:], book().assets))
    there = sorted(set(joined.table["asset"].to_pylist()))
    assert {each.after for each in joined.switches} == {"tiingo"}
    assert [each.asset for each in joined.switches] == there
    wanted = book().bars.filter(pc.greater_equal(book().bars["session"], book().days[-2]))
    for name in ("session", "asset"):
        assert joined.table[name].equals(wanted[name])
    np.testing.assert_allclose(joined.table["close"], wanted["close"], rtol=1e-12)
    assert "secret" not in repr(joined.warnings)


@pytest.mark.parametrize(
    ("primary", "kind"), [("yahoo", "baostock"), ("akshare", "tiingo"), ("yahoo", "stooq")]
)
def test_a_fallback_stands_behind_its_own_market(primary: str, kind: str) -> None:
    """Tiingo behind Yahoo, baostock behind akshare, and nothing else."""
    with pytest.raises(ConfigError, match=f"{kind} cannot stand behind {primary}"):
        behind(Stub(primary), kind)


@needs_tiingo
def test_tiingo_without_a_key_is_refused_before_the_start() -> None:
    """The name of the setting is told; with a key nothing is said."""
    check_fallback("tiingo", "us", "secret")
    with pytest.raises(ConfigError) as caught:
        check_fallback("tiingo", "us", None)
    assert "ALPHAD_MARKETS__US__FEED__API_KEY" in caught.value.hint


@pytest.mark.skipif(find_spec("tiingo") is not None, reason="the extra `tiingo` is installed")
def test_a_fallback_that_is_not_installed_says_which_extra_it_is() -> None:
    """The way out is a command."""
    with pytest.raises(ConfigError) as caught:
        check_fallback("tiingo", "us", "secret")
    assert "pip install 'alphad[tiingo]'" in caught.value.hint
