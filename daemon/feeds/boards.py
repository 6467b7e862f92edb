"""Price limits of the Chinese exchanges: how far a price may move in a session, by board and date.

A limit is a percentage of the previous close as the exchange adjusts it on ex-dates, rounded half
up to 0.01 yuan and at least that far away. At its limit an asset can hardly be bought or sold.
"""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from signals.errors import BarsError
from signals.panel import BoolArray, SessionArray

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Smallest move of a price, in yuan.
TICK = 0.01
#: Prefixes that a ticker's short name has for a day: ex-dividend, ex-rights, both.
_EX = "(?:XD|XR|DR)?"
_ST = re.compile(_EX + r"S?\*?ST")
_NEW = re.compile("[NC](?![a-zA-Z])")


class _Rule(NamedTuple):
    """Limits in percent from `start` on, and those of shares under a risk warning (ST)."""

    start: date
    percent: int
    percent_st: int


_MAIN = (_Rule(date.min, 10, 5), _Rule(date(2026, 7, 6), 10, 10))
_CHINEXT = (_Rule(date.min, 10, 10), _Rule(date(2020, 8, 24), 20, 20))
_STAR = (_Rule(date.min, 20, 20),)
_BEIJING = (_Rule(date.min, 30, 30),)
#: The board of a code by its first digits.
_BOARDS = (
    (re.compile("60[0135]|00[0-4]"), _MAIN),
    (re.compile("30[0-9]"), _CHINEXT),
    (re.compile("68[89]"), _STAR),
    (re.compile("43|8[378]|92"), _BEIJING),
)
_CODE = re.compile(r"\d{6}", re.ASCII)


def price_limits(asset: str, sessions: SessionArray, *, st: bool = False) -> IntArray:
    """Return the limit of each session in percent.

    Main board 10, under a risk warning 5 until 2026-07-05; ChiNext 10, from 2020-08-24 on 20; STAR
    20; Beijing 30. The first sessions after a listing have no limit: this is not known here.

    Parameters
    ----------
    asset : str
        Six digits.
    sessions : ndarray of datetime64[D], shape (n_sessions,)
    st : bool
        Whether the asset is under a risk warning on these sessions.

    Raises
    ------
    BarsError
        A code of no board of A shares.
    """
    found = [rules for prefix, rules in _BOARDS if _CODE.fullmatch(asset) and prefix.match(asset)]
    if not found:
        raise BarsError(
            f"{asset} is on no board of A shares",
            rule="A shares have six digits that begin with "
            + ", ".join(prefix.pattern for prefix, _ in _BOARDS),
            hint="take the asset out of the universe, or add its board to daemon/feeds/boards.py",
        )
    percent = np.zeros(len(sessions), dtype=np.int64)
    for rule in found[0]:
        since = sessions >= np.datetime64(rule.start, "D")
        percent[since] = rule.percent_st if st else rule.percent
    return percent


def limit_prices(previous_close: FloatArray, percent: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest price of each session, in yuan.

    Parameters
    ----------
    previous_close : ndarray of shape (n,)
        As the exchange gives it: adjusted on ex-dates. NaN gives NaN.
    percent : ndarray of int, shape (n,)
        See `price_limits`; 0 means that there is no limit and gives NaN.
    """
    known = np.isfinite(previous_close) & (previous_close > 0) & (percent > 0)
    ticks = np.rint(np.where(known, previous_close, 1.0) / TICK).astype(np.int64)
    # whole ticks and percents: half a tick is exact, and rounds up as the exchanges' rule says
    down = np.minimum((ticks * (100 - percent) + 50) // 100, ticks - 1)
    up = np.maximum((ticks * (100 + percent) + 50) // 100, ticks + 1)
    lowest = np.where(known, np.maximum(down, 1) / 100.0, np.nan)
    return lowest, np.where(known, up / 100.0, np.nan)


def limit_flags(
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    previous_close: FloatArray,
    percent: IntArray,
    *,
    slack: FloatArray | float = 0.0,
) -> tuple[BoolArray, BoolArray]:
    """Return where the close lies at the upper limit and where at the lower one.

    A close beyond the limit is no flag: no limit was in force, as after a listing. A session of one
    single price away from the previous close is a flag whatever the percentage: that is how a
    limit looks which nobody traded against, also one of a risk warning that is not known of.

    Parameters
    ----------
    high, low, close : ndarray of shape (n,)
        As traded; NaN gives no flag.
    previous_close, percent : ndarray of shape (n,)
        See `limit_prices`; where `percent` is 0 there is no flag.
    slack : ndarray of shape (n,) or float
        How far, in yuan, the limit may be off, where `previous_close` was derived from a factor.
    """
    down, up = limit_prices(previous_close, percent)
    near = np.asarray(slack) + TICK / 2
    with np.errstate(invalid="ignore"):
        single = (np.abs(high - low) < TICK / 2) & (percent > 0)
        change = close - previous_close
        flag_up = (np.abs(close - up) < near) | (single & (change > near))
        flag_down = (np.abs(close - down) < near) | (single & (change < -near))
    return flag_up, flag_down


def is_st(name: str) -> bool:
    """Return whether a short name says risk warning: ST, *ST, SST, S*ST, behind XD, XR or DR."""
    return _ST.match(name.replace(" ", "")) is not None


def is_unlimited(name: str) -> bool:
    """Return whether a short name says newly listed: N on the first day, C on the four after it."""
    return _NEW.match(name.replace(" ", "")) is not None
