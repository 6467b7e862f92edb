"""The simulated process: what `alphad run` builds and its scheduler calls, without its threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta

from daemon.alerts import raise_alert
from daemon.context import Context, open_context
from daemon.housekeeping import Housekeeper
from daemon.ownership import owned, renew
from daemon.reconcile import Reconciler
from daemon.recovery import recover
from daemon.reminers import ChildReminer
from daemon.settings import Settings
from signals.errors import StorageError
from storage import outbox
from storage.outbox import DEAD_MAN, Channel, Policy
from tests.faults.simulation.child import Spawner
from tests.faults.simulation.edges import World
from tests.faults.simulation.invariants import Broken
from tests.faults.simulation.sources import FileFeed, ProviderFeed, Source, begin_of

_PATIENCE = timedelta(days=30)
#: Who is told of alerts; and of each publication the dead-man channel.
POLICY = Policy(channels=(Channel("ops"),), pings=True)


@dataclass
class Mailbox:
    """What has arrived, of each message how often; it may be down, and outlives the process."""

    down: bool = False
    arrived: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass
class Process:
    """One life of the daemon.

    Parameters
    ----------
    world, settings, sources, mailbox
        What surrounds it.
    killing : set of str
        Markets whose re-minings are killed now.
    """

    world: World
    settings: Settings
    sources: Mapping[str, Source]
    mailbox: Mailbox
    killing: set[str]
    stack: ExitStack = field(default_factory=ExitStack)
    _context: Context | None = None
    _reconciler: Reconciler | None = None

    @property
    def context(self) -> Context:
        if self._context is None:
            raise RuntimeError("the process does not stand")
        return self._context

    @property
    def stands(self) -> bool:
        return self._context is not None

    def start(self) -> None:
        """Start, in the order of `daemon.supervisor.run`; what is raised ends it."""
        self.world.begin()
        opened = self.stack.enter_context(open_context(self.settings, self.world))
        self.world.watch(opened.database)
        for name, market in opened.markets.items():
            asks = market.settings.feed.kind == "yahoo"
            feed = (ProviderFeed if asks else FileFeed)(self.sources[name])
            opened.markets[name] = replace(market, feed=feed, lists=None)
        context = self.stack.enter_context(owned(opened))
        outbox.attach(context.database, POLICY)
        recover(context)
        reminer = ChildReminer(context, self.world.root, Spawner(context, self.killing))
        first = begin_of(self.settings.markets["cn"].feed.start)
        self._reconciler = Reconciler(context, reminer, first_session=first)
        self._context = context

    def end(self) -> None:
        """End, whether it was told to or has died."""
        self._context = self._reconciler = None
        try:
            self.stack.close()
        finally:
            self.world.end()
            self.stack = ExitStack()

    def tick(self, name: str) -> None:
        """Do what the scheduler's jobs do: keep the epoch, tick one market, send messages."""
        context = self.context
        lost = renew(context)
        if lost is not None:
            raise Broken(f"nobody has taken over, and yet: {lost}")
        try:
            assert self._reconciler is not None
            self._reconciler.tick(context.markets[name])
        except Exception as error:  # noqa: BLE001 - the scheduler's listener is told of it
            raise_alert(context, name, "unexpected", "error", f"failed: {error!r}")
        for channel in ("ops", DEAD_MAN):
            self.send(channel)

    def send(self, channel: str) -> None:
        """Send what is due through a channel, as `daemon.notify` does."""
        context, now = self.context, self.world.now
        try:
            outbox.sweep(context.database, POLICY.alone(channel), now())
            with context.database.read() as conn:
                rows = outbox.due(conn, channel, now())
            for row in rows:
                with context.database.transaction() as conn:
                    if not outbox.claim(conn, [row], now()):
                        raise Broken(f"message {row.number} has two senders")
                if not self.mailbox.down:
                    self.mailbox.arrived[channel, row.dedupe_key] += 1
                self.world.step()  # a death here sends it once more
                with context.database.transaction() as conn:
                    if self.mailbox.down:
                        outbox.mark_failed(conn, [row], now(), "down", _PATIENCE)
                        return
                    outbox.mark_sent(conn, [row], now())
        except StorageError:
            return

    def keep_house(self) -> None:
        """Do what is done every hour."""
        Housekeeper(self.context, pause=lambda _seconds: None).run()
