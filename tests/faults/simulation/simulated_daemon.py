"""One daemon over some sessions of two markets, with the faults that its seed draws."""

from __future__ import annotations

import heapq
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from daemon.confirmation import PAUSES
from signals.errors import AlphadError
from storage import alerts, controls, ledger, outbox
from storage.database import Database
from storage.integrity import verify, verify_database
from tests.faults.simulation.afflictions import Afflictions
from tests.faults.simulation.edges import Died, World, around
from tests.faults.simulation.invariants import (
    Broken,
    Ledger,
    Seen,
    check_complete,
    check_once,
    check_publications,
    check_secrets,
)
from tests.faults.simulation.place import FIRST, SECRET, Sink, logging_to, settings_of
from tests.faults.simulation.process import Mailbox, Process
from tests.faults.simulation.sources import (
    CALENDARS,
    FINALITY,
    LIVE,
    Source,
    begin_of,
    exchange,
    truth,
)
from tests.faults.simulation.troubles import Fault, plan

#: After so long without any fault of its own a market has published what is due (I6, I7).
RECOVERED = timedelta(minutes=100)
#: The longest pause between two ticks of a market that lacks something, first and later.
RETRY, RETRY_LATER = timedelta(minutes=20), timedelta(hours=3)
#: Ticks of each market, at most, from the end of all faults to the last session published.
TICKS = 12
#: The longest pause between two attempts of a live feed.
BETWEEN_ATTEMPTS = PAUSES[-1] + timedelta(minutes=1)
#: Alerts that say that a session is late.
LATE = {"stage-failed", "unexpected", "feed-late", "paused", "halted"}
#: Days between two rounds of housekeeping; a real one is every hour.
HOUSE_DAYS = 12
#: Events of the past that a failure tells.
TOLD = 60


@dataclass
class Simulation:
    """One run.

    Parameters
    ----------
    root : Path
        An empty folder; it holds state and published tree.
    seed : int
        Draws the faults and everything else that is random.
    sessions : int
        Sessions of New York that are lived through; Shanghai's in the same time come on top.
    often : float
        Faults for each session of each market.
    live : bool
        Whether New York asks a provider, whose sessions are confirmed; else its bars are final.
    first : date
        First day of the markets' history.
    template : Path, optional
        State and published tree to go on from, as `prepare` made them.
    on_session : callable, optional
        Told of each session of New York that is published first.
    """

    root: Path
    seed: int
    sessions: int
    often: float = 0.3
    live: bool = True
    first: date = FIRST
    template: Path | None = None
    on_session: Callable[[Simulation], None] | None = None
    history: list[str] = field(default_factory=list)
    ticks: int = 0
    deaths: int = 0
    published: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, 1])
        self.begin = begin_of(self.first)
        before = exchange("us").previous_session(self.begin)
        self.end = exchange("us").next_session(before, self.sessions)
        self.start = datetime.combine(self.begin, datetime.min.time(), UTC)
        if self.template is not None:
            shutil.copytree(self.template, self.root, dirs_exist_ok=True)
            self.start = exchange("us").finality(self.begin, FINALITY) + timedelta(hours=2)
        self.world = World(self.root, self.start)
        until, secret = self.end + timedelta(days=30), SECRET if self.live else ""
        self.sources = {
            name: Source(name, self.world, dict(truth(name, self.first, until)), secret=secret)
            for name in CALENDARS
        }
        days = [
            (name, day)
            for name in CALENDARS
            for day in exchange(name).sessions(self.begin, self.end)
            if day > self.begin  # which the reconcile loop is told to begin with
        ]
        self.plan = plan(self.seed, days, self.often)
        mining = self.seed % 5 == 0
        settings = settings_of(self.root, mining=mining, live=self.live, first=self.first)
        self.mailbox = Mailbox()
        self.process = Process(self.world, settings, self.sources, self.mailbox, set())
        self.faults = Afflictions(self.world, self.process, self.sources)
        self.sink, self.ledger = Sink(), Ledger()
        self.seen = {name: Seen() for name in CALENDARS}
        self.troubled = dict.fromkeys(CALENDARS, self.start)
        self.told = dict.fromkeys(CALENDARS, self.start - timedelta(days=1))
        self.tried = dict.fromkeys(CALENDARS, 0)
        self.due: dict[str, int] = {}
        self.down_until = self.start
        self.housekeeping = self.start + timedelta(days=HOUSE_DAYS)
        self.queue: list[tuple[datetime, int, str, Any]] = []
        self.order = count()

    @property
    def market_sessions(self) -> int:
        """Return how many sessions of both markets are lived through."""
        return sum(len(exchange(n).sessions(self.begin, self.end)) for n in CALENDARS)

    def run(self) -> Simulation:
        """Live through it; raise what does not hold, with the seed and what had happened."""
        with logging_to(self.sink, self.process.settings), around(self.world):
            try:
                self.live_through()
                self.let_recover()
                self.process.end()
                self.check_end()
            except Broken as broken:
                raise Broken(self.story(str(broken))) from broken
            finally:
                self.world.heal()
                self.process.end()
        return self

    def story(self, what: str) -> str:
        """Return what a failure tells: how to have it again, and the faults before it."""
        span = f"--sessions {self.sessions}"
        if self.first != FIRST:
            span = f"--years {self.sessions / 252:g}"  # it begins elsewhere
        again = f"python -m bench.soak --seed {self.seed} {span}"
        if self.often != Simulation.often:
            again += f" --often {self.often}"
        again += "" if self.live else " --files"
        told = "\n".join(self.history[-TOLD:])
        return f"{what}\nat {self.world.true_time}\nto have it again: {again}\n{told}"

    def say(self, text: str) -> None:
        text = text.replace(str(self.root), "…")
        self.history.append(f"{self.world.true_time:%Y-%m-%d %H:%M:%S}  {text}")

    # ---- time

    def push(self, at: datetime, what: str, payload: Any = None) -> None:
        heapq.heappush(self.queue, (at, next(self.order), what, payload))

    def push_tick(self, at: datetime, name: str) -> None:
        """Let a market tick next at a time; an earlier plan for it is dropped."""
        self.due[name] = number = next(self.order)
        heapq.heappush(self.queue, (at, number, "tick", name))

    def live_through(self) -> None:
        """Let the time pass from one event to the next, until the last session is over."""
        for fault in self.plan:
            self.push(fault.begins, "begin", fault)
        for name in CALENDARS:
            self.push_tick(self.next_final(name), name)
        over = exchange("us").finality(self.end, FINALITY)
        while self.queue and self.queue[0][0] <= over:
            self.happen(*heapq.heappop(self.queue))

    def happen(self, at: datetime, number: int, what: str, payload: Any) -> None:
        """Let one event happen."""
        if what == "tick" and self.due[payload] != number:
            return
        self.world.true_time = max(self.world.true_time, at)
        if what == "begin":
            self.begin_fault(payload)
        elif what == "end":
            self.end_fault(payload)
        elif at < self.down_until:
            self.push_tick(self.down_until, payload)
        else:
            self.tick(payload)

    def next_final(self, name: str) -> datetime:
        """Return when the next session of a market is final, by a good clock."""
        calendar = exchange(name)
        last = calendar.last_final(self.world.true_time, FINALITY)
        return calendar.finality(calendar.next_session(last), FINALITY)

    def begin_fault(self, fault: Fault) -> None:
        self.say(f"begins: {fault}")
        self.faults.begin(fault)
        now = self.world.true_time
        if fault.ends > fault.begins:
            self.push(fault.ends, "end", fault)
        if fault.kind == "suspended 8 h":
            self.down_until = max(self.down_until, now + timedelta(hours=8))
        if fault.kind == "down for days":
            self.down_until = max(self.down_until, fault.ends)
        self.note_trouble(fault)

    def end_fault(self, fault: Fault) -> None:
        now = self.world.true_time
        self.note_trouble(fault)
        if not self.faults.end(fault):
            self.push(now + timedelta(minutes=10), "end", fault)
            return
        self.say(f"ends: {fault.number} {fault.kind}")
        for name in CALENDARS:
            if fault.market in (None, name):
                self.tried[name] = 0
                self.push_tick(now + RETRY * float(self.rng.random()), name)

    def note_trouble(self, fault: Fault | None = None) -> None:
        """Take note of when something was wrong with each market last."""
        for name in CALENDARS:
            if (fault is None or fault.market in (None, name)) or self.faults.concern(name):
                self.troubled[name] = max(self.world.true_time, self.down_until)

    # ---- the process

    def tick(self, name: str) -> None:
        """Let the scheduler tick one market, and look at what came of it."""
        now = self.world.true_time
        if not self.process.stands and not self.start_process():
            self.note_trouble()
            self.push_tick(now + timedelta(minutes=10), name)
            return
        self.ticks += 1
        try:
            self.process.tick(name)
            if now >= self.housekeeping:
                self.housekeeping = now + timedelta(days=HOUSE_DAYS)
                self.process.keep_house()
        except Died:
            self.died(f"in a tick of {name}")
            self.push_tick(now + timedelta(minutes=1), name)
            return
        with self.world.aside():
            self.push_tick(self.after(name), name)

    def start_process(self) -> bool:
        """Start the process; say whether it stands."""
        try:
            self.process.start()
        except Died:
            self.died("while starting")
            return False
        except AlphadError as error:
            self.say(f"does not start: {error.fact}")
            self.process.end()
            return False
        finally:
            self.sink.take()
        with self.world.aside(), self.process.context.database.read() as conn:
            for name in CALENDARS:
                self.ledger.check(conn, name)
        self.look_at_all()
        return True

    def died(self, when: str) -> None:
        """Take note of the process's death, and look at what it left as a consumer would."""
        self.deaths += 1
        self.say(f"died {when}")
        self.process.end()
        self.sink.take()
        self.look_at_all()
        pause = timedelta(minutes=float(self.rng.uniform(0.2, 30)))
        self.down_until = max(self.down_until, self.world.true_time + pause)
        self.note_trouble()

    def after(self, name: str) -> datetime:
        """Look at what a tick left; return when the market ticks again."""
        now, said = self.world.true_time, self.sink.take()
        if self.faults.concern(name):
            self.troubled[name] = now
        before = self.seen[name].session
        if self.look(name):
            if name == LIVE and self.on_session and self.seen[name].session != before:
                self.on_session(self)
            with self.process.context.database.read() as conn:
                self.ledger.note(conn, name, self.seen[name].session or date.min)
        lacking = self.lacking(name)
        if lacking is not None:
            self.check_late(name, lacking, said)
            self.tried[name] += 1
            pause = RETRY if self.tried[name] < 6 else RETRY_LATER
            return now + pause * float(self.rng.uniform(0.1, 1.0))
        self.tried[name] = 0
        if name == LIVE and self.is_provisional(name):
            return now + timedelta(minutes=31)
        return self.next_final(name) + timedelta(minutes=float(self.rng.uniform(0, 5)))

    # ---- what is looked at

    def look(self, name: str) -> bool:
        """Read what a market has published as its consumers do; say whether it is new."""
        if not self.seen[name].read(self.process.settings.publish_dir, name):
            return False
        self.published += 1
        session = self.seen[name].session
        if session is not None and not self.sources[name].is_final(session):
            raise Broken(f"I5: {name} {session} is published before it was over")
        return True

    def look_at_all(self) -> None:
        with self.world.aside():
            for name in CALENDARS:
                self.look(name)

    def wanted(self, name: str) -> list[date]:
        """Return every session that is due by a good clock."""
        last = exchange(name).last_final(self.world.true_time, FINALITY)
        days = exchange(name).sessions(self.begin, last)
        return [day for day in days if day not in self.sources[name].closed]

    def lacking(self, name: str) -> date | None:
        """Return the last session that is due and not published, None where all are."""
        wanted, session = self.wanted(name), self.seen[name].session
        return wanted[-1] if wanted and (session is None or session < wanted[-1]) else None

    def is_provisional(self, name: str) -> bool:
        pointer: Mapping[str, Any] = json.loads(self.seen[name].pointer or b"{}")
        return pointer.get("status") == "provisional"

    def check_late(self, name: str, lacking: date, said: str) -> None:
        """Check that somebody was told of a late session (I8), and that it is not late long."""
        with self.process.context.database.read() as conn:
            there = {a.key: a.message for a in alerts.open_alerts(conn, name)}
            stopped = controls.restraint(conn, name) is not None
        now = self.world.true_time
        if there.keys() & LATE or f'"market": "{name}"' in said:
            self.told[name] = now
        # where no alert can be stored the log tells, with each attempt; between them nothing does
        if now - self.told[name] > BETWEEN_ATTEMPTS and not self.world.skew:
            raise Broken(f"I8: {name} {lacking} is late, and nobody was told: {there}")
        calm = now - self.troubled[name]
        if calm > RECOVERED and not stopped:
            raise Broken(
                f"I6, I7: {name} {lacking} is not published, though nothing has been wrong with "
                f"{name} since {self.troubled[name]}: {there}"
            )

    # ---- the end

    def let_recover(self) -> None:
        """Let every fault end, and the markets tick until nothing is lacking (I6)."""
        self.queue.clear()
        self.world.heal()
        self.down_until = self.world.true_time
        for fault in list(self.faults.active.values()):
            self.end_fault(fault)
        self.say("all faults have ended")
        for name in CALENDARS:
            self.push_tick(self.world.true_time, name)
        for _ in range(TICKS * len(CALENDARS)):
            if self.queue[0][0] > self.world.true_time + RETRY_LATER:
                break  # nothing is lacking, and nothing to be confirmed
            self.happen(*heapq.heappop(self.queue))

    def check_end(self) -> None:
        """Check everything once more, on what lies on the disk."""
        settings = self.process.settings
        with opened(settings.state_dir / "alphad.db") as database, database.read() as conn:
            for name in CALENDARS:
                check_complete(ledger.succeeded(conn, name, "publish"), self.wanted(name), name)
                self.ledger.check(conn, name)
                check_publications(conn, settings.publish_dir, name)
                check_once(conn, settings.publish_dir, name)
            self.check_messages(conn)
            found = [
                *verify(settings.publish_dir),
                *verify_database(database, settings.publish_dir, settings.state_dir),
            ]
        if found:
            raise Broken(f"I1, I4: {found[:5]}")
        left = [str(path) for path in self.root.rglob(".*.tmp")]
        if left:
            raise Broken(f"left over: {left}")

    def check_messages(self, conn: Any) -> None:
        """Check that every message arrived, at most once more for each death (I8), and is clean."""
        rows = outbox.notifications(conn)
        waiting = [row for row in rows if row.sent_at is None and row.given_up_at is None]
        if len(waiting) > 3:
            raise Broken(f"I8: {len(waiting)} messages wait, the first is {waiting[0].message}")
        twice = sum(n - 1 for n in self.mailbox.arrived.values())
        if twice > self.deaths + sum("locked" in f.kind or "disk" in f.kind for f in self.plan):
            raise Broken(f"I8: {twice} messages came more than once, {self.deaths} deaths")
        texts = {f"message {row.number}": row.message for row in rows}
        for name in CALENDARS:
            texts |= {f"alert {a.number}": a.message for a in alerts.alerts(conn, name)}
            texts |= {
                f"run {r.stage} {r.session}": r.error or "" for r in ledger.history(conn, name)
            }
        check_secrets(texts, SECRET)


def prepare(root: Path, *, live: bool = True) -> Path:
    """Live through the first session, which brings the history along; return the folder."""
    Simulation(root, 1, 1, often=0.0, live=live).run()
    return root


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    """Open a database for a look, and close it."""
    database = Database.file(path)
    try:
        yield database
    finally:
        database.close()
