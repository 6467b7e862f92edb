"""Settings of notifications; addresses hold passwords, so no dump and no message shows one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from daemon.group import Group
from storage.outbox import DEAD_MAN

ChannelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


def as_address(value: Any) -> Any:
    """Refuse what is no address, without repeating it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None:
        return None
    if not isinstance(text, str) or "://" not in text or not text.isprintable() or " " in text:
        raise ValueError(
            "an address is a URL without blanks, as in json://host/path; see docs/notifications.md"
        )
    return value


def as_channels(value: Any) -> Any:
    """Refuse what is no table of addresses, without repeating it."""
    if not isinstance(value, Mapping):
        raise ValueError(
            "channels is no table of addresses by name; set ALPHAD_NOTIFY__CHANNELS__<NAME>"
        )
    return value


def check_dead_man(value: SecretStr | None) -> SecretStr | None:
    """Refuse what cannot be asked for over HTTP."""
    if value is None:
        return None
    try:
        parts = urlsplit(value.get_secret_value())
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not plain:
        raise ValueError("dead_man_url is no http or https URL; correct it")
    return value


Address = Annotated[SecretStr, BeforeValidator(as_address)]


class NotifySettings(Group):
    """Who is told of alerts, how often, and how long it is tried."""

    # never dumped: no file, no hash and no child's settings hold them
    channels: Annotated[dict[ChannelName, Address], BeforeValidator(as_channels)] = Field(
        default={},
        exclude=True,
        repr=False,
        description="addresses by name, as apprise reads them; from the environment only",
    )
    urls_file: Path | None = Field(
        default=None,
        description='TOML of such addresses, `name = "url"`, that only its owner may read; '
        f"`{DEAD_MAN}` in it is dead_man_url",
    )
    dead_man_url: Annotated[SecretStr | None, BeforeValidator(as_address)] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="http(s) URL that is asked for after each publication; from the environment "
        "only",
    )
    min_severity: dict[ChannelName, Literal["info", "warning", "error"]] = Field(
        default={}, description="least severity told, by channel; without it `warning`"
    )
    remind_hours: float = Field(
        default=24.0,
        ge=0.0,
        le=8760.0,
        description="hours after which an error that is still open is told again; 0: never",
    )
    damp_minutes: float = Field(
        default=60.0,
        ge=0.0,
        le=10080.0,
        description="minutes within which an alert that comes back flaps: it is told once, until "
        "it has been quiet for as long",
    )
    give_up_hours: float = Field(
        default=24.0, gt=0.0, le=8760.0, description="hours for which a message is tried"
    )
    deadline_seconds: float = Field(
        default=20.0, ge=0.5, le=300.0, description="deadline of one attempt; what hangs is killed"
    )
    runbook_url: str = Field(
        default="docs/operations.md",
        min_length=1,
        description="where the runbook is; `#` and the alert's key follow it in each message",
    )

    @field_validator("dead_man_url")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        return check_dead_man(value)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if DEAD_MAN in self.channels:
            raise ValueError(f"channels.{DEAD_MAN} is no channel of alerts; set dead_man_url")
        return self

    def secrets(self) -> list[str]:
        """Return what no log may show."""
        given = [*self.channels.values(), *filter(None, [self.dead_man_url])]
        return [value.get_secret_value() for value in given]
