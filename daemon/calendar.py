"""The calendar of one exchange: its sessions and when each is over and final.

Built over `exchange_calendars` and an overlay of corrections. Asking beyond the horizon, the last
session anybody knows, is an error: a guessed calendar would call holidays missing data.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from daemon.settings import read_toml
from signals.errors import ConfigError, DataError

#: First day any calendar is asked for.
FIRST_DAY = date(2005, 1, 1)


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
        Last day known, when the overlay reaches further than the calendar.
    """

    added: frozenset[date] = frozenset()
    removed: frozenset[date] = frozenset()
    closes: Mapping[date, time] = field(default_factory=dict)
    horizon: date | None = None


def load_overlay(name: str, path: Path | None = None) -> Overlay:
    """Return the overlay of exchange `name` from `path`, or from the one that is packaged.

    Raises
    ------
    ConfigError
        The file is missing, malformed, or has an unknown key or a value of another kind.
    """
    if path is None:
        path = Path(str(files("daemon") / "data" / "calendar_overlay.toml"))
    table = read_toml(path).get(name, {})
    unknown = sorted(set(table) - {"added", "removed", "closes", "horizon"})
    if unknown:
        raise ConfigError(
            f"{path}: {name}.{unknown[0]} is no key of an overlay",
            rule="an overlay has added, removed, closes and horizon",
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
        )
    except (TypeError, ValueError, AttributeError) as exc:
        raise ConfigError(
            f"{path}: the overlay of {name} is malformed: {exc}",
            rule="added and removed are lists of dates, closes maps dates to times",
            hint="write added = [2027-01-04], closes = { 2026-12-24 = 13:00:00 }",
        ) from exc


class MarketCalendar:
    """Sessions of one exchange. Nothing is built before the first question.

    Parameters
    ----------
    name : str
        Exchange code: XNYS, XSHG, …; an unknown one is a ConfigError at the first question.
    overlay : Overlay or None
        Corrections; None takes those packaged with alphad.
    """

    def __init__(self, name: str, overlay: Overlay | None = None) -> None:
        self.name = name
        self._overlay = overlay

    def sessions(self, first: date, last: date) -> list[date]:
        """Return the sessions from `first` to `last`, both included."""
        self._known(first)
        self._known(last)
        days = self._book.days
        start = int(np.searchsorted(days, np.datetime64(first, "D"), side="left"))
        stop = int(np.searchsorted(days, np.datetime64(last, "D"), side="right"))
        return cast("list[date]", days[start:stop].tolist())

    def is_session(self, day: date) -> bool:
        """Return whether the exchange trades on `day`."""
        self._known(day)
        return day in self._book.closes

    def next_session(self, day: date, n: int = 1) -> date:
        """Return the `n`-th session after `day`."""
        self._known(day)
        row = int(np.searchsorted(self._book.days, np.datetime64(day, "D"), side="right")) + n - 1
        if row >= len(self._book.days):
            raise self._beyond(day)
        return cast("date", self._book.days[row].item())

    def previous_session(self, day: date, n: int = 1) -> date:
        """Return the `n`-th session before `day`."""
        self._known(day)
        row = int(np.searchsorted(self._book.days, np.datetime64(day, "D"), side="left")) - n
        if row < 0:
            raise self._beyond(day)
        return cast("date", self._book.days[row].item())

    def close(self, session: date) -> datetime:
        """Return the close of `session` in UTC; DataError when it is none."""
        self._known(session)
        if session not in self._book.closes:
            raise DataError(
                f"{session} is no session of {self.name}",
                rule="only a session has a close",
                hint="name a trading day, or add it to the calendar overlay",
            )
        return self._book.closes[session]

    def finality(self, session: date, minutes: int) -> datetime:
        """Return when bars of `session` count as final: its close and `minutes` more, in UTC."""
        return self.close(session) + timedelta(minutes=minutes)

    def last_final(self, now: datetime, minutes: int) -> date:
        """Return the latest session whose bars are final at `now`."""
        self._known(now.astimezone(UTC).date())
        latest = np.datetime64(
            (now - timedelta(minutes=minutes)).astimezone(UTC).replace(tzinfo=None)
        )
        row = int(np.searchsorted(self._book.close_times, latest, side="right")) - 1
        if row < 0:
            raise self._beyond(now.date())
        return cast("date", self._book.days[row].item())

    @property
    def horizon(self) -> date:
        """Last day this calendar knows."""
        return self._book.horizon

    def _known(self, day: date) -> None:
        if not self._book.first <= day <= self._book.horizon:
            raise self._beyond(day)

    def _beyond(self, day: date) -> DataError:
        span = f"{self._book.first} to {self._book.horizon}"
        return DataError(
            f"{day} is outside the calendar of {self.name}, which knows {span}",
            rule="sessions are read from the exchange's calendar, never guessed",
            hint="update exchange-calendars, or set horizon and added in the calendar overlay",
        )

    @cached_property
    def _book(self) -> _Sessions:
        overlay = self._overlay if self._overlay is not None else load_overlay(self.name)
        return _build(self.name, overlay)


@dataclass(frozen=True, slots=True)
class _Sessions:
    days: npt.NDArray[np.datetime64]
    close_times: npt.NDArray[np.datetime64]
    closes: Mapping[date, datetime]
    first: date
    horizon: date


def _build(name: str, overlay: Overlay) -> _Sessions:
    base = _exchange_calendar(name)
    zone = ZoneInfo(str(base.tz))
    times = base.closes_nanos.astype("datetime64[ns]").astype("datetime64[s]")
    days = base.sessions_nanos.astype("datetime64[ns]").astype("datetime64[D]")
    closes: dict[date, datetime] = {
        day: close.replace(tzinfo=UTC)
        for day, close in zip(days.tolist(), times.tolist(), strict=True)
    }
    horizon = max(cast("date", days[-1].item()), overlay.horizon or date.min)
    usual: time = base.close_times[-1][1]
    for day in overlay.added:
        closes[day] = datetime.combine(day, usual, zone).astimezone(UTC)
    for day in overlay.removed:
        closes.pop(day, None)
    for day, local in overlay.closes.items():
        if day in closes:
            closes[day] = datetime.combine(day, local, zone).astimezone(UTC)
    if max(overlay.added, default=date.min) > horizon:
        raise ConfigError(
            f"the overlay of {name} adds {max(overlay.added)}, after its horizon {horizon}",
            rule="days between the horizon and an added session would be silently closed",
            hint=f"set horizon in [{name}] once every session up to it is listed",
        )
    ordered = dict(sorted(closes.items()))
    return _Sessions(
        days=np.array(list(ordered), dtype="datetime64[D]"),
        close_times=np.array(
            [close.replace(tzinfo=None) for close in ordered.values()], dtype="datetime64[s]"
        ),
        closes=ordered,
        first=max(FIRST_DAY, base.bound_min().date() if base.bound_min() else FIRST_DAY),
        horizon=horizon,
    )


def _exchange_calendar(name: str) -> Any:
    import exchange_calendars  # 0.6 s: not for `alphad --help`

    try:
        with warnings.catch_warnings():  # its own calls into pandas 3 are deprecated (4.13.2)
            warnings.simplefilter("ignore", DeprecationWarning)
            return exchange_calendars.get_calendar(name, start=FIRST_DAY.isoformat())
    except exchange_calendars.errors.InvalidCalendarName as exc:
        names = exchange_calendars.get_calendar_names(include_aliases=True)
        near = difflib.get_close_matches(name.upper(), names, n=1)
        raise ConfigError(
            f"there is no calendar {name!r}",
            rule="a calendar is an exchange code known to exchange_calendars",
            hint=f"did you mean {near[0]}?" if near else "use a code such as XNYS or XSHG",
        ) from exc


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise TypeError(f"{value!r} is no date")


def _time(value: object) -> time:
    if isinstance(value, time):
        return value
    raise TypeError(f"{value!r} is no time")
