"""Measure: the ICs of factors and of the published score that became known with a session."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from daemon import life
from daemon.challenger import Series
from daemon.context import Context, Market
from daemon.stages.book import Factor, tail_with_universe
from daemon.stages.published import load_published
from signals.evaluate import evaluate
from signals.ic import ic, rank_ic
from signals.labels import forward_returns
from signals.operators import lookback
from signals.panel import FloatArray, Panel
from storage import history
from storage.history import ScoreICRow
from storage.tables import FactorState


def first_needed(factors: Sequence[Factor], panel: Panel, market: Market, realised: int) -> date:
    """Return the first session whose stored ICs this observation has to read."""
    row = realised - 30
    if any(factor.state is FactorState.CANDIDATE for factor in factors):
        row = realised - market.settings.monitor.baseline_sessions - life.PATIENCE
    sessions: list[date] = [panel.sessions[max(row, 0)].item()]
    sessions += [
        factor.baseline_start
        for factor in factors
        if factor.state is FactorState.SHADOW and factor.baseline_start is not None
    ]
    return min(sessions)


Row = tuple[date, float, float, int]
Measured = list[Row]


#: Sessions whose median is the usual number of assets, and the part of it below which there is a
#: hole in the data a factor reads.
USUAL_SESSIONS, THIN = 30, 0.5


def holes(new: dict[str, Measured], known: dict[str, history.ICSeries]) -> dict[str, str]:
    """Return, for each factor that lost half of its usual cross-section, what to say of it."""
    found = {}
    for name, rows in new.items():
        seen = known[name].n_assets[-USUAL_SESSIONS:] if name in known else np.empty(0)
        usual = float(np.median(seen)) if len(seen) else 0.0
        if rows and rows[-1][3] < THIN * usual:
            found[name] = f"{rows[-1][3]} assets have a value and a label, usually {usual:.0f}"
    return found


def ranks(rows: Measured) -> FloatArray:
    """Return the RankICs of measured sessions, an array of shape (n_sessions,)."""
    return np.array([row[2] for row in rows], dtype=np.float64)


def joined(known: history.ICSeries | None, fresh: Measured) -> Series:
    """Return RankICs, stored and new, oldest first."""
    days = np.array([row[0] for row in fresh], dtype="datetime64[D]")
    if known is None:
        return Series(days, ranks(fresh))
    return Series(
        np.concatenate([known.sessions, days]), np.concatenate([known.rank_ic, ranks(fresh)])
    )


def undefined(row: Row) -> Row:
    """Return a session whose IC is not to be trusted."""
    return (row[0], math.nan, math.nan, row[3])


def measure(
    context: Context,
    market: Market,
    panel: Panel,
    factors: Sequence[Factor],
    measured: Mapping[str, date],
    realised: int,
) -> dict[str, Measured]:
    """Return the ICs that each factor lacks up to row `realised`, oldest first.

    Factors that lack the same rows are evaluated together: usually one row for the whole book, the
    whole history for one that has just been declared.
    """
    groups: dict[int, list[Factor]] = {}
    for factor in factors:
        groups.setdefault(first_missing(factor, measured, panel), []).append(factor)
    new: dict[str, Measured] = {}
    settings = market.settings
    for first, group in sorted(groups.items()):
        if first > realised:
            continue
        behind = max(lookback(factor.expression) for factor in group)
        start = max(first - behind, 0)
        ahead = settings.label.lag + settings.label.horizon
        tail = tail_with_universe(context, market, panel, start, realised + 1)
        values = evaluate([factor.expression for factor in group], tail, first=first - start)
        close = np.asarray(panel.fields["close"][first : realised + ahead + 1])
        label = forward_returns(close, lag=settings.label.lag, horizon=settings.label.horizon)
        label = label[: realised + 1 - first]
        days = panel.sessions[first : realised + 1].tolist()
        for factor, value in zip(group, values, strict=True):
            new[factor.id] = list(
                zip(days, *cross_sections(value, label, settings.ingest.min_assets), strict=True)
            )
    return new


def cross_sections(
    value: FloatArray, label: FloatArray, min_assets: int
) -> tuple[list[float], list[float], list[int]]:
    """Return IC, RankIC and the number of assets of each session."""
    counts = (np.isfinite(value) & np.isfinite(label)).sum(axis=1)
    pearson = ic(value, label, min_assets=min_assets)
    spearman = rank_ic(value, label, min_assets=min_assets)
    return pearson.tolist(), spearman.tolist(), counts.tolist()


def first_missing(factor: Factor, measured: Mapping[str, date], panel: Panel) -> int:
    """Return the first row whose IC a factor lacks; `measured`: the last session of each."""
    if factor.id in measured:
        return panel.row_of(measured[factor.id]) + 1
    if factor.baseline_start is not None:
        return panel.row_of(factor.baseline_start)
    return 0


def measure_score(
    context: Context, market: Market, panel: Panel, realised: int, session: date
) -> list[ScoreICRow]:
    """Return the IC of the score that was published for the session realised now, if one was."""
    day = panel.sessions[realised].item()
    published = load_published(context, market, day)
    if published is None:
        return []
    settings = market.settings
    column = {asset: number for number, asset in enumerate(panel.assets)}
    score = np.full((1, panel.n_assets), np.nan)
    for asset, value in zip(published.instruments, published.score, strict=True):
        score[0, column[asset]] = value
    ahead = settings.label.lag + settings.label.horizon
    close = np.asarray(panel.fields["close"][realised : realised + ahead + 1])
    label = forward_returns(close, lag=settings.label.lag, horizon=settings.label.horizon)[:1]
    pearson, spearman, counts = cross_sections(score, label, settings.ingest.min_assets)
    return [
        ScoreICRow(
            market.name, day, session, published.publish_id, pearson[0], spearman[0], counts[0]
        )
    ]
