"""The gate every batch of bars passes before it is stored, and the verdicts it leaves behind.

Rows are judged by themselves (`daemon.validation`), beside those before them
(`daemon.plausibility`) and by their units (`daemon.units`). Pure; a refused batch is a result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daemon import units
from daemon.plausibility import Followed, Limits, check_following
from daemon.units import Rescaled, in_shares
from daemon.validation import Checked, Quarantined, check_bars, check_enough, keys_of
from signals.errors import BarsError

ACCEPT: Literal["accept"] = "accept"
QUARANTINE: Literal["quarantine"] = "quarantine"
REJECT: Literal["reject"] = "reject"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said, as a plain record.

    Parameters
    ----------
    outcome : {"accept", "quarantine", "reject"}
        `accept` and `reject` are said of a payload's rows or of the whole batch, `quarantine` of
        one asset.
    asset : str
        "" where it is said of several.
    first, last : date
        Sessions of the first and the last row concerned.
    n_rows : int
        Rows concerned.
    rule : str
        The rule that was broken, or by which volumes were rescaled; "" for a plain `accept`.
    fact : str
        What was found.
    payload : str
        sha256 of the payload that the rows came from; "" where the feed gives none or they came
        from several.
    """

    outcome: Literal["accept", "quarantine", "reject"]
    asset: str
    first: date
    last: date
    n_rows: int
    rule: str
    fact: str
    payload: str


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A batch past the gate.

    Parameters
    ----------
    checked : Checked or None
        Good rows with volume in shares, every row set aside, coverage after that, warnings; None
        when the batch was refused.
    verdicts : tuple of Verdict
        For the record, whatever the outcome.
    rescaled : tuple of Rescaled
    repeated : mapping of date to float
        Share of a session's rows that repeat the session before.
    volumes : mapping of date to float
        Median of a session's volumes as multiples of the usual ones.
    error : BarsError or None
        Why the batch was refused, for the stage to raise once the verdicts are stored.
    """

    checked: Checked | None
    verdicts: tuple[Verdict, ...]
    rescaled: tuple[Rescaled, ...] = ()
    repeated: Mapping[date, float] | None = None
    volumes: Mapping[date, float] | None = None
    error: BarsError | None = None


def judge(
    table: Any,
    *,
    sessions: Sequence[date],
    min_assets: int,
    max_quarantined: float,
    expected: Collection[str] | None = None,
    before: Any | None = None,
    limits: Limits | None = None,
    index_returns: Mapping[date, float] | None = None,
    confirmed: Collection[tuple[str, date]] = (),
    as_traded: bool = True,
    sources: Mapping[str, str] | None = None,
) -> Judged:
    """Return the good rows of a fetched batch and a verdict about everything in it.

    Parameters
    ----------
    table : pyarrow.Table
        In `storage.bars.BAR_SCHEMA`, in any order.
    sessions : sequence of date
        Sessions asked for; at least one.
    min_assets, max_quarantined, expected
        As in `daemon.validation.check_bars`; the budget also for rows whose amount fits no unit.
    before, index_returns, confirmed
        As in `daemon.plausibility.check_following`.
    limits : Limits, optional
        Those of a market without price limits when not given.
    as_traded : bool
        False for files of adjusted prices, whose amounts belong to other prices: units are then
        not checked.
    sources : mapping of str to str, optional
        sha256 of the payload each asset's bars came from.
    """
    sources = sources or {}
    try:
        checked, followed, rescaled = _passed(
            table,
            sessions=sessions,
            min_assets=min_assets,
            max_quarantined=max_quarantined,
            expected=expected,
            before=before,
            limits=limits or Limits(),
            index_returns=index_returns,
            confirmed=confirmed,
            as_traded=as_traded,
        )
    except BarsError as error:
        payloads = set(sources.values())
        verdict = Verdict(
            REJECT,
            "",
            min(sessions),
            max(sessions),
            table.num_rows,
            error.rule,
            error.fact,
            payloads.pop() if len(payloads) == 1 else "",
        )
        return Judged(None, (verdict,), error=error)
    verdicts = (
        *_accepted(checked.table, sources),
        *(_said_of_units(one, sources) for one in rescaled),
        *_set_aside(checked.quarantined, sources),
    )
    return Judged(checked, verdicts, rescaled, followed.repeated, followed.volumes)


def _passed(
    table: Any,
    *,
    sessions: Sequence[date],
    min_assets: int,
    max_quarantined: float,
    expected: Collection[str] | None,
    before: Any | None,
    limits: Limits,
    index_returns: Mapping[date, float] | None,
    confirmed: Collection[tuple[str, date]],
    as_traded: bool,
) -> tuple[Checked, Followed, tuple[Rescaled, ...]]:
    checked = check_bars(
        table,
        sessions=sessions,
        min_assets=min_assets,
        max_quarantined=max_quarantined,
        expected=expected,
    )
    followed = check_following(
        checked.table,
        before=before,
        limits=limits,
        index_returns=index_returns,
        confirmed=confirmed,
    )
    good, anchored = checked.table, followed.anchored
    if followed.quarantined:
        good, anchored = good.filter(pa.array(followed.kept)), anchored[followed.kept]
    rescaled: tuple[Rescaled, ...] = ()
    unfit: tuple[Quarantined, ...] = ()
    if as_traded:
        good, rescaled, unfit = in_shares(good, anchored=anchored, max_quarantined=max_quarantined)
    lost = (*followed.quarantined, *unfit)
    if lost:
        _check_left(good, sessions, min_assets)
    coverage = _without(checked.coverage, lost, checked.table, expected)
    quarantined = (*checked.quarantined, *lost)
    return Checked(good, quarantined, coverage, checked.warnings), followed, rescaled


def _check_left(table: Any, sessions: Sequence[date], min_assets: int) -> None:
    days = np.array(sorted(sessions), dtype="datetime64[D]")
    keys = keys_of(table.filter(pc.invert(table.column("suspended"))))
    n_left = np.zeros(len(days), dtype=np.int64)
    n_left[np.searchsorted(days, keys.days)] = np.bincount(keys.day, minlength=len(keys.days))
    check_enough(days, n_left, min_assets)


def _without(
    coverage: Mapping[date, float],
    lost: Sequence[Quarantined],
    table: Any,
    expected: Collection[str] | None,
) -> Mapping[date, float]:
    """Return the coverage without rows that were set aside after it was measured."""
    wanted = frozenset(expected) if expected else None
    gone = Counter(row.session for row in lost if wanted is None or row.asset in wanted)
    if not gone:
        return coverage
    there: Mapping[date, int] = {}
    if wanted is None:
        keys = keys_of(table)
        there = dict(zip(keys.days.tolist(), np.bincount(keys.day).tolist(), strict=True))
    return {
        day: share - (share * gone[day] / there[day] if wanted is None else gone[day] / len(wanted))
        for day, share in coverage.items()
    }


def _accepted(table: Any, sources: Mapping[str, str]) -> list[Verdict]:
    """Return one verdict for each payload with an accepted row."""
    if not table.num_rows:
        return []
    groups = table.group_by("asset").aggregate(
        [("session", "min"), ("session", "max"), ("session", "count")]
    )
    of_payload: dict[str, list[tuple[str, date, date, int]]] = {}
    for asset, first, last, count in zip(
        *(
            groups[name].to_pylist()
            for name in ("asset", "session_min", "session_max", "session_count")
        ),
        strict=True,
    ):
        of_payload.setdefault(sources.get(asset, ""), []).append((asset, first, last, count))
    return [
        Verdict(
            ACCEPT,
            parts[0][0] if len(parts) == 1 else "",
            min(first for _, first, _, _ in parts),
            max(last for _, _, last, _ in parts),
            sum(count for *_, count in parts),
            "",
            f"{len(parts)} assets" if len(parts) > 1 else "1 asset",
            payload,
        )
        for payload, parts in sorted(of_payload.items())
    ]


def _said_of_units(one: Rescaled, sources: Mapping[str, str]) -> Verdict:
    fact = f"volume × {one.factor:g}"
    payload = sources.get(one.asset, "")
    return Verdict(ACCEPT, one.asset, one.first, one.last, one.n_rows, units.RULE, fact, payload)


def _set_aside(rows: Sequence[Quarantined], sources: Mapping[str, str]) -> list[Verdict]:
    """Return one verdict for each asset and rule, in the order of their first rows."""
    groups: dict[tuple[str, str], list[date]] = {}
    for row in rows:
        groups.setdefault((row.asset, row.rule), []).append(row.session)
    return [
        Verdict(
            QUARANTINE,
            asset,
            min(days),
            max(days),
            len(days),
            rule,
            f"{len(days)} bars" if len(days) > 1 else "1 bar",
            sources.get(asset, ""),
        )
        for (asset, rule), days in groups.items()
    ]
