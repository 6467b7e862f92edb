"""From settings to a fallback: providers whose clients are extras of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path

from daemon.clock import Clock
from daemon.feeds.baostock import BaostockProvider
from daemon.feeds.child import Limits
from daemon.feeds.fallback import FallbackFeed, Source, Stored
from daemon.feeds.protocol import Provider
from daemon.feeds.provider import OnAnswer, Pacing, ProviderFeed
from daemon.feeds.switch import Switches
from daemon.feeds.tiingo import TiingoProvider
from signals.errors import ConfigError

#: The feeds a fallback stands behind, and the variable its client takes a key from.
BEHIND = {"tiingo": "yahoo", "baostock": "akshare"}
KEY_VARIABLES = {"tiingo": "TIINGO_API_KEY"}
#: Seconds between two requests. Tiingo's free plan bears 50 an hour, after which the breaker opens.
PACE_SECONDS = {"tiingo": 1.0, "baostock": 1.0}


def open_fallback(
    kind: str,
    primary: Source,
    *,
    clock: Clock,
    finality: Callable[[date], datetime],
    start: date,
    stored: Stored,
    switched: Callable[[], Switches],
    api_key: str | None = None,
    universe: Callable[[Sequence[date]], Sequence[str]] | None = None,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    pace_seconds: float | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    on_answer: OnAnswer | None = None,
) -> FallbackFeed:
    """Return a feed with a fallback behind it; nothing is asked before the first fetch.

    Parameters
    ----------
    kind : str
        A key of `BEHIND`.
    finality : callable of date to datetime
        When a session's bars are final.
    api_key : str or None
        Goes to the client's process through its environment, and nowhere else.
    pace_seconds : float or None
        Mean distance of two requests to the fallback; None takes `PACE_SECONDS`.

    Raises
    ------
    ConfigError
        There is no such fallback, or not behind this feed. Whether it can be asked says
        `check_fallback`.
    """
    if kind not in BEHIND or BEHIND[kind] != primary.name:
        raise ConfigError(
            f"{kind} cannot stand behind {primary.name}",
            rule=", ".join(f"{after} stands behind {first}" for after, first in BEHIND.items()),
            hint="take the fallback of this market's provider, or none",
        )
    given = dict(environment or {})
    if api_key and kind in KEY_VARIABLES:
        given[KEY_VARIABLES[kind]] = api_key
    provider: Provider = (
        TiingoProvider(finality) if kind == "tiingo" else BaostockProvider(finality)
    )
    secondary = ProviderFeed(
        provider,
        clock=clock,
        start=start,
        limits=limits,
        pacing=Pacing(seconds=pace_seconds or PACE_SECONDS[kind]),
        folder=folder,
        environment=given,
        on_answer=on_answer,
    )
    return FallbackFeed(primary, secondary, stored=stored, switched=switched, universe=universe)


def check_fallback(kind: str, market: str, api_key: str | None) -> None:
    """Refuse a fallback that could not be asked, before anything starts.

    Raises
    ------
    ConfigError
        Its package is not installed, or it needs a key and there is none.
    """
    if find_spec(kind) is None:
        raise ConfigError(
            f"the fallback {kind} is not installed",
            rule="fallbacks are extras of this package",
            hint=f"pip install 'alphad[{kind}]', or set feed.fallback to none",
        )
    if kind in KEY_VARIABLES and not api_key:
        raise ConfigError(
            f"the fallback {kind} has no key",
            rule="a key comes from the environment, never from the settings file",
            hint=f"set ALPHAD_MARKETS__{market.upper()}__FEED__API_KEY",
        )
