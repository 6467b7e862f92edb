"""Judge: what each factor's ICs say, which factor moves, whether the book needs re-mining.

In this order, so that each sees what the former decided: what operators asked for, live factors,
retired ones that are still measured, declared candidates, challengers in shadow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np

from daemon import challenger, life
from daemon.approval import GIVEN, Approval, Note, settle_with_person
from daemon.challenger import Series
from daemon.context import Context, Market
from daemon.stages.book import Factor
from daemon.stages.facts import NO_FACTS, Facts
from daemon.stages.measure import Measured, joined
from daemon.stages.monitored import Beginning
from daemon.stages.observation import Observation
from daemon.stages.requested import Plan
from signals.decay import MonitorState, false_alarm_threshold
from signals.panel import Panel
from storage import history, jobs
from storage.tables import FactorState


@dataclass(frozen=True)
class News:
    """What a session brings to the watches over live factors.

    Parameters
    ----------
    monitored : mapping of str to float
        Monitored RankICs realised now.
    suspended : str or None
        Why nothing realised now may be judged by, if it may not.
    holes : mapping of str to str
        Why one factor may not be judged.
    """

    monitored: Mapping[str, float] = field(default_factory=dict)
    suspended: str | None = None
    holes: Mapping[str, str] = field(default_factory=dict)

    def fault(self, name: str) -> str | None:
        """Return why a factor may not be judged now, if it may not."""
        return self.suspended or self.holes.get(name)


def judge(
    market: Market,
    found: Observation,
    factors: Sequence[Factor],
    known: Mapping[str, history.ICSeries],
    new: Mapping[str, Measured],
    news: News,
    facts: Facts = NO_FACTS,
) -> None:
    """Fill in the moves, watches and verdicts that follow from the ICs, and from requests."""
    settings, horizon = market.settings, market.settings.label.horizon
    asked = apply_requests(market, found, factors, facts.plans)
    of = {state: [f for f in factors if f.state is state] for state in FactorState}
    threshold = alarm_threshold(market, factors)
    for factor in of[FactorState.LIVE]:
        judge_live(found, factor, new.get(factor.id, []), news, threshold, factor.id in asked)
    if news.suspended is None:
        for factor in of[FactorState.RETIRED]:
            if factor.id in facts.recovering and factor.id not in asked:
                watch_retired(found, factor, new.get(factor.id, []), news, facts)
    for factor in of[FactorState.CANDIDATE]:
        seen = joined(known.get(factor.id), new.get(factor.id, []))
        move, monitor = life.judge_candidate(seen.rank_ic, horizon, settings.monitor)
        if move is not None:
            found.moves.append((factor.id, move))
        if monitor is not None:
            finite = seen.sessions[np.isfinite(seen.rank_ic)]
            first = finite[-settings.monitor.baseline_sessions].item()
            found.beginnings.append(beginning(factor, monitor, first, seen))
    if news.suspended is not None:
        return
    for factor in of[FactorState.SHADOW]:
        if factor.id not in asked:
            judge_shadow(market, found, factor, factors, known, new, facts.approvals)


def judge_live(
    found: Observation,
    factor: Factor,
    fresh: Measured,
    news: News,
    threshold: float,
    asked: bool,  # noqa: FBT001 - the one fact
) -> None:
    """Feed a live factor's watch; `asked`: an operator's request moves it now."""
    if factor.watch is None:
        return
    followed = life.follow(
        factor.watch,
        news.monitored.get(factor.id, math.nan),
        newest(fresh),
        threshold,
        news.fault(factor.id),
    )
    found.watches[factor.id] = followed.watch
    if followed.left is not None:
        found.verdicts.append((factor.id, followed.left, followed.watch.verdict))
    if followed.retire is not None and not asked:
        found.moves.append((factor.id, followed.retire))


def alarm_threshold(market: Market, factors: Sequence[Factor]) -> float:
    """Return A for the book as it stands."""
    live = sum(factor.state is FactorState.LIVE for factor in factors)
    return false_alarm_threshold(max(live, 1), market.settings.monitor.sessions_per_false_alarm)


def beginning(factor: Factor, raw: MonitorState, first: date, seen: Series) -> Beginning:
    """Return how the watch over a factor that goes live begins."""
    return Beginning(factor, raw, first, seen.sessions[~np.isfinite(seen.rank_ic)])


def apply_requests(
    market: Market, found: Observation, factors: Sequence[Factor], plans: Sequence[Plan]
) -> set[str]:
    """Take over what operators asked for; return the factors that thereby have their move.

    One whose promotion is approved is not among them: it is judged as the others are.
    """
    most = market.settings.book.max_live
    moved: dict[str, int | None] = {}
    approved: set[str] = set()
    for plan in plans:
        first = next((moved[name] for name in plan.subjects if name in moved), None)
        now = len(live_ids(standing(factors, found.moves)))
        then = len(live_ids(standing(factors, [*found.moves, *plan.moves])))
        if first is not None:
            found.settled.append(Plan(plan.request, refusal=f"request {first} came first"))
        elif then > max(now, most):
            found.settled.append(Plan(plan.request, refusal=f"the book is full ({most} live)"))
        else:
            found.settled.append(plan)
            found.moves += plan.moves
            found.watches |= plan.watches
            moved |= dict.fromkeys(plan.subjects, plan.request.number)
            if plan.approves is not None:
                approved.add(plan.approves)
                rule = f"approved by {plan.request.who}: {plan.request.reason}"
                evidence = {"request": plan.request.number, "approval": GIVEN}
                found.notes.append(Note(plan.approves, rule, evidence))
    return set(moved) - approved


def watch_retired(
    found: Observation, factor: Factor, fresh: Measured, news: News, facts: Facts
) -> None:
    """Look for recovery in a retired factor's RankICs since it retired."""
    if factor.watch is None:
        return
    watch = life.begin_recovery(factor.watch) if facts.recovering[factor.id] else factor.watch
    watch, move = life.judge_retired(watch, news.monitored.get(factor.id, math.nan), newest(fresh))
    found.watches[factor.id] = watch
    if move is not None:
        found.moves.append((factor.id, move))


def newest(fresh: Measured) -> float:
    """Return the RankIC realised now: one session is realised at a time.

    More are news of a factor that was not measured for a while.
    """
    return fresh[-1][2] if fresh else math.nan


def judge_shadow(
    market: Market,
    found: Observation,
    factor: Factor,
    factors: Sequence[Factor],
    known: Mapping[str, history.ICSeries],
    new: Mapping[str, Measured],
    approvals: Mapping[str, Approval],
) -> None:
    """Judge one challenger: by itself, against the incumbents that have decayed, by a person."""
    book, horizon = market.settings.book, market.settings.label.horizon
    seen = since(joined(known.get(factor.id), new.get(factor.id, [])), factor.baseline_start)
    forward = seen.sessions >= np.datetime64(factor.joined_session, "D")
    move, monitor = challenger.judge_challenger(
        seen.rank_ic[~forward], seen.rank_ic[forward], horizon, book
    )
    if move is not None and move.to_state == "live" and factor.joined_session is not None:
        alive = live_ids(standing(factors, found.moves))
        duels = [
            challenger.duel(
                seen,
                name,
                since(joined(known.get(name), new.get(name, [])), factor.baseline_start),
                joined=factor.joined_session,
                mean=move.evidence["expected_rank_ic"],
                horizon=horizon,
                book=book,
            )
            for name in decayed_live(market, found, alive)
        ]
        held = approvals.get(factor.id)
        if held is not None and any(n.factor == factor.id and not n.needed for n in found.notes):
            held = replace(held, given=held.asked)  # with this observation
        expired = int(forward.sum()) - (held.waited if held else 0) >= book.shadow_max
        move, met = challenger.settle(
            move, duels, place=len(alive) < book.max_live, expired=expired
        )
        if book.approval:
            move, note = settle_with_person(factor.id, move, held, expired=expired)
            found.notes += [note] if note is not None else []
            met = met if move is not None else None
        if met is not None:
            gone = challenger.replaced(met, factor.id, found.watches[met.incumbent])
            found.moves.append((met.incumbent, gone))
    if move is not None:
        if move.to_state == "rejected" and factor.watch is not None:  # it has been live before
            move = replace(move, to_state="retired")
        found.moves.append((factor.id, move))
        if move.to_state == "live" and monitor is not None:
            first = factor.baseline_start or seen.sessions[0].item()
            found.beginnings.append(beginning(factor, monitor, first, seen))


def since(seen: Series, first: date | None) -> Series:
    """Return the RankICs from a session on, whatever else was read."""
    if first is None:
        return seen
    rows = seen.sessions >= np.datetime64(first, "D")
    return Series(seen.sessions[rows], seen.rank_ic[rows])


def standing(factors: Sequence[Factor], moves: Sequence[tuple[str, life.Move]]) -> dict[str, str]:
    """Return the state of each factor after the moves."""
    before = {factor.id: factor.state.value for factor in factors}
    return before | {name: move.to_state for name, move in moves}


def live_ids(states: Mapping[str, str]) -> list[str]:
    """Return the live factors."""
    return [name for name, state in states.items() if state == "live"]


def decayed_live(market: Market, found: Observation, alive: Sequence[str]) -> dict[str, float]:
    """Return the decayed factors among the live with their urgency, the most urgent first."""
    watches = {name: found.watches[name] for name in alive if name in found.watches}
    return life.by_urgency(watches, market.settings.blend.decayed_multiplier)


def wanted_job(
    context: Context,
    market: Market,
    session: date,
    panel: Panel,
    factors: Sequence[Factor],
    found: Observation,
) -> dict[str, Any] | None:
    """Return the trigger of a re-mining job if one is to be opened now.

    However many factors decay at once, one job is: its trigger lists them, the most urgent first.
    Mined factors in shadow count as what is on its way; revived ones do not, being dead more often
    than not.
    """
    settings = market.settings
    mining = settings.mining
    states = standing(factors, found.moves)
    live = live_ids(states)
    decayed = list(decayed_live(market, found, live))
    # a factor in shadow with a watch has been live before
    revived = {f.id for f in factors if f.state is FactorState.SHADOW and f.watch is not None}
    revived |= {name for name, move in found.moves if move.anew}
    count = life.BookCount(
        healthy=len(live) - len(decayed),
        decayed=len(decayed),
        shadow=sum(state == "shadow" and name not in revived for name, state in states.items()),
    )
    reason = life.remining_reason(count, settings.book)
    purge = settings.label.lag + settings.label.horizon
    needed = mining.train_sessions + mining.valid_sessions + mining.embargo + 2 * purge
    waiting = any(state == "candidate" for state in states.values())
    if reason is None or not mining.enabled or panel.n_sessions < needed or waiting:
        return None
    with context.database.read() as conn:
        last = jobs.last_job(conn, market.name)
    if last is not None:
        if last.status in jobs.OPEN:
            return None
        passed = len(market.calendar.sessions(last.opened_session, session)) - 1
        if passed < life.cooldown(last.result, settings):
            return None
    book = sorted(name for name, state in states.items() if state in {"live", "shadow"})
    return {"reason": reason, "decayed": decayed, "book": book}
