"""The place of a simulation: its settings, and where its log goes."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import date
from pathlib import Path
from typing import Any

import structlog

from daemon.logs import configure_logging
from daemon.settings import Settings, build_settings
from tests.faults.simulation.invariants import check_secrets
from tests.faults.simulation.sources import CALENDARS, FINALITY, LIVE, N_ASSETS

#: In the settings, and in what a careless provider says.
SECRET = "s3cret-0f-the-simulation"  # noqa: S105 - it is there to be looked for
#: First day of the markets' history.
FIRST = date(2023, 6, 1)

BOOK = """
[factors.reversal]
expression = "-1 * TS_PCTCHANGE($close, 5)"
observation = "what fell comes back"
knowledge = "liquidity is paid for"
justification = "planted"
source = "tests"

[factors.continuation]
expression = "TS_PCTCHANGE($close, 6)"
observation = "what fell goes on falling"
knowledge = "none"
justification = "the opposite of what is planted"
source = "tests"
"""


class Sink(io.StringIO):
    """Where the log goes; read and emptied after each step of the simulation."""

    def take(self) -> str:
        """Return what was said since the last time; nothing of it may be secret (I9)."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        check_secrets({"the log": text}, SECRET)
        return text


@contextmanager
def logging_to(sink: Sink, settings: Settings) -> Iterator[None]:
    """Let the daemon's log go into `sink` while the block runs."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        with redirect_stderr(sink):
            configure_logging(settings)
            yield
    finally:
        structlog.configure(**before)
        root.handlers, root.level = handlers, level


def settings_of(root: Path, *, mining: bool, live: bool = True, first: date = FIRST) -> Settings:
    """Return the settings of both markets, and write the files that they name."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "book.toml").write_text(BOOK, encoding="utf-8")
    (root / "overlay.toml").write_text("", encoding="utf-8")
    names = [f"SIM{number:04d}" for number in range(N_ASSETS)]
    spells = "".join(f"{name},2010-01-04,\n" for name in names)
    (root / "members.csv").write_text("asset,start_date,end_date\n" + spells, encoding="utf-8")
    market: dict[str, Any] = {
        "seed_book": str(root / "book.toml"),
        "ingest": {"min_assets": 15, "finality_minutes": FINALITY},
        "monitor": {"baseline_sessions": 60},
        "blend": {"ic_sessions": 60},
        "book": {"shadow_min": 5, "shadow_max": 30, "cooldown_sessions": 25},
        "mining": {
            "enabled": mining,
            "train_sessions": 60,
            "valid_sessions": 40,
            "embargo": 0,
            "rounds": 1,
            "batch": 6,
            "finalists": 3,
            "alpha": 0.45,
        },
    }
    feeds: dict[str, dict[str, Any]] = {
        name: {"kind": "simulated", "assets": N_ASSETS, "start": first} for name in CALENDARS
    }
    if live:
        feeds[LIVE] = {
            "kind": "yahoo",
            "start": first,
            "pace_seconds": 0.001,
            "fallback": "tiingo",
            "api_key": SECRET,
        }
    markets = {
        name: {**market, "calendar": calendar, "feed": feeds[name]}
        for name, calendar in CALENDARS.items()
    }
    if live:
        markets[LIVE]["membership"] = str(root / "members.csv")
    return build_settings(
        {
            "state_dir": root / "state",
            "publish_dir": root / "published",
            "calendar_overlay": root / "overlay.toml",
            "markets": markets,
        }
    )
