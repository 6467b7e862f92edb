"""What a batch of bars must fulfil by itself, whatever came before it: pure, silent about nothing.

A broken row is set aside and reported, within a budget for each session; past the budget, or where
the batch as a whole cannot be right (duplicate keys, foreign sessions, too few assets), it is a
BarsError and nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from signals.errors import BarsError
from storage.bars import BAR_SCHEMA

PRICES = ("open", "high", "low", "close")
#: Relative slack of the OHLC envelope: prices that went through float32 are a rounding apart.
ENVELOPE_TOLERANCE = 1e-6

IntArray = npt.NDArray[np.int64]


class Keys(NamedTuple):
    """The keys of rows, as numbers: row r is asset `names[asset[r]]` on session `days[day[r]]`."""

    days: npt.NDArray[np.datetime64]
    names: Sequence[str]
    day: IntArray
    asset: IntArray

    def per_day(self, rows: npt.NDArray[np.bool_]) -> IntArray:
        """Return, for each day, how many of `rows` lie on it."""
        return np.bincount(self.day[rows], minlength=len(self.days))


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row set aside, and the rule it broke."""

    asset: str
    session: date
    rule: str


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What passed the gate.

    Parameters
    ----------
    table : pyarrow.Table
        Good rows, in `BAR_SCHEMA`.
    quarantined : tuple of Quarantined
        Rows set aside.
    coverage : mapping of date to float
        Share of the expected assets with a good row (suspended counts: it was delivered); without
        expected assets, the share of rows that are good.
    warnings : tuple of str
        What an operator should know though nothing is refused.
    """

    table: Any
    quarantined: tuple[Quarantined, ...]
    coverage: Mapping[date, float]
    warnings: tuple[str, ...]


def check_bars(
    table: Any,
    *,
    sessions: Sequence[date],
    min_assets: int,
    max_quarantined: float,
    expected: Collection[str] | None = None,
) -> Checked:
    """Return the good rows of a fetched batch and a report of the others.

    A row is set aside when it is not suspended and a price is missing, not finite, zero or
    negative, or high and low do not enclose open and close, or volume is missing or negative; and,
    suspended or not, when an adjustment or split factor is not positive or amount or dividend is
    negative.

    Parameters
    ----------
    table : pyarrow.Table
        In `storage.bars.BAR_SCHEMA`, in any order.
    sessions : sequence of date
        Sessions asked for; each must be there and no other.
    min_assets : int
        Fewest assets with a good bar that is not suspended, for every session.
    max_quarantined : float
        Largest share of a session's rows that may be set aside; one row always may.
    expected : collection of str or None
        Assets that should have a row in every session.

    Raises
    ------
    BarsError
        Other columns; a session that was not asked for; a session without bars (retryable);
        duplicate keys; fewer assets than `min_assets`; more rows set aside than the budget.
    """
    if not table.schema.equals(BAR_SCHEMA):
        raise BarsError(
            f"bars have the columns {', '.join(map(str, table.schema))}",
            rule=f"a feed returns {', '.join(map(str, BAR_SCHEMA))}",
            hint="correct the feed",
        )
    keys = keys_of(table)
    _check_sessions(keys.days, sessions)
    if not table.num_rows:
        return Checked(table, (), {}, ())
    since = (keys.days - keys.days[:1]).astype(np.int64)
    check_unique(np.sort(since[keys.day] * len(keys.names) + keys.asset), keys.names, keys.days[0])
    codes, rules = _broken_rows(table)
    good = codes == 0
    _check_budget(keys, codes, rules, max_quarantined)
    tradable = good & ~numbers_of(table, "suspended").astype(bool)
    check_enough(keys.days, keys.per_day(tradable), min_assets)
    coverage, warnings = _coverage(keys, good, expected)
    quarantined = tuple(
        Quarantined(
            keys.names[keys.asset[row]], keys.days[keys.day[row]].item(), rules[codes[row] - 1]
        )
        for row in np.flatnonzero(~good)
    )
    kept = table.filter(pa.array(good)) if quarantined else table
    return Checked(kept, quarantined, coverage, warnings)


def check_unique(numbers: IntArray, names: Sequence[str], first: np.datetime64) -> None:
    """Raise a BarsError naming the first asset and session that have two rows.

    Parameters
    ----------
    numbers : ndarray of int64, shape (n_rows,)
        Ascending; days since `first` × number of names + place of the asset in `names`.
    """
    twice = np.flatnonzero(numbers[1:] == numbers[:-1])
    if len(twice):
        day, asset = divmod(int(numbers[twice[0]]), len(names))
        raise BarsError(
            f"{names[asset]} has more than one bar on {first + day} "
            f"({len(twice)} rows too many in all)",
            rule="an asset has one bar a session",
            hint="remove the duplicate rows; alphad does not guess which one is right",
        )


def check_calendar(days: npt.NDArray[np.datetime64], known: Collection[date]) -> None:
    """Raise a BarsError naming the first of `days` that is no session of the calendar."""
    foreign = [day for day in days.tolist() if day not in known]
    if foreign:
        raise BarsError(
            f"there are bars on {foreign[0]}, which is no session ({len(foreign)} such days)",
            rule="bars lie on sessions of the market's calendar",
            hint="remove the rows, set the market's own calendar, or add the day to the overlay",
        )


def keys_of(table: Any) -> Keys:
    """Return the keys of a table's rows as numbers, days ascending, assets as they appear."""
    since = np.asarray(table.column("session").cast(pa.int32()), dtype=np.int64)
    first = int(since.min()) if len(since) else 0
    there = np.zeros(int(since.max()) - first + 1 if len(since) else 0, dtype=np.int64)
    there[since - first] = 1
    days = (first + np.flatnonzero(there)).astype("datetime64[D]")
    encoded = table.column("asset").combine_chunks().dictionary_encode()
    asset = np.asarray(encoded.indices, dtype=np.int64)
    return Keys(days, encoded.dictionary.to_pylist(), (there.cumsum() - 1)[since - first], asset)


def numbers_of(table: Any, name: str) -> npt.NDArray[Any]:
    """Return a column of a table: missing numbers as NaN, missing flags as false."""
    column = table.column(name)
    if pa.types.is_floating(column.type):
        column = pc.fill_null(column, float("nan"))
    elif pa.types.is_boolean(column.type):
        column = pc.fill_null(column, False)  # noqa: FBT003  arrow's own signature
    return np.asarray(column.to_numpy())


def _check_sessions(days: npt.NDArray[np.datetime64], sessions: Sequence[date]) -> None:
    check_calendar(days, frozenset(sessions))
    missing = sorted(set(sessions) - set(days.tolist()))
    if missing:
        raise BarsError(
            f"there are no bars of {missing[0]} ({len(missing)} of {len(sessions)} sessions)",
            rule="a session is ingested when its bars are there",
            hint="wait for the source, or add the missing rows to the file",
            retryable=True,
        )


def _broken_rows(table: Any) -> tuple[IntArray, tuple[str, ...]]:
    """Return, per row, 0 or 1 + the number of the first rule it breaks, and the rules."""
    prices = np.stack([numbers_of(table, name) for name in PRICES])
    opened, high, low, close = prices
    volume, amount = numbers_of(table, "volume"), numbers_of(table, "amount")
    factors = np.stack([numbers_of(table, "adjustment"), numbers_of(table, "split")])
    dividend = numbers_of(table, "dividend")
    traded = ~numbers_of(table, "suspended").astype(bool)
    slack = ENVELOPE_TOLERANCE
    with np.errstate(invalid="ignore"):
        rules = {
            "prices are there and finite": traded & ~np.isfinite(prices).all(axis=0),
            "prices are above zero": traded & (prices <= 0.0).any(axis=0),
            "low ≤ open, close ≤ high": traded
            & (
                (low > np.minimum(opened, close) * (1.0 + slack))
                | (high < np.maximum(opened, close) * (1.0 - slack))
            ),
            "volume is there and not negative": traded & ~((volume >= 0.0) & np.isfinite(volume)),
            "amount is not negative": (amount < 0.0) | np.isinf(amount),
            "adjustment and split are above zero": ~((factors > 0.0) & np.isfinite(factors)).all(
                axis=0
            ),
            "dividend is not negative": ~((dividend >= 0.0) & np.isfinite(dividend)),
        }
    codes = np.zeros(table.num_rows, dtype=np.int64)
    for number, broken in enumerate(rules.values(), start=1):
        codes[broken & (codes == 0)] = number
    return codes, tuple(rules)


def _check_budget(keys: Keys, codes: IntArray, rules: Sequence[str], share: float) -> None:
    n_bad = keys.per_day(codes > 0)
    n_rows = np.bincount(keys.day)
    allowed = np.maximum(1, np.floor(share * n_rows + 1e-9))
    over = np.flatnonzero(n_bad > allowed)
    if len(over):
        day = over[0]
        counts = np.bincount(codes[keys.day == day], minlength=len(rules) + 1)[1:]
        broken = "; ".join(
            f"{count} not “{rule}”" for rule, count in zip(rules, counts, strict=True) if count
        )
        raise BarsError(
            f"{n_bad[day]} of {n_rows[day]} bars of {keys.days[day]} are broken: {broken}",
            rule=f"at most {share:.1%} of a session's rows may be set aside",
            hint="correct the source; raise ingest.max_quarantined only if you know why",
        )


def check_enough(days: npt.NDArray[np.datetime64], n_good: IntArray, min_assets: int) -> None:
    """Raise a BarsError naming the first of `days` with fewer good bars than `min_assets`."""
    few = np.flatnonzero(n_good < min_assets)
    if len(few):
        raise BarsError(
            f"{days[few[0]]} has good bars of {n_good[few[0]]} assets",
            rule=f"a session needs at least {min_assets} (ingest.min_assets)",
            hint="complete the bars, or lower ingest.min_assets for a small market",
            retryable=True,
        )


def _coverage(
    keys: Keys, good: npt.NDArray[np.bool_], expected: Collection[str] | None
) -> tuple[dict[date, float], tuple[str, ...]]:
    days = keys.days.tolist()
    if not expected:
        share = keys.per_day(good) / np.bincount(keys.day)
        return dict(zip(days, share.tolist(), strict=True)), ()
    wanted = frozenset(expected)
    is_wanted = np.array([name in wanted for name in keys.names], dtype=bool)
    counts = good & is_wanted[keys.asset]
    n_covered = keys.per_day(counts)
    warnings = []
    for row in np.flatnonzero(n_covered < len(wanted)):
        there = {keys.names[asset] for asset in keys.asset[counts & (keys.day == row)]}
        missing = sorted(wanted - there)
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        warnings.append(f"{days[row]}: {len(missing)} expected assets without a bar ({shown})")
    shares = (n_covered / len(wanted)).tolist()
    return dict(zip(days, shares, strict=True)), tuple(warnings)
