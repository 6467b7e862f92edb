"""Every operator once more: plain numpy, float64, one window at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from signals.errors import ExpressionError
from signals.expression import Call, Constant, Expression, Field, call, constant
from signals.operators import OPERATORS
from signals.panel import Panel

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def random_panel(seed: int, n_sessions: int = 90, n_assets: int = 14, origin: int = 0) -> Panel:
    """Return bars with holes, ties, a late listing, a delisting, infinities and a universe."""
    rng = np.random.default_rng(seed)
    shape = (n_sessions, n_assets)
    fields = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = np.round(20 * np.exp(np.cumsum(0.05 * rng.standard_normal(shape), axis=0)), 1)
        values[rng.random(shape) < 0.05] = np.nan
        values[rng.random(shape) < 0.002] = np.inf
        values[: n_sessions // 3, 1] = np.nan
        values[n_sessions // 2 :, 2] = np.nan
        values[n_sessions // 4 : n_sessions // 2, 3] = 7.7
        fields[name] = values
    fields["volume"] = np.round(1e6 * rng.standard_normal(shape), -6)
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(n_sessions),
        assets=tuple(f"A{i}" for i in range(n_assets)),
        fields=fields,
        universe=rng.random(shape) < 0.9,
        origin=origin,
    )


def finite(values: Array) -> Array:
    """Return the values with NaN for what is not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def rounded(values: Array) -> Array:
    """Return the values rounded to 20 significant bits, halves away from zero."""
    mantissa, exponent = np.frexp(values)
    return np.sign(values) * np.ldexp(np.floor(np.abs(mantissa) * 2**20 + 0.5) / 2**20, exponent)


def mean_rank(value: float, among: Array) -> float:
    below = np.sum(rounded(among) < rounded(np.array(value)))
    same = np.sum(rounded(among) == rounded(np.array(value)))
    return float((below + (same + 1) / 2) / len(among))


def spread(values: Array) -> float:
    """Return the standard deviation, 0 where it is nothing but rounding noise."""
    if len(values) < 2:
        return np.nan
    square = np.sum((values - values.mean()) ** 2)
    if square <= 1e-13 * (np.sum((values - values.mean()) ** 2) + len(values) * values.mean() ** 2):
        return 0.0
    return float(np.sqrt(square / (len(values) - 1)))


def rolling(least: int, function: Callable[..., float]) -> Callable[..., Array]:
    """Return `function(finite values, ages, today's value)` over windows, by the 80 % rule."""

    def apply(x: Array, window: int) -> Array:
        out = np.full(x.shape, np.nan)
        for t in range(window - 1, len(x)):
            for a in range(x.shape[1]):
                values = x[t - window + 1 : t + 1, a]
                ok = np.isfinite(values)
                if ok.sum() >= max(np.ceil(0.8 * window), least):
                    ages = np.arange(window)[::-1][ok]
                    out[t, a] = function(values[ok], ages, x[t, a])
        return out

    return apply


def rolling_pairs(least: int, function: Callable[[Array, Array], float]) -> Callable[..., Array]:
    def apply(x: Array, y: Array, window: int) -> Array:
        out = np.full(x.shape, np.nan)
        for t in range(window - 1, len(x)):
            for a in range(x.shape[1]):
                pair = np.stack([x[t - window + 1 : t + 1, a], y[t - window + 1 : t + 1, a]])
                pair = pair[:, np.isfinite(pair).all(axis=0)]
                if pair.shape[1] >= max(np.ceil(0.8 * window), least):
                    out[t, a] = function(pair[0], pair[1])
        return out

    return apply


def shifted(x: Array, sessions: int) -> Array:
    out = np.full(x.shape, np.nan)
    out[sessions:] = x[: len(x) - sessions]
    return out


def correlation(x: Array, y: Array) -> float:
    if spread(x) == 0.0 or spread(y) == 0.0:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def exponential(x: Array, span: int) -> Array:
    keep = 1 - 2 / (span + 1)
    average = rolling(1, lambda v, ages, _: float(np.sum(v * keep**ages) / np.sum(keep**ages)))
    return average(x, 10 * span)


def linear(x: Array, window: int) -> Array:
    return rolling(1, lambda v, ages, _: float(np.average(v, weights=window - ages)))(x, window)


def ranks(values: Array) -> Array:
    return np.array([mean_rank(v, values) for v in values])


def standard_scores(values: Array) -> Array:
    scores: Array = (values - values.mean()) / spread(values)
    return scores


def cross_section(function: Callable[[Array], Array]) -> Callable[[Array, Bools], Array]:
    def apply(x: Array, universe: Bools) -> Array:
        out = np.full(x.shape, np.nan)
        for t in range(len(x)):
            ok = universe[t] & np.isfinite(x[t])
            out[t, ok] = function(x[t, ok])
        return out

    return apply


TIME_SERIES: dict[str, Callable[..., Array]] = {
    "DELAY": shifted,
    "DELTA": lambda x, n: x - shifted(x, n),
    "TS_PCTCHANGE": lambda x, n: x / shifted(x, n) - 1,
    "TS_SUM": rolling(1, lambda v, *_: float(np.sum(v))),
    "TS_MEAN": rolling(1, lambda v, *_: float(np.mean(v))),
    "TS_STD": rolling(2, lambda v, *_: spread(v)),
    "TS_VAR": rolling(2, lambda v, *_: spread(v) ** 2),
    "TS_ZSCORE": rolling(2, lambda v, _, today: (today - np.mean(v)) / np.float64(spread(v))),
    "TS_MAX": rolling(1, lambda v, *_: float(np.max(v))),
    "TS_MIN": rolling(1, lambda v, *_: float(np.min(v))),
    "TS_ARGMAX": rolling(1, lambda v, ages, _: float(ages[np.argmax(rounded(v))])),
    "TS_ARGMIN": rolling(1, lambda v, ages, _: float(ages[np.argmin(rounded(v))])),
    "TS_RANK": rolling(
        2, lambda v, _, today: mean_rank(today, v) if np.isfinite(today) else np.nan
    ),
    "TS_CORR": rolling_pairs(3, correlation),
    "TS_COVARIANCE": rolling_pairs(2, lambda x, y: float(np.cov(x, y)[0, 1])),
    "DECAYLINEAR": linear,
    "EMA": exponential,
}

CROSS_SECTION = {"RANK": cross_section(ranks), "ZSCORE": cross_section(standard_scores)}

ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "ADD": lambda x, y: x + y,
    "SUBTRACT": lambda x, y: x - y,
    "MULTIPLY": lambda x, y: x * y,
    "DIVIDE": lambda x, y: x / y,
    "ABS": lambda x: np.where(x < 0, -x, x),
    "SIGN": lambda x: np.where(np.isnan(x), np.nan, 1.0 * (x > 0) - 1.0 * (x < 0)),
    "LOG": lambda x: np.log(np.where(x > 0, x, np.nan)),
    "SQRT": lambda x: np.where(x >= 0, x, np.nan) ** 0.5,
    "POW": lambda x, p: x**p,
    "MAX": lambda x, y: np.where(np.isnan(x + y), np.nan, np.where(x > y, x, y)),
    "MIN": lambda x, y: np.where(np.isnan(x + y), np.nan, np.where(x < y, x, y)),
}


def reference(expression: Expression, panel: Panel) -> Array:
    """Return the values of `expression`, NaN outside the universe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.where(panel.universe, _value(expression, panel), np.nan)


def _value(node: Expression, panel: Panel) -> Array:
    if isinstance(node, Field):
        return finite(panel.fields[node.name].astype(np.float64))
    if isinstance(node, Constant):
        return np.full(panel.universe.shape, node.value)
    series = [_value(arg, panel) for arg in node.args if not isinstance(arg, Constant)]
    if node.op in TIME_SERIES:
        last = node.args[-1]
        assert isinstance(last, Constant)
        return finite(TIME_SERIES[node.op](*series, int(last.value)))
    if node.op in CROSS_SECTION:
        return finite(CROSS_SECTION[node.op](series[0], panel.universe))
    return finite(ELEMENTWISE[node.op](*(_value(arg, panel) for arg in node.args)))


def sample_call(name: str, window: int) -> Call:
    """Return operator `name` on fields, with `window` or a number as its last argument."""
    names = iter(("close", "volume"))
    args = [
        Field(next(names)) if kind == "series" else constant(window)
        for kind in OPERATORS[name].arguments
    ]
    result = call(name, *args)
    assert isinstance(result, Call)
    return result


def _call(name: str, args: list[Expression], window: int) -> Expression:
    operator = OPERATORS[name]
    series = iter(args)
    least = max(operator.min_window, 1)
    arguments = [
        next(series) if kind == "series" else constant(least + window)
        for kind in operator.arguments
    ]
    try:
        return call(name, *arguments)
    except ExpressionError:  # a constant where values must vary
        return args[0]


def expressions() -> st.SearchStrategy[Expression]:
    """Return a strategy for canonical expressions of a few nodes."""
    fields = st.sampled_from([Field("close"), Field("open"), Field("volume")])
    numbers = st.sampled_from([-1.0, 0.0, 1.0, 0.001, 2.5, -3.0]).map(constant)
    leaves = st.one_of(fields, fields, fields, numbers)

    def grow(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        names = st.sampled_from(sorted(OPERATORS))
        return st.builds(
            _call, names, st.lists(children, min_size=2, max_size=2), st.integers(0, 4)
        )

    return st.recursive(leaves, grow, max_leaves=8)
