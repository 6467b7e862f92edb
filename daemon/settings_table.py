"""The table of all settings, as the documentation has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from daemon.refusals import group_of
from daemon.settings import PREFIX, MarketSettings, Settings


def describe_settings() -> str:
    """Return every setting as a Markdown table: name, environment, default, meaning."""
    lines = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    for name, field in _leaves(Settings, ""):
        variable = PREFIX + name.replace(".", "__").upper()
        default = "" if field.default is None else f"`{_text(field.default)}`"
        lines.append(f"| `{name}` | `{variable}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _leaves(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        inner = group_of(field.annotation)
        if inner is None:
            yield prefix + name, field
        else:
            middle = ".<name>." if inner is MarketSettings else "."
            yield from _leaves(inner, prefix + name + middle)
