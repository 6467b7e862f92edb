"""The reconcile loop: which sessions are due, which of them lack a stage, do the oldest first.

Catch-up after downtime, a clock jump, a kill at any instruction: all of it is this one path. The
calendar says what is due, the ledger says what is done, and before each stage is asked whether an
operator has paused or halted the market.
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
from daemon.passes import answer_passes, pending_passes
from daemon.stages import ingest, observe, publish
from daemon.standing import follow_control
from daemon.watch import LATE_AFTER, watch_calendar, watch_publication
from signals.errors import AlphadError, StorageError
from storage import controls, ledger
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
        """Return the oldest session that is due and lacks a stage, or None."""
        final = market.calendar.last_final(
            self.context.clock.now(), market.settings.ingest.finality_minutes
        )
        with self.context.database.read() as conn:
            last = ledger.last_session(conn, market.name, "publish")
            begun = ledger.first_session(conn, market.name, "ingest") if last is None else None
            observed = ledger.last_session(conn, market.name, "observe")
        if last is not None and observed is not None:
            last = min(last, observed)  # a restored ledger knows later publications, and no more
        if last is not None:
            session = market.calendar.next_session(last)
        else:
            session = begun or self.first_session or final
        return session if session <= final else None

    def step(
        self, market: Market, go_on: Callable[[], bool] = lambda: True, *, urgent: bool = False
    ) -> bool:
        """Do the oldest missing session of a market; return whether there was one.

        Parameters
        ----------
        go_on : callable
            Asked before each stage; False leaves the rest for the next start.
        urgent : bool
            Whether an operator will not wait after a fetch that failed.

        Raises
        ------
        AlphadError
            From the stage that failed; the ledger holds it, and the next step tries again.
        """
        session = self.due(market)
        if self.stopped(market) or (not urgent and self.held_back(market, session)):
            return False
        live = isinstance(market.feed, LiveFeed)
        if live and settle(self.context, market, session, urgent=urgent):
            return True
        if session is None:
            self.reminer.tend(market)
            return False
        with self.context.database.read() as conn:
            runs = ledger.history(conn, market.name, session=session)
        done = {run.stage for run in runs if run.status == RunStatus.SUCCEEDED}
        for name, perform in STAGES:
            if not go_on() or self.stopped(market):
                return False
            if name not in done:
                perform(self.context, market, session)
        self.reminer.tend(market)
        return True

    def stopped(self, market: Market) -> bool:
        """Say whether an operator has paused or halted a market; nothing begins in it then."""
        with self.context.database.read() as conn:
            return controls.restraint(conn, market.name) is not None

    def held_back(self, market: Market, session: date | None) -> bool:
        """Say whether a live feed that has just failed is to be left alone for a while."""
        if session is None or not isinstance(market.feed, LiveFeed):
            return False
        with self.context.database.read() as conn:
            run = ledger.latest(conn, market.name, session, "ingest")
        now = self.context.clock.now()
        until = waits_until(run, now)
        return until is not None and now < until

    def tick(self, market: Market, go_on: Callable[[], bool] = lambda: True) -> None:
        """Bring a market up to date; a failure is alerted and left for the next tick.

        What `alphad run-now` asks for is answered with what came of this pass, so that a kill
        before its end leaves it to the next one.
        """
        asked = pending_passes(self.context, market.name)
        said: str | None = "it failed unexpectedly; look: alphad status"
        try:
            said = self.come_round(market, go_on, urgent=bool(asked))
        finally:
            answer_passes(self.context, asked, said)

    def come_round(
        self, market: Market, go_on: Callable[[], bool] = lambda: True, *, urgent: bool = False
    ) -> str | None:
        """Do one pass and return what came of it, None where it was broken off to stop."""
        try:
            failed = self.point(market)  # whatever else fails: a halt is in effect
            follow_control(self.context, market.name)
            watch_calendar(self.context, market)
            self.reminer.tend(market)  # also while a stage fails with every tick
            before = self.published(market)
            while go_on() and self.step(market, go_on, urgent=urgent):
                pass
            after = self.published(market)
            if failed is not None and after == before:  # else the new one is pointed at
                raise failed
        except AlphadError as error:
            raise_alert(self.context, market.name, "stage-failed", "error", str(error))
            self.tell_late(market, error.fact)
            return f"it failed: {error.fact}"
        except Exception as error:  # nobody foresaw it: its alert is the caller's
            self.tell_late(market, f"{type(error).__name__}: {error}")
            raise
        if self.stopped(market):
            return f"refused: {market.name} is paused or halted"
        if not go_on():
            return None
        if not self.held_back(market, self.due(market)):  # else what failed was not tried again
            for key in ("stage-failed", "unexpected", "feed-late", "recovery"):
                resolve_alert(self.context, market.name, key)
        return "nothing was due" if after == before else f"published up to {after}"

    def point(self, market: Market) -> StorageError | None:
        """Put the pointer right, or return why not: what is due can be published all the same."""
        try:
            pointed = self.context.publisher.point(market.name)
        except StorageError as error:
            return error
        watch_publication(self.context, market.name, pointed)
        return None

    def published(self, market: Market) -> date | None:
        """Return the last session that is published."""
        with self.context.database.read() as conn:
            return ledger.last_session(conn, market.name, "publish")

    def tell_late(self, market: Market, why: str) -> None:
        """Say so when a live feed has left a session without bars for hours."""
        session = self.due(market) if isinstance(market.feed, LiveFeed) else None
        if session is None:
            return
        minutes = market.settings.ingest.finality_minutes
        late = self.context.clock.now() - market.calendar.finality(session, minutes)
        if late >= LATE_AFTER:
            message = f"{market.name} {session} lacks its bars since {late}: {why}"
            raise_alert(self.context, market.name, "feed-late", "error", message)
