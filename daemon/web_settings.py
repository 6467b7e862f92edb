"""Settings of the status page, the read API and the metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr

from daemon.group import Group

#: Fewest characters of a token: what is shorter can be guessed.
TOKEN_LENGTH = 16

HostName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


def _token(value: Any) -> Any:
    """Refuse what is no token, without repeating it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None:
        return None
    if not isinstance(text, str) or len(text) < TOKEN_LENGTH:
        raise ValueError(
            f"a token has {TOKEN_LENGTH} characters or more; make one with: openssl rand -hex 32"
        )
    if not all("!" <= c <= "~" for c in text):
        raise ValueError("a token is printable ASCII without blanks; make one with openssl rand")
    return value


class WebSettings(Group):
    """The status page, the read API and the metrics."""

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(
        default=9464, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        default=(),
        description="names this daemon is reached by, beside localhost and plain addresses; a "
        "request that calls it otherwise is refused",
    )
    runbook_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s\"'<>#]+$",
        description="where you keep docs/operations.md; alerts on the page link to its sections",
    )
    # never dumped: no file, no hash and no child's settings hold it
    token: Annotated[SecretStr | None, BeforeValidator(_token)] = Field(
        default=None,
        exclude=True,
        description="what a request that pauses, resumes or halts a market must bring; from the "
        "environment only; without it there are no such requests",
    )
