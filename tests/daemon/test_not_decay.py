"""What is a fault of the data, or of all factors together, is not taken for a factor's decay."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from daemon.feeds.protocol import Request
from daemon.market_wide import traded_share
from daemon.settings import IngestSettings
from daemon.stages.ingest import data_fault
from daemon.stages.measure import holes
from signals.decay import Verdict
from signals.watch import Watch
from storage import alerts, history, registry
from storage.history import ICSeries
from tests.daemon.small import DYING, FIRST, MARKET, SESSIONS, TroubledFeed, living, names
from tests.daemon.test_judgement import STORM
from tests.daemon.test_operator import monitor
from tests.daemon.test_stages import live_on, manifest

#: Sessions whose bars are spoilt.
SPOILT = SESSIONS[FIRST + 2 : FIRST + 5]


class SpoiltFeed(TroubledFeed):
    """A feed some of whose sessions are spoilt."""

    def fetch(self, request: Request) -> Any:
        """Return the bars, spoilt where they are to be."""
        table = super().fetch(request)
        bad = pc.is_in(table["session"], value_set=pa.array(SPOILT, pa.date32()))
        return self.spoil(table, np.asarray(bad.to_pylist(), dtype=bool))

    def spoil(self, table: Any, bad: Any) -> Any:
        """Return the table with the bad rows spoilt."""
        raise NotImplementedError


class HollowFeed(SpoiltFeed):
    """Half of the assets are not delivered."""

    def spoil(self, table: Any, bad: Any) -> Any:
        """Drop every other bad row."""
        return table.filter(pa.array(~bad | (np.cumsum(bad) % 2 == 0)))


class HolidayFeed(SpoiltFeed):
    """The exchange was closed, and the feed delivers quotes without trade."""

    def spoil(self, table: Any, bad: Any) -> Any:
        """Set every price of a bad row to its close, the volume to nothing."""
        close = table["close"].to_numpy()
        columns = {name: np.where(bad, close, table[name].to_numpy()) for name in PRICES}
        columns["volume"] = np.where(bad, 0.0, table["volume"].to_numpy())
        for name, values in columns.items():
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
        return table


PRICES = ("open", "high", "low")


@pytest.mark.parametrize(
    ("feed", "reason"),
    [
        (HollowFeed(), "coverage 0.500 below 0.980"),
        (HolidayFeed(), "only 0% of the bars traded: was the exchange closed?"),
    ],
)
def test_spoilt_sessions_suspend_judgement(tmp_path: Path, feed: SpoiltFeed, reason: str) -> None:
    """Verdict `suspended` with the reason, no evidence moved, no IC kept; judged again after."""
    with living(tmp_path, feed) as alive:
        live_on(alive, FIRST + 1)
        before = monitor(alive, "reversal", FIRST + 1)
        live_on(alive, FIRST + 4)
        during = monitor(alive, "reversal", FIRST + 4)
        assert manifest(alive, FIRST + 4)["status"] == "degraded"
        live_on(alive, FIRST + 8)
        after = monitor(alive, "reversal", FIRST + 8)
        with alive.context.database.read() as conn:
            seen = history.ics(conn, MARKET, "reversal", SESSIONS[FIRST], SPOILT[-1])
            freed = history.monitored_ics(conn, MARKET, "reversal", SESSIONS[FIRST], SPOILT[-1])
            said = [e.to_verdict for e in history.verdict_events(conn, MARKET, "reversal")]
    assert before.verdict is Verdict.HEALTHY
    assert (during.verdict, during.reason) == (Verdict.SUSPENDED, reason)
    assert numbers(during) == numbers(before)
    assert after.verdict is Verdict.HEALTHY
    assert after.monitored.n == before.monitored.n + 2
    assert said == ["suspended", "healthy"]
    assert not np.isfinite(seen.rank_ic).any()
    assert len(freed.rank_ic) == 0


def numbers(watch: Watch) -> tuple[float, ...]:
    return (watch.monitored.evidence, watch.raw.evidence, watch.monitored.n, watch.raw.n)


def test_a_restated_history_suspends_judgement() -> None:
    """When the history of many assets was corrected, what it says now is not judged by."""
    settings = IngestSettings()
    assert data_fault({"coverage": 1.0, "restated": 0.04}, settings) is None
    fault = data_fault({"coverage": 1.0, "restated": 0.2}, settings)
    assert fault == "the history of 20% of the assets was corrected"


def test_half_of_the_usual_volume_suspends_judgement() -> None:
    """Bars of an unfinished session are not judged by, however often they are told."""
    settings = IngestSettings()
    assert data_fault({"coverage": 1.0, "volume": 0.6, "half_day": False}, settings) is None
    assert data_fault({"coverage": 1.0, "volume": 0.3, "half_day": True}, settings) is None
    fault = data_fault({"coverage": 1.0, "volume": 0.3, "half_day": False}, settings)
    assert fault == "volumes are 30% of the usual: are these bars of a whole session?"


def test_suspended_assets_do_not_make_a_holiday() -> None:
    """The share that traded is of the bars that could; without any there is none."""
    bars = pa.table({"volume": [0.0, 10.0, 0.0], "suspended": [True, False, False]})
    assert traded_share(bars) == 0.5
    assert traded_share(bars.slice(0, 1)) is None


def test_a_hole_in_what_one_factor_reads_is_its_own() -> None:
    """Half of its usual cross-section lost: only that factor is not judged."""
    days = np.arange("2020-01-01", "2020-02-10", dtype="datetime64[D]")
    ranks = np.zeros(len(days))
    usual = ICSeries(days, ranks, ranks, np.full(len(days), 400))
    row = (date(2020, 2, 10), 0.01, 0.01, 199)
    new = {"hollow": [row], "whole": [(*row[:3], 210)], "new": [row]}
    found = holes(new, {"hollow": usual, "whole": usual})
    assert found == {"hollow": "199 assets have a value and a label, usually 400"}


def test_a_book_that_dies_together_is_told_as_that(tmp_path: Path) -> None:
    """An alert says that all weaken, and how many of them have decayed by themselves."""
    with living(tmp_path, TroubledFeed(DYING), book={"cooldown_sessions": 60}) as alive:
        (tmp_path / "book.toml").write_text(STORM)
        live_on(alive, FIRST + 38)
        with alive.context.database.read() as conn:
            raised = [a for a in alerts.alerts(conn, MARKET) if a.key == "book-weakening"]
            curve = history.book_curve(conn, MARKET)
            last = history.last_book_state(conn, MARKET)
            seeds = [f.id for f in registry.factors(conn, MARKET, ["live"])]
        ends = [monitor(alive, name, FIRST + 38) for name in seeds]
    assert len(raised) == 1
    assert "All together" in raised[0].message
    assert "weakening" in curve.verdicts
    assert last is not None
    assert last.verdict == "weakening"
    assert last.state["told"]["decayed"] == sum(m.standing is Verdict.DECAYED for m in ends)


def test_a_steady_book_raises_no_alarm(tmp_path: Path) -> None:
    """Factors that keep earning are no regime; the state goes on from session to session."""
    with living(tmp_path, TroubledFeed(), book={"cooldown_sessions": 60}) as alive:
        (tmp_path / "book.toml").write_text(STORM)
        live_on(alive, FIRST + 20)
        with alive.context.database.read() as conn:
            curve = history.book_curve(conn, MARKET)
            opened = names(alerts.open_alerts(conn, MARKET))
    assert len(curve.sessions) >= 18
    assert set(curve.verdicts) == {"healthy"}
    assert "book-weakening" not in opened
