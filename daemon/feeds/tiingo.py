"""How Tiingo is asked and read; pure, over the rows of `TiingoClient.get_ticker_price`.

Tiingo tells prices and volumes as traded and puts `divCash` and `splitFactor` on their ex-dates, so
nothing has to be undone and nothing later has to be known: exactly the window is asked for, and a
month before it. Its own adjusted columns restate the past and are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.feeds.traded import (
    PRICES,
    Traded,
    parse_traded,
    read_columns,
    spellings,
    traded_with_events,
)

#: Days before the first session that are asked for: they show the close before it.
LEAD = timedelta(days=30)

_NUMBERS = (*PRICES, "volume", "divCash", "splitFactor")


class TiingoProvider:
    """Tiingo, for US shares.

    Parameters
    ----------
    finality : callable of date to datetime
        When a session's bars are final; an answer received earlier has it unfinished.
    """

    name = "tiingo"
    client = "daemon.feeds.clients.tiingo"

    def __init__(self, finality: Callable[[date], datetime]) -> None:
        self._finality = finality

    def queries(self, request: Request) -> list[Query]:
        """Return one query an asset, from a month before the first session to the last one."""
        first, last = min(request.sessions) - LEAD, max(request.sessions)
        symbols = spellings(request, self.name).values()
        return [Query("history", symbol, first, last) for symbol in symbols]

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        """Return the bars as traded of the sessions asked for that were final when answered."""
        return parse_traded(self.name, request, answers, self._finality, read_history)


def read_history(asset: str, answers: Sequence[Answer]) -> Traded:  # noqa: ARG001
    """Return an asset as it was traded.

    The split ratio is `splitFactor`, the cash per share held before the ex-date `divCash`.

    Raises
    ------
    MissingError
        The answer is not ok or cannot be bars: see `traded_with_events`.
    """
    told = read_columns(answers[0], "date", _NUMBERS)
    prices = {name: told[name] for name in (*PRICES, "volume")}
    traded = traded_with_events(told["date"], prices, told["divCash"], told["splitFactor"])
    both = (traded.columns["dividend"] > 0.0) & (traded.columns["split"] != 1.0)
    notes = tuple(
        (day, f"the cash of {day} is read as paid before that day's split")
        for day in traded.days[both]
    )
    return replace(traded, notes=(*traded.notes, *notes))
