"""KunQuant: a graph compiled to C++, float32, in its blocked layout, padded to whole blocks.

Loading the panel into that layout and back is not counted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from KunQuant import ops
from KunQuant.Driver import KunCompilerConfig
from KunQuant.jit import cfake
from KunQuant.Op import Builder, ConstantOp, Input, Output, Rank
from KunQuant.runner import KunRunner
from KunQuant.Stage import Function

from bench.peers.base import Engine, fold
from signals.expression import Call, Expression, walk
from signals.panel import FloatArray


class _Zscore(ops.GenericCrossSectionalOp):  # type: ignore[misc]
    """What KunQuant has no operator for, by its means of adding one."""

    def __init__(self, value: Any) -> None:
        super().__init__([value], None)

    def generate_head(self) -> str:
        """Return what stands before the loop over sessions."""
        return ""

    def generate_body(self) -> str:
        """Return the code of one session."""
        return """
        double sum = 0; size_t n = 0;
        for (size_t i = 0; i < num_stocks; i++) {
            T v = input_0[i];
            if (v == v) { sum += v; n++; }
        }
        double mean = sum / n, square = 0;
        for (size_t i = 0; i < num_stocks; i++) {
            T v = input_0[i];
            if (v == v) { square += (v - mean) * (v - mean); }
        }
        double scale = 1.0 / std::sqrt(square / (n - 1));
        for (size_t i = 0; i < num_stocks; i++) {
            output_0[i] = T((input_0[i] - mean) * scale);
        }
        """


def _slope(y: Any, x: Any, w: int) -> Any:
    return ops.WindowedCovariance(x, w, y) / ops.WindowedVar(x, w)


def _residual(y: Any, x: Any, w: int) -> Any:
    centred = x - ops.WindowedAvg(x, w)
    return y - ops.WindowedAvg(y, w) - _slope(y, x, w) * centred


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "ADD": lambda x, y: x + y,
    "SUBTRACT": lambda x, y: x - y,
    "MULTIPLY": lambda x, y: x * y,
    "DIVIDE": lambda x, y: x / y,
    "ABS": ops.Abs,
    "SIGN": ops.Sign,
    "LOG": ops.Log,
    "SQRT": ops.Sqrt,
    "POW": lambda x, p: ops.Pow(x, ConstantOp(p)),
    "RANK": Rank,
    "ZSCORE": _Zscore,
    "DELAY": ops.BackRef,
    "DELTA": lambda x, n: x - ops.BackRef(x, n),
    "TS_PCTCHANGE": lambda x, n: x / ops.BackRef(x, n) - 1.0,
    "TS_SUM": ops.WindowedSum,
    "TS_MEAN": ops.WindowedAvg,
    "TS_STD": ops.WindowedStddev,
    "TS_MAX": ops.WindowedMax,
    "TS_MIN": ops.WindowedMin,
    "TS_ARGMAX": lambda x, w: float(w) - ops.TsArgMax(x, w),
    "TS_ARGMIN": lambda x, w: float(w) - ops.TsArgMin(x, w),
    "TS_RANK": lambda x, w: ops.TsRank(x, w) / float(w),
    "TS_QUANTILE": ops.WindowedQuantile,
    "TS_CORR": lambda x, y, w: ops.WindowedCorrelation(x, w, y),
    "TS_COVARIANCE": lambda x, y, w: ops.WindowedCovariance(x, w, y),
    "REGBETA": _slope,
    "REGRESI": _residual,
    "DECAYLINEAR": ops.DecayLinear,
    "EMA": ops.ExpMovingAvg,
}


def _lanes() -> int:
    """Return how many float32 a vector holds here."""
    flags = Path("/proc/cpuinfo")
    return 16 if flags.exists() and "avx512f" in flags.read_text(encoding="ascii") else 8


class KunQuantGraph(Engine):
    """One compiled module for all expressions that are asked for together."""

    name = "KunQuant"
    about = f"{version('KunQuant')}, float32, -march=native, blocks of a vector's width"
    whole = True

    def __init__(self, fields: Mapping[str, FloatArray], threads: int, folder: Path) -> None:
        super().__init__(fields, threads, folder)
        lanes = _lanes()
        self._lanes = lanes
        self._shape = fields["close"].shape
        self._inputs = {name: self._blocked(values) for name, values in fields.items()}
        self._modules: dict[tuple[str, ...], tuple[Any, Any]] = {}
        self._outputs: dict[str, FloatArray] = {}
        make = KunRunner.createMultiThreadExecutor
        self._executor = make(threads) if threads > 1 else KunRunner.createSingleThreadExecutor()
        #: Seconds of each compilation that was needed.
        self.compiled: dict[tuple[str, ...], float] = {}

    def unsupported(self, expression: Expression) -> str:
        """Return why `expression` cannot be computed, "" if it can."""
        ops_ = {node.op for node in walk(expression) if isinstance(node, Call)}
        lacking = ops_ - _OPERATORS.keys()
        return f"no {', '.join(sorted(lacking))}" if lacking else ""

    def prepare(self, names: Sequence[str]) -> None:
        """Compile the expressions into one module, or load it if that has been done."""
        key = tuple(names)
        if key in self._modules:
            return
        text = "|".join(f"{name}:{self.expressions[name]}" for name in names)
        module = "m" + hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self.folder / "kunquant" / module / f"{module}.so"
        if not path.exists():
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            begun = time.perf_counter()
            self._compile(names, module, path.parent.parent)
            self.compiled[key] = time.perf_counter() - begun
        library = KunRunner.Library.load(str(path))
        self._modules[key] = library, library.getModule(module)
        for name in names:
            if name not in self._outputs:
                self._outputs[name] = np.empty_like(self._inputs["close"])

    def run(self, names: Sequence[str]) -> Any:
        """Run the module; results go to arrays that are kept."""
        _, module = self._modules[tuple(names)]
        wanted = {name: self._outputs[name] for name in names}
        inputs = {name: self._inputs[name] for name in self._fields_of(names)}
        KunRunner.runGraph(self._executor, module, inputs, 0, self._shape[0], wanted)
        return wanted

    def values(self, results: Any, names: Sequence[str]) -> dict[str, FloatArray]:
        """Return the results from blocks."""
        n_sessions, n_assets = self._shape
        return {
            name: results[name].transpose(1, 0, 2).reshape(n_sessions, -1)[:, :n_assets]
            for name in names
        }

    def _fields_of(self, names: Sequence[str]) -> list[str]:
        trees = [self.expressions[name] for name in names]
        used = {node.name for tree in trees for node in walk(tree) if hasattr(node, "name")}
        return [name for name in self.fields if name in used]

    def _blocked(self, values: FloatArray) -> FloatArray:
        n_sessions, n_assets = values.shape
        blocks = -(-n_assets // self._lanes)
        padded = np.full((n_sessions, blocks * self._lanes), np.nan, dtype=np.float32)
        padded[:, :n_assets] = values
        split = padded.reshape(n_sessions, blocks, self._lanes).transpose(1, 0, 2)
        return np.ascontiguousarray(split)

    def _compile(self, names: Sequence[str], module: str, folder: Path) -> None:
        builder = Builder()
        with builder:
            inputs = {name: Input(name) for name in self._fields_of(names)}
            done: dict[Expression, Any] = {}
            for name in names:
                tree = self.expressions[name]
                Output(
                    fold(tree, inputs.__getitem__, lambda op, args: _OPERATORS[op](*args), done),
                    name,
                )
        config = KunCompilerConfig(
            input_layout="STs",
            output_layout="STs",
            blocking_len=self._lanes,
            # several source files, so that two compilers can work at a time
            split_source=4 if len(names) > 8 and self.threads > 1 else 0,
        )
        cfake.compileit(
            [(module, Function(builder.ops), config)],
            module,
            cfake.CppCompilerConfig(),
            tempdir=str(folder),
            keep_files=True,
            load=False,
        )
