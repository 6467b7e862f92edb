"""How Yahoo is asked and read; pure, over the frames of `yfinance.Ticker.history`.

Yahoo restates what it tells: close, volume and dividends of a day are those of today's shares.
They are turned back into what was traded with the splits that came after, so a query always reaches
to the present. An event of a day without a bar counts from the next bar on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

import numpy as np

from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.feeds.traded import (
    PRICES,
    MissingError,
    Traded,
    parse_traded,
    read_columns,
    spellings,
    traded_with_events,
)

#: Days before the first session that are asked for: they show the close before it.
LEAD = timedelta(days=30)
#: What Yahoo calls the indices that a market may follow.
INDICES = {"sp500": "^GSPC"}

_COLUMNS = {**{name.title(): name for name in PRICES}, "Volume": "volume"}
_EVENTS = ("Dividends", "Stock Splits")


class YahooProvider:
    """Yahoo.

    Parameters
    ----------
    finality : callable of date to datetime
        When a session's bars are final; an answer received earlier has it unfinished.
    zone : str
        Time zone of the exchange.
    """

    name = "yahoo"
    client = "daemon.feeds.clients.yahoo"

    def __init__(
        self, finality: Callable[[date], datetime], *, zone: str = "America/New_York"
    ) -> None:
        self._finality = finality
        self._zone = zone

    def queries(self, request: Request) -> list[Query]:
        """Return one query an asset, from a month before the first session to the present."""
        symbols = spellings(request, self.name).values()
        return [self._history(symbol, request) for symbol in symbols]

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        """Return the bars as traded of the sessions asked for that were final when answered."""
        return parse_traded(self.name, request, answers, self._finality, read_history)

    def index_query(self, index: str, request: Request) -> Query | None:
        """Return the query for an index over the sessions of a request, None where it has none."""
        return self._history(INDICES[index], request) if index in INDICES else None

    def read_index(self, answer: Answer) -> Mapping[date, float]:
        """Return the index's closes of sessions that were final when it was told.

        Raises
        ------
        MissingError
            The answer is not ok or cannot be closes.
        """
        told = read_columns(answer, "Date", ["Close"])
        closes = zip(told["Date"].tolist(), told["Close"].tolist(), strict=True)
        return {day: level for day, level in closes if self._finality(day) <= answer.received_at}

    def _history(self, symbol: str, request: Request) -> Query:
        first = min(request.sessions) - LEAD
        return Query("history", symbol, first, None, (("zone", self._zone),))


def read_history(asset: str, answers: Sequence[Answer]) -> Traded:  # noqa: ARG001
    """Return an asset as it was traded.

    Prices are multiplied, and volumes divided, by the product of all later splits; dividends are
    multiplied by it too, and by a split of their own day: they are cash per share held before.

    Raises
    ------
    MissingError
        The answer is not ok or cannot be bars: see `daemon.feeds.traded.traded_with_events`.
    """
    told = read_columns(answers[0], "Date", [*_COLUMNS, *_EVENTS])
    dividend, split = (np.nan_to_num(told[name]) for name in _EVENTS)
    split[split == 0.0] = 1.0
    if not ((split > 0.0) & np.isfinite(split)).all():
        raise MissingError("failed: a split is negative or infinite")
    later = np.append(np.cumprod(split[::-1])[::-1][1:], 1.0)
    prices = {
        ours: told[theirs] / later if ours == "volume" else told[theirs] * later
        for theirs, ours in _COLUMNS.items()
    }
    return traded_with_events(told["Date"], prices, dividend * later * split, split)
