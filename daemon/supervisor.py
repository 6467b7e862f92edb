"""The live daemon: a scheduler that only ticks, and a main thread that watches it."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from daemon.alerts import raise_alert
from daemon.clock import SystemClock
from daemon.context import Context, open_context
from daemon.health import HEARTBEAT_LIMIT, assess, beat, heartbeat_path
from daemon.inputs import check_inputs
from daemon.llm.opening import require_extra
from daemon.metrics import build_registry
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import ChildReminer, spawn
from daemon.settings import Settings, settings_toml
from daemon.web import WebServer, build_app
from signals.errors import AlphadError, StorageError
from storage.files import write_atomic

log = structlog.get_logger()

#: Seconds between two heartbeats.
HEARTBEAT_SECONDS = 10
#: Seconds a stopping daemon gives its running stages.
GRACE_SECONDS = 30.0
#: A wall clock that moves so far against the monotonic one was set.
CLOCK_STEP_SECONDS = 30.0


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

    def tick(self, name: str) -> None:
        """Reconcile one market; markets tick apart, so that none waits for another."""

        def go_on() -> bool:
            self.ticked[name] = self.context.clock.now()
            return not self.stopping.is_set()

        self.reconciler.tick(self.context.markets[name], go_on)
        go_on()

    def heartbeat(self) -> None:
        """Show that the scheduler is alive, and when each market last came round."""
        self.beaten = monotonic()
        path = heartbeat_path(self.context.settings.state_dir)
        try:
            beat(path, self.context.clock.now(), self.ticked)
        except OSError as error:
            log.error("the heartbeat cannot be written", path=str(path), error=str(error))

    def failed(self, event: JobExecutionEvent) -> None:
        """Tell of an error nobody foresaw; the market is tried again with the next tick."""
        _, _, name = event.job_id.partition(":")
        message = f"{event.job_id} failed unexpectedly: {event.exception!r}\n{event.traceback}"
        if name:
            raise_alert(self.context, name, "unexpected", "error", message)
        else:
            log.error(message)


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    Raises
    ------
    ConfigError, ExpressionError, MembershipError, AlreadyRunningError, StorageError
        When the daemon cannot start.
    """
    clock = SystemClock()
    stopping = threading.Event()
    if settings.llm.is_on:
        require_extra()
    with open_context(settings, clock) as context:
        for market in context.markets.values():
            check_inputs(market)
        recover(context)
        path = settings.state_dir / "effective.toml"
        write_atomic(path, settings_toml(settings).encode())
        path.chmod(0o600)  # database_url may hold a password
        reminer = ChildReminer(context, path, partial(spawn, key=settings.llm.key))
        context.ticked.update({name: clock.now() for name in settings.markets})
        daemon = Daemon(context, Reconciler(context, reminer), stopping, context.ticked)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        web = WebServer(build_app(build_registry(context), lambda: assess(context)), settings.web)
        web.start()
        scheduler = build_scheduler(daemon, settings)
        scheduler.start()
        log.info(
            "running",
            markets=sorted(settings.markets),
            web=f"http://{settings.web.host}:{web.port}",
        )
        try:
            return supervise(daemon, scheduler, stopping)
        finally:
            stopping.set()
            reminer.stop()
            shut_down(scheduler)
            web.stop()


def shut_down(scheduler: GuardedScheduler) -> None:
    """Wait until the running stages have ended: the state is ours until then.

    One that does not end is left undone by leaving at once, lock and all; the next start takes it
    up where the ledger stands.
    """
    ending = threading.Thread(target=scheduler.shutdown, daemon=True)
    ending.start()
    ending.join(GRACE_SECONDS)
    if ending.is_alive():
        log.error("a stage does not end: leaving without it")
        os._exit(StorageError.exit_code)


def build_scheduler(daemon: Daemon, settings: Settings) -> GuardedScheduler:
    """Return the scheduler: a heartbeat and a tick for each market. The ledger is the record."""
    scheduler = GuardedScheduler(
        timezone="UTC",
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(1 + len(settings.markets))},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    scheduler.add_listener(daemon.failed, EVENT_JOB_ERROR)
    now = daemon.context.clock.now()
    scheduler.add_job(
        daemon.heartbeat, "interval", seconds=HEARTBEAT_SECONDS, id="heartbeat", next_run_time=now
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


def supervise(daemon: Daemon, scheduler: GuardedScheduler, stopping: threading.Event) -> int:
    """Wait for the stop signal; leave with an error when the scheduler no longer beats."""
    clock = daemon.context.clock
    offset = clock.now().timestamp() - monotonic()
    while not stopping.wait(1.0):
        moved = clock.now().timestamp() - monotonic() - offset
        if abs(moved) > CLOCK_STEP_SECONDS:
            log.warning("the clock was set", seconds=round(moved))
            offset += moved
            reschedule(scheduler, clock.now())
        dead = not scheduler._thread.is_alive()  # noqa: SLF001 - `running` stays True when it dies
        if dead or monotonic() - daemon.beaten > HEARTBEAT_LIMIT:
            log.error("the scheduler is dead: leaving, so that the service manager restarts us")
            return AlphadError.exit_code
    log.info("stopping")
    return 0


def reschedule(scheduler: GuardedScheduler, now: datetime) -> None:
    """Let every job run now: their next times were meant for another clock."""
    for job in scheduler.get_jobs():
        job.modify(next_run_time=now)
    scheduler.wakeup()
