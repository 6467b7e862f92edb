"""Bars from the histories of Eastmoney: events, price limits and suspensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from daemon.feeds.boards import TICK, limit_flags, price_limits
from daemon.feeds.eastmoney import History
from daemon.feeds.eastmoney_events import Events, find_events
from signals.panel import BoolArray, SessionArray
from storage.bars import BAR_SCHEMA, in_schema

#: Share of the market that must have a bar for the rest to count as suspended.
MIN_TRADING = 0.8
#: Fewest assets that are a market to judge this by.
MIN_MARKET = 30
#: Of many assets or sessions, so many are named in a warning.
NAMED = 5

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """The sessions on which one asset traded, ascending, and what happened on them.

    Parameters
    ----------
    history : History
        As traded; sessions with prices without volume are left out.
    events : Events
        On the same sessions.
    """

    history: History
    events: Events

    @property
    def days(self) -> SessionArray:
        """Shape (n_sessions,)."""
        return self.history.days


def history_bars(traded: History, adjusted: History) -> Bars:
    """Return the sessions on which an asset traded, with their events.

    Raises
    ------
    BarsError
        No factor can be told: see `find_events`.
    """
    closed = np.isnan(traded.volume) & np.isnan(traded.close)
    idle = traded.days[(traded.volume == 0.0) | closed]
    traded, adjusted = (each.rows(~np.isin(each.days, idle)) for each in (traded, adjusted))
    return Bars(traded, find_events(traded, adjusted))


def suspensions(
    bars: Mapping[str, Bars], sessions: SessionArray
) -> tuple[dict[str, BoolArray], list[str]]:
    """Return on which sessions each asset was suspended, and sessions that cannot be judged.

    An asset that has traded before and has no bar counts as suspended where `MIN_TRADING` of the
    assets that have traded before have one, among at least `MIN_MARKET`.

    Parameters
    ----------
    bars : mapping of str to Bars
        Of every asset there are bars of.
    sessions : ndarray of datetime64[D], shape (n_sessions,)
    """
    present = np.array([np.isin(sessions, each.days) for each in bars.values()], dtype=bool)
    present = present.reshape(len(bars), len(sessions))
    begun = np.array([sessions > each.days[0] for each in bars.values()], dtype=bool)
    begun = begun.reshape(present.shape) | present
    n_begun, n_present = begun.sum(axis=0), present.sum(axis=0)
    market = (n_begun >= MIN_MARKET) & (n_present > 0)
    normal = market & (n_present >= MIN_TRADING * n_begun)
    absent = begun & ~present & normal
    doubtful = [str(day) for day in sessions[market & ~normal]]
    return dict(zip(bars, absent, strict=True)), doubtful


def to_table(asset: str, bars: Bars, sessions: SessionArray, suspended: BoolArray) -> Any:
    """Return an asset's rows of `sessions` in `BAR_SCHEMA`, those of a suspension at the end.

    Limits are those of the previous close; on an ex-date of that close over the factor, whose
    rounding may be a tick off.
    """
    history, events = bars.history, bars.events
    wanted = np.isin(history.days, sessions)
    flag_up, flag_down = _limits(asset, bars)
    rows = {
        "session": history.days[wanted],
        "asset": pa.repeat(pa.scalar(asset, pa.string()), int(wanted.sum())),
        **{
            name: pa.array(history.prices[wanted, column], from_pandas=True)
            for column, name in enumerate(("open", "high", "low", "close"))
        },
        "volume": pa.array(history.volume[wanted], from_pandas=True),
        "amount": pa.array(history.amount[wanted], from_pandas=True),
        "adjustment": events.adjustment[wanted],
        "split": events.split[wanted],
        "dividend": events.dividend[wanted],
        "limit_up": flag_up[wanted],
        "limit_down": flag_down[wanted],
    }
    return pa.concat_tables(
        [in_schema(pa.table(rows)), suspended_rows([asset], sessions[suspended])]
    )


def suspended_rows(assets: Sequence[str], sessions: SessionArray) -> Any:
    """Return a row without prices for each asset and session."""
    n = len(assets) * len(sessions)
    empty = pa.nulls(n, pa.float64())
    rows = {
        "session": np.tile(sessions, len(assets)),
        "asset": pa.array([asset for asset in assets for _ in sessions], pa.string()),
        **dict.fromkeys(("open", "high", "low", "close"), empty),
        "volume": np.zeros(n),
        "suspended": np.ones(n, dtype=bool),
    }
    return in_schema(pa.table(rows))


def by_session(parts: Sequence[Any]) -> Any:
    """Return tables as one, sorted by session, then asset."""
    if not parts:
        return BAR_SCHEMA.empty_table()
    table = pa.concat_tables(parts)
    return table.sort_by([("session", "ascending"), ("asset", "ascending")]).combine_chunks()


def told(names: Sequence[str], what: str) -> list[str]:
    """Return a warning that counts `names` and gives the first ones; none without any."""
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return [f"{len(names)} {what} ({shown})"] if names else []


def _limits(asset: str, bars: Bars) -> tuple[BoolArray, BoolArray]:
    _, high, low, close = bars.history.prices.T
    adjustment = bars.events.adjustment
    previous = np.append(np.nan, close[:-1]) / adjustment
    slack = np.where(adjustment == 1.0, 0.0, TICK)
    percent = price_limits(asset, bars.days)
    return limit_flags(high, low, close, previous, percent, slack=slack)
