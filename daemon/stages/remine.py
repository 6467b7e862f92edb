"""Remine: carry out a re-mining job; resumable after each round, never in the way of publishing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from time import monotonic
from typing import Any

import structlog
from sqlalchemy import Connection

from daemon.clock import ReplayClock
from daemon.context import Context, Market
from daemon.failpoints import failpoint
from daemon.llm.opening import account, open_proposer
from daemon.stages.pose import (
    HEARD,
    first_judged_session,
    last_trained_session,
    pose,
    tallies_of,
    with_heard,
)
from daemon.workers import Workers, open_workers
from miner.conclusion import Accepted, Outcome, conclude
from miner.memory import tallied
from miner.problem import Problem, SearchSettings
from miner.proposer import GrammarProposer, Proposer
from miner.records import Round
from miner.search import search
from storage import jobs, ledger, registry
from storage.jobs import TrialRow
from storage.tables import FactorState, JobStatus, RemineJob

log = structlog.get_logger()

#: Called after each round.
OnRound = Callable[[Round], None]


def run_job(
    context: Context,
    market: Market,
    job: RemineJob,
    joined: date | None = None,
    *,
    on_round: OnRound | None = None,
    deadline: float | None = None,
) -> Outcome:
    """Carry out one job from its last round on, and register what it accepts as challengers.

    Parameters
    ----------
    joined : date, optional
        When they join; by default at the first session no stage has begun when the job ends.
    deadline : float, optional
        Seconds, over all attempts, after which no further round is begun; what was found by then is
        judged.
    """
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        job = jobs.start(conn, job)
    problem, settings = pose(context, market, job.opened_session, job)
    last = resumable(context, market, job)
    replaying = isinstance(context.clock, ReplayClock)
    proposer = open_proposer(
        context.settings.llm,
        GrammarProposer(),
        database=context.database,
        market=market.name,
        job=job.id,
        replaying=replaying,
        limits=settings.complexity,
    )
    spent = float((job.checkpoint or {}).get("seconds", 0.0)) if last is not None else 0.0
    with open_workers(market.settings.mining.cluster) as workers:
        keep = keeper(context, market, job, on_round, spent)
        left = None if deadline is None else deadline - spent
        last = searched(problem, settings, proposer, workers, job.seed, last, keep, left)
    model = account(proposer, context.database, market.name, job.id, replaying=replaying)
    outcome = conclude(with_heard(context, market, problem, settings, job), last, settings)
    baseline = first_judged_session(problem, settings)
    facts = facts_of(problem, settings, last) | ({"model": {**model}} if model else {})
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        when = joined or first_not_begun(conn, market)
        register(conn, context, market, job, outcome, when, baseline, facts)
        failpoint("remine.before_finish")
    failpoint("remine.after_finish")
    return outcome


def keeper(
    context: Context, market: Market, job: RemineJob, on_round: OnRound | None, spent: float
) -> OnRound:
    """Return what stores the state after each round, with the tree and the settings it is of.

    `spent` are the seconds of earlier attempts: a search that is resumed has what they left.
    """
    started = monotonic()

    def keep(state: Round) -> None:
        with context.database.transaction() as conn:
            context.require_epoch(conn)
            seconds = round(spent + monotonic() - started, 3)
            checkpoint = state.to_json() | {"of": origin_of(context, market), "seconds": seconds}
            jobs.save_checkpoint(conn, job, checkpoint, dict(state.counts))
        failpoint("remine.after_round")
        if on_round is not None:
            on_round(state)

    return keep


def origin_of(context: Context, market: Market) -> list[str]:
    """Return what a checkpoint has to be of, to be gone on from."""
    return [market.config_sha256, context.code["sources_sha256"]]


def resumable(context: Context, market: Market, job: RemineJob) -> Round | None:
    """Return the state a job goes on from, None to begin.

    One of other settings is none: its survivors may have been chosen on rows that judge now.
    """
    if not job.checkpoint:
        return None
    if job.checkpoint.get("of") != origin_of(context, market):
        log.warning("re-mining begins again: settings or code changed", job=job.id)
        return None
    return Round.from_json(job.checkpoint)


def facts_of(problem: Problem, settings: SearchSettings, last: Round) -> dict[str, Any]:
    """Return what later re-minings and people have to know of a search."""
    return {
        "rounds": [last.number, settings.rounds],
        "trained_until": last_trained_session(problem, settings).isoformat(),
    }


def searched(
    problem: Problem,
    settings: SearchSettings,
    proposer: Proposer,
    workers: Workers,
    seed: int,
    last: Round | None = None,
    on_round: OnRound | None = None,
    deadline: float | None = None,
) -> Round:
    """Return the last round of a search; `on_round` is told of each.

    No round is begun that would end after the deadline, were it to take as long as the longest.
    """
    started = ended = monotonic()
    longest = 0.0
    state = last or Round(number=0, seed=seed, survivors=(), trials=(), counts={})
    if deadline is not None and deadline <= 0.0 and last is not None:
        return state
    for state in search(
        problem,
        proposer,
        settings,
        seed=seed,
        executor=workers.executor,
        share=workers.share,
        resume=last,
    ):
        if on_round is not None:
            on_round(state)
        longest, ended = max(longest, monotonic() - ended), monotonic()
        if deadline is not None and ended - started + longest >= deadline:
            break
    return state


def first_not_begun(conn: Connection, market: Market) -> date:
    """Return the first session no stage has begun yet."""
    newest = ledger.history(conn, market.name, limit=1)
    return market.calendar.next_session(newest[0].session)


def register(
    conn: Connection,
    context: Context,
    market: Market,
    job: RemineJob,
    outcome: Outcome,
    joined: date,
    baseline: date,
    facts: Mapping[str, Any],
) -> None:
    """Write the outcome: trials, challengers in shadow, the job's end; one transaction."""
    now = context.clock.now()
    for number, accepted in enumerate(outcome.accepted, start=1):
        challenger = f"m{job.id:03d}_{number}"
        registry.add(
            conn,
            market.name,
            challenger,
            str(accepted.expression),
            origin="mined",
            session=job.opened_session,
            now=now,
            rule=f"proposed by re-mining {job.id}",
            hypothesis=accepted.hypothesis.to_json(),
            parents=accepted.parents,
            baseline_start=baseline,
            detail={
                "job": job.id,
                "description": accepted.description,
                "proposer": accepted.origin,
            },
            evidence=proof(accepted),
        )
        registry.transition(
            conn,
            market.name,
            challenger,
            FactorState.SHADOW,
            session=joined,
            rule=f"validated out of sample, p = {accepted.p_value:.2g} "
            f"as one of {accepted.n_heard} heard",
            now=now,
            evidence=proof(accepted),
        )
    close_job(conn, context, market, job, outcome, joined if outcome.accepted else None, facts)


def close_job(
    conn: Connection,
    context: Context,
    market: Market,
    job: RemineJob,
    outcome: Outcome,
    joined: date | None,
    facts: Mapping[str, Any],
) -> None:
    """Write every trial into the ledger and end the job; later re-minings count what was heard."""
    rows = [TrialRow(t.number, t.expression, t.decision, dict(t.detail)) for t in outcome.trials]
    jobs.record_trials(conn, job, rows)
    bar = market.settings.mining.search(1).min_train_t
    jobs.finish(
        conn,
        job,
        JobStatus.SUCCEEDED,
        context.clock.now(),
        result={
            "tried": sum(trial.is_measured for trial in outcome.trials),
            "validated": sum(trial.decision in HEARD for trial in outcome.trials),
            "accepted": [str(accepted.expression) for accepted in outcome.accepted],
            "n_trials": outcome.n_trials,
            **facts,
            "tallies": tallies_of(tallied({}, outcome.trials, bar)),
        },
        counts=outcome.counts,
        joined_session=joined,
    )


def proof(accepted: Accepted) -> Mapping[str, Any]:
    """Return the numbers an acceptance rests on."""
    whole = accepted.to_json()
    names = (
        "train", "valid", "added_train", "added_valid", "p_value", "p_single", "n_heard",
        "n_effective", "n_trials", "parts", "stability", "icir", "correlation",
    )  # fmt: skip
    return {name: whole[name] for name in names} | {"closest": accepted.closest}
