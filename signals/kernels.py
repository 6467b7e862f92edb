"""Compiling every kernel before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor

import numpy as np

from signals import ic
from signals.evaluate import evaluate
from signals.expression import Expression, Field, call, constant
from signals.operators import OPERATORS, Operator
from signals.panel import BASE_FIELDS, Panel

#: What the kernels of IC and RankIC are called beside those of the operators.
CORRELATIONS = "IC, RankIC"


def warm_up(
    progress: Callable[[str, int, int], None] | None = None, executor: Executor | None = None
) -> None:
    """Compile the kernels of every operator for float32 and float64 into numba's disk cache.

    Parameters
    ----------
    progress : callable of (str, int, int), optional
        Called before each operator with its name, its number from 0 and how many there are, and at
        the end with an empty name.
    executor : Executor, optional
        Of processes, to compile side by side: one process compiles one kernel at a time.
    """
    names = (*OPERATORS, CORRELATIONS)
    for done, name in enumerate(_compiled(names, executor)):
        if progress is not None:
            progress(name, done, len(names))
    if progress is not None:
        progress("", len(names), len(names))


def _compiled(names: tuple[str, ...], executor: Executor | None) -> Iterator[str]:
    """Yield each name before it is waited for."""
    futures = {name: executor.submit(_compile, name) for name in names} if executor else {}
    for name in names:
        yield name
        if name in futures:
            futures[name].result()
        else:
            _compile(name)


def _compile(name: str) -> None:
    if name == CORRELATIONS:
        ic.warm_up()
        return
    calls = [_sample_call(OPERATORS[name])]
    if name == "POW":  # a whole exponent has a kernel of its own
        calls.append(call("POW", Field("close"), constant(2.0)))
    for dtype in (np.float32, np.float64):
        evaluate(calls, _sample_panel(), dtype=dtype)


def _sample_call(operator: Operator) -> Expression:
    names = iter(BASE_FIELDS)
    window = constant(max(operator.min_window, 2))
    if operator.name == "SEQUENCE":
        return call("REGBETA", Field("close"), call("SEQUENCE", window), window)
    args: dict[str, Callable[[], Expression]] = {
        "series": lambda: Field(next(names)),
        "window": lambda: window,
        "number": lambda: constant(operator.defaults[-1] if operator.defaults else 1.0),
    }
    return call(operator.name, *(args[kind]() for kind in operator.arguments))


def _sample_panel() -> Panel:
    values = np.arange(1.0, 65.0).reshape(32, 2)
    universe = np.ones(values.shape, dtype=np.bool_)
    universe[0, 0] = False
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(len(values)),
        assets=("A", "B"),
        fields=dict.fromkeys(BASE_FIELDS, values),
        universe=universe,
    )
