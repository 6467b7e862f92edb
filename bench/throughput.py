"""How many distinct random expressions a second are evaluated and judged.

`python -m bench.throughput THREADS FOLDER` answers over a pipe, as `bench.child` does.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.child import serve
from bench.workload import build_panel, calls, load_fields
from signals.errors import ExpressionError
from signals.evaluate import Evaluator
from signals.expression import Expression, Field, call, constant, fields
from signals.ic import ic, rank_ic
from signals.labels import forward_returns
from signals.panel import FloatArray, Panel
from signals.prepared import PreparedLabel, prepare

#: Most operators on a path from the root to a field.
DEPTH = 4
LEAVES = ("open", "high", "low", "close", "volume", "vwap", "amount")
WINDOWS = (3, 5, 10, 20, 30, 60)
#: Operators by what they take, and how often each kind is drawn.
PAIRS = ("ADD", "SUBTRACT", "MULTIPLY", "DIVIDE")
PLAIN = ("ABS", "SIGN", "LOG")
CROSS = ("RANK", "ZSCORE")
WINDOWED = (
    "DELAY", "DELTA", "TS_PCTCHANGE", "TS_SUM", "TS_MEAN", "TS_STD", "TS_MAX", "TS_MIN",
    "TS_ARGMAX", "TS_ARGMIN", "TS_RANK", "TS_ZSCORE", "DECAYLINEAR", "EMA", "TS_MEDIAN",
)  # fmt: skip
PAIRED = ("TS_CORR", "TS_COVARIANCE")
KINDS = (PAIRS, PLAIN, CROSS, WINDOWED, PAIRED)
WEIGHTS = (0.36, 0.08, 0.14, 0.32, 0.10)
#: Chance that an operand is an operator again.
DEEPER = 0.8
#: Share of the factors whose RankIC is wanted after their IC.
SURVIVORS = 0.25


def draw(rng: np.random.Generator, depth: int = DEPTH) -> Expression:
    """Return a random expression with at least one operator."""

    def operand() -> Expression:
        if depth > 1 and rng.random() < DEEPER:
            return draw(rng, depth - 1)
        return Field(str(rng.choice(LEAVES)))

    kind = KINDS[int(rng.choice(len(KINDS), p=WEIGHTS))]
    op = str(rng.choice(kind))
    args = [operand()]
    if kind in {PAIRS, PAIRED}:
        args.append(operand())
    if kind in {WINDOWED, PAIRED}:
        args.append(constant(float(rng.choice(WINDOWS))))
    return call(op, *args)


def distinct(n: int, seed: int) -> tuple[list[Expression], int]:
    """Return n different expressions, and how many were drawn for them."""
    rng = np.random.default_rng(seed)
    found: dict[Expression, None] = {}
    drawn = 0
    while len(found) < n:
        drawn += 1
        try:
            expression = draw(rng)
        except ExpressionError:
            continue
        if fields(expression) and calls(expression):
            found[expression] = None
    return list(found), drawn


@dataclass
class _Judge:
    """The label, and what is done with the values of an expression."""

    label: PreparedLabel

    def ic(self, _: Expression, values: FloatArray) -> float:
        """Return the mean IC."""
        return _mean(ic(values, self.label))

    def both(self, _: Expression, values: FloatArray) -> tuple[float, float]:
        """Return the mean IC and the mean RankIC."""
        return _mean(ic(values, self.label)), _mean(rank_ic(values, self.label))

    def kept(
        self, _: Expression, values: FloatArray, *, slot: FloatArray
    ) -> tuple[float, FloatArray]:
        """Return the mean IC, and the values in a place of their own."""
        np.copyto(slot, values)
        return _mean(ic(values, self.label)), slot

    def rank(self, values: FloatArray) -> float:
        """Return the mean RankIC."""
        return _mean(rank_ic(values, self.label))


def _mean(series: FloatArray) -> float:
    finite = series[np.isfinite(series)]
    return float(finite.mean()) if len(finite) else 0.0


class Throughput:
    """What is asked of this child.

    Parameters
    ----------
    threads : int
        It may use: one expression each.
    folder : Path
        Panels are in `folder / name`.
    """

    def __init__(self, threads: int, folder: Path) -> None:
        self._threads = threads
        self._folder = folder

    def load(self, panel: str, n: int, seed: int) -> dict[str, Any]:
        """Load a panel, make label and expressions, and run every operator."""
        self._load(build_panel(load_fields(self._folder / panel)))
        self._expressions, drawn = distinct(n, seed)
        nodes = [calls(expression) for expression in self._expressions]
        return {"distinct": n, "drawn": drawn, "nodes": float(np.mean(nodes))}

    def _load(self, panel: Panel) -> None:
        label = forward_returns(panel.fields["close"])
        self._judge = _Judge(prepare(label, panel.universe))
        self._evaluators = [Evaluator(panel, dtype=np.float32) for _ in range(self._threads)]
        self._pool = ThreadPoolExecutor(self._threads)
        everything = [call(op, Field("close"), constant(5.0)) for op in WINDOWED]
        everything += [call(op, Field("close"), Field("volume"), constant(5.0)) for op in PAIRED]
        everything += [call(op, Field("close")) for op in (*PLAIN, *CROSS)]
        for evaluator in self._evaluators:
            for expression in everything:
                evaluator.map(self._judge.both, [expression])

    def run(self, mode: str) -> dict[str, Any]:
        """Return seconds for all expressions and the largest resident size so far.

        `evaluate` computes the values; `ic` the IC of all too; `staged` also the RankIC of the
        quarter of each batch with the largest |mean IC|; `all` the RankIC of all.
        """
        modes: dict[str, Callable[[], None]] = {
            "evaluate": partial(self._all, lambda _, values: float(values[-1, 0])),
            "ic": partial(self._all, self._judge.ic),
            "all": partial(self._all, self._judge.both),
            "staged": self._staged,
        }
        begun, cpu_begun = time.perf_counter(), time.process_time()
        modes[mode]()
        seconds = time.perf_counter() - begun
        cpu = time.process_time() - cpu_begun
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rate = len(self._expressions) / seconds
        return {"s": seconds, "cpu_s": cpu, "per_s": rate, "rss": rss}

    def _spread(self, function: Any, work: Sequence[Any]) -> list[Any]:
        """Run function(evaluator, item), each thread with its evaluator taking the next item."""
        waiting = iter(list(enumerate(work)))
        results: list[Any] = [None] * len(work)

        def take(evaluator: Evaluator) -> None:
            while (item := next(waiting, None)) is not None:  # the GIL makes `next` one step
                results[item[0]] = function(evaluator, item[1])

        list(self._pool.map(take, self._evaluators))
        return results

    def _all(self, judge: Any) -> None:
        self._spread(lambda evaluator, one: evaluator.map(judge, [one]), self._expressions)

    def _staged(self) -> None:
        """Evaluate and take the IC; where it is among the largest of its batch, the RankIC too.

        A batch is what fits into memory: 32 factors of 500 assets, 4 of 5000.
        """
        shape = self._judge.label.shape
        size = max(4, min(32, 16_000 // shape[1]))
        slots = [np.zeros(shape, dtype=np.float32) for _ in range(size)]

        def keep(evaluator: Evaluator, item: tuple[FloatArray, Expression]) -> Any:
            return evaluator.map(partial(self._judge.kept, slot=item[0]), [item[1]])[0]

        for start in range(0, len(self._expressions), size):
            batch = self._expressions[start : start + size]
            found = self._spread(keep, list(zip(slots, batch, strict=False)))
            found.sort(key=lambda pair: -abs(pair[0]))
            best = [values for _, values in found[: max(1, round(SURVIVORS * len(batch)))]]
            self._spread(lambda _, values: self._judge.rank(values), best)


if __name__ == "__main__":
    serve(Throughput(int(sys.argv[1]), Path(sys.argv[2])))
