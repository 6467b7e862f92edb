"""The truth that the stand-ins tell: bars as traded, events and index membership of one market."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.bars import BAR_SCHEMA
from storage.membership import Spell
from tests.standins.exchange import EXCHANGES, SessionArray, sessions_between, trading_hours
from tests.standins.limits import limit_flags
from tests.standins.series import FIELDS, PRICES, Series

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MarketBook:
    """A market as it was: nothing here is adjusted.

    Parameters
    ----------
    market : str
        "us" or "cn".
    days : tuple of date
        The sessions, ascending; n_sessions of them.
    assets : tuple of str
        Canonical names, n_assets of them.
    values : mapping of str to ndarray of shape (n_sessions, n_assets)
        `FIELDS`; prices as traded, volume in shares, amount in cash (NaN where unknown). A close of
        NaN means that there is no bar.
    split, dividend : ndarray of shape (n_sessions, n_assets)
        Shares that one share becomes (1 without an event); cash per old share (0 without).
    suspended, st : ndarray of bool, shape (n_sessions, n_assets)
    spells : tuple of Spell
        Index membership; effective dates are sessions.
    """

    market: str
    days: tuple[date, ...]
    assets: tuple[str, ...]
    values: Mapping[str, FloatArray]
    split: FloatArray
    dividend: FloatArray
    suspended: BoolArray
    st: BoolArray
    spells: tuple[Spell, ...]

    @classmethod
    def synthetic(
        cls,
        market: str = "us",
        n_assets: int = 30,
        first: date = date(2022, 1, 3),
        last: date = date(2023, 12, 29),
        seed: int = 0,
        *,
        n_members: int | None = None,
    ) -> MarketBook:
        """Return a seeded market; see `tests.standins.synthetic.simulate`."""
        from tests.standins.synthetic import simulate

        days = sessions_between(market, first, last)
        return simulate(cls, market, days, n_assets, seed, n_members)

    @classmethod
    def from_parquet(
        cls,
        path: Path,
        market: str,
        *,
        first: date = date.min,
        last: date = date.max,
        n_assets: int | None = None,
        seed: int = 0,
        membership: Path | None = None,
    ) -> MarketBook:
        """Return real bars with seeded events; see `tests.standins.real.restore`."""
        from tests.standins.real import restore

        return restore(cls, path, market, first, last, n_assets, seed, membership)

    @cached_property
    def sessions(self) -> SessionArray:
        """The sessions as datetime64[D]."""
        return np.array(self.days, dtype="datetime64[D]")

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """Where each asset stands."""
        return {asset: column for column, asset in enumerate(self.assets)}

    @cached_property
    def present(self) -> BoolArray:
        """Where there is a row, suspended ones included."""
        return np.isfinite(self.values["close"])

    @cached_property
    def previous_close(self) -> FloatArray:
        """The close of the row before, as traded; NaN before the first."""
        seen = np.where(self.present, np.arange(len(self.days))[:, None], -1)
        before = np.full(seen.shape, -1)
        np.maximum.accumulate(seen[:-1], axis=0, out=before[1:])
        taken = np.take_along_axis(self.values["close"], np.maximum(before, 0), axis=0)
        return np.where(before >= 0, taken, np.nan)

    @cached_property
    def adjustment(self) -> FloatArray:
        """What an event multiplies prices by from its session on: split / (1 - D / close before).

        1 without an event; Π over the events ≤ t times the price is the total return.
        """
        previous = np.where(np.isfinite(self.previous_close), self.previous_close, np.inf)
        return np.asfortranarray(self.split / (1.0 - self.dividend / previous))

    @cached_property
    def limits(self) -> tuple[BoolArray, BoolArray]:
        """Where the close lies at the upper and the lower price limit; nowhere in the US."""
        if self.market == "us":
            return np.zeros_like(self.present), np.zeros_like(self.present)
        reference = (self.previous_close - self.dividend) / self.split
        return limit_flags(self.values["close"], reference, self.sessions, self.assets, self.st)

    @cached_property
    def bars(self) -> Any:
        """What a perfect feed would return of all time: `BAR_SCHEMA`, by session and asset."""
        order = np.argsort(np.array(self.assets))
        there = self.present[:, order]
        rows, places = np.nonzero(there)
        up, down = self.limits
        columns: dict[str, Any] = {
            "session": pa.array(self.sessions[rows]),
            "asset": pa.array(np.array(self.assets)[order][places], pa.string()),
            **{name: self.values[name][:, order][there] for name in FIELDS},
            "adjustment": self.adjustment[:, order][there],
            "split": self.split[:, order][there],
            "suspended": self.suspended[:, order][there],
            "dividend": self.dividend[:, order][there],
            "st": self.st[:, order][there],
            "limit_up": up[:, order][there],
            "limit_down": down[:, order][there],
        }
        amount = columns["amount"]
        columns["amount"] = pa.array(amount, mask=np.isnan(amount))
        return pa.table(columns, schema=BAR_SCHEMA)

    @cached_property
    def hours(self) -> tuple[SessionArray, SessionArray]:
        """Opens and closes in UTC as datetime64[s]."""
        return trading_hours(self.market, self.days)

    @cached_property
    def index(self) -> Series:
        """The market's index: level 1000 on the first session, every asset the same weight."""
        with np.errstate(invalid="ignore"):
            growth = {
                name: np.where(
                    self.present & np.isfinite(self.previous_close),
                    self.values[name] * self.split / self.previous_close,
                    np.nan,
                )
                for name in PRICES
            }
        weight = np.maximum(np.isfinite(growth["close"]).sum(axis=1), 1)
        mean = {name: np.nansum(value, axis=1) / weight for name, value in growth.items()}
        idle = mean["close"] == 0.0
        close = 1000.0 * np.cumprod(np.where(idle, 1.0, mean["close"]))
        before = np.concatenate([[1000.0], close[:-1]])
        prices = {name: before * np.where(idle, 1.0, mean[name]) for name in PRICES}
        flows = {name: np.nansum(self.values[name], axis=1) for name in ("volume", "amount")}
        one, zero = np.ones(len(self.days)), np.zeros(len(self.days))
        return Series(
            asset=EXCHANGES[self.market].index,
            sessions=self.sessions,
            values={**prices, **flows},
            suspended=np.zeros(len(self.days), dtype=np.bool_),
            split=one,
            dividend=zero,
            later_splits=one,
            later_adjustment=one,
            past_adjustment=one,
        )

    def finished(self, now: datetime) -> int:
        """Return how many sessions are over at a time."""
        return int(np.searchsorted(self.hours[1], _instant(now), side="right"))

    def begun(self, now: datetime) -> int:
        """Return how many sessions have opened by a time."""
        return int(np.searchsorted(self.hours[0], _instant(now), side="right"))

    def announced(self, now: datetime) -> int:
        """Return how many sessions' events are in force: up to today's by the exchange's clock."""
        today = now.astimezone(EXCHANGES[self.market].zone).date()
        return int(np.searchsorted(self.sessions, np.datetime64(today, "D"), side="right"))

    def series(self, asset: str, now: datetime, *, unfinished: bool = False) -> Series | None:
        """Return what is known of an asset at a time; None for one nobody has heard of.

        Parameters
        ----------
        asset : str
            Canonical, or the market's index.
        unfinished : bool
            With the row of a session that is not over yet, as if it were.
        """
        stop = self.begun(now) if unfinished else self.finished(now)
        if asset == self.index.asset:
            return self.index.rows(slice(0, stop))
        if asset not in self.columns:
            return None
        column = self.columns[asset]
        known = max(stop, self.announced(now))
        split = self.split[:known, column]
        adjustment = self.adjustment[:known, column]
        whole = Series(
            asset=asset,
            sessions=self.sessions[:stop],
            values={name: self.values[name][:stop, column] for name in FIELDS},
            suspended=self.suspended[:stop, column],
            split=split[:stop],
            dividend=self.dividend[:stop, column],
            later_splits=_after(split)[:stop],
            later_adjustment=_after(adjustment)[:stop],
            past_adjustment=np.multiply.accumulate(adjustment)[:stop],
        )
        return whole.rows(self.present[:stop, column])

    def members(self, day: date) -> tuple[str, ...]:
        """Return the index's members on a day, in order of name."""
        return tuple(
            sorted(
                spell.asset
                for spell in self.spells
                if spell.start <= day and (spell.end is None or day <= spell.end)
            )
        )

    def name(self, asset: str, now: datetime) -> str:
        """Return the short name of an asset; a Chinese one says ST while that is so."""
        if self.market == "us":
            return f"{asset.replace('.', ' Class ')} Corporation"
        row = max(self.finished(now) - 1, 0)
        warning = "*ST" if self.st[row, self.columns[asset]] else ""
        return f"{warning}证券{asset[-4:]}"

    def with_event(
        self, asset: str, session: date, *, split: float = 1.0, dividend: float = 0.0
    ) -> MarketBook:
        """Return the market in which this happened as well.

        A split divides the prices from `session` on, rounded to 0.01, and later dividends, and
        multiplies volumes.

        Raises
        ------
        ValueError
            No bar on that session, or an event there already.
        """
        row, column = self.days.index(session), self.columns[asset]
        if not self.present[row, column] or self.adjustment[row, column] != 1.0:
            raise ValueError(f"{asset} has no bar without an event on {session}")
        values = {name: array.copy(order="F") for name, array in self.values.items()}
        for name in PRICES:
            later = values[name][row:, column]
            values[name][row:, column] = np.round(later / split, 2)
        values["volume"][row:, column] = np.rint(values["volume"][row:, column] * split)
        splits, dividends = self.split.copy(order="F"), self.dividend.copy(order="F")
        splits[row, column], dividends[row, column] = split, dividend
        dividends[row + 1 :, column] = np.round(dividends[row + 1 :, column] / split, 6)
        return replace(self, values=values, split=splits, dividend=dividends)

    def with_value(self, asset: str, session: date, field: str, value: float) -> MarketBook:
        """Return the market in which one value is another: the correction of a bar."""
        changed = self.values[field].copy(order="F")
        changed[self.days.index(session), self.columns[asset]] = value
        return replace(self, values={**self.values, field: changed})


def _after(factors: FloatArray) -> FloatArray:
    """Return, for each row, the product of the factors after it."""
    products = np.ones(len(factors) + 1)
    products[:-1] = np.cumprod(factors[::-1])[::-1]
    return products[1:]


def _instant(now: datetime) -> np.datetime64:
    return np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
