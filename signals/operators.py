"""The operator table: adding an operator is adding one row."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from signals import (
    averages,
    comoments,
    cross_section,
    elementwise,
    groups,
    higher_moments,
    moments,
    order,
    quantiles,
    rolling,
)
from signals.nodes import Call, Constant, Expression
from signals.panel import FloatArray

Argument = Literal["series", "window", "number"]


class Kind(StrEnum):
    """What an operator looks at, and so how its kernel is called."""

    ELEMENTWISE = "elementwise"  # kernel(*arguments, out=)
    CROSS_SECTION = "cross_section"  # kernel(*arguments, universe=, out=)
    TIME_SERIES = "time_series"  # kernel(*arguments, origin=, out=)


def _of_nothing(*_: float) -> int:
    """Count nothing: 0."""
    return 0


#: What a value is where something is missing, or equal; a rule is written once.
PLAIN = "NaN where an argument is missing or the formula is not defined"
COMPARED = "NaN where either is missing; equal to 20 significant bits is equal"
WINDOWED = "missing values are skipped; NaN unless 80 % of the window is there"
PAIRED = "pairs with a missing value are skipped; NaN unless 80 % of the window is there"
SHIFTED = "NaN where either session is missing"
OF_SESSION = "missing values and assets outside the universe are left out"
RANKED = "missing values are left out; equal to 20 significant bits share their mean rank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One row of the table.

    Parameters
    ----------
    name : str
        As written in an expression.
    kind : Kind
        Elementwise, over the assets of a session, or over the sessions of an asset.
    arguments : tuple of {"series", "window", "number"}
        What each argument is. A series is any expression; a window is a whole number of sessions,
        a number any constant; both are known before evaluation.
    defaults : tuple of float
        Values of the last arguments where they are left out.
    kernel : callable
        Arrays (or floats, for constants) in; fills `out`, an array of the same dtype, and returns
        it. It is given no infinite value and returns none: what is not finite is NaN.
    behind : callable of numbers to int
        Sessions needed behind the current one, of the arguments that are windows and numbers; its
        docstring is the formula.
    min_window : int
        Smallest window.
    accepts, rule : callable of numbers to bool, str
        Whether windows and numbers fit together, and what they must be.
    commutative, associative, idempotent : bool
        Whether series arguments may be swapped, nested calls regrouped, equal ones dropped.
    boolean : bool
        Whether the result is 0 or 1.
    doc, formula, missing, deviates, source : str
        One line each: the meaning, the formula, what happens to missing values and ties, where the
        published code of AlphaAgent does something else, and whose the operator is.
    """

    name: str
    kind: Kind
    arguments: tuple[Argument, ...]
    kernel: Callable[..., FloatArray]
    doc: str
    formula: str
    missing: str
    deviates: str = ""
    source: str = "AlphaAgent"
    defaults: tuple[float, ...] = ()
    behind: Callable[..., int] = _of_nothing
    min_window: int = 1
    accepts: Callable[..., bool] = lambda *_: True
    rule: str = ""
    commutative: bool = False
    associative: bool = False
    idempotent: bool = False
    boolean: bool = False

    @property
    def arity(self) -> tuple[int, int]:
        """Fewest and most arguments."""
        return len(self.arguments) - len(self.defaults), len(self.arguments)

    @property
    def signature(self) -> str:
        """The call as documented, for instance `TS_CORR(series, series, window=5)`."""
        fewest, _ = self.arity
        parts = [
            kind if i < fewest else f"{kind}={self.defaults[i - fewest]:g}"
            for i, kind in enumerate(self.arguments)
        ]
        return f"{self.name}({', '.join(parts)})"

    def complete(self, args: tuple[Expression, ...]) -> tuple[Expression, ...]:
        """Return `args` with the defaults of what is left out."""
        missing = len(self.arguments) - len(args)
        if not 0 < missing <= len(self.defaults):
            return args
        return (*args, *map(Constant, self.defaults[len(self.defaults) - missing :]))

    def numbers(self, args: tuple[Expression, ...]) -> tuple[int | float, ...]:
        """Return the windows (whole) and numbers among complete arguments."""
        return tuple(
            int(arg.value) if kind == "window" else arg.value
            for kind, arg in zip(self.arguments, args, strict=True)
            if kind != "series" and isinstance(arg, Constant)
        )

    def lookback(self, args: tuple[Expression, ...]) -> int:
        """Return the sessions this operator alone needs behind the current one."""
        return self.behind(*self.numbers(args))


_ONE: tuple[Argument, ...] = ("series",)
_TWO: tuple[Argument, ...] = ("series", "series")
_THREE: tuple[Argument, ...] = ("series", "series", "series")


def _elementwise(
    name: str,
    kernel: Callable[..., FloatArray],
    arguments: tuple[Argument, ...],
    doc: str,
    formula: str,
    *,
    missing: str = PLAIN,
    deviates: str = "",
    commutative: bool = False,
    associative: bool = False,
    idempotent: bool = False,
    boolean: bool = False,
) -> Operator:
    return Operator(
        name=name,
        kind=Kind.ELEMENTWISE,
        arguments=arguments,
        kernel=kernel,
        doc=doc,
        formula=formula,
        missing=missing,
        deviates=deviates,
        commutative=commutative,
        associative=associative,
        idempotent=idempotent,
        boolean=boolean,
    )


def _cross_section(
    name: str,
    kernel: Callable[..., FloatArray],
    doc: str,
    formula: str,
    *,
    arguments: tuple[Argument, ...] = _ONE,
    defaults: tuple[float, ...] = (),
    missing: str = OF_SESSION,
    deviates: str = "",
    source: str = "AlphaAgent",
) -> Operator:
    return Operator(
        name=name,
        kind=Kind.CROSS_SECTION,
        arguments=arguments,
        defaults=defaults,
        kernel=kernel,
        doc=doc,
        formula=formula,
        missing=missing,
        deviates=deviates,
        source=source,
    )


def _of_window(window: int, *_: float) -> int:
    """Count the window but today: n - 1."""
    return window - 1


def _of_shift(sessions: int) -> int:
    """Count the shift: n."""
    return sessions


def _of_span(span: int) -> int:
    """Count ten spans but today: 10 s - 1."""
    return averages.EMA_SPANS * span - 1


def _of_smoothing(m: int, n: float) -> int:
    """Count ten spans of 2m/n - 1 but today: 10 (2m/n - 1) - 1, rounded up."""
    return averages.smoothing_window(m, n) - 1


def _time_series(
    name: str,
    kernel: Callable[..., FloatArray],
    doc: str,
    formula: str,
    *,
    series: tuple[Argument, ...] = _ONE,
    number: float | None = None,
    default: int = 5,
    behind: Callable[..., int] = _of_window,
    min_window: int = 1,
    accepts: Callable[..., bool] = lambda *_: True,
    rule: str = "",
    missing: str = "",
    deviates: str = "",
    source: str = "AlphaAgent",
    commutative: bool = False,
) -> Operator:
    arguments: tuple[Argument, ...] = (*series, "window")
    return Operator(
        name=name,
        kind=Kind.TIME_SERIES,
        arguments=arguments if number is None else (*arguments, "number"),
        defaults=(float(default),) if number is None else (float(default), number),
        kernel=kernel,
        behind=behind,
        min_window=min_window,
        accepts=accepts,
        rule=rule,
        commutative=commutative,
        doc=doc,
        formula=formula,
        missing=missing or (PAIRED if len(series) == 2 else WINDOWED),
        deviates=deviates,
        source=source,
    )


_WARMS_UP = "its windows start with one session (min_periods=1)"

_ELEMENTWISE = (
    _elementwise(
        "ADD",
        elementwise.add,
        _TWO,
        "Sum; written x + y.",
        "x + y",
        commutative=True,
        associative=True,
    ),
    _elementwise("SUBTRACT", elementwise.subtract, _TWO, "Difference; written x - y.", "x - y"),
    _elementwise(
        "MULTIPLY",
        elementwise.multiply,
        _TWO,
        "Product; written x * y.",
        "x · y",
        commutative=True,
        associative=True,
    ),
    _elementwise(
        "DIVIDE",
        elementwise.divide,
        _TWO,
        "Quotient; written x / y.",
        "x / y",
        deviates="a division by zero gives ±inf, which passes through",
    ),
    _elementwise(
        "POW",
        elementwise.power,
        _TWO,
        "Power; written x ^ y or POW(x, y).",
        "x^y",
        deviates="only a constant exponent",
    ),
    _elementwise("ABS", elementwise.absolute, _ONE, "Absolute value.", "|x|"),
    _elementwise("SIGN", elementwise.sign, _ONE, "Sign: -1, 0 or 1.", "sgn(x)"),
    _elementwise(
        "LOG",
        elementwise.logarithm,
        _ONE,
        "Natural logarithm; NaN where x ≤ 0.",
        "ln(x)",
        deviates="its code computes ln(x + 1), its documentation says ln(x)",
    ),
    _elementwise("EXP", elementwise.exponential, _ONE, "Exponential.", "e^x"),
    _elementwise("SQRT", elementwise.square_root, _ONE, "Square root; NaN where x < 0.", "√x"),
    _elementwise("FLOOR", elementwise.floor, _ONE, "Largest whole number not above x.", "⌊x⌋"),
    _elementwise(
        "MAX",
        elementwise.maximum,
        _TWO,
        "Larger of two.",
        "max(x, y)",
        commutative=True,
        associative=True,
        idempotent=True,
        deviates="with one argument its code raises a TypeError; here that is CS_MAX",
    ),
    _elementwise(
        "MIN",
        elementwise.minimum,
        _TWO,
        "Smaller of two.",
        "min(x, y)",
        commutative=True,
        associative=True,
        idempotent=True,
        deviates="with one argument its code raises a TypeError; here that is CS_MIN",
    ),
    _elementwise(
        "GT",
        elementwise.greater,
        _TWO,
        "Whether x is greater; written x > y, or y < x.",
        "1 if x > y else 0",
        missing=COMPARED,
        boolean=True,
        deviates="a missing value compares as false",
    ),
    _elementwise(
        "GE",
        elementwise.greater_equal,
        _TWO,
        "Whether x is greater or equal; written x >= y, or y <= x.",
        "1 if x ≥ y else 0",
        missing=COMPARED,
        boolean=True,
        deviates="a missing value compares as false",
    ),
    _elementwise(
        "EQ",
        elementwise.equal,
        _TWO,
        "Whether x and y are equal; written x == y.",
        "1 if x = y else 0",
        missing=COMPARED,
        commutative=True,
        boolean=True,
        deviates="a missing value compares as false",
    ),
    _elementwise(
        "NE",
        elementwise.not_equal,
        _TWO,
        "Whether x and y differ; written x != y.",
        "1 if x ≠ y else 0",
        missing=COMPARED,
        commutative=True,
        boolean=True,
        deviates="a missing value compares as true",
    ),
    _elementwise(
        "AND",
        elementwise.logical_and,
        _TWO,
        "Whether both are not 0; written x && y.",
        "1 if x ≠ 0 and y ≠ 0 else 0",
        commutative=True,
        associative=True,
        boolean=True,
    ),
    _elementwise(
        "OR",
        elementwise.logical_or,
        _TWO,
        "Whether either is not 0; written x || y.",
        "1 if x ≠ 0 or y ≠ 0 else 0",
        commutative=True,
        associative=True,
        boolean=True,
    ),
    _elementwise(
        "WHERE",
        elementwise.where,
        _THREE,
        "Choice; written condition ? x : y.",
        "x if condition ≠ 0 else y",
        missing="NaN where the condition or what it chooses is missing",
        deviates="a missing condition counts as false",
    ),
)

_NEVER_ROOT = "as the root of a factor its result is lost (pandas 1.5.3)"

_CROSS_SECTION = (
    _cross_section(
        "RANK",
        cross_section.rank,
        "Percentile rank in the session, in (0, 1].",
        "mean rank of x / n",
        missing=RANKED,
    ),
    _cross_section(
        "ZSCORE", cross_section.zscore, "Standard score in the session.", "(x - mean(x)) / sd(x)"
    ),
    _cross_section(
        "SCALE",
        cross_section.scale,
        "x with its absolute values summing to a target.",
        "x · target / Σ |x|",
        arguments=("series", "number"),
        defaults=(1.0,),
    ),
    _cross_section(
        "MEAN", cross_section.mean, "Mean of the session.", "Σ x / n", deviates=_NEVER_ROOT
    ),
    _cross_section(
        "STD",
        cross_section.deviation,
        "Standard deviation of the session.",
        "√(Σ (x - mean)² / (n - 1))",
        deviates=_NEVER_ROOT,
    ),
    _cross_section(
        "SKEW",
        cross_section.skewness,
        "Skewness of the session, unbiased.",
        "n √(n-1) / (n-2) · Σd³ / (Σd²)^1.5, d = x - mean",
        deviates=_NEVER_ROOT,
    ),
    _cross_section(
        "KURT",
        cross_section.kurtosis,
        "Excess kurtosis of the session, unbiased.",
        "n (n+1) (n-1) / ((n-2) (n-3)) · Σd⁴ / (Σd²)² - 3 (n-1)² / ((n-2) (n-3))",
        deviates="its code raises an error (pandas 1.5.3)",
    ),
    _cross_section(
        "MEDIAN", cross_section.median, "Median of the session.", "median(x)", deviates=_NEVER_ROOT
    ),
    _cross_section(
        "CS_MAX",
        cross_section.largest,
        "Largest value of the session; also MAX(x).",
        "max x",
        deviates="its code raises a TypeError",
    ),
    _cross_section(
        "CS_MIN",
        cross_section.smallest,
        "Smallest value of the session; also MIN(x).",
        "min x",
        deviates="its code raises a TypeError",
    ),
    _cross_section(
        "GROUP_MEAN",
        groups.group_mean,
        "Mean of the session's assets of the same group.",
        "mean of x where g is equal",
        arguments=_TWO,
        source="FASTEXPR",
    ),
    _cross_section(
        "GROUP_RANK",
        groups.group_rank,
        "Percentile rank within the group, in (0, 1].",
        "mean rank of x / n where g is equal",
        arguments=_TWO,
        source="FASTEXPR",
        missing=RANKED,
    ),
    _cross_section(
        "GROUP_ZSCORE",
        groups.group_zscore,
        "Standard score within the group.",
        "(x - mean) / sd where g is equal",
        arguments=_TWO,
        source="FASTEXPR",
    ),
)


def _is_share(_: int, share: float) -> bool:
    return 0.0 <= share <= 1.0


def _is_smoothing(m: int, n: float) -> bool:
    return m / 1000 <= n <= m


_TIME_SERIES = (
    _time_series(
        "DELAY",
        order.delay,
        "Value of n sessions ago.",
        "x[t-n]",
        default=1,
        behind=_of_shift,
        missing="NaN where that session is missing",
    ),
    _time_series(
        "DELTA",
        order.delta,
        "Change over n sessions.",
        "x[t] - x[t-n]",
        default=1,
        behind=_of_shift,
        missing=SHIFTED,
    ),
    _time_series(
        "TS_PCTCHANGE",
        order.relative_change,
        "Relative change over n sessions.",
        "x[t] / x[t-n] - 1",
        default=1,
        behind=_of_shift,
        missing=SHIFTED,
        deviates="it pads over missing values, then fills 0",
    ),
    _time_series("TS_SUM", rolling.rolling_sum, "Sum of n sessions.", "Σ x", deviates=_WARMS_UP),
    _time_series(
        "TS_MEAN", rolling.rolling_mean, "Mean of n sessions.", "Σ x / n", deviates=_WARMS_UP
    ),
    _time_series(
        "PROD",
        rolling.rolling_product,
        "Product of n sessions.",
        "Π x",
        deviates="a missing value makes it NaN",
    ),
    _time_series(
        "TS_STD",
        moments.rolling_deviation,
        "Standard deviation of n sessions.",
        "√(Σ (x - mean)² / (n - 1))",
        default=20,
        min_window=2,
        deviates=_WARMS_UP,
    ),
    _time_series(
        "TS_VAR",
        moments.rolling_variance,
        "Variance of n sessions.",
        "Σ (x - mean)² / (n - 1)",
        min_window=2,
        deviates=_WARMS_UP,
    ),
    _time_series(
        "TS_SKEW",
        higher_moments.rolling_skewness,
        "Skewness of n sessions, unbiased.",
        "n √(n-1) / (n-2) · Σd³ / (Σd²)^1.5, d = x - mean",
        default=20,
        source="qlib",
        min_window=3,
    ),
    _time_series(
        "TS_KURT",
        higher_moments.rolling_kurtosis,
        "Excess kurtosis of n sessions, unbiased.",
        "n (n+1) (n-1) / ((n-2) (n-3)) · Σd⁴ / (Σd²)² - 3 (n-1)² / ((n-2) (n-3))",
        default=20,
        source="qlib",
        min_window=4,
    ),
    _time_series(
        "TS_ZSCORE",
        moments.rolling_zscore,
        "Standard score of today among n sessions.",
        "(x[t] - mean) / sd",
        min_window=2,
        deviates=_WARMS_UP,
    ),
    _time_series(
        "TS_MAX", order.rolling_max, "Largest value of n sessions.", "max x", deviates=_WARMS_UP
    ),
    _time_series(
        "TS_MIN", order.rolling_min, "Smallest value of n sessions.", "min x", deviates=_WARMS_UP
    ),
    _time_series(
        "TS_ARGMAX",
        order.rolling_argmax,
        "Sessions since the largest of n, 0 for today.",
        "t - argmax x",
        missing=f"{WINDOWED}; the oldest of equals",
        deviates="a window with a missing value gives the age of that value",
    ),
    _time_series(
        "TS_ARGMIN",
        order.rolling_argmin,
        "Sessions since the smallest of n, 0 for today.",
        "t - argmin x",
        missing=f"{WINDOWED}; the oldest of equals",
        deviates="a window with a missing value gives the age of that value",
    ),
    _time_series(
        "TS_RANK",
        order.rolling_rank,
        "Percentile rank of today among n sessions, in (0, 1].",
        "mean rank of x[t] / n",
        min_window=2,
        missing=f"{WINDOWED}, or today is missing; equals share their mean rank",
        deviates=_WARMS_UP,
    ),
    _time_series(
        "TS_QUANTILE",
        quantiles.rolling_quantile,
        "Quantile q of n sessions, linear between neighbours.",
        "x at rank 1 + q (n - 1)",
        number=0.5,
        accepts=_is_share,
        rule="a quantile lies between 0 and 1",
        deviates=_WARMS_UP,
    ),
    _time_series(
        "TS_MEDIAN",
        quantiles.rolling_median,
        "Median of n sessions.",
        "median(x)",
        deviates=_WARMS_UP,
    ),
    _time_series(
        "TS_MAD",
        quantiles.rolling_mad,
        "Median absolute deviation of n sessions.",
        "median |x - median(x)|",
        deviates="a missing value makes it NaN",
    ),
    _time_series(
        "DECAYLINEAR",
        averages.rolling_linear,
        "Average of n sessions with linear weights, newest heaviest.",
        "Σ (n - age) x / Σ (n - age)",
        deviates="its weights are not renormalised in the first n - 1 sessions",
    ),
    _time_series(
        "EMA",
        averages.rolling_exponential,
        "Exponential average of span s over 10 s sessions.",
        "Σ (1 - α)^age x / Σ (1 - α)^age, α = 2 / (s + 1)",
        behind=_of_span,
        deviates="it depends on where the data starts, and carries on over missing values",
    ),
    Operator(
        name="SMA",
        kind=Kind.TIME_SERIES,
        arguments=("series", "window", "number"),
        kernel=averages.rolling_smoothed,
        doc="Exponential average of weight n/m over 10 spans of 2m/n - 1 sessions.",
        formula="Σ (1 - α)^age x / Σ (1 - α)^age, α = n / m",
        missing=WINDOWED,
        behind=_of_smoothing,
        accepts=_is_smoothing,
        rule="the weight n/m lies between 0.001 and 1",
        deviates="it depends on where the data starts",
    ),
    _time_series(
        "TS_CORR",
        comoments.rolling_correlation,
        "Correlation over n sessions, in [-1, 1].",
        "cov(x, y) / (sd(x) · sd(y))",
        series=_TWO,
        min_window=3,
        commutative=True,
        deviates="of two series its index is unusable (pandas 1.5.3)",
    ),
    _time_series(
        "TS_COVARIANCE",
        comoments.rolling_covariance,
        "Covariance over n sessions.",
        "Σ (x - mean(x)) (y - mean(y)) / (n - 1)",
        series=_TWO,
        min_window=2,
        commutative=True,
        deviates="of two series its index is unusable (pandas 1.5.3)",
    ),
    _time_series(
        "REGBETA",
        comoments.rolling_slope,
        "Slope of x on y over n sessions, with an intercept.",
        "cov(x, y) / var(y)",
        series=_TWO,
        min_window=2,
        deviates="missing values count as 0",
    ),
    _time_series(
        "REGRESI",
        comoments.rolling_residual,
        "Today's residual of x regressed on y over n sessions, with an intercept.",
        "x[t] - mean(x) - β (y[t] - mean(y))",
        series=_TWO,
        min_window=3,
        deviates="missing values count as 0",
    ),
    Operator(
        name="SEQUENCE",
        kind=Kind.TIME_SERIES,
        arguments=("window",),
        kernel=comoments.session_number,
        doc="The sessions of a window counted 1 to n: a regressor beside a series.",
        formula="1, 2, …, n",
        missing="never missing",
        deviates="beside a series and the same n its code raises an error",
    ),
)

_ROWS = (*_ELEMENTWISE, *_CROSS_SECTION, *_TIME_SERIES)

#: The operators that read SEQUENCE(n), for the n of their own window.
_REGRESSIONS = frozenset({"REGBETA", "REGRESI", "TS_CORR", "TS_COVARIANCE"})

#: Every operator by name.
OPERATORS: Mapping[str, Operator] = MappingProxyType({row.name: row for row in _ROWS})


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a call is none: what was found, in which argument (None: the call), and the way out."""

    argument: int | None
    fact: str
    rule: str
    hint: str


def nearest(name: str) -> str:
    """Return a hint that names the operators spelled most like `name`."""
    close = difflib.get_close_matches(name.upper(), OPERATORS, n=2, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"the operators are {', '.join(sorted(OPERATORS))}"


def fault(name: str, args: tuple[Expression, ...]) -> Fault | None:
    """Return what is wrong with a call of operator `name`, None if nothing is.

    Arguments that are left out must have been completed (`Operator.complete`).
    """
    operator = OPERATORS.get(name)
    if operator is None:
        return Fault(
            None, f"unknown operator {name!r}", "an operator is one of the table", nearest(name)
        )
    fewest, most = operator.arity
    usage = f"write {operator.signature}"
    if len(args) != most:
        takes = f"{most}" if fewest == most else f"{fewest} to {most}"
        return Fault(None, f"{name} has {len(args)} arguments", f"{name} takes {takes}", usage)
    for i, (kind, arg) in enumerate(zip(operator.arguments, args, strict=True)):
        wrong = _misfit(operator, kind, arg)
        if wrong is not None:
            return Fault(i, *wrong, usage)
    if not operator.accepts(*operator.numbers(args)):
        numbers = ", ".join(f"{number:g}" for number in operator.numbers(args))
        return Fault(None, f"{name} is given {numbers}", operator.rule, usage)
    return _misplaced_sequence(operator, args)


def _misfit(operator: Operator, kind: Argument, arg: Expression) -> tuple[str, str] | None:
    """Return fact and rule if `arg` is no argument of this kind."""
    number = arg.value if isinstance(arg, Constant) else None
    if kind == "series":
        if number is None or operator.kind is Kind.ELEMENTWISE:
            return None
        return f"{operator.name} is given the constant {arg}", "it needs values that vary"
    if number is None:
        rule = f"a {kind} is a plain number, known before evaluation"
        return f"{operator.name} is given {arg} as its {kind}", rule
    if kind == "window" and not (number.is_integer() and number >= operator.min_window):
        rule = f"a window is a whole number of sessions, here at least {operator.min_window}"
        return f"{operator.name} is given a window of {arg}", rule
    return None


def _misplaced_sequence(operator: Operator, args: tuple[Expression, ...]) -> Fault | None:
    """Return a Fault if SEQUENCE(n) stands anywhere but in a regression over n sessions."""
    for i, arg in enumerate(args):
        if isinstance(arg, Call) and arg.op == "SEQUENCE":
            window = args[-1]
            if operator.name in _REGRESSIONS and arg.args[0] is window:
                continue
            return Fault(
                i,
                f"{operator.name} is given {arg}",
                "SEQUENCE(n) is a regressor over the same n sessions",
                "write it as in REGBETA($close, SEQUENCE(20), 20)",
            )
    return None


def lookback(expression: Expression) -> int:
    """Return the sessions an expression needs behind the current one; 0 for a field."""
    behind = max(map(lookback, expression.args), default=0)
    op = getattr(expression, "op", None)
    return behind if op is None else behind + OPERATORS[op].lookback(expression.args)
