"""Whether volume is in shares: told by amount, which is close × volume but for the day's path.

Sources mix shares and lots of 100, between assets and from one version to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from daemon.validation import Keys, Quarantined, keys_of, numbers_of
from signals.errors import BarsError

#: Where amount / (close × volume) lies when all three are in units of one share.
BAND = (0.8, 1.25)
#: Slack of the mean price's place between low and high.
SLACK = 0.01
#: What a volume may have to be multiplied by; 0 stands for none of them.
FACTORS = (1.0, 100.0, 0.01)
RULE = "amount is close × volume, but for the day's path"

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Volumes that were brought to shares.

    Parameters
    ----------
    asset : str
        "" when at least half of the assets are concerned: the batch is in another unit.
    factor : float
        What the volumes were multiplied by.
    n_rows : int
    first, last : date
        Sessions of the first and last row.
    """

    asset: str
    factor: float
    n_rows: int
    first: date
    last: date


def in_shares(
    table: Any, *, anchored: BoolArray, max_quarantined: float
) -> tuple[Any, tuple[Rescaled, ...], tuple[Quarantined, ...]]:
    """Return the rows with volume in shares, what was rescaled, and the rows set aside.

    A row without amount or volume tells nothing and is kept. A volume 100 times too small is
    rescaled. One 100 times too large may as well be a price 100 times too large: it is rescaled
    where the price is known to be right, or where at least half of the session says the same.

    Parameters
    ----------
    table : pyarrow.Table
        Good rows in `BAR_SCHEMA`, as traded: an adjusted price has no unit to be compared with.
    anchored : ndarray of bool, shape (n_rows,)
        Rows whose price is confirmed by a bar stored before.
    max_quarantined : float
        Largest share of a session's rows whose amount may fit no unit; one row always may.

    Raises
    ------
    BarsError
        More rows of a session than the budget fit no unit.
    """
    tells, factor = _factors(table)
    if (factor[tells] == 1.0).all():
        return table, (), ()
    keys = keys_of(table)
    n_rows = keys.per_day(tells)
    large = factor == FACTORS[2]
    common = keys.per_day(large) * 2 >= np.maximum(n_rows, 1)
    factor[large & ~anchored & ~common[keys.day]] = 0.0
    unfit = tells & (factor == 0.0)
    _check_budget(table, keys, unfit, n_rows, max_quarantined)
    scale = np.where(tells & ~unfit, factor, 1.0)
    column = pa.array(
        numbers_of(table, "volume") * scale, mask=table["volume"].is_null().to_numpy()
    )
    table = table.set_column(table.schema.get_field_index("volume"), "volume", column)
    quarantined = tuple(
        Quarantined(keys.names[keys.asset[row]], keys.days[keys.day[row]].item(), RULE)
        for row in np.flatnonzero(unfit)
    )
    kept = table.filter(pa.array(~unfit)) if quarantined else table
    return kept, _rescaled(keys, scale, len(np.unique(keys.asset[tells]))), quarantined


def _factors(table: Any) -> tuple[BoolArray, FloatArray]:
    """Return which rows tell their unit, and what each one's volume is to be multiplied by."""
    close, low, high = (numbers_of(table, name) for name in ("close", "low", "high"))
    volume, amount = numbers_of(table, "volume"), numbers_of(table, "amount")
    tells = ~numbers_of(table, "suspended") & (amount > 0) & (volume > 0)
    factor = np.zeros(table.num_rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = amount / volume
        for number in reversed(FACTORS):
            price = mean / number
            fits = (price >= BAND[0] * close) & (price <= BAND[1] * close)
            fits |= (price >= low * (1.0 - SLACK)) & (price <= high * (1.0 + SLACK))
            factor[fits] = number
    return tells, factor


def _check_budget(
    table: Any, keys: Keys, unfit: BoolArray, n_rows: npt.NDArray[np.int64], share: float
) -> None:
    n_unfit = keys.per_day(unfit)
    over = np.flatnonzero(n_unfit > np.maximum(1, np.floor(share * n_rows + 1e-9)))
    if len(over):
        day = over[0]
        at = np.flatnonzero(unfit & (keys.day == day))
        value = numbers_of(table, "close")[at] * numbers_of(table, "volume")[at]
        ratio = float(np.median(numbers_of(table, "amount")[at] / value))
        raise BarsError(
            f"amount / (close × volume) is {ratio:.3g} in the median of {n_unfit[day]} of "
            f"{n_rows[day]} bars of {keys.days[day]}",
            rule=f"it is within {BAND[0]} and {BAND[1]}, with volume in shares or in lots of 100",
            hint="prices as traded are needed, and amount in the currency they are in",
        )


def _rescaled(keys: Keys, scale: FloatArray, n_assets: int) -> tuple[Rescaled, ...]:
    found = []
    for factor in FACTORS[1:]:
        rows = np.flatnonzero(scale == factor)
        assets = np.unique(keys.asset[rows])
        whole = len(assets) > 1 and len(assets) * 2 >= n_assets
        for rows_of in [rows] if whole else [rows[keys.asset[rows] == one] for one in assets]:
            day = keys.day[rows_of]
            first, last = keys.days[day.min()].item(), keys.days[day.max()].item()
            asset = "" if whole else keys.names[keys.asset[rows_of[0]]]
            found.append(Rescaled(asset, factor, len(rows_of), first, last))
    return tuple(found)
