"""The live daemon: a scheduler that only ticks, and a main thread that watches it."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from daemon.alerts import raise_alert, resolve_alert
from daemon.clock import SystemClock
from daemon.context import Context, Market, open_context
from daemon.health import assess, stall_limit, stalled, summary
from daemon.heartbeat import HEARTBEAT_LIMIT, beat, heartbeat_path
from daemon.housekeeping import Housekeeper
from daemon.inputs import check_inputs
from daemon.llm.opening import require_extra
from daemon.logs import speaking_of
from daemon.metrics import build_registry
from daemon.notify import Notifier
from daemon.ownership import owned, renew
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reload import reload_settings, write_effective
from daemon.reminers import ChildReminer, spawn
from daemon.service_manager import ServiceManager
from daemon.settings import Settings
from daemon.signalling import Signals
from daemon.web import WebServer, build_app
from signals.errors import AlphadError, AlreadyRunningError, StorageError
from storage.tables import RemineJob

log = structlog.get_logger()

#: Seconds between two heartbeats, and between two renewals of the lease.
HEARTBEAT_SECONDS = 10
#: Seconds between two looks at the disk, and between two rounds of housekeeping.
DISK_SECONDS, HOUSEKEEPING_SECONDS = 60, 3600
#: How long after the start the first round is: what is due after a downtime goes first.
FIRST_HOUSEKEEPING = timedelta(minutes=10)
#: Seconds a stopping daemon gives its running stages.
GRACE_SECONDS = 30.0
#: Seconds a leaving daemon gives its last alert.
LAST_WORD_SECONDS = 5.0
#: A wall clock that moves so far against the monotonic one was set.
CLOCK_STEP_SECONDS = 30.0
#: Threads beside those of the markets: for the heartbeat, the lease and what else is regular.
MORE_THREADS = 6


class GuardedScheduler(BackgroundScheduler):  # type: ignore[misc]
    """A scheduler whose thread outlives an error in its own bookkeeping.

    APScheduler 3 ends its thread silently when processing jobs raises, and goes on to call itself
    running.
    """

    def _process_jobs(self) -> Any:
        try:
            return super()._process_jobs()
        except Exception:
            log.exception("the scheduler's own step failed")
            return 1.0


@dataclass
class Daemon:
    """What the scheduler calls."""

    context: Context
    reconciler: Reconciler
    stopping: threading.Event
    #: When each market last came round.
    ticked: dict[str, datetime]
    #: When the scheduler last beat, on the monotonic clock: no clock step can move it.
    beaten: float = field(default_factory=monotonic)
    #: Why this instance has to leave to another one, once it has.
    lost: AlreadyRunningError | None = None
    #: What is published and what is due, in a line.
    standing: str = ""

    def tick(self, name: str) -> None:
        """Reconcile one market; markets tick apart, so that none waits for another.

        A market whose settings were loaded again is left between two stages: the next tick goes on
        by the new ones.
        """
        market = self.context.markets[name]

        def go_on() -> bool:
            self.ticked[name] = self.context.clock.now()
            return not self.stopping.is_set() and self.context.markets[name] is market

        with speaking_of(name):
            self.reconciler.tick(market, go_on)
        go_on()

    def heartbeat(self) -> None:
        """Show that the scheduler is alive, and when each market last came round."""
        self.beaten = monotonic()
        path = heartbeat_path(self.context.settings.state_dir)
        try:
            beat(path, self.context.clock.now(), self.ticked, stall_limit(self.context.settings))
        except OSError as error:
            log.error("the heartbeat cannot be written", path=str(path), error=str(error))

    def keep(self) -> None:
        """Keep the database ours, and look at what is published; both may have to wait for it."""
        self.lost = self.lost or renew(self.context)
        self.standing = summary(self.context)

    def failed(self, event: JobExecutionEvent) -> None:
        """Tell of an error nobody foresaw; the market is tried again with the next tick."""
        _, _, name = event.job_id.partition(":")
        message = f"{event.job_id} failed unexpectedly: {event.exception!r}\n{event.traceback}"
        if name:
            raise_alert(self.context, name, "unexpected", "error", message)
        else:
            log.error(message)

    def reload(self, load: Callable[[], Settings], run: str) -> None:
        """Load the settings again and go by them, or say why the old ones hold."""
        process, names = self.context.process, list(self.context.markets)
        try:
            changed = reload_settings(self.context, load, run)
        except AlphadError as error:
            process.reload_succeeded = False
            for name in names:
                raise_alert(self.context, name, "config-reload", "error", str(error))
        else:
            process.reload_succeeded = True
            log.info("settings reloaded", changed=changed)
            try:
                for name in names:
                    resolve_alert(self.context, name, "config-reload")
            except StorageError as error:  # the new settings hold all the same
                log.error("the alert config-reload stays open", error=str(error))
        process.reloaded_at = self.context.clock.now()


def run(
    settings: Settings,
    load: Callable[[], Settings],
    environ: Mapping[str, str],
    run_id: str,
) -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    Parameters
    ----------
    load : callable
        Returns the settings as they are now; called at SIGHUP.
    environ : mapping of str to str
        Where a service manager has written how it is told.
    run_id : str
        The id of this process in its logs.

    Raises
    ------
    ConfigError, ExpressionError, MembershipError, AlreadyRunningError, StorageError
        When the daemon cannot start, or has to leave to another instance.
    """
    clock, manager, signals = SystemClock(), ServiceManager(environ), Signals()
    signals.install()
    if settings.llm.is_on:
        require_extra()
    with open_context(settings, clock) as opened, owned(opened) as context:
        for market in context.markets.values():
            check_inputs(market)
        notifier = Notifier(context)
        notifier.attach()
        recover(context)
        write_effective(settings)
        start = partial(start_child, context, run_id)
        reminer = ChildReminer(context, settings.state_dir / "effective.toml", start)
        context.ticked.update({name: clock.now() for name in settings.markets})
        daemon = Daemon(context, Reconciler(context, reminer), threading.Event(), context.ticked)
        web = WebServer(
            build_app(build_registry(context), lambda: assess(context), context), settings.web
        )
        web.start()
        scheduler = build_scheduler(daemon, settings)
        notifier.start(scheduler)
        scheduler.start()
        log.info(
            "running",
            markets=sorted(settings.markets),
            web=f"http://{settings.web.host}:{web.port}",
        )
        manager.ready()
        code = AlphadError.exit_code
        try:
            code = supervise(
                daemon, scheduler, signals, manager, partial(daemon.reload, load, run_id)
            )
            return code
        except AlreadyRunningError as error:
            code = error.exit_code
            raise
        finally:
            manager.stopping()
            daemon.stopping.set()
            notifier.stopping.set()
            reminer.stop()
            shut_down(scheduler, code or StorageError.exit_code)
            web.stop()


def start_child(context: Context, run_id: str, path: Path, market: Market, job: RemineJob) -> Any:
    """Start a re-mining with what holds now, as a part of this run and this epoch."""
    key = context.settings.llm.key
    return spawn(path, market, job, key=key, epoch=context.epoch, run=run_id)


def shut_down(scheduler: GuardedScheduler, code: int) -> None:
    """Wait until the running stages have ended: the state is ours until then.

    One that does not end is left undone by leaving at once, lock and all; the next start takes it
    up where the ledger stands.
    """
    ending = threading.Thread(target=scheduler.shutdown, daemon=True)
    ending.start()
    ending.join(GRACE_SECONDS)
    if ending.is_alive():
        log.error("a stage does not end: leaving without it")
        os._exit(code)


def build_scheduler(daemon: Daemon, settings: Settings) -> GuardedScheduler:
    """Return the scheduler: a heartbeat and a tick for each market. The ledger is the record."""
    scheduler = GuardedScheduler(
        timezone="UTC",
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(MORE_THREADS + len(settings.markets))},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    scheduler.add_listener(daemon.failed, EVENT_JOB_ERROR)
    now = daemon.context.clock.now()
    scheduler.add_job(
        daemon.heartbeat, "interval", seconds=HEARTBEAT_SECONDS, id="heartbeat", next_run_time=now
    )
    scheduler.add_job(
        daemon.keep, "interval", seconds=HEARTBEAT_SECONDS, id="lease", next_run_time=now
    )
    keeper = Housekeeper(daemon.context)
    scheduler.add_job(keeper.watch, "interval", seconds=DISK_SECONDS, id="disk", next_run_time=now)
    scheduler.add_job(
        keeper.run,
        "interval",
        seconds=HOUSEKEEPING_SECONDS,
        id="housekeeping",
        next_run_time=now + FIRST_HOUSEKEEPING,
    )
    for name in settings.markets:
        scheduler.add_job(
            daemon.tick,
            "interval",
            args=[name],
            seconds=settings.tick_seconds,
            id=f"reconcile:{name}",
            next_run_time=now,
        )
    return scheduler


def supervise(
    daemon: Daemon,
    scheduler: GuardedScheduler,
    signals: Signals,
    manager: ServiceManager,
    reload: Callable[[], None],
) -> int:
    """Wait for the stop signal; leave with an error when the daemon no longer gets on.

    The watchdog is pinged only where `alphad health` would say alive too: the scheduler's thread
    lives and beats, and no market has been without a sign for longer than its limit.

    Raises
    ------
    AlreadyRunningError
        Another instance has taken over.
    """
    clock = daemon.context.clock
    offset = clock.now().timestamp() - monotonic()
    while not signals.stop:
        signals.wait(1.0)
        if signals.taken_reload():
            manager.reloading()
            reload()
            manager.ready()
        stuck = stalled(daemon.ticked, clock.now(), daemon.context.settings)
        now = clock.now()  # read after it: a step that misled it is seen here
        moved = now.timestamp() - monotonic() - offset
        if abs(moved) > CLOCK_STEP_SECONDS:
            log.warning("the clock was set", seconds=round(moved))
            offset += moved
            # some signs are of before the step and some of after: their ages begin anew
            daemon.ticked.update(dict.fromkeys(daemon.ticked, now))
            stuck = []
            reschedule(scheduler, now)
        if daemon.lost is not None:
            log.error("leaving to another instance", error=str(daemon.lost))
            raise daemon.lost
        dead = not scheduler._thread.is_alive()  # noqa: SLF001 - `running` stays True when it dies
        if dead or monotonic() - daemon.beaten > HEARTBEAT_LIMIT:
            log.error("the scheduler is dead: leaving, so that the service manager restarts us")
            return AlphadError.exit_code
        if stuck:
            tell_stuck(daemon, stuck)
            return AlphadError.exit_code
        manager.status(daemon.standing)
        manager.alive()
    log.info("stopping")
    return 0


def tell_stuck(daemon: Daemon, names: Sequence[str]) -> None:
    """Say which markets hang, and where; a database that hangs too may not hold us up."""
    log.error("stuck: leaving, so that the service manager restarts us", markets=names)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    message = "the market was without any sign of progress: the daemon has left to be restarted"

    def tell() -> None:
        for name in names:
            raise_alert(daemon.context, name, "unexpected", "error", message)

    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    telling.join(LAST_WORD_SECONDS)


def reschedule(scheduler: GuardedScheduler, now: datetime) -> None:
    """Let every job run now: their next times were meant for another clock."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=now)
    scheduler.wakeup()
