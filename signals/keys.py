"""Order-preserving integer keys of 20 significant bits: how values are compared and tied.

A key holds sign, exponent and 19 bits of mantissa of a value rounded to 20 significant bits.
Equality of keys is transitive, and rounding noise (float32, or another order of operations) does
not break ties, except where a value sits on the edge of a bin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.jit import jit
from signals.panel import FloatArray

KeyArray = npt.NDArray[np.int32]

#: The key of what is not finite; lower than every other.
MISSING = -(2**31)


@jit
def _keys(bits: npt.NDArray[np.int64], keys: KeyArray) -> None:
    for i in range(bits.size):
        word = bits[i]
        magnitude = word & np.int64(0x7FFFFFFFFFFFFFFF)
        key = (magnitude + np.int64(0x100000000)) >> np.int64(33)
        key = -key if word < 0 else key
        keys[i] = key if magnitude < np.int64(0x7FF0000000000000) else MISSING


def sort_keys(values: FloatArray) -> KeyArray:
    """Return the int32 key of each value; -0 and 0 have the same, and negation negates a key."""
    keys = np.empty(values.shape, dtype=np.int32)
    exact = np.ascontiguousarray(values, dtype=np.float64)
    _keys(exact.reshape(-1).view(np.int64), keys.reshape(-1))
    return keys
