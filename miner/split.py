"""The split of a panel into rows that fit and rows that judge: purged, embargoed and dated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from signals.errors import DataError
from signals.panel import SessionArray

#: Below this many train sessions a search only fits noise.
MIN_TRAIN_SESSIONS = 60


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the panel for train and validation, both with labels that are realised.

    Parameters
    ----------
    train, valid : slice
        Half-open ranges of rows. Row t's label ends at the close of row t + lag + horizon.
    lag, horizon : int
        Of the label.
    embargo : int
        Rows between the last close of a train label and the first row of validation, at least.
    """

    train: slice
    valid: slice
    lag: int
    horizon: int
    embargo: int = 0

    def __post_init__(self) -> None:
        last_close_of_train = self.train.stop - 1 + self.lag + self.horizon
        if not 0 <= self.train.start < self.train.stop or self.valid.start >= self.valid.stop:
            raise DataError(
                f"train {self.train} and validation {self.valid} are not two ranges of rows",
                rule="both parts of a split have at least one row",
            )
        if last_close_of_train + self.embargo >= self.valid.start:
            raise DataError(
                f"labels of train reach row {last_close_of_train}, validation starts at row "
                f"{self.valid.start}",
                rule=f"train and validation are purged by lag + horizon, and {self.embargo} more",
            )

    @property
    def purge(self) -> int:
        """Sessions from a row to the last close its label is made of."""
        return self.lag + self.horizon

    def spans(self, sessions: SessionArray) -> tuple[Span, Span]:
        """Return what train and validation speak of, as dates of the panel's `sessions`."""
        train, valid = (span(sessions, rows, self.purge) for rows in (self.train, self.valid))
        train.ends_before(valid)
        return train, valid


@dataclass(frozen=True, slots=True)
class Span:
    """The dates an array speaks of; every array that is fitted to or scored is held against one.

    Parameters
    ----------
    first, last : date
        Sessions of its first and last row.
    n_sessions : int
        Its rows.
    closes : date
        Session at whose close the last label is realised.
    """

    first: date
    last: date
    n_sessions: int
    closes: date

    def holds(self, sessions: SessionArray, n_rows: int, name: str) -> None:
        """Assert that an array of `n_rows` rows, of these `sessions`, is of exactly these dates.

        Raises
        ------
        DataError
            If it has other rows: one too many, or those of another part.
        """
        ends = (_day(sessions, 0), _day(sessions, -1)) if len(sessions) else None
        if ends != (self.first, self.last) or not len(sessions) == n_rows == self.n_sessions:
            raise DataError(
                f"{name} has {n_rows} rows and {len(sessions)} sessions, "
                + (f"{ends[0]} to {ends[1]}" if ends else "none")
                + f"; asked for are {self.n_sessions}, {self.first} to {self.last}",
                rule="what is fitted or scored is of the dates it is meant for",
            )

    def ends_before(self, later: Span) -> None:
        """Assert that the last label of this part is realised before the other part begins.

        Raises
        ------
        DataError
            If it is not.
        """
        if not self.first <= self.last < self.closes < later.first <= later.last < later.closes:
            raise DataError(
                f"labels of {self.first} to {self.last} end on {self.closes}, "
                f"validation is {later.first} to {later.last}",
                rule="no close that judges is known to what is judged",
            )


def span(sessions: SessionArray, rows: slice, reach: int) -> Span:
    """Return the dates of `rows`, whose labels are realised `reach` sessions later.

    Raises
    ------
    DataError
        If the sessions do not ascend, or a label is not realised within them.
    """
    last_close = rows.stop - 1 + reach
    if last_close >= len(sessions):
        raise DataError(
            f"labels end at row {last_close}, there are {len(sessions)} sessions",
            rule="a label is used only once it is realised",
        )
    if not (sessions[rows.start + 1 : last_close + 1] > sessions[rows.start : last_close]).all():
        raise DataError("the sessions do not ascend", rule="rows of a panel are in time's order")
    return Span(
        first=_day(sessions, rows.start),
        last=_day(sessions, rows.stop - 1),
        n_sessions=rows.stop - rows.start,
        closes=_day(sessions, last_close),
    )


def _day(sessions: SessionArray, row: int) -> date:
    day: date = sessions[row].astype("datetime64[D]").item()
    return day


def split(
    n_sessions: int, lag: int, horizon: int, train: int, valid: int, embargo: int = 0
) -> Split:
    """Return the latest purged and embargoed split of a panel.

    The validation ends at the last row whose label is realised; train ends `lag + horizon +
    embargo` rows before validation starts. Where the panel is too short, train is what is left.

    Parameters
    ----------
    n_sessions : int
        Rows of the panel; the last one is the latest session known.
    lag, horizon : int
        Of the label: row t's label is the return from row t + lag to row t + lag + horizon.
    train, valid : int
        Sessions wanted in each part.
    embargo : int
        Sessions left out beyond the purge, so that what lingers in returns does not carry over.

    Raises
    ------
    DataError
        Fewer than 60 rows would be left for train.
    """
    purge = lag + horizon
    stop = n_sessions - purge
    start = stop - valid
    train_stop = start - purge - embargo
    train_start = max(0, train_stop - train)
    too_short = train_stop - train_start < MIN_TRAIN_SESSIONS
    if lag < 0 or horizon < 1 or valid < 1 or embargo < 0 or too_short:
        raise DataError(
            f"{n_sessions} sessions cannot be split into {train} train and {valid} validation "
            f"sessions with lag {lag}, horizon {horizon} and embargo {embargo}",
            rule=f"train keeps at least {MIN_TRAIN_SESSIONS} sessions after purging",
            hint="give more history, or fewer validation sessions",
        )
    return Split(slice(train_start, train_stop), slice(start, stop), lag, horizon, embargo)
