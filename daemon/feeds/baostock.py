"""How baostock is asked and read; pure, over the text tables of its client.

Prices are asked for as traded (`adjustflag` 3), with the exchange's own previous close, the trade
status and risk warnings; adjustment factors from the first listing on. What baostock tells:

* A suspended session has a row of its own; its prices are not kept, as with any other source.
* The factor is told to 6 decimals. Each one is checked against the previous close, and an asset of
  which they disagree has no bars: "adjustment undetermined".
* How much of a factor is cash is not told. Up to `CASH_ONLY` it is all of it; beyond, volume over
  turnover gives the shares in free float before and after, and where they tell no plain ratio
  `split` is 1 and `dividend` 0 while `adjustment` is right, with a warning.
* A session's bar comes some hours after its close, later than Eastmoney's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import numpy as np

from daemon.feeds.boards import limit_flags, price_limits
from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.feeds.traded import (
    PRICES,
    FloatArray,
    MissingError,
    Traded,
    asked,
    parse_traded,
    read_columns,
    spellings,
)
from signals.panel import BoolArray, SessionArray

#: Days before the first session that are asked for: they show the close before it, also of a share
#: that was suspended for months.
LEAD = timedelta(days=400)
#: The first session of the exchanges was later: every factor is asked for.
BEGINNING = date(1990, 1, 1)
#: Columns asked for, by baostock's own names.
FIELDS = (
    *("date", "code", *PRICES, "preclose"),
    *("volume", "amount", "turn", "tradestatus", "isST"),
)
#: A factor up to this is taken for cash: bonus shares come by the tenth, 1.1 and more.
CASH_ONLY = 1.05
#: Largest share of a close that is believed to be paid out in cash.
MAX_CASH = 0.2
#: Relative distance of a ratio of shares from two decimals that still tells them.
RATIO_ERROR = 2e-4
#: Half of the last decimal of a price in yuan, and of a factor.
HALF_CENT, HALF_FACTOR = 0.005, 5e-7


class BaostockProvider:
    """baostock, for shares of Shanghai and Shenzhen.

    Parameters
    ----------
    finality : callable of date to datetime
        When a session's bars are final; an answer received earlier has it unfinished.
    """

    name = "baostock"
    client = "daemon.feeds.clients.baostock"

    def __init__(self, finality: Callable[[date], datetime]) -> None:
        self._finality = finality

    def queries(self, request: Request) -> list[Query]:
        """Return two queries an asset: its bars, and all its factors to the last session."""
        first, last = min(request.sessions) - LEAD, max(request.sessions)
        options = (("fields", ",".join(FIELDS)),)
        return [
            query
            for symbol in spellings(request, self.name).values()
            for query in (
                Query("history", symbol, first, last, options),
                Query("factors", symbol, BEGINNING, last),
            )
        ]

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        """Return the bars as traded of the sessions asked for that were final when answered.

        An asset whose factors contradict its previous closes is missing as "adjustment
        undetermined: …".
        """
        return parse_traded(self.name, request, answers, self._finality, read_history)


def read_history(asset: str, answers: Sequence[Answer]) -> Traded:
    """Return an asset as it was traded.

    `adjustment` of an ex-date is baostock's cumulative factor over the one before it, and counts
    from the first session traded since. It must turn the close before into the previous close that
    the exchange tells, within the rounding of both.

    Raises
    ------
    MissingError
        An answer is not ok (no factor at all is), or cannot be bars or factors; the two contradict.
    """
    bars = asked(answers, "history")
    symbol = bars.query.symbol
    told = read_columns(bars, "date", [*FIELDS[2:]], symbol=symbol)
    ex_dates, steps = _factors(asked(answers, "factors"), symbol)
    halted = told["tradestatus"] == 0.0
    priced = np.isfinite([told[name] for name in (*PRICES, "preclose")]).all(axis=0)
    kept = halted | priced
    days, told = told["date"][kept], {name: values[kept] for name, values in told.items()}
    halted = halted[kept]
    at = np.flatnonzero(~halted)
    inside = (ex_dates >= days[:1]).nonzero()[0] if len(days) else np.array([], dtype=np.int64)
    place = np.searchsorted(days[at], ex_dates[inside])
    inside, place = inside[place < len(at)], place[place < len(at)]
    adjustment, n_events = np.ones(len(at)), np.zeros(len(at))
    np.multiply.at(adjustment, place, steps[inside])
    np.add.at(n_events, place, 1.0)
    traded = {name: values[at] for name, values in told.items()}
    _check(traded, adjustment, n_events)
    split, dividend, undivided = _divide(traded, adjustment)
    up, down = _limits(asset, traded)
    columns = {name: np.where(halted, np.nan, told[name]) for name in (*PRICES, "amount")}
    columns["volume"] = np.where(halted, 0.0, told["volume"])
    columns["st"], columns["suspended"] = told["isST"] == 1.0, halted
    for name, values, otherwise in (
        ("adjustment", adjustment, 1.0),
        ("split", split, 1.0),
        ("dividend", dividend, 0.0),
        ("limit_up", up, False),
        ("limit_down", down, False),
    ):
        columns[name] = np.full(len(days), otherwise, dtype=values.dtype)
        columns[name][at] = values
    text = "may hold bonus shares that the volume does not tell"
    notes = tuple((day, f"the event of {day} {text}") for day in traded["date"][undivided])
    # a row that is dropped is one of a session that traded
    gone = read_columns(bars, "date", ())["date"][~kept]
    return Traded(days, columns, gone, notes)


def _factors(answer: Answer, symbol: str) -> tuple[SessionArray, FloatArray]:
    """Return the ex-dates and what each multiplies prices by; no event at all is an answer."""
    if answer.outcome == "empty":
        return np.array([], dtype="datetime64[D]"), np.array([])
    told = read_columns(answer, "dividOperateDate", ["backAdjustFactor"], symbol=symbol)
    levels = told["backAdjustFactor"]
    if not ((levels > 0.0) & np.isfinite(levels)).all():
        raise MissingError("adjustment undetermined: a factor is not above zero")
    return told["dividOperateDate"], levels / np.append(1.0, levels[:-1])


def _check(traded: dict[str, FloatArray], adjustment: FloatArray, n_events: FloatArray) -> None:
    """Refuse factors that do not lead from each close to the next previous close."""
    expected = traded["close"][:-1] / adjustment[1:]
    # each event rounds the reference once, and the factor before and after it
    slack = HALF_CENT * np.maximum(n_events[1:], 1.0) * (1.0 + 1e-6)
    slack += 2 * HALF_FACTOR * n_events[1:] * expected + 1e-4
    off = np.flatnonzero(~(np.abs(expected - traded["preclose"][1:]) <= slack))
    if len(off):
        row = off[0] + 1
        raise MissingError(
            f"adjustment undetermined: the previous close of {traded['date'][row]} is "
            f"{traded['preclose'][row]:g}, and by the factors {expected[row - 1]:.4f}"
        )


def _divide(
    traded: dict[str, FloatArray], adjustment: FloatArray
) -> tuple[FloatArray, FloatArray, list[int]]:
    """Return splits, dividends and the rows of events that cannot be divided into the two."""
    split, dividend = np.ones(len(adjustment)), np.zeros(len(adjustment))
    undivided = []
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = traded["volume"] / traded["turn"]
    for row in np.flatnonzero(adjustment != 1.0):
        factor, multiplier = float(adjustment[row]), 1.0
        if row and not 1.0 / CASH_ONLY <= factor <= CASH_ONLY:
            ratio = shares[row] / shares[row - 1]
            multiplier = float(np.round(ratio, 2))
            close_by = bool(abs(ratio - multiplier) <= RATIO_ERROR * multiplier)
            cash = 1.0 - multiplier / factor
            if not close_by or not -RATIO_ERROR * 10 <= cash <= MAX_CASH:
                undivided.append(int(row))
                continue
        split[row] = multiplier
        if row:
            dividend[row] = max(traded["close"][row - 1] * (1.0 - multiplier / factor), 0.0)
    return split, dividend, undivided


def _limits(asset: str, traded: dict[str, FloatArray]) -> tuple[BoolArray, BoolArray]:
    """Return where the close lies at the upper limit and where at the lower one."""
    days = traded["date"].astype("datetime64[D]")
    warned = traded["isST"] == 1.0
    percent = np.where(
        warned, price_limits(asset, days, st=True), price_limits(asset, days, st=False)
    )
    return limit_flags(traded["high"], traded["low"], traded["close"], traded["preclose"], percent)
