"""Real bars that lie in a Parquet file, turned back into what may have been traded."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.membership import Spell, read_membership
from tests.standins.synthetic import draw_events

if TYPE_CHECKING:
    from tests.standins.book import MarketBook

FloatArray = npt.NDArray[np.float64]
_PRICES = ("open", "high", "low", "close")


def restore(
    build: type[MarketBook],
    path: Path,
    market: str,
    first: date,
    last: date,
    n_assets: int | None,
    seed: int,
    membership: Path | None,
) -> MarketBook:
    """Return adjusted bars of a file as a market with seeded splits and dividends.

    Each asset's adjusted prices A become as traded by P_t = k A_t / Π_{s≤t} adjustment_s, rounded
    to 0.01, with k so that the median price is 5 to 150 or, where
    that is more, the lowest is 1. Volumes, which are adjusted for splits,
    become rint(V_t Π_{s≤t} split_s), scaled by 1/k. A dividend is its yield times the close before,
    rounded; the true returns are therefore the file's to within the rounding of both. Highs and
    lows are widened to hold open and close. A Chinese amount is the volume times the mean price.

    Parameters
    ----------
    path : Path
        Columns date, symbol, open, high, low, close, volume, and where there are any tradestatus
        (0 is suspended) and is_st.
    n_assets : int or None
        The first so many by name; None takes all.
    membership : Path or None
        Spells, see `storage.membership.read_membership`; None makes every asset a member.
    """
    rng = np.random.default_rng(seed)
    table = _read(path, first, last, n_assets)
    days, rows = np.unique(table["date"].to_numpy(), return_inverse=True)
    encoded = table["symbol"].combine_chunks().dictionary_encode()
    assets = tuple(encoded.dictionary.to_pylist())
    places = encoded.indices.to_numpy()
    shape = (len(days), len(assets))

    def dense(name: str, empty: float = np.nan) -> FloatArray:
        array = np.full(shape, empty, order="F")
        if name in table.column_names:
            array[rows, places] = table[name].to_numpy(zero_copy_only=False)
        return array

    adjusted = {name: dense(name) for name in _PRICES}
    present = np.isfinite(adjusted["close"]) & (adjusted["close"] > 0.0)
    suspended = present & (dense("tradestatus", 1.0) == 0.0)
    split, yields = draw_events(market, present & ~suspended, rng)
    nominal = np.cumprod(split / (1.0 - yields), axis=0)
    traded = {name: array / nominal for name, array in adjusted.items()}
    with np.errstate(invalid="ignore"):
        scale = _scales(np.where(present, traded["close"], np.nan), rng)
        values = {name: np.round(array * scale, 2) for name, array in traded.items()}
    for name in _PRICES:
        values[name][present] = np.maximum(values[name][present], 0.01)
        values[name][~present] = np.nan
    values["high"] = np.maximum.reduce([values[name] for name in _PRICES])
    values["low"] = np.minimum.reduce([values[name] for name in _PRICES])
    volume = np.cumprod(split, axis=0) / scale
    values["volume"] = np.where(present, np.rint(dense("volume") * volume), np.nan)
    values["amount"] = np.full(shape, np.nan, order="F")
    if market == "cn":
        mean = sum(values[name] for name in _PRICES) / len(_PRICES)
        values["amount"] = np.round(values["volume"] * mean, 2)
    bought = build(
        market=market,
        days=tuple(days.tolist()),
        assets=assets,
        values={name: np.asfortranarray(array) for name, array in values.items()},
        split=split,
        dividend=np.zeros(shape, order="F"),
        suspended=suspended,
        st=present & (dense("is_st", 0.0) == 1.0),
        spells=_spells(membership, assets, days),
    )
    decimals = 4 if market == "us" else 2
    cash = np.round(yields * np.nan_to_num(bought.previous_close), decimals)
    return replace(bought, dividend=np.asfortranarray(cash))


def _read(path: Path, first: date, last: date, n_assets: int | None) -> Any:
    table = pq.read_table(path)
    day = table["date"]
    table = table.filter(pc.and_(pc.greater_equal(day, first), pc.less_equal(day, last)))
    symbols = sorted(pc.unique(table["symbol"]).to_pylist())
    chosen = pa.array(symbols[:n_assets], table["symbol"].type)
    return table.filter(pc.is_in(table["symbol"], value_set=chosen))


def _scales(close: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return what to multiply each asset's prices by, so that cents are fine enough."""
    wanted = np.exp(rng.uniform(np.log(5.0), np.log(150.0), close.shape[1]))
    scale: FloatArray = np.maximum(
        wanted / np.nanmedian(close, axis=0), 1.0 / np.nanmin(close, axis=0)
    )
    return scale


def _spells(membership: Path | None, assets: tuple[str, ...], days: Any) -> tuple[Spell, ...]:
    """Return spells of the book's assets, ends and starts moved to sessions."""
    first: date = days[0].item()
    if membership is None:
        return tuple(Spell(asset, first, None) for asset in assets)
    known = set(assets)
    found = []
    for spell in read_membership(membership):
        start = int(np.searchsorted(days, np.datetime64(spell.start, "D")))
        stop = len(days)
        if spell.end is not None:
            stop = int(np.searchsorted(days, np.datetime64(spell.end, "D"), side="right"))
        if spell.asset in known and start < stop:
            end = days[stop - 1].item() if spell.end is not None and stop < len(days) else None
            found.append(Spell(spell.asset, days[start].item(), end))
    return tuple(found)
