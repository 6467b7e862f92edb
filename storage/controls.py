"""What an operator lets each market do: run, pause or halt; it stays so until an operator ends it.

::

    running ◀─▶ paused     nothing new is begun; what is published stands
    running ◀── halted     nothing new is begun, and `latest.json` is withdrawn (the kill switch)
         └──▶ or paused, to halted

A market without a row runs. Whoever acts on a state holds it meanwhile (`hold`), so that nobody can
be halted between the look and the act.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, text

from signals.errors import DataError
from storage.database import upsert
from storage.tables import ControlState, MarketControl, record, table

_CONTROLS = table(MarketControl)


def control(connection: Connection, market: str) -> MarketControl | None:
    """Return what was last set for a market, None where nothing ever was."""
    query = select(_CONTROLS).where(_CONTROLS.c.market == market)
    row = connection.execute(query).mappings().first()
    return None if row is None else record(MarketControl, row)


def state_of(connection: Connection, market: str) -> ControlState:
    """Return what a market may do."""
    found = control(connection, market)
    return ControlState.RUNNING if found is None else ControlState(found.state)


def restraint(connection: Connection, market: str) -> MarketControl | None:
    """Return by whom and why a market is paused or halted, None where it runs."""
    found = control(connection, market)
    return None if found is None or found.state == ControlState.RUNNING else found


def set_state(
    connection: Connection,
    market: str,
    state: ControlState | str,
    *,
    reason: str,
    who: str,
    now: datetime,
) -> MarketControl:
    """Set what a market may do and return it; the same state again keeps who was first, and why.

    Raises
    ------
    DataError
        A halted market is to be paused: that would put back what was withdrawn.
    """
    hold(connection)
    wanted, before = ControlState(state), control(connection, market)
    standing = ControlState.RUNNING if before is None else ControlState(before.state)
    if (standing, wanted) == (ControlState.HALTED, ControlState.PAUSED):
        raise DataError(
            f"{market} is halted",
            rule="a halt has withdrawn latest.json, and only its end puts it back",
            hint=f"alphad resume --market {market} --reason TEXT, then pause it",
        )
    if before is not None and standing is wanted:
        return before
    changed = MarketControl(market=market, state=wanted.value, reason=reason, who=who, at=now)
    upsert(connection, MarketControl, [changed.model_dump()])
    return changed


def hold(connection: Connection) -> None:
    """Keep every control as it is until the transaction ends; others may read them meanwhile.

    SQLite's write transaction does so by itself.
    """
    if connection.dialect.name == "postgresql":
        name = _CONTROLS.name
        connection.execute(text(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE"))
