"""Epochs: one life of a daemon each; the highest number alone may write.

A lock on the state directory guards one host. Where several hosts share a database, the number is
a fencing token: a paused instance that wakes up after another one has begun finds a higher number
in the very transaction it wanted to commit. A later epoch waits for transactions that have checked
theirs, so that what it finds at its start is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, func, insert, inspect, select, text, update

from signals.errors import AlreadyRunningError, ReservationError
from storage.files import disk_errors, write_atomic
from storage.tables import Epoch, record, table

_EPOCHS = table(Epoch)

#: How long an epoch that was not ended lives on after its last renewal.
LEASE = timedelta(seconds=90)
#: How long a beginning epoch waits for transactions of the one before, where the server locks rows.
_LOCK_WAIT = "10s"
#: The advisory lock of the server that whoever begins an epoch holds: one begins at a time.
_BEGINNING = 0x616C706861


def instance_of(state_dir: Path) -> str:
    """Return the id of a state directory, made at random once; to be called under its lock.

    Whoever holds the lock is that instance, whatever its host is called: names and paths are alike
    where containers are.
    """
    path = state_dir / "instance"
    with disk_errors(f"reading {path}"):
        known = path.read_bytes().strip() if path.exists() else b""
    if re.fullmatch(rb"[0-9a-f]{32}", known):
        return known.decode()
    made = token_hex(16)
    write_atomic(path, f"{made}\n".encode(), mode=0o600)
    return made


def check_lease(
    connection: Connection, *, instance: str, now: datetime, lease: timedelta = LEASE
) -> None:
    """Refuse what is not to be done while another instance lives, before anything is written.

    Tables that were never migrated have no owner.

    Raises
    ------
    AlreadyRunningError
        Another instance's lease has not run out; names its host, process and when it does.
    """
    if inspect(connection).has_table(_EPOCHS.name):
        last = current(connection)
        if last is not None:
            _refuse(last, instance, now, lease)


def _refuse(last: Epoch, instance: str, now: datetime, lease: timedelta) -> None:
    """Refuse to begin while the newest epoch is another instance's and lives.

    One that was renewed in the future was so by a clock that is wrong, and nobody waits for that:
    should its instance live, its next write is refused.
    """
    until = last.renewed_at + lease
    over = last.ended_at is not None or now >= until or last.renewed_at > now + lease
    if over or last.instance == instance:
        return
    raise AlreadyRunningError(
        f"process {last.pid} on host {last.host} owns this database "
        f"(epoch {last.number}, state in {last.state_dir}) until {until:%Y-%m-%d %H:%M:%S} "
        "UTC",
        rule="one instance per database; its lease is renewed as long as it lives",
        hint="stop that instance, or wait until its lease has run out",
    )


def begin_epoch(
    connection: Connection,
    *,
    instance: str,
    host: str,
    pid: int,
    state_dir: str,
    version: str,
    now: datetime,
    lease: timedelta = LEASE,
) -> int:
    """Begin an epoch and return its number; every earlier one is over with this.

    Parameters
    ----------
    instance : str
        The id of the state directory; the same one takes over at once, because the lock on the
        directory has proved the old process dead.
    host, pid, state_dir, version : str, int, str, str
        What messages tell of the instance.
    now : datetime
        Aware UTC.
    lease : timedelta
        How long another instance's last renewal keeps this one out.

    Raises
    ------
    AlreadyRunningError
        Another instance's lease has not run out; names its host, process and when it does.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
        connection.execute(select(func.pg_advisory_xact_lock(_BEGINNING)))
    query = select(_EPOCHS).order_by(_EPOCHS.c.number.desc()).limit(1).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is not None:
        _refuse(record(Epoch, row), instance, now, lease)
    number = 1 if row is None else int(row["number"]) + 1
    values: Mapping[str, Any] = {
        "number": number,
        "instance": instance,
        "host": host,
        "pid": pid,
        "state_dir": state_dir,
        "version": version,
        "started_at": now,
        "renewed_at": now,
        "ended_at": None,
    }
    connection.execute(insert(_EPOCHS), values)
    return number


def renew(connection: Connection, number: int, now: datetime) -> None:
    """Renew the lease of an epoch.

    Raises
    ------
    ReservationError
        A later epoch has begun.
    """
    require_current(connection, number)
    connection.execute(
        update(_EPOCHS).where(_EPOCHS.c.number == number), {"renewed_at": now, "ended_at": None}
    )


def end(connection: Connection, number: int, now: datetime) -> None:
    """End an epoch: whoever comes next need not wait for its lease."""
    connection.execute(
        update(_EPOCHS).where(_EPOCHS.c.number == number), {"renewed_at": now, "ended_at": now}
    )


def require_current(connection: Connection, number: int) -> None:
    """Refuse to go on once a later epoch has begun, or begins before this transaction ends.

    Raises
    ------
    ReservationError
        Another instance has taken over.
    """
    # the lock makes a beginning epoch wait for us; once we have waited for it, its row is seen
    held = select(_EPOCHS.c.number).where(_EPOCHS.c.number == number)
    connection.execute(held.with_for_update(read=True, key_share=True)).first()
    newest = connection.execute(select(func.max(_EPOCHS.c.number))).scalar()
    if newest is not None and newest > number:
        later = current(connection)
        who = f"process {later.pid} on host {later.host}" if later else "another"
        raise ReservationError(
            f"another instance has taken over: epoch {number} is over, {who} began epoch {newest}",
            rule="only the instance of the newest epoch may write",
            hint="end this instance; its work is done by the other one",
        )


def current(connection: Connection) -> Epoch | None:
    """Return the newest epoch, None before the first."""
    query = select(_EPOCHS).order_by(_EPOCHS.c.number.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else record(Epoch, row)
