"""Settings loaded again while the daemon runs: all of what changed is taken over, or nothing.

What a running process has built something from - a feed, a calendar, a lock, a socket - needs a
restart. What each stage, search, message or line of the log reads anew is swapped: a market is put
in the place of the one before, and whoever is at work on that one ends between two stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from daemon.context import Context
from daemon.inputs import check_inputs
from daemon.llm.opening import require_extra
from daemon.logs import configure_logging
from daemon.notify_channels import load_channels
from daemon.settings import Settings, settings_toml
from signals.errors import ConfigError
from storage.files import write_atomic

#: What may change while the daemon runs.
SWAPPED = (
    r"log\..+",
    r"llm\..+",
    r"notify(\..+)?",
    r"(housekeeping|disk)\..+",
    r"web\.token",
    r"markets\.[^.]+\.(gate|monitor|blend|book|mining)\..+",
    r"markets\.[^.]+\.ingest\.(?!finality_minutes).+",
)
_SWAPPED = re.compile("|".join(SWAPPED))


def reload_settings(context: Context, load: Callable[[], Settings], run: str) -> list[str]:
    """Load the settings again and go by them from now on; return the names of what changed.

    Parameters
    ----------
    load : callable
        Returns the settings as they are now, as at the start.
    run : str
        The id of this process in its logs.

    Raises
    ------
    AlphadError
        They cannot be loaded, something they name cannot be used, or something changed that needs
        a restart. Nothing has changed then.
    """
    old, new = context.settings, load()
    changed = sorted(differing(old, new))
    fixed = [name for name in changed if not _SWAPPED.fullmatch(name)]
    if fixed:
        raise ConfigError(
            f"changed settings that need a restart: {', '.join(fixed)}",
            rule="a reload takes over all of what changed, or nothing; the old settings hold",
            hint="restart the daemon, or set these back and reload again",
        )
    if new.llm.is_on:
        require_extra()
    load_channels(new.notify)
    markets = {
        name: replace(market, settings=new.market(name)) for name, market in context.markets.items()
    }
    for market in markets.values():
        check_inputs(market)
    for name, market in list(markets.items()):
        before = context.markets[name]
        if market.config_sha256 != before.config_sha256 and market.settings == before.settings:
            changed.append(f"markets.{name} (a file it names)")
        elif market.settings == before.settings:
            del markets[name]
    write_effective(new)
    configure_logging(new, run=run)
    context.process.settings = new
    context.markets.update(markets)
    return changed


def write_effective(settings: Settings) -> None:
    """Write the settings that hold to where a re-mining reads them."""
    path = settings.state_dir / "effective.toml"
    # database_url may hold a password
    write_atomic(path, settings_toml(settings).encode(), mode=0o600)


def differing(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted names of the settings in which two groups differ."""
    if old == new:
        return
    if isinstance(old, BaseModel) and isinstance(new, BaseModel):
        pairs = {
            field: (getattr(old, field), getattr(new, field)) for field in type(old).model_fields
        }
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        pairs = {key: (old.get(key), new.get(key)) for key in {**old, **new}}
    else:
        yield name
        return
    for key, (before, after) in pairs.items():
        yield from differing(before, after, f"{name}.{key}" if name else str(key))
