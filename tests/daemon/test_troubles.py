"""What goes wrong in a long life: inputs that change, feeds that repeat, disks that refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon.context import open_context
from daemon.feeds.protocol import Request
from daemon.life import cooldown
from daemon.recovery import recover
from daemon.settings import MarketSettings
from daemon.stages import ingest, observe, publish
from daemon.stages.book import load_factors
from daemon.stages.stage import begin
from signals.blend import blend
from signals.errors import ConfigError, StorageError
from signals.publication import render
from storage import alerts, history, ledger
from storage.publishing import previous, publications
from storage.tables import FactorState
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, TroubledFeed, living, names
from tests.daemon.test_reconcile import published, reconciler
from tests.daemon.test_stages import detail, live_on, manifest


class StuckFeed(TroubledFeed):
    """A feed that says of every session what it said of `stuck`, once that has come."""

    stuck = SESSIONS[FIRST]

    def fetch(self, request: Request) -> Any:
        """Return the bars of the session it is stuck at, under the names of those asked for."""
        if max(request.sessions) <= self.stuck:
            return super().fetch(request)
        table = super().fetch(replace(request, sessions=(self.stuck,)))
        day: date = max(request.sessions)
        days = pa.repeat(pa.scalar(day, pa.date32()), table.num_rows)
        return table.set_column(0, "session", days)


def test_stale_feed_degrades_and_is_not_judged(tmp_path: Path) -> None:
    """Bars that repeat those of the session before are published as degraded and leave no IC."""
    with living(tmp_path, StuckFeed()) as alive:
        live_on(alive, FIRST + 2)
        assert manifest(alive, FIRST)["status"] == "final"
        found = manifest(alive, FIRST + 2)
        assert found["status"] == "degraded"
        assert found["reasons"] == ["100% of the bars repeat those of the session before"]
        with alive.context.database.read() as conn:
            series = history.ics(conn, MARKET, "reversal", SESSIONS[FIRST - 1])
        assert not np.isfinite(series.rank_ic).any()


def test_constituents_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    """A rewritten membership file counts from the next session on, without a restart."""
    file = tmp_path / "members.csv"

    def write(first: int, stop: int) -> None:
        rows = [f"SIM{number:04d},2020-01-01," for number in range(first, stop)]
        file.write_text("\n".join(["asset,start_date,end_date", *rows]) + "\n")

    write(0, 30)
    with living(tmp_path / "small") as undated:
        settings = undated.market.settings.model_copy(update={"membership": file})
        alive = undated.changed(replace(undated.market, settings=settings))
        live_on(alive, FIRST)
        write(5, 40)
        live_on(alive, FIRST + 1)
        assert [manifest(alive, FIRST + n)["universe"]["n"] for n in (0, 1)] == [30, 35]
        shas = {detail(alive, FIRST + n, "ingest")["membership_sha256"] for n in (0, 1)}
    assert len(shas) == 2


def test_pointer_that_could_not_be_written_is_written_with_the_next_tick(tmp_path: Path) -> None:
    """A refused pointer is alerted and made good, though its session is already published."""
    with living(tmp_path) as alive:
        loop = reconciler(alive)
        pointer = alive.context.publisher.root / MARKET / "v1" / "latest.json"
        pointer.mkdir(parents=True)
        (pointer / "in-the-way").touch()
        loop.tick(alive.market)
        with alive.context.database.read() as conn:
            [alert] = alerts.open_alerts(conn, MARKET)
            run = ledger.latest(conn, MARKET, SESSIONS[FIRST], "publish")
        assert (alert.key, "latest.json" in alert.message) == ("stage-failed", True)
        assert run is not None
        assert run.status == "succeeded"
        (pointer / "in-the-way").unlink()
        pointer.rmdir()
        loop.tick(alive.market)
        assert pointer.is_file()
        with alive.context.database.read() as conn:
            assert names(alerts.open_alerts(conn, MARKET)) == []


def test_renamed_folder_counts_though_time_has_passed(tmp_path: Path) -> None:
    """A folder whose marking failed is adopted by the next attempt, not composed anew."""

    def refuse(*_: Any) -> None:
        raise StorageError("the database is locked", retryable=True)

    with living(tmp_path) as alive:
        context, market, session = alive.context, alive.market, SESSIONS[FIRST]
        ingest.run(context, market, session)
        observe.run(context, market, session)
        run = begin(context, market, session, "publish", "earlier attempt")
        with context.database.transaction() as conn:
            held = context.publisher.reserve(
                conn, MARKET, session, run.revision, context.clock.now()
            )
            before = previous(conn, MARKET)
        with context.database.read() as conn:
            everyone = load_factors(conn, market, (FactorState.LIVE, FactorState.CANDIDATE))
        book = publish.choose_book(everyone, market)
        made = publish.compose(context, market, session, book, held, {}, before)
        with pytest.raises(StorageError):
            context.publisher.publish(held, render(made), now=context.clock.now(), mark=refuse)
        alive.clock.advance(timedelta(minutes=1))
        publish.run(context, market, session)
        with context.database.read() as conn:
            [row] = publications(conn, MARKET)
        assert (row.status, published(alive)) == ("published", [session.isoformat()])
        assert manifest(alive, FIRST)["generated_at"] < row.published_at.isoformat()  # type: ignore[union-attr]


def test_another_label_is_refused(tmp_path: Path) -> None:
    """ICs of one label are not gone on with under another."""
    with living(tmp_path) as alive:
        live_on(alive, FIRST)
        settings = alive.context.settings
    tables = settings.markets[MARKET].model_copy(
        update={"label": settings.markets[MARKET].label.model_copy(update={"horizon": 5})}
    )
    other = settings.model_copy(update={"markets": {MARKET: tables}})
    with (
        open_context(other, alive.clock) as context,
        pytest.raises(ConfigError, match="horizon 5; the stored ICs are of lag 1, horizon 1"),
    ):
        recover(context)


def test_book_that_dies_as_a_whole_keeps_its_verdicts() -> None:
    """Without a positive mean IC the weights are those of the verdicts, and the blend says so."""
    row = np.arange(40.0)[None, :].repeat(3, axis=0)
    found = blend(
        row,
        mean_ic=np.full(3, -0.01),
        ic_se=np.full(3, 0.01),
        correlation=np.eye(3),
        multiplier=np.array([1.0, 0.5, 0.1]),
    )
    assert found.fallback
    assert found.weights.tolist() == pytest.approx([1 / 1.6, 0.5 / 1.6, 0.1 / 1.6])


def test_fruitless_search_waits_for_new_sessions_to_validate_on() -> None:
    """After one that accepted nothing half of the window; after one that broke off, five."""
    settings = MarketSettings.model_validate({"mining": {"valid_sessions": 250}})
    assert cooldown({"tried": 9, "accepted": ["RANK($close)"]}, settings) == 42
    assert cooldown({"tried": 9, "accepted": []}, settings) == 125
    for broken_off in (None, {"why": "no dask scheduler answers"}):
        assert cooldown(broken_off, settings) == 5


def test_alert_names_what_is_true_now(tmp_path: Path) -> None:
    """A cause that changes changes the open alert."""
    feed = TroubledFeed()
    with living(tmp_path, feed) as alive:
        loop = reconciler(alive)
        feed.silent.add(SESSIONS[FIRST])
        loop.tick(alive.market)
        feed.silent.clear()
        feed.absent[SESSIONS[FIRST]] = 35
        loop.tick(alive.market)
        assert "5 assets" in open_message(alive)


def open_message(alive: Living) -> str:
    with alive.context.database.read() as conn:
        [alert] = alerts.open_alerts(conn, MARKET)
    return alert.message
