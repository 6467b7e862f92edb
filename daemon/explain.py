"""`alphad explain`: why a factor stands where it stands, or what happened to a session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Timer

from rich.console import Console
from rich.table import Table

from daemon.context import Context, Market
from daemon.course import course
from daemon.factor_story import FactorStory, Measures, factor_stories
from daemon.inspection import only, opened, say
from daemon.standing import control_facts, overdue, told_control
from daemon.terminal_chart import draw
from daemon.wording import facts_of, headline, interval, turnover_line
from signals.errors import DataError
from storage import controls, ledger, registry
from storage.publishing import published_on

#: Seconds after which a command says what it is waiting for.
PATIENCE_SECONDS = 2.0


def explain(path: Path | None, name: str | None, subject: str, *, as_json: bool) -> int:
    """Explain a factor, or what happened to a session."""
    context = opened(path)
    market = only(context, name)
    try:
        session = date.fromisoformat(subject)
    except ValueError:
        return explain_factor(context, market, subject, as_json=as_json)
    return explain_session(context, market, session, as_json=as_json)


def explain_session(context: Context, market: Market, session: date, *, as_json: bool) -> int:
    """Tell which stages of a session ran, with what result, or why they did not."""
    with context.database.read() as conn:
        runs = ledger.history(conn, market.name, session=session)
        stopped = controls.restraint(conn, market.name)
        published = published_on(conn, market.name, session) is not None
    runs = sorted(runs, key=lambda run: run.started_at)
    due = None
    if market.calendar.is_session(session):
        due = market.calendar.finality(session, market.settings.ingest.finality_minutes)
    if as_json:
        say({
            "market": market.name, "session": session, "due": due,
            "control": control_facts(stopped),
            "missing": None if published else missing(context, market, session),
            "runs": [
                {
                    "stage": run.stage, "revision": run.revision, "status": run.status,
                    "detail": run.detail, "error": run.error,
                }
                for run in runs
            ],
        })  # fmt: skip
        return 0
    console = Console()
    if due is None:
        console.print(f"{session} is no session of {market.calendar.name}: nothing is due.")
        return 0
    console.print(f"{market.name} {session}: due at {due:%Y-%m-%d %H:%M} UTC")
    if not published:
        console.print(
            f"Nothing is published for it: {missing(context, market, session)}.",
            highlight=False, soft_wrap=True, markup=False,
        )  # fmt: skip
    elif stopped is not None:
        console.print(told_control(stopped), highlight=False, soft_wrap=True, markup=False)
    for run in runs:
        console.print(f"{run.stage} (revision {run.revision}): {run.status}", style="bold")
        console.print_json(json.dumps(run.detail or {"error": run.error}, default=str))
    return 0


def missing(context: Context, market: Market, session: date) -> str:
    """Return why nothing is published for a session."""
    if not market.calendar.is_session(session):
        return f"{session} is no session of {market.calendar.name}"
    due = market.calendar.finality(session, market.settings.ingest.finality_minutes)
    if context.clock.now() < due:
        return "it is not due yet"
    owed = overdue(context, market)
    if owed is None or session < owed.oldest:
        return "it lies before the first session of this state directory"
    if session > owed.oldest:
        return f"{owed.oldest} comes first. {owed.sentence}"
    return owed.why


def explain_factor(context: Context, market: Market, factor_id: str, *, as_json: bool) -> int:
    """Tell where a factor comes from, how it stands and why, and what happened to it."""
    with context.database.read() as conn:
        if registry.get(conn, market.name, factor_id) is None:
            known = ", ".join(f.id for f in registry.factors(conn, market.name)) or "none"
            raise DataError(
                f"{market.name} has no factor {factor_id!r}",
                rule=f"a factor is named by its id: {known}",
                hint="alphad factors lists them",
            )
    with patience(f"measuring {factor_id} on the stored bars"):
        [story] = factor_stories(context, market, [factor_id])
    if as_json:
        say({"headline": headline(story), **story.to_json()})
        return 0
    show(Console(), story)
    return 0


@contextmanager
def patience(text: str, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Say on stderr what is waited for once it has taken some seconds."""
    console = Console(stderr=True)
    status = console.status(text)

    def begin() -> None:
        if console.is_terminal:
            status.start()
        else:
            console.print(f"{text} …", highlight=False, soft_wrap=True)

    timer = Timer(seconds, begin)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def show(console: Console, story: FactorStory) -> None:
    """Print a story: first what matters, then why, then the picture, then the past."""
    factor = story.factor
    console.print(headline(story), style="bold", highlight=False)
    console.print(f"{factor.id} ({factor.origin}, {factor.state}): {factor.expression}",
                  highlight=False)  # fmt: skip
    for part in ("observation", "knowledge", "justification", "specification"):
        if factor.hypothesis and factor.hypothesis.get(part):
            console.print(f"  {part}: {factor.hypothesis[part]}", style="dim", highlight=False)
    show_verdict(console, story)
    lines = draw(course(story))
    if lines:
        console.print()
    for line in lines:
        console.print(line, highlight=False, no_wrap=True, markup=False, overflow="crop")
    if story.measures is not None:
        show_measures(console, story.measures)
    table = Table("session", "event", "why")
    for when, what, why in story.events:
        table.add_row(str(when), what, why)
    console.print(table)


def show_verdict(console: Console, story: FactorStory) -> None:
    """Print what the tests say, each by itself and together, and what the book's says."""
    if story.verdict is not None:
        console.print(f"\nverdict: {story.verdict}", highlight=False)
    for name, test in (("monitored RankIC", story.monitored), ("raw RankIC", story.raw)):
        if test is not None:
            mark = ", which the verdict rests on" if test is story.leading else ""
            console.print(f"{name}{mark}", style="bold", highlight=False)
            for line in facts_of(test):
                console.print(f"  {line}", highlight=False)
    if story.reading is not None:
        console.print(f"together: {story.reading}", highlight=False)
    if story.book is not None:
        console.print(f"the book: {story.book}", highlight=False)


def show_measures(console: Console, measures: Measures) -> None:
    """Print RankIC by horizon and turnover."""
    recent = max((row.recent.n for row in measures.horizons), default=0)
    table = Table("sessions held", f"RankIC, last {recent} (95 %)", "RankIC, baseline (95 %)")
    for row in measures.horizons:
        table.add_row(str(row.horizon), interval(row.recent), interval(row.baseline))
    console.print(table)
    line = turnover_line(measures.turnover)
    if line is not None:
        console.print(line, highlight=False)
