"""What a provider tells now about stored sessions: judged, compared, and kept as vintages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daemon.context import Context, Market
from daemon.history_gate import judge_history
from daemon.plausibility import Limits
from daemon.restatement import Restatement, compare, counts
from daemon.switching import append_told
from storage.bars import BAR_SCHEMA, last_told
from storage.data import Said
from storage.tables import Vintage

#: What is told of a restatement that follows no rule.
UNKNOWN_RULE = "a stored series is restated by a split, a dividend or single corrections"
#: Flags that one source tells of a session and another cannot.
TOLD_FLAGS = ("st", "limit_up", "limit_down")
#: Changes named in a run's detail; all of them are counted.
NAMED = 20


@dataclass(frozen=True)
class Restated:
    """Restatements, and what they mean for the session at hand.

    Parameters
    ----------
    known : tuple of Restatement
        To be written, one vintage each.
    unknown : Restatement or None
        Not to be written.
    distrusted : frozenset of str
        Assets whose whole compared series is told otherwise, by no rule.
    warnings : tuple of str
    """

    known: tuple[Restatement, ...] = ()
    unknown: Restatement | None = None
    distrusted: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def bars(self) -> Mapping[str, int]:
        """Bars by cause, those of unknown cause too."""
        return counts((*self.known, *([self.unknown] if self.unknown else [])))

    @property
    def doubtful(self) -> set[str]:
        """Assets with a correction, or a restatement of unknown cause."""
        found = [one for one in self.known if one.cause == "correction"]
        found += [self.unknown] if self.unknown is not None else []
        return {change.asset for one in found for change in one.changes}

    def over(self, stored: Any) -> Any:
        """Return stored bars with the known restatements made."""
        return last_told([stored, *(one.table for one in self.known)])

    def facts(self, n_expected: int) -> dict[str, Any]:
        """Return what the run's detail keeps."""
        told = [
            f"{one.cause}: {change.asset} {change.first}…{change.last}, {change.n_bars} bars"
            for one in (*self.known, *([self.unknown] if self.unknown else []))
            for change in one.changes
        ]
        return {
            "restated": len(self.doubtful) / n_expected if n_expected else 0.0,
            "restated_bars": dict(self.bars),
            "restatements": told[:NAMED],
        }

    def said(self) -> list[Said]:
        """Return the verdicts about what was not written."""
        if self.unknown is None:
            return []
        return [
            Said(
                "quarantine", change.asset, change.first, change.last, change.n_bars,
                UNKNOWN_RULE, f"{change.n_bars} stored bars are told otherwise", "",
            )
            for change in self.unknown.changes
        ]  # fmt: skip


def find_restated(
    parts: Sequence[tuple[Any, Any, Any]], limits: Limits, *, flags_told: bool = True
) -> Restated:
    """Return what is told otherwise now.

    Parameters
    ----------
    parts : sequence of (pyarrow.Table, pyarrow.Table, pyarrow.Table or None)
        Stored bars, fetched bars of the same assets and sessions, and stored bars before them.
    limits : Limits
        Of the gate that fetched bars have to pass first.
    flags_told : bool
        False where the source cannot tell `st` and limits: the stored ones are kept.
    """
    stored, fetched, warnings = [], [], []
    for old, new, before in parts:
        if not old.num_rows or not new.num_rows:
            continue
        judged = judge_history(new, limits=limits, before=before)
        if judged.checked is None:
            fact = judged.error.fact if judged.error is not None else ""
            warnings.append(f"stored sessions were not compared with the source: {fact}")
            continue
        stored.append(old)
        passed = judged.checked.table
        fetched.append(passed if flags_told else with_flags(passed, old))
    if not stored:
        return Restated(warnings=tuple(warnings))
    before_now = pa.concat_tables(stored).combine_chunks()
    told = pa.concat_tables(fetched).combine_chunks()
    found = compare(before_now, told)
    unknown = next((one for one in found if one.cause == "unknown"), None)
    known = tuple(one for one in found if one.cause != "unknown" and one.table.num_rows)
    distrusted = set()
    if unknown is not None:
        traded = before_now.filter(pc.invert(before_now["suspended"]))
        n_traded = dict(
            zip(*(column.to_pylist() for column in _counted(traded, told)), strict=True)
        )
        distrusted = {
            change.asset
            for change in unknown.changes
            if change.n_bars and change.n_bars >= n_traded.get(change.asset, 0)
        }
    return Restated(known, unknown, frozenset(distrusted), tuple(warnings))


def keep(
    context: Context, market: Market, restated: Restated, providers: Mapping[str, str]
) -> list[Vintage]:
    """Write a vintage for each cause and provider; the rows that make them count are not yet."""
    return [
        vintage
        for one in restated.known
        for vintage in append_told(context, market, one.table, cause=one.cause, providers=providers)
    ]


def sessions_of(table: Any) -> list[date]:
    """Return the sessions of a table, ascending."""
    return sorted(pc.unique(table["session"]).to_pylist())


def between(table: Any, first: date, last: date) -> Any:
    """Return the rows of sessions from `first` to `last`, both included."""
    low, high = pa.scalar(first, pa.date32()), pa.scalar(last, pa.date32())
    days = table["session"]
    return table.filter(pc.and_(pc.greater_equal(days, low), pc.less_equal(days, high)))


def of_assets(table: Any, assets: Sequence[str] | set[str], *, without: bool = False) -> Any:
    """Return the rows of some assets, or of all others."""
    there = pc.is_in(table["asset"], value_set=pa.array(sorted(assets), pa.string()))
    return table.filter(pc.invert(there) if without else there)


def _counted(traded: Any, told: Any) -> tuple[Any, Any]:
    """Return assets and how many of their stored traded rows were told again."""
    both = traded.select(["asset", "session"]).join(
        told.select(["asset", "session"]), ["asset", "session"], join_type="inner"
    )
    groups = both.group_by("asset").aggregate([("session", "count")])
    return groups["asset"], groups["session_count"]


def with_flags(rows: Any, told: Any) -> Any:
    """Return rows with the flags that other rows of the same assets and sessions have."""
    place: dict[tuple[Any, Any], int] = {
        key: row
        for row, key in enumerate(
            zip(told["session"].to_pylist(), told["asset"].to_pylist(), strict=True)
        )
    }
    if not place:
        return rows
    keys = zip(rows["session"].to_pylist(), rows["asset"].to_pylist(), strict=True)
    at = np.array([place.get(key, -1) for key in keys], dtype=np.int64)
    for name in TOLD_FLAGS:
        old, new = (np.asarray(table[name].to_numpy()) for table in (told, rows))
        column = pa.array(np.where(at >= 0, old[at], new), pa.bool_())
        rows = rows.set_column(BAR_SCHEMA.get_field_index(name), BAR_SCHEMA.field(name), column)
    return rows


def otherwise_flagged(rows: Any, told: Any) -> Any:
    """Return the rows whose flags are told otherwise, with those flags."""
    flagged = with_flags(rows, told)
    differs = np.zeros(rows.num_rows, dtype=bool)
    for name in TOLD_FLAGS:
        old, new = (np.asarray(table[name].to_numpy()) for table in (rows, flagged))
        differs |= old != new
    return flagged.filter(pa.array(differs))
