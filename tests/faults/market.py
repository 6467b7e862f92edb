"""A small market for fault tests: bars with planted alphas, and settings that make it eventful.

Within 40 replayed sessions declared factors are judged, re-minings run, what they accept goes
through shadow and some of it goes live: whatever can change a publication does so in this span.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tomli_w

from bench.kills import Replay
from daemon.calendar import MarketCalendar
from daemon.feeds.protocol import Request
from daemon.feeds.simulated import SimulatedFeed
from daemon.replay import replay_settings
from daemon.settings import Settings, load_settings
from daemon.simulation import PlantedAlpha

MARKET = "small"
CALENDAR = MarketCalendar("XNYS")
#: Sessions of the file, and the number of the first one that is replayed.
SESSIONS = CALENDAR.sessions(date(2024, 1, 2), date(2024, 12, 31))[:138]
BEGIN = 98
#: Strong enough to be seen among 40 assets within 60 sessions.
ALPHAS = (
    PlantedAlpha("reversal", "-1 * TS_PCTCHANGE($close, 5)", ((0, 0.12),)),
    PlantedAlpha("newcomer", "($high - $close) / ($high - $low)", ((0, 0.2),)),
)


def make_bars(calendar: MarketCalendar = CALENDAR, sessions: Sequence[date] = SESSIONS) -> Any:
    """Return simulated bars of 40 assets and consecutive sessions of a calendar."""
    feed = SimulatedFeed(calendar, seed=4, n_assets=40, start=sessions[0], alphas=ALPHAS)
    return feed.fetch(Request(MARKET, tuple(sessions)))


def write_bars(path: Path, table: Any) -> Path:
    """Write a table as a user's own file and return its path."""
    pq.write_table(table, path)
    return path


def market_table(file: Path, *, calendar: str = "XNYS", **mining: Any) -> dict[str, Any]:
    """Return a market whose book is always short of factors, with a search of 20 candidates."""
    return {
        "calendar": calendar,
        "seed_book": "sim",
        "feed": {"kind": "parquet", "path": str(file)},
        "ingest": {"min_assets": 20},
        "monitor": {"baseline_sessions": 60},
        "blend": {"ic_sessions": 60},
        "book": {"min_healthy": 12, "cooldown_sessions": 8, "shadow_min": 5, "shadow_max": 30},
        "mining": {
            "train_sessions": 60,
            "valid_sessions": 40,
            "embargo": 0,
            "rounds": 1,
            "batch": 20,
            "finalists": 6,
            "alpha": 0.45,
            **mining,
        },
    }


def write_config(path: Path, market: dict[str, Any], **more: Any) -> Path:
    """Write a settings file with one market and return its path."""
    path.write_text(tomli_w.dumps({**more, "markets": {MARKET: market}}), encoding="utf-8")
    return path


def settings_of(config: Path, bars: Path, out: Path) -> Settings:
    """Return the settings that `alphad replay` would have with these files."""
    return replay_settings(
        load_settings(config, {}),
        market=MARKET,
        bars=bars,
        membership=None,
        calendar=None,
        out=out,
    )


def replay_of(config: Path, bars: Path) -> Replay:
    """Return the same replay as a command."""
    span = ("--from", SESSIONS[BEGIN].isoformat(), "--to", SESSIONS[-1].isoformat())
    files = ("--bars", str(bars), "--config", str(config))
    return Replay(("--market", MARKET, *files, *span))
