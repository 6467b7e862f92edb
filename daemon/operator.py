"""What an operator asks for: of a factor, of a market, and what came of it.

`alphad rollback`, `revive`, `retire` and `approve` only write a request, also while the daemon
runs; the next observation of the market applies it in its own transaction, exactly once, or refuses
it with a reason. `alphad run-now` writes one that the next tick answers. `alphad pause`, `resume`
and `halt` take effect at once, whether the daemon runs or not, and are kept among the requests.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from rich.table import Table

from daemon.context import Context
from daemon.inspection import chosen, only, opened, say
from daemon.passes import RUN_NOW
from daemon.stages.requested import plan
from daemon.standing import tell_control, told_control
from signals.errors import AlphadError, ConfigError, DataError, StorageError
from storage import controls, requests
from storage.tables import ControlState, MarketControl, OperatorRequest

log = structlog.get_logger()

#: The command that sets each state, in the table of requests.
_COMMANDS = {
    ControlState.RUNNING: "resume",
    ControlState.PAUSED: "pause",
    ControlState.HALTED: "halt",
}


def request(path: Path | None, name: str | None, command: str, factor: str, reason: str) -> int:
    """Write a request, unless it is known already that it would be refused.

    Parameters
    ----------
    path : Path or None
        The settings file.
    name : str or None
        The market; None for the only one.
    command : str
        One of `daemon.stages.requested.COMMANDS`.
    factor : str
        Id of the factor.
    reason : str
        For the registry.

    Raises
    ------
    DataError
        An unknown factor, nothing to do or to undo, or no reason.
    ReservationError
        The same is asked for already.
    StorageError
        The tables are those of an earlier release.
    """
    context = opened(path)
    market = only(context, name)
    check_reason(reason)
    arguments = {"factor": factor}
    now, who = context.clock.now(), operating_user()
    with context.database.transaction() as conn:
        asked = OperatorRequest(
            market=market.name,
            command=command,
            arguments=arguments,
            reason=reason,
            who=who,
            requested_at=now,
        )
        intended = plan(conn, market.name, asked)
        written = requests.ask(
            conn, market.name, command, arguments, reason=reason, who=who, now=now
        )
    Console().print(
        f"request {written.number}: {intended.outcome}. The next observation of {market.name} "
        "applies it; alphad requests shows the outcome.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def check_reason(reason: str) -> None:
    """Raise a DataError where nothing is said."""
    if not reason.strip():
        raise DataError(
            "no reason is given",
            rule="what is done by command is explained: it is kept for ever",
            hint='as in: --reason "its data are wrong"',
        )


def set_control(
    context: Context, market: str, state: ControlState | str, *, reason: str, who: str
) -> MarketControl:
    """Pause, halt or resume a market: in the database at once, and then in its published tree.

    A daemon that runs asks the database before each stage and each move of the pointer; one that
    was killed between the two steps, or this process, leaves the second to its next tick or start.

    Parameters
    ----------
    state : ControlState
        The same as it is again is no error: the tree is made to agree once more.

    Raises
    ------
    ConfigError
        No such market.
    DataError
        No reason, or a halted market is to be paused.
    StorageError
        The database refused, and nothing has changed; or the tree did, and the text says so.
    """
    context.settings.market(market)
    check_reason(reason)
    wanted, now = ControlState(state), context.clock.now()
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        before = controls.control(conn, market)
        after = controls.set_state(conn, market, wanted, reason=reason, who=who, now=now)
        outcome = f"{before.state if before else ControlState.RUNNING} → {after.state}"
        if before == after:
            outcome = f"was {after.state} already, by {after.who}"
        asked = requests.ask(conn, market, _COMMANDS[wanted], {}, reason=reason, who=who, now=now)
        requests.settle(conn, asked, None, outcome, now)
        tell_control(conn, market, after, now)
    log.warning("control", market=market, state=after.state, who=who, reason=reason)
    try:
        context.publisher.point(market)
    except StorageError as error:
        raise StorageError(
            f"{market} is {after.state}, but its published tree does not show it: {error.fact}",
            rule="a control counts from the moment it is in the database",
            hint="a running daemon goes on trying with each tick; else mend the disk and repeat "
            "the command",
            retryable=True,
        ) from error
    return after


def control(
    path: Path | None, name: str | None, state: ControlState, reason: str, *, everything: bool
) -> int:
    """Pause, halt or resume markets; needs neither their calendars nor their feeds."""
    context = opened(path, names=())
    console = Console()
    failed: list[AlphadError] = []
    for market in stated(context, name, everything=everything):
        try:
            done = set_control(context, market, state, reason=reason, who=operating_user())
            console.print(told_control(done), highlight=False, soft_wrap=True, markup=False)
        except AlphadError as error:  # the other markets are not to wait for this one
            failed.append(error)
    if failed:
        raise failed[0]
    return 0


def stated(context: Context, name: str | None, *, everything: bool) -> list[str]:
    """Return the market that is named, the only one, or all where that is said."""
    markets = list(context.settings.markets)
    if everything:
        return markets
    if name is not None:
        context.settings.market(name)
        return [name]
    if len(markets) != 1:
        raise ConfigError(
            f"several markets are configured: {', '.join(markets)}",
            rule="it is said which market is meant",
            hint="name it with --market, or say --all",
        )
    return markets


def run_now(path: Path | None, name: str | None, reason: str) -> int:
    """Ask for a pass over a market that does not wait after a fetch that failed.

    Raises
    ------
    DataError
        The market is paused or halted.
    ReservationError
        The same is asked for already.
    """
    context = opened(path, names=())
    [market] = stated(context, name, everything=False)
    with context.database.transaction() as conn:
        stopped = controls.restraint(conn, market)
        if stopped is not None:
            raise DataError(
                told_control(stopped),
                rule="no stage begins in a market that is stopped",
                hint=f"alphad resume --market {market} --reason TEXT",
            )
        written = requests.ask(
            conn, market, RUN_NOW, {}, reason=reason, who=operating_user(),
            now=context.clock.now(),
        )  # fmt: skip
    Console().print(
        f"request {written.number}: the next tick of the daemon (every "
        f"{context.settings.tick_seconds} s) passes over {market} without waiting; alphad requests "
        "shows what came of it.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def show_requests(path: Path | None, name: str | None, *, as_json: bool) -> int:
    """List what was asked for, by whom and why, and what came of it."""
    context = opened(path)
    with context.database.read() as conn:
        rows = [row for m in chosen(context, name) for row in requests.requests(conn, m.name)]
    rows.sort(key=lambda row: row.number or 0)
    if as_json:
        say([as_row(row) for row in rows])
        return 0
    table = Table("number", "market", "request", "by", "at", "because", "outcome")
    for row in rows:
        when = f" ({row.applied_session})" if row.applied_session else ""
        table.add_row(
            str(row.number),
            row.market,
            " ".join([row.command, *map(str, row.arguments.values())]),
            row.who,
            f"{row.requested_at:%Y-%m-%d %H:%M}",
            row.reason,
            (row.outcome or waits_for(row)) + when,
        )
    Console().print(table if rows else "nothing was asked for")
    return 0


def as_row(row: OperatorRequest) -> dict[str, Any]:
    """Return a request as plain values, in the order of its table."""
    return {name: getattr(row, name) for name in OperatorRequest.model_fields}


def waits_for(row: OperatorRequest) -> str:
    """Return what answers a request that waits."""
    return "waits for the next " + ("tick" if row.command == RUN_NOW else "observation")


def operating_user() -> str:
    """Return the name of the user this process runs as, its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
