"""The work every engine is given: one synthetic panel and 32 expressions.

The expressions were written down before any of them was timed. 18 are formulas of Alpha101
(Kakushadze 2016, arXiv:1601.00991) or close variants; the rest are what factor libraries are made
of: momentum, bands, oscillators, regressions, order statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from signals.errors import ExpressionError
from signals.expression import Call, Expression, walk
from signals.grammar import parse
from signals.panel import BoolArray, FloatArray, Panel

#: What an expression is made of, as the tables call it.
ELEMENTWISE = "elementwise"
SUMS = "time series"
ORDER = "order statistics"
CROSS = "cross-section"
GROUPS = (ELEMENTWISE, SUMS, ORDER, CROSS)


@dataclass(frozen=True)
class Task:
    """One expression of the benchmark.

    Parameters
    ----------
    name : str
        Short and unique.
    group : str
        One of `GROUPS`.
    text : str
        In our language.
    source : str
        Where it is from, "" for common practice.
    """

    name: str
    group: str
    text: str
    source: str = ""


TASKS = (
    Task("e01", ELEMENTWISE, "($close - $open) / ($high - $low + 0.001)", "Alpha101 #101"),
    Task(
        "e02",
        ELEMENTWISE,
        "(-1 * ($low - $close) * POW($open, 5)) / (($low - $high) * POW($close, 5))",
        "Alpha101 #54",
    ),
    Task("e03", ELEMENTWISE, "SQRT($high * $low) - $vwap", "Alpha101 #41"),
    Task("e04", ELEMENTWISE, "SIGN(DELTA($volume, 1)) * (-1 * DELTA($close, 1))", "Alpha101 #12"),
    Task("e05", SUMS, "-1 * TS_CORR($open, $volume, 10)", "Alpha101 #6"),
    Task("e06", SUMS, "TS_SUM($volume * SIGN($return), 20) / TS_SUM($volume, 20)"),
    Task("e07", SUMS, "($close - TS_MEAN($close, 20)) / TS_STD($close, 20)"),
    Task("e08", SUMS, "TS_STD($return, 20) / TS_STD($return, 60)"),
    Task(
        "e09",
        SUMS,
        "($close - TS_MIN($low, 14)) / (TS_MAX($high, 14) - TS_MIN($low, 14) + 0.001)",
    ),
    Task("e10", SUMS, "EMA($close, 12) - EMA($close, 26)"),
    Task("e11", SUMS, "DECAYLINEAR($return, 20)"),
    Task("e12", SUMS, "TS_MAX($high, 20) / TS_MIN($low, 20)"),
    Task("e13", SUMS, "REGBETA($return, TS_PCTCHANGE($volume, 1), 20)"),
    Task("e14", SUMS, "REGRESI($return, TS_PCTCHANGE($volume, 1), 60)"),
    Task("e15", SUMS, "TS_CORR($return, DELAY($return, 1), 20)"),
    Task(
        "e16",
        SUMS,
        "($close - TS_MIN($close, 250)) / (TS_MAX($close, 250) - TS_MIN($close, 250))",
    ),
    Task("e17", SUMS, "TS_CORR($vwap, DELAY($close, 5), 230)", "Alpha101 #32, its correlation"),
    Task(
        "e18",
        ORDER,
        "TS_RANK($volume / TS_MEAN($volume, 20), 20) * TS_RANK(-1 * DELTA($close, 7), 8)",
        "Alpha101 #43",
    ),
    Task(
        "e19",
        ORDER,
        "TS_RANK($volume, 32) * (1 - TS_RANK($close + $high - $low, 16))"
        " * (1 - TS_RANK($return, 32))",
        "Alpha101 #35",
    ),
    Task("e20", ORDER, "TS_QUANTILE($close, 20, 0.8) / $close", "Alpha158 QTLU20"),
    Task("e21", ORDER, "TS_ARGMAX($high, 20) - TS_ARGMIN($low, 20)", "Alpha158 IMXD20"),
    Task("e22", CROSS, "-1 * TS_CORR(RANK($open), RANK($volume), 10)", "Alpha101 #3"),
    Task(
        "e23",
        CROSS,
        "-1 * TS_CORR(RANK(DELTA(LOG($volume), 2)), RANK(($close - $open) / $open), 6)",
        "Alpha101 #2",
    ),
    Task("e24", CROSS, "-1 * TS_RANK(RANK($low), 9)", "Alpha101 #4"),
    Task("e25", CROSS, "-1 * RANK(TS_COVARIANCE(RANK($close), RANK($volume), 5))", "Alpha101 #13"),
    Task("e26", CROSS, "RANK($open / $close - 1)", "Alpha101 #33"),
    Task(
        "e27",
        CROSS,
        "-1 * RANK(TS_STD($high, 10)) * TS_CORR($high, $volume, 10)",
        "Alpha101 #40",
    ),
    Task("e28", CROSS, "-1 * TS_CORR($high, RANK($volume), 5)", "Alpha101 #44"),
    Task("e29", CROSS, "RANK($vwap - $close) / RANK($vwap + $close)", "Alpha101 #42"),
    Task(
        "e30",
        CROSS,
        "RANK(-1 * $return * TS_MEAN($volume, 20) * $vwap * ($high - $close))",
        "Alpha101 #25",
    ),
    Task(
        "e31",
        CROSS,
        "-1 * RANK(TS_SUM($open, 5) * TS_SUM($return, 5)"
        " - DELAY(TS_SUM($open, 5) * TS_SUM($return, 5), 10))",
        "Alpha101 #8",
    ),
    Task("e32", CROSS, "ZSCORE(TS_MEAN($return, 20))"),
)


def parsed(tasks: tuple[Task, ...] = TASKS) -> tuple[dict[str, Expression], dict[str, str]]:
    """Return the expressions by name, and by name why one cannot be read."""
    read: dict[str, Expression] = {}
    refused: dict[str, str] = {}
    for task in tasks:
        try:
            read[task.name] = parse(task.text)
        except ExpressionError as error:
            refused[task.name] = str(error).partition("\n")[0]
    return read, refused


def calls(expression: Expression, op: str | None = None) -> int:
    """Return how many nodes are calls, of operator `op` if it is given."""
    nodes = [node for node in walk(expression) if isinstance(node, Call)]
    return sum(op is None or node.op == op for node in nodes)


def build_fields(
    n_assets: int, n_sessions: int, *, seed: int = 20240601, gaps: bool = True
) -> dict[str, FloatArray]:
    """Return a synthetic market's fields, float32 of shape (n_sessions, n_assets).

    Prices follow a common and an own random walk and are rounded to cents, volumes to lots, so
    that ties exist. With `gaps` about 7 % of the bars are missing: late listings, delistings,
    halts of some sessions, single days.
    """
    rng = np.random.default_rng(seed)
    shape = (n_sessions, n_assets)
    beta = rng.uniform(0.5, 1.5, n_assets)
    shocks = rng.normal(0, 0.008, (n_sessions, 1)) * beta + rng.standard_t(5, shape) * 0.012
    level = rng.lognormal(3.2, 0.7, n_assets)
    walk_ = np.cumsum(shocks, axis=0)
    close = level * np.exp(walk_ - walk_ * (np.arange(n_sessions) / n_sessions)[:, None] * 0.5)
    close = np.maximum(close, 0.5)
    before = np.vstack([level[None, :], close[:-1]])
    open_ = before * np.exp(rng.normal(0, 0.006, shape))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.006, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.006, shape)))
    low = np.maximum(low, 0.01)
    turnover = np.exp(rng.normal(0, 0.5, shape) + 8 * np.abs(shocks))
    volume = np.round(rng.lognormal(9, 1.0, n_assets) * turnover) * 100
    vwap = (open_ + high + low + close) / 4
    prices = {"open": open_, "high": high, "low": low, "close": close, "vwap": vwap}
    fields = {name: np.round(values, 2) for name, values in prices.items()}
    fields["volume"] = volume
    fields["amount"] = volume * fields["vwap"]
    missing = _gaps(rng, shape) if gaps else np.zeros(shape, dtype=np.bool_)
    return {
        name: np.ascontiguousarray(np.where(missing, np.nan, values), dtype=np.float32)
        for name, values in fields.items()
    }


def _gaps(rng: np.random.Generator, shape: tuple[int, int]) -> BoolArray:
    """Return where there is no bar."""
    n_sessions, n_assets = shape
    row = np.arange(n_sessions)[:, None]
    listed = np.where(rng.random(n_assets) < 0.14, rng.integers(0, n_sessions // 2, n_assets), 0)
    last = np.where(
        rng.random(n_assets) < 0.07, rng.integers(n_sessions // 2, n_sessions, n_assets), n_sessions
    )
    missing = (row < listed) | (row >= last) | (rng.random(shape) < 0.002)
    for asset in range(n_assets):
        for start in rng.integers(0, n_sessions, rng.poisson(n_sessions / 1000)):
            missing[start : start + rng.integers(3, 40), asset] = True
    return missing


def build_panel(fields: Mapping[str, FloatArray]) -> Panel:
    """Return the fields as a panel in which every asset that has a bar may take part."""
    n_sessions, n_assets = fields["close"].shape
    return Panel(
        sessions=np.datetime64("2015-01-01") + np.arange(n_sessions),
        assets=tuple(f"A{i:05d}" for i in range(n_assets)),
        fields=fields,
        universe=np.ones((n_sessions, n_assets), dtype=np.bool_),
    )


def save_fields(fields: Mapping[str, FloatArray], folder: Path) -> None:
    """Write one .npy per field."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in fields.items():
        np.save(folder / f"{name}.npy", values)


def load_fields(folder: Path) -> dict[str, FloatArray]:
    """Read what `save_fields` wrote."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
