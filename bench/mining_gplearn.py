"""gplearn on the same panels: a SymbolicTransformer whose fitness is the |mean RankIC| on train.

It is given what a user would hand it: ratio features (`FEATURES`), gplearn's own elementwise
functions, and windowed and cross-sectional ones made for it from our kernels, since it has none.
Its samples are the cells of the panel, session by session; a missing value is 0 to it, and missing
again where a function of ours needs to know. It returns its three least correlated components of
the last generation's best, each oriented by its RankIC on train; where the generation has converged
they are one and the same, and count once. It has no validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from signals.evaluate import Evaluator, evaluate
from signals.expression import Expression, Field, call, constant
from signals.grammar import parse
from signals.ic import rank_ic
from signals.panel import BoolArray, FloatArray, Panel

#: What a user would hand it.
FEATURES = (
    "TS_PCTCHANGE($close, 1)",
    "TS_PCTCHANGE($close, 5)",
    "TS_PCTCHANGE($close, 20)",
    "$open / DELAY($close, 1)",
    "$close / $open",
    "$high / $low",
    "($close - $low) / ($high - $low)",
    "$volume / TS_MEAN($volume, 20)",
    "$volume / DELAY($volume, 1)",
    "$close / TS_MEAN($close, 20)",
    "TS_MAX($high, 20) / $close",
    "TS_MIN($low, 20) / $close",
    "TS_STD(TS_PCTCHANGE($close, 1), 20)",
    "TS_CORR($close, $volume, 10)",
)
#: gplearn's own.
PLAIN = ("add", "sub", "mul", "div", "abs", "neg", "inv", "log", "sqrt", "max", "min")
#: Ours, by the name it prints: operator, operands, window.
MADE = {
    "delta_5": ("DELTA", 1, 5),
    "delay_1": ("DELAY", 1, 1),
    "mean_5": ("TS_MEAN", 1, 5),
    "mean_20": ("TS_MEAN", 1, 20),
    "std_10": ("TS_STD", 1, 10),
    "std_20": ("TS_STD", 1, 20),
    "max_10": ("TS_MAX", 1, 10),
    "min_10": ("TS_MIN", 1, 10),
    "ts_rank_10": ("TS_RANK", 1, 10),
    "corr_10": ("TS_CORR", 2, 10),
    "rank": ("RANK", 1, 0),
}
COMPONENTS = 3
GENERATIONS = 10


def is_installed() -> bool:
    """Return whether gplearn can be imported; it is in the extra `bench`."""
    return find_spec("gplearn") is not None


@dataclass
class Cells:
    """The panel gplearn's flat arrays belong to; what it is given changes between fit and use."""

    panel: Panel
    missing: BoolArray

    @classmethod
    def of(cls, panel: Panel) -> Cells:
        """Return the cells of a panel."""
        return cls(panel, ~np.isfinite(panel.fields["close"]))

    def features(self) -> FloatArray:
        """Return the features of every cell, float64 of shape (n_cells, n_features); 0 missing."""
        values = evaluate([parse(text) for text in FEATURES], self.panel)
        return np.stack([np.nan_to_num(v.reshape(-1)) for v in values], axis=1)

    def shaped(self, flat: FloatArray) -> FloatArray:
        """Return flat values in the panel's shape, NaN where there is no bar."""
        return np.where(self.missing, np.nan, flat.reshape(self.missing.shape))


class _Made:
    """One of our operators as a function of flat arrays."""

    def __init__(self, cells: list[Cells], op: str, operands: int, span: int) -> None:
        names = ("left", "right")[:operands]
        args: list[Expression] = [Field(name) for name in names]
        self._names = names
        self._expression = call(op, *args, *([constant(float(span))] if span else []))
        self._cells = cells
        self._is_cross = not span

    def __call__(self, *flat: FloatArray) -> FloatArray:
        now = self._cells[0]
        if flat[0].size != now.missing.size:  # gplearn tries a function on ten numbers first
            return np.asarray(flat[0], dtype=np.float64)
        fields = {n: now.shaped(v) for n, v in zip(self._names, flat, strict=True)}
        universe = now.panel.universe if self._is_cross else ~now.missing
        panel = Panel(now.panel.sessions, now.panel.assets, fields, universe)
        values = Evaluator(panel).evaluate([self._expression])[0]
        return np.nan_to_num(values.reshape(-1))


@dataclass(frozen=True)
class Mined:
    """What gplearn found.

    Parameters
    ----------
    programs : tuple of str
        As it prints them, -1 before those that were turned round.
    values : list of ndarray of shape (n_sessions, n_assets)
        Over the panel that was asked for, oriented.
    """

    programs: tuple[str, ...]
    values: list[FloatArray]


def mine(
    panel: Panel, whole: Panel, label: FloatArray, train: slice, *, evaluations: int, seed: int
) -> Mined:
    """Fit on train and return the components' values over `whole`.

    Parameters
    ----------
    panel : Panel
        Rows up to the last of train.
    whole : Panel
        The same assets, and as many rows as values are wanted of.
    label : ndarray of shape (n_sessions, n_assets)
        Forward returns of each row of `panel`; only the rows of `train` are read.
    evaluations : int
        Programs evaluated: population times generations.
    """
    from gplearn.fitness import make_fitness
    from gplearn.functions import make_function
    from gplearn.genetic import SymbolicTransformer

    cells = [Cells.of(panel)]
    made = [
        make_function(function=_fixed(_Made(cells, *spec), spec[1]), name=name, arity=spec[1])
        for name, spec in MADE.items()
    ]
    target = np.where(panel.universe, label, np.nan)

    def judged(flat: FloatArray) -> float:
        series = rank_ic(cells[0].shaped(flat)[train], target[train])
        finite = series[np.isfinite(series)]
        return float(finite.mean()) if len(finite) > len(series) // 2 else 0.0

    def metric(_: Any, predicted: FloatArray, __: Any) -> float:
        return abs(judged(predicted)) if predicted.size == cells[0].missing.size else 0.0

    population = max(evaluations // GENERATIONS, COMPONENTS)
    model = SymbolicTransformer(
        population_size=population,
        generations=GENERATIONS,
        hall_of_fame=max(COMPONENTS, population // 5),
        n_components=COMPONENTS,
        function_set=(*PLAIN, *made),
        metric=make_fitness(function=metric, greater_is_better=True),
        init_depth=(2, 4),
        tournament_size=max(2, population // 20),
        stopping_criteria=1.0,
        random_state=seed,
    )
    x = cells[0].features()
    model.fit(x, np.zeros(len(x)))
    programs = list(model)
    signs = [1.0 if judged(program.execute(x)) >= 0 else -1.0 for program in programs]
    cells[0] = Cells.of(whole)
    x = cells[0].features()
    values = [s * cells[0].shaped(p.execute(x)) for s, p in zip(signs, programs, strict=True)]
    texts = [f"{'-1 * ' * (s < 0)}{p}" for s, p in zip(signs, programs, strict=True)]
    return Mined(tuple(texts), values)


def _fixed(function: Any, arity: int) -> Any:
    """Return `function` with the arity in its signature, where gplearn looks for it."""

    def one(a: FloatArray) -> Any:
        return function(a)

    def two(a: FloatArray, b: FloatArray) -> Any:
        return function(a, b)

    return one if arity == 1 else two


def features_text() -> str:
    """Return what it is given, for the report."""
    return f"features {'; '.join(FEATURES)}; functions {', '.join([*PLAIN, *MADE])}"
