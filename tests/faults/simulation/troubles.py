"""Which faults there are, and the plan of them that one seed draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from tests.faults.simulation.sources import FINALITY, TROUBLES, exchange

#: Faults of the machine and of the process, which both markets share, by how often they are drawn.
OF_ALL = {
    "death": 6.0,
    "death while starting": 2.0,
    "restart": 1.0,
    "disk full": 2.0,
    "I/O error": 2.0,
    "database locked": 2.0,
    "clock +1 h": 1.0,
    "clock -1 h": 1.0,
    "clock +10 d": 0.7,
    "clock -10 d": 0.7,
    "suspended 8 h": 1.0,
    "down for days": 0.3,
    "overlay broken": 0.7,
    "nobody reachable": 0.7,
}
#: Faults of one market.
OF_ONE = {
    **dict.fromkeys(TROUBLES, 1.0),
    "correction": 1.5,
    "closure": 0.4,
    "closure told late": 0.3,
    "mining killed": 0.5,
    "paused": 0.5,
    "halted": 0.5,
}
#: Those whose end is part of their beginning.
_AT_ONCE = {"death", "death while starting", "restart", "suspended 8 h", "correction"}


@dataclass(frozen=True)
class Fault:
    """One fault of a plan.

    Parameters
    ----------
    number : int
        Its place in the plan.
    kind : str
        A key of `OF_ALL` or `OF_ONE`.
    market : str or None
        None concerns all.
    begins, ends : datetime
        In true time.
    session : date
        The one it was drawn around.
    draw : int
        What else is random about it.
    """

    number: int
    kind: str
    market: str | None
    begins: datetime
    ends: datetime
    session: date
    draw: int

    def __str__(self) -> str:
        whose = f" of {self.market}" if self.market else ""
        return f"{self.number:3d}  {self.begins:%Y-%m-%d %H:%M} {self.kind}{whose}, {self.draw}"


def plan(seed: int, days: Sequence[tuple[str, date]], often: float = 0.3) -> list[Fault]:
    """Draw the faults of a span.

    Parameters
    ----------
    days : sequence of (str, date)
        Every session of every market.
    often : float
        Faults for each of them.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    kinds = [(kind, None) for kind in OF_ALL] + [(kind, "one") for kind in OF_ONE]
    weights = np.array([*OF_ALL.values(), *OF_ONE.values()])
    for name, session in days:
        if rng.random() > often:
            continue
        kind, whose = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        final = exchange(name).finality(session, FINALITY)
        begins = final + timedelta(minutes=float(rng.uniform(-90, 100)))
        if kind.startswith("closure"):
            begins = final - timedelta(hours=12) if kind == "closure" else final
        drawn.append((kind, name if whose else None, begins, session, int(rng.integers(1 << 30))))
    drawn.sort(key=lambda row: row[2])
    found = []
    for number, (kind, market, begins, session, draw) in enumerate(drawn):
        ends = begins + lasting(kind, np.random.default_rng(draw))
        found.append(Fault(number, kind, market, begins, ends, session, draw))
    return found


def lasting(kind: str, rng: np.random.Generator) -> timedelta:
    """Draw how long a fault lasts."""
    if kind in _AT_ONCE:
        return timedelta(0)
    if kind == "down for days":
        return timedelta(days=float(rng.uniform(1, 6)))
    if kind == "closure":
        return timedelta(days=1)
    if kind == "closure told late":
        return timedelta(hours=float(rng.uniform(1, 30)))
    longest = 60.0 if rng.random() < 0.1 else 6.0
    return timedelta(hours=float(rng.uniform(0.1, longest)))
