"""What pydantic refuses, told as our own error: fact, rule, way out."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from signals.errors import ConfigError


def settings_refusal(exc: ValidationError, root: type[BaseModel], path: Path | None) -> ConfigError:
    """Return our error for the first thing pydantic found wrong in a `root` read from `path`."""
    error = exc.errors()[0]
    loc = [str(part) for part in error["loc"] if part != "[key]"]
    name = ".".join(loc) or "settings"
    source = (
        f" ({path} or the environment)" if path is not None else " (environment or command line)"
    )
    more = f"; {exc.error_count() - 1} more after it" if exc.error_count() > 1 else ""
    if error["type"] == "extra_forbidden":
        known = _known_keys(root, loc[:-1])
        return ConfigError(
            f"{name} is no setting{source}{more}",
            rule=f"known here: {listed(known)}",
            hint=nearest(loc[-1], known) or f"remove {name}",
        )
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "value_error":
        rule, _, hint = message.partition("; ")
        return ConfigError(f"{name}: {rule}{source}{more}", rule="settings agree", hint=hint)
    return ConfigError(
        f"{name} = {error['input']!r} is refused{source}{more}",
        rule=message[0].lower() + message[1:],
        hint="give a value that obeys the rule, or remove the key to take the default",
    )


def _known_keys(root: type[BaseModel], loc: list[str]) -> Mapping[str, object]:
    model = root
    for part in loc:
        field = model.model_fields.get(part)
        inner = group_of(field.annotation) if field is not None else None
        model = inner or model  # a market's own name is no field: stay
    return model.model_fields


def listed(names: Iterable[str]) -> str:
    """Return names for a sentence."""
    return ", ".join(sorted(names)) or "none"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question after the nearest of `known`, or nothing where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


def group_of(annotation: Any) -> type[BaseModel] | None:
    """Return the group of settings behind an annotation: itself, or the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is dict:
        return group_of(typing.get_args(annotation)[1])
    return None
