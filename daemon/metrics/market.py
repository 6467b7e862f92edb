"""Metrics of one market: what it may do, what is due, what is published, how its stages went."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.metrics.sheet import Sheet, midnight
from signals.errors import DataError
from signals.publication import Status
from storage import controls
from storage.tables import ControlState, StageRun
from storage.tallies import StageTally


def add_market(
    context: Context,
    conn: Connection,
    market: Market,
    stages: Mapping[str, StageTally],
    sheet: Sheet,
) -> None:
    """Write where a market stands."""
    name = market.name
    sheet.add_one_hot("market_control", ControlState, controls.state_of(conn, name), name)
    for stage, tally in stages.items():
        add_stage(name, stage, tally, sheet)
    published = stages["publish"].last_result if "publish" in stages else None
    if published is not None:
        sheet.add("publish_last_session_timestamp_seconds", midnight(published.session), name)
        if published.finished_at is not None:
            when = published.finished_at.timestamp()
            sheet.add("publish_last_success_timestamp_seconds", when, name)
        status = (published.detail or {}).get("status")
        sheet.add_one_hot("published_status", Status, status, name)
    add_calendar(context, market, published, sheet)


def add_calendar(
    context: Context, market: Market, published: StageRun | None, sheet: Sheet
) -> None:
    """Write what the calendar says; beyond its end only where it ends."""
    horizon = midnight(market.calendar.horizon)
    sheet.add("calendar_horizon_timestamp_seconds", horizon, market.name)
    try:
        due = market.calendar.last_final(
            context.clock.now(), market.settings.ingest.finality_minutes
        )
        late = market.calendar.sessions(published.session, due) if published else None
    except DataError:
        return
    sheet.add("session_due_timestamp_seconds", midnight(due), market.name)
    if late is not None:
        sheet.add("published_session_lag_sessions", max(len(late) - 1, 0), market.name)


def add_stage(name: str, stage: str, tally: StageTally, sheet: Sheet) -> None:
    """Write how often a stage was attempted, and how the last time went."""
    sheet.add("stage_runs_total", tally.succeeded, name, stage, "succeeded")
    sheet.add("stage_runs_total", tally.failed, name, stage, "failed")
    began = tally.last_attempt.timestamp()
    sheet.add("stage_last_attempt_timestamp_seconds", began, name, stage)
    if tally.last_success is not None:
        when = tally.last_success.timestamp()
        sheet.add("stage_last_success_timestamp_seconds", when, name, stage)
    run = tally.last_result
    if run is not None and run.finished_at is not None:
        seconds = (run.finished_at - run.started_at).total_seconds()
        sheet.add("stage_last_duration_seconds", seconds, name, stage)
