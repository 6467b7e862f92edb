"""How Tiingo is asked and read; pure, over the rows of `TiingoClient.get_ticker_price`.

Tiingo tells prices and volumes as traded and puts `divCash` and `splitFactor` on their ex-dates, so
nothing has to be undone and nothing later has to be known: exactly the window is asked for, and a
month before it. Its own adjusted columns restate the past and are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import numpy as np

from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.feeds.traded import (
    PRICES,
    FloatArray,
    MissingError,
    Traded,
    parse_traded,
    read_columns,
    spellings,
)
from signals.panel import BoolArray, SessionArray

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

    With split ratio s = `splitFactor`, cash D = `divCash` (per share held before the ex-date) and
    the close before P, all as traded, `adjustment` is s / (1 - D/P). A day without prices has no
    bar, and its events count from the next bar on.

    Raises
    ------
    MissingError
        The answer is not ok or cannot be bars; a split is not above zero, a dividend is negative or
        not below the close before it.
    """
    told = read_columns(answers[0], "date", _NUMBERS)
    days = told["date"]
    split, dividend = told["splitFactor"], np.nan_to_num(told["divCash"])
    split = np.where(np.isnan(split) | (split == 0.0), 1.0, split)
    if not ((split > 0.0) & np.isfinite(split)).all() or not (dividend >= 0.0).all():
        raise MissingError("failed: a split or a dividend is negative or infinite")
    priced: BoolArray = np.isfinite(np.stack([told[name] for name in PRICES])).all(axis=0)
    notes = _carry(days, dividend, split, priced)
    bars = {name: told[name][priced] for name in (*PRICES, "volume")}
    split, dividend, dated = split[priced], dividend[priced], days[priced]
    before = np.append(np.nan, bars["close"][:-1])[: len(dated)]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(dividend > 0.0, dividend / before, 0.0)
    if (share >= 1.0).any():
        day = dated[np.argmax(share >= 1.0)]
        raise MissingError(f"failed: the dividend of {day} is not below the close before it")
    if np.isnan(share[:1]).any():
        notes.append((dated[0], f"the close before the dividend of {dated[0]} is unknown"))
    both = (dividend > 0.0) & (split != 1.0)
    notes += [
        (day, f"the cash of {day} is read as paid before that day's split") for day in dated[both]
    ]
    adjustment = split / (1.0 - np.nan_to_num(share))
    events = {"adjustment": adjustment, "split": split, "dividend": dividend}
    return Traded(dated, {**bars, **events}, days[~priced], tuple(notes))


def _carry(
    days: SessionArray, dividend: FloatArray, split: FloatArray, priced: BoolArray
) -> list[tuple[np.datetime64, str]]:
    """Move the events of days without prices to the next bar, in place; say so."""
    notes = []
    for row in np.flatnonzero(~priced):
        if dividend[row] == 0.0 and split[row] == 1.0:
            continue
        if row + 1 == len(days):
            notes.append((days[row], f"the event of {days[row]} has no bar after it yet"))
            continue
        # cash is per share held before the first of the events
        dividend[row + 1] = dividend[row] + split[row] * dividend[row + 1]
        split[row + 1] *= split[row]
        notes.append((days[row + 1], f"the event of {days[row]}, which has no bar, counts later"))
    return notes
