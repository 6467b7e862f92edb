"""Steps between which a process may die: whoever opens the store may be told of each."""

from __future__ import annotations

from collections.abc import Callable

#: Told the name of a step at the moment it is reached, such as `publish.after_rename`.
Passing = Callable[[str], None]


def tell_nobody(_name: str) -> None:
    """Do nothing: nobody asked to be told of steps."""
