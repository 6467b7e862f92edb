"""Each operator's kernel beside the memory bandwidth, in one process, in turn.

`python -m bench.limits` answers over a pipe, as `bench.child` does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.child import serve
from bench.peers.bandwidth import Bandwidth
from bench.workload import build_fields
from signals.operators import OPERATORS, Kind, Operator
from signals.panel import BoolArray, FloatArray

#: The window every operator with one is timed with.
WINDOW = 20

#: Numbers other than windows, where the operator has no default.
NUMBERS = {"TS_QUANTILE": 0.8, "SMA": 2.0, "SCALE": 1.0}

#: Series to give where prices would not do, by operator and place.
KINDS = {
    ("WHERE", 0): "condition",
    ("AND", 0): "condition",
    ("AND", 1): "condition",
    ("OR", 0): "condition",
    ("OR", 1): "condition",
    ("POW", 0): "ratio",
    ("POW", 1): "change",
    ("EXP", 0): "change",
    ("PROD", 0): "ratio",
    ("GROUP_MEAN", 1): "group",
    ("GROUP_RANK", 1): "group",
    ("GROUP_ZSCORE", 1): "group",
}


class Limits:
    """What is asked of this child."""

    def measure(self, assets: int, sessions: int, rounds: int) -> dict[str, Any]:
        """Return seconds of each operator's kernel and of the limit for its traffic.

        The limit is what the fastest of copy and triad on arrays of the same size would need to
        read each series once and to write the result once.
        """
        fields = build_fields(assets, sessions)
        close = fields["close"]
        size = close.nbytes
        universe = np.ones(close.shape, dtype=np.bool_)
        out = np.empty_like(close)
        series = _series(fields)
        bands = {threads: Bandwidth(close.size, threads) for threads in (1, 2)}
        speeds: dict[str, list[float]] = {}
        times: dict[str, list[float]] = {}
        failed: dict[str, str] = {}
        runs = {name: _runner(op, series, universe, out) for name, op in OPERATORS.items()}
        for number in range(rounds + 1):  # the first compiles
            for threads, band in bands.items():
                for what, speed in band.measure().items():
                    speeds.setdefault(f"{what} {threads}", []).append(speed)
            for name, run in runs.items():
                if name in failed:
                    continue
                try:
                    seconds = run()
                except (TypeError, ValueError) as error:
                    failed[name] = f"{type(error).__name__}: {error}"
                    continue
                if number:
                    times.setdefault(name, []).append(seconds)
        best = {what: statistics.median(values) for what, values in speeds.items()}
        one = max(best["copy 1"], best["triad 1"])
        return {
            "bytes_per_s": best,
            "failed": failed,
            "operators": {
                name: {
                    "s": statistics.median(values),
                    "limit_s": (OPERATORS[name].arguments.count("series") + 1) * size / one,
                }
                for name, values in times.items()
            },
        }


def _series(fields: dict[str, FloatArray]) -> dict[str, FloatArray]:
    close = fields["close"]
    change = fields["close"] / fields["open"] - 1
    sector = np.arange(close.shape[1]) % 20
    made = {
        "condition": (change > 0).astype(np.float32),
        "ratio": change + 1,
        "change": change,
        "group": np.where(np.isfinite(close), sector, np.nan).astype(np.float32),
    }
    return fields | {name: np.ascontiguousarray(values) for name, values in made.items()}


def _runner(
    operator: Operator, series: dict[str, FloatArray], universe: BoolArray, out: FloatArray
) -> Callable[[], float]:
    names: Iterator[str] = iter(("close", "volume", "high", "low"))
    defaults = dict(
        zip(range(operator.arity[0], operator.arity[1]), operator.defaults, strict=True)
    )
    args: list[Any] = []
    for i, kind in enumerate(operator.arguments):
        if kind == "series":
            name = next(names)
            args.append(series[KINDS.get((operator.name, i), name)])
        elif kind == "window":
            args.append(WINDOW)
        else:
            args.append(NUMBERS.get(operator.name, defaults.get(i, 2.0)))
    more: dict[str, Any] = {"out": out}
    if operator.kind is Kind.CROSS_SECTION:
        more["universe"] = universe
    elif operator.kind is Kind.TIME_SERIES:
        more["origin"] = 0

    def run() -> float:
        with np.errstate(all="ignore"):
            begun = time.perf_counter()
            operator.kernel(*args, **more)
            return time.perf_counter() - begun

    return run


if __name__ == "__main__":
    serve(Limits())
