"""Whether the daemon is alive, and progressing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.context import Context
from daemon.heartbeat import HEARTBEAT_LIMIT, ages, finite, heartbeat_path, last_signs, late
from daemon.settings import Settings
from daemon.watch import DAMAGED
from signals.errors import AlphadError
from storage import alerts, controls, ledger


@dataclass(frozen=True)
class Health:
    """What `alphad health`, `/healthz` and `/readyz` say.

    Parameters
    ----------
    alive : bool
        The scheduler beats and the reconcile loop has come round lately.
    ready : bool
        Alive, and no market is behind its calendar, stopped by an operator, or with a newest
        publication that is damaged.
    facts : mapping
        What was looked at, for people.
    """

    alive: bool
    ready: bool
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"alive": self.alive, "ready": self.ready, **self.facts}


def assess(context: Context) -> Health:
    """Return the daemon's health from its heartbeat, its ledger and the calendar."""
    now = context.clock.now()
    facts: dict[str, Any] = {"now": now.isoformat()}
    path = heartbeat_path(context.settings.state_dir)
    beat_age, tick_age = ages(path, now)
    stuck = stalled(last_signs(path)[1], now, context.settings)
    alive = beat_age <= HEARTBEAT_LIMIT and not stuck
    facts["heartbeat_age_seconds"] = finite(beat_age)
    facts["last_tick_age_seconds"] = finite(tick_age)
    ready = alive
    for market in context.markets.values():
        try:
            final = market.calendar.last_final(now, market.settings.ingest.finality_minutes)
            with context.database.read() as conn:
                last = ledger.last_session(conn, market.name, "publish")
                open_alerts = [alert.key for alert in alerts.open_alerts(conn, market.name)]
                stopped = controls.restraint(conn, market.name)
            behind = len(market.calendar.sessions(last, final)) - 1 if last else None
        except AlphadError as error:
            facts[market.name] = {"error": error.fact}
            alive = ready = False
            continue
        facts[market.name] = {
            "published": last.isoformat() if last else None,
            "due": final.isoformat(),
            "sessions_behind": behind,
            "alerts": open_alerts,
            "control": stopped.state if stopped is not None else "running",
        }
        if stopped is not None:  # no failure: whoever did it knows, and others read why
            facts[market.name] |= {"stopped_by": stopped.who, "because": stopped.reason}
        ready = ready and behind is not None and behind <= 0 and stopped is None
        ready = ready and DAMAGED not in open_alerts
    return Health(alive, ready, facts)


def stalled(ticked: Mapping[str, datetime], now: datetime, settings: Settings) -> list[str]:
    """Return the markets that do not get on: the one definition of progress there is.

    A market shows that it gets on before each stage, after each pass and with each answer of its
    provider; failing over and over again is no standstill, and has its alerts.
    """
    return late(ticked, now, stall_limit(settings))


def stall_limit(settings: Settings) -> float:
    """Return the seconds after which a market without a sign counts as stuck."""
    return float(settings.stall_seconds + settings.tick_seconds)


def summary(context: Context) -> str:
    """Return in a line what is published and what is due."""
    now, said = context.clock.now(), []
    for market in context.markets.values():
        try:
            final = market.calendar.last_final(now, market.settings.ingest.finality_minutes)
            with context.database.read() as conn:
                last = ledger.last_session(conn, market.name, "publish")
        except AlphadError as error:
            said.append(f"{market.name}: {error.fact}")
            continue
        due = "" if last is not None and last >= final else f", due {final}"
        said.append(f"{market.name}: published {last or 'nothing yet'}{due}")
    return "; ".join(said)
