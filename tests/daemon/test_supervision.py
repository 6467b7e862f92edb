from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from time import monotonic

import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from daemon.alerts import raise_alert
from daemon.health import assess
from daemon.heartbeat import HEARTBEAT_LIMIT
from daemon.inputs import check_inputs
from daemon.ownership import owned, renew
from daemon.reconcile import Reconciler
from daemon.reload import differing
from daemon.reminers import InlineReminer
from daemon.service_manager import ServiceManager
from daemon.settings import Settings, build_settings, load_settings
from daemon.signalling import Signals
from daemon.stages.pose import known_formulas
from daemon.supervisor import Daemon, GuardedScheduler, supervise
from signals.errors import AlreadyRunningError, ConfigError, ReservationError
from storage import alerts, epochs, ledger
from storage.database import Database
from storage.tables import Epoch, table
from tests.daemon.small import MARKET, Living, living, market_bars, rows_of


class Manager:
    """A service manager that listens at a real socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.0)
        self.heard: list[str] = []

    def messages(self) -> list[str]:
        """Return everything that was told so far."""
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def pings(self) -> int:
        return self.messages().count("WATCHDOG=1")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    with closing(listening.socket):
        yield listening


def told(tmp_path: Path, **environ: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})


class TestServiceManager:
    """What systemd is told, over a real datagram socket."""

    def test_messages(self, tmp_path: Path, manager: Manager) -> None:
        """Each message is as sd_notify(3) says; the same status is said once, in one line."""
        us = told(tmp_path)
        us.status("us: published\n2026-11-20")
        us.status("us: published 2026-11-20")
        us.ready()
        us.reloading()
        us.stopping()
        status, ready, reloading, stopping = manager.messages()
        assert (status, ready) == ("STATUS=us: published 2026-11-20", "READY=1")
        assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
        told_at = int(reloading.partition("MONOTONIC_USEC=")[2]) / 1e6
        assert told_at == pytest.approx(monotonic(), abs=60.0)
        assert stopping == "STOPPING=1"

    def test_abstract_socket(self) -> None:
        """An address that begins with @ is an abstract one."""
        name = f"alphad-test-{os.getpid()}"
        listening = Manager(f"\0{name}")
        with closing(listening.socket):
            ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
            assert listening.messages() == ["READY=1"]

    def test_nobody_listens(self, tmp_path: Path) -> None:
        """Without a manager, or with one that is gone, nothing happens."""
        for us in (ServiceManager({}), told(tmp_path / "gone")):
            us.ready()
            us.status("up")
            us.alive()

    def test_watchdog_is_pinged_three_times_a_deadline(
        self, tmp_path: Path, manager: Manager
    ) -> None:
        """WATCHDOG_USEC says how often; another process's deadline, or none, is not ours."""
        often = told(tmp_path, WATCHDOG_USEC="1", WATCHDOG_PID=str(os.getpid()))
        for _ in range(3):
            often.alive()
        assert manager.pings() == 3
        seldom = told(tmp_path, WATCHDOG_USEC="120000000")
        for _ in range(3):
            seldom.alive()
        assert manager.pings() == 4
        for environ in ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}):
            told(tmp_path, **environ).alive()
        assert manager.pings() == 4


class Rounds(Signals):
    """No signal comes, until the loop has come round so many times."""

    def __init__(self, rounds: int, between: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.rounds, self.between = rounds, between

    def wait(self, seconds: float) -> None:  # noqa: ARG002
        self.between()
        self.rounds -= 1
        self.stop = self.rounds <= 0


@dataclass
class HandClock:
    """A clock that is set by hand, back too."""

    time: datetime

    def now(self) -> datetime:
        return self.time


@dataclass
class Supervised:
    """A daemon whose scheduler runs without a job, and its service manager."""

    alive: Living
    daemon: Daemon
    scheduler: GuardedScheduler
    manager: ServiceManager
    reloads: list[str] = field(default_factory=list)

    def run(self, signals: Signals) -> int:
        return supervise(
            self.daemon, self.scheduler, signals, self.manager, lambda: self.reloads.append("now")
        )


@pytest.fixture
def supervised(tmp_path: Path, manager: Manager) -> Iterator[Supervised]:
    """Return a daemon that gets on, under a watchdog that is pinged at each round."""
    assert manager.messages() == []
    with living(tmp_path / "home") as alive:
        ticked = alive.context.ticked
        ticked[MARKET] = alive.clock.now()
        reconciler = Reconciler(alive.context, InlineReminer(alive.context))
        daemon = Daemon(alive.context, reconciler, Event(), ticked)
        scheduler = GuardedScheduler(timezone="UTC")
        scheduler.start()
        yield Supervised(alive, daemon, scheduler, told(tmp_path, WATCHDOG_USEC="1"))
        scheduler.shutdown()


class TestSupervise:
    """The main thread says that the daemon gets on only as long as it does."""

    def test_gets_on(self, supervised: Supervised, manager: Manager) -> None:
        """Everything gets on: the watchdog is pinged, the status is told, and SIGTERM ends it."""
        supervised.daemon.keep()
        assert supervised.run(Rounds(3)) == 0
        assert manager.pings() == 3
        assert f"STATUS={MARKET}: published nothing yet, due" in "".join(manager.messages())

    def test_market_without_a_sign(self, supervised: Supervised, manager: Manager) -> None:
        """A market that hangs ends the daemon, unpinged; health says the same of it."""
        limit = supervised.alive.context.settings.stall_seconds + 30
        for seconds, code in ((limit, 0), (limit + 1, 70)):
            pings = manager.pings()
            now = supervised.alive.clock.now()
            supervised.daemon.ticked[MARKET] = now - timedelta(seconds=seconds)
            supervised.daemon.heartbeat()
            assert assess(supervised.alive.context).alive is (code == 0)
            assert supervised.run(Rounds(1)) == code
            assert manager.pings() - pings == int(code == 0)
        with supervised.alive.context.database.read() as conn:
            [alert] = alerts.open_alerts(conn, MARKET)
        assert "without any sign of progress" in alert.message

    def test_scheduler_that_does_not_beat(self, supervised: Supervised, manager: Manager) -> None:
        """A scheduler that has not beaten for a minute ends the daemon, unpinged."""
        supervised.daemon.beaten -= HEARTBEAT_LIMIT + 1
        assert supervised.run(Rounds(1)) == 70
        assert manager.pings() == 0

    def test_scheduler_that_has_died(self, supervised: Supervised, manager: Manager) -> None:
        """A scheduler whose thread has ended ends the daemon, however well it beat."""

        class Dying(GuardedScheduler):
            def _main_loop(self) -> None:
                """End at once, as an error in its own bookkeeping would end it."""

        supervised.scheduler = Dying(timezone="UTC")
        supervised.scheduler.start()
        supervised.daemon.heartbeat()
        assert supervised.run(Rounds(1)) == 70
        assert manager.pings() == 0

    def test_clock_that_was_set(self, supervised: Supervised, manager: Manager) -> None:
        """A step of the clock is no standstill, forward or back."""
        clock = HandClock(supervised.alive.clock.now())
        supervised.daemon.context = replace(supervised.alive.context, clock=clock)
        steps = iter([timedelta(days=10), timedelta(days=-3)])

        def step() -> None:
            clock.time += next(steps)

        assert supervised.run(Rounds(2, step)) == 0
        assert manager.pings() == 2

    @pytest.mark.parametrize("hours", [8, -8])
    def test_signs_on_both_sides_of_a_step(
        self, supervised: Supervised, manager: Manager, hours: int
    ) -> None:
        """A market that shows a sign between the step and the next look does not count as stuck."""
        clock = HandClock(supervised.alive.clock.now())
        daemon = supervised.daemon
        daemon.context = replace(supervised.alive.context, clock=clock)
        daemon.ticked["cn"] = clock.now()  # it has none after the step

        def step() -> None:
            if daemon.ticked["cn"] == daemon.ticked[MARKET] == clock.now():
                clock.time += timedelta(hours=hours)
                daemon.ticked[MARKET] = clock.now()

        assert supervised.run(Rounds(2, step)) == 0
        assert manager.pings() == 2

    @pytest.mark.parametrize("hours", [8, -8])
    @pytest.mark.parametrize("reading", range(1, 6))
    def test_step_at_any_reading(self, supervised: Supervised, reading: int, hours: int) -> None:
        """Whichever reading of the clock is the first after a step, the market is not stuck."""

        @dataclass
        class SteppingClock:
            time: datetime
            readings: int = 0

            def now(self) -> datetime:
                self.readings += 1
                return self.time + timedelta(hours=hours * (self.readings > reading))

        clock = SteppingClock(supervised.alive.clock.now())
        supervised.daemon.context = replace(supervised.alive.context, clock=clock)
        assert supervised.run(Rounds(4)) == 0

    def test_reload_is_told(self, supervised: Supervised, manager: Manager) -> None:
        """SIGHUP reloads once, between RELOADING and READY."""
        signals = Rounds(2)
        signals.reload = True
        assert supervised.run(signals) == 0
        assert supervised.reloads == ["now"]
        heard = [said.partition("\n")[0] for said in manager.messages()]
        assert heard == ["RELOADING=1", "READY=1", "WATCHDOG=1", "WATCHDOG=1"]


class TestEpoch:
    """One instance owns a database."""

    def test_what_a_lost_epoch_stops(self, supervised: Supervised) -> None:
        """Once another instance has begun nothing is written any more, and the daemon leaves."""
        context = supervised.alive.context
        with owned(context) as ours:
            daemon = Daemon(ours, Reconciler(ours, InlineReminer(ours)), Event(), {})
            daemon.keep()
            assert daemon.lost is None
            with context.database.transaction() as conn:
                two = {"host": "two", "pid": 2, "state_dir": "/two", "version": "1"}
                epochs.begin_epoch(
                    conn, instance="2", **two, now=context.clock.now(), lease=timedelta(0)  # type: ignore[arg-type]
                )  # fmt: skip
            with pytest.raises(ReservationError, match="another instance has taken over"):
                daemon.reconciler.step(ours.markets[MARKET])
            raise_alert(ours, MARKET, "disk", "error", "full")
            daemon.keep()
            supervised.daemon.lost = daemon.lost
            with pytest.raises(AlreadyRunningError, match="process 2 on host two began epoch 2"):
                supervised.run(Rounds(2))
        with context.database.read() as conn:
            assert ledger.history(conn, MARKET) == []
            assert alerts.open_alerts(conn, MARKET) == []

    def test_database_in_the_state_directory(self, tmp_path: Path) -> None:
        """Its lock has proved a former instance dead, wherever that one says it ran."""
        with living(tmp_path) as alive:
            now = alive.clock.now()
            with alive.context.database.transaction() as conn:
                two = {"host": "two", "pid": 2, "state_dir": "/two", "version": "1"}
                epochs.begin_epoch(conn, instance="2", **two, now=now)  # type: ignore[arg-type]
            with owned(alive.context) as ours:
                assert ours.epoch == 2
                assert renew(ours) is None
            with alive.context.database.read() as conn:
                ended = epochs.current(conn)
        assert ended is not None
        assert ended.ended_at == now


class TestReload:
    """SIGHUP: all of what changed is taken over, or nothing."""

    def daemon(self, alive: Living) -> Daemon:
        return Daemon(
            alive.context, Reconciler(alive.context, InlineReminer(alive.context)), Event(), {}
        )

    def changed(self, settings: Settings, **tables: object) -> Settings:
        """Return the settings with some of the market's tables changed."""
        market = settings.markets[MARKET]
        update = {
            name: getattr(market, name).model_copy(update=values)
            for name, values in tables.items()
        }  # fmt: skip
        return settings.model_copy(update={"markets": {MARKET: market.model_copy(update=update)}})

    @pytest.fixture(autouse=True)
    def _logging(self) -> Iterator[None]:
        import logging

        import structlog

        root = logging.getLogger()
        before = root.handlers[:], root.level
        yield
        structlog.reset_defaults()
        root.handlers[:], root.level = before

    def test_swap(self, tmp_path: Path) -> None:
        """Everybody sees the new settings; whoever is at work on the old market ends soon."""
        with living(tmp_path) as alive:
            daemon, old = self.daemon(alive), alive.context.settings
            before = alive.context.markets[MARKET]
            wanted = self.changed(old, blend={"warning_multiplier": 0.4}, mining={"rounds": 3})
            daemon.reload(lambda: wanted, "run")
            after = alive.context.markets[MARKET]
            assert alive.context.settings is wanted
            assert after is not before
            assert (after.feed, after.calendar) == (before.feed, before.calendar)
            assert (after.settings.blend.warning_multiplier, after.settings.mining.rounds) == (
                0.4,
                3,
            )
            assert after.config_sha256 != before.config_sha256
            handed = load_settings(old.state_dir / "effective.toml", {})
            assert handed.markets[MARKET].blend == after.settings.blend
            assert alive.context.process.reload_succeeded

    @pytest.mark.parametrize(
        ("tables", "named"),
        [
            ({"label": {"horizon": 3}}, "markets.us.label.horizon"),
            ({"feed": {"assets": 50}, "blend": {"ic_sessions": 61}}, "markets.us.feed.assets"),
            ({"ingest": {"finality_minutes": 5}}, "markets.us.ingest.finality_minutes"),
        ],
    )
    def test_needs_a_restart(self, tmp_path: Path, tables: dict[str, object], named: str) -> None:
        """What cannot be swapped is named, the old settings stay, and an alert says so."""
        with living(tmp_path) as alive:
            daemon, old = self.daemon(alive), alive.context.settings
            before = alive.context.markets[MARKET]
            daemon.reload(lambda: self.changed(old, **tables), "run")
            assert alive.context.settings is old
            assert alive.context.markets[MARKET] is before
            assert not succeeded(alive)
            with alive.context.database.read() as conn:
                [alert] = alerts.open_alerts(conn, MARKET)
            assert (alert.key, named in alert.message) == ("config-reload", True)
            assert "blend" not in alert.message
            daemon.reload(lambda: old, "run")
            with alive.context.database.read() as conn:
                assert alerts.open_alerts(conn, MARKET) == []
            assert succeeded(alive)
            assert alive.context.process.reloaded_at == alive.clock.now()

    def test_alert_that_cannot_be_closed(self, tmp_path: Path) -> None:
        """The new settings hold, the reload is told with its time, and nothing is raised."""
        with living(tmp_path) as alive:
            with alive.context.database.transaction() as conn:
                conn.exec_driver_sql("ALTER TABLE alerts RENAME TO elsewhere")  # nobody finds it
            wanted = self.changed(alive.context.settings, blend={"warning_multiplier": 0.4})
            self.daemon(alive).reload(lambda: wanted, "run")
            assert alive.context.settings is wanted
            assert succeeded(alive)
            assert alive.context.process.reloaded_at == alive.clock.now()

    def test_file_that_cannot_be_used(self, tmp_path: Path) -> None:
        """A file that is broken, or names one that is, changes nothing."""
        with living(tmp_path) as alive:
            daemon, old = self.daemon(alive), alive.context.settings

            def broken() -> Settings:
                raise ConfigError("alphad.toml is no TOML")

            zoo = tmp_path / "zoo.toml"
            zoo.write_text("[[")
            for load in (broken, lambda: self.changed(old, mining={"zoo": zoo})):
                daemon.reload(load, "run")
                assert alive.context.settings is old
                assert not alive.context.process.reload_succeeded

    def test_file_that_settings_name(self, tmp_path: Path) -> None:
        """A zoo that says something else is another setting, though its path is the same.

        Until a reload the zoo is the one of the start, in the hash and in the search.
        """
        zoo = tmp_path / "zoo.toml"
        zoo.write_text('source = "ours"\n[factors]\nslow = "EMA($close, 50) / $close"\n')
        with living(tmp_path / "home", mining={"zoo": str(zoo)}) as alive:
            daemon, before = self.daemon(alive), alive.context.markets[MARKET]
            check_inputs(before)
            first = before.config_sha256
            zoo.write_text('source = "ours"\n[factors]\nfast = "EMA($close, 5) / $close"\n')
            assert "zoo slow" in known_formulas(before)
            assert before.config_sha256 == first
            daemon.reload(lambda: alive.context.settings, "run")
            after = alive.context.markets[MARKET]
            assert "zoo fast" in known_formulas(after)
            assert after.config_sha256 != first
            daemon.reload(lambda: alive.context.settings, "run")
            assert alive.context.markets[MARKET] is after

    def test_market_at_work(self, tmp_path: Path) -> None:
        """A pass over a market that was swapped begins no further stage; the next tick does."""
        with living(tmp_path) as alive:
            daemon = self.daemon(alive)
            wanted = self.changed(alive.context.settings, book={"max_live": 11})
            first = True

            class Reloading(InlineReminer):
                def tend(self, market: object) -> None:  # noqa: ARG002
                    nonlocal first
                    if first:
                        first = False
                        daemon.reload(lambda: wanted, "run")

            daemon.reconciler = Reconciler(alive.context, Reloading(alive.context))
            daemon.tick(MARKET)
            with alive.context.database.read() as conn:
                assert ledger.history(conn, MARKET) == []
            daemon.tick(MARKET)
            with alive.context.database.read() as conn:
                assert {run.stage for run in ledger.history(conn, MARKET)} == {
                    "ingest", "observe", "publish",
                }  # fmt: skip

    def test_what_differs(self) -> None:
        """Names go down to the single setting; a market more or less is one name."""
        one = build_settings({"tick_seconds": 5, "markets": {"us": {}}})
        other = build_settings({"markets": {"us": {"label": {"lag": 2}}, "cn": {}}})
        found = list(differing(one, other))
        assert found == ["tick_seconds", "markets.us.label.lag", "markets.cn"]


def succeeded(alive: Living) -> bool:
    """Say whether the last reload did."""
    return alive.context.process.reload_succeeded


def wait_for(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until something is so, as long as the process lives."""
    while not true():
        assert process.poll() is None
        time.sleep(0.05)


@contextmanager
def running(
    path: Path, notify: str | None = None, **environ: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run `alphad run` in a process of its own; yield it and its standard error."""
    said = path / f"stderr-{time.monotonic_ns()}"
    given = {**os.environ, **environ} | ({"NOTIFY_SOCKET": notify} if notify else {})
    with (
        said.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", "run", "--config", str(path / "alphad.toml")],
            stderr=file,
            env=given,
        ) as process,
    ):
        try:
            yield process, said
        finally:
            process.kill()


def write_settings(path: Path, level: str = "info", more: str = "") -> None:
    """Write the settings of a market that ingests nothing, quickly: its file is of one session."""
    pq.write_table(rows_of(market_bars(), 0, 1), path / "bars.parquet")
    (path / "alphad.toml").write_text(
        f"state_dir = '{path / 'state'}'\npublish_dir = '{path / 'published'}'\n"
        f"tick_seconds = 1\n{more}"
        f"[web]\nport = 0\n[log]\nlevel = '{level}'\n[markets.us]\n"
        f"feed = {{ kind = 'parquet', path = '{path / 'bars.parquet'}' }}\n"
    )


@pytest.mark.timeout(180)
def test_life_of_a_daemon(tmp_path: Path, manager: Manager) -> None:
    """Ready, stacks, a refused and a done reload, and two SIGTERMs while a stage hangs.

    Its epoch is taken over at once by the next one, which is ended by one SIGTERM.
    """
    write_settings(tmp_path)
    hang = {"ALPHAD_TEST__ENABLED": "1", "ALPHAD_TEST__FAILPOINT": "alert.after_commit:sleep=900"}
    with running(tmp_path, str(tmp_path / "notify"), **hang) as (process, said):
        wait_for(lambda: "READY=1" in manager.messages(), process)
        wait_for(lambda: '"alert"' in said.read_text() or alert_of(tmp_path) != {}, process)
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "Current thread 0x" in said.read_text(), process)
        assert "daemon/failpoints.py" in said.read_text()
        write_settings(tmp_path, level="debug")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: '"settings reloaded"' in said.read_text(), process)
        assert any(text.startswith("RELOADING=1\n") for text in manager.messages())
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "STOPPING=1" in manager.messages(), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == -signal.SIGTERM
    with running(tmp_path) as (process, said):
        wait_for(lambda: '"running"' in said.read_text(), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    with (
        closing(Database.file(tmp_path / "state" / "alphad.db")) as database,
        database.read() as conn,
    ):
        last = epochs.current(conn)
    assert last is not None
    assert (last.number, last.ended_at is not None) == (2, True)


def event(said: Path, name: str) -> bool:
    """Say whether a line of a log tells of something."""
    return f'"{name}"' in said.read_text()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_zombie_leaves(tmp_path: Path) -> None:
    """Paused beyond its lease a daemon is replaced by one elsewhere, and leaves when it wakes.

    Until then the other one is refused, and told who owns the database and until when.
    """
    shared = f"database_url = 'sqlite:///{tmp_path / 'shared.db'}'\n"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_settings(tmp_path / name, more=shared)
    with running(tmp_path / "one") as (first, of_first):
        wait_for(lambda: event(of_first, "running"), first)
        with running(tmp_path / "two") as (second, of_second):
            assert second.wait(timeout=60) == AlreadyRunningError.exit_code
            assert f"process {first.pid} on host {socket.gethostname()}" in of_second.read_text()
        first.send_signal(signal.SIGSTOP)
        with (
            closing(Database(f"sqlite:///{tmp_path / 'shared.db'}")) as database,
            database.transaction() as conn,
        ):
            long_ago = datetime.now(UTC) - epochs.LEASE
            conn.execute(update(table(Epoch)), {"renewed_at": long_ago})
        with running(tmp_path / "two") as (second, of_second):
            wait_for(lambda: event(of_second, "running"), second)
            first.send_signal(signal.SIGCONT)
            assert first.wait(timeout=60) == AlreadyRunningError.exit_code
            said = of_first.read_text()
            assert "alphad: another instance has taken over: epoch 1 is over" in said
            assert second.poll() is None


def alert_of(path: Path) -> dict[str, str]:
    with (
        closing(Database.file(path / "state" / "alphad.db")) as database,
        database.read() as conn,
    ):
        return {alert.key: alert.message for alert in alerts.open_alerts(conn, "us")}
