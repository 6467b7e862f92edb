"""The one way kernels are compiled: at the first call, without the GIL, kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core.compiler import Compiler

F = TypeVar("F", bound=Callable[..., Any])


class _Apart(Compiler):
    """Compiles a function whose array arguments never overlap."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]


def jit(function: F) -> F:
    """Return `function` compiled by numba at its first call for each type of its arguments.

    Arithmetic follows IEEE 754 (no `fastmath`: the order of operations is part of a factor's
    definition), a division by zero gives inf or NaN as in numpy.
    """
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def row_kernel(function: F) -> F:
    """Return `function` compiled as by `jit`, on the promise that its arrays do not overlap.

    Without it the compiler guards a loop over many rows by comparing every pair of addresses, and
    gives up beyond a handful: a loop that could be one becomes five.
    """
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", pipeline_class=_Apart)
    return cast("F", compiled(function))
