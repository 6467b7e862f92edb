"""A live market from its first start on: stand-ins, real clients in their child, a passed clock."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from daemon import data_inspection
from daemon.backfill import backfill, ever_members, history_span, missing_spans
from daemon.members import find_members
from signals.errors import FeedError
from storage import data, membership
from tests.daemon.live import LiveMarket, live_market, small_book

#: exchange_calendars' own calls into pandas 3, which the stand-in makes, are deprecated (4.13.2).
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
#: The session a market is started at.
FIRST = 150


def stored(alive: LiveMarket, as_of: datetime | None = None) -> Any:
    """Return the bars as traded that were known."""
    days = alive.book.days
    when = as_of or alive.clock.now()
    return alive.context.bars.bars(alive.name, as_of=when, first=days[0], last=days[-1])


def true_bars(alive: LiveMarket, table: Any) -> Any:
    """Return what a perfect feed would have told for the rows of a table."""
    both = table.select(["session", "asset"])
    return both.join(alive.book.bars, ["session", "asset"]).sort_by(
        [("session", "ascending"), ("asset", "ascending")]
    )


def adjusted_close(alive: LiveMarket, asset: str, as_of: datetime) -> Any:
    """Return an asset's adjusted closes as they were known."""
    last = alive.book.days[-1]
    panel = alive.context.bars.panel(alive.name, as_of=as_of, last_session=last)
    return np.array(panel.fields["close"][:, panel.assets.index(asset)])


@pytest.mark.parametrize("market", ["us", "cn"])
class TestFirstStart:
    def test_members_history_session(self, tmp_path: Path, market: str) -> None:
        """The first start fetches members, their histories and the session, and publishes it."""
        with live_market(tmp_path, small_book(market), FIRST) as alive:
            alive.tick()
            assert alive.alerts() == {}
            assert [kind for _, _, kind in alive.statuses()] == ["provisional"]
            assert {v.cause for v in alive.vintages()} == {"backfill", "session"}
            assert all(v.reconstructed for v in alive.vintages("backfill"))
            assert "survivorship bias" in alive.facts()["survivorship"]
            table = stored(alive)
            told, true = table.filter(pc.invert(table["suspended"])), None
            true = true_bars(alive, told)
            for name in ("open", "high", "low", "close"):
                assert np.allclose(told[name], true[name], rtol=2e-7, atol=0)
            with alive.context.database.read() as conn:
                members = membership.load(conn, alive.name)
            assert members.members(alive.session(FIRST)) == alive.book.members(alive.session(FIRST))

    def test_second_fetch_makes_it_final(self, tmp_path: Path, market: str) -> None:
        """Half an hour later a fetch that agrees is a revision of ingestion, and of publication."""
        with live_market(tmp_path, small_book(market), FIRST) as alive:
            alive.tick()
            alive.later(minutes=29)
            alive.tick()
            assert len(alive.statuses()) == 1
            alive.later(minutes=2)
            alive.tick()
            day = str(alive.session(FIRST))
            assert alive.statuses() == [(day, 0, "provisional"), (day, 1, alive.statuses()[-1][2])]
            assert alive.statuses()[-1][2] != "provisional"
            assert (alive.facts()["confirmed"], alive.facts()["fetches"]) == (True, 2)
            alive.later(minutes=40)
            alive.tick()
            assert len(alive.statuses()) == 2


def test_final_in_manifest_and_pointer(tmp_path: Path) -> None:
    """The pointer goes from the provisional publication to the final one of the same session."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        home = tmp_path / "published" / "us" / "v1"
        alive.tick()
        first = json.loads((home / "latest.json").read_text())
        alive.later(minutes=31)
        alive.tick()
        second = json.loads((home / "latest.json").read_text())
        record = alive.publications()[-1]
        manifest = json.loads((home / record.path / "manifest.json").read_text())
    assert (first["status"], second["status"]) == ("provisional", "final")
    assert second["publish_id"] > first["publish_id"]
    assert manifest["data"]["provider"] == "yahoo"
    assert manifest["data"]["confirmed"] is True
    assert manifest["data"]["restated"] == 0.0


def test_ten_sessions(tmp_path: Path) -> None:
    """Ten sessions are published twice each, provisional then final, with what the book has."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        for number in range(FIRST, FIRST + 10):
            alive.lived(number)
        statuses = alive.statuses()
        assert [kind for _, _, kind in statuses[::2]] == ["provisional"] * 10
        assert all(kind in ("final", "degraded") for _, _, kind in statuses[1::2])
        assert all(v.cause in ("session", "backfill", "split") for v in alive.vintages())
        table = stored(alive)
        true = true_bars(alive, table)
        for name, bound in (("close", 2e-7), ("adjustment", 2e-6), ("split", 0.0)):
            assert np.allclose(table[name], true[name], rtol=bound, atol=0)


def test_split(tmp_path: Path) -> None:
    """A 4-for-1 split that restates all of Yahoo's closes is one vintage of one bar.

    Adjusted returns are those without it, and the past reads as it was known.
    """
    plain = small_book()
    asset = "AAC"
    day = plain.days[FIRST + 1]
    with live_market(tmp_path, plain, FIRST) as alive:
        alive.lived(FIRST)
        before = alive.clock.now()
        known = adjusted_close(alive, asset, before)
        alive.standin.book = plain.with_event(asset, day, split=4.0)
        alive.lived(FIRST + 1)
        (vintage,) = alive.vintages("split")
        assert (vintage.n_rows, vintage.first_session) == (1, day)
        assert alive.facts()["restated_bars"] == {}
        now = adjusted_close(alive, asset, alive.clock.now())
        assert np.array_equal(now[:-1], known, equal_nan=True)
        column = plain.columns[asset]
        close = plain.values["close"][FIRST : FIRST + 2, column]
        # the book rounds prices after the split to cents
        assert now[-1] / now[-2] == pytest.approx(close[1] / close[0], abs=0.02 / close[1])
        assert np.array_equal(adjusted_close(alive, asset, before), known, equal_nan=True)


def test_split_told_late(tmp_path: Path) -> None:
    """A split that its source tells a day late is held, then taken with its event."""
    plain = small_book()
    asset, day = "AAC", plain.days[FIRST + 1]
    split = plain.with_event(asset, day, split=4.0)
    column, row = plain.columns[asset], FIRST + 1
    untold = split.split.copy()
    untold[row, column] = 1.0
    with live_market(tmp_path, plain, FIRST) as alive:
        alive.lived(FIRST)
        alive.standin.book = replace(split, split=untold)
        alive.lived(FIRST + 1)
        assert asset in {name for _, name, _ in alive.verdicts("quarantine")}
        table = stored(alive)
        rows = table.filter(pc.equal(table["asset"], asset))
        assert rows["session"].to_pylist()[-1] < day
        alive.standin.book = split
        alive.lived(FIRST + 2)
        closes = adjusted_close(alive, asset, alive.clock.now())
        assert np.isfinite(closes[-3:]).all()
        assert np.abs(np.diff(np.log(closes[-3:]))).max() < 0.3
        assert alive.facts()["restated_bars"] == {"correction": 1}


def test_correction(tmp_path: Path) -> None:
    """A bar that is told otherwise later is one vintage of its own; the past stays as it was."""
    book = small_book()
    asset, day = "AAD", book.days[FIRST]
    with live_market(tmp_path, book, FIRST) as alive:
        alive.lived(FIRST)
        before = alive.clock.now()
        close = book.values["close"][FIRST, book.columns[asset]]
        alive.standin.book = book.with_value(asset, day, "volume", 123456.0)
        alive.until(FIRST + 1)
        alive.tick()
        (vintage,) = alive.vintages("correction")
        assert (vintage.n_rows, vintage.reconstructed) == (1, False)
        assert alive.facts()["restated_bars"] == {"correction": 1}
        assert alive.facts()["restated"] == pytest.approx(1 / 39, abs=0.01)
        found = data_inspection.data_diff(
            alive.context, alive.market, before, alive.clock.now(), None, day
        )
        assert found.counts == {"correction": 1}
        assert found.rows[0]["asset"] == asset
        assert found.rows[0]["volume"][1] == 123456.0
        assert np.isfinite(close)


def test_second_fetch_differs(tmp_path: Path) -> None:
    """Where the second fetch differs the session stays provisional until two agree."""
    book = small_book()
    with live_market(tmp_path, book, FIRST) as alive:
        alive.tick()
        alive.standin.book = book.with_value("AAD", book.days[FIRST], "volume", 123456.0)
        alive.later(minutes=31)
        alive.tick()
        assert [kind for _, _, kind in alive.statuses()] == ["provisional", "provisional"]
        assert alive.facts()["differed"] == 1
        assert len(alive.vintages("correction")) == 1
        alive.later(minutes=31)
        alive.tick()
        assert [kind for _, _, kind in alive.statuses()][-1] == "final"


def test_never_confirmed(tmp_path: Path) -> None:
    """A session whose fetches differ until the next one is due stays provisional, with an alert."""
    book = small_book()
    with live_market(tmp_path, book, FIRST) as alive:
        alive.tick()
        alive.standin.book = book.with_value("AAD", book.days[FIRST], "volume", 123456.0)
        alive.later(minutes=31)
        alive.tick()
        alive.until(FIRST + 1)
        alive.tick()
        assert "two fetches never agreed" in alive.alerts()["unconfirmed"]
        day = str(alive.session(FIRST))
        assert {kind for session, _, kind in alive.statuses() if session == day} == {"provisional"}
        alive.later(minutes=31)
        alive.tick()
        alive.tick()
        assert "unconfirmed" not in alive.alerts()


def test_catching_up(tmp_path: Path) -> None:
    """After downtime the missed confirmation is made once, older sessions are final at once."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.tick()
        alive.until(FIRST + 2)
        alive.tick()
        days = [str(alive.session(number)) for number in range(FIRST, FIRST + 3)]
        kinds = [(day, revision, kind == "provisional") for day, revision, kind in alive.statuses()]
    assert kinds == [
        (days[0], 0, True), (days[0], 1, False), (days[1], 0, False), (days[2], 0, True),
    ]  # fmt: skip


def test_stale_feed(tmp_path: Path) -> None:
    """A source that tells yesterday's bars again is refused, kept on record and asked again."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.lived(FIRST)
        alive.standin.faults["stale"] = "*"
        alive.until(FIRST + 1)
        alive.tick()
        assert alive.statuses()[-1][0] == str(alive.session(FIRST))
        assert "repeat those of the session before" in alive.alerts()["stage-failed"]
        assert [outcome for outcome, _, _ in alive.verdicts("reject")] == ["reject"]
        asked = len(alive.standin.log)
        alive.later(seconds=30)
        alive.tick()
        assert len(alive.standin.log) == asked
        assert "stage-failed" in alive.alerts()
        alive.standin.faults.clear()
        alive.later(minutes=2)
        alive.tick()
        assert alive.statuses()[-1][0] == str(alive.session(FIRST + 1))
        assert alive.alerts() == {}


def test_rate_limit(tmp_path: Path) -> None:
    """One rate limit opens the breaker; nothing is asked until it closes, then all is caught up."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.lived(FIRST)
        alive.standin.faults["429"] = "*"
        alive.until(FIRST + 1)
        alive.tick()
        assert "limited" in alive.alerts()["stage-failed"]
        alive.standin.faults.clear()
        alive.later(minutes=10)
        alive.tick()
        assert "is not asked before" in alive.alerts()["stage-failed"]
        alive.until(FIRST + 2)
        alive.tick()
        assert "stage-failed" not in alive.alerts()
        assert [s for s, revision, _ in alive.statuses() if not revision] == [
            str(alive.session(number)) for number in range(FIRST, FIRST + 3)
        ]


def test_late_feed(tmp_path: Path) -> None:
    """A session without its bars three hours after its finality is an alert of its own."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.lived(FIRST)
        alive.standin.faults["500"] = "*"
        alive.until(FIRST + 1)
        alive.tick()
        assert "feed-late" not in alive.alerts()
        alive.later(hours=3)
        alive.tick()
        assert "lacks its bars since 3:00:00" in alive.alerts()["feed-late"]
        alive.standin.faults.clear()
        alive.later(hours=1)
        alive.tick()
        assert alive.alerts() == {}


def test_backfill_resumes(tmp_path: Path) -> None:
    """A first start that is broken off asks only for the chunks it lacks."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.standin.faults["500"] = [f"AB{letter}" for letter in "ABCDEFGHIJKLMN"]
        alive.tick()
        assert len(alive.vintages("backfill")) == 1
        assert alive.statuses() == []
        first = alive.vintages("backfill")[0].number
        alive.standin.faults.clear()
        alive.standin.log.clear()
        alive.later(minutes=5)
        alive.tick()
        assert [v.number for v in alive.vintages("backfill")] == [first, first + 1]
        assert len(alive.statuses()) == 1


def test_backfill_of_an_earlier_start(tmp_path: Path) -> None:
    """A backfill asks for what its marks lack: nothing at all the second time."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        span = history_span(alive.market, alive.session(FIRST - 1))
        assert span is not None
        members = find_members(alive.context, alive.market, alive.session(FIRST))
        assets = ever_members(members.spells, span)
        found = backfill(
            alive.context, alive.market, missing_spans({}, assets, span, alive.market)
        )
        assert (found.assets, found.left) == (len(assets), {})
        with alive.context.database.read() as conn:
            marks = data.marks(conn, alive.name)
        assert missing_spans(marks, assets, span, alive.market) == {}
        later = history_span(alive.market, alive.session(FIRST))
        assert later is not None
        lacking = missing_spans(marks, assets, later, alive.market)
        assert list(lacking) == [(alive.session(FIRST), alive.session(FIRST))]


def test_held_members(tmp_path: Path) -> None:
    """A mass change of the index is held with its digest, and made once it is confirmed."""
    with live_market(tmp_path, small_book("cn"), FIRST) as alive:
        alive.lived(FIRST)
        alive.standin.faults["mass_change"] = "*"
        alive.until(FIRST + 1)
        alive.tick()
        held = alive.alerts()["membership-held"]
        assert "alphad data confirm-members --market cn" in held
        day = alive.session(FIRST + 1)
        with alive.context.database.read() as conn:
            (change,) = data.held(conn, alive.name)
            assert membership.load(conn, alive.name).members(day) == alive.book.members(day)
        assert change.digest in held
        data_inspection.confirm_members(alive.context, alive.market, change.digest)
        alive.standin.now = alive.clock.now()
        following = alive.session(FIRST + 2)
        alive.until(FIRST + 2)
        found = find_members(alive.context, alive.market, following)
        assert found.changed
        assert set(change.joined) <= {spell.asset for spell in found.spells}


def test_list_that_fails(tmp_path: Path) -> None:
    """Without a list the first start is an error with a way out; a later one goes on without."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.standin.faults["500"] = "en.wikipedia.org"
        alive.tick()
        assert "membership" in alive.alerts()["stage-failed"]
        assert alive.statuses() == []
        alive.standin.faults.clear()
        alive.later(minutes=10)
        alive.tick()
        alive.standin.faults["500"] = "en.wikipedia.org"
        alive.until(FIRST + 1)
        alive.tick()
        assert alive.statuses()[-1][0] == str(alive.session(FIRST + 1))
        assert alive.facts()["membership_failures"] == 1


def test_missing_bars_come_late(tmp_path: Path) -> None:
    """Assets without a bar lower the coverage; what is told the next day is a correction."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.lived(FIRST)
        alive.standin.faults.switch("nan_bar", "AAE", "AAF", session=alive.session(FIRST + 1))
        alive.until(FIRST + 1)
        alive.tick()
        assert alive.facts()["coverage"] == pytest.approx(1 - 2 / 39, abs=0.01)
        alive.later(minutes=31)
        alive.tick()
        assert alive.statuses()[-1][2] == "provisional"
        alive.standin.faults.clear()
        alive.later(minutes=31)
        alive.tick()
        assert alive.facts()["differed"] == 2
        alive.later(minutes=31)
        alive.tick()
        assert alive.statuses()[-1][2] == "final"


def test_one_market_does_not_delay_another(tmp_path: Path) -> None:
    """A provider that hangs costs its own market a bounded time, and no other anything."""
    with (
        live_market(tmp_path / "us", small_book(), FIRST, feed={"request_seconds": 1.0}) as us,
        live_market(tmp_path / "cn", small_book("cn"), FIRST) as cn,
    ):
        us.standin.faults["hang"] = "query2.finance.yahoo.com"
        us.tick()
        cn.tick()
        assert us.statuses() == []
        assert [kind for _, _, kind in cn.statuses()] == ["provisional"]


def test_presumed_session_without_bars(tmp_path: Path) -> None:
    """Beyond the calendar a weekday without bars is held, with how to name the holiday."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.lived(FIRST)
        calendar = _Presuming(alive.market.calendar)
        market = replace(alive.market, calendar=calendar)  # type: ignore[arg-type]
        there = replace(alive, market=market)
        there.standin.faults.switch("missing_session", "*")
        there.until(FIRST + 1)
        there.tick()
        assert "`removed` of [XNYS]" in there.alerts()["stage-failed"]
        assert len(there.statuses()) == 2


class _Presuming:
    """A calendar that knows no session for certain."""

    def __init__(self, calendar: Any) -> None:
        self._calendar = calendar

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calendar, name)

    def is_provisional(self, session: Any) -> bool:
        return True


def test_horizon_alert(tmp_path: Path) -> None:
    """A calendar that ends within 45 days is an alert with what to do."""
    with live_market(tmp_path, small_book("cn"), FIRST) as alive:
        calendar = alive.market.calendar
        ending = datetime.combine(calendar.horizon, datetime.min.time(), UTC) - timedelta(days=30)
        with pytest.raises(FeedError):
            alive.market.feed.fetch_parsed  # noqa: B018
            raise FeedError("")
        alive.standin.faults["500"] = "*"
        alive.at(ending)
        alive.tick()
        assert "`confirmed` of [XSHG]" in alive.alerts()["calendar-horizon"]


def test_data_facts(tmp_path: Path) -> None:
    """`alphad data` tells coverage, vintages, rules and what is known of members and calendar."""
    with live_market(tmp_path, small_book(), FIRST) as alive:
        alive.lived(FIRST)
        found = data_inspection.data_facts(alive.context, alive.market)
    assert found.span == (str(small_book().days[0]), str(small_book().days[FIRST]))
    assert [year for year, _ in found.years] == ["2023"]
    assert found.recent[-1][1] == 1.0
    assert {row["cause"] for row in found.vintages} == {"backfill", "session"}
    assert "survivorship" in found.membership["note"]
    assert json.dumps(found.to_json(), default=str)
    assert data_inspection.picture(found.months)[0].startswith("2023 ")
