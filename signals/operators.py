"""The operator table: adding an operator is adding one row."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import numpy as np

from signals import cross_section, moments, order, rolling
from signals.nodes import Constant, Expression
from signals.panel import FloatArray

Argument = Literal["series", "window", "number"]


class Kind(StrEnum):
    """What an operator looks at, and so how its kernel is called."""

    ELEMENTWISE = "elementwise"  # kernel(*arguments, out=)
    CROSS_SECTION = "cross_section"  # kernel(*arguments, universe=, out=)
    TIME_SERIES = "time_series"  # kernel(*arguments, origin=, out=)


_ONE: tuple[Argument, ...] = ("series",)
_TWO: tuple[Argument, ...] = ("series", "series")


def _none(_: int) -> int:
    return 0


def _window(window: int) -> int:
    return window - 1


def _shift(sessions: int) -> int:
    return sessions


def _spans(span: int) -> int:
    return rolling.EMA_SPANS * span - 1


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
        it. The evaluator turns ±inf into NaN.
    behind : callable of int to int
        Sessions needed behind the current one, of the window.
    min_window : int
        Smallest window.
    commutative, associative : bool
        Whether series arguments may be swapped, and nested calls regrouped.
    doc, formula : str
        One line each.
    """

    name: str
    kind: Kind
    arguments: tuple[Argument, ...]
    kernel: Callable[..., FloatArray]
    doc: str
    formula: str
    defaults: tuple[float, ...] = ()
    behind: Callable[[int], int] = _none
    min_window: int = 1
    commutative: bool = False
    associative: bool = False

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

    def lookback(self, args: tuple[Expression, ...]) -> int:
        """Return the sessions this operator alone needs behind the current one."""
        for kind, arg in zip(self.arguments, args, strict=True):
            if kind == "window" and isinstance(arg, Constant):
                return self.behind(int(arg.value))
        return 0


def _elementwise(
    name: str,
    function: Callable[..., FloatArray],
    arguments: tuple[Argument, ...],
    doc: str,
    formula: str,
    *,
    commutative: bool = False,
    associative: bool = False,
) -> Operator:
    return Operator(
        name=name,
        kind=Kind.ELEMENTWISE,
        arguments=arguments,
        kernel=function,
        doc=doc,
        formula=formula,
        commutative=commutative,
        associative=associative,
    )


def _cross_section(
    name: str, kernel: Callable[..., FloatArray], doc: str, formula: str
) -> Operator:
    return Operator(
        name=name,
        kind=Kind.CROSS_SECTION,
        arguments=("series",),
        kernel=kernel,
        doc=doc,
        formula=formula,
    )


def _time_series(
    name: str,
    kernel: Callable[..., FloatArray],
    doc: str,
    formula: str,
    *,
    default: int = 5,
    behind: Callable[[int], int] = _window,
    min_window: int = 1,
    n_series: Literal[1, 2] = 1,
) -> Operator:
    series = _ONE if n_series == 1 else _TWO
    return Operator(
        name=name,
        kind=Kind.TIME_SERIES,
        arguments=(*series, "window"),
        defaults=(float(default),),
        kernel=kernel,
        behind=behind,
        min_window=min_window,
        commutative=n_series == 2,
        doc=doc,
        formula=formula,
    )


_ROWS = (
    _elementwise(
        "ADD", np.add, _TWO, "Sum; written x + y.", "x + y", commutative=True, associative=True
    ),
    _elementwise("SUBTRACT", np.subtract, _TWO, "Difference; written x - y.", "x - y"),
    _elementwise(
        "MULTIPLY",
        np.multiply,
        _TWO,
        "Product; written x * y.",
        "x · y",
        commutative=True,
        associative=True,
    ),
    _elementwise("DIVIDE", np.divide, _TWO, "Quotient; written x / y. NaN where y is 0.", "x / y"),
    _elementwise("ABS", np.abs, _ONE, "Absolute value.", "|x|"),
    _elementwise("SIGN", np.sign, _ONE, "Sign: -1, 0 or 1.", "sgn(x)"),
    _elementwise("LOG", np.log, _ONE, "Natural logarithm. NaN where x ≤ 0.", "ln(x)"),
    _elementwise("SQRT", np.sqrt, _ONE, "Square root. NaN where x < 0.", "√x"),
    _elementwise("POW", np.power, ("series", "number"), "Power with a constant exponent.", "x^p"),
    _elementwise(
        "MAX",
        np.maximum,
        _TWO,
        "Larger of two; NaN if either is.",
        "max(x, y)",
        commutative=True,
        associative=True,
    ),
    _elementwise(
        "MIN",
        np.minimum,
        _TWO,
        "Smaller of two; NaN if either is.",
        "min(x, y)",
        commutative=True,
        associative=True,
    ),
    _cross_section(
        "RANK",
        cross_section.rank,
        "Percentile rank in the session, in (0, 1].",
        "mean rank of x / n",
    ),
    _cross_section(
        "ZSCORE", cross_section.zscore, "Standard score in the session.", "(x - mean(x)) / sd(x)"
    ),
    _time_series(
        "DELAY", order.delay, "Value of n sessions ago.", "x[t-n]", default=1, behind=_shift
    ),
    _time_series(
        "DELTA", order.delta, "Change over n sessions.", "x[t] - x[t-n]", default=1, behind=_shift
    ),
    _time_series(
        "TS_PCTCHANGE",
        order.relative_change,
        "Relative change over n sessions.",
        "x[t] / x[t-n] - 1",
        default=1,
        behind=_shift,
    ),
    _time_series("TS_SUM", rolling.rolling_sum, "Sum of n sessions.", "Σ x"),
    _time_series("TS_MEAN", rolling.rolling_mean, "Mean of n sessions.", "Σ x / n"),
    _time_series(
        "TS_STD",
        moments.rolling_deviation,
        "Standard deviation of n sessions.",
        "√(Σ (x - mean)² / (n - 1))",
        default=20,
        min_window=2,
    ),
    _time_series(
        "TS_VAR",
        moments.rolling_variance,
        "Variance of n sessions.",
        "Σ (x - mean)² / (n - 1)",
        min_window=2,
    ),
    _time_series(
        "TS_ZSCORE",
        moments.rolling_zscore,
        "Standard score of today among n sessions.",
        "(x[t] - mean) / sd",
        min_window=2,
    ),
    _time_series("TS_MAX", order.rolling_max, "Largest value of n sessions.", "max x"),
    _time_series("TS_MIN", order.rolling_min, "Smallest value of n sessions.", "min x"),
    _time_series(
        "TS_ARGMAX",
        order.rolling_argmax,
        "Sessions since the largest of n, 0 for today.",
        "t - argmax x",
    ),
    _time_series(
        "TS_ARGMIN",
        order.rolling_argmin,
        "Sessions since the smallest of n, 0 for today.",
        "t - argmin x",
    ),
    _time_series(
        "TS_RANK",
        order.rolling_rank,
        "Percentile rank of today among n sessions, in (0, 1].",
        "mean rank of x[t] / n",
        min_window=2,
    ),
    _time_series(
        "TS_CORR",
        moments.rolling_correlation,
        "Correlation over n sessions, in [-1, 1].",
        "cov(x, y) / (sd(x) · sd(y))",
        min_window=3,
        n_series=2,
    ),
    _time_series(
        "TS_COVARIANCE",
        moments.rolling_covariance,
        "Covariance over n sessions.",
        "Σ (x - mean(x)) (y - mean(y)) / (n - 1)",
        min_window=2,
        n_series=2,
    ),
    _time_series(
        "DECAYLINEAR",
        rolling.rolling_linear,
        "Average of n sessions with linear weights, newest heaviest.",
        "Σ (n - age) x / Σ (n - age)",
    ),
    _time_series(
        "EMA",
        rolling.rolling_exponential,
        "Exponential average of span s over 10 s sessions.",
        "Σ (1 - α)^age x / Σ (1 - α)^age, α = 2 / (s + 1)",
        behind=_spans,
    ),
)

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
    if len(args) != most:
        takes = f"{most}" if fewest == most else f"{fewest} to {most}"
        return Fault(
            None,
            f"{name} has {len(args)} arguments",
            f"{name} takes {takes}",
            f"write {operator.signature}",
        )
    for i, (kind, arg) in enumerate(zip(operator.arguments, args, strict=True)):
        number = arg.value if isinstance(arg, Constant) else None
        if kind == "series":
            if number is None or operator.kind is Kind.ELEMENTWISE:
                continue
            return Fault(
                i,
                f"{name} is given the constant {arg}",
                "it needs values that vary",
                f"write {operator.signature}",
            )
        if number is None:
            return Fault(
                i,
                f"{name} is given {arg} as its {kind}",
                f"a {kind} is a plain number, known before evaluation",
                f"write {operator.signature}",
            )
        if kind == "window" and not (number.is_integer() and number >= operator.min_window):
            return Fault(
                i,
                f"{name} is given a window of {arg}",
                f"a window is a whole number of sessions, here at least {operator.min_window}",
                f"write {operator.signature}",
            )
    return None


def lookback(expression: Expression) -> int:
    """Return the sessions an expression needs behind the current one; 0 for a field."""
    behind = max(map(lookback, expression.args), default=0)
    op = getattr(expression, "op", None)
    return behind if op is None else behind + OPERATORS[op].lookback(expression.args)
