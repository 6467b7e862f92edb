"""The limit: how fast this machine moves arrays of the panel's size."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from signals.jit import row_kernel
from signals.panel import FloatArray


@row_kernel
def _copy(source: FloatArray, target: FloatArray) -> None:
    for i in range(source.size):
        target[i] = source[i]


@row_kernel
def _triad(first: FloatArray, second: FloatArray, target: FloatArray) -> None:
    factor = first.dtype.type(3.0)
    for i in range(first.size):
        target[i] = first[i] + factor * second[i]


class Bandwidth:
    """Copies and triads of float32 arrays.

    Parameters
    ----------
    cells : int
        Size of each array.
    threads : int
        Each moves its share.
    """

    def __init__(self, cells: int, threads: int) -> None:
        self._arrays = [np.full(cells, float(i), dtype=np.float32) for i in range(3)]
        edges = np.linspace(0, cells, threads + 1).astype(int).tolist()
        self._parts = [slice(a, b) for a, b in pairwise(edges)]
        self._pool = ThreadPoolExecutor(threads)
        self._threads = threads

    def measure(self, passes: int = 9) -> dict[str, float]:
        """Return the fastest of several passes in bytes/s: reads and writes, nothing else."""
        first, second, target = self._arrays
        size = first.nbytes
        return {
            "copy": 2 * size / self._best(_copy, [first, target], passes),
            "triad": 3 * size / self._best(_triad, [first, second, target], passes),
        }

    def _best(self, kernel: object, arrays: list[FloatArray], passes: int) -> float:
        assert callable(kernel)  # noqa: S101 - a compiled function has no better type
        times = []
        for _ in range(passes + 1):
            begun = time.perf_counter()
            if self._threads == 1:
                kernel(*arrays)
            else:
                list(self._pool.map(lambda s: kernel(*(a[s] for a in arrays)), self._parts))
            times.append(time.perf_counter() - begun)
        return min(times[1:])
