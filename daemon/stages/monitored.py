"""The monitored RankICs of live factors: the baseline a watch begins with, then one a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from daemon.context import Context, Market
from daemon.stages.book import Factor, tail_with_universe
from signals.decay import MIN_BASELINE, MonitorState
from signals.monitored import Surroundings, factor_values, reach, surroundings
from signals.operators import lookback
from signals.panel import BoolArray, FloatArray, Panel, SessionArray
from signals.watch import Watch, start_watch


@dataclass(frozen=True)
class Beginning:
    """A factor whose watch begins.

    Parameters
    ----------
    factor : Factor
        It goes live now.
    raw : MonitorState
        The test on its raw RankIC, started on the baseline.
    first : date
        First session of the baseline.
    undefined : ndarray of datetime64[D]
        Sessions whose raw RankIC is not defined: their bars are not to be judged by.
    """

    factor: Factor
    raw: MonitorState
    first: date
    undefined: SessionArray


@dataclass(frozen=True, eq=False)
class Begun:
    """A watch and the monitored RankICs it began with, for `sessions`."""

    watch: Watch
    sessions: SessionArray
    rank_ics: FloatArray


def monitored_today(
    context: Context, market: Market, panel: Panel, factors: Sequence[Factor]
) -> tuple[date, dict[str, float]] | None:
    """Return the session whose one-session labels end with the panel, and its monitored RankICs.

    Parameters
    ----------
    factors : sequence of Factor
        Those without a watch are left out.
    """
    watched = {factor.id: factor for factor in factors if factor.watch is not None}
    row = panel.n_sessions - market.settings.label.lag - 2
    if row < 0 or not watched:
        return None
    bare = all(f.watch is not None and f.watch.basis.raw for f in watched.values())
    around = around_rows(context, market, panel, list(watched.values()), row, row + 1, bare=bare)
    values = factor_values([factor.expression for factor in watched.values()], around)
    found = {
        factor.id: float(around.monitored(factor.watch.basis, value)[0])
        for factor, value in zip(watched.values(), values, strict=True)
        if factor.watch is not None
    }
    return panel.sessions[row].item(), found


def begin_watches(
    context: Context,
    market: Market,
    panel: Panel,
    beginnings: Sequence[Beginning],
    threshold: float,
) -> Mapping[str, Begun | None]:
    """Return the watches of factors that go live, begun on their baselines.

    Returns
    -------
    mapping of str to Begun or None
        None for a factor whose baseline has too few RankICs of one session to be watched by, or
        whose RankICs do not vary.
    """
    stop = panel.n_sessions - market.settings.label.lag - 1
    groups: dict[date, list[Beginning]] = {}
    for beginning in beginnings:
        groups.setdefault(beginning.first, []).append(beginning)
    begun: dict[str, Begun | None] = {}
    for first, group in sorted(groups.items()):
        row = panel.row_of(first)
        factors = [beginning.factor for beginning in group]
        around = around_rows(context, market, panel, factors, row, stop)
        sessions = panel.sessions[row:stop]
        values = factor_values([factor.expression for factor in factors], around)
        for beginning, value in zip(group, values, strict=True):
            hidden = np.isin(sessions, beginning.undefined)
            begun[beginning.factor.id] = begin_watch(
                around, beginning, value, sessions, hidden, threshold
            )
    return begun


def begin_watch(
    around: Surroundings,
    beginning: Beginning,
    values: FloatArray,
    sessions: SessionArray,
    hidden: BoolArray,
    threshold: float,
) -> Begun | None:
    """Return one factor's watch; sessions that are `hidden` count as without a RankIC."""
    basis, series = around.begin(values, hidden)
    seen = series[np.isfinite(series)]
    if len(seen) < MIN_BASELINE or seen.min() == seen.max():
        return None
    watch = start_watch(series, beginning.raw, basis, threshold=threshold)
    return Begun(watch, sessions, series)


def around_rows(
    context: Context,
    market: Market,
    panel: Panel,
    factors: Sequence[Factor],
    first: int,
    stop: int,
    *,
    bare: bool = False,
) -> Surroundings:
    """Return the surroundings of some rows, read with no more behind them than is looked at."""
    label = market.settings.label
    behind = max(
        reach(label.horizon),
        *(lookback(factor.expression) + label.horizon for factor in factors),
    )
    start = max(first - behind, 0)
    tail = tail_with_universe(
        context, market, panel, start, min(stop + label.lag + 1, panel.n_sessions)
    )
    return surroundings(
        tail,
        first - start,
        stop - start,
        lag=label.lag,
        horizon=label.horizon,
        min_assets=market.settings.ingest.min_assets,
        bare=bare,
    )
