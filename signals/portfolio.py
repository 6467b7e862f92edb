"""A long portfolio of the best scores: top-k with at most so many changes a session, with costs.

The rule is that of qlib's `TopkDropoutStrategy`, its account and its exchange (pyqlib 0.9.7,
without trade units), so that figures stand beside published ones: of the assets held and the best
of the others, the worst `drop` leave if they are held, and the best others take the free places.
What should leave and cannot be sold is kept beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from signals.errors import DataError
from signals.panel import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PortfolioRule:
    """How scores become holdings.

    Parameters
    ----------
    top_k : int
        Assets held.
    drop : int
        Most assets sold for a better one in a session.
    lag : int
        Sessions between a score and the close it is traded at.
    buy_cost_bps, sell_cost_bps : float
        Of the traded value.
    min_cost : float
        Least cost of a trade, in money.
    capital : float
        Money at the start.
    invested : float
        Share of the free cash that is put into what is bought.
    settle_after : int or None
        Sessions without a bar after which a position is paid out at its last price, less the cost
        of a sale: the asset is gone. None keeps it for ever, as qlib does.
    """

    top_k: int = 50
    drop: int = 5
    lag: int = 1
    buy_cost_bps: float = 5.0
    sell_cost_bps: float = 15.0
    min_cost: float = 5.0
    capital: float = 1e8
    invested: float = 0.95
    settle_after: int | None = None

    def __post_init__(self) -> None:
        if not (self.top_k >= 1 and 0 <= self.drop <= self.top_k and self.lag >= 0):
            raise DataError(
                f"top_k {self.top_k}, drop {self.drop}, lag {self.lag}",
                rule="at least one asset is held, at most all of them change, nothing is traded "
                "before it is known",
            )


class Trades(NamedTuple):
    """What was traded, in the order it was; arrays of shape (n_trades,).

    `session` and `asset` are row and column; `amount` is in adjusted shares, negative for a sale;
    `value` and `cost` are in money and not negative.
    """

    session: IntArray
    asset: IntArray
    amount: FloatArray
    price: FloatArray
    value: FloatArray
    cost: FloatArray


@dataclass(frozen=True, eq=False)
class Account:
    """A portfolio's life; arrays of shape (n_sessions,), at each close.

    Parameters
    ----------
    value, cash : ndarray
        In money, after the session's trades and costs.
    gross : ndarray
        Return of the session before costs, as a fraction of the value at the last close.
    cost, turnover : ndarray
        Costs, and the value bought and sold together, as fractions of the same.
    n_held : ndarray of int64
        Assets held after the trades.
    trades : Trades
    """

    value: FloatArray
    cash: FloatArray
    gross: FloatArray
    cost: FloatArray
    turnover: FloatArray
    n_held: IntArray
    trades: Trades

    @property
    def net(self) -> FloatArray:
        """Return of each session after costs."""
        return self.gross - self.cost


def simulate(
    score: FloatArray,
    price: FloatArray,
    rule: PortfolioRule,
    *,
    unbuyable: BoolArray | None = None,
    unsellable: BoolArray | None = None,
) -> Account:
    """Return what a portfolio that follows the scores would have lived through.

    Parameters
    ----------
    score : ndarray of shape (n_sessions, n_assets)
        As known at each close; NaN for what is not to be held. Of equal ones the first column wins.
    price : ndarray of the same shape
        Adjusted closes, at which is traded; NaN without a bar: nothing is traded then, and what is
        held keeps its last price.
    rule : PortfolioRule
    unbuyable, unsellable : ndarray of bool of the same shape, optional
        Where the close cannot be traded at: a price at its limit.

    Raises
    ------
    DataError
        The shapes do not agree, or a price is not above zero.
    """
    closed_up = np.zeros(price.shape, dtype=bool) if unbuyable is None else unbuyable
    closed_down = np.zeros(price.shape, dtype=bool) if unsellable is None else unsellable
    if not score.shape == price.shape == closed_up.shape == closed_down.shape:
        raise DataError(
            f"scores of shape {score.shape} beside prices of {price.shape}",
            rule="scores, prices and flags are (n_sessions, n_assets)",
        )
    if (price <= 0.0).any():
        raise DataError("a price is not above zero", rule="what is traded has a positive price")
    desk = _Desk(rule, price.shape[1])
    rows = []
    for row in range(len(price)):
        before = desk.value()
        desk.open(row, price[row])
        wanted = score[row - rule.lag] if row >= rule.lag else np.full(price.shape[1], np.nan)
        if np.isfinite(wanted).any():
            desk.trade(wanted, closed_up[row], closed_down[row])
        after = desk.value()
        rows.append(
            (
                after,
                desk.cash,
                (after - before + desk.cost) / before,
                desk.cost / before,
                desk.traded / before,
                len(desk.held),
            )
        )
    columns = [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]
    value, cash, gross, cost, turnover, n_held = columns or [np.empty(0)] * 6
    return Account(
        value, cash, gross, cost, turnover, n_held.astype(np.int64), _as_trades(desk.trades)
    )


class _Desk:
    """Cash, positions, and what one session costs."""

    def __init__(self, rule: PortfolioRule, n_assets: int) -> None:
        self.rule = rule
        self.cash = rule.capital
        #: Column → adjusted shares, in the order bought.
        self.held: dict[int, float] = {}
        self.last = np.full(n_assets, np.nan)
        self.idle = np.zeros(n_assets, dtype=np.int64)
        self.trades: list[tuple[float, ...]] = []
        self.row = 0
        self.now = self.last
        self.cost = self.traded = 0.0

    def value(self) -> float:
        return self.cash + sum(amount * float(self.last[at]) for at, amount in self.held.items())

    def open(self, row: int, price: FloatArray) -> None:
        """Take the prices of a session, and what is paid out for assets that are gone."""
        self.row, self.now = row, price
        self.cost = self.traded = 0.0
        there = np.isfinite(price)
        self.last = np.where(there, price, self.last)
        self.idle = np.where(there, 0, self.idle + 1)
        limit = self.rule.settle_after
        if limit is not None:
            for at in [at for at in self.held if self.idle[at] >= limit]:
                self._sell(at)

    def trade(self, score: FloatArray, closed_up: BoolArray, closed_down: BoolArray) -> None:
        """Sell what falls behind and buy what is ahead of it."""
        leaving, joining = _plan(score, list(self.held), self.rule)
        there = np.isfinite(self.now)
        for at in [at for at in self.held if at in leaving and there[at] and not closed_down[at]]:
            self._sell(at)
        each = self.cash * self.rule.invested / len(joining) if joining else 0.0
        for at in joining:
            if there[at] and not closed_up[at]:
                self._buy(at, each)

    def _sell(self, at: int) -> None:
        amount = self.held[at]
        value = amount * self.last[at]
        cost = max(value * self.rule.sell_cost_bps * 1e-4, self.rule.min_cost)
        if self.cash + value < cost:
            return
        del self.held[at]
        self._book(at, -amount, value, cost)
        self.cash += value - cost

    def _buy(self, at: int, value: float) -> None:
        share = self.rule.buy_cost_bps * 1e-4
        cost = max(value * share, self.rule.min_cost)
        if self.cash < cost:
            return
        if self.cash < value + cost:
            value = self.cash / (1.0 + share)
            if value * share < self.rule.min_cost:
                value = self.cash - self.rule.min_cost
            cost = max(value * share, self.rule.min_cost)
        if value <= 1e-5:
            return
        self.held[at] = value / self.now[at]
        self._book(at, self.held[at], value, cost)
        self.cash -= value + cost

    def _book(self, at: int, amount: float, value: float, cost: float) -> None:
        self.trades.append((self.row, at, amount, self.last[at], value, cost))
        self.traded += value
        self.cost += cost


def _plan(score: FloatArray, held: list[int], rule: PortfolioRule) -> tuple[set[int], list[int]]:
    """Return what is to leave, and what is to join in order of preference."""
    best = np.argsort(-score, kind="stable")
    best = best[np.isfinite(score[best])]
    others = best[~np.isin(best, held)][: max(rule.drop + rule.top_k - len(held), 0)]
    together = np.array(sorted([*held, *others.tolist()]), dtype=np.int64)
    n_stay = max(len(together) - rule.drop, 0)
    worst = together[np.argsort(-score[together], kind="stable")][n_stay:]
    leaving = set(worst.tolist()) & set(held)
    free = len(leaving) + rule.top_k - len(held)
    return leaving, others[: max(free, 0)].tolist()


def _as_trades(rows: list[tuple[float, ...]]) -> Trades:
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 6)
    session, asset = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    return Trades(session, asset, table[:, 2], table[:, 3], table[:, 4], table[:, 5])


def capacity(
    account: Account,
    traded: FloatArray,
    rule: PortfolioRule,
    *,
    participation: float = 0.05,
    share: float = 0.95,
) -> float:
    """Return the capital at which nearly all trades stay a small part of what is traded.

    Parameters
    ----------
    account : Account
        Of the capital that `rule` names.
    traded : ndarray of shape (n_sessions, n_assets)
        Money that changed hands in the market.
    participation : float
        Largest part of it that a trade may be.
    share : float
        Part of the trades that must stay below.

    Returns
    -------
    float
        In money; NaN without trades. The account's growth is taken out: each trade counts as a part
        of the value it was made with.
    """
    trades = account.trades
    if not len(trades.session):
        return float("nan")
    market = traded[trades.session, trades.asset]
    before = np.concatenate([[rule.capital], account.value[:-1]])[trades.session]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(market > 0.0, trades.value / before / market, np.inf)
    return float(participation / np.quantile(part, share, method="higher"))
