"""Bars of a simulated market, on the sessions of a real calendar."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from daemon.feeds.protocol import Request
from daemon.simulation import FIELDS, Market, PlantedAlpha, default_alphas
from signals.errors import DataError
from storage.bars import BAR_SCHEMA, in_schema


class _Calendar(Protocol):
    """The part of a market's calendar that numbers its sessions."""

    def sessions(self, first: date, last: date) -> list[date]: ...


class SimulatedFeed:
    """A market that is the same for ever for one seed, and never fails.

    Parameters
    ----------
    calendar : MarketCalendar
        Its sessions from `start` on are the market's.
    seed, n_assets : int
        See `daemon.simulation.Market`.
    start : date
        First day.
    alphas : sequence of PlantedAlpha or None
        None takes `default_alphas()`.
    """

    name = "simulated"
    reconstructed = False

    def __init__(
        self,
        calendar: _Calendar,
        *,
        seed: int = 7,
        n_assets: int = 300,
        start: date = date(2018, 1, 2),
        alphas: Sequence[PlantedAlpha] | None = None,
    ) -> None:
        self.alphas = tuple(alphas) if alphas is not None else default_alphas()
        self._calendar = calendar
        self._start = start
        self._sessions: dict[date, int] = {}
        self._market = Market(seed, n_assets, self.alphas)

    def history(self, last: date) -> date | None:
        """Return the first session of the market, or None if it is after `last`."""
        self._number_sessions(last)
        first = next(iter(self._sessions), None)
        return first if first is not None and first <= last else None

    def session_number(self, session: date) -> int:
        """Return how many sessions the market had before `session`, as `true_strength` counts."""
        self._number_sessions(session)
        if session not in self._sessions:
            raise DataError(
                f"{session} is no session of the simulated market, which starts on {self._start}",
                rule="only its own sessions have a number",
                hint="name a session of the market's calendar after its start",
            )
        return self._sessions[session]

    def fetch(self, request: Request) -> Any:
        """Return the bars of the sessions asked for; those before the start are absent."""
        self._number_sessions(max(request.sessions))
        asked = [day for day in request.sessions if day in self._sessions]
        parts = [self._session(day) for day in asked]
        table = pa.concat_tables(parts) if parts else BAR_SCHEMA.empty_table()
        if request.assets is not None:
            wanted = pa.array(request.assets, pa.string())
            table = table.filter(pc.is_in(table.column("asset"), value_set=wanted))
        return table

    def _number_sessions(self, last: date) -> None:
        known = next(reversed(self._sessions), None)
        if last >= self._start and (known is None or known < last):
            days = self._calendar.sessions(self._start, last)
            self._sessions = {day: number for number, day in enumerate(days)}

    def _session(self, day: date) -> Any:
        number = self._sessions[day]
        bars = self._market.bars(number, number + 1)
        n = len(self._market.assets)
        columns = {
            "session": pa.repeat(pa.scalar(day, pa.date32()), n),
            "asset": pa.array(self._market.assets, pa.string()),
            **{name: bars[name][0] for name in FIELDS},
        }
        return in_schema(pa.table(columns))
