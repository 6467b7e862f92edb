"""Markets a search is judged on: simulated ones, and what may be read of the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.panels import load_panel
from daemon.simulation import Market, PlantedAlpha
from signals.errors import DataError
from signals.labels import forward_returns
from signals.panel import FloatArray, Panel, SessionArray

#: Last session that was read while constants were chosen; later ones judge.
DEVELOPED = {"cn": date(2016, 12, 31), "us": date(2017, 12, 31)}
#: Sessions between a row and the label it is given, either way round, at least.
MIN_SHIFT = 250
#: Sessions before the first row of train, for lookbacks.
LEAD = 130


def simulated(
    seed: int, *, n_assets: int = 300, n_sessions: int = 750, alphas: Sequence[PlantedAlpha] = ()
) -> Panel:
    """Return a market with fat tails, volatility clusters and a common factor (t5, GARCH)."""
    market = Market(seed, n_assets, alphas)
    bars = market.bars(0, n_sessions)
    return Panel(
        sessions=np.datetime64("2015-01-01") + np.arange(n_sessions),
        assets=market.assets,
        fields={name: values.copy() for name, values in bars.items()},
        universe=np.ones((n_sessions, n_assets), dtype=np.bool_),
    )


@cache
def real_panel(folder: Path, market: str, *, judge: bool = False) -> Panel:
    """Return a real market: up to `DEVELOPED`, or all of it to judge."""
    return load_panel(folder, market, None if judge else DEVELOPED[market])


def shifted_label(panel: Panel, shift: int, *, lag: int = 1, horizon: int = 1) -> FloatArray:
    """Return the labels of the sessions `shift` rows later, round and round.

    A session keeps its whole cross-section of labels, of those assets that were in the universe
    when it was earned: fat tails, common factors and volatility clusters stay, and so does the
    order of sessions but at the seam. What is broken is which bars the labels follow. What is
    *not* broken is what hardly changes in `shift` sessions: an asset that is calm, or cheap to
    trade, in one year is so in the next, so a premium on a characteristic as slow as that survives.

    Parameters
    ----------
    panel : Panel
        The whole span; a window is cut afterwards.
    shift : int
        Rows, from `MIN_SHIFT` to n_sessions - `MIN_SHIFT`.

    Returns
    -------
    ndarray of shape (n_sessions, n_assets)
        NaN where the label, or the asset's place in the universe then, is missing.

    Raises
    ------
    DataError
        If some row would get a label from fewer than `MIN_SHIFT` rows away.
    """
    if not MIN_SHIFT <= shift <= panel.n_sessions - MIN_SHIFT:
        raise DataError(
            f"labels of {panel.n_sessions} sessions shifted by {shift}",
            rule=f"every label comes from {MIN_SHIFT} sessions away or more, either way round",
        )
    label = forward_returns(panel.fields["close"], lag=lag, horizon=horizon)
    return np.roll(np.where(panel.universe, label, np.nan), -shift, axis=0)


def window(
    panel: Panel, start: int, stop: int, label: FloatArray | None = None
) -> tuple[Panel, FloatArray | None]:
    """Return rows of a panel and of its label, without the assets that are never in the universe.

    No value of another asset depends on those.
    """
    part = panel.rows(start, stop)
    kept = np.flatnonzero(part.universe.any(axis=0))
    part = replace(
        part,
        assets=tuple(part.assets[column] for column in kept),
        fields={n: np.ascontiguousarray(v[:, kept]) for n, v in part.fields.items()},
        universe=np.ascontiguousarray(part.universe[:, kept]),
    )
    return part, None if label is None else np.ascontiguousarray(label[start:stop, kept])


@dataclass(frozen=True, slots=True)
class YearWindow:
    """What a search at the close of a year may read, and the years that judge it.

    Parameters
    ----------
    year : int
        The first year that judges.
    start, stop : int
        Rows the search reads, half-open; `stop` is the first row of `year`.
    ages : tuple of slice
        Rows of `year` and of each later year of the panel.
    """

    year: int
    start: int
    stop: int
    ages: tuple[slice, ...]


def year_windows(
    sessions: SessionArray, *, wanted: int, least: int, lead: int = LEAD
) -> list[YearWindow]:
    """Return a window for each year with at least `least` sessions before it.

    Parameters
    ----------
    sessions : ndarray of datetime64[D]
        Of the panel.
    wanted, least : int
        Sessions a search uses where they are there, and those without which it is not begun.
    lead : int
        Sessions read before those.
    """
    years = sessions.astype("datetime64[Y]").astype(int) + 1970
    firsts = {int(year): int(np.searchsorted(years, year)) for year in np.unique(years)}
    bounds = [*firsts.values(), len(sessions)]
    spans = [slice(a, b) for a, b in pairwise(bounds)]
    return [
        YearWindow(year, max(0, first - wanted - lead), first, tuple(spans[number:]))
        for number, (year, first) in enumerate(firsts.items())
        if first >= least
    ]
