"""Windows as two stacks: what every rolling kernel rests on.

The rows of a window of `w` sessions are split at a multiple of `w` of the *absolute* session number
(`origin` is that of row 0): a suffix of the block before and a prefix of the block after. Both are
plain float64 additions of what is in the window and of nothing else, so that a spike leaves nothing
behind, and the result of a session is bit for bit the same wherever a panel starts.

Every kernel skips what is missing and gives NaN unless `need` values of the window are finite, or
where the result is not finite in the dtype of `out`. Inputs are finite or NaN. A row is one pass of
one loop over assets, which are the SIMD lanes; whole numbers (counts, sums of linear weights) are
exact in float64 and may run on from row to row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.jit import jit

Row = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float64]

#: Sessions t..end of one block and assets first..last of one tile; window; values needed of it.
Part = tuple[int, int, int, int, int, int]

#: Bytes of a stack that stay in L2 while a tile of assets passes through all sessions.
_L2 = 1 << 20


def needed(window: int, least: int = 1) -> int:
    """Return how many values of a window must be finite: 80 %, rounded up, at least `least`."""
    return max((4 * window + 4) // 5, least)


@jit
def tile(n_assets: int, window: int, depth: int) -> int:
    """Return how many assets go together, where a stack holds `depth` numbers of each a session."""
    fit = _L2 // (8 * depth * (window + 1)) // 128 * 128
    return max(min(n_assets, max(fit, 128), 512), 1)


@jit
def stack(depth: int, rows: int, width: int) -> Rows:
    """Return zeros of shape (depth, rows, width or more), rows aligned with cache lines.

    Rows are not a power of two apart: a load waits for a store just made 4 KB away.
    """
    stride = (width + 7) // 8 * 8 + 40
    flat = np.zeros(depth * rows * stride + 8)
    start = (-flat.ctypes.data // 8) % 8
    return flat[start : start + depth * rows * stride].reshape(depth, rows, stride)


@jit
def present(v: float) -> float:
    """Return 1, or 0 for what is missing."""
    return 0.0 if np.isnan(v) else 1.0


@jit
def value(v: float) -> float:
    """Return v, or 0 for what is missing."""
    return 0.0 if np.isnan(v) else v
