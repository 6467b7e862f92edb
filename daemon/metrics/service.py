"""Metrics of the process: version, heartbeat, disks, notifications, what is left of budgets."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection

from daemon.context import Context
from daemon.disk import free_bytes
from daemon.heartbeat import heartbeat_path, last_signs
from daemon.llm.budget import day_left
from daemon.metrics.sheet import Sheet
from daemon.restore import backup_folder
from signals.errors import StorageError
from storage import outbox, tallies
from storage.backups import backups


def add_process(context: Context, sheet: Sheet) -> None:
    """Write what needs no database."""
    sheet.add("build_info", 1, context.code["version"])
    sheet.add("config_reload_success", float(context.process.reload_succeeded))
    if context.epoch is not None:
        sheet.add("epoch", context.epoch)
    beaten, ticked = last_signs(heartbeat_path(context.settings.state_dir))
    if beaten is not None:
        sheet.add("scheduler_heartbeat_timestamp_seconds", beaten.timestamp())
    for name, when in ticked.items():
        if name in context.markets:
            sheet.add("reconcile_timestamp_seconds", when.timestamp(), name)
    limit = context.settings.stall_seconds + context.settings.tick_seconds
    sheet.add("reconcile_limit_seconds", limit)
    add_disks(context, sheet)


def add_disks(context: Context, sheet: Sheet) -> None:
    """Write what is left on the disks, what has to be, and when the last backup was made."""
    settings = context.settings
    with suppress(StorageError):  # whoever cannot be asked has no series
        for label, free in free_bytes(settings).items():
            sheet.add("disk_free_bytes", free, label)
    sheet.add("disk_limit_bytes", settings.disk.warn_bytes, "warn")
    sheet.add("disk_limit_bytes", settings.disk.stop_bytes, "stop")
    with suppress(OSError):
        today = context.clock.now().date()
        for newest in backups(backup_folder(settings), today)[:1]:
            sheet.add("backup_last_success_timestamp_seconds", newest.stat().st_mtime)


def add_stored(context: Context, conn: Connection, sheet: Sheet) -> None:
    """Write what the database knows of the service as a whole."""
    counted = {(name, severity): 0 for name in context.markets for severity in outbox.SEVERITIES}
    for (name, severity), n in (counted | tallies.open_alerts(conn)).items():
        sheet.add("alerts_open", n, name, severity)
    sheet.add("notifications_pending", outbox.pending_count(conn))
    for channel, n in outbox.failures(conn).items():
        sheet.add("notify_failures_total", n, channel)
    for channel, n in outbox.given_up(conn).items():
        sheet.add("notifications_given_up_total", n, channel)
    if context.settings.llm.is_on:
        left = day_left(conn, context.settings.llm, context.clock.now())
        for budget, share in left.items():
            sheet.add("model_budget_remaining_ratio", share, budget)
