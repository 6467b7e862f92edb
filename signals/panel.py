"""The panel: one market's bars as aligned arrays, with the universe of each session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from signals.errors import DataError

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
SessionArray = npt.NDArray[np.datetime64]

FlagArray = npt.NDArray[np.uint8]

#: The fields every panel has; others (`amount`) may be there.
BASE_FIELDS = ("open", "high", "low", "close", "volume")
#: What may be said of an asset on a session; the n-th is bit n of `Panel.flags`. `st` is a risk
#: warning of a Chinese exchange; a limit is said of a close at the highest or lowest price allowed.
FLAGS = ("suspended", "st", "limit_up", "limit_down")


@dataclass(frozen=True, eq=False)
class Panel:
    """Bars of one market, adjusted forward, as known at one time.

    Parameters
    ----------
    sessions : ndarray of datetime64[D], shape (n_sessions,)
        Ascending, without gaps in the market's calendar.
    assets : tuple of str, length n_assets
        Column names.
    fields : mapping of str to ndarray of shape (n_sessions, n_assets)
        `open`, `high`, `low`, `close`, `volume` and perhaps `amount`; NaN where there is no bar.
    universe : ndarray of bool, shape (n_sessions, n_assets)
        Whether the asset may take part in the cross-section of that session.
    origin : int
        Absolute number of row 0: the count of sessions stored before it. Rolling sums are blocked
        by absolute number, so that a tail of the panel gives bit for bit what the whole gives.
    flags : ndarray of uint8, shape (n_sessions, n_assets), or None
        `FLAGS` as bits; None where the bars tell none.
    """

    sessions: SessionArray
    assets: tuple[str, ...]
    fields: Mapping[str, FloatArray]
    universe: BoolArray
    origin: int = 0
    flags: FlagArray | None = None

    def __post_init__(self) -> None:
        shape = (len(self.sessions), len(self.assets))
        flags = () if self.flags is None else (("flags", self.flags),)
        for name, values in (*self.fields.items(), ("universe", self.universe), *flags):
            if values.shape != shape:
                raise DataError(
                    f"field {name!r} has shape {values.shape}, the panel has {shape}",
                    rule="every field of a panel is (n_sessions, n_assets)",
                )

    @property
    def n_sessions(self) -> int:
        """Rows."""
        return len(self.sessions)

    @property
    def n_assets(self) -> int:
        """Columns."""
        return len(self.assets)

    def rows(self, start: int, stop: int) -> Panel:
        """Return the rows `start` to `stop` (a view), with `origin` moved along."""
        start = max(start, 0)
        return replace(
            self,
            sessions=self.sessions[start:stop],
            fields={name: values[start:stop] for name, values in self.fields.items()},
            universe=self.universe[start:stop],
            flags=None if self.flags is None else self.flags[start:stop],
            origin=self.origin + start,
        )

    def flagged(self, name: str) -> BoolArray:
        """Return where one of `FLAGS` is said; shape (n_sessions, n_assets)."""
        if self.flags is None:
            return np.zeros((self.n_sessions, self.n_assets), dtype=np.bool_)
        said: BoolArray = (self.flags >> FLAGS.index(name)) & 1 == 1
        return said

    def row_of(self, session: date) -> int:
        """Return the row of `session`; a session the panel does not hold is a DataError."""
        wanted = np.datetime64(session, "D")
        row = int(np.searchsorted(self.sessions, wanted))
        if row == self.n_sessions or self.sessions[row] != wanted:
            raise DataError(
                f"session {session} is not in the panel",
                rule="a row can be asked for only where a session is stored",
            )
        return row
