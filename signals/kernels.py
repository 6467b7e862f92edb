"""Compiling every kernel before it is needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from signals.evaluate import evaluate
from signals.expression import Expression, Field, call, constant
from signals.operators import OPERATORS, Operator
from signals.panel import BASE_FIELDS, Panel


def warm_up(progress: Callable[[str, int, int], None] | None = None) -> None:
    """Compile the kernels of every operator for float32 and float64 into numba's disk cache.

    Parameters
    ----------
    progress : callable of (str, int, int), optional
        Called before each operator with its name, its number from 0 and the number of operators,
        and at the end with an empty name.
    """
    panel = _sample_panel()
    total = len(OPERATORS)
    for done, operator in enumerate(OPERATORS.values()):
        if progress is not None:
            progress(operator.name, done, total)
        for dtype in (np.float32, np.float64):
            evaluate([_sample_call(operator)], panel, dtype=dtype)
    if progress is not None:
        progress("", total, total)


def _sample_call(operator: Operator) -> Expression:
    names = iter(BASE_FIELDS)
    args: list[Expression] = []
    for kind in operator.arguments:
        if kind == "series":
            args.append(Field(next(names)))
        else:
            args.append(constant(max(operator.min_window, 2)))
    return call(operator.name, *args)


def _sample_panel() -> Panel:
    values = np.arange(1.0, 65.0).reshape(32, 2)
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(len(values)),
        assets=("A", "B"),
        fields=dict.fromkeys(BASE_FIELDS, values),
        universe=np.ones(values.shape, dtype=np.bool_),
    )
