"""A seeded market of invented companies that trades on a real exchange's sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from storage.membership import Spell
from tests.standins.limits import bounds, percents

if TYPE_CHECKING:
    from tests.standins.book import MarketBook

FloatArray = npt.NDArray[np.float64]

#: Fewest sessions from one event of an asset to the next.
QUIET = 31
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def asset_names(market: str, n_assets: int) -> tuple[str, ...]:
    """Return invented tickers: one with a dot in the US, every board in China."""
    if market == "us":
        names = [
            _LETTERS[n // 676 % 26] + _LETTERS[n // 26 % 26] + _LETTERS[n % 26]
            for n in range(n_assets)
        ]
        names[1:2] = ["BRK.B"][: len(names[1:2])]
        return tuple(names)
    boards = (600000, 1, 2001, 300001, 688001)
    return tuple(f"{boards[n % 5] + n // 5:06d}" for n in range(n_assets))


def simulate(
    build: type[MarketBook],
    market: str,
    days: Sequence[date],
    n_assets: int,
    seed: int,
    n_members: int | None,
) -> MarketBook:
    """Return a market: random walks in whole cents with events, changes of the index, absences.

    The first asset is there from the first session to the last, is never suspended and has a
    2-for-1 split (10 shares for 15 in China) and dividends. Of the others some list late, and some
    stop trading when they leave the index. Chinese prices obey the price limits; some assets are
    suspended for a while, some are ST. Events are at least `QUIET` sessions apart and never on a
    suspended session.

    Parameters
    ----------
    n_members : int or None
        Names in the index; None takes 24 of 25 assets.
    """
    rng = np.random.default_rng(seed)
    assets = asset_names(market, n_assets)
    size = (len(days), n_assets)
    listed, spells = _careers(assets, days, rng, n_members or n_assets - max(1, n_assets // 25))
    suspended = np.zeros(size, dtype=np.bool_)
    st = np.zeros(size, dtype=np.bool_)
    if market == "cn":
        for column in range(1, n_assets):
            _mark(suspended[:, column], rng, chance=0.5, longest=15)
            _mark(st[:, column], rng, chance=0.06, longest=250)
    suspended &= listed
    suspended[np.argmax(listed, axis=0), np.arange(n_assets)] = False
    split, yields = draw_events(market, listed & ~suspended, rng)
    walk = _Walk(market, days, assets, rng)
    values, dividend = walk.run(listed, suspended, st, split, yields)
    return build(
        market=market,
        days=tuple(days),
        assets=assets,
        values=values,
        split=split,
        dividend=dividend,
        suspended=suspended,
        st=st,
        spells=spells,
    )


def draw_events(
    market: str, trading: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return splits and dividend yields, shape (n_sessions, n_assets), only where `trading`.

    In the US a dividend of 0.3 to 0.8 % four times a year for most assets and now and then a split
    of 2, 3, 4, 1.5 or 0.1; in China once a year 0.5 to 3 %, sometimes together with new shares.
    """
    n_sessions, n_assets = trading.shape
    split = np.ones(trading.shape, order="F")
    yields = np.zeros(trading.shape, order="F")
    period = 63 if market == "us" else 244
    ratios, chance = ((2.0, 3.0, 4.0, 1.5, 0.1), 0.05) if market == "us" else ((1.5, 1.2, 2.0), 0.2)
    for column in range(n_assets):
        pays = column == 0 or rng.random() < 0.7
        for row in range(int(rng.integers(2, period)), n_sessions, period):
            low, high = (0.003, 0.008) if market == "us" else (0.005, 0.03)
            if pays and trading[row - 1 : row + 1, column].all():
                yields[row, column] = rng.uniform(low, high)
            place = row if market == "cn" else row + QUIET
            if (
                place < n_sessions - 1
                and rng.random() < chance * period / 252
                and trading[place - 1 : place + 1, column].all()
            ):
                split[place, column] = rng.choice(ratios)
    middle = n_sessions // 2
    split[:, 0] = 1.0
    yields[max(middle - QUIET, 0) : middle + QUIET, 0] = 0.0
    split[middle, 0] = 2.0 if market == "us" else 1.5
    return split, yields


class _Walk:
    """Prices from one session to the next."""

    def __init__(
        self, market: str, days: Sequence[date], assets: Sequence[str], rng: np.random.Generator
    ) -> None:
        self.market, self.assets, self.rng = market, assets, rng
        self.days = np.array(days, dtype="datetime64[D]")
        n_assets = len(assets)
        self.beta = rng.normal(1.0, 0.3, n_assets)
        self.spread = rng.uniform(0.008, 0.022, n_assets)
        self.turnover = np.exp(rng.normal(13.0, 1.0, n_assets))
        self.start = np.round(np.exp(rng.uniform(np.log(8.0), np.log(150.0), n_assets)), 2)

    def run(
        self, listed: Any, suspended: Any, st: Any, split: FloatArray, yields: FloatArray
    ) -> tuple[dict[str, FloatArray], FloatArray]:
        """Return the values and the dividends in cash."""
        names = ("open", "high", "low", "close", "volume", "amount")
        values = {name: np.full(listed.shape, np.nan, order="F") for name in names}
        dividend = np.zeros(listed.shape, order="F")
        close, shares = self.start.copy(), self.turnover.copy()
        for row in range(len(self.days)):
            dividend[row] = np.round(yields[row] * close, 2 if self.market == "cn" else 4)
            reference = (close - dividend[row]) / split[row]
            shares *= split[row]
            bar = self._session(row, reference, shares, st[row], halted=suspended[row])
            close = np.where(listed[row], bar["close"], close)
            for name in names:
                values[name][row] = np.where(listed[row], bar[name], np.nan)
        if self.market == "us":
            values["amount"][:] = np.nan
        return values, dividend

    def _session(
        self, row: int, reference: FloatArray, shares: FloatArray, st: Any, *, halted: Any
    ) -> dict[str, FloatArray]:
        rng, n_assets = self.rng, len(reference)
        move = 0.008 * rng.standard_normal() * self.beta
        move += self.spread * rng.standard_normal(n_assets) + 0.0003
        pull = np.where(reference < 4.0, 0.01, np.where(reference > 400.0, -0.005, 0.0))
        low_limit, high_limit = np.full(n_assets, 0.01), np.full(n_assets, np.inf)
        if self.market == "cn":
            move = np.where(rng.random(n_assets) < 0.004, 0.3 * np.sign(move), move)
            low_limit, high_limit = bounds(reference, percents(self.days[row], self.assets, st))

        def price(change: FloatArray) -> FloatArray:
            rounded = np.round(reference * np.exp(change), 2)
            return np.clip(rounded, low_limit, high_limit)

        ends = {"open": price(0.3 * move + 0.002 * rng.standard_normal(n_assets))}
        ends["close"] = price(move + pull)
        reach = np.abs(0.005 * rng.standard_normal((2, n_assets)))
        top, bottom = np.maximum(*ends.values()), np.minimum(*ends.values())
        low = np.clip(np.round(bottom * (1.0 - reach[1]), 2), low_limit, high_limit)
        # a session of one single price would look like a limit that nobody traded against
        high = np.maximum(np.round(top * (1.0 + reach[0]), 2), np.round(low + 0.01, 2))
        bar = {**ends, "high": np.clip(high, low_limit, high_limit), "low": low}
        lot = 100.0 if self.market == "cn" else 1.0
        traded = shares * np.exp(0.3 * rng.standard_normal(n_assets) + 8.0 * np.abs(move))
        bar["volume"] = np.maximum(np.rint(traded / lot), 1.0) * lot
        mean = (bar["open"] + bar["high"] + bar["low"] + bar["close"]) / 4.0
        bar["amount"] = np.round(bar["volume"] * mean, 2)
        flat = np.round(reference, 2)
        still = {**dict.fromkeys(("open", "high", "low", "close"), flat), "volume": 0.0 * flat}
        still["amount"] = still["volume"]
        return {name: np.where(halted, still[name], bar[name]) for name in bar}


def _careers(
    assets: Sequence[str], days: Sequence[date], rng: np.random.Generator, n_members: int
) -> tuple[npt.NDArray[np.bool_], tuple[Spell, ...]]:
    """Return who is listed when, and the spells of the index: at each review one name changes."""
    listed = np.ones((len(days), len(assets)), dtype=np.bool_)
    waiting = list(range(n_members, len(assets)))
    inside = list(range(1, n_members))
    since = dict.fromkeys(range(n_members), days[0])
    spells = []
    step = max(len(days) // (len(waiting) + 1), 22)
    for row in range(step, len(days) - 1, step):
        if not waiting or not inside:
            break
        comes, goes = waiting.pop(0), inside.pop(int(rng.integers(len(inside))))
        spells.append(Spell(assets[goes], since.pop(goes), days[row - 1]))
        since[comes] = days[row]
        if rng.random() < 0.5:
            listed[row:, goes] = False
        if rng.random() < 0.5:
            listed[: int(rng.integers(1, row - 20)), comes] = False
    spells += [Spell(assets[column], day, None) for column, day in since.items()]
    return listed, tuple(sorted(spells))


def _mark(flags: Any, rng: np.random.Generator, *, chance: float, longest: int) -> None:
    if rng.random() < chance and len(flags) > 3:
        start = int(rng.integers(1, len(flags) - 1))
        flags[start : start + int(rng.integers(1, longest + 1))] = True
