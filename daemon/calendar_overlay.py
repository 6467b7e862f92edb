"""Corrections of an exchange's calendar, read from a file that may be edited while we run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from importlib.resources import files
from pathlib import Path

from daemon.settings import read_toml
from signals.errors import ConfigError

_KEYS = ("added", "removed", "closes", "horizon", "confirmed")


@dataclass(frozen=True, slots=True)
class Overlay:
    """Corrections of one exchange's calendar.

    Parameters
    ----------
    added, removed : frozenset of date
        Sessions the calendar lacks; sessions that are none.
    closes : mapping of date to time
        Closes at another time than the calendar's, in the exchange's own time zone.
    horizon : date or None
        Up to here every session is listed, by the calendar or in `added`; other days are closed.
    confirmed : date or None
        Up to here the weekdays that are not `removed` are sessions: for a year whose holidays the
        exchange has announced and the calendar does not know yet.
    """

    added: frozenset[date] = frozenset()
    removed: frozenset[date] = frozenset()
    closes: Mapping[date, time] = field(default_factory=dict)
    horizon: date | None = None
    confirmed: date | None = None


def load_overlay(name: str, path: Path | None = None) -> Overlay:
    """Return the overlay of exchange `name` from `path`, or from the one that is packaged.

    Raises
    ------
    ConfigError
        The file is missing, malformed, or has an unknown key or a value of another kind.
    """
    path = path or packaged_overlay()
    table = read_toml(path).get(name, {})
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ConfigError(
            f"{path}: {name}.{unknown[0]} is no key of an overlay",
            rule=f"an overlay has {', '.join(_KEYS)}",
            hint=f"remove {unknown[0]}",
        )
    try:
        return Overlay(
            added=frozenset(_day(day) for day in table.get("added", ())),
            removed=frozenset(_day(day) for day in table.get("removed", ())),
            closes={
                date.fromisoformat(day): _time(close)
                for day, close in table.get("closes", {}).items()
            },
            horizon=_day(table["horizon"]) if "horizon" in table else None,
            confirmed=_day(table["confirmed"]) if "confirmed" in table else None,
        )
    except (TypeError, ValueError, AttributeError) as exc:
        raise ConfigError(
            f"{path}: the overlay of {name} is malformed: {exc}",
            rule="added and removed are lists of dates, closes maps dates to times",
            hint="write added = [2027-01-04], closes = { 2026-12-24 = 13:00:00 }",
        ) from exc


def packaged_overlay() -> Path:
    """Return the overlay file that comes with alphad."""
    return Path(str(files("daemon") / "data" / "calendar_overlay.toml"))


class OverlayFile:
    """An overlay that follows its file: read at the first question and when the file has changed.

    A file that was good once and is broken by an edit changes nothing: the last good overlay stays
    and `trouble` says what is wrong.

    Parameters
    ----------
    name : str
        Exchange code, the table in the file.
    path : Path
        TOML file with one table for each exchange.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.path = path
        self.trouble: ConfigError | None = None
        self._name = name
        self._mark: tuple[int, int] | None = None
        self._good: Overlay | None = None

    def read(self) -> Overlay:
        """Return the overlay as of the file's last good state.

        Raises
        ------
        ConfigError
            The file was never good.
        """
        mark = self._stat()
        if self._good is not None and mark == self._mark:
            return self._good
        try:
            self._good = load_overlay(self._name, self.path)
            self.trouble = None
        except ConfigError as exc:
            if self._good is None:
                raise
            self.trouble = exc
        self._mark = mark
        return self._good

    def _stat(self) -> tuple[int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:  # missing for now: load_overlay says so
            return None
        return stat.st_mtime_ns, stat.st_size


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise TypeError(f"{value!r} is no date")


def _time(value: object) -> time:
    if isinstance(value, time):
        return value
    raise TypeError(f"{value!r} is no time")
