"""Live sessions where calendars are difficult: Shanghai in 2027, New York when clocks change."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

from bench.live_faults import stored_bars
from bench.live_market import opened
from bench.live_sent import Recording
from daemon.clock import ReplayClock
from daemon.context import open_context
from daemon.settings import build_settings
from storage import alerts
from tests.daemon.live import BOOK, LiveMarket
from tests.standins.book import MarketBook
from tests.standins.exchange import sessions_between
from tests.standins.standin import StandIn
from tests.standins.synthetic import simulate

#: The Sundays on which New York changes its clocks. yfinance asks for bars until the machine's own
#: present, so that those to come are lived through on a simulated feed.
CHANGES = (
    date(2026, 3, 8), date(2026, 11, 1), date(2027, 3, 14), date(2027, 11, 7), date(2028, 3, 12),
    date(2028, 11, 5),
)  # fmt: skip
#: A day that counts as a session beyond the calendar's end, and is none.
HOLIDAY = date(2027, 1, 1)
STEP = timedelta(minutes=30)
_SMALL = {
    "monitor": {"baseline_sessions": 60},
    "blend": {"ic_sessions": 60},
    "ingest": {"min_assets": 10},
}


@dataclass(frozen=True)
class Lived:
    """How some sessions were published.

    Parameters
    ----------
    sessions : tuple of date
        Those of the exchange.
    statuses : mapping of date to list of str
        Of each session's publications.
    late : timedelta
        Longest from a session's finality to its first publication.
    wrong : int
        Bars stored that are not the truth.
    confirmed : bool
        Whether the feed is one whose sessions are confirmed.
    """

    sessions: tuple[date, ...]
    statuses: dict[date, list[str]]
    late: timedelta
    wrong: int
    confirmed: bool = True

    @property
    def holds(self) -> bool:
        """Whether each session was published once and confirmed once, in time, and none else."""
        first = ["provisional"] if self.confirmed else []
        each = all(
            told[:-1] == first and told[-1] != "provisional" for told in self.statuses.values()
        )
        whole = tuple(self.statuses) == self.sessions
        return each and whole and self.late <= STEP and not self.wrong


@dataclass(frozen=True)
class Year2027:
    """How Shanghai's sessions beyond the end of its calendar went.

    Parameters
    ----------
    presumed : int
        Sessions published that were marked provisional.
    held : str
        What the alert of the holiday said, while nothing was published.
    alerts : list of str
        Keys of all alerts there were.
    """

    lived: Lived
    presumed: int
    held: str
    alerts: list[str]

    @property
    def holds(self) -> bool:
        """Whether every session went on, with a warning, and the holiday was held."""
        told = "calendar-horizon" in self.alerts and "`removed` of [XSHG]" in self.held
        return self.presumed > 0 and told and self.lived.holds


def run(changes: Sequence[date] = CHANGES) -> bool:
    """Print the lines; return whether everything is as it should be."""
    good = True
    for change in changes:
        live = change + timedelta(days=7) < datetime.now(UTC).date()
        with tempfile.TemporaryDirectory() as folder:
            found = (across if live else across_simulated)(Path(folder), change)
        good &= found.holds
        counts = Counter(" → ".join(told) for told in found.statuses.values())
        print(
            f"clocks change on {change} ({'yahoo' if live else 'simulated feed'}): "
            f"{len(found.sessions)} sessions, published "
            + (", ".join(f"{n} × {kind}" for kind, n in counts.items()) or "none")
            + f", at most {found.late} after finality; {found.wrong} wrong bars; "
            + ("once each" if found.holds else "NOT ONCE EACH")
        )
    with tempfile.TemporaryDirectory() as folder:
        year = year_2027(Path(folder))
    kinds = Counter(" → ".join(told) for told in year.lived.statuses.values())
    print(
        f"Shanghai in 2027: {len(year.lived.statuses)} sessions published "
        f"({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), {year.presumed} of them "
        f"presumed; alerts {', '.join(year.alerts)}; the holiday {HOLIDAY} was held: {year.held}"
    )
    return good and year.holds


def across(
    folder: Path, change: date, *, before: int = 1, after: int = 2, n_assets: int = 24
) -> Lived:
    """Tick every half hour through some sessions before and after a change of clocks."""
    book = MarketBook.synthetic(
        "us", n_assets, change - timedelta(days=150), change + timedelta(days=10), seed=2,
        n_members=n_assets - 1,
    )  # fmt: skip
    begin = sum(day < change for day in book.days) - before
    with _opened(folder, book, begin) as (alive, _):
        sessions = book.days[begin : begin + before + after]
        end = _finality(alive, sessions[-1]) + timedelta(hours=1)
        while alive.clock.now() <= end:
            alive.tick()
            alive.at(alive.clock.now() + STEP)
        return _lived(alive, sessions)


def across_simulated(folder: Path, change: date, *, before: int = 5, after: int = 5) -> Lived:
    """Do the same on a simulated feed, which has no clock of its own, a week on either side."""
    feed = {"kind": "simulated", "assets": 40, "start": change - timedelta(days=150)}
    market = {**_SMALL, "feed": feed, "seed_book": "sim", "mining": {"enabled": False}}
    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    with open_context(
        build_settings(
            {
                "state_dir": folder / "state",
                "publish_dir": folder / "published",
                "markets": {"us": market},
            }
        ),
        clock,
    ) as context:
        alive = LiveMarket(context, context.markets["us"], clock, cast("StandIn", None))
        calendar = alive.market.calendar
        first = calendar.previous_session(change, before)
        sessions = tuple(calendar.sessions(first, calendar.next_session(change, after)))
        clock.set(_finality(alive, first))
        end = _finality(alive, sessions[-1]) + timedelta(hours=1)
        while clock.now() <= end:
            alive.tick()
            clock.set(clock.now() + STEP)
        statuses, late = _published(alive)
        return Lived(sessions, statuses, late, 0, confirmed=False)


def year_2027(folder: Path, *, last: date = date(2027, 1, 12), n_assets: int = 24) -> Year2027:
    """Live over the end of Shanghai's calendar and a holiday it does not know."""
    days = [day for day in sessions_between("cn", date(2026, 7, 1), last) if day != HOLIDAY]
    book = simulate(MarketBook, "cn", days, n_assets, 0, n_assets - 1)
    overlay = folder / "overlay.toml"
    overlay.write_text("", encoding="utf-8")
    begin = next(row for row, day in enumerate(days) if day.year == 2027) - 1
    held, presumed = "", 0
    with _opened(folder, book, begin, overlay=overlay) as (alive, _):
        sessions = tuple(days[begin:])
        for number in range(begin, len(days)):
            if number == begin + 1:
                held = _over_the_holiday(alive, overlay)
            alive.lived(number)
            presumed += bool(alive.facts()["provisional_session"])
        keys = _every_alert(alive)
        return Year2027(_lived(alive, sessions), presumed, held, keys)


def _over_the_holiday(alive: LiveMarket, overlay: Path) -> str:
    """Let the holiday's evening come, then say in the overlay that it was one."""
    n_published = len(alive.publications())
    alive.at(_finality(alive, HOLIDAY))
    alive.tick()
    held = alive.alerts().get("stage-failed", "no alert")
    if len(alive.publications()) > n_published:
        held = "it was published"
    overlay.write_text(f"[XSHG]\nremoved = [{HOLIDAY}]\n", encoding="utf-8")
    return held


def _opened(
    folder: Path, book: MarketBook, begin: int, overlay: Path | None = None
) -> AbstractContextManager[tuple[LiveMarket, Recording]]:
    declared = folder / "book.toml"
    declared.write_text(BOOK, encoding="utf-8")
    return opened(folder, book, begin, overlay=overlay, seed_book=str(declared), **_SMALL)


def _lived(alive: LiveMarket, sessions: tuple[date, ...]) -> Lived:
    statuses, late = _published(alive)
    wrong = stored_bars(alive, sessions[0], sessions[-1])[1]
    return Lived(sessions, statuses, late, len(wrong))


def _published(alive: LiveMarket) -> tuple[dict[date, list[str]], timedelta]:
    """Return each session's statuses, and the longest from finality to the first of them."""
    statuses: dict[date, list[str]] = {}
    late = timedelta(0)
    for record in alive.publications():
        if record.session not in statuses:
            at: datetime = record.reserved_at
            late = max(late, at - _finality(alive, record.session))
        statuses.setdefault(record.session, []).append(str(record.status_text))
    return statuses, late


def _finality(alive: LiveMarket, session: date) -> datetime:
    minutes = alive.market.settings.ingest.finality_minutes
    return alive.market.calendar.finality(session, minutes)


def _every_alert(alive: LiveMarket) -> list[str]:
    with alive.context.database.read() as conn:
        return sorted({alert.key for alert in alerts.alerts(conn, alive.name)})
