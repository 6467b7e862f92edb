"""What an observation has to know from the registry before it judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from sqlalchemy import Connection

from daemon import life
from daemon.approval import Approval, approval_in
from daemon.context import Market
from daemon.stages.book import Factor, load_factors
from daemon.stages.requested import COMMANDS, Plan, by_command, planned
from storage import registry, requests
from storage.tables import FactorState

#: States whose ICs are measured; the retired are for as long as they may recover.
MEASURED = (FactorState.CANDIDATE, FactorState.SHADOW, FactorState.LIVE)


@dataclass(frozen=True)
class Facts:
    """What the registry says beyond the factors themselves.

    Parameters
    ----------
    plans : tuple of Plan
        What operators have asked for since the last observation.
    recovering : mapping of str to bool
        The retired factors that revive by themselves, and whether this is their first session.
    approvals : mapping of str to Approval
        The factors in shadow that have asked for a person, where one is needed.
    """

    plans: tuple[Plan, ...] = ()
    recovering: Mapping[str, bool] = field(default_factory=dict)
    approvals: Mapping[str, Approval] = field(default_factory=dict)


NO_FACTS = Facts()


def measured_factors(conn: Connection, market: Market, session: date) -> list[Factor]:
    """Return the factors whose ICs are measured at `session`, ordered by id, with monitors."""
    since = retirements(conn, market, session)
    everyone = load_factors(conn, market, (*MEASURED, FactorState.RETIRED))
    return [f for f in everyone if f.state is not FactorState.RETIRED or f.id in since]


def retirements(conn: Connection, market: Market, session: date) -> dict[str, int]:
    """Return the retired factors that are still measured, with the sessions since."""
    calendar, book = market.calendar, market.settings.book
    rows = registry.factors(conn, market.name, [FactorState.RETIRED])
    since = {
        row.id: len(calendar.sessions(row.retired_session, session)) - 1
        for row in rows
        if row.retired_session is not None
    }
    return {name: n for name, n in since.items() if life.measured_retired(n, book)}


def load_facts(conn: Connection, market: Market, session: date) -> Facts:
    """Return what `judge` has to know from the registry."""
    since = retirements(conn, market, session)
    recovering = {
        name: n <= 1
        for name, n in since.items()
        if not by_command(registry.events(conn, market.name, name))
    }
    waiting = requests.pending(conn, market.name, COMMANDS)
    plans = tuple(planned(conn, market.name, request) for request in waiting)
    return Facts(plans, recovering, load_approvals(conn, market, session))


def load_approvals(conn: Connection, market: Market, session: date) -> dict[str, Approval]:
    """Return who waits for a person, or has been approved and waits for a place."""
    if not market.settings.book.approval:
        return {}
    found = {}
    for row in registry.factors(conn, market.name, [FactorState.SHADOW]):
        held = approval_in(registry.events(conn, market.name, row.id))
        if held is not None:
            waited = len(market.calendar.sessions(held.asked, held.given or session)) - 1
            found[row.id] = replace(held, waited=waited)
    return found
