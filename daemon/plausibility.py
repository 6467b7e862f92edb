"""What a batch of bars must fulfil beside the bars before it: that its prices follow them. Pure.

A row is compared with the last row of its asset that was kept, stored or of this batch. So many
sessions judged at once give what they would give one by one: a single false price costs one row,
and a price that stays on another level is held until it comes back or somebody confirms it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.market_wide import (
    MAX_INDEX_GAP,
    MAX_REPEATED,
    check_fresh,
    check_index,
    check_volumes,
    median_volumes,
    repeated_shares,
)
from daemon.series import (
    BoolArray,
    FloatArray,
    Series,
    against_usual,
    build_series,
    repeats_last,
)
from daemon.validation import IntArray, Quarantined
from signals.errors import BarsError

#: Largest |log return| of a session in a market without price limits: 50 % up, a third down.
FREE_JUMP = float(np.log(1.5))
#: The same under a price limit of 10 % with 1 % for its rounding; downward, the wider side.
LIMIT_JUMP = float(-np.log(1.0 - 0.11))
#: Largest share of a session's rows that may break a rule before the batch is refused: on
#: 2020-03-09 2.5 % of the S&P 500 fell by more than a third, a false unit concerns nearly all.
MAX_BROKEN = 0.1
#: A factor whose |log| is at least this shows in the price: half of it is a 10 % move.
TELLING_EVENT = 0.2
#: How far from 100 times or a hundredth of the last close counts as that, as a log ratio.
SCALE_TOLERANCE = float(np.log(1.5))

SILENT = "a split or dividend shows in the price"
SCALED = "a close is not 100 times the last one or a hundredth of it"
JUMPED = "a price stays within its limit unless a split or dividend explains more"
UNIT = "a volume without amount is not 100 times its usual one or a hundredth of it"
#: By chance no bar does: 0 of 2.1 million, in China until 2016 and in the US until 2017.
REPEATED = "a bar that traded does not repeat the one before it in every price and its volume"
_RULES = (SILENT, SCALED, JUMPED, UNIT, REPEATED)

_Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Limits:
    """How far bars may be from those before them.

    Parameters
    ----------
    jump : float
        Largest |log return| of a session after its event; `FREE_JUMP` or `LIMIT_JUMP`.
    jumps : mapping of str to float
        Assets with a limit of their own.
    broken : float
        Largest share of a session's rows that may break a rule beside the session before; one
        always may, and those held already do not count.
    repeated : float
        Largest share of a session's rows that repeat their last row's volume and shape.
    index_gap : float
        Largest distance between the cross-sectional median return and the index's.
    """

    jump: float = FREE_JUMP
    jumps: Mapping[str, float] = field(default_factory=dict)
    broken: float = MAX_BROKEN
    repeated: float = MAX_REPEATED
    index_gap: float = MAX_INDEX_GAP


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """What the comparison with the bars before gave.

    Parameters
    ----------
    kept : ndarray of bool, shape (n_rows,)
        Rows of the batch that are not set aside.
    quarantined : tuple of Quarantined
        The others, each with the first rule it breaks.
    repeated : mapping of date to float
        Share of a session's comparable rows that repeat their last row's volume and shape.
    anchored : ndarray of bool, shape (n_rows,)
        Rows of assets with a stored bar before: if kept, their price is known to be right.
    volumes : mapping of date to float
        Median over assets of a session's volume as a multiple of the usual one.
    """

    kept: BoolArray
    quarantined: tuple[Quarantined, ...]
    repeated: Mapping[date, float]
    anchored: BoolArray
    volumes: Mapping[date, float]


def check_following(
    table: Any,
    *,
    before: Any | None,
    limits: Limits,
    index_returns: Mapping[date, float] | None = None,
    confirmed: Collection[tuple[str, date]] = (),
) -> Followed:
    """Compare the rows of a batch with those before them.

    A row is set aside when the log return since the asset's last kept row, adjusted by the row's
    own factor, is beyond the limit; when it is near ±log 100; or when a factor with |log| of at
    least `TELLING_EVENT` is there and the price as traded went less than half its way.

    Parameters
    ----------
    table : pyarrow.Table
        Good rows, as `daemon.validation.check_bars` returns them.
    before : pyarrow.Table or None
        Stored bars as traded, in `BAR_SCHEMA`: the last one of each asset at least. Rows that are
        not earlier than the whole batch are left out. None when nothing is stored; then an
        asset's first row cannot be judged.
    index_returns : mapping of date to float, optional
        Simple returns of an index of the market, for the sessions that have one.
    confirmed : collection of (str, date)
        Assets and sessions whose price somebody or a second source vouches for.

    Raises
    ------
    BarsError
        More broken rows than `limits.broken`; a stale session (retryable); a median return away
        from the index's; volumes of the market as a whole in another unit.
    """
    n_rows = table.num_rows
    if not n_rows:
        return Followed(np.ones(0, dtype=bool), (), {}, np.zeros(0, dtype=bool), {})
    series = build_series(table, before)
    repeated = repeated_shares(series)
    check_fresh(repeated, limits.repeated)

    limit = np.full(len(series.keys.names), limits.jump)
    for number, name in enumerate(series.keys.names if limits.jumps else ()):
        limit[number] = limits.jumps.get(name, limits.jump)
    trusted = ~series.batch | series.among(confirmed) if confirmed else ~series.batch
    beside_last = _broken(series, limit, trusted)
    _check_budget(series, beside_last, limits.broken)
    codes = _held(series, limit, trusted, beside_last)
    beyond_usual = against_usual(series)
    codes[(codes == 0) & ~trusted & _in_another_unit(series, beyond_usual)] = 1 + _RULES.index(UNIT)
    codes[(codes == 0) & ~trusted & repeats_last(series)] = 1 + _RULES.index(REPEATED)

    good = series.next_day & (codes == 0)
    good[1:] &= codes[:-1] == 0
    check_volumes(series, good)
    if index_returns:
        check_index(series, good, index_returns, limits.index_gap)
    volumes = median_volumes(series, beyond_usual)
    return _followed(series, codes, series.rows.num_rows - n_rows, repeated, volumes)


def _followed(
    series: Series,
    codes: _Codes,
    n_before: int,
    repeated: Mapping[date, float],
    volumes: Mapping[date, float],
) -> Followed:
    keys = series.keys
    bad = np.flatnonzero(codes)
    bad = bad[np.argsort(series.at[bad])]
    kept = np.ones(series.rows.num_rows, dtype=bool)
    kept[series.at[bad]] = False
    stored = np.zeros(len(keys.names), dtype=bool)
    stored[series.asset[~series.batch]] = True
    quarantined = tuple(
        Quarantined(
            keys.names[series.asset[row]],
            keys.days[series.day[row]].item(),
            _RULES[codes[row] - 1],
        )
        for row in bad
    )
    anchored = stored[keys.asset[n_before:]]
    return Followed(kept[n_before:], quarantined, repeated, anchored, volumes)


def _broken(series: Series, limit: FloatArray, trusted: BoolArray) -> _Codes:
    """Return, per row, 0 or 1 + the number of the first rule it breaks beside the row before."""
    price = np.diff(series.price, prepend=np.nan)
    event = series.event + np.diff(series.idle, prepend=0.0)
    codes = _rules(price, event, series.split, limit[series.asset])
    codes[trusted | series.first] = 0
    return codes


def _rules(price: FloatArray, event: FloatArray, split: FloatArray, limit: FloatArray) -> _Codes:
    moved = np.abs(price + event)
    codes = np.zeros(len(price), dtype=np.int8)
    codes[moved > limit] = 3
    codes[np.abs(moved - np.log(100.0)) < SCALE_TOLERANCE] = 2
    for factor in (event, split):
        rows = np.flatnonzero(np.abs(factor) >= TELLING_EVENT)
        way = np.abs(factor[rows])
        codes[rows[-price[rows] * np.sign(factor[rows]) < way / 2]] = 1
    return codes


def _in_another_unit(series: Series, beyond_usual: FloatArray) -> BoolArray:
    """Return which volumes are near 100 times the asset's usual one, or a hundredth of it.

    Where there is an amount, it tells the unit better (`daemon.units`).
    """
    told = ~(series.column("amount") > 0)
    found: BoolArray = told & (np.abs(np.abs(beyond_usual) - np.log(100.0)) < SCALE_TOLERANCE)
    return found


def _held(series: Series, limit: FloatArray, trusted: BoolArray, beside_last: _Codes) -> _Codes:
    """Return the rules broken beside the last kept row, given those beside the last row."""
    codes = np.zeros_like(beside_last)
    kept = -1
    for at in np.flatnonzero(beside_last).tolist():
        if at <= kept:
            continue
        end = int(np.searchsorted(series.asset, series.asset[at], side="right"))
        rows, last = slice(at, end), at - 1
        beside = _rules(
            series.price[rows] - series.price[last],
            series.event[rows] + series.idle[rows] - series.idle[last],
            series.split[rows],
            limit[series.asset[rows]],
        )
        beside[trusted[rows]] = 0
        back = np.flatnonzero(beside == 0)
        kept = at + int(back[0]) if len(back) else end
        codes[at:kept] = beside[: kept - at]
    return codes


def _check_budget(series: Series, broken: _Codes, share: float) -> None:
    n_rows = series.per_day(series.next_day)
    n_broken = series.per_day(series.next_day & (broken > 0))
    over = np.flatnonzero(n_broken > np.maximum(1, np.floor(share * n_rows + 1e-9)))
    if len(over):
        day = over[0]
        rows = series.next_day & (series.day == day)
        counts: IntArray = np.bincount(broken[rows], minlength=len(_RULES) + 1)[1:]
        said = "; ".join(
            f"{count} not “{rule}”" for rule, count in zip(_RULES, counts, strict=True) if count
        )
        raise BarsError(
            f"{n_broken[day]} of {n_rows[day]} bars of {series.keys.days[day]} do not follow "
            f"those before them: {said}",
            rule=f"at most {share:.0%} of a session's rows may leave their last price at once",
            hint="compare with a second source; confirm the prices if they are right",
        )
