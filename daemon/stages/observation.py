"""What an observation found, and how it is written: in one transaction, alerts included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from daemon.approval import Note, request_for
from daemon.context import Context, Market
from daemon.life import Move
from daemon.stages.book_watch import BookWatch
from daemon.stages.monitored import Beginning
from daemon.stages.requested import Plan
from miner.books import Seed
from signals.book_decay import BookVerdict
from signals.book_explanation import Attribution, attribution
from signals.decay import MonitorState, Verdict
from signals.watch import SILENT, Watch
from storage import alerts, history, jobs, registry, requests
from storage.history import BookRow, ICRow, MonitoredRow, ScoreICRow, StateRow


@dataclass
class Observation:
    """What a session's observation found.

    `watches` are those of live factors and of retired ones that may recover; `begun` are the
    factors that go live now, before their watches have begun.
    """

    declared: tuple[Seed, ...] = ()
    ics: list[ICRow] = field(default_factory=list)
    monitored: list[MonitoredRow] = field(default_factory=list)
    score_ics: list[ScoreICRow] = field(default_factory=list)
    moves: list[tuple[str, Move]] = field(default_factory=list)
    watches: dict[str, Watch] = field(default_factory=dict)
    beginnings: list[Beginning] = field(default_factory=list)
    verdicts: list[tuple[str, Verdict, Verdict]] = field(default_factory=list)
    settled: list[Plan] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    book: BookWatch | None = None
    job: dict[str, Any] | None = None
    damaged: str | None = None


def write(
    conn: Connection, context: Context, market: Market, session: date, found: Observation
) -> None:
    """Write an observation; the caller's transaction makes it one."""
    now = context.clock.now()
    for factor in found.declared:
        registry.add(
            conn,
            market.name,
            factor.id,
            str(factor.expression),
            origin="seed",
            session=session,
            now=now,
            hypothesis=factor.hypothesis.to_json(),
            detail={"source": factor.source},
        )
    history.append_ics(conn, found.ics)
    history.append_score_ics(conn, found.score_ics)
    history.append_monitored(conn, found.monitored)
    history.append_states(
        conn,
        [
            StateRow(
                market.name,
                name,
                session,
                watch.verdict,
                watch.evidence,
                watch.threshold,
                watch.to_json(),
            )
            for name, watch in found.watches.items()
        ],
    )
    if found.book is not None:
        write_book(conn, context, market, session, found.book)
    for name, before, after in found.verdicts:
        watch = found.watches[name]
        history.append_verdict(
            conn, market.name, name, session, before, after, explained(watch, found.book), now
        )
        alert_verdict(conn, context, market, session, name, watch, found.book)
    write_notes(conn, market, session, found, now)
    write_moves(conn, context, market, session, found)
    if found.damaged is None:
        alerts.resolve(conn, market.name, "published-damaged", now)
    else:
        alerts.raise_alert(
            conn, market.name, "published-damaged", "error", found.damaged, now, session
        )
    if found.job is not None:
        seed = market.settings.mining.seed + session.toordinal()
        jobs.open_job(conn, market.name, session, found.job, seed, now)


def write_book(
    conn: Connection, context: Context, market: Market, session: date, book: BookWatch
) -> None:
    """Write the state of the book-level test; open an alert when all weaken together."""
    state, now = book.state, context.clock.now()
    history.append_book_state(
        conn,
        BookRow(
            market.name, session, state.verdict, state.evidence, state.threshold, book.to_json()
        ),
    )
    if state.verdict is BookVerdict.WEAKENING:
        message = (
            f"the book is weakening: evidence {state.evidence:.3g} of {state.threshold:.0f} "
            f"allowed. {book.told.sentence} Look: alphad status; alphad explain {session}"
        )
        alerts.raise_alert(conn, market.name, "book-weakening", "warning", message, now, session)
    else:
        alerts.resolve(conn, market.name, "book-weakening", now)


def explained(watch: Watch, book: BookWatch | None) -> dict[str, Any]:
    """Return the numbers behind a verdict."""
    test = watch.leading
    return {
        "reason": watch.reason,
        "evidence": test.evidence,
        "threshold": test.threshold,
        "onset_sessions_ago": test.n - test.last_clear,
        "running_mean": test.ewma,
        "tested_mean": test.mean,
        "tests": {"monitored": told(watch.monitored), "raw": told(watch.raw)},
        "whose": whose(watch, book).value,
    }


def told(test: MonitorState) -> Mapping[str, float]:
    """Return the numbers of one test."""
    return {
        "evidence": test.evidence,
        "threshold": test.threshold,
        "running_mean": test.ewma,
        "tested_mean": test.mean,
    }


def whose(watch: Watch, book: BookWatch | None) -> Attribution:
    """Return whether a factor's decay is its own or comes with the book."""
    if book is None:
        return Attribution.OWN
    return attribution(watch.raw, book.state, book.told.breadth)


def write_moves(
    conn: Connection, context: Context, market: Market, session: date, found: Observation
) -> None:
    """Write the moves, in order, with what follows from them, and settle the requests."""
    now = context.clock.now()
    for name, move in found.moves:
        registry.transition(
            conn,
            market.name,
            name,
            move.to_state,
            session=session,
            rule=move.rule,
            now=now,
            evidence=move.evidence,
            joined_session=session if move.anew else None,
            baseline_start=first_of_baseline(conn, market, name) if move.anew else None,
        )
        alerts.resolve(conn, market.name, f"approval-needed:{name}", now)
        if move.to_state == "retired":  # it weighs nothing any more: nobody has to act
            for kind in ("decayed", "silent"):
                alerts.resolve(conn, market.name, f"{kind}:{name}", now)
        watch = found.watches.get(name)
        if move.to_state == "live" and watch is not None and watch.verdict is Verdict.DECAYED:
            alert_verdict(conn, context, market, session, name, watch, found.book)
    for plan in found.settled:
        requests.settle(conn, plan.request, session, outcome(plan, found), now)


def write_notes(
    conn: Connection, market: Market, session: date, found: Observation, now: datetime
) -> None:
    """Write who waits for a person and who was approved; an alert asks for as long as one waits."""
    for note in found.notes:
        registry.note(
            conn, market.name, note.factor,
            session=session, rule=note.rule, now=now, evidence=note.evidence,
        )  # fmt: skip
        key = f"approval-needed:{note.factor}"
        if note.needed:
            said = request_for(market.name, note)
            alerts.raise_alert(conn, market.name, key, "warning", said, now, session)
        else:
            alerts.resolve(conn, market.name, key, now)


def outcome(plan: Plan, found: Observation) -> str:
    """Return what `alphad requests` tells of a request, now that everything is decided."""
    moves = [f"{name} → {move.to_state}" for name, move in found.moves if name == plan.approves]
    return "; ".join(moves) if moves and plan.refusal is None else plan.outcome


def first_of_baseline(conn: Connection, market: Market, name: str) -> date | None:
    """Return where a revived factor's baseline begins: it is as long as a declared one's."""
    sessions = history.ics(conn, market.name, name).sessions
    if not len(sessions):
        return None
    first: date = sessions[-market.settings.monitor.baseline_sessions :][0].item()
    return first


def alert_verdict(
    conn: Connection,
    context: Context,
    market: Market,
    session: date,
    name: str,
    watch: Watch,
    book: BookWatch | None,
) -> None:
    """Open an alert when a factor has decayed or fallen silent, close it when it no longer is."""
    key, now, test = f"decayed:{name}", context.clock.now(), watch.leading
    if watch.verdict is Verdict.DECAYED:
        of = "monitored RankIC" if test is watch.monitored and not watch.basis.raw else "RankIC"
        together = " together with the book" if whose(watch, book) is not Attribution.OWN else ""
        message = (
            f"{name} has decayed{together}: evidence {test.evidence:.3g} of {test.threshold:.0f} "
            f"allowed, mean {of} {test.ewma:.4f} where {test.mean:.4f} was expected, since about "
            f"{test.n - test.last_clear} sessions. Its weight is cut; re-mining looks for a "
            f"successor. Look: alphad explain {name}"
        )
        alerts.raise_alert(conn, market.name, key, "warning", message, now, session)
    elif watch.verdict is not Verdict.SUSPENDED:
        alerts.resolve(conn, market.name, key, now)
    key = f"silent:{name}"
    if watch.silent >= SILENT:
        message = (
            f"{name} is not judged: {watch.reason}. Its values are missing or all alike, or too "
            f"few assets have a label. Look: alphad explain {name}; out of the book: alphad "
            f"retire {name}"
        )
        alerts.raise_alert(conn, market.name, key, "warning", message, now, session)
    else:
        alerts.resolve(conn, market.name, key, now)
