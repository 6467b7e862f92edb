"""Whether the daemon is alive, and progressing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon.context import Context
from signals.errors import AlphadError
from storage import alerts, ledger

#: Seconds without a heartbeat after which the scheduler counts as dead.
HEARTBEAT_LIMIT = 60.0
#: Reconcile runs that may be missed before the loop counts as stuck.
MISSED_TICKS = 20


@dataclass(frozen=True)
class Health:
    """What `alphad health`, `/healthz` and `/readyz` say.

    Parameters
    ----------
    alive : bool
        The scheduler beats and the reconcile loop has come round lately.
    ready : bool
        Alive, and no market is behind its calendar.
    facts : mapping
        What was looked at, for people.
    """

    alive: bool
    ready: bool
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"alive": self.alive, "ready": self.ready, **self.facts}


def heartbeat_path(state_dir: Path) -> Path:
    """Return the file the scheduler touches; it is read by `alphad health` from outside."""
    return state_dir / "heartbeat.json"


def beat(path: Path, now: datetime, ticked: Mapping[str, datetime]) -> None:
    """Write the heartbeat: the scheduler is alive, and when each market last came round."""
    temporary = path.with_suffix(".tmp")
    stamps = {name: when.isoformat() for name, when in ticked.items()}
    temporary.write_text(json.dumps({"at": now.isoformat(), "ticked": stamps}))
    temporary.replace(path)


def assess(context: Context) -> Health:
    """Return the daemon's health from its heartbeat, its ledger and the calendar."""
    now = context.clock.now()
    facts: dict[str, Any] = {"now": now.isoformat()}
    beat_age, tick_age = ages(heartbeat_path(context.settings.state_dir), now)
    limit = MISSED_TICKS * context.settings.tick_seconds
    alive = beat_age <= HEARTBEAT_LIMIT and tick_age <= limit
    facts["heartbeat_age_seconds"] = finite(beat_age)
    facts["last_tick_age_seconds"] = finite(tick_age)
    ready = alive
    for market in context.markets.values():
        try:
            final = market.calendar.last_final(now, market.settings.ingest.finality_minutes)
            with context.database.read() as conn:
                last = ledger.last_session(conn, market.name, "publish")
                open_alerts = [alert.key for alert in alerts.open_alerts(conn, market.name)]
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
        }
        ready = ready and behind is not None and behind <= 0
    return Health(alive, ready, facts)


def ages(path: Path, now: datetime) -> tuple[float, float]:
    """Return the seconds since the last heartbeat and since the market that is last came round.

    Infinite without a heartbeat, and for one from the future: the clock was set back.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stamps = [stored["at"], *stored["ticked"].values()]
        seconds = [(now - datetime.fromisoformat(stamp)).total_seconds() for stamp in stamps]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return math.inf, math.inf
    known = [math.inf if age < -HEARTBEAT_LIMIT else age for age in seconds]
    return known[0], max(known[1:], default=0.0)


def finite(value: float) -> float | None:
    """Return None for infinity, which JSON cannot say."""
    return value if math.isfinite(value) else None
