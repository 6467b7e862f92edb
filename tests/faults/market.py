"""A small market for fault tests: settings in which a re-mining runs, and bars to write down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tomli_w

from daemon.calendar import MarketCalendar
from daemon.feeds.protocol import Request
from daemon.feeds.simulated import SimulatedFeed
from daemon.settings import Settings
from daemon.simulation import PlantedAlpha

MARKET = "small"
CALENDAR = MarketCalendar("XNYS")
#: Sessions of the file, and how many of them lie before the first that is replayed.
SESSIONS = CALENDAR.sessions(date(2024, 1, 2), date(2024, 7, 22))[:140]
HISTORY = 90
#: Strong enough to be seen among 40 assets within 60 sessions.
ALPHAS = (
    PlantedAlpha("reversal", "-1 * TS_PCTCHANGE($close, 5)", ((0, 0.12),)),
    PlantedAlpha("newcomer", "($high - $close) / ($high - $low)", ((0, 0.12),)),
)


def bars(sessions: Sequence[date] = SESSIONS, *, seed: int = 5, n_assets: int = 40) -> Any:
    """Return simulated bars of consecutive sessions as a table."""
    feed = SimulatedFeed(
        CALENDAR, seed=seed, n_assets=n_assets, start=sessions[0], alphas=ALPHAS
    )
    return feed.fetch(Request(MARKET, tuple(sessions)))


def write_bars(path: Path, table: Any) -> Path:
    """Write a table as the user's own file."""
    pq.write_table(table, path)
    return path


def market_table(file: Path, **mining: Any) -> dict[str, Any]:
    """Return the `[markets.small]` table: a book that is always short of factors, a small search."""
    return {
        "calendar": "XNYS",
        "seed_book": "sim",
        "feed": {"kind": "parquet", "path": str(file)},
        "ingest": {"min_assets": 20},
        "monitor": {"baseline_sessions": 60},
        "blend": {"ic_sessions": 60},
        "book": {"min_healthy": 12, "cooldown_sessions": 12, "shadow_min": 5, "shadow_max": 30},
        "mining": {
            "train_sessions": 60,
            "valid_sessions": 40,
            "rounds": 1,
            "batch": 20,
            "finalists": 6,
            "alpha": 0.4,
            **mining,
        },
    }


def settings(root: Path, file: Path, **mining: Any) -> Settings:
    """Return settings with state and output under `root`."""
    return Settings.model_validate(
        {
            "state_dir": root / "state",
            "publish_dir": root / "published",
            "markets": {MARKET: market_table(file, **mining)},
        }
    )


def write_config(path: Path, table: dict[str, Any]) -> Path:
    """Write a settings file."""
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return path


def published(root: Path) -> dict[str, bytes]:
    """Return every file under a published tree by its path in it."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
