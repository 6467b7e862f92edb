"""Order-preserving integer keys of 20 significant bits: how values are compared and tied.

A key holds sign, exponent and 19 bits of mantissa of a value rounded to 20 significant bits.
Equality of keys is transitive, and rounding noise (float32, or another order of operations) does
not break ties, except where a value sits on the edge of a bin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from signals.jit import jit
from signals.panel import FloatArray

KeyArray = npt.NDArray[np.int32]

#: The key of what is not finite; lower than every other.
MISSING = -(2**31)


@jit
def sort_key(value: np.floating[Any]) -> np.int32:
    """Return the int32 key of one value, for kernels that go row by row."""
    word = np.float64(value).view(np.int64)
    magnitude = word & np.int64(0x7FFFFFFFFFFFFFFF)
    key = np.int32((magnitude + np.int64(0x100000000)) >> np.int64(33))
    key = np.int32(-key) if word < 0 else key
    finite = magnitude < np.int64(0x7FF0000000000000)
    return key if finite else np.int32(MISSING)


@jit
def _keys(values: FloatArray, keys: KeyArray) -> None:
    for i in range(values.size):
        keys[i] = sort_key(values[i])


def sort_keys(values: FloatArray) -> KeyArray:
    """Return the int32 key of each value; -0 and 0 have the same, and negation negates a key."""
    keys = np.empty(values.shape, dtype=np.int32)
    _keys(np.ascontiguousarray(values).reshape(-1), keys.reshape(-1))
    return keys
