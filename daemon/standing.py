"""How a market stands with its calendar: stopped by whom, what is overdue, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from daemon.confirmation import waits_until
from daemon.context import Context, Market
from daemon.feeds.protocol import LiveFeed
from daemon.heartbeat import HEARTBEAT_LIMIT, heartbeat_path, last_signs
from storage import alerts, controls, ledger
from storage.tables import ControlState, MarketControl, RunStatus, StageRun

#: What it means that a market is stopped.
_MEANING = {
    ControlState.RUNNING: "",
    ControlState.PAUSED: ": no stage begins; what is published stands until it expires",
    ControlState.HALTED: ": no stage begins, and latest.json is withdrawn",
}
#: The states in which nothing begins, each the key of an alert, with its severity.
STOPPED = {ControlState.PAUSED: "warning", ControlState.HALTED: "error"}
_STAGES = ("ingest", "observe", "publish")


@dataclass(frozen=True)
class Overdue:
    """What a market owes.

    Parameters
    ----------
    sessions : int
        Sessions due and not published.
    oldest : date
        The first of them; the others wait for it.
    since : datetime
        When it was due.
    why : str
        What stands in its way.
    """

    sessions: int
    oldest: date
    since: datetime
    why: str

    @property
    def sentence(self) -> str:
        """It in one line."""
        others = f" (and {self.sessions - 1} after it)" if self.sessions > 1 else ""
        return f"{self.oldest}{others} was due at {self.since:%Y-%m-%d %H:%M} UTC: {self.why}"


def told_control(stands: MarketControl) -> str:
    """Return who set what a market does, when and why, in one sentence."""
    return (
        f"{stands.market} is {stands.state} by {stands.who} since {stands.at:%Y-%m-%d %H:%M} UTC "
        f"({stands.reason}){_MEANING[ControlState(stands.state)]}"
    )


def tell_control(
    conn: Connection, market: str, stands: MarketControl | None, now: datetime
) -> None:
    """Open the alert that lasts as long as a market is stopped, so that nobody forgets it."""
    for state, severity in STOPPED.items():
        if stands is not None and stands.state == state:
            said = f"{told_control(stands)}. Back: alphad resume --market {market} --reason TEXT"
            alerts.raise_alert(conn, market, state.value, severity, said, now)
        else:
            alerts.resolve(conn, market, state.value, now)


def follow_control(context: Context, market: str) -> None:
    """Let the alerts say what the database does, also after a backup was put in its place."""
    with context.database.read() as conn:
        stands = controls.control(conn, market)
        told = {alert.key for alert in alerts.open_alerts(conn, market)} & {*STOPPED}
    if told != {*STOPPED} & {stands.state if stands is not None else ControlState.RUNNING}:
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            tell_control(conn, market, controls.control(conn, market), context.clock.now())


def control_facts(stands: MarketControl | None) -> dict[str, Any]:
    """Return plain values of a control; `running` where nothing was ever set."""
    if stands is None:
        return {"state": ControlState.RUNNING.value}
    return {
        "state": stands.state,
        "reason": stands.reason,
        "who": stands.who,
        "at": stands.at.isoformat(),
    }


def overdue(context: Context, market: Market) -> Overdue | None:
    """Return what is due and not published, None where nothing is.

    Raises
    ------
    AlphadError
        The calendar does not reach so far, or the database does not answer.
    """
    minutes = market.settings.ingest.finality_minutes
    final = market.calendar.last_final(context.clock.now(), minutes)
    with context.database.read() as conn:
        last = ledger.last_session(conn, market.name, "publish")
        begun = ledger.first_session(conn, market.name, "ingest")
        stopped = controls.restraint(conn, market.name)
        oldest = market.calendar.next_session(last) if last is not None else begun or final
        runs = ledger.history(conn, market.name, session=oldest)
    if oldest > final:
        return None
    why = told_control(stopped) if stopped is not None else hindrance(context, market, runs)
    return Overdue(
        sessions=len(market.calendar.sessions(oldest, final)),
        oldest=oldest,
        since=market.calendar.finality(oldest, minutes),
        why=why,
    )


def hindrance(context: Context, market: Market, runs: list[StageRun]) -> str:
    """Return why a session that is due is not published, from its runs and the heartbeat."""
    now = context.clock.now()
    beaten, _ = last_signs(heartbeat_path(context.settings.state_dir))
    if beaten is None or abs((now - beaten).total_seconds()) > HEARTBEAT_LIMIT:
        when = f"it last beat at {beaten:%Y-%m-%d %H:%M} UTC" if beaten else "it never beat"
        return f"no daemon runs: {when}"
    newest = {run.stage: run for run in sorted(runs, key=lambda run: run.revision)}
    done = {name for name, run in newest.items() if run.status == RunStatus.SUCCEEDED}
    stage = next((name for name in _STAGES if name not in done), "publish")
    run = newest.get(stage)
    if run is None or run.status == RunStatus.ABANDONED:
        return f"its {stage} begins with the next tick"
    if run.status == RunStatus.RUNNING:
        return f"its {stage} runs since {run.started_at:%H:%M} UTC (attempt {run.attempts})"
    fact = (run.error or "").split("\n", maxsplit=1)[0]
    waits = stage == "ingest" and isinstance(market.feed, LiveFeed)
    until = waits_until(run, now) if waits else None
    again = "with the next tick"
    if until is not None and until > now:
        again = f"at {until:%H:%M} UTC; sooner with: alphad run-now --market {market.name}"
    return f"its {stage} failed (attempt {run.attempts}): {fact}. It is tried again {again}"
