"""Our own engine, as a caller uses it who evaluates often: one `Evaluator` that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.peers.base import Engine
from bench.workload import build_panel
from signals.evaluate import Evaluator
from signals.expression import Expression
from signals.panel import FloatArray


class Ours(Engine):
    """float32; the values of all expressions end up in arrays that are kept, as KunQuant's do."""

    name = "ours"
    about = "float32, windows in float64"
    whole = True
    dtype: ClassVar[npt.DTypeLike] = np.float32

    def __init__(self, fields: Mapping[str, FloatArray], threads: int, folder: Path) -> None:
        super().__init__(fields, threads, folder)
        self._evaluator = Evaluator(build_panel(fields), dtype=self.dtype, threads=threads)
        self._outputs: dict[Expression, FloatArray] = {}

    def unsupported(self, expression: Expression) -> str:
        """Return why `expression` cannot be computed: all can."""
        del expression
        return ""

    def prepare(self, names: Sequence[str]) -> None:
        """Make the arrays."""
        for tree in (self.expressions[name] for name in names):
            if tree not in self._outputs:
                shape = self.fields["close"].shape
                self._outputs[tree] = np.zeros(shape, dtype=self.dtype)

    def run(self, names: Sequence[str]) -> list[FloatArray]:
        """Compute the expressions into arrays that are kept."""
        trees = [self.expressions[name] for name in names]
        return self._evaluator.evaluate(trees, out=[self._outputs[tree] for tree in trees])

    def values(self, results: Any, names: Sequence[str]) -> dict[str, FloatArray]:
        """Return the results."""
        return dict(zip(names, results, strict=True))


class Ours64(Ours):
    """The same in float64: what is accepted is evaluated again so."""

    name = "ours, float64"
    about = "float64"
    dtype: ClassVar[npt.DTypeLike] = np.float64
