"""Housekeeping: a daily audit and backup, what may be forgotten, the disk. Never in a stage's way.

It runs in a thread of its own, reads, and writes a handful of short transactions. A backup reads
one state of the database while others write on. Published folders, vintages of bars, trials and
everything a result rests on are kept for ever (docs/state.md says how little that is).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from time import sleep

import structlog

from daemon.alerts import raise_alert, resolve_alert
from daemon.context import Context
from daemon.disk import has_room, watch_disk
from daemon.restore import ALERT as RESTORED
from daemon.restore import against_backup, backup_folder
from signals.errors import AlphadError
from storage import alerts
from storage.backups import backup_path, rotate, write_backup
from storage.integrity import Finding, verify, verify_database
from storage.readoption import caught_up
from storage.upkeep import forget_epochs, forget_notifications, remove_temporaries, tidy

log = structlog.get_logger()

#: What an interrupted write left is swept when it is so old.
STALE = timedelta(days=1)
#: Seconds between two looks at what seems broken: a publication may have been under way.
LOOK_AGAIN = 5.0
#: How long the alert of a restored ledger stands at least.
RESTORED_FOR = timedelta(days=1)
#: Findings named in an alert; `alphad verify` has all.
NAMED = 5


def of_database(finding: Finding) -> bool:
    """Say whether a finding is about the database itself, and not about a market's files."""
    return not finding.market


@dataclass
class Housekeeper:
    """Keeps the house.

    Parameters
    ----------
    pause : callable
        Waits so many seconds.
    """

    context: Context
    pause: Callable[[float], None] = sleep
    #: The day of the last audit; a restart looks once more.
    audited: date | None = None
    #: Whether that audit found something about the database itself.
    unsound: bool = False

    def watch(self) -> None:
        """Look at the disk; to be called every minute."""
        watch_disk(self.context)

    def run(self) -> None:
        """Do what is due; to be called every hour. A chore that fails does not stop the others."""
        failures = []
        for chore in (self.forget, self.tidy, self.nightly, self.close_restored):
            try:
                chore()
            except AlphadError as error:
                failures.append(f"{chore.__name__}: {error}")
            except Exception as error:  # nobody foresaw it: told, and the others go on
                log.exception("a chore failed unexpectedly", chore=chore.__name__)
                failures.append(f"{chore.__name__}: {type(error).__name__}: {error}")
        for name in self.context.markets:
            if failures:
                message = "\n".join(["housekeeping did not get done; it is tried again", *failures])
                raise_alert(self.context, name, "housekeeping", "warning", message)
            else:
                resolve_alert(self.context, name, "housekeeping")

    def forget(self) -> None:
        """Remove old notifications, past lives of the daemon, and what interrupted writes left."""
        context, now = self.context, self.context.clock.now()
        before = now - timedelta(days=context.settings.housekeeping.keep_days)
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            notifications = forget_notifications(conn, before)
            epochs = forget_epochs(conn, before)
        swept = 0
        for root in (context.settings.state_dir, context.settings.publish_dir):
            swept += len(remove_temporaries(root, now - STALE))
        if notifications or epochs or swept:
            log.info("forgotten", notifications=notifications, epochs=epochs, temporaries=swept)

    def tidy(self) -> None:
        """Keep the database quick."""
        if has_room(self.context.settings):
            tidy(self.context.database)

    def nightly(self) -> None:
        """Audit and back up once a day, from the hour that is set."""
        settings, now = self.context.settings, self.context.clock.now()
        if now.hour < settings.housekeeping.backup_hour or not has_room(settings):
            return
        if self.audited != now.date():
            self.unsound = any(map(of_database, self.audit()))
            self.audited = now.date()
        if not self.unsound:  # else a good backup would give way to what is broken
            self.back_up()

    def audit(self) -> list[Finding]:
        """Prove everything whole, open or close the alert, and return what is not."""
        found = self._findings()
        if found:
            self.pause(LOOK_AGAIN)
            again = set(self._findings())
            found = [finding for finding in found if finding in again]
        for name in self.context.markets:
            concerned = [each for each in found if each.market in ("", name)]
            if not concerned:
                resolve_alert(self.context, name, "integrity")
                continue
            named = "; ".join(f"{each.path}: {each.fact}" for each in concerned[:NAMED])
            message = f"{len(concerned)} things are not as they were written: {named}. "
            if any(map(of_database, concerned)):
                message += "No backup is made until the database is; alphad restore puts one back. "
            message += "alphad verify lists all"
            raise_alert(self.context, name, "integrity", "error", message)
        return found

    def back_up(self) -> None:
        """Make the backup of the day unless it is there; remove those beyond the number kept."""
        database, settings = self.context.database, self.context.settings
        keep = settings.housekeeping.backups
        if database.path is None or keep == 0:
            return
        folder, today = backup_folder(settings), self.context.clock.now().date()
        target = backup_path(folder, today)
        if not target.exists():
            size = write_backup(database, target)
            log.info("backed up", path=str(target), bytes=size)
        rotate(folder, today, keep)

    def close_restored(self) -> None:
        """Close the alert of a restored ledger once it is up to date and has stood for a day."""
        now = self.context.clock.now()
        for name in self.context.markets:
            with self.context.database.read() as conn:
                told = [a for a in alerts.open_alerts(conn, name) if a.key == RESTORED]
                done = bool(told) and caught_up(conn, name)
            if done and now - told[0].at >= RESTORED_FOR:
                resolve_alert(self.context, name, RESTORED)

    def _findings(self) -> list[Finding]:
        settings, database = self.context.settings, self.context.database
        return [
            *verify(settings.publish_dir),
            *verify_database(database, settings.publish_dir, settings.state_dir),
            *against_backup(settings, database, self.context.clock.now()),
        ]
