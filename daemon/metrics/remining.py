"""Metrics of re-minings and of the language model they may ask."""

from __future__ import annotations

from sqlalchemy import Connection

from daemon.context import Market
from daemon.metrics.sheet import Sheet
from storage import jobs, tallies


def add_remining(conn: Connection, market: Market, sheet: Sheet) -> None:
    """Write what re-minings came to."""
    name = market.name
    found = tallies.remining(conn, name)
    for status, n in found.runs.items():
        family = "remine_jobs" if status in jobs.OPEN else "remine_runs_total"
        sheet.add(family, n, name, status)
    for gate, n in found.candidates.items():
        sheet.add("remine_candidates_total", n, name, gate)
    if found.last_success is not None and found.last_seconds is not None:
        sheet.add("remine_last_success_timestamp_seconds", found.last_success.timestamp(), name)
        sheet.add("remine_last_duration_seconds", found.last_seconds, name)


def add_model(conn: Connection, market: Market, sheet: Sheet) -> None:
    """Write what a market has asked of a language model."""
    name = market.name
    asked = tallies.model(conn, name)
    if not asked.requests:
        return
    for outcome, n in asked.requests.items():
        sheet.add("model_requests_total", n, name, outcome)
    sheet.add("model_tokens_total", asked.input_tokens, name, "input")
    sheet.add("model_tokens_total", asked.output_tokens, name, "output")
    sheet.add("model_cost_total", asked.cost, name)
