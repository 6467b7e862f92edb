"""What operators make of a sign, of an added number and of the order of their argument."""

from __future__ import annotations

#: Operators that turn with the sign of their first argument, up to a number.
ODD = frozenset({"DELAY", "DELTA", "TS_MEAN", "DECAYLINEAR", "EMA", "SMA", "TS_MEDIAN"}) | {
    *("TS_ZSCORE", "TS_SKEW", "TS_RANK", "REGRESI", "RANK", "ZSCORE", "SCALE", "MEAN", "MEDIAN"),
    *("SKEW", "SIGN", "GROUP_MEAN", "GROUP_RANK", "GROUP_ZSCORE"),
}
#: Those that are a number less where they turn.
RANKS = frozenset({"RANK", "TS_RANK", "GROUP_RANK"})
#: Operators that the sign of their first argument does not change.
EVEN = frozenset(("ABS", "TS_PCTCHANGE", "TS_STD", "TS_VAR", "TS_KURT", "TS_MAD", "STD", "KURT"))
#: Operators that turn with the sign of each of two arguments.
BILINEAR = frozenset({"TS_CORR", "TS_COVARIANCE", "REGBETA"})
#: What an operator on a turned argument is, turned: TS_MAX(-x, n) is -TS_MIN(x, n).
MIRRORS = {"TS_MAX": "TS_MIN", "CS_MAX": "CS_MIN", "MAX": "MIN"}
MIRRORS |= {there: here for here, there in MIRRORS.items()}
#: The same without a turn: the largest of -x was where the smallest of x was.
EXCHANGED = {"TS_ARGMAX": "TS_ARGMIN", "TS_ARGMIN": "TS_ARGMAX"}
#: Operators that see only the order of their first argument's values over sessions, over assets.
ORDER_OF_SESSIONS = frozenset({"TS_RANK", "TS_ARGMAX", "TS_ARGMIN"})
ORDER_OF_ASSETS = frozenset({"RANK", "GROUP_RANK"})
#: Operators that add to their values what is added to their first argument.
SHIFTED = frozenset({"DELAY", "TS_MEAN", "DECAYLINEAR", "EMA", "SMA", "TS_MEDIAN", "MEAN"}) | {
    *("MEDIAN", "GROUP_MEAN", "TS_MAX", "TS_MIN", "CS_MAX", "CS_MIN", "TS_QUANTILE"),
}
#: Operators to which it makes no difference what is added to their series.
UNSHIFTED = frozenset({"DELTA", "TS_STD", "TS_VAR", "TS_SKEW", "TS_KURT", "TS_MAD", "STD"}) | {
    *("SKEW", "KURT", "ZSCORE", "TS_ZSCORE", "GROUP_ZSCORE", "RANK", "TS_RANK", "GROUP_RANK"),
    *("TS_ARGMAX", "TS_ARGMIN", "TS_CORR", "TS_COVARIANCE", "REGBETA", "REGRESI"),
}
#: Operators that differ by a factor that is a number.
SAME = {"TS_SUM": "TS_MEAN"}
