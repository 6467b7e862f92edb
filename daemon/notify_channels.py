"""The channels of the settings and of their file of addresses, and what is told through them."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from daemon.notify_settings import NotifySettings, as_address, check_dead_man
from daemon.redaction import REDACTOR
from daemon.refusals import listed, nearest
from signals.errors import ConfigError
from storage.outbox import DEAD_MAN, Channel, Policy


@dataclass(frozen=True)
class Channels:
    """Addresses by channel, and who is told of what."""

    addresses: Mapping[str, SecretStr] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)

    def secrets(self) -> list[str]:
        """Return what no log may show."""
        return [address.get_secret_value() for address in self.addresses.values()]


def load_channels(settings: NotifySettings) -> Channels:
    """Return the channels there are.

    Raises
    ------
    ConfigError
        The file of addresses is missing, malformed, or readable by others; a channel stands in
        both places; a minimum severity is of no channel.
    """
    given = dict(settings.channels)
    if settings.dead_man_url is not None:
        given[DEAD_MAN] = settings.dead_man_url
    listed_there = _read(settings.urls_file) if settings.urls_file is not None else {}
    for name in sorted(given.keys() & listed_there.keys()):
        raise ConfigError(
            f"channel {name} is in the environment and in {settings.urls_file}",
            rule="a channel has one address",
            hint="remove one of them",
        )
    addresses = given | listed_there
    REDACTOR.learn_all(addresses.values())
    names = sorted(addresses.keys() - {DEAD_MAN})
    for name in settings.min_severity:
        if name not in names:
            raise ConfigError(
                f"notify.min_severity.{name} is of no channel; there are: {listed(names)}",
                rule="a minimum severity belongs to a channel",
                hint=nearest(name, names) or "remove it, or set the address of that channel",
            )
    policy = Policy(
        channels=tuple(Channel(n, settings.min_severity.get(n, "warning")) for n in names),
        damp=timedelta(minutes=settings.damp_minutes),
        remind=timedelta(hours=settings.remind_hours) if settings.remind_hours else None,
        pings=DEAD_MAN in addresses,
    )
    return Channels(addresses, policy)


def _read(path: Path) -> dict[str, SecretStr]:
    """Return the addresses of a file that only its owner may read."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            stated = tomllib.load(file)
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be read: {exc.strerror}",
            rule="a file of addresses that is named must be there",
            hint="check notify.urls_file and its permissions",
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(
            f"{path} is no TOML",
            rule='a file of addresses has lines as in: ops = "json://host/path"',
            hint="correct it; what stands in it is not repeated here",
        ) from None
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{path} may be read or written by others (mode {stat.S_IMODE(about.st_mode):04o})",
            rule="addresses hold passwords: only the owner may read them",
            hint=f"chmod 600 {path}",
        )
    return {name: _address(path, name, value) for name, value in stated.items()}


def _address(path: Path, name: str, value: object) -> SecretStr:
    try:
        as_address(value)
        secret = SecretStr(str(value))
        if name == DEAD_MAN:
            check_dead_man(secret)
    except ValueError as exc:
        rule, _, hint = str(exc).partition("; ")
        raise ConfigError(f"{name} in {path} is no address", rule=rule, hint=hint) from None
    return secret
