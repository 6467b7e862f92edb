"""The person whom a promotion may need: who waits for one, since when, and what is said of it.

With `book.approval` a factor in shadow that would go live says so once, as a note in its history,
and stays where it is until an operator has approved it. Its trial is over meanwhile: the clock of
`book.shadow_max` stands still, and no place that is lost while it waits rejects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from daemon.life import Move
from storage.tables import FactorEvent

#: What marks a note in a factor's history.
NEEDED, GIVEN = "needed", "given"


@dataclass(frozen=True)
class Approval:
    """How a factor that has won stands with the person.

    Parameters
    ----------
    asked : date
        The session at whose close it had won.
    given : date or None
        The session with whose observation it was approved; None while it waits.
    waited : int
        Sessions it has waited for that.
    """

    asked: date
    given: date | None = None
    waited: int = 0


@dataclass(frozen=True)
class Note:
    """Something to be kept in a factor's history that leaves its state as it is."""

    factor: str
    rule: str
    evidence: dict[str, Any]

    @property
    def needed(self) -> bool:
        """Whether it asks for a person."""
        return bool(self.evidence["approval"] == NEEDED)


def approval_in(events: Sequence[FactorEvent]) -> Approval | None:
    """Return how a factor stands with the person since its last change of state, if it asked."""
    found: Approval | None = None
    for event in events:
        kind = (event.evidence or {}).get("approval")
        if event.from_state != event.to_state:
            found = None
        elif kind == NEEDED:
            found = Approval(event.session)
        elif kind == GIVEN and found is not None:
            found = replace(found, given=event.session)
    return found


def last_change(events: Sequence[FactorEvent]) -> FactorEvent:
    """Return the last event that changed a factor's state."""
    return [event for event in events if event.from_state != event.to_state][-1]


def asks(factor: str, won: Move) -> Note:
    """Return the note of a factor that has won and would make a move if nobody had to approve."""
    return Note(factor, f"waits for approval: {won.rule}", {**won.evidence, "approval": NEEDED})


def settle_with_person(
    factor: str, move: Move | None, held: Approval | None, *, expired: bool
) -> tuple[Move | None, Note | None]:
    """Return what becomes of a factor whose promotion needs a person, and the note it makes.

    Parameters
    ----------
    move : Move or None
        What it would do by its evidence alone.
    held : Approval or None
        How it stands with the person; None before it has won.
    expired : bool
        Whether its trial has lasted `book.shadow_max` sessions, those it waited not counted.
    """
    if held is None:
        if move is not None and move.to_state == "live":
            return None, asks(factor, move)
        return move, None
    if held.given is None:
        return None, None
    if move is not None and move.to_state != "live" and not expired:
        return None, None  # its place was lost while it waited: it may wait for another
    return move, None


def request_for(market: str, note: Note) -> str:
    """Return what the alert says: what was won, and the two commands that end the wait."""
    ends = f"{note.factor} --market {market} --reason TEXT"
    instead = note.evidence.get("replaces")
    place = f"in the place of {instead}" if instead else "beside the others"
    return (
        f"{note.factor} has won its trial in shadow, with RankIC "
        f"{note.evidence['forward_rank_ic']:+.4f} in {note.evidence['forward_sessions']} sessions, "
        f"and waits to go live {place} until a person approves it: alphad approve {ends}. Refuse "
        f"it with: alphad retire {ends}. Look: alphad explain {note.factor}"
    )
