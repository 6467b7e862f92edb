"""Where the time of a run goes: functions wrapped where they are used, each with its own time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from time import process_time
from typing import Any, NamedTuple
from unittest.mock import patch


class Place(NamedTuple):
    """A function and under which name its time is counted.

    Parameters
    ----------
    owner : object
        Module or class that it is looked up in when it is called.
    function : str
        Its name there.
    label : str
        What its time is counted as; several places may share one.
    """

    owner: Any
    function: str
    label: str


class Stopwatch:
    """Own CPU time (without that of other wrapped functions) and calls, by label; of one thread."""

    def __init__(self) -> None:
        self.own: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self.missing: list[str] = []
        self._inner = [0.0]

    def timed(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with its time counted."""

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            begun = process_time()
            try:
                return function(*args, **kwargs)
            finally:
                whole = process_time() - begun
                self.own[label] += whole - self._inner.pop()
                self._inner[-1] += whole
                self.calls[label] += 1

        return wrapper

    @contextmanager
    def watching(self, places: Sequence[Place]) -> Iterator[None]:
        """Wrap the functions while the block runs; those that are not there are `missing`."""
        with ExitStack() as stack:
            for place in places:
                function = getattr(place.owner, place.function, None)
                if function is None:
                    self.missing.append(f"{place.owner.__name__}.{place.function}")
                    continue
                wrapped = self.timed(place.label, function)
                stack.enter_context(patch.object(place.owner, place.function, wrapped))
            yield
