"""The calendar of one exchange: its sessions and when each is over and final.

Built over `exchange_calendars` and an overlay of corrections, and built anew when the day changes,
so that a daemon that runs for years does not run out of it. The last day that anybody knows is the
horizon. Beyond it, for `PROVISIONAL_DAYS`, every weekday counts as a session and is marked
provisional: some will be holidays, but a market that goes on in doubt beats one that stops. What
lies further is an error.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, cast
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from daemon.calendar_overlay import Overlay, OverlayFile, load_overlay, packaged_overlay
from daemon.clock import Clock, SystemClock
from signals.errors import ConfigError, DataError

__all__ = ["FIRST_DAY", "PROVISIONAL_DAYS", "MarketCalendar", "Overlay", "load_overlay"]

#: First day any calendar is asked for.
FIRST_DAY = date(2005, 1, 1)
#: Days beyond the horizon on which weekdays count as provisional sessions.
PROVISIONAL_DAYS = 370
#: How far ahead of today an exchange is asked for its sessions, where it has no end of its own.
_AHEAD = timedelta(days=366)


class MarketCalendar:
    """Sessions of one exchange. Nothing is built before the first question.

    Parameters
    ----------
    name : str
        Exchange code: XNYS, XSHG, …; an unknown one is a ConfigError at the first question.
    overlay : Overlay, Path or None
        Corrections; a file is read again when it has changed; None takes the file packaged with
        alphad.
    clock : Clock or None
        Says which day it is; None takes the machine's. A clock behind the machine's, as in a
        replay, does not bring the horizon nearer.
    """

    def __init__(
        self, name: str, overlay: Overlay | Path | None = None, clock: Clock | None = None
    ) -> None:
        self.name = name
        self._overlay = (
            overlay
            if isinstance(overlay, Overlay)
            else OverlayFile(name, overlay or packaged_overlay())
        )
        self._clock = clock or SystemClock()
        self._built: _Sessions | None = None
        self._built_from: tuple[date, Overlay] | None = None
        self._lock = Lock()

    def sessions(self, first: date, last: date) -> list[date]:
        """Return the sessions from `first` to `last`, both included."""
        book = self._book(first, last)
        start = int(np.searchsorted(book.days, np.datetime64(first, "D"), side="left"))
        stop = int(np.searchsorted(book.days, np.datetime64(last, "D"), side="right"))
        return cast("list[date]", book.days[start:stop].tolist())

    def is_session(self, day: date) -> bool:
        """Return whether the exchange trades on `day`."""
        return day in self._book(day).closes

    def is_provisional(self, session: date) -> bool:
        """Return whether `session` is only presumed: a weekday beyond the horizon."""
        return session in self._book(session).provisional

    def next_session(self, day: date, n: int = 1) -> date:
        """Return the `n`-th session after `day`."""
        book = self._book(day)
        row = int(np.searchsorted(book.days, np.datetime64(day, "D"), side="right")) + n - 1
        if row >= len(book.days):
            raise self._beyond(book, day)
        return cast("date", book.days[row].item())

    def previous_session(self, day: date, n: int = 1) -> date:
        """Return the `n`-th session before `day`."""
        book = self._book(day)
        row = int(np.searchsorted(book.days, np.datetime64(day, "D"), side="left")) - n
        if row < 0:
            raise self._beyond(book, day)
        return cast("date", book.days[row].item())

    def close(self, session: date) -> datetime:
        """Return the close of `session` in UTC; DataError when it is none."""
        book = self._book(session)
        if session not in book.closes:
            raise DataError(
                f"{session} is no session of {self.name}",
                rule="only a session has a close",
                hint="name a trading day, or add it to the calendar overlay",
            )
        return book.closes[session]

    def open(self, session: date) -> datetime:
        """Return the open of `session` in UTC; DataError when it is none."""
        self.close(session)
        return self._book(session).opens[session]

    def is_half_day(self, session: date) -> bool:
        """Return whether a session is shorter than the longest of the week before it."""
        lately = [self.previous_session(session, n) for n in range(1, 6)]
        length = self.close(session) - self.open(session)
        return length < 0.9 * max(self.close(day) - self.open(day) for day in lately)

    def finality(self, session: date, minutes: int) -> datetime:
        """Return when bars of `session` count as final: its close and `minutes` more, in UTC."""
        return self.close(session) + timedelta(minutes=minutes)

    def last_final(self, now: datetime, minutes: int) -> date:
        """Return the latest session whose bars are final at `now`."""
        book = self._book(now.astimezone(UTC).date())
        latest = np.datetime64(
            (now - timedelta(minutes=minutes)).astimezone(UTC).replace(tzinfo=None)
        )
        row = int(np.searchsorted(book.close_times, latest, side="right")) - 1
        if row < 0:
            raise self._beyond(book, now.date())
        return cast("date", book.days[row].item())

    @property
    def horizon(self) -> date:
        """Last day this calendar knows; what follows is provisional."""
        return self._book().horizon

    def horizon_days(self, now: datetime) -> int:
        """Return the days from `now` to the horizon, below 0 once it is passed."""
        return (self.horizon - now.astimezone(UTC).date()).days

    @property
    def trouble(self) -> ConfigError | None:
        """What is wrong with an overlay file that was edited; the last good one is in force."""
        self._book()
        return self._overlay.trouble if isinstance(self._overlay, OverlayFile) else None

    def _book(self, *days: date) -> _Sessions:
        """Return the sessions as of now; DataError when one of `days` lies outside."""
        with self._lock:
            overlay = self._overlay.read() if isinstance(self._overlay, OverlayFile) else None
            overlay = overlay or cast("Overlay", self._overlay)
            today = max(self._clock.now(), SystemClock().now()).astimezone(UTC).date()
            source = (max(today, FIRST_DAY), overlay)
            if self._built is None or source != self._built_from:
                self._built = _build(self.name, overlay, source[0] + _AHEAD)
                self._built_from = source
            book = self._built
        for day in days:
            if not book.first <= day <= book.limit:
                raise self._beyond(book, day)
        return book

    def _beyond(self, book: _Sessions, day: date) -> DataError:
        return DataError(
            f"{day} is outside the calendar of {self.name}, which knows {book.first} to "
            f"{book.horizon} and presumes weekdays to {book.limit}",
            rule="sessions are read from the exchange's calendar, not guessed for years",
            hint="update exchange-calendars, or set confirmed and removed in the calendar overlay",
        )


@dataclass(frozen=True, slots=True)
class _Sessions:
    days: npt.NDArray[np.datetime64]
    close_times: npt.NDArray[np.datetime64]
    closes: Mapping[date, datetime]
    opens: Mapping[date, datetime]
    provisional: frozenset[date]
    first: date
    horizon: date
    limit: date


def _build(name: str, overlay: Overlay, until: date) -> _Sessions:
    base, first, end = _exchange_calendar(name, until)
    zone = ZoneInfo(str(base.tz))
    usual: time = base.close_times[-1][1]
    usual_open: time = base.open_times[-1][1]
    offset = timedelta(days=base.close_offset)

    def closing(day: date, local: time) -> datetime:
        return datetime.combine(day + offset, local, zone).astimezone(UTC)

    times = base.closes_nanos.astype("datetime64[ns]").astype("datetime64[s]")
    days = base.sessions_nanos.astype("datetime64[ns]").astype("datetime64[D]")
    closes: dict[date, datetime] = {
        day: close.replace(tzinfo=UTC)
        for day, close in zip(days.tolist(), times.tolist(), strict=True)
    }
    listed = max(end, overlay.horizon or end)
    horizon = max(listed, overlay.confirmed or listed)
    limit = horizon + timedelta(days=PROVISIONAL_DAYS)
    stated = {day for day in {*overlay.added, *overlay.closes} if day <= limit}
    presumed = _weekdays(base.weekmask, listed, limit)
    for day in (*presumed, *(day for day in overlay.added if day in stated)):
        closes.setdefault(day, closing(day, usual))
    for day in overlay.removed:
        closes.pop(day, None)
    for day, local in overlay.closes.items():
        if day in closes:
            closes[day] = closing(day, local)
    ordered = dict(sorted(closes.items()))
    first_nanos = base.opens_nanos.astype("datetime64[ns]").astype("datetime64[s]").tolist()
    opens = {
        day: time_.replace(tzinfo=UTC)
        for day, time_ in zip(days.tolist(), first_nanos, strict=True)
    }
    shift = timedelta(days=base.open_offset)
    for day in ordered:
        if day not in opens:
            opens[day] = datetime.combine(day + shift, usual_open, zone).astimezone(UTC)
    return _Sessions(
        days=np.array(list(ordered), dtype="datetime64[D]"),
        close_times=np.array(
            [close.replace(tzinfo=None) for close in ordered.values()], dtype="datetime64[s]"
        ),
        closes=ordered,
        opens=opens,
        provisional=frozenset(
            day for day in presumed if day > horizon and day in closes and day not in stated
        ),
        first=first,
        horizon=horizon,
        limit=limit,
    )


def _weekdays(mask: str, after: date, last: date) -> list[date]:
    """Return the days of trading weeks, which go by "1111100", after a day up to a last one."""
    span = (after + timedelta(days=n) for n in range(1, (last - after).days + 1))
    return [day for day in span if mask[day.weekday()] == "1"]


def _exchange_calendar(name: str, until: date) -> tuple[Any, date, date]:
    """Return the exchange's own calendar with the first and last day it answers for."""
    import exchange_calendars  # 0.6 s: not for `alphad --help`

    first = FIRST_DAY
    try:
        with warnings.catch_warnings():  # its own calls into pandas 3 are deprecated (4.13.2)
            warnings.simplefilter("ignore", DeprecationWarning)
            # without an end it takes a year from its import, not from today
            try:
                base = exchange_calendars.get_calendar(name, start=first, end=until)
            except ValueError:  # it has bounds of its own
                bounded = exchange_calendars.get_calendar(name)
                low, high = bounded.bound_min(), bounded.bound_max()
                first = max(first, low.date()) if low is not None else first
                until = min(until, high.date()) if high is not None else until
                base = exchange_calendars.get_calendar(name, start=first, end=until)
    except exchange_calendars.errors.InvalidCalendarName as exc:
        names = exchange_calendars.get_calendar_names(include_aliases=True)
        near = difflib.get_close_matches(name.upper(), names, n=1)
        raise ConfigError(
            f"there is no calendar {name!r}",
            rule="a calendar is an exchange code known to exchange_calendars",
            hint=f"did you mean {near[0]}?" if near else "use a code such as XNYS or XSHG",
        ) from exc
    return base, first, until
