"""What `alphad data` and `alphad backfill` print."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from daemon.backfill import Backfilled, backfill, ever_members, history_span, missing_spans
from daemon.clock import SystemClock
from daemon.context import Context, Market, open_context
from daemon.data_inspection import (
    NAMED,
    DataFacts,
    confirm_members,
    data_diff,
    data_facts,
    picture,
)
from daemon.disk import require_room
from daemon.feeds.protocol import LiveFeed
from daemon.inputs import check_inputs
from daemon.inspection import chosen, only, opened, say
from daemon.members import find_members, write_members
from daemon.ownership import owned
from daemon.settings import load_settings
from daemon.terminal import asset_progress
from signals.errors import ConfigError, DataError
from storage import data


def show(path: Path | None, name: str | None, *, as_json: bool) -> int:
    """Tell what bars there are."""
    context = opened(path)
    found = [data_facts(context, market) for market in chosen(context, name)]
    if as_json:
        say([facts.to_json() for facts in found])
        return 0
    console = Console()
    for facts in found:
        show_facts(console, facts)
    return 0


def show_diff(
    path: Path | None,
    name: str | None,
    times: tuple[datetime, datetime],
    span: tuple[date | None, date | None],
    *,
    as_json: bool,
) -> int:
    """Tell which bars differ between what was known at two times."""
    context = opened(path)
    market = only(context, name)
    found = data_diff(context, market, *times, *span)
    if as_json:
        say({"market": market.name, "counts": found.counts, "rows": found.rows})
        return 0
    console = Console()
    counts = ", ".join(f"{n} {cause}" for cause, n in found.counts.items()) or "no bar differs"
    console.print(f"{market.name}: {counts}", highlight=False)
    if found.rows:
        table = Table("session", "asset", "cause", "was → is")
        for row in found.rows[:NAMED]:
            changed = [
                f"{column} {_value(pair[0])} → {_value(pair[1])}"
                for column, pair in row.items()
                if column not in ("session", "asset", "cause")
            ]
            table.add_row(str(row["session"]), row["asset"], row["cause"], ", ".join(changed))
        console.print(table)
        if len(found.rows) > NAMED:
            console.print(f"… and {len(found.rows) - NAMED} more: --json tells all")
    return 0


def confirm(path: Path | None, name: str | None, digest: str) -> int:
    """Confirm a held change of members."""
    context = opened(path)
    market = only(context, name)
    change = confirm_members(context, market, digest)
    Console().print(
        f"{market.name}: {len(change.joined)} join, {len(change.left)} leave with the next session",
        highlight=False,
    )
    return 0


def run_backfill(path: Path | None, name: str, first: date | None) -> int:
    """Fetch a market's history, as far as it lacks; the daemon must not be running."""
    settings = load_settings(path, os.environ)
    settings.market(name)
    with open_context(settings, SystemClock()) as whole, owned(whole) as context:
        market = context.markets[name]
        if not isinstance(market.feed, LiveFeed):
            raise ConfigError(
                f"market {name} has a feed of kind {settings.market(name).feed.kind}",
                rule="a backfill asks a provider",
                hint="a file's history comes along with its first session: alphad run",
            )
        check_inputs(market)
        require_room(settings, "a backfill")
        context.bars.sweep(name)
        found = _backfilled(context, market, first)
    console = Console()
    console.print(
        f"{name}: {found.bars} bars of {found.assets} assets in {found.chunks} vintages",
        highlight=False,
    )
    for asset, why in found.left.items():
        console.print(f"  left: {asset}: {why}", highlight=False, soft_wrap=True)
    for rule, n_rows in found.quarantined.items():
        console.print(f"  set aside: {n_rows} rows, not “{rule}”", highlight=False, soft_wrap=True)
    return 0


def _backfilled(context: Context, market: Market, first: date | None) -> Backfilled:
    minutes = market.settings.ingest.finality_minutes
    last = market.calendar.last_final(context.clock.now(), minutes)
    if first is not None and first < market.settings.feed.start:
        raise ConfigError(
            f"--from {first} is before feed.start {market.settings.feed.start}",
            rule="a market's history begins with feed.start",
            hint=f"set feed.start of market {market.name} to {first}",
        )
    span = history_span(market, last, first)
    if span is None:
        raise DataError(
            f"{market.name} has no session from {first or market.settings.feed.start} to {last}",
            rule="a backfill needs at least one session",
            hint="give an earlier --from",
        )
    members = find_members(context, market, last)
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        write_members(conn, context, market, last, members)
        marks = data.marks(conn, market.name)
    assets = ever_members(members.spells, span)
    wanted = missing_spans(marks, assets, span, market)
    with asset_progress(f"backfill {market.name}") as on_chunk:
        return backfill(context, market, wanted, on_chunk)


def show_facts(console: Console, facts: DataFacts) -> None:
    """Print what a market's store holds."""
    span = f"{facts.span[0]} to {facts.span[1]}" if facts.span else "no bars yet"
    console.print(f"{facts.market}: {facts.assets} assets, {span}", style="bold", highlight=False)
    if facts.months:
        console.print("share of the members with a bar, a block a month:")
        for line in picture(facts.months):
            console.print(f"  {line}", highlight=False)
    _two_columns(console, "year", facts.years)
    _two_columns(console, "session", facts.recent)
    console.print(
        f"gaps: {facts.gaps} members × sessions without a bar in the last 250 sessions"
        + (f" ({', '.join(facts.named_gaps[:5])})" if facts.named_gaps else ""),
        highlight=False,
        soft_wrap=True,
    )
    table = Table("month", "cause", "vintages", "bars")
    for row in facts.vintages:
        table.add_row(row["month"], row["cause"], str(row["vintages"]), str(row["bars"]))
    console.print(table)
    restated = ", ".join(f"{n} {cause}" for cause, n in facts.restated.items()) or "none"
    console.print(f"bars restated, by cause: {restated}", highlight=False)
    if facts.rules:
        table = Table("gate", "rule", "verdicts", "rows")
        for row in facts.rules:
            table.add_row(row["outcome"], row["rule"], str(row["verdicts"]), str(row["rows"]))
        console.print(table)
    if facts.switches:
        table = Table("since", "provider", "assets", "largest difference of a return")
        for row in facts.switches[-NAMED:]:
            gap = "" if row["gap"] is None else f"{row['gap'] * 1e4:.2g} basis points"
            way = f"{row['before'] or 'begins with'} → {row['after']}"
            table.add_row(row["session"], way, _counted(row["assets"]), gap)
        console.print(table)
    for title, group in (
        ("membership", facts.membership),
        ("calendar", facts.calendar),
        ("feed", facts.feed),
    ):
        told = [
            f"{key}: {_value(value)}" for key, value in group.items() if value not in (None, [])
        ]
        console.print(f"{title}: {'; '.join(told) or 'nothing'}", highlight=False, soft_wrap=True)


def as_time(text: str) -> datetime:
    """Return a time given as YYYY-MM-DDTHH:MM, in UTC where it names no zone.

    Raises
    ------
    ValueError
        It is no time.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _counted(assets: Sequence[str]) -> str:
    """Return how many assets, with the names of a few."""
    return f"{len(assets)}: {', '.join(assets[:5])}" + (", …" if len(assets) > 5 else "")


def _two_columns(console: Console, name: str, rows: Any) -> None:
    table = Table(name, "coverage")
    for period, share in rows:
        table.add_row(period, f"{share:.1%}")
    if rows:
        console.print(table)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_change(each) if isinstance(each, dict) else str(each) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _change(held: Mapping[str, Any]) -> str:
    """Return a held change of members in words."""
    moves = [
        f"{len(held[way])} {verb} ({_counted(held[way]).partition(': ')[2]})"
        for way, verb in (("joined", "join"), ("left", "leave"))
        if held[way]
    ]
    waits = "confirmed" if held["confirmed"] else "waits for: alphad data confirm-members"
    return f"{' and '.join(moves)} since {held['session']}, {waits} {held['digest']}"
