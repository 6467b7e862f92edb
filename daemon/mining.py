"""`alphad mine`: a search now, watched round by round, with an account of every gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from daemon.context import Context, Market
from daemon.inspection import only, opened, say
from daemon.llm.opening import open_proposer
from daemon.stages.pose import pose, with_heard
from daemon.stages.remine import OnRound, close_job, facts_of, searched
from daemon.workers import open_workers
from miner.agents import Event
from miner.conclusion import conclude
from miner.outcome import Accepted, Outcome
from miner.problem import SearchSettings
from miner.proposer import GrammarProposer
from miner.records import Round
from signals.errors import DataError
from storage import jobs, ledger

#: Gates in the order candidates meet them, and what each asks.
GATES: Mapping[str, str] = {
    "duplicate": "not tried before",
    "units": "unchanged when one asset's prices or volumes are rescaled",
    "complexity": "short, few numbers, few fields",
    "originality": "no copy of a known factor",
    "alignment": "computes what it says",
    "coverage": "has values where there are labels",
    "turnover": "does not change faster than noise",
    "ties": "tells assets apart",
    "weak": "ranks assets on train",
    "correlated": "unlike the book and the recently retired",
    "rescaled": "unchanged when evaluated on rescaled bars",
    "validation": "ranks assets on validation, for all that was heard there",
    "surplus": "room for one more",
}
#: Those that finalists meet.
FINAL = ("weak", "correlated", "rescaled", "validation", "surplus")


def mine(path: Path | None, name: str | None, seed: int, *, as_json: bool) -> int:
    """Search on the stored bars as of now; nothing joins the book.

    The trials are kept: validation was looked at, and later re-minings have to count that.
    """
    context = opened(path)
    market = only(context, name)
    with context.database.read() as conn:
        last = ledger.last_session(conn, market.name, "ingest")
    if last is None:
        raise DataError(
            f"{market.name} has no bars yet",
            rule="a search needs a stored history",
            hint="start the daemon, or a replay, first",
        )
    problem, settings = pose(context, market, last)
    proposer = open_proposer(
        context.settings.llm,
        GrammarProposer(),
        database=context.database,
        market=market.name,
        replaying=last < last_final(context, market),
        limits=settings.complexity,
        on_event=tell_event,
    )
    cluster = market.settings.mining.cluster
    with open_workers(cluster) as workers, shown_progress(settings) as on_round:
        state = searched(problem, settings, proposer, workers, seed, on_round=on_round)
    outcome = conclude(with_heard(context, market, problem, settings), state, settings)
    keep(context, market, last, seed, outcome, facts_of(problem, settings, state))
    if as_json:
        say(outcome.to_json() | {"refused": refusals(outcome)})
    else:
        show_outcome(Console(), outcome)
    return 0


def last_final(context: Context, market: Market) -> date:
    """Return the last session that is over: on older bars a model is asked about its own past."""
    minutes = market.settings.ingest.finality_minutes
    return market.calendar.last_final(context.clock.now(), minutes)


def tell_event(event: Event) -> None:
    """Say on the error stream what became of the model."""
    Console(stderr=True).print(event.message, markup=False, soft_wrap=True)


def keep(
    context: Context,
    market: Market,
    session: date,
    seed: int,
    outcome: Outcome,
    facts: Mapping[str, Any],
) -> None:
    """Write the trials into the ledger as those of a finished re-mining that nobody waits for."""
    trigger = {"reason": "asked for by an operator", "by": jobs.OPERATOR, "decayed": []}
    with context.database.transaction() as conn:
        job = jobs.open_job(conn, market.name, session, trigger, seed, context.clock.now())
        close_job(conn, context, market, jobs.start(conn, job), outcome, None, facts)


@contextmanager
def shown_progress(settings: SearchSettings) -> Iterator[OnRound]:
    """Show candidates per gate, the best so far and what is left of the budget."""
    console = Console(stderr=True)
    budget = settings.rounds * settings.batch
    if not console.is_terminal:

        def say_round(state: Round) -> None:
            done = state.counts.get("measured", 0)
            console.print(
                f"round {state.number} of {settings.rounds}: {done} of {budget} candidates "
                f"measured; {gates_note(state)}; best {best_note(state)}",
                highlight=False,
                soft_wrap=True,
            )

        yield say_round
        return
    columns = (
        TextColumn("measured"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=budget, note="preparing")

        def show_round(state: Round) -> None:
            note = f"{gates_note(state)}\nbest {best_note(state)}"
            bar.update(task, completed=state.counts.get("measured", 0), note=note)

        yield show_round


def gates_note(state: Round) -> str:
    """Return how many candidates each gate has refused so far."""
    shown = [f"{gate} {state.counts[gate]}" for gate in GATES if state.counts.get(gate)]
    return "refused: " + (", ".join(shown) or "none")


def best_note(state: Round) -> str:
    """Return the fittest survivor."""
    best = state.best
    return "none" if best is None else f"t {abs(best.t):.1f} {best.expression}"


def refusals(outcome: Outcome) -> list[dict[str, str]]:
    """Return each refused finalist with the gate and the reason."""
    return [
        {"expression": t.expression, "by": t.decision, "because": str(t.detail.get("reason", ""))}
        for t in outcome.trials
        if t.decision in FINAL
    ]


def show_outcome(console: Console, outcome: Outcome) -> None:
    """Print what a search came to: gates, accepted factors, and why the others were refused."""
    console.print(gate_table(outcome))
    if outcome.accepted:
        for number, accepted in enumerate(outcome.accepted, start=1):
            console.print(accepted_table(number, accepted))
    else:
        console.print("nothing was accepted", style="bold")
    refused = Table("finalist refused", "by", "because")
    for row in refusals(outcome):
        refused.add_row(*(escape(row[name]) for name in ("expression", "by", "because")))
    if refused.row_count:
        console.print(refused)


def gate_table(outcome: Outcome) -> Table:
    """Return how many candidates came to each gate and were refused there."""
    table = Table("gate", "asks for", "refused", "")
    most = max((outcome.counts.get(gate, 0) for gate in GATES), default=0)
    for gate, asks in GATES.items():
        refused = outcome.counts.get(gate, 0)
        table.add_row(gate, asks, str(refused), "█" * round(20 * refused / max(most, 1)))
    proposed, measured = (outcome.counts.get(name, 0) for name in ("proposed", "measured"))
    table.caption = (
        f"{proposed} proposed, {measured} measured on train, {len(outcome.accepted)} accepted"
    )
    return table


def accepted_table(number: int, accepted: Accepted) -> Table:
    """Return one accepted factor with its hypothesis and its figures."""
    table = Table(f"{number}", escape(str(accepted.expression)))
    train, valid = accepted.train, accepted.valid
    # a model may have written these
    table.add_row("hypothesis", escape(accepted.hypothesis.knowledge))
    table.add_row("measures", escape(accepted.description))
    table.add_row("proposed by", accepted.origin)
    table.add_row("RankIC train", interval(train.mean, train.low, train.high))
    table.add_row("RankIC validation", interval(valid.mean, valid.low, valid.high))
    table.add_row(
        "p", f"{accepted.p_value:.2g} as one of {accepted.n_heard} heard on this validation"
    )
    parts = accepted.regularisation.to_json()
    table.add_row("R_g", ", ".join(f"{name} {value:.3g}" for name, value in parts.items()))
    table.add_row(
        "trading",
        f"turnover {accepted.turnover:.2f}, ICIR on train {accepted.icir:.2f}, "
        f"same sign in {accepted.stability:.0%} of its quarters",
    )
    table.add_row(
        "closest", f"{accepted.closest or 'none'} (correlation {accepted.correlation:.2f})"
    )
    return table


def interval(mean: float, low: float, high: float) -> str:
    """Return a mean with its interval."""
    return f"{mean:.4f} ({low:.4f} … {high:.4f})"
