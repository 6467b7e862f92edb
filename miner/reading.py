"""An expression read as plain English."""

from __future__ import annotations

from types import MappingProxyType

from signals.expression import Call, Constant, Expression, Field
from signals.operators import OPERATORS

#: How a call is read: `{0}`, `{1}`, `{2}` are its series, `{n}` its window, `{q}` its number.
TEMPLATES = MappingProxyType(
    {
        "ADD": "{0} plus {1}",
        "SUBTRACT": "{0} minus {1}",
        "MULTIPLY": "{0} times {1}",
        "DIVIDE": "{0} over {1}",
        "POW": "{0} to the power of {1}",
        "ABS": "absolute value of {0}",
        "SIGN": "sign of {0}",
        "LOG": "logarithm of {0}",
        "EXP": "exponential of {0}",
        "SQRT": "square root of {0}",
        "FLOOR": "whole part of {0}",
        "MAX": "larger of {0} and {1}",
        "MIN": "smaller of {0} and {1}",
        "GT": "whether {0} exceeds {1}",
        "GE": "whether {0} is at least {1}",
        "EQ": "whether {0} equals {1}",
        "NE": "whether {0} differs from {1}",
        "AND": "whether {0} and {1}",
        "OR": "whether {0} or {1}",
        "WHERE": "{1} where {0}, else {2}",
        "RANK": "rank across assets of {0}",
        "ZSCORE": "standard score across assets of {0}",
        "SCALE": "share across assets of {0}",
        "MEAN": "mean across assets of {0}",
        "STD": "standard deviation across assets of {0}",
        "SKEW": "skewness across assets of {0}",
        "KURT": "kurtosis across assets of {0}",
        "MEDIAN": "median across assets of {0}",
        "CS_MAX": "maximum across assets of {0}",
        "CS_MIN": "minimum across assets of {0}",
        "GROUP_MEAN": "mean over its industry ({1}) of {0}",
        "GROUP_RANK": "rank in its industry ({1}) of {0}",
        "GROUP_ZSCORE": "standard score in its industry ({1}) of {0}",
        "DELAY": "{0} {n} before",
        "DELTA": "change over {n} of {0}",
        "TS_PCTCHANGE": "relative change over {n} of {0}",
        "TS_SUM": "sum over {n} of {0}",
        "TS_MEAN": "mean over {n} of {0}",
        "PROD": "product over {n} of {0}",
        "TS_STD": "standard deviation over {n} of {0}",
        "TS_VAR": "variance over {n} of {0}",
        "TS_SKEW": "skewness over {n} of {0}",
        "TS_KURT": "kurtosis over {n} of {0}",
        "TS_ZSCORE": "standard score among its own {n} of {0}",
        "TS_MAX": "maximum over {n} of {0}",
        "TS_MIN": "minimum over {n} of {0}",
        "TS_ARGMAX": "sessions since the maximum over {n} of {0}",
        "TS_ARGMIN": "sessions since the minimum over {n} of {0}",
        "TS_RANK": "rank among its own {n} of {0}",
        "TS_QUANTILE": "quantile {q} over {n} of {0}",
        "TS_MEDIAN": "median over {n} of {0}",
        "TS_MAD": "median deviation over {n} of {0}",
        "DECAYLINEAR": "linearly weighted average over {n} of {0}",
        "EMA": "exponential average of span {n} of {0}",
        "SMA": "exponential average of weight {q} by {n} of {0}",
        "TS_CORR": "correlation over {n} of {0} and {1}",
        "TS_COVARIANCE": "covariance over {n} of {0} and {1}",
        "REGBETA": "regression slope over {n} of {0} on {1}",
        "REGRESI": "regression residual over {n} of {0} on {1}",
        "SEQUENCE": "a count of {n}",
    }
)  # fmt: skip

_NAMES = {"amount": "traded value"}


def in_words(expression: Expression) -> str:
    """Return `expression` as English.

    `TS_MEAN($high / $low, 12)` is "mean over 12 sessions of (high over low)".
    """
    if isinstance(expression, Field):
        return _NAMES.get(expression.name, expression.name)
    if isinstance(expression, Constant):
        return str(expression)
    kinds = OPERATORS[expression.op].arguments
    parts = dict.fromkeys(("n", "q"), "")
    series = []
    for kind, arg in zip(kinds, expression.args, strict=True):
        if kind == "series":
            series.append(_operand(arg, among=kinds.count("series")))
        else:
            parts["n" if kind == "window" else "q"] = str(arg)
    if parts["n"]:
        parts["n"] += " session" if parts["n"] == "1" else " sessions"
    return TEMPLATES[expression.op].format(*series, **parts)


def _operand(expression: Expression, *, among: int) -> str:
    """Return an argument in words, in parentheses where its end would not be clear."""
    if not isinstance(expression, Call):
        return in_words(expression)
    of_several = "{1}" in TEMPLATES[expression.op]
    return f"({in_words(expression)})" if among > 1 or of_several else in_words(expression)
