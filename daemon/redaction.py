"""Secrets are never said: whatever goes into a log, an alert or a terminal passes here first.

What is secret is known from the settings: every `SecretStr` among them, the password of a URL. A
password within any other URL is hidden too, whoever wrote it there.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, SecretStr

#: What stands in a secret's place.
HIDDEN = "***"
#: Shortest secret that is looked for by itself; a shorter one is hidden where a URL holds it.
_SHORTEST = 4
#: Shortest part of a secret URL that is a secret of its own, and longest one that may be a word.
_SHORTEST_PART, _LONGEST_WORD = 8, 20

_USERINFO = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@'\"]*:)[^\s/'\"]+(?=@)")


class Redactor:
    """Hides what it has learnt; safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, settings: BaseModel) -> None:
        """Learn the secrets of some settings, beside those known already."""
        self.learn_all(secrets_of(settings))

    def learn_all(self, secrets: Iterable[str | SecretStr]) -> None:
        """Learn secrets that stand elsewhere, beside those known already."""
        plain = [
            text
            for secret in secrets
            for text in _of_secret(secret if isinstance(secret, str) else secret.get_secret_value())
        ]
        found = {
            form
            for secret in plain
            for form in (secret, unquote(secret), quote(secret, safe=""), quote_plus(secret))
            if len(form) >= _SHORTEST
        }
        with self._lock:
            self._secrets = self._secrets | found
            if self._secrets:
                longest_first = sorted(self._secrets, key=lambda text: (-len(text), text))
                self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def forget(self) -> None:
        """Forget everything: the next settings are of another process, or of another test."""
        with self._lock:
            self._secrets, self._pattern = frozenset(), None

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        return _USERINFO.sub(rf"\g<head>{HIDDEN}", text) if "://" in text else text

    def value(self, value: Any) -> Any:
        """Return a value of a log line without secrets; what is no plain value becomes its text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(inner) for inner in value]
        return self.text(value if isinstance(value, str) else str(value))


def secrets_of(settings: BaseModel) -> Iterator[str]:
    """Yield every secret of some settings, and what of a secret URL is secret by itself."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from secrets_of(value)
        elif isinstance(value, Mapping | list | tuple):
            inner = value.values() if isinstance(value, Mapping) else value
            for each in inner:
                yield from _of_value(each)
        elif isinstance(value, SecretStr):
            yield from _of_value(value)
        elif isinstance(value, str) and "://" in value:
            yield from _passwords(value)


def _of_value(value: Any) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from secrets_of(value)
    elif isinstance(value, SecretStr):
        yield from _of_secret(value.get_secret_value())


def _of_secret(secret: str) -> Iterator[str]:
    yield secret
    if "://" in secret:
        yield from _parts(secret)


def _passwords(url: str) -> Iterator[str]:
    """Yield the password of a URL that is no secret as a whole."""
    try:
        parts = urlsplit(url)
        named = [value for key, value in parse_qsl(parts.query) if key == "password"]
        yield from (password for password in (parts.password, *named) if password)
    except ValueError:
        return


def _parts(url: str) -> Iterator[str]:
    """Yield what an error may repeat of a URL that is a secret: tokens are hosts or paths there."""
    yield from _passwords(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    host, _, port = parts.netloc.rpartition("@")[2].partition(":")
    named = [parts.username or "", *parts.path.split("/")]
    named += [value for _, value in parse_qsl(parts.query)]
    named += [text for text in (host, port) if "." not in text]  # a domain is no secret
    yield from (part for part in named if len(part) >= _SHORTEST_PART and _is_random(part))


def _is_random(part: str) -> bool:
    """Tell a token from a word, which must not vanish from every log."""
    return any(c.isdigit() or c.isupper() for c in part) or len(part) > _LONGEST_WORD


#: What this process knows; every line of a log passes it.
REDACTOR = Redactor()
