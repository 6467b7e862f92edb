"""Daily sessions of a live market after a backfill, and what the store holds at the end."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np

from bench.live_equality import compare
from bench.live_market import Chosen, opened
from daemon.backfill import backfill, ever_members, history_span, missing_spans
from daemon.members import find_members, write_members
from storage import alerts, data
from storage.tables import PublicationRecord
from tests.daemon.live import LiveMarket

#: Sessions between two lines of progress.
TOLD = 25


def run(chosen: Chosen, n_sessions: int) -> bool:
    """Print the report; return whether everything is as it should be."""
    book = chosen.book(n_sessions)
    begin = len(book.days) - n_sessions
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Path(folder), book, begin) as (alive, standin),
    ):
        print(
            f"sessions {chosen.market}: {len(book.assets)} assets with bars, {begin} sessions of "
            f"history from {book.days[0]}, then {n_sessions} live ones"
        )
        begun = time.perf_counter()
        fill(alive, book.days[begin - 1])
        print(f"history: {time.perf_counter() - begun:.1f} s, {len(standin.log)} requests")
        seconds, answering = [], []
        for number in range(begin, len(book.days)):
            begun, before = time.perf_counter(), standin.answering + standin.noting
            alive.lived(number)
            seconds.append(time.perf_counter() - begun)
            answering.append(standin.answering + standin.noting - before)
            if (number - begin + 1) % TOLD == 0:
                print(f"  {book.days[number]}: {np.median(seconds[-TOLD:]):.2f} s", flush=True)
        usual = np.median(seconds)
        print(
            f"a session with its confirmation: median {usual:.2f} s, 90 % "
            f"{np.quantile(seconds, 0.9):.2f} s, first {seconds[0]:.1f} s; of the median "
            f"{np.median(answering):.2f} s in the stand-in"
        )
        published = _statuses(alive, book.days[begin:])
        tell_counts(alive)
        found = compare(
            alive.context.bars, standin.sent, alive.clock.now(), book.days[0], book.days[-1]
        )
        print("\n".join(found.lines()))
        return found.holds and published


def fill(alive: LiveMarket, last: date) -> None:
    """Bring the history up to a session, as `alphad backfill` does."""
    context, market = alive.context, alive.market
    span = history_span(market, last)
    if span is None:
        return
    members = find_members(context, market, last)
    with context.database.transaction() as conn:
        write_members(conn, context, market, last, members)
        marks = data.marks(conn, market.name)
    assets = ever_members(members.spells, span)
    backfill(context, market, missing_spans(marks, assets, span, market))


def tell_counts(alive: LiveMarket) -> None:
    """Print what was written, restated, set aside and told."""
    with alive.context.database.read() as conn:
        months = data.by_month(conn, alive.name)
        rules = data.rules(conn, alive.name)
        told = alerts.alerts(conn, alive.name)
    vintages, bars = Counter[str](), Counter[str]()
    for month in months:
        vintages[month.cause] += month.vintages
        bars[month.cause] += month.bars
    print(
        "vintages: "
        + ", ".join(f"{n} {cause} ({bars[cause]} bars)" for cause, n in sorted(vintages.items()))
    )
    unknown = sum(run.detail["restated_bars"].get("unknown", 0) for run in alive.runs()
                  if run.detail and "restated_bars" in run.detail)  # fmt: skip
    print(f"restated by no rule: {unknown} bars")
    for outcome, rule, n_verdicts, n_bars in rules:
        print(f"  {outcome}: {n_bars} bars in {n_verdicts} verdicts: {rule}")
    keys = Counter(alert.key for alert in told)
    print(f"alerts: {', '.join(f'{n} {key}' for key, n in sorted(keys.items())) or 'none'}")
    for key in keys:
        first = next(alert for alert in told if alert.key == key)
        print(f"  {key}, first on {first.session or first.at.date()}: {first.message[:200]}")


def _statuses(alive: LiveMarket, days: tuple[date, ...]) -> bool:
    """Print how sessions were published; return whether each was, and confirmed."""
    last: dict[date, PublicationRecord] = {}
    for record in alive.publications():
        last[record.session] = record
    counts = Counter(record.status_text for record in last.values())
    print(
        f"published: {len(last)} of {len(days)} sessions, finally "
        + ", ".join(f"{n} {status}" for status, n in sorted(counts.items(), key=str))
    )
    reasons = Counter(
        reason for record in last.values() if record.status_text != "final"
        for reason in record.reasons or []
    )  # fmt: skip
    for reason, n in reasons.most_common(5):
        print(f"  {n} × {reason}")
    return set(last) == set(days) and not counts["provisional"]
