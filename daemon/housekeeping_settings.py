"""Settings of what is kept for how long, and of the space that is left for it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from daemon.group import Group, Positive


class HousekeepingSettings(Group):
    """Backups, and what is forgotten. Bars, results and published signals are kept for ever."""

    backups: int = Field(
        default=7,
        ge=0,
        le=365,
        description="daily backups of a SQLite database that are kept; 0 makes none",
    )
    backup_hour: int = Field(
        default=3, ge=0, le=23, description="hour in UTC from which on the day's backup is made"
    )
    keep_days: Positive = Field(
        default=90, description="days that notifications and past lives of the daemon are kept"
    )


class DiskSettings(Group):
    """How much space must be left where state and signals lie."""

    warn_bytes: int = Field(
        default=2 * 1024**3, ge=0, description="free bytes below which a warning is raised"
    )
    stop_bytes: int = Field(
        default=512 * 1024**2,
        ge=0,
        description="free bytes below which nothing is written that can wait: no backup, no "
        "re-mining, no backfill; publishing goes on as long as it can",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.stop_bytes > self.warn_bytes:
            raise ValueError(
                f"stop_bytes {self.stop_bytes} is above warn_bytes {self.warn_bytes}; "
                "the warning comes first, lower stop_bytes"
            )
        return self
