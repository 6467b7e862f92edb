"""The heartbeat: a file by which anybody can see that the daemon is alive and gets on.

Only the standard library is needed, so that looking costs next to nothing.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

#: Seconds without a heartbeat after which the scheduler counts as dead.
HEARTBEAT_LIMIT = 60.0


@dataclass(frozen=True)
class Signs:
    """What a heartbeat says.

    Parameters
    ----------
    beaten : datetime
        When the scheduler last beat.
    ticked : mapping of str to datetime
        When each market last showed that it gets on.
    limit : float
        Seconds after which a market without such a sign counts as stuck.
    """

    beaten: datetime
    ticked: Mapping[str, datetime]
    limit: float


def heartbeat_path(state_dir: Path) -> Path:
    """Return the file the scheduler touches; it is read by `alphad health` from outside."""
    return state_dir / "heartbeat.json"


def beat(
    path: Path, now: datetime, ticked: Mapping[str, datetime], limit: float = math.inf
) -> None:
    """Write the heartbeat: the scheduler is alive, and when each market last came round."""
    temporary = path.with_suffix(".tmp")
    stamps = {name: when.isoformat() for name, when in ticked.items()}
    said = {"at": now.isoformat(), "ticked": stamps, "limit": finite(limit)}
    temporary.write_text(json.dumps(said))
    temporary.replace(path)


def read_signs(path: Path) -> Signs | None:
    """Return what the heartbeat says, None where there is none that can be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        ticked = {name: datetime.fromisoformat(at) for name, at in stored["ticked"].items()}
        limit = stored.get("limit")
        return Signs(
            datetime.fromisoformat(stored["at"]),
            ticked,
            math.inf if limit is None else float(limit),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def last_signs(path: Path) -> tuple[datetime | None, dict[str, datetime]]:
    """Return when the scheduler last beat and each market came round; None without a heartbeat."""
    signs = read_signs(path)
    return (None, {}) if signs is None else (signs.beaten, dict(signs.ticked))


def ages(path: Path, now: datetime) -> tuple[float, float]:
    """Return the seconds since the last heartbeat and since the market that is last came round.

    Infinite without a heartbeat, and for one from the future: the clock was set back.
    """
    beaten, ticked = last_signs(path)
    if beaten is None:
        return math.inf, math.inf
    return age(beaten, now), max((age(stamp, now) for stamp in ticked.values()), default=0.0)


def age(stamp: datetime, now: datetime) -> float:
    """Return the seconds since a time, infinite where it lies in the future."""
    seconds = (now - stamp).total_seconds()
    return math.inf if seconds < -HEARTBEAT_LIMIT else seconds


def late(ticked: Mapping[str, datetime], now: datetime, limit: float) -> list[str]:
    """Return the markets without a sign for longer than `limit` seconds."""
    return sorted(name for name, stamp in ticked.items() if age(stamp, now) > limit)


def finite(value: float) -> float | None:
    """Return None for infinity, which JSON cannot say."""
    return value if math.isfinite(value) else None


def look(state_dir: Path, now: datetime) -> dict[str, Any]:
    """Return whether the daemon of a state directory is alive, and why not, as plain values."""
    path = heartbeat_path(state_dir)
    signs = read_signs(path)
    beat_age, tick_age = ages(path, now)
    stuck = late(signs.ticked, now, signs.limit) if signs is not None else []
    why = [f"{name} does not get on" for name in stuck]
    if signs is None:
        why = [f"there is no heartbeat in {state_dir}"]
    elif beat_age > HEARTBEAT_LIMIT:
        why.append(f"the last heartbeat is of {signs.beaten.isoformat()}")
    return {
        "alive": not why,
        "because": why,
        "heartbeat_age_seconds": finite(beat_age),
        "last_tick_age_seconds": finite(tick_age),
    }


def tell(state_dir: Path, now: datetime, *, as_json: bool) -> int:
    """Print whether the daemon is alive and return the exit code that says the same."""
    found = look(state_dir, now)
    said = "alive" if found["alive"] else f"NOT ALIVE: {'; '.join(found['because'])}"
    sys.stdout.write((json.dumps(found, indent=2) if as_json else said) + "\n")
    return 0 if found["alive"] else 1
