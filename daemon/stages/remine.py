"""Remine: carry out a re-mining job; resumable after each round, never in the way of publishing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any

from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.settings import MarketSettings
from daemon.stages.book import load_factors, stored_panel, tail_with_universe
from miner.acceptance import Bar
from miner.conclusion import Accepted, Outcome, conclude
from miner.problem import Problem, SearchSettings
from miner.proposer import GrammarProposer
from miner.records import Round
from miner.search import search
from storage import jobs, ledger, registry
from storage.jobs import TrialRow
from storage.tables import FactorState, JobStatus, RemineJob

#: Candidates are measured side by side; numba kernels release the interpreter's lock.
WORKERS = 2
#: Sessions before the first row of train, for lookbacks.
LEAD = 120

#: Called after each round.
OnRound = Callable[[Round], None]


def run_job(
    context: Context,
    market: Market,
    job: RemineJob,
    joined: date | None = None,
    *,
    on_round: OnRound | None = None,
) -> Outcome:
    """Carry out one job from its last round on, and register what it accepts as challengers.

    Parameters
    ----------
    joined : date, optional
        When they join; by default at the first session no stage has begun when the job ends.
    """
    with context.database.transaction() as conn:
        job = jobs.start(conn, job)
    problem, settings = pose(context, market, job.opened_session, job)
    last = Round.from_json(job.checkpoint) if job.checkpoint else None
    with ThreadPoolExecutor(WORKERS) as executor:
        last = exhaust(context, job, problem, settings, executor, last, on_round)
    outcome = conclude(problem, last, settings)
    baseline = problem.panel.sessions[problem.split(settings).valid.start].item()
    with context.database.transaction() as conn:
        when = joined or first_not_begun(conn, market)
        register(conn, context, market, job, outcome, when, baseline)
    return outcome


def exhaust(
    context: Context,
    job: RemineJob,
    problem: Problem,
    settings: SearchSettings,
    executor: Executor,
    last: Round | None,
    on_round: OnRound | None,
) -> Round:
    """Search to the end of the budget, with a checkpoint after each round."""
    state = last or Round(number=0, seed=job.seed, survivors=(), trials=(), counts={})
    for state in search(
        problem, GrammarProposer(), settings, seed=job.seed, executor=executor, resume=last
    ):
        with context.database.transaction() as conn:
            jobs.save_checkpoint(conn, job, state.to_json(), dict(state.counts))
        if on_round is not None:
            on_round(state)
    return state


def pose(
    context: Context, market: Market, session: date, job: RemineJob | None = None
) -> tuple[Problem, SearchSettings]:
    """Return the problem a search at the close of `session` has to solve, and its budget."""
    settings = search_settings(market.settings)
    label = market.settings.label
    known = market.calendar.finality(session, market.settings.ingest.finality_minutes)
    stored = stored_panel(context, market, session, as_of=known)
    purge = label.lag + label.horizon
    wanted = settings.train_sessions + settings.valid_sessions + 2 * purge + LEAD
    panel = tail_with_universe(
        context, market, stored, max(stored.n_sessions - wanted, 0), stored.n_sessions
    )
    with context.database.read() as conn:
        factors = load_factors(conn, market, FactorState)
        before = jobs.jobs(conn, market.name)
    alive = [f.id for f in factors if f.state in (FactorState.LIVE, FactorState.SHADOW)]
    if job is not None:  # resumed later, the search goes on against the book it began with
        alive = job.trigger.get("book", alive)
    problem = Problem(
        panel=panel,
        label_lag=label.lag,
        horizon=label.horizon,
        book={f.id: f.expression for f in factors if f.id in alive},
        references=[f.expression for f in factors if f.id not in alive],
    )
    start = panel.sessions[problem.split(settings).valid.start].item()
    earlier = sum(
        int((other.result or {}).get("tried", 0))
        for other in before
        if other.opened_session >= start and (job is None or other.id < job.id)
    )
    return replace(problem, earlier_trials=earlier), settings


def search_settings(settings: MarketSettings) -> SearchSettings:
    """Return the search's settings from the market's."""
    mining = settings.mining
    return SearchSettings(
        rounds=mining.rounds,
        batch=mining.batch,
        finalists=mining.finalists,
        train_sessions=mining.train_sessions,
        valid_sessions=mining.valid_sessions,
        min_assets=settings.ingest.min_assets,
        bar=Bar(alpha=mining.alpha),
    )


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
) -> None:
    """Write the outcome: trials, challengers in shadow, the job's end; one transaction."""
    now = context.clock.now()
    jobs.record_trials(
        conn,
        job,
        [TrialRow(t.number, t.expression, t.decision, dict(t.detail)) for t in outcome.trials],
    )
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
            detail={"job": job.id, "description": accepted.description},
            evidence=proof(accepted),
        )
        registry.transition(
            conn,
            market.name,
            challenger,
            FactorState.SHADOW,
            session=joined,
            rule=f"validated out of sample, p = {accepted.p_value:.2g} "
            f"after {accepted.n_trials} trials",
            now=now,
            evidence=proof(accepted),
        )
    jobs.finish(
        conn,
        job,
        JobStatus.SUCCEEDED,
        now,
        result={
            "tried": sum(trial.is_measured for trial in outcome.trials),
            "validated": sum(
                trial.decision in {"validation", "accepted", "surplus"} for trial in outcome.trials
            ),
            "accepted": [str(accepted.expression) for accepted in outcome.accepted],
            "n_trials": outcome.n_trials,
        },
        counts=outcome.counts,
        joined_session=joined if outcome.accepted else None,
    )


def proof(accepted: Accepted) -> Mapping[str, Any]:
    """Return the numbers an acceptance rests on."""
    whole = accepted.to_json()
    names = ("train", "valid", "added_train", "added_valid", "p_value", "n_trials", "correlation")
    return {name: whole[name] for name in names} | {"closest": accepted.closest}
