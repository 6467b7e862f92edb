"""Settings of the process itself: what it logs, and faults on purpose."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from daemon.failpoints import parse_failpoint
from daemon.group import Group
from signals.errors import ConfigError


class LogSettings(Group):
    """What is logged, and in which form."""

    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="form of a line: `auto` is `console` on a terminal, else `json`"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe event that is logged"
    )


class FaultSettings(Group):
    """Faults on purpose, for tests of the daemon alone."""

    enabled: bool = Field(
        default=False, description="whether this instance may be told to fail; never in production"
    )
    failpoint: str | None = Field(
        default=None,
        description="what fails: NAME:kill, :raise, :enospc or :sleep=SECONDS, and @N behind it "
        "for the Nth passing alone",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.failpoint is not None and not self.enabled:
            raise ValueError(
                "failpoint is for test mode alone; remove it, or set test.enabled = true"
            )
        if self.failpoint is not None:
            try:
                parse_failpoint(self.failpoint)
            except ConfigError as exc:
                raise ValueError(f"{exc.fact}; {exc.rule}; {exc.hint}") from None
        return self
