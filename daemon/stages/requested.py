"""What operators ask for, as moves of factors: planned from the registry, refused with a reason.

::

    retire F    live or shadow ─▶ retired
    revive F    retired ─▶ shadow, where it has to win on forward RankICs again
    rollback F  F replaced G    F: live ─▶ retired    G: retired ─▶ shadow ─▶ live
                F was retired   F: retired ─▶ shadow, and ─▶ live if it was retired from there
                F was revived   F: shadow ─▶ retired
    approve F   F has won in shadow and waits for a person: it goes live by the evidence it has

What comes back to live has its monitor as it was when it retired. Nothing is deleted: each step is
an event whose rule names the operator and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from daemon.approval import approval_in, last_change
from daemon.life import Move
from signals.errors import DataError
from signals.watch import Watch
from storage import history, registry
from storage.tables import Factor, FactorEvent, FactorState, OperatorRequest


@dataclass(frozen=True)
class Plan:
    """What a request comes to: moves in order, or why it is refused."""

    request: OperatorRequest
    moves: tuple[tuple[str, Move], ...] = ()
    watches: dict[str, Watch] = field(default_factory=dict)
    refusal: str | None = None
    #: The factor whose promotion is approved; its evidence decides what becomes of it.
    approves: str | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """The factors it is about."""
        moved = tuple(name for name, _ in self.moves)
        return moved if self.approves is None else (*moved, self.approves)

    @property
    def outcome(self) -> str:
        """What `alphad requests` tells of it."""
        if self.refusal is not None:
            return f"refused: {self.refusal}"
        if self.approves is not None:
            return f"{self.approves} is approved, and goes live as soon as it has a place"
        return "; ".join(f"{name} → {move.to_state}" for name, move in self.moves)


def by_command(events: Iterable[FactorEvent]) -> bool:
    """Return whether the last of a factor's moves was asked for: only a command undoes it."""
    last = list(events)[-1:]
    return any("request" in (event.evidence or {}) for event in last)


def plan(conn: Connection, market: str, request: OperatorRequest) -> Plan:
    """Return the moves that a request comes to, as the registry stands.

    Raises
    ------
    DataError
        The factor is unknown, or stands where there is nothing to do.
    """
    name = str(request.arguments["factor"])
    factor = registry.get(conn, market, name)
    if factor is None:
        known = ", ".join(f.id for f in registry.factors(conn, market)) or "none"
        raise DataError(
            f"{market} has no factor {name!r}",
            rule=f"a factor is named by its id: {known}",
            hint="alphad factors lists them",
        )
    return _PLANS[request.command](conn, factor, request)


def planned(conn: Connection, market: str, request: OperatorRequest) -> Plan:
    """Return the plan of a stored request, a refusal included."""
    try:
        return plan(conn, market, request)
    except DataError as error:
        return Plan(request, refusal=error.fact)


def step(request: OperatorRequest, to_state: FactorState, verb: str, *, anew: bool = False) -> Move:
    """Return one move of a request."""
    rule = f"{verb} by {request.who}: {request.reason}"
    return Move(to_state.value, rule, {"request": request.number}, anew=anew)


def plan_retirement(_conn: Connection, factor: Factor, request: OperatorRequest) -> Plan:
    """Retire a factor."""
    if factor.state not in (FactorState.LIVE, FactorState.SHADOW):
        raise DataError(
            f"{factor.id} is {factor.state}",
            rule="live factors and those in shadow can be retired",
            hint=f"look: alphad explain {factor.id}",
        )
    return Plan(request, ((factor.id, step(request, FactorState.RETIRED, "retired")),))


def plan_revival(_conn: Connection, factor: Factor, request: OperatorRequest) -> Plan:
    """Put a retired factor to the test again."""
    if factor.state != FactorState.RETIRED:
        raise DataError(
            f"{factor.id} is {factor.state}",
            rule="only a retired factor is revived",
            hint=f"look: alphad explain {factor.id}",
        )
    move = step(request, FactorState.SHADOW, "revived", anew=True)
    return Plan(request, ((factor.id, move),))


def plan_rollback(conn: Connection, factor: Factor, request: OperatorRequest) -> Plan:
    """Undo a factor's last move, if it is a replacement, a retirement or a revival."""
    last = last_change(registry.events(conn, factor.market, factor.id))
    back = step(request, FactorState.RETIRED, "rolled back")
    replaced = (last.evidence or {}).get("replaces")
    if last.to_state == FactorState.LIVE and replaced is not None:
        incumbent = registry.get(conn, factor.market, str(replaced))
        if incumbent is None or incumbent.state != FactorState.RETIRED:
            raise DataError(
                f"{factor.id} replaced {replaced}, which is no longer retired",
                rule="a replacement is undone while the one replaced is retired",
                hint=f"retire it alone: alphad retire {factor.id}",
            )
        undone = restoration(conn, incumbent, request)
        return Plan(request, ((factor.id, back), *undone.moves), undone.watches)
    if last.to_state == FactorState.RETIRED:
        return restoration(conn, factor, request)
    if last.to_state == FactorState.SHADOW and last.from_state == FactorState.RETIRED:
        return Plan(request, ((factor.id, back),))
    raise DataError(
        f"the last move of {factor.id}, {last.from_state or 'new'} → {last.to_state} at "
        f"{last.session}, is none to undo",
        rule="a rollback undoes a replacement, a retirement or a revival",
        hint=f"look: alphad explain {factor.id}; out of the book: alphad retire {factor.id}",
    )


def plan_approval(conn: Connection, factor: Factor, request: OperatorRequest) -> Plan:
    """Let a factor that has won go live."""
    held = approval_in(registry.events(conn, factor.market, factor.id))
    if factor.state != FactorState.SHADOW or held is None or held.given is not None:
        stands = "approved already" if held is not None else f"{factor.state}"
        raise DataError(
            f"{factor.id} does not wait for approval: it is {stands}",
            rule="what is approved is a promotion whose evidence is there (book.approval)",
            hint=f"look: alphad explain {factor.id}",
        )
    return Plan(request, approves=factor.id)


def restoration(conn: Connection, factor: Factor, request: OperatorRequest) -> Plan:
    """Bring a retired factor back to where it was retired from."""
    retired = registry.events(conn, factor.market, factor.id)[-1]
    shadow = (factor.id, step(request, FactorState.SHADOW, "rolled back"))
    if retired.from_state != FactorState.LIVE:
        return Plan(request, (shadow,))
    live = (factor.id, step(request, FactorState.LIVE, "rolled back"))
    record = history.last_state(conn, factor.market, factor.id, until=retired.session)
    watches = {} if record is None else {factor.id: Watch.from_json(record.state)}
    return Plan(request, (shadow, live), watches)


_PLANS: dict[str, Callable[[Connection, Factor, OperatorRequest], Plan]] = {
    "rollback": plan_rollback,
    "retire": plan_retirement,
    "revive": plan_revival,
    "approve": plan_approval,
}
#: What can be asked for.
COMMANDS = tuple(_PLANS)
