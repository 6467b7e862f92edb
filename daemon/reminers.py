"""Who carries out re-mining jobs: this process in a replay, a killable child process live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import structlog
from sqlalchemy import Connection

from daemon import life
from daemon.alerts import raise_alert, resolve_alert
from daemon.clock import SystemClock
from daemon.context import Context, Market, build_context
from daemon.disk import has_room
from daemon.failpoints import enter
from daemon.llm.settings import KEY_VARIABLE
from daemon.settings import Settings, load_settings
from daemon.stages.book import load_factors
from daemon.stages.remine import OnRound, run_job
from daemon.stages.stage import at_work
from signals.errors import AlphadError, AlreadyRunningError, ConfigError, DataError
from storage import controls, jobs
from storage.lock import StateLock
from storage.tables import FactorState, JobStatus, RemineJob

log = structlog.get_logger()

#: Seconds a killed child is waited for.
GRACE_SECONDS = 10.0
#: Seconds a child that is to stop has to come to its next checkpoint.
CHECKPOINT_SECONDS = 5.0
#: Seconds a child has for what follows its last round; at its deadline it begins no other.
CONCLUDE_SECONDS = 300
#: Seconds between two looks at the parent process.
ORPHAN_SECONDS = 1.0
#: Times a job is begun before it counts as failed; it goes on from its last round each time.
ATTEMPTS = 3


def open_jobs(context: Context, market: Market) -> list[RemineJob]:
    """Return the market's jobs that are not finished; none while it is paused or halted."""
    with context.database.read() as conn:
        if controls.restraint(conn, market.name) is not None:
            return []
        return jobs.jobs(conn, market.name, open_only=True)


def end_job(context: Context, market: Market, job: RemineJob, status: JobStatus, why: str) -> None:
    """Record a job that did not come to its end; publishing is not touched by it."""
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        jobs.finish(conn, job, status, context.clock.now(), result={"why": why})
    message = f"re-mining {job.id} {status.value}: {why}. Signals go on from the present book."
    raise_alert(context, market.name, "remining", "warning", message)


@dataclass(frozen=True)
class InlineReminer:
    """Carries jobs out in this process before the next session begins: replay and demo."""

    context: Context
    on_round: OnRound | None = None

    def tend(self, market: Market) -> None:
        """Carry out the open jobs; what they accept joins at the opening session + 1."""
        for job in open_jobs(self.context, market):
            joined = market.calendar.next_session(job.opened_session)
            try:
                with at_work(market, job.opened_session, "remine"):
                    run_job(self.context, market, job, joined, on_round=self.on_round)
            except (DataError, ConfigError) as error:
                end_job(self.context, market, job, JobStatus.FAILED, error.fact)


@dataclass
class Child:
    """A running re-mining."""

    job: RemineJob
    process: subprocess.Popen[bytes]
    started: float


def urgency(conn: Connection, market: Market, job: RemineJob) -> float:
    """Return how urgent a job is now: the sum over the decayed factors it was opened for."""
    factors = load_factors(conn, market, [FactorState.LIVE])
    watches = {factor.id: factor.watch for factor in factors if factor.watch is not None}
    urgent = life.by_urgency(watches, market.settings.blend.decayed_multiplier)
    return sum(urgent.get(name, 0.0) for name in job.trigger.get("decayed", ()))


def most_urgent(context: Context) -> tuple[Market, RemineJob] | None:
    """Return the open job to be carried out next, over all markets; the oldest of equals.

    Of a market that is paused or halted none is begun; one that runs goes on.
    """
    with context.database.read() as conn:
        waiting = [
            (urgency(conn, market, job), job.opened_at, market, job)
            for market in context.markets.values()
            if controls.restraint(conn, market.name) is None
            for job in jobs.jobs(conn, market.name, open_only=True)[:1]
        ]
    if not waiting:
        return None
    _, _, market, job = min(waiting, key=lambda row: (-row[0], row[1], row[2].name))
    return market, job


def spawn(
    path: Path,
    market: Market,
    job: RemineJob,
    *,
    key: str | None = None,
    epoch: int | None = None,
    run: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start the process that carries out `job`: a fresh interpreter, never a fork.

    Parameters
    ----------
    key : str, optional
        Of the language model: no file holds it.
    epoch, run : int, str, optional
        The daemon's: once another instance has taken over the child writes no more, and its log
        belongs to this run.
    """
    command = [sys.executable, "-m", "daemon.cli", "remine"]
    command += ["--config", str(path)]
    command += ["--market", market.name, "--job", str(job.id), "--parent", str(os.getpid())]
    command += ["--epoch", str(epoch)] if epoch is not None else []
    command += ["--run", run] if run is not None else []
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("ALPHAD_")}
    if key is not None:
        environment[KEY_VARIABLE] = key
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
    )


@dataclass
class ChildReminer:
    """Carries jobs out in a killable child process, one at a time over all markets.

    Searches side by side would take turns at the cores, and all be late. The most urgent job is
    first, whichever market happens to ask.
    """

    context: Context
    settings_path: Path
    spawn: Callable[[Path, Market, RemineJob], subprocess.Popen[bytes]] = spawn
    #: By market; never more than one.
    children: dict[str, Child] = field(default_factory=dict)
    attempts: Counter[tuple[str, int]] = field(default_factory=Counter)
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tend(self, market: Market) -> None:
        """Look after the child, or start one; nothing that fails here stops a stage."""
        if not self.lock.acquire(blocking=False):
            return  # another market is at it: markets never wait for each other
        try:
            for name, child in list(self.children.items()):
                self.look_after(self.context.markets[name], child)
            idle = not self.stopped and not self.children and has_room(self.context.settings)
            urgent = most_urgent(self.context) if idle else None
            if urgent is not None:
                self.children[urgent[0].name] = self.start(*urgent)
        except (OSError, subprocess.SubprocessError, AlphadError) as error:
            raise_alert(self.context, market.name, "remining", "warning", str(error))
        finally:
            self.lock.release()

    def start(self, market: Market, job: RemineJob) -> Child:
        """Start the child that carries out `job`."""
        process = self.spawn(self.settings_path, market, job)
        log.info("re-mining started", market=market.name, job=job.id, pid=process.pid)
        return Child(job, process, monotonic())

    def look_after(self, market: Market, child: Child) -> None:
        """Take note of a child that has ended, or has used up its wall clock."""
        code = child.process.poll()
        limit = market.settings.mining.deadline_seconds + CONCLUDE_SECONDS
        if code is None and monotonic() - child.started <= limit:
            return
        del self.children[market.name]
        if code is None:
            self.kill(child)
        with self.context.database.read() as conn:
            job = jobs.get(conn, market.name, child.job.id)
        if job is None or job.status not in jobs.OPEN:
            resolve_alert(self.context, market.name, "remining")
        elif code is None:
            why = f"deadline of {limit} s reached"
            end_job(self.context, market, job, JobStatus.STOPPED, why)
        elif code != AlreadyRunningError.exit_code:  # else a former daemon's child is at it
            self.attempts[market.name, job.id] += 1
            if self.attempts[market.name, job.id] >= ATTEMPTS:
                why = f"{ATTEMPTS} attempts, the last with exit code {code}"
                end_job(self.context, market, job, JobStatus.FAILED, why)

    def kill(self, child: Child) -> None:
        """End a child and whatever it has started."""
        try:
            os.killpg(child.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        child.process.wait(timeout=GRACE_SECONDS)

    def stop(self) -> None:
        """End every child; their jobs go on from the last round after the next start."""
        self.stopped = True
        if not self.lock.acquire(timeout=GRACE_SECONDS):
            return  # whoever holds it hangs; a child ends soon after us
        try:  # none is being started any more
            for child in self.children.values():
                child.process.terminate()
            end = monotonic() + CHECKPOINT_SECONDS
            for child in self.children.values():
                with suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(end - monotonic(), 0.0))
                self.kill(child)
        finally:
            self.lock.release()


def end_with(parent: int) -> None:
    """End this process soon after its parent has ended, however that ended.

    An orphan has no deadline, and nobody to tell; what it has reached is in the job's checkpoint.
    """

    def watch() -> None:
        while os.getppid() == parent:
            sleep(ORPHAN_SECONDS)
        os._exit(AlreadyRunningError.exit_code)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@dataclass
class Stopping:
    """Ends this process at the next checkpoint after it was asked to end."""

    asked: bool = False

    def listen(self) -> None:
        """Take SIGTERM as the question; for the main thread."""

        def ask(*_: object) -> None:
            self.asked = True

        signal.signal(signal.SIGTERM, ask)

    def checkpoint(self, _state: object) -> None:
        """Leave, if asked to: what has been reached is stored."""
        if self.asked:
            raise SystemExit(0)


def handed_on(path: Path) -> Settings:
    """Return the settings that a daemon has handed on to its child."""
    return load_settings(path, {k: v for k, v in os.environ.items() if k == KEY_VARIABLE})


def carry_out(settings: Settings, name: str, job_id: int, epoch: int | None = None) -> int:
    """Carry out one job: the child's whole life. The daemon that started it holds the state.

    Parameters
    ----------
    epoch : int, optional
        That of the daemon; nothing is written any more once a later one has begun.

    Raises
    ------
    AlreadyRunningError
        When a child of a former daemon is still at the market's job.
    DataError
        When there is no such job.
    """
    settings.market(name)
    enter(enabled=settings.test.enabled, text=settings.test.failpoint)
    context = build_context(settings, SystemClock(), [name])
    if epoch is not None:
        context = context.of_epoch(epoch)
    market = context.markets[name]
    stopping = Stopping()
    stopping.listen()
    with StateLock(settings.state_dir / "remine" / name):
        with context.database.read() as conn:
            job = jobs.get(conn, name, job_id)
        if job is None:
            raise DataError(
                f"{name} has no re-mining {job_id}", rule="a child carries out a stored job"
            )
        if job.status in jobs.OPEN:
            limit = market.settings.mining.deadline_seconds
            with at_work(market, job.opened_session, "remine"):
                run_job(context, market, job, on_round=stopping.checkpoint, deadline=limit)
    return 0
