"""The demo: three simulated years lived through in about a minute, and the story they tell.

Nothing in it is staged: the daemon is the one that runs live, on a market whose planted alphas it
is not told about.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from daemon.calendar import MarketCalendar
from daemon.feeds.simulated import SimulatedFeed
from daemon.replay import OnSession, claim_directory, run_replay, write_summary
from daemon.report import Truth
from daemon.settings import Settings, build_settings
from daemon.simulation import PlantedAlpha, default_alphas, true_strength
from daemon.stages.remine import OnRound
from daemon.summary import Summary
from signals.errors import ConfigError
from signals.grammar import parse
from storage.lock import StateLock

MARKET = "sim"
#: Sessions of history the daemon starts from, and sessions it lives through.
HISTORY, LIVED = 756, 756
#: Files and folders a demo leaves in its directory.
LEFT = ("alphad.toml", "state", "published", "summary.json", "report.html")


def demo_settings(out: Path, seed: int) -> Settings:
    """Return the settings of the demo.

    They differ from the defaults where three years are short: one false alarm a year is allowed for
    the whole book instead of one a quarter, and the search is smaller and fitted on one year.
    """
    market = {
        "feed": {"kind": "simulated", "seed": seed},
        "seed_book": "sim",
        "monitor": {"sessions_per_false_alarm": 252},
        "mining": {"train_sessions": 250, "valid_sessions": 120, "rounds": 3, "batch": 150},
    }
    return build_settings(
        {
            "state_dir": out / "state",
            "publish_dir": out / "published",
            "markets": {MARKET: market},
        }
    )


def clear(out: Path) -> None:
    """Remove what an earlier demo left in `out`; a directory of anything else is refused.

    Raises
    ------
    ConfigError
        When `out` holds files that no demo writes.
    AlreadyRunningError
        When a demo is running in it.
    """
    if not out.is_dir():
        return
    foreign = sorted({path.name for path in out.iterdir()} - set(LEFT))
    config = out / "alphad.toml"
    text = config.read_text() if config.exists() else ""
    ours = not any(out.iterdir()) or (
        f"[markets.{MARKET}" in text and 'kind = "parquet"' not in text
    )
    if foreign or not ours:
        raise ConfigError(
            f"{out} holds {', '.join(foreign) or 'the output of something else'}",
            rule="the demo starts afresh and deletes only what a demo wrote",
            hint="choose another --out",
        )
    if (out / "state").is_dir():
        StateLock(out / "state").release()
    for name in LEFT:
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def run_demo(
    out: Path, seed: int, on_session: OnSession, on_round: OnRound | None = None
) -> tuple[list[str], Path, Path]:
    """Run the demo and return its story, the path of the pointer and the path of the report."""
    clear(out)
    settings = demo_settings(out, seed)
    claim_directory(out, settings)
    market = settings.markets[MARKET]
    calendar = MarketCalendar(market.calendar)
    first = calendar.next_session(market.feed.start, HISTORY)
    last = calendar.next_session(first, LIVED - 1)
    summary = run_replay(settings, MARKET, first, last, on_session, on_round)
    feed = SimulatedFeed(calendar, seed=seed, start=market.feed.start)
    alphas = default_alphas()
    sessions = calendar.sessions(market.feed.start, last)
    truths = [
        Truth(
            alpha.name,
            [day.isoformat() for day in sessions],
            np.array([true_strength(alpha, number) for number in range(len(sessions))]),
        )
        for alpha in alphas
    ]
    story = tell(summary, alphas, sessions, feed)
    _, report = write_summary(out, summary, story=story, truths=truths)
    return story, settings.publish_dir / MARKET / "v1" / "latest.json", report


def tell(
    summary: Summary, alphas: Sequence[PlantedAlpha], sessions: Sequence[date], feed: SimulatedFeed
) -> list[str]:
    """Return what happened in a few sentences, against what is true."""
    number = feed.session_number
    dying = next(alpha for alpha in alphas if alpha.strength[-1][1] == 0)
    born = next(alpha for alpha in alphas if alpha.strength[0][1] == 0)
    death, birth = sessions[dying.strength[0][0]], sessions[born.strength[0][0]]
    lines = [
        f"{summary.sessions_published} of {summary.sessions_due} sessions published.",
        f"True, and not told to the daemon: the alpha “{dying.name}” dies from {death} on.",
        f"Nor this: the alpha “{born.name}” is born on {birth}: {born.expression}.",
    ]
    planted = str(parse(dying.expression))
    victims = [row.id for row in summary.factors if row.expression == planted]
    alarms = [event for event in summary.events if event.kind == "decayed"]
    found = [e for e in alarms if e.subject in victims and e.session >= death.isoformat()]
    false = [e for e in alarms if e.session < death.isoformat()]
    if found:
        delay = number(date.fromisoformat(found[0].session)) - number(death)
        lines.append(
            f"{found[0].session}: {found[0].subject} is found decayed, {delay} sessions after its "
            "alpha began to die; its weight is cut and re-mining begins."
        )
    else:
        lines.append(f"The death of “{dying.name}” was not found.")
    expression = {row.id: row.expression for row in summary.factors}
    dated = [
        f"{job.opened}: re-mining {job.id} ({job.reason}) measures {job.tried} candidates, "
        f"validates {job.validated}, accepts {', '.join(job.accepted)}."
        for job in summary.jobs
        if job.accepted
    ]
    for event in summary.events:
        if event.kind == "live" and event.session > summary.first_session:
            dated.append(
                f"{event.session}: {event.subject} has proved itself in shadow and goes live: "
                f"{expression[event.subject]}"
            )
        elif event.kind == "retired":
            dated.append(f"{event.session}: {event.subject} retires: {event.why}.")
    lines += sorted(dated)
    lines.append(
        f"False alarms, before anything had died: {len(false)}"
        + (f" ({', '.join(f'{e.subject} {e.session}' for e in false)})" if false else "")
        + "; the budget is one a year for the whole book."
    )
    lines.append(rank_ic_line(summary, death, found[0].session if found else None))
    return lines


def rank_ic_line(summary: Summary, death: date, found: str | None) -> str:
    """Return the published score's RankIC before, during and after."""
    days = np.array(summary.score_curve.sessions, dtype="datetime64[D]")
    values = summary.score_curve.rank_ic
    mined = {row.id for row in summary.factors if row.origin == "mined"}
    replaced = [
        e.session
        for e in summary.events
        if e.kind == "live" and e.subject in mined and found is not None and e.session > found
    ]
    end = np.datetime64(replaced[0] if replaced else summary.last_session, "D")
    died = np.datetime64(death, "D")
    parts = {
        "before": days < died,
        "from the death to the replacement": (days >= died) & (days < end),
        "after": days >= end,
    }
    said = [
        f"{name} {np.nanmean(values[rows]):.4f} ({int(np.isfinite(values[rows]).sum())} sessions)"
        for name, rows in parts.items()
        if np.isfinite(values[rows]).any()
    ]
    return "RankIC of the published score: " + ", ".join(said) + "."
