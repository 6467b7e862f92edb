"""The one way kernels are compiled: at the first call, without the GIL, kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Return `function` compiled by numba at its first call for each type of its arguments.

    Arithmetic follows IEEE 754 (no `fastmath`: the order of operations is part of a factor's
    definition), a division by zero gives inf or NaN as in numpy.
    """
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
