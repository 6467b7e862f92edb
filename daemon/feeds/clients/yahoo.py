"""Yahoo's daily history through `yfinance.Ticker.history`, which raises where `download` is silent.

Runs inside `daemon.feeds.worker` only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from daemon.feeds.protocol import Query

#: Seconds a network request may take; `start` sets it.
_timeout = {"seconds": 10.0}


def start(folder: Path, seconds: float) -> None:
    """Prepare yfinance: its caches go to `folder`, errors are raised."""
    import yfinance  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    yfinance.set_tz_cache_location(str(folder))
    yfinance.config.debug.hide_exceptions = False
    _timeout["seconds"] = seconds


def call(query: Query) -> Any:
    """Return the daily history of a symbol, as a frame with a column `Date`.

    Close and volume are Yahoo's, restated by every later split, and so are dividends. Dividends
    and splits stand on their own days: where Yahoo lacks the day's bar, the row has no prices.

    Parameters
    ----------
    query : Query
        Of kind "history"; the option "zone" is the exchange's time zone and spares one request.
    """
    import yfinance
    from yfinance.data import YfData  # type: ignore[import-untyped]

    if query.kind != "history":
        raise ValueError(f"yahoo answers no {query.kind!r}")
    YfData.cache_get.cache_clear()  # it keeps error responses as well
    zone = dict(query.options).get("zone")
    zones = yfinance.cache.get_tz_cache()
    if zone is not None and zones.lookup(query.symbol) is None:
        zones.store(query.symbol, zone)
    ticker = yfinance.Ticker(query.symbol)
    try:
        frame = ticker.history(
            start=query.first,
            end=None if query.last is None else query.last + timedelta(days=1),
            interval="1d",
            auto_adjust=False,
            actions=True,
            keepna=True,
            timeout=_timeout["seconds"],
        )
    except yfinance.exceptions.YFPricesMissingError as error:
        # a server error that is JSON is called a delisting too, but it tells nothing of the symbol
        about = ticker._price_history._history_metadata  # noqa: SLF001
        if error.yahoo_reason is None and "symbol" not in about:
            raise ValueError("what Yahoo answered is no chart") from error
        raise
    if frame.empty:
        return frame
    frame = frame.drop(columns=["Dividends", "Stock Splits"])
    frame.index = frame.index.date
    # in the frame an event of a day without a bar stands on the day before: take the events' own
    history = ticker._price_history  # noqa: SLF001
    for name, events, total in (
        ("Dividends", history._dividends, math.fsum),  # noqa: SLF001
        ("Stock Splits", history._splits, math.prod),  # noqa: SLF001
    ):
        frame = frame.join(_by_day(name, events, total, frame.index[0]), how="outer")
    frame[["Dividends", "Stock Splits"]] = frame[["Dividends", "Stock Splits"]].fillna(0.0)
    return frame.rename_axis("Date").reset_index()


def classify(error: Exception) -> str:
    """Return what an error of `call` stands for: "limited", "empty", "timeout" or "failed"."""
    from yfinance import exceptions

    if isinstance(error, exceptions.YFRateLimitError):
        return "limited"
    if isinstance(error, exceptions.YFPricesMissingError):
        told = error.yahoo_reason or ""
        known = not told or "No data found" in told or "Data doesn't exist" in told
        return "empty" if known else "failed"
    return "timeout" if type(error).__name__.endswith("Timeout") else "failed"


def _by_day(name: str, events: Any, total: Callable[[Any], float], first: Any) -> Any:
    """Return the events from `first` on as one value a day."""
    import pandas as pd

    if isinstance(events, pd.DataFrame):  # where dividends are in several currencies
        events = events[name]
    if events.empty:
        return pd.Series(dtype="float64", name=name)
    by_day = events.astype("float64").groupby(events.index.date).agg(total).rename(name)
    return by_day[by_day.index >= first]
