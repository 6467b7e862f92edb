"""The reconcile loop: which sessions are due, which of them lack a stage, do the oldest first.

Catch-up after downtime, a clock jump, a kill at any instruction: all of it is this one path. The
calendar says what is due, the ledger says what is done, and nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from daemon.alerts import raise_alert, resolve_alert
from daemon.confirmation import settle, waits_until
from daemon.context import Context, Market
from daemon.feeds.protocol import LiveFeed
from daemon.stages import ingest, observe, publish
from daemon.watch import LATE_AFTER, watch_calendar
from signals.errors import AlphadError
from storage import ledger
from storage.tables import RunStatus

#: The stages of a session, in order.
STAGES: tuple[tuple[str, Callable[[Context, Market, date], None]], ...] = (
    ("ingest", ingest.run),
    ("observe", observe.run),
    ("publish", publish.run),
)


class Reminer(Protocol):
    """Who carries out re-mining jobs: a child process live, this process in a replay."""

    def tend(self, market: Market) -> None:
        """Start, supervise or finish the market's jobs; no session is half done meanwhile."""


@dataclass(frozen=True)
class Reconciler:
    """Brings every market up to date, one stage at a time."""

    context: Context
    reminer: Reminer
    #: First session of a market whose ledger is empty; the last final session when not given.
    first_session: date | None = None

    def due(self, market: Market) -> date | None:
        """Return the oldest session that is due and not published, or None."""
        final = market.calendar.last_final(
            self.context.clock.now(), market.settings.ingest.finality_minutes
        )
        with self.context.database.read() as conn:
            last = ledger.last_session(conn, market.name, "publish")
            begun = ledger.first_session(conn, market.name, "ingest") if last is None else None
        if last is not None:
            session = market.calendar.next_session(last)
        else:
            session = begun or self.first_session or final
        return session if session <= final else None

    def step(self, market: Market, go_on: Callable[[], bool] = lambda: True) -> bool:
        """Do the oldest missing session of a market; return whether there was one.

        Parameters
        ----------
        go_on : callable
            Asked before each stage; False leaves the rest for the next start.

        Raises
        ------
        AlphadError
            From the stage that failed; the ledger holds it, and the next step tries again.
        """
        session = self.due(market)
        if self.held_back(market, session):
            return False
        if isinstance(market.feed, LiveFeed) and settle(self.context, market, session):
            return True
        if session is None:
            self.reminer.tend(market)
            return False
        with self.context.database.read() as conn:
            runs = ledger.history(conn, market.name, session=session)
        done = {run.stage for run in runs if run.status == RunStatus.SUCCEEDED}
        for name, perform in STAGES:
            if not go_on():
                return False
            if name not in done:
                perform(self.context, market, session)
        self.reminer.tend(market)
        return True

    def held_back(self, market: Market, session: date | None) -> bool:
        """Say whether a live feed that has just failed is to be left alone for a while."""
        if session is None or not isinstance(market.feed, LiveFeed):
            return False
        with self.context.database.read() as conn:
            run = ledger.latest(conn, market.name, session, "ingest")
        until = waits_until(run)
        return until is not None and self.context.clock.now() < until

    def tick(self, market: Market, go_on: Callable[[], bool] = lambda: True) -> None:
        """Bring a market up to date; a failure is alerted and left for the next tick."""
        try:
            watch_calendar(self.context, market)
            self.reminer.tend(market)  # also while a stage fails with every tick
            while go_on() and self.step(market, go_on):
                pass
            self.context.publisher.point(market.name)
        except AlphadError as error:
            raise_alert(self.context, market.name, "stage-failed", "error", str(error))
            self.tell_late(market, error)
        else:
            if self.held_back(market, self.due(market)):
                return  # what failed has not been tried again
            for key in ("stage-failed", "unexpected", "feed-late"):
                resolve_alert(self.context, market.name, key)

    def tell_late(self, market: Market, error: AlphadError) -> None:
        """Say so when a live feed has left a session without bars for hours."""
        session = self.due(market) if isinstance(market.feed, LiveFeed) else None
        if session is None:
            return
        minutes = market.settings.ingest.finality_minutes
        late = self.context.clock.now() - market.calendar.finality(session, minutes)
        if late >= LATE_AFTER:
            message = f"{market.name} {session} lacks its bars since {late}: {error.fact}"
            raise_alert(self.context, market.name, "feed-late", "error", message)
