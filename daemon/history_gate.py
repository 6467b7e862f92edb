"""The gate for many sessions at once: histories, and sessions that are stored already. Pure.

A history is judged as a source tells it today. What would be held in the daily gate until it is
confirmed confirms itself here: a price that stayed on its new level for `STANDING` sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daemon.feeds.boards import price_limits
from daemon.gate import Judged, Verdict, judge
from daemon.plausibility import JUMPED, LIMIT_JUMP, Limits
from daemon.settings import MarketSettings
from daemon.validation import Quarantined
from signals.errors import BarsError

#: Bars of an asset in a row that a price must stay on another level to count as real.
STANDING = 10
#: Calendars of markets with price limits.
LIMITED = frozenset({"XSHG", "XSHE"})
_ROUNDS = 20


def limits_of(settings: MarketSettings, assets: Sequence[str], session: date) -> Limits:
    """Return how far bars of a market may be from those before them, by its settings."""
    gate = settings.gate
    free = float(np.log(1.0 + gate.max_jump))
    limits = Limits(free, {}, gate.max_broken, gate.max_repeated, gate.max_index_gap)
    if settings.calendar not in LIMITED:
        return limits
    day = np.array([session], dtype="datetime64[D]")
    jumps = {}
    for asset in assets:
        try:
            percent = int(price_limits(asset, day)[0])
        except BarsError:
            jumps[asset] = free
            continue
        if percent != 10:
            jumps[asset] = float(-np.log(1.0 - (percent + 1) / 100.0))
    return replace(limits, jump=LIMIT_JUMP, jumps=jumps)


def judge_history(
    table: Any,
    *,
    limits: Limits,
    before: Any | None = None,
    sources: Mapping[str, str] | None = None,
    as_traded: bool = True,
) -> Judged:
    """Return the good rows of histories; an asset that spoils the batch is judged by itself.

    Parameters
    ----------
    table : pyarrow.Table
        In `storage.bars.BAR_SCHEMA`; sessions that are absent are not missed.
    limits, before, sources, as_traded
        As in `daemon.gate.judge`.
    """
    lenient = replace(limits, broken=1.0)
    found = _standing(table, lenient, before, sources, as_traded=as_traded)
    if found.error is None or not table.num_rows:
        return found
    lenient = replace(lenient, repeated=1.0)
    parts = []
    for asset in pc.unique(table["asset"]).to_pylist():
        rows = table.filter(pc.equal(table["asset"], asset))
        parts.append(_standing(rows, lenient, before, sources, as_traded=as_traded))
    return _joined(parts, found)


def _standing(
    table: Any,
    limits: Limits,
    before: Any | None,
    sources: Mapping[str, str] | None,
    *,
    as_traded: bool,
) -> Judged:
    """Judge until every price that stayed on its level is taken for real."""
    sessions = pc.unique(table["session"]).to_pylist()
    confirmed: set[tuple[str, date]] = set()
    for _ in range(_ROUNDS):
        found = judge(
            table,
            sessions=sessions or [date.min],
            min_assets=0,
            max_quarantined=1.0,
            before=before,
            limits=limits,
            confirmed=confirmed,
            as_traded=as_traded,
            sources=sources,
        )
        if found.checked is None:
            return found
        stayed = _stayed(table, found.checked.quarantined) - confirmed
        if not stayed:
            return found
        confirmed |= stayed
    return found


def _stayed(table: Any, quarantined: Sequence[Quarantined]) -> set[tuple[str, date]]:
    """Return the first row of each run of rows that were held for their level alone."""
    held: dict[str, set[date]] = {}
    for row in quarantined:
        if row.rule == JUMPED:
            held.setdefault(row.asset, set()).add(row.session)
    stayed = set()
    for asset, days in held.items():
        if len(days) < STANDING:
            continue
        rows = table.filter(pc.equal(table["asset"], asset))["session"].to_pylist()
        run: list[date] = []
        for day in [*sorted(rows), None]:
            if day in days:
                run.append(day)
                continue
            if len(run) >= STANDING:
                stayed.add((asset, run[0]))
                break  # what follows is judged beside it
            run = []
    return stayed


def _joined(parts: Sequence[Judged], whole: Judged) -> Judged:
    """Return what single assets gave as one; those refused even so have no row."""
    verdicts: list[Verdict] = [verdict for part in parts for verdict in part.verdicts]
    good = [part for part in parts if part.checked is not None]
    if not good or whole.checked is not None:
        return whole
    checked = [part.checked for part in good if part.checked is not None]
    table = pa.concat_tables([each.table for each in checked])
    return Judged(
        replace(
            checked[0],
            table=table.sort_by([("session", "ascending"), ("asset", "ascending")]),
            quarantined=tuple(row for each in checked for row in each.quarantined),
            coverage={},
            warnings=tuple(text for each in checked for text in each.warnings),
        ),
        tuple(verdicts),
        tuple(one for part in good for one in part.rescaled),
        {},
    )
