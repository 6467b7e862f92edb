"""The purged split of a panel into rows that fit and rows that judge."""

from __future__ import annotations

from dataclasses import dataclass

from signals.errors import DataError

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
    """

    train: slice
    valid: slice
    lag: int
    horizon: int

    def __post_init__(self) -> None:
        last_close_of_train = self.train.stop - 1 + self.lag + self.horizon
        if not 0 <= self.train.start < self.train.stop or self.valid.start >= self.valid.stop:
            raise DataError(
                f"train {self.train} and validation {self.valid} are not two ranges of rows",
                rule="both parts of a split have at least one row",
            )
        if last_close_of_train >= self.valid.start:
            raise DataError(
                f"labels of train reach row {last_close_of_train}, validation starts at row "
                f"{self.valid.start}",
                rule="train and validation are purged by lag + horizon",
            )

    @property
    def purge(self) -> int:
        """Rows between train and validation at least."""
        return self.lag + self.horizon


def split(n_sessions: int, lag: int, horizon: int, train: int, valid: int) -> Split:
    """Return the latest purged split of a panel.

    The validation ends at the last row whose label is realised; train ends `lag + horizon` rows
    before validation starts. Where the panel is too short, train is what is left.

    Parameters
    ----------
    n_sessions : int
        Rows of the panel; the last one is the latest session known.
    lag, horizon : int
        Of the label: row t's label is the return from row t + lag to row t + lag + horizon.
    train, valid : int
        Sessions wanted in each part.

    Raises
    ------
    DataError
        Fewer than 60 rows would be left for train.
    """
    purge = lag + horizon
    stop = n_sessions - purge
    start = stop - valid
    train_stop = start - purge
    train_start = max(0, train_stop - train)
    if lag < 0 or horizon < 1 or valid < 1 or train_stop - train_start < MIN_TRAIN_SESSIONS:
        raise DataError(
            f"{n_sessions} sessions cannot be split into {train} train and {valid} validation "
            f"sessions with lag {lag} and horizon {horizon}",
            rule=f"train keeps at least {MIN_TRAIN_SESSIONS} sessions after purging",
            hint="give more history, or fewer validation sessions",
        )
    return Split(slice(train_start, train_stop), slice(start, stop), lag, horizon)
