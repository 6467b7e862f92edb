"""The live daemon: a scheduler that only ticks, and a main thread that watches it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
import tomli_w
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from daemon.alerts import raise_alert, resolve_alert
from daemon.clock import SystemClock
from daemon.context import Context, Market, open_context
from daemon.health import HEARTBEAT_LIMIT, ages, assess, beat, heartbeat_path
from daemon.metrics import build_registry
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.settings import Settings
from daemon.stages.remine import open_jobs
from daemon.web import WebServer, build_app
from signals.errors import StorageError
from storage import jobs
from storage.files import write_atomic
from storage.tables import JobStatus, RemineJob

log = structlog.get_logger()

#: Seconds between two heartbeats.
HEARTBEAT_SECONDS = 10
#: Seconds a stopping daemon gives its children.
GRACE_SECONDS = 10.0


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
class Child:
    """A running re-mining."""

    job: RemineJob
    process: subprocess.Popen[bytes]
    started: float


@dataclass
class ChildReminer:
    """Carries jobs out in a killable child process each; a fresh interpreter, never a fork."""

    context: Context
    settings_path: Path
    children: dict[str, Child] = field(default_factory=dict)

    def tend(self, market: Market, session: date | None) -> None:  # noqa: ARG002
        """Look after the market's child; start one for the oldest open job."""
        child = self.children.get(market.name)
        if child is not None:
            code = child.process.poll()
            if code is None:
                self.check_deadline(market, child)
                return
            del self.children[market.name]
            if code != 0:
                self.end(market, child.job, JobStatus.FAILED, f"exit code {code}")
                return
            resolve_alert(self.context, market.name, "remining")
        for job in open_jobs(self.context, market)[:1]:
            self.children[market.name] = self.start(market, job)

    def start(self, market: Market, job: RemineJob) -> Child:
        """Start the child that carries out `job`."""
        command = [
            sys.executable,
            "-m",
            "daemon.cli",
            "remine",
            "--config",
            str(self.settings_path),
        ]
        command += ["--market", market.name, "--job", str(job.id)]
        environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("ALPHAD_")}
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
        )
        log.info("re-mining started", market=market.name, job=job.id, pid=process.pid)
        return Child(job, process, monotonic())

    def check_deadline(self, market: Market, child: Child) -> None:
        """Stop a child that has used up its wall clock."""
        limit = market.settings.mining.deadline_seconds
        if monotonic() - child.started <= limit:
            return
        self.kill(child)
        del self.children[market.name]
        self.end(market, child.job, JobStatus.STOPPED, f"deadline of {limit} s reached")

    def end(self, market: Market, job: RemineJob, status: JobStatus, why: str) -> None:
        """Record a job that did not come to its end; publishing is not touched by it."""
        message = f"re-mining {job.id} {status.value}: {why}. Signals go on from the present book."
        with self.context.database.transaction() as conn:
            current = jobs.get(conn, market.name, job.id)
            if current is not None and current.status in jobs.OPEN:
                jobs.finish(conn, current, status, self.context.clock.now(), result={"why": why})
        raise_alert(self.context, market.name, "remining", "warning", message)

    def kill(self, child: Child) -> None:
        """End a child and whatever it has started."""
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.process.wait(timeout=GRACE_SECONDS)

    def stop(self) -> None:
        """End every child; their jobs go on from the last round after the next start."""
        for child in self.children.values():
            self.kill(child)


@dataclass
class Daemon:
    """What the scheduler calls."""

    context: Context
    reconciler: Reconciler
    stopping: threading.Event
    ticked: dict[str, datetime] = field(default_factory=dict)

    def tick(self, name: str) -> None:
        """Reconcile one market; markets tick apart, so that none waits for another."""
        if self.stopping.is_set():
            return
        self.reconciler.tick(self.context.markets[name], self.stopping.is_set)
        self.ticked[name] = self.context.clock.now()

    def heartbeat(self) -> None:
        """Show that the scheduler is alive, and when the market that is last came round."""
        ticked = None
        if len(self.ticked) == len(self.context.markets):
            ticked = min(self.ticked.values(), default=self.context.clock.now())
        beat(heartbeat_path(self.context.settings.state_dir), self.context.clock.now(), ticked)


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    Raises
    ------
    ConfigError, AlreadyRunningError, StorageError
        When the daemon cannot start.
    """
    clock = SystemClock()
    stopping = threading.Event()
    with open_context(settings, clock) as context:
        recover(context)
        path = settings.state_dir / "effective.toml"
        write_atomic(
            path,
            tomli_w.dumps(json.loads(settings.model_dump_json(exclude_defaults=True))).encode(),
        )
        reminer = ChildReminer(context, path)
        daemon = Daemon(context, Reconciler(context, reminer), stopping)
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
            scheduler.shutdown(wait=False)
            reminer.stop()
            web.stop()


def build_scheduler(daemon: Daemon, settings: Settings) -> GuardedScheduler:
    """Return the scheduler: a heartbeat and a tick for each market. The ledger is the record."""
    scheduler = GuardedScheduler(
        timezone="UTC",
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(1 + len(settings.markets))},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
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
    path = heartbeat_path(daemon.context.settings.state_dir)
    started = monotonic()
    while not stopping.wait(1.0):
        age, _ = ages(path, daemon.context.clock.now())
        young = monotonic() - started < HEARTBEAT_LIMIT
        dead = not scheduler._thread.is_alive()  # noqa: SLF001 - `running` stays True when it dies
        if dead or (age > HEARTBEAT_LIMIT and not young):
            log.error("the scheduler is dead: leaving, so that the service manager restarts us")
            return StorageError.exit_code
    log.info("stopping")
    return 0
