"""An operator's corrections of a membership, from a file; they are applied last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from daemon.settings import read_toml
from daemon.symbols import to_provider
from signals.errors import ConfigError, DataError
from storage.membership import Spell

_HINT = 'write [[add]] or [[remove]] with asset = "BRK.B", start_date = 2024-01-02, end_date = …'
_DAY = timedelta(days=1)


class Override(NamedTuple):
    """An asset belongs, or does not, from `start` to `end`, both included; None has no end."""

    asset: str
    start: date
    end: date | None
    member: bool


def load_overrides(path: Path, provider: str) -> tuple[Override, ...]:
    """Return the overrides of a TOML file with tables [[add]] and [[remove]].

    Parameters
    ----------
    path : Path
        Each table has `asset`, `start_date` and perhaps `end_date`, the last day.
    provider : str
        Whose list is corrected; an asset it could not name is refused.

    Raises
    ------
    ConfigError
        Missing or malformed; an unknown key; a name that is no asset; an asset both added and
        removed on one day.
    """
    content = read_toml(path)
    unknown = sorted(set(content) - {"add", "remove"})
    if unknown:
        raise ConfigError(
            f"{path}: {unknown[0]} is no table of overrides",
            rule="overrides are [[add]] and [[remove]]",
            hint=_HINT,
        )
    overrides = [
        _override(path, provider, kind, entry)
        for kind in ("add", "remove")
        for entry in _entries(path, content, kind)
    ]
    overrides.sort(key=lambda each: (each.asset, each.start))
    for earlier, later in pairwise(overrides):
        if earlier.asset == later.asset and (earlier.end or date.max) >= later.start:
            raise ConfigError(
                f"{path}: two overrides of {later.asset} meet on {later.start}",
                rule="on one day an asset is overridden once",
                hint="end the earlier one the day before the later one starts, or merge them",
            )
    return tuple(overrides)


def overridden(overrides: Iterable[Override], on: date) -> Mapping[str, bool]:
    """Return the assets that are overridden on a day, and whether they belong."""
    return {
        each.asset: each.member
        for each in overrides
        if each.start <= on and (each.end is None or on <= each.end)
    }


def apply_overrides(spells: Sequence[Spell], overrides: Iterable[Override]) -> tuple[Spell, ...]:
    """Return spells with the overrides in force; doing it twice changes nothing more."""
    by_asset: dict[str, list[tuple[date, date]]] = {}
    for spell in spells:
        by_asset.setdefault(spell.asset, []).append((spell.start, spell.end or date.max))
    for each in overrides:
        start, end = each.start, each.end or date.max
        kept = _without(by_asset.get(each.asset, []), start, end)
        by_asset[each.asset] = _joined([*kept, (start, end)]) if each.member else kept
    return tuple(
        Spell(asset, start, None if end == date.max else end)
        for asset in sorted(by_asset)
        for start, end in sorted(by_asset[asset])
    )


def _without(spans: Iterable[tuple[date, date]], start: date, end: date) -> list[tuple[date, date]]:
    """Return spans without the days from `start` to `end`."""
    kept: list[tuple[date, date]] = []
    for low, high in spans:
        if low < start:
            kept.append((low, min(high, start - _DAY)))
        if high > end:
            kept.append((max(low, end + _DAY), high))
    return kept


def _joined(spans: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    """Return disjoint spans with those that touch made one."""
    result: list[tuple[date, date]] = []
    for low, high in sorted(spans):
        if result and result[-1][1] + _DAY == low:
            result[-1] = (result[-1][0], high)
        else:
            result.append((low, high))
    return result


def _entries(path: Path, content: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    entries = content.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{path}: {kind} is no list of tables", rule=_HINT, hint=f"[[{kind}]]")
    return entries


def _override(path: Path, provider: str, kind: str, entry: Mapping[str, Any]) -> Override:
    """Return one table's override; ConfigError names what is wrong with it."""
    known = {"asset", "start_date", "end_date"}
    odd = sorted(set(entry) - known) or sorted(known - {"end_date"} - set(entry))
    if odd:
        fault = "unknown" if odd[0] in entry else "missing"
        raise ConfigError(
            f"{path}: {odd[0]} is {fault} in [[{kind}]] {dict(entry)}",
            rule="an override has asset, start_date and perhaps end_date",
            hint=_HINT,
        )
    asset, start, end = entry["asset"], entry["start_date"], entry.get("end_date")
    days = [day for day in (start, end) if day is not None]
    if not isinstance(asset, str) or not all(type(day) is date for day in days):
        raise ConfigError(
            f"{path}: [[{kind}]] {dict(entry)} has a value of another kind",
            rule="asset is text, start_date and end_date are dates without quotes",
            hint=_HINT,
        )
    if end is not None and end < start:
        raise ConfigError(
            f"{path}: the override of {asset} ends {end}, before it starts {start}",
            rule="end_date is the last day it is in force",
            hint="correct the dates",
        )
    try:
        to_provider(asset, provider)
    except DataError as exc:
        raise ConfigError(f"{path}: {exc.fact}", rule=exc.rule, hint=exc.hint) from exc
    return Override(asset, start, end, kind == "add")
