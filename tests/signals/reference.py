"""Every operator once more: plain numpy and pandas in float64, from its documented meaning.

It judges the kernels, so it shares nothing with them: windows are laid out one by one, sums are
taken in two passes, nothing is updated. Clear and slow is right.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import strategies as st

from signals.errors import ExpressionError
from signals.expression import Call, Constant, Expression, Field, call, constant
from signals.operators import OPERATORS, Kind
from signals.panel import FloatArray, Panel

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: A variance below this share of the mean square is rounding noise, and counts as none.
NOISE = 1e-26

#: Values that a table of windows may hold at a time.
_CHUNK = 2_000_000


# Panels -------------------------------------------------------------------------------------------


def random_panel(seed: int, n_sessions: int = 90, n_assets: int = 14, origin: int = 0) -> Panel:
    """Return bars with holes, ties, a late listing, a delisting, infinities and a universe."""
    rng = np.random.default_rng(seed)
    shape = (n_sessions, n_assets)
    fields: dict[str, Array] = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = np.round(20 * np.exp(np.cumsum(0.05 * rng.standard_normal(shape), axis=0)), 1)
        values[rng.random(shape) < 0.05] = np.nan
        values[rng.random(shape) < 0.002] = np.inf
        values[: n_sessions // 3, 1:2] = np.nan
        values[n_sessions // 2 :, 2:3] = np.nan
        values[n_sessions // 4 : n_sessions // 2, 3:4] = 7.7
        fields[name] = values
    fields["volume"] = np.round(1e6 * rng.standard_normal(shape), -6)
    fields["sector"] = rng.integers(0, 4, shape[1]) + 0.1 * (rng.random(shape) < 0.1)
    fields["sector"][rng.random(shape) < 0.03] = np.nan
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(n_sessions),
        assets=tuple(f"A{i}" for i in range(n_assets)),
        fields=fields,
        universe=rng.random(shape) < 0.9,
        origin=origin,
    )


def series_panel(*columns: list[float] | Array, origin: int = 0) -> Panel:
    """Return a panel whose every field has these columns."""
    values = np.array(columns, dtype=np.float64).T.copy()
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(len(values)),
        assets=tuple(f"A{i}" for i in range(values.shape[1])),
        fields=dict.fromkeys(("open", "high", "low", "close", "volume", "sector"), values),
        universe=np.ones(values.shape, dtype=np.bool_),
        origin=origin,
    )


def field_panel(**fields: FloatArray) -> Panel:
    """Return a panel of these fields, all of its assets in the universe."""
    shape = next(iter(fields.values())).shape
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(shape[0]),
        assets=tuple(f"A{i}" for i in range(shape[1])),
        fields=fields,
        universe=np.ones(shape, dtype=np.bool_),
    )


# Values -------------------------------------------------------------------------------------------


def finite(values: Array) -> Array:
    """Return the values with NaN for what is not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def rounded(values: FloatArray) -> Array:
    """Return the values rounded to 20 significant bits, halves away from zero."""
    mantissa, exponent = np.frexp(values)
    return np.sign(values) * np.ldexp(np.floor(np.abs(mantissa) * 2**20 + 0.5) / 2**20, exponent)


def truth(values: Bools, *arguments: Array) -> Array:
    """Return 1 or 0, NaN where an argument is missing."""
    missing = np.any([np.isnan(argument) for argument in arguments], axis=0)
    return np.where(missing, np.nan, values.astype(np.float64))


# Statistics along the last axis, of what is not NaN -----------------------------------------------


def total(v: Array) -> Array:
    result: Array = np.nansum(v, axis=-1)
    return result


def count(v: Array) -> Array:
    return total(np.where(np.isnan(v), 0.0, 1.0))


def mean(v: Array) -> Array:
    return total(v) / count(v)


def deviations(v: Array) -> Array:
    """Return v less its mean, in a second pass less what rounding left of the mean."""
    d = v - mean(v)[..., None]
    return d - mean(d)[..., None]


def squares(v: Array, d: Array) -> Array:
    """Return the sum of squared deviations d, 0 where that is nothing but rounding noise."""
    result = total(d * d)
    noise = NOISE * (count(v) * mean(v) ** 2 + result)
    return np.where(result <= noise, 0.0, result)


def variance(v: Array) -> Array:
    n = count(v)
    return np.where(n >= 2, squares(v, deviations(v)) / (n - 1), np.nan)


def standard_deviation(v: Array) -> Array:
    return variance(v) ** 0.5


def skewness(v: Array) -> Array:
    n, d = count(v), deviations(v)
    cubes = total(d**3)
    result: Array = n * (n - 1) ** 0.5 / (n - 2) * cubes / squares(v, d) ** 1.5
    return result


def kurtosis(v: Array) -> Array:
    n, d = count(v), deviations(v)
    fourths = total(d**4)
    head: Array = n * (n + 1) * (n - 1) / ((n - 2) * (n - 3)) * fourths / squares(v, d) ** 2
    return head - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def quantile(v: Array, q: float) -> Array:
    """Return the quantile that lies between two neighbours in proportion, as pandas does."""
    place = q * np.maximum(count(v) - 1, 0)
    low = np.floor(place).astype(np.intp)
    high = np.ceil(place).astype(np.intp)
    ordered = np.sort(v, axis=-1)  # NaN goes last
    left = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
    right = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
    return left + (place - low) * (right - left)


def median(v: Array) -> Array:
    return quantile(v, 0.5)


def absolute_deviation(v: Array) -> Array:
    return median(np.abs(v - median(v)[..., None]))


def standard_score_of_last(v: Array) -> Array:
    return deviations(v)[..., -1] / standard_deviation(v)


def rank_of_last(v: Array) -> Array:
    below = np.sum(v < v[..., -1:], axis=-1)
    same = np.sum(v == v[..., -1:], axis=-1)
    return np.where(np.isnan(v[..., -1]), np.nan, (below + (same + 1) / 2) / count(v))


def age_of_largest(v: Array) -> Array:
    """Return the age of the largest value; the oldest of equals, which argmax meets first."""
    place = np.argmax(np.where(np.isnan(v), -np.inf, v), axis=-1)
    age: Array = v.shape[-1] - 1.0 - place
    return age


def weighted(v: Array, weights: Array) -> Array:
    """Return the average with `weights`, renormalised over what is there."""
    present = np.where(np.isnan(v), 0.0, weights)
    return total(v * weights) / total(present)


def linear_average(v: Array) -> Array:
    return weighted(v, np.arange(1.0, v.shape[-1] + 1))


def exponential_average(v: Array, alpha: float) -> Array:
    ages = np.arange(v.shape[-1], dtype=np.float64)[::-1]
    return weighted(v, np.power(1 - alpha, ages))


def products(x: Array, y: Array) -> Array:
    """Return the sum of products of deviations; 0 for what is rounding noise."""
    dx, dy = deviations(x), deviations(y)
    whole = total(dx * dy)
    scale = (squares(x, dx) * squares(y, dy)) ** 0.5
    return np.where(np.abs(whole) > 1e-13 * scale, whole, 0.0 * whole)


def covariance(x: Array, y: Array) -> Array:
    return products(x, y) / (count(x) - 1)


def correlation(x: Array, y: Array) -> Array:
    norms = squares(x, deviations(x)) ** 0.5 * squares(y, deviations(y)) ** 0.5
    return np.clip(finite(products(x, y) / norms), -1, 1)


def slope(y: Array, x: Array) -> Array:
    return products(x, y) / squares(x, deviations(x))


def residual_of_last(y: Array, x: Array) -> Array:
    dx, dy = deviations(x), deviations(y)
    return dy[..., -1] - slope(y, x) * dx[..., -1]


# Windows ------------------------------------------------------------------------------------------


def over_windows(function: Callable[..., Array], least: int, window: int, *series: Array) -> Array:
    """Return `function` of the windows by the 80 % rule; a missing value leaves its pair out."""
    n_sessions, n_assets = series[0].shape
    out = np.full((n_sessions, n_assets), np.nan)
    need = max(math.ceil(4 * window / 5), least)
    step = max(1, _CHUNK // (window * max(1, n_assets)))
    for first in range(window - 1, n_sessions, step):
        last = min(first + step, n_sessions)
        views = [
            np.lib.stride_tricks.sliding_window_view(x[first - window + 1 : last], window, axis=0)
            for x in series
        ]
        there = np.all([np.isfinite(view) for view in views], axis=0)
        values = function(*(np.where(there, view, np.nan) for view in views))
        out[first:last] = np.where(there.sum(axis=-1) >= need, values, np.nan)
    return out


def shifted(x: Array, sessions: int) -> Array:
    out = np.full(x.shape, np.nan)
    out[sessions:] = x[: max(len(x) - sessions, 0)]
    return out


def smoothing_window(m: int, n: float) -> int:
    """Return ten spans, span = 2 m / n - 1, in whole sessions."""
    return max(1, math.ceil(round(10 * (2 * m / n - 1), 9)))


#: Statistic and fewest values of the operators that look at one window after the other.
WINDOWED: dict[str, tuple[Callable[..., Array], int]] = {
    "TS_SUM": (total, 1),
    "TS_MEAN": (mean, 1),
    "PROD": (lambda v: np.nanprod(v, axis=-1), 1),
    "TS_STD": (standard_deviation, 2),
    "TS_VAR": (variance, 2),
    "TS_SKEW": (skewness, 3),
    "TS_KURT": (kurtosis, 4),
    "TS_ZSCORE": (standard_score_of_last, 2),
    "TS_MAX": (lambda v: np.nanmax(v, axis=-1), 1),
    "TS_MIN": (lambda v: np.nanmin(v, axis=-1), 1),
    "TS_ARGMAX": (age_of_largest, 1),
    "TS_ARGMIN": (lambda v: age_of_largest(-v), 1),
    "TS_RANK": (rank_of_last, 2),
    "TS_MEDIAN": (median, 1),
    "TS_MAD": (absolute_deviation, 1),
    "DECAYLINEAR": (linear_average, 1),
    "TS_CORR": (correlation, 3),
    "TS_COVARIANCE": (covariance, 2),
    "REGBETA": (slope, 2),
    "REGRESI": (residual_of_last, 3),
}


#: Those that compare, which they do to 20 significant bits.
COMPARING = frozenset({"TS_ARGMAX", "TS_ARGMIN", "TS_RANK"})


def _windowed(name: str, series: list[Array], numbers: list[float]) -> Array:
    function, least = WINDOWED[name]
    if name in COMPARING:
        series = [rounded(x) for x in series]
    return over_windows(function, least, int(numbers[0]), *series)


def _quantile(series: list[Array], numbers: list[float]) -> Array:
    return over_windows(lambda v: quantile(v, numbers[1]), 1, int(numbers[0]), *series)


def _ema(series: list[Array], numbers: list[float]) -> Array:
    span = int(numbers[0])
    alpha = 2 / (span + 1)
    return over_windows(lambda v: exponential_average(v, alpha), 1, 10 * span, *series)


def _sma(series: list[Array], numbers: list[float]) -> Array:
    m, n = int(numbers[0]), numbers[1]
    window = smoothing_window(m, n)
    return over_windows(lambda v: exponential_average(v, n / m), 1, window, *series)


def time_series(name: str, series: list[Array], numbers: list[float]) -> Array:
    """Return a time-series operator of each asset."""
    if name == "DELAY":
        return shifted(series[0], int(numbers[0]))
    if name == "DELTA":
        return series[0] - shifted(series[0], int(numbers[0]))
    if name == "TS_PCTCHANGE":
        return series[0] / shifted(series[0], int(numbers[0])) - 1
    special = {"TS_QUANTILE": _quantile, "EMA": _ema, "SMA": _sma}.get(name)
    return special(series, numbers) if special else _windowed(name, series, numbers)


def behind(name: str, numbers: list[float]) -> int:
    """Return the sessions a time-series operator needs behind the current one."""
    if name in ("DELAY", "DELTA", "TS_PCTCHANGE"):
        return int(numbers[0])
    if name == "EMA":
        return 10 * int(numbers[0]) - 1
    if name == "SMA":
        return smoothing_window(int(numbers[0]), numbers[1]) - 1
    return int(numbers[0]) - 1


# Sessions -----------------------------------------------------------------------------------------


def ranks(v: Array) -> Array:
    """Return mean percentile ranks along the rows."""
    keys = pd.DataFrame(rounded(v))
    result: Array = keys.rank(axis=1, method="average", pct=True).to_numpy(dtype=np.float64)
    return result


def standard_scores(v: Array) -> Array:
    return deviations(v) / standard_deviation(v)[:, None]


#: One number per session.
AGGREGATES: dict[str, Callable[[Array], Array]] = {
    "MEAN": mean,
    "STD": standard_deviation,
    "SKEW": lambda v: np.where(count(v) >= 3, skewness(v), np.nan),
    "KURT": lambda v: np.where(count(v) >= 4, kurtosis(v), np.nan),
    "MEDIAN": median,
    "CS_MAX": lambda v: np.nanmax(v, axis=-1),
    "CS_MIN": lambda v: np.nanmin(v, axis=-1),
}

GROUPED: dict[str, Callable[[Array], Array]] = {
    "GROUP_MEAN": lambda v: np.broadcast_to(mean(v)[:, None], v.shape),
    "GROUP_RANK": ranks,
    "GROUP_ZSCORE": standard_scores,
}


def cross_section(name: str, series: list[Array], numbers: list[float], universe: Bools) -> Array:
    """Return a cross-sectional operator over the universe of each session."""
    x = np.where(universe, finite(series[0]), np.nan)
    if x.shape[1] == 0:
        return x
    if name in AGGREGATES:
        return np.where(universe, AGGREGATES[name](x)[:, None], np.nan)
    if name == "RANK":
        return ranks(x)
    if name == "ZSCORE":
        return standard_scores(x)
    if name == "SCALE":
        return x * numbers[0] / total(np.abs(x))[:, None]
    out = np.full(x.shape, np.nan)
    groups = np.where(np.isnan(x), np.nan, series[1])
    for t in range(len(x)):
        for group in np.unique(groups[t][~np.isnan(groups[t])]):
            inside = groups[t] == group
            out[t, inside] = GROUPED[name](x[t : t + 1, inside])[0]
    return out


# Cell by cell -------------------------------------------------------------------------------------

ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "ADD": lambda x, y: x + y,
    "SUBTRACT": lambda x, y: x - y,
    "MULTIPLY": lambda x, y: x * y,
    "DIVIDE": lambda x, y: x / y,
    "POW": lambda x, y: np.where(np.isnan(x + y), np.nan, np.power(x, y)),
    "ABS": lambda x: np.where(x < 0, -x, x),
    "SIGN": lambda x: np.where(np.isnan(x), np.nan, 1.0 * (x > 0) - 1.0 * (x < 0)),
    "LOG": lambda x: np.log(np.where(x > 0, x, np.nan)),
    "EXP": np.exp,
    "SQRT": lambda x: np.sqrt(np.where(x >= 0, x, np.nan)),
    "FLOOR": np.floor,
    "MAX": lambda x, y: np.where(np.isnan(x + y), np.nan, np.where(x > y, x, y)),
    "MIN": lambda x, y: np.where(np.isnan(x + y), np.nan, np.where(x < y, x, y)),
    "GT": lambda x, y: truth(rounded(x) > rounded(y), x, y),
    "GE": lambda x, y: truth(rounded(x) >= rounded(y), x, y),
    "LT": lambda x, y: truth(rounded(x) < rounded(y), x, y),
    "LE": lambda x, y: truth(rounded(x) <= rounded(y), x, y),
    "EQ": lambda x, y: truth(rounded(x) == rounded(y), x, y),
    "NE": lambda x, y: truth(rounded(x) != rounded(y), x, y),
    "AND": lambda x, y: truth((x != 0) & (y != 0), x, y),
    "OR": lambda x, y: truth((x != 0) | (y != 0), x, y),
    "WHERE": lambda c, x, y: np.where(np.isnan(c), np.nan, np.where(c != 0, x, y)),
}

#: Operators whose last arguments are numbers, and how many; the other time series have a window.
_NUMBERS = {"TS_QUANTILE": 2, "SMA": 2, "SCALE": 1}

#: Operators another order of additions, or another mathematical library, may give another last bit.
INEXACT = frozenset(
    {"LOG", "EXP", "POW", "TS_SUM", "TS_MEAN", "PROD", "TS_STD", "TS_VAR", "TS_SKEW", "TS_KURT"}
    | {"TS_ZSCORE", "TS_QUANTILE", "TS_MEDIAN", "TS_MAD", "DECAYLINEAR", "EMA", "SMA", "TS_CORR"}
    | {"TS_COVARIANCE", "REGBETA", "REGRESI", "ZSCORE", "SCALE", "MEAN", "STD", "SKEW", "KURT"}
    | {"MEDIAN", "GROUP_MEAN", "GROUP_ZSCORE", "TS_PCTCHANGE"}
)


@dataclass(frozen=True, slots=True)
class _Result:
    values: Array
    behind: int


class Reference:
    """The values of whole trees on one panel; what trees share is computed once.

    Parameters
    ----------
    panel : Panel
        The bars.
    noise : float
        Every value that another order of operations could give another last bit is moved by up to
        this share of itself. What then changes much hangs on a comparison that rounding decides.
    seed : int
        Of that noise.
    """

    def __init__(self, panel: Panel, *, noise: float = 0.0, seed: int = 0) -> None:
        self._panel = panel
        self._noise = noise
        self._rng = np.random.default_rng(seed)
        self._results: dict[Expression, _Result] = {}

    def __call__(self, expression: Expression) -> Array:
        """Return the values of `expression`, NaN outside the universe."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            values = self._result(expression).values
        return np.where(self._panel.universe, values, np.nan)

    def behind(self, expression: Expression) -> int:
        """Return the sessions `expression` needs behind the current one."""
        self(expression)
        return self._results[expression].behind

    def forget(self) -> None:
        """Drop what was computed for earlier trees, but for the fields."""
        for node in [node for node in self._results if not isinstance(node, Field)]:
            del self._results[node]

    def _result(self, node: Expression) -> _Result:
        result = self._results.get(node)
        if result is None:
            result = self._results[node] = self._computed(node)
        return result

    def _computed(self, node: Expression) -> _Result:
        shape = self._panel.universe.shape
        if isinstance(node, Field):
            return _Result(finite(self._field(node.name)), 0)
        if isinstance(node, Constant):
            return _Result(np.full(shape, node.value), 0)
        if node.op == "SEQUENCE":
            sessions = np.arange(1.0, shape[0] + 1)[:, None]
            return _Result(np.broadcast_to(sessions, shape), 0)
        if node.op in ELEMENTWISE:
            results = [self._result(arg) for arg in node.args]
            return self._cut(node.op, ELEMENTWISE[node.op](*(r.values for r in results)), results)
        kind = OPERATORS[node.op].kind
        split = len(node.args) - _NUMBERS.get(node.op, int(kind is Kind.TIME_SERIES))
        numbers = _values(node.args[split:])
        results = [self._result(arg) for arg in node.args[:split]]
        series = [r.values for r in results]
        if kind is Kind.CROSS_SECTION:
            values = cross_section(node.op, series, numbers, self._panel.universe)
            return self._cut(node.op, values, results)
        more = behind(node.op, numbers)
        return self._cut(node.op, time_series(node.op, series, numbers), results, more)

    def _cut(self, name: str, values: Array, args: list[_Result], more: int = 0) -> _Result:
        """Return what is finite behind the lookback."""
        before = more + max(arg.behind for arg in args)
        values = finite(values)
        values[:before] = np.nan
        if self._noise and name in INEXACT:
            scale = _size(values) if name in _OWN_SIZE else _size_of(name, args)
            values *= 1 + self._noise * self._rng.uniform(-1, 1, values.shape)
            least = 1e-3 * self._noise * scale
            values += least * self._rng.uniform(-1, 1, values.shape)
            # What cancels leaves nothing at all as often as next to nothing.
            values[(np.abs(values) <= least) & (self._rng.random(values.shape) < 0.5)] = 0.0
        return _Result(values, before)

    def _field(self, name: str) -> Array:
        fields = self._panel.fields
        if name == "vwap" and name not in fields:
            return (fields["high"] + fields["low"] + fields["close"]).astype(np.float64) / 3
        return fields[name].astype(np.float64)


#: Operators that subtract nothing: what rounding moves is of the size of the result.
_OWN_SIZE = frozenset({"EXP", "POW", "PROD", "SCALE", "REGBETA"})

#: Operators whose results have no unit.
_NO_UNIT = frozenset(
    {"LOG", "TS_SKEW", "TS_KURT", "SKEW", "KURT", "TS_ZSCORE", "ZSCORE", "GROUP_ZSCORE"}
    | {"TS_CORR", "TS_PCTCHANGE"}
)


def _size(values: Array) -> float:
    return float(np.nanmedian(np.abs(values))) if np.isfinite(values).any() else 0.0


def _size_of(name: str, args: list[_Result]) -> float:
    """Return the size of what an operator subtracts to get its result."""
    if name in _NO_UNIT:
        return 1.0
    first = _size(args[0].values)
    if name == "TS_VAR":
        return first * first
    return first * _size(args[1].values) if name == "TS_COVARIANCE" else first


def _values(args: tuple[Expression, ...]) -> list[float]:
    return [arg.value for arg in args if isinstance(arg, Constant)]


def reference(expression: Expression, panel: Panel) -> Array:
    """Return the values of `expression`, NaN outside the universe."""
    return Reference(panel)(expression)


def unexplained(
    wrong: Bools, expression: Expression, panel: Panel, *, noise: float = 1e-12, runs: int = 40
) -> int:
    """Return how many of the cells `wrong` rounding does not decide.

    Rounding decides ties at the edge of a bin, and nothing against what rounding leaves of it.
    These cells of the reference move by more than a millionth when its intermediate values are
    moved by `noise`, which is above what the order of operations changes.
    """
    plain = reference(expression, panel)
    left = wrong.copy()
    for seed in range(runs):
        if not left.any():
            break
        left &= agree(Reference(panel, noise=noise, seed=seed)(expression), plain, rtol=1e-6)
    return int(left.sum())


def agree(actual: FloatArray, expected: FloatArray, *, rtol: float) -> Bools:
    """Return whether cells are equal up to `rtol`; both NaN is equal.

    A difference below 1e-12 of the largest value is no difference: it is what rounding leaves of
    values that cancel.
    """
    both: Bools = np.isnan(actual) & np.isnan(expected)
    top = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
    with np.errstate(invalid="ignore"):
        both |= np.abs(actual - expected) <= rtol * np.abs(expected) + 1e-12 * top
    return both


# Calls and trees ----------------------------------------------------------------------------------

#: Where a sample call does not read close, volume, open.
_SAMPLE_FIELDS = {
    "POW": ("close", "open"),
    "EXP": ("close",),
    "GROUP_MEAN": ("close", "sector"),
    "GROUP_RANK": ("volume", "sector"),
    "GROUP_ZSCORE": ("close", "sector"),
    "WHERE": ("volume", "close", "open"),
    "AND": ("volume", "close"),
    "OR": ("volume", "close"),
}


def sample_call(name: str, window: int) -> Call:
    """Return operator `name` on fields, with `window` (or its smallest, if that is larger)."""
    operator = OPERATORS[name]
    names = iter(_SAMPLE_FIELDS.get(name, ("close", "volume", "open")))
    window = max(window, operator.min_window)
    last = {"TS_QUANTILE": 0.3, "SMA": 2.0 if window >= 2 else 1.0, "SCALE": 2.5}.get(name, 0.0)
    args = [
        Field(next(names)) if kind == "series" else constant(window if kind == "window" else last)
        for kind in operator.arguments
    ]
    result = call(name, *args)
    assert isinstance(result, Call)
    return result


def sample_calls(window: int) -> list[Call]:
    """Return every operator on fields, cell by cell also on a number, and fits to a sequence."""
    calls = [sample_call(name, window) for name in sorted(OPERATORS) if name != "SEQUENCE"]
    for name in ("REGBETA", "REGRESI", "TS_CORR", "TS_COVARIANCE"):
        n = constant(max(window, OPERATORS[name].min_window))
        sequence = call("SEQUENCE", n)
        regression = call(name, Field("close"), sequence, n)
        assert isinstance(regression, Call)
        calls.append(regression)
    for name, row in OPERATORS.items():
        if row.kind is Kind.ELEMENTWISE and len(row.arguments) == 2:
            left, right = Constant(0.5), Field("close")
            calls += [Call(name, (left, right)), Call(name, (right, left))]
    calls.append(Call("WHERE", (Field("volume"), Constant(1.5), Field("open"))))
    return calls


@dataclass(frozen=True, slots=True)
class Pair:
    """A tree as it was written, and its canonical form."""

    written: Expression
    canonical: Expression


def written(op: str, *args: Expression) -> Expression:
    """Return a node as it is written, in no canonical form."""
    return Call(op, args)


def _build(op: str, args: list[Pair], window: int, share: float) -> Pair:
    """Return `op` on pairs; the first of them where that is no call."""
    if op == "NEGATIVE":
        minus = Pair(Constant(-1.0), Constant(-1.0))
        return _build("MULTIPLY", [minus, args[0]], window, share)
    if op == "TREND":
        n = constant(window + 3)
        sequence = Call("SEQUENCE", (n,))
        plain = ("REGBETA", args[0].written, sequence, n)
        neat = (args[0].canonical, call("SEQUENCE", n), n)
        return _pair(plain, neat, args[0])
    name = {"LT": "GT", "LE": "GE"}.get(op, op)
    operator = OPERATORS[name]
    series = iter(args)
    parts: list[Pair] = []
    for kind in operator.arguments:
        if kind == "series":
            parts.append(next(series))
        else:
            number = share if kind == "number" else float(operator.min_window + window)
            parts.append(Pair(constant(number), constant(number)))
    return _pair((op, *(p.written for p in parts)), tuple(p.canonical for p in parts), args[0])


def _pair(
    plain: tuple[str, *tuple[Expression, ...]], neat: tuple[Expression, ...], other: Pair
) -> Pair:
    try:
        return Pair(written(plain[0], *plain[1:]), call(plain[0], *neat))
    except ExpressionError:  # a constant where values must vary, a number that is not defined
        return other


@cache
def _every_operator() -> tuple[str, ...]:
    names = [name for name in sorted(OPERATORS) if name != "SEQUENCE"]
    return (*names, "LT", "LE", "NEGATIVE", "TREND")


def pairs(names: tuple[str, ...] | None = None, max_leaves: int = 8) -> st.SearchStrategy[Pair]:
    """Return a strategy for trees of a few nodes out of `names`, every operator if not given."""
    chosen = _every_operator() if names is None else names
    fields = [Field(name) for name in ("close", "open", "volume")]
    numbers = [constant(value) for value in (-1.0, 0.0, 1.0, 0.001, 2.5, -3.0, 2.0)]
    leaf = st.one_of(*3 * [st.sampled_from(fields)], st.sampled_from(numbers))

    def grow(children: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
        return st.builds(
            _build,
            st.sampled_from(chosen),
            st.lists(children, min_size=3, max_size=3),
            st.integers(0, 4),
            st.sampled_from([0.5, 1.0, 0.25]),
        )

    return st.recursive(leaf.map(lambda node: Pair(node, node)), grow, max_leaves=max_leaves)


def expressions(max_leaves: int = 8) -> st.SearchStrategy[Expression]:
    """Return a strategy for canonical expressions of a few nodes."""
    return pairs(max_leaves=max_leaves).map(lambda pair: pair.canonical)
