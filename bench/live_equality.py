"""What a market's store holds, beside what its provider sent and beside the truth.

Bounds, relative where nothing else is said. Yahoo: a price is a 32-bit float of today's shares,
2^-24; a volume is whole shares of today, half of one; a dividend has 6 decimals of today's shares,
so that a factor is off by at most (5e-7 L + 2^-23 D) / (P - D) with the cash D, the close before P
and L of today's shares to one of that day. Eastmoney: prices are exact; a volume is whole lots,
50 shares; an amount is exact; a factor follows from prices adjusted to 0.01, each of which confines
it to 0.01 over the price, before the event and after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from bench.live_sent import PRICES, TOLD, FloatArray, Sent
from storage.bars import BarStore
from tests.standins.book import MarketBook

BoolArray = npt.NDArray[np.bool_]
#: Largest relative distance of what is stored from what was sent.
EQUAL = 1e-9
_FLOAT32 = 2.0**-24


@dataclass(frozen=True)
class Equality:
    """How a store compares with what was sent and with the truth.

    Parameters
    ----------
    bars : int
        Bars stored, without suspensions.
    from_sent : float
        Largest relative distance of a stored value from the telling nearest to it.
    unsent : int
        Stored bars with a value further than `EQUAL` from everything that was sent of it.
    panel_from_sent : float
        The same for the adjusted panel read back, computed from what was sent.
    unstored : int
        Bars of members that were sent and are not stored.
    prices, volumes, factors, panel : tuple of float
        Largest distance from the truth as a share of its bound.
    off : int
        Cells of the panel further from the truth than the bound.
    """

    bars: int
    from_sent: float
    unsent: int
    panel_from_sent: float
    unstored: int
    prices: float
    volumes: float
    factors: float
    panel: float
    panel_distance: float
    off: int

    @property
    def holds(self) -> bool:
        """Whether everything stored was sent, and is the truth within the bounds."""
        equal = max(self.from_sent, self.panel_from_sent) <= EQUAL and not self.unsent
        return equal and max(self.prices, self.volumes, self.factors, self.panel) <= 1.0

    def lines(self) -> list[str]:
        """Return the report."""
        told = "yes" if self.holds else "NO"
        text = (
            f"read back: {self.bars} bars, {self.unsent} never sent; sent and not kept of members: "
            f"{self.unstored}\n"
            f"from what was sent at most {self.from_sent:.1e}, the panel {self.panel_from_sent:.1e}"
            f"; the panel from the generating series at most {self.panel_distance:.1e}\n"
            f"share of its bound: prices {self.prices:.2f}, volumes {self.volumes:.2f}, factors "
            f"{self.factors:.2f}, panel {self.panel:.2f} ({self.off} cells beyond)\n"
            f"equal to what was sent to {EQUAL:g}, to the series within the bounds: {told}"
        )
        return text.splitlines()


def compare(store: BarStore, sent: Sent, as_of: datetime, first: date, last: date) -> Equality:
    """Compare everything a market's store holds of some sessions."""
    book = sent.book
    table = store.bars(book.market, as_of=as_of, first=first, last=last)
    stored = dense(book, table.filter(pc.invert(table["suspended"])))
    there = np.isfinite(stored["close"])
    nearest = {name: sent.nearest(name, stored[name]) for name in TOLD[book.market]}
    away = {name: _distance(stored[name], nearest[name]) for name in nearest}
    unsent = np.zeros_like(there)
    for distance in away.values():
        unsent |= there & ~(distance <= EQUAL)
    matched = stored | {name: np.where(np.isnan(told), stored[name], told)
                        for name, told in nearest.items()}  # fmt: skip
    panel = store.panel(book.market, as_of=as_of, last_session=last)
    columns = [book.columns[asset] for asset in panel.assets]
    rows = np.searchsorted(book.sessions, panel.sessions)
    cells = np.ix_(rows, np.array(columns, dtype=np.int64))
    ours = {name: plane[cells] for name, plane in _adjusted(matched).items()}
    panel_away = max(
        float(np.nanmax(_distance(panel.fields[name], ours[name]))) for name in (*PRICES, "volume")
    )
    truth = _truth(book, stored, there)
    bound = np.where(there, truth["panel_bound"], np.nan)
    drift = np.cumsum(np.log(truth["own"] / truth["factor"]), axis=0)
    apart = np.abs(drift) + truth["price_apart"]
    member = _members(book) & _within(book, first, last)
    return Equality(
        bars=int(there.sum()),
        from_sent=max(float(np.nanmax(distance)) for distance in away.values()),
        unsent=int(unsent.sum()),
        panel_from_sent=panel_away,
        unstored=int((member & np.isfinite(sent.first["close"]) & ~there).sum()),
        prices=_most(truth["price_apart"], truth["price_bound"], there),
        volumes=_most(truth["volume_apart"], truth["volume_bound"], there),
        factors=_most(truth["factor_apart"], truth["factor_bound"], there),
        panel=_most(apart, bound, there),
        panel_distance=float(np.nanmax(np.where(there, apart, np.nan))),
        off=int((there & (apart > bound)).sum()),
    )


def dense(book: MarketBook, table: Any) -> dict[str, FloatArray]:
    """Return the numbers of bars by session and asset; NaN where there is no bar."""
    rows = np.searchsorted(book.sessions, table["session"].to_numpy().astype("datetime64[D]"))
    encoded = table["asset"].combine_chunks().dictionary_encode()
    names = [book.columns[name] for name in encoded.dictionary.to_pylist()]
    columns = np.array(names, dtype=np.int64)[encoded.indices.to_numpy()]
    found = {}
    for name in (*PRICES, "volume", "amount", "adjustment", "split", "dividend"):
        plane = np.full((len(book.days), len(book.assets)), np.nan)
        plane[rows, columns] = table[name].to_numpy()
        found[name] = plane
    return found


def _adjusted(stored: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return prices times the product of the factors so far, volumes over that of the splits."""
    price = np.cumprod(np.nan_to_num(stored["adjustment"], nan=1.0), axis=0)
    shares = np.cumprod(np.nan_to_num(stored["split"], nan=1.0), axis=0)
    return {name: stored[name] * price for name in PRICES} | {"volume": stored["volume"] / shares}


def _truth(book: MarketBook, stored: Mapping[str, FloatArray], there: BoolArray) -> dict[str, Any]:
    """Return the true factors, distances of what is stored from the truth, and their bounds."""
    # an event that fell before an asset's first stored bar, or into a gap, is none of the store's
    begins = np.argmax(there, axis=0), np.arange(there.shape[1])
    factor, own = (np.where(there, each, 1.0) for each in (book.adjustment, stored["adjustment"]))
    factor[begins] = own[begins] = 1.0
    price = np.maximum.reduce([_distance(stored[name], book.values[name]) for name in PRICES])
    volume = np.abs(stored["volume"] - book.values["volume"])
    fewest, most = _later(book, np.minimum), _later(book, np.maximum)
    before, cash = book.previous_close, book.dividend
    if book.market == "us":
        price_bound = np.full(there.shape, _FLOAT32)
        volume_bound = 0.5 / fewest
        factor_bound = (5e-7 * most * book.split + 2 * _FLOAT32 * cash) / (before - cash)
    else:
        price_bound, volume_bound = np.full(there.shape, 1e-12), np.full(there.shape, 50.0)
        adjusted = book.values["close"] * np.cumprod(book.adjustment, axis=0)
        after = before * np.cumprod(book.adjustment, axis=0) / book.adjustment
        factor_bound = 0.01 / adjusted + 0.01 / after
    event = (factor != 1.0) | (own != 1.0)
    factor_bound = np.where(event, factor_bound, 0.0) + 1e-12
    return {
        "factor": factor,
        "own": own,
        "price_apart": price,
        "price_bound": price_bound,
        "volume_apart": volume,
        "volume_bound": volume_bound + 1e-9,
        "factor_apart": np.abs(np.log(own / factor)),
        "factor_bound": factor_bound,
        "panel_bound": price_bound + np.cumsum(np.nan_to_num(factor_bound), axis=0),
    }


def _later(book: MarketBook, extreme: Any) -> FloatArray:
    """Return the extreme number of shares one share was, over the moments at or after each row."""
    found = np.ones(book.split.shape)
    for row in range(len(book.days) - 2, -1, -1):
        found[row] = extreme(1.0, book.split[row + 1] * found[row + 1])
    return found


def _members(book: MarketBook) -> BoolArray:
    inside = np.zeros(book.present.shape, dtype=np.bool_)
    for spell in book.spells:
        start, stop = np.searchsorted(
            book.sessions, np.array([spell.start, spell.end or date.max], dtype="datetime64[D]")
        )
        inside[start : stop + 1, book.columns[spell.asset]] = True
    return inside


def _within(book: MarketBook, first: date, last: date) -> BoolArray:
    low, high = np.datetime64(first, "D"), np.datetime64(last, "D")
    inside: BoolArray = ((book.sessions >= low) & (book.sessions <= high))[:, None]
    return inside


def _distance(ours: Any, theirs: Any) -> FloatArray:
    """Return relative distances; 0 where both are 0, NaN where either is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        apart: FloatArray = np.abs(ours - theirs) / np.abs(theirs)
    return np.where((ours == 0.0) & (theirs == 0.0), 0.0, apart)


def _most(apart: FloatArray, bound: FloatArray, there: BoolArray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmax(np.where(there, apart / bound, 0.0)))
