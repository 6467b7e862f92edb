"""Commands that look: they own nothing and change nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.clock import SystemClock
from daemon.context import Context, Market, build_context
from daemon.health import assess
from daemon.heartbeat import heartbeat_path, last_signs
from daemon.restore import against_backup
from daemon.settings import Settings, load_settings
from daemon.standing import control_facts, overdue
from daemon.summary import FactorRow, factor_row
from daemon.terminal import show_factors
from signals.errors import AlphadError, ConfigError, DataError
from storage import alerts, controls, history, integrity, jobs, registry
from storage.bars import last_vintage
from storage.publishing import head
from storage.tables import ControlState


def opened(path: Path | None, names: Sequence[str] | None = None) -> Context:
    """Return a context on existing state, with some markets or all; a ConfigError without state."""
    settings = load_settings(path, os.environ)
    if not settings.markets:
        raise ConfigError(
            "no market is configured",
            rule="a command looks at the markets of its settings",
            hint="name the settings with --config; the demo's are out/alphad.toml",
        )
    context = build_context(settings, SystemClock(), names)
    if context.database.path is not None and not context.database.path.exists():
        raise ConfigError(
            f"there is no state in {settings.state_dir}",
            rule="a command that looks needs a daemon that has run",
            hint="start it with: alphad run, or name other settings with --config",
        )
    context.database.check_current()
    return context


def chosen(context: Context, name: str | None) -> list[Market]:
    """Return the market that is named, or all of them."""
    if name is None:
        return list(context.markets.values())
    context.settings.market(name)
    return [context.markets[name]]


def only(context: Context, name: str | None) -> Market:
    """Return the market that is named, or the only one."""
    markets = chosen(context, name)
    if len(markets) != 1:
        raise ConfigError(
            f"several markets are configured: {', '.join(m.name for m in markets)}",
            rule="this command is about one market",
            hint="name it with --market",
        )
    return markets[0]


def say(data: Any) -> None:
    """Print JSON."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def status(path: Path | None, *, as_json: bool) -> int:
    """Tell, for each market, what was published when and how the book stands."""
    context = opened(path)
    found = [market_status(context, market) for market in context.markets.values()]
    if as_json:
        say(found)
        return 0
    console = Console()
    for row in found:
        console.print("\n".join(status_lines(row)), highlight=False, soft_wrap=True)
    return 0


def status_lines(row: dict[str, Any]) -> list[str]:
    """Return one market's status as lines."""
    if row["session"] is None:
        lines = [f"{row['market']}: nothing published yet"]
    else:
        lines = [
            f"{row['market']}: {row['session']} published as {row['publish_id']}, {row['status']}",
            f"  at: {row['published_at']:%Y-%m-%d %H:%M} UTC",
            *(f"  because: {reason}" for reason in row["reasons"]),
        ]
    counts = ", ".join(f"{count} {state}" for state, count in row["factors"].items())
    if row["control"]["state"] != ControlState.RUNNING:
        lines.append("  {state} by {who}: {reason}".format(**row["control"]))
    if row["overdue"]:
        lines.append(f"  overdue: {row['overdue']}")
    lines.append(f"  factors: {counts or 'none'}")
    if row["book"]:
        lines.append(f"  book: {row['book']}")
    if row["re_mining"]:
        lines.append(f"  re-mining: {', '.join(map(str, row['re_mining']))}")
    return lines + [f"  alert: {message}" for message in row["alerts"] or ["none"]]


def market_status(context: Context, market: Market) -> dict[str, Any]:
    """Return one market's status."""
    owed = owing(context, market)
    with context.database.read() as conn:
        row = head(conn, market.name)
        stands = controls.control(conn, market.name)
        known = registry.factors(conn, market.name)
        open_alerts = alerts.open_alerts(conn, market.name)
        last = last_vintage(conn, market.name)
        waiting = jobs.jobs(conn, market.name, open_only=True)
        together = history.last_book_state(conn, market.name)
    states = [factor.state for factor in known]
    return {
        "market": market.name,
        "session": row.session if row else None,
        "publish_id": row.publish_id if row else None,
        "status": row.status_text if row else None,
        "reasons": list(row.reasons or []) if row else [],
        "published_at": row.published_at if row else None,
        "control": control_facts(stands),
        "overdue": owed,
        "factors": {state: states.count(state) for state in sorted(set(states))},
        "alerts": [alert.message for alert in open_alerts],
        "bars": {"last_session": last.last_session, "vintages": last.number} if last else None,
        "re_mining": [job.id for job in waiting],
        "book": together.state["told"]["sentence"] if together else None,
    }


def owing(context: Context, market: Market) -> str | None:
    """Return what is overdue and why, or why that cannot be told; None where nothing is.

    Where no daemon ever ran nothing is: a replay owes only what it was asked for.
    """
    if last_signs(heartbeat_path(context.settings.state_dir))[0] is None:
        return None
    try:
        found = overdue(context, market)
    except AlphadError as error:
        return error.fact
    return found.sentence if found is not None else None


def factors(path: Path | None, name: str | None, *, as_json: bool) -> int:
    """List every factor of the registry."""
    context = opened(path)
    for market in chosen(context, name):
        rows = factor_rows(context, market)
        if as_json:
            say([vars(row) for row in rows])
            continue
        console = Console()
        console.print(market.name, style="bold")
        show_factors(console, rows)
    return 0


def factor_rows(context: Context, market: Market) -> list[FactorRow]:
    """Return a row for each factor."""
    with context.database.read() as conn:
        known = registry.factors(conn, market.name)
        ics = history.book_ics(conn, market.name)
        monitors = history.last_states(conn, market.name)
    return [factor_row(f, ics.get(f.id), monitors.get(f.id)) for f in known]


def health(path: Path | None, *, as_json: bool) -> int:
    """Tell whether the daemon is alive and up to date; the exit code says the same."""
    context = opened(path)
    found = assess(context)
    if as_json:
        say(found.to_json())
    else:
        Console().print("alive" if found.alive else "NOT ALIVE", end=", ")
        stopped = [name for name in context.markets if is_stopped(found.facts[name])]
        behind = "BEHIND" if not stopped else f"STOPPED by an operator: {', '.join(stopped)}"
        Console().print("up to date" if found.ready else behind)
        Console().print_json(json.dumps(found.facts, default=str))
    return 0 if found.ready else 1


def is_stopped(facts: dict[str, Any]) -> bool:
    """Say whether what is known of a market is that an operator has stopped it."""
    return bool(facts.get("control", ControlState.RUNNING) != ControlState.RUNNING)


def verify(path: Path | None, directory: Path | None, *, as_json: bool) -> int:
    """Prove a published tree whole, and the database and bars behind it where there are any."""
    findings: Sequence[integrity.Finding]
    root = directory
    if directory is not None:
        if not directory.is_dir():
            raise DataError(
                f"{directory} is no directory",
                rule="a published tree is the directory that holds <market>/v1",
                hint="name publish_dir of the settings, as in: alphad verify out/published",
            )
        if not any(directory.glob("*/v1")):
            raise DataError(
                f"{directory} holds no published market",
                rule="a published tree is the directory that holds <market>/v1",
                hint="name publish_dir of the settings, as in: alphad verify out/published",
            )
        findings = integrity.verify(directory)
    else:
        context = opened(path)
        settings: Settings = context.settings
        root = settings.publish_dir
        findings = [
            *integrity.verify(settings.publish_dir),
            *integrity.verify_database(context.database, settings.publish_dir, settings.state_dir),
            *against_backup(settings, context.database, context.clock.now()),
        ]
    if as_json:
        say([{"market": f.market, "path": f.path, "fact": f.fact} for f in findings])
    else:
        for finding in findings:
            Console().print(f"{finding.market} {finding.path}: {finding.fact}", soft_wrap=True)
        for market, told in (integrity.halts(root) if root is not None else {}).items():
            by = f"by {told['who']}: {told['reason']}" if "who" in told else told["reason"]
            Console().print(f"{market} is halted {by}; it has no pointer", markup=False)
        Console().print("whole" if not findings else f"{len(findings)} findings")
    return 1 if findings else 0
