"""A site to look at: three replayed sessions, and beside them everything a year may bring.

What the replay wrote is real; factors, measurements, searches, verdicts of the gate, restatements
and alerts are planted into its database by the functions that write them in production.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, insert

from daemon.clock import ReplayClock
from daemon.context import Context, build_context
from daemon.health import Health
from daemon.settings import load_settings
from daemon.web import WebServer, build_app
from storage import alerts, data, history, jobs, registry
from storage.data import Said
from storage.history import ICRow, StateRow
from storage.tables import FactorState, Vintage, table
from tests.daemon.small import CALENDAR, FIRST, MARKET, SESSIONS, Home

#: Sessions of planted measurements, up to the last published one.
PAST = 320
LAST = SESSIONS[FIRST + 2]
#: Some hours after the last session was published, and long after.
FRESH = CALENDAR.finality(LAST, 90) + timedelta(hours=4)
STALE = FRESH + timedelta(days=12)
TOKEN = "0123456789abcdef-token"  # noqa: S105 - of these tests alone
#: A factor whose every text tries to leave the page.
HOSTILE = "odd <b>&'\"/id"
MARKUP = "<script>alert('markup')</script>"
#: Factors planted by state; some pages of each.
PLANTED = {
    FactorState.LIVE: ["m001_1", "m001_2", HOSTILE],
    FactorState.SHADOW: [f"m002_{number}" for number in range(1, 13)],
    FactorState.RETIRED: [f"past_{number:02d}" for number in range(1, 31)],
}
GENERATOR = 11


@dataclass(frozen=True)
class Site:
    """A served state directory and a client that asks it."""

    context: Context
    clock: ReplayClock
    client: httpx.Client
    port: int

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    config: Path, now: datetime = FRESH, environ: dict[str, str] | None = None
) -> Iterator[Site]:
    """Serve a state directory on a free port, at a time that stands still."""
    settings = load_settings(config, {"ALPHAD_WEB__PORT": "0", **(environ or {})})
    clock = ReplayClock(now)
    context = build_context(settings, clock)
    health = Health(alive=True, ready=True, facts={})
    server = WebServer(build_app(CollectorRegistry(), lambda: health, context), settings.web)
    server.start()
    base = f"http://127.0.0.1:{server.port}"
    try:
        with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
            yield Site(context, clock, client, server.port)
    finally:
        server.stop()
        context.database.close()


def plant(home: Home) -> None:
    """Write a year into the database of a replay, and a second market into its settings."""
    with home.config.open("a", encoding="utf-8") as file:
        file.write('\n[markets.cn]\ncalendar = "XSHG"\n')
    context = build_context(load_settings(home.config, {}), ReplayClock(FRESH))
    try:
        with context.database.transaction() as conn:
            _factors(conn)
            _searches(conn)
            _troubles(conn)
    finally:
        context.database.close()


def sessions(n: int = PAST) -> list[date]:
    """Return the last `n` sessions up to the last published one."""
    return CALENDAR.sessions(CALENDAR.previous_session(LAST, n - 1), LAST)


def _factors(conn: Connection) -> None:
    record = history.last_state(conn, MARKET, "reversal")
    assert record is not None, "the replay made its alpha live"
    rng, days = np.random.default_rng(GENERATOR), sessions()
    for state, names in PLANTED.items():
        for name in names:
            _register(conn, name, state, days)
            _measure(conn, name, days, rng, record.state if state == FactorState.LIVE else None)
    for verdict in ("warning", "decayed"):
        before = {"warning": "healthy", "decayed": "warning"}[verdict]
        day = days[-40 if verdict == "warning" else -25]
        evidence = {"reason": f"evidence above its level {MARKUP}"}
        history.append_verdict(conn, MARKET, HOSTILE, day, before, verdict, evidence, FRESH)


def _register(conn: Connection, name: str, state: FactorState, days: list[date]) -> None:
    hostile = f" {MARKUP}" if name == HOSTILE else ""
    hypothesis = {
        "observation": f"What fell too fast comes back.{hostile}",
        "knowledge": "Liquidity is paid for by those who are in a hurry.",
        "justification": "Limited risk-bearing capacity.",
        "specification": "price path: assets are ranked by the change of five sessions",
    }
    expression = "-1 * (RANK(DECAYLINEAR(TS_PCTCHANGE($close, 1), 5)) + RANK($high / $low))"
    brought = {"job": 1} if name.startswith("m001") else {}
    registry.add(
        conn, MARKET, name, expression + hostile, origin="mined", session=days[-60], now=FRESH,
        hypothesis=hypothesis, detail={"description": "change, range", **brought},
    )  # fmt: skip
    path = {
        FactorState.LIVE: [FactorState.SHADOW, FactorState.LIVE],
        FactorState.SHADOW: [FactorState.SHADOW],
        FactorState.RETIRED: [FactorState.SHADOW, FactorState.RETIRED],
    }
    for step, target in enumerate(path[state]):
        rule = f"forward RankIC in shadow bears it out{hostile}"
        session = days[-50 + 20 * step]
        registry.transition(conn, MARKET, name, target, session=session, rule=rule, now=FRESH)


def _measure(
    conn: Connection,
    name: str,
    days: list[date],
    rng: np.random.Generator,
    state: dict[str, Any] | None,
) -> None:
    """Write RankICs that fade, and for a watched factor evidence that grows."""
    n = len(days) if state is not None else 60
    strength = np.linspace(0.06, 0.01 if state is not None else 0.05, n)
    values = (strength + rng.normal(0.0, 0.08, n)).tolist()
    rows = [
        ICRow(MARKET, name, day, day, value, value, 40)
        for day, value in zip(days[-n:], values, strict=True)
    ]
    history.append_ics(conn, rows)
    if state is None:
        return
    log = np.minimum(np.cumsum(rng.normal(0.09, 0.45, 120)), np.log(4000.0))
    verdicts = ["healthy"] * 80 + ["warning"] * 15 + ["decayed"] * 25
    course = zip(days[-120:], log.tolist(), verdicts, strict=True)
    history.append_states(
        conn,
        [
            StateRow(MARKET, name, day, verdict, float(np.exp(height)), 1386.0, state)
            for day, height, verdict in course
        ],
    )


def _searches(conn: Connection) -> None:
    counts = {
        "proposed": 510, "measured": 450, "duplicate": 3, "complexity": 49, "originality": 8,
        "coverage": 22, "turnover": 1, "correlated": 6, "surplus": 4, "accepted": 2,
    }  # fmt: skip
    days = sessions()
    trigger = {"reason": "1 decayed", "decayed": [HOSTILE]}
    first = jobs.open_job(conn, MARKET, days[-61], trigger, 1, FRESH)
    result = {"tried": 450, "validated": 12, "accepted": ["$close", "$open"]}
    jobs.finish(conn, first, "succeeded", FRESH, result=result, counts=counts,
                joined_session=days[-60])  # fmt: skip
    second = jobs.open_job(conn, MARKET, days[-20], {"reason": "book too small"}, 2, FRESH)
    jobs.save_checkpoint(conn, jobs.start(conn, second), {"round": 1}, {"proposed": 150})


def _troubles(conn: Connection) -> None:
    day = LAST
    said = [
        Said("quarantine", f"SIM{n:04d}", day, day, 1, "a move needs an event", "+34 %", "0" * 64)
        for n in range(3)
    ]
    data.append_verdicts(conn, MARKET, day, FRESH, said)
    for number, cause in enumerate(("split", "correction", "unknown")):
        conn.execute(insert(table(Vintage)), _vintage(900 + number, cause))
    message = (
        "the source has not answered for 3 sessions; the last answer was HTTP 429. Look: "
        f"alphad data, alphad health {MARKUP}"
    )
    alerts.raise_alert(conn, MARKET, "feed", "error", message, FRESH, day)
    decayed = f"{HOSTILE} has decayed: evidence 1.9e+03 of 1386 allowed. Its weight is cut."
    alerts.raise_alert(conn, MARKET, f"decayed:{HOSTILE}", "warning", decayed, FRESH, day)
    alerts.raise_alert(conn, MARKET, "calendar", "warning", "40 days are known", FRESH, day)
    alerts.resolve(conn, MARKET, "calendar", FRESH)


def _vintage(number: int, cause: str) -> dict[str, Any]:
    return {
        "market": MARKET, "number": number, "source": "simulated", "known_at": FRESH,
        "reconstructed": False, "cause": cause, "first_session": sessions(9)[0],
        "last_session": LAST, "n_rows": 9, "n_assets": 1, "sha256": f"{number:064d}",
        "path": f"bars/{number}.parquet", "chain": f"{number:064d}",
    }  # fmt: skip


def scores_of(text: str) -> dict[str, float]:
    """Return the scores in the JSON of one session."""
    scores: dict[str, float] = json.loads(text)["scores"]
    return scores
