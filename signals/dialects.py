"""Spellings of other libraries, each with its meaning in our language.

A row is the call as its library writes it and a template of what it means here, in which the names
of its arguments stand for what is given. A call is found by its exact name and its number of
arguments, before the operators of our own table; what those already mean is not repeated here
(qlib's `EMA` is ours). The names of the libraries differ in case, so they live side by side; where
two mean different things by one call, a note says which is read.

Missing values follow our rule everywhere: the libraries' windows start with one session
(`min_periods=1`), ours are NaN until 80 % of the window is there. Windows are whole numbers of at
least 1 session, so that qlib's `Ref(x, -1)` (the future), `Mean(x, 0)` (all sessions since the data
starts) and `EMA(x, 0.1)` are refused. Keyword arguments are not read.

Sources: the code of AlphaAgent (branch legacy-main, its `function_lib.py`, older versions for names
it has dropped), `qlib.data.ops` 0.9.7, Appendix A of Kakushadze (2015), arXiv 1601.00991, and the
operator list of WorldQuant BRAIN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Spelling:
    """One call of another library.

    Parameters
    ----------
    call : str
        As written there, for instance `IdxMax(x, n)`.
    meaning : str
        In our language, for instance `n - TS_ARGMAX(x, n)`.
    library : str
        Whose it is: AlphaAgent, qlib, Alpha101, FASTEXPR, or several of them.
    note : str
        Where the meaning deviates from what that library computes, or from another library's call
        of the same name, and why.
    """

    call: str
    meaning: str
    library: str
    note: str = ""

    @property
    def name(self) -> str:
        """The name that is called."""
        return self.call.partition("(")[0]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the arguments."""
        return tuple(part.strip() for part in self.call.partition("(")[2].rstrip(")").split(","))


_BANDS = "two standard deviations, as documented; the code adds one"
_DEFAULT = "the window the code defaults to"
_DROPPED = "a name AlphaAgent's first factor files use and its library no longer has"
_FLOORED = "a window that is no whole number is floored, as the paper says"
_AGE = "sessions since then, 0 for today, as WorldQuant documents it; the paper only says which day"
_CASES = f"{_FLOORED}; written in the paper with capitals"

_ALPHAAGENT = (
    Spelling("MAX(x)", "CS_MAX(x)", "AlphaAgent", "the code raises a TypeError"),
    Spelling("MIN(x)", "CS_MIN(x)", "AlphaAgent", "the code raises a TypeError"),
    Spelling("MAX(x, y, z)", "MAX(MAX(x, y), z)", "AlphaAgent"),
    Spelling("MIN(x, y, z)", "MIN(MIN(x, y), z)", "AlphaAgent"),
    Spelling("INV(x)", "1 / x", "AlphaAgent", "NaN where x is 0, the code gives ±inf"),
    Spelling("SMA(x, m)", "TS_MEAN(x, m)", "AlphaAgent", "with three arguments it is exponential"),
    Spelling("SUMAC(x, n)", "TS_SUM(x, n)", "AlphaAgent"),
    Spelling("SUMAC(x)", "TS_SUM(x, 10)", "AlphaAgent", _DEFAULT),
    Spelling("HIGHDAY(x, n)", "TS_ARGMAX(x, n) + 1", "AlphaAgent"),
    Spelling("HIGHDAY(x)", "TS_ARGMAX(x, 5) + 1", "AlphaAgent", _DEFAULT),
    Spelling("LOWDAY(x, n)", "TS_ARGMIN(x, n) + 1", "AlphaAgent"),
    Spelling("LOWDAY(x)", "TS_ARGMIN(x, 5) + 1", "AlphaAgent", _DEFAULT),
    Spelling("PERCENTILE(x, q, n)", "TS_QUANTILE(x, n, q)", "AlphaAgent"),
    Spelling(
        "WMA(x, n)",
        "DECAYLINEAR(x, n)",
        "AlphaAgent, qlib",
        "linear weights; AlphaAgent's code weighs by 0.9^age, qlib's divides by n once more",
    ),
    Spelling("WMA(x)", "DECAYLINEAR(x, 20)", "AlphaAgent", _DEFAULT),
    Spelling("COUNT(c, n)", "TS_SUM(c, n)", "AlphaAgent"),
    Spelling("COUNT(c)", "TS_SUM(c, 20)", "AlphaAgent", _DEFAULT),
    Spelling("SUMIF(x, n, c)", "TS_SUM(x * c, n)", "AlphaAgent"),
    Spelling("FILTER(x, c)", "x * c", "AlphaAgent", "0, not NaN, where c is false, as the code"),
    Spelling("MACD(x, s, l)", "EMA(x, s) - EMA(x, l)", "AlphaAgent"),
    Spelling("MACD(x, s)", "EMA(x, s) - EMA(x, 26)", "AlphaAgent", _DEFAULT),
    Spelling("MACD(x)", "EMA(x, 12) - EMA(x, 26)", "AlphaAgent", _DEFAULT),
    Spelling(
        "RSI(x, n)",
        "100 * EMA(MAX(DELTA(x, 1), 0), n) / EMA(ABS(DELTA(x, 1)), n)",
        "AlphaAgent",
        "gains over gains and losses, which is the code's 100 - 100 / (1 + gains / losses)",
    ),
    Spelling(
        "RSI(x)",
        "100 * EMA(MAX(DELTA(x, 1), 0), 14) / EMA(ABS(DELTA(x, 1)), 14)",
        "AlphaAgent",
        _DEFAULT,
    ),
    Spelling("BB_MIDDLE(x, n)", "TS_MEAN(x, n)", "AlphaAgent"),
    Spelling("BB_UPPER(x, n)", "TS_MEAN(x, n) + 2 * TS_STD(x, n)", "AlphaAgent", _BANDS),
    Spelling("BB_LOWER(x, n)", "TS_MEAN(x, n) - 2 * TS_STD(x, n)", "AlphaAgent", _BANDS),
    Spelling("SUM(x, n)", "TS_SUM(x, n)", "AlphaAgent", _DROPPED),
    Spelling("MEAN(x, n)", "TS_MEAN(x, n)", "AlphaAgent", _DROPPED),
    Spelling("STD(x, n)", "TS_STD(x, n)", "AlphaAgent", _DROPPED),
    Spelling("VAR(x, n)", "TS_VAR(x, n)", "AlphaAgent", _DROPPED),
    Spelling("MEDIAN(x, n)", "TS_MEDIAN(x, n)", "AlphaAgent", _DROPPED),
    Spelling("MAD(x, n)", "TS_MAD(x, n)", "AlphaAgent", f"{_DROPPED}; read as TS_MAD is"),
    Spelling("QUANTILE(x, q, n)", "TS_QUANTILE(x, n, q)", "AlphaAgent", _DROPPED),
    Spelling("CORR(x, y, n)", "TS_CORR(x, y, n)", "AlphaAgent", _DROPPED),
    Spelling("COVARIANCE(x, y, n)", "TS_COVARIANCE(x, y, n)", "AlphaAgent", _DROPPED),
    Spelling("TS_COV(x, y, n)", "TS_COVARIANCE(x, y, n)", "AlphaAgent", _DROPPED),
    Spelling("ts_cov(x, y, n)", "TS_COVARIANCE(x, y, n)", "AlphaAgent", _DROPPED),
    Spelling("TS_DIV(x, n)", "x / DELAY(x, n)", "AlphaAgent", _DROPPED),
    Spelling("ts_div(x, n)", "x / DELAY(x, n)", "AlphaAgent", _DROPPED),
    Spelling("IFELSE(c, x, y)", "WHERE(c, x, y)", "AlphaAgent", _DROPPED),
)

_QLIB = (
    Spelling("Abs(x)", "ABS(x)", "qlib"),
    Spelling("Sign(x)", "SIGN(x)", "qlib, Alpha101"),
    Spelling("Log(x)", "LOG(x)", "qlib, Alpha101"),
    Spelling("Power(x, y)", "POW(x, y)", "qlib"),
    Spelling("Add(x, y)", "x + y", "qlib"),
    Spelling("Sub(x, y)", "x - y", "qlib"),
    Spelling("Mul(x, y)", "x * y", "qlib"),
    Spelling("Div(x, y)", "x / y", "qlib", "NaN where y is 0, qlib gives ±inf"),
    Spelling("Greater(x, y)", "MAX(x, y)", "qlib", "the larger of two, not a comparison"),
    Spelling("Less(x, y)", "MIN(x, y)", "qlib", "the smaller of two, not a comparison"),
    Spelling("Gt(x, y)", "x > y", "qlib", "NaN beside a missing value, where qlib has false"),
    Spelling("Ge(x, y)", "x >= y", "qlib", "NaN beside a missing value, where qlib has false"),
    Spelling("Lt(x, y)", "x < y", "qlib", "NaN beside a missing value, where qlib has false"),
    Spelling("Le(x, y)", "x <= y", "qlib", "NaN beside a missing value, where qlib has false"),
    Spelling("Eq(x, y)", "x == y", "qlib", "NaN beside a missing value, where qlib has false"),
    Spelling("Ne(x, y)", "x != y", "qlib", "NaN beside a missing value, where qlib has true"),
    Spelling("And(x, y)", "x && y", "qlib", "of truths; qlib combines the bits of its arguments"),
    Spelling("Or(x, y)", "x || y", "qlib", "of truths; qlib combines the bits of its arguments"),
    Spelling("Not(x)", "!x", "qlib", "of a truth; qlib inverts the bits of its argument"),
    Spelling(
        "If(c, x, y)", "c ? x : y", "qlib", "NaN where c is missing, which qlib takes as true"
    ),
    Spelling("Ref(x, n)", "DELAY(x, n)", "qlib", "n < 0, the future, and n = 0 are refused"),
    Spelling("Delta(x, n)", "DELTA(x, n)", "qlib"),
    Spelling("Mean(x, n)", "TS_MEAN(x, n)", "qlib"),
    Spelling("Sum(x, n)", "TS_SUM(x, n)", "qlib"),
    Spelling("Std(x, n)", "TS_STD(x, n)", "qlib"),
    Spelling("Var(x, n)", "TS_VAR(x, n)", "qlib"),
    Spelling("Skew(x, n)", "TS_SKEW(x, n)", "qlib"),
    Spelling("Kurt(x, n)", "TS_KURT(x, n)", "qlib"),
    Spelling("Max(x, n)", "TS_MAX(x, n)", "qlib"),
    Spelling("Min(x, n)", "TS_MIN(x, n)", "qlib"),
    Spelling(
        "IdxMax(x, n)",
        "n - TS_ARGMAX(x, n)",
        "qlib",
        "counts from the oldest session, 1 to n; qlib gives the place of a missing value if any",
    ),
    Spelling(
        "IdxMin(x, n)",
        "n - TS_ARGMIN(x, n)",
        "qlib",
        "counts from the oldest session, 1 to n; qlib gives the place of a missing value if any",
    ),
    Spelling("Quantile(x, n, q)", "TS_QUANTILE(x, n, q)", "qlib"),
    Spelling("Med(x, n)", "TS_MEDIAN(x, n)", "qlib"),
    Spelling("Rank(x, n)", "TS_RANK(x, n)", "qlib", "over the sessions of one asset"),
    Spelling("Count(x, n)", "TS_SUM(x == x, n)", "qlib", "NaN where fewer than 80 % are there"),
    Spelling("Slope(x, n)", "REGBETA(x, SEQUENCE(n), n)", "qlib"),
    Spelling(
        "Rsquare(x, n)",
        "POW(TS_CORR(x, SEQUENCE(n), n), 2)",
        "qlib",
        "NaN where x is constant; qlib's also where its deviation is below 2e-5",
    ),
    Spelling("Resi(x, n)", "REGRESI(x, SEQUENCE(n), n)", "qlib"),
    Spelling(
        "Corr(x, y, n)",
        "TS_CORR(x, y, n)",
        "qlib",
        "NaN where x or y is constant; qlib's also where its deviation is below 2e-5",
    ),
    Spelling("Cov(x, y, n)", "TS_COVARIANCE(x, y, n)", "qlib"),
)

_ALPHA101 = (
    Spelling("abs(x)", "ABS(x)", "Alpha101, FASTEXPR"),
    Spelling("log(x)", "LOG(x)", "Alpha101, FASTEXPR"),
    Spelling("sign(x)", "SIGN(x)", "Alpha101, FASTEXPR"),
    Spelling("rank(x)", "RANK(x)", "Alpha101, FASTEXPR", "in (0, 1]; FASTEXPR's is in [0, 1]"),
    Spelling("scale(x)", "SCALE(x, 1)", "Alpha101, FASTEXPR"),
    Spelling("scale(x, a)", "SCALE(x, a)", "Alpha101, FASTEXPR"),
    Spelling("delay(x, d)", "DELAY(x, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("delta(x, d)", "DELTA(x, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("sum(x, d)", "TS_SUM(x, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("product(x, d)", "PROD(x, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("stddev(x, d)", "TS_STD(x, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("correlation(x, y, d)", "TS_CORR(x, y, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("covariance(x, y, d)", "TS_COVARIANCE(x, y, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("decay_linear(x, d)", "DECAYLINEAR(x, FLOOR(d))", "Alpha101", _FLOORED),
    Spelling("ts_min(x, d)", "TS_MIN(x, FLOOR(d))", "Alpha101, FASTEXPR", _FLOORED),
    Spelling("ts_max(x, d)", "TS_MAX(x, FLOOR(d))", "Alpha101, FASTEXPR", _FLOORED),
    Spelling("ts_argmin(x, d)", "TS_ARGMIN(x, FLOOR(d))", "Alpha101", f"{_FLOORED}; {_AGE}"),
    Spelling("ts_argmax(x, d)", "TS_ARGMAX(x, FLOOR(d))", "Alpha101", f"{_FLOORED}; {_AGE}"),
    Spelling("Ts_ArgMin(x, d)", "TS_ARGMIN(x, FLOOR(d))", "Alpha101", f"{_CASES}; {_AGE}"),
    Spelling("Ts_ArgMax(x, d)", "TS_ARGMAX(x, FLOOR(d))", "Alpha101", f"{_CASES}; {_AGE}"),
    Spelling(
        "ts_rank(x, d)",
        "TS_RANK(x, FLOOR(d))",
        "Alpha101, FASTEXPR",
        f"{_FLOORED}; in (0, 1], where FASTEXPR's (rank - 1) / (d - 1) is in [0, 1]",
    ),
    Spelling("Ts_Rank(x, d)", "TS_RANK(x, FLOOR(d))", "Alpha101", _CASES),
    Spelling("signedpower(x, a)", "POW(x, a)", "Alpha101", "x^a, as the paper defines it"),
    Spelling("SignedPower(x, a)", "POW(x, a)", "Alpha101", "x^a, as the paper defines it"),
    Spelling("min(x, y)", "MIN(x, y)", "Alpha101, FASTEXPR", "of two series"),
    Spelling("max(x, y)", "MAX(x, y)", "Alpha101, FASTEXPR", "of two series"),
    Spelling("indneutralize(x, g)", "x - GROUP_MEAN(x, g)", "Alpha101"),
    Spelling("IndNeutralize(x, g)", "x - GROUP_MEAN(x, g)", "Alpha101"),
)

#: What Alpha101 means by these calls where the last argument is a plain number.
_ALPHA101_WITH_NUMBER = (
    Spelling(
        "min(x, d)",
        "TS_MIN(x, FLOOR(d))",
        "Alpha101",
        f"{_FLOORED}; FASTEXPR means the smaller of x and d: write MIN(x, d)",
    ),
    Spelling(
        "max(x, d)",
        "TS_MAX(x, FLOOR(d))",
        "Alpha101",
        f"{_FLOORED}; FASTEXPR means the larger of x and d: write MAX(x, d)",
    ),
)

_FASTEXPR = (
    Spelling("add(x, y)", "x + y", "FASTEXPR"),
    Spelling("add(x, y, z)", "x + y + z", "FASTEXPR"),
    Spelling("subtract(x, y)", "x - y", "FASTEXPR"),
    Spelling("multiply(x, y)", "x * y", "FASTEXPR"),
    Spelling("multiply(x, y, z)", "x * y * z", "FASTEXPR"),
    Spelling("divide(x, y)", "x / y", "FASTEXPR"),
    Spelling("min(x, y, z)", "MIN(MIN(x, y), z)", "FASTEXPR"),
    Spelling("max(x, y, z)", "MAX(MAX(x, y), z)", "FASTEXPR"),
    Spelling("inverse(x)", "1 / x", "FASTEXPR"),
    Spelling("reverse(x)", "-x", "FASTEXPR"),
    Spelling("sqrt(x)", "SQRT(x)", "FASTEXPR"),
    Spelling("exp(x)", "EXP(x)", "FASTEXPR"),
    Spelling("power(x, y)", "POW(x, y)", "FASTEXPR"),
    Spelling("signed_power(x, y)", "SIGN(x) * POW(ABS(x), y)", "FASTEXPR", "keeps the sign of x"),
    Spelling("log_diff(x)", "DELTA(LOG(x), 1)", "FASTEXPR"),
    Spelling("and(x, y)", "x && y", "FASTEXPR"),
    Spelling("or(x, y)", "x || y", "FASTEXPR"),
    Spelling("not(x)", "!x", "FASTEXPR"),
    Spelling("if_else(c, x, y)", "c ? x : y", "FASTEXPR"),
    Spelling("normalize(x)", "x - MEAN(x)", "FASTEXPR"),
    Spelling("zscore(x)", "ZSCORE(x)", "FASTEXPR"),
    Spelling("scale_down(x)", "(x - CS_MIN(x)) / (CS_MAX(x) - CS_MIN(x))", "FASTEXPR"),
    Spelling("scale_down(x, a)", "(x - CS_MIN(x)) / (CS_MAX(x) - CS_MIN(x)) - a", "FASTEXPR"),
    Spelling(
        "winsorize(x)",
        "MAX(MIN(x, MEAN(x) + 4 * STD(x)), MEAN(x) - 4 * STD(x))",
        "FASTEXPR",
        "its default of four standard deviations about the mean",
    ),
    Spelling(
        "winsorize(x, k)",
        "MAX(MIN(x, MEAN(x) + k * STD(x)), MEAN(x) - k * STD(x))",
        "FASTEXPR",
        "k standard deviations about the mean",
    ),
    Spelling("densify(g)", "g", "FASTEXPR", "groups are told apart by value, whatever it is"),
    Spelling(
        "group_mean(x, w, g)",
        "GROUP_MEAN(w * x, g) / GROUP_MEAN(w + 0 * x, g)",
        "FASTEXPR",
        "weighted by w, over the assets that have x and w",
    ),
    Spelling("group_neutralize(x, g)", "x - GROUP_MEAN(x, g)", "FASTEXPR"),
    Spelling("group_rank(x, g)", "GROUP_RANK(x, g)", "FASTEXPR"),
    Spelling("group_zscore(x, g)", "GROUP_ZSCORE(x, g)", "FASTEXPR"),
    Spelling("ts_arg_max(x, d)", "TS_ARGMAX(x, d)", "FASTEXPR"),
    Spelling("ts_arg_min(x, d)", "TS_ARGMIN(x, d)", "FASTEXPR"),
    Spelling("ts_av_diff(x, d)", "x - TS_MEAN(x, d)", "FASTEXPR"),
    Spelling("ts_corr(x, y, d)", "TS_CORR(x, y, d)", "FASTEXPR"),
    Spelling("ts_covariance(y, x, d)", "TS_COVARIANCE(y, x, d)", "FASTEXPR"),
    Spelling(
        "ts_decay_linear(x, d)",
        "DECAYLINEAR(x, d)",
        "FASTEXPR",
        "missing values are skipped; FASTEXPR's default takes them as 0",
    ),
    Spelling("ts_delay(x, d)", "DELAY(x, d)", "FASTEXPR"),
    Spelling("ts_delta(x, d)", "DELTA(x, d)", "FASTEXPR"),
    Spelling("ts_ir(x, d)", "TS_MEAN(x, d) / TS_STD(x, d)", "FASTEXPR"),
    Spelling(
        "ts_kurtosis(x, d)",
        "TS_KURT(x, d)",
        "FASTEXPR",
        "unbiased and in excess of 3; its documentation does not say which",
    ),
    Spelling("ts_max_diff(x, d)", "x - TS_MAX(x, d)", "FASTEXPR"),
    Spelling("ts_mean(x, d)", "TS_MEAN(x, d)", "FASTEXPR"),
    Spelling("ts_median(x, d)", "TS_MEDIAN(x, d)", "FASTEXPR"),
    Spelling("ts_min_diff(x, d)", "x - TS_MIN(x, d)", "FASTEXPR"),
    Spelling("ts_min_max_cps(x, d)", "TS_MIN(x, d) + TS_MAX(x, d) - 2 * x", "FASTEXPR"),
    Spelling("ts_min_max_cps(x, d, f)", "TS_MIN(x, d) + TS_MAX(x, d) - f * x", "FASTEXPR"),
    Spelling("ts_min_max_diff(x, d)", "x - 0.5 * (TS_MIN(x, d) + TS_MAX(x, d))", "FASTEXPR"),
    Spelling("ts_min_max_diff(x, d, f)", "x - f * (TS_MIN(x, d) + TS_MAX(x, d))", "FASTEXPR"),
    Spelling("ts_percentage(x, d)", "TS_QUANTILE(x, d, 0.5)", "FASTEXPR"),
    Spelling("ts_percentage(x, d, q)", "TS_QUANTILE(x, d, q)", "FASTEXPR"),
    Spelling("ts_product(x, d)", "PROD(x, d)", "FASTEXPR"),
    Spelling("ts_rank(x, d, a)", "TS_RANK(x, d) + a", "FASTEXPR", "as ts_rank(x, d)"),
    Spelling(
        "ts_regression(y, x, d)",
        "REGRESI(y, x, d)",
        "FASTEXPR",
        "its default rettype 0, the residual of today",
    ),
    Spelling("ts_returns(x, d)", "TS_PCTCHANGE(x, d)", "FASTEXPR"),
    Spelling("ts_scale(x, d)", "(x - TS_MIN(x, d)) / (TS_MAX(x, d) - TS_MIN(x, d))", "FASTEXPR"),
    Spelling(
        "ts_scale(x, d, a)", "(x - TS_MIN(x, d)) / (TS_MAX(x, d) - TS_MIN(x, d)) + a", "FASTEXPR"
    ),
    Spelling(
        "ts_skewness(x, d)",
        "TS_SKEW(x, d)",
        "FASTEXPR",
        "unbiased; its documentation does not say whether",
    ),
    Spelling("ts_std_dev(x, d)", "TS_STD(x, d)", "FASTEXPR"),
    Spelling("ts_sum(x, d)", "TS_SUM(x, d)", "FASTEXPR"),
    Spelling("ts_zscore(x, d)", "TS_ZSCORE(x, d)", "FASTEXPR"),
)


def _by_call(*rows: Spelling) -> Mapping[tuple[str, int], Spelling]:
    found: dict[tuple[str, int], Spelling] = {}
    for row in rows:
        if found.setdefault((row.name, len(row.parameters)), row) is not row:
            raise AssertionError(f"{row.call} is a row already")
    return MappingProxyType(found)


#: Every call by its name and number of arguments.
SPELLINGS = _by_call(*_ALPHAAGENT, *_QLIB, *_ALPHA101, *_FASTEXPR)

#: The same for calls that mean something else where their last argument is a plain number.
WITH_NUMBER = _by_call(*_ALPHA101_WITH_NUMBER)

#: Bare names that are read as fields, or as what they abbreviate.
BARE: Mapping[str, str] = MappingProxyType(
    {
        name: f"${name}"
        for name in (
            *("open", "high", "low", "close", "volume", "amount", "vwap"),
            *("cap", "sector", "industry", "subindustry"),
        )
    }
    | {
        "returns": "TS_PCTCHANGE($close, 1)",
        "IndClass.sector": "$sector",
        "IndClass.industry": "$industry",
        "IndClass.subindustry": "$subindustry",
    }
)

_BACKWARD = "it depends on every session before, and an operator here looks back a stated number"
_MISSING = "missing values stay missing here, and are not counted"
_NORMAL = "the inverse of a distribution function is no operator here"
_NO_OPERATOR = "no operator here, nor any combination of them, computes it"
_VECTOR = "a panel has one value for each asset and session"
_OTHER = "an expression reads the assets and sessions of its own panel"

#: Calls of those libraries that cannot be read, and why; `PERCENTILE` only where its window lacks.
UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "PERCENTILE": "without a window it is a quantile of all sessions, future ones included: "
        "PERCENTILE(x, q, n) has a window",
        # qlib
        "Mad": "the mean deviation about the window's mean is no operator here; "
        "TS_MAD is the median deviation about its median",
        "ChangeInstrument": _OTHER,
        "Mask": _OTHER,
        "Feature": "a field is written $name",
        "PFeature": "statements (point in time) are not part of a panel",
        "P": "statements (point in time) are not part of a panel",
        "PRef": "statements (point in time) are not part of a panel",
        "Rolling": "it is the base of qlib's operators: write Mean, Sum, …",
        "TResample": "a panel has one frequency, the session",
        # FASTEXPR
        "bucket": "its groups are given as text",
        "days_from_last_change": _BACKWARD,
        "group_backfill": _MISSING,
        "group_scale": _NO_OPERATOR,
        "hump": _BACKWARD,
        "hump_decay": _BACKWARD,
        "is_nan": _MISSING,
        "jump_decay": _BACKWARD,
        "kth_element": _MISSING,
        "last_diff_value": _NO_OPERATOR,
        "nan_mask": _NO_OPERATOR,
        "quantile": _NORMAL,
        "regression_neut": _NO_OPERATOR,
        "regression_proj": _NO_OPERATOR,
        "to_nan": _MISSING,
        "trade_when": _BACKWARD,
        "truncate": _NO_OPERATOR,
        "ts_backfill": _MISSING,
        "ts_co_kurtosis": _NO_OPERATOR,
        "ts_co_skewness": _NO_OPERATOR,
        "ts_count_nans": _MISSING,
        "ts_decay_exp_window": "its factor is given by name; EMA(x, span) is the exponential mean",
        "ts_delta_limit": _BACKWARD,
        "ts_entropy": _NO_OPERATOR,
        "ts_quantile": _NORMAL,
        "ts_step": "a day's counter is only a regressor: ts_regression(y, SEQUENCE(20), 20)",
        "ts_target_tvr_decay": _BACKWARD,
        "ts_target_tvr_delta_limit": _BACKWARD,
        "ts_target_tvr_hump": _BACKWARD,
        "ts_vector_neut": _NO_OPERATOR,
        "ts_vector_proj": _NO_OPERATOR,
        "vec_avg": _VECTOR,
        "vec_count": _VECTOR,
        "vec_max": _VECTOR,
        "vec_min": _VECTOR,
        "vec_sum": _VECTOR,
        "vector_neut": _NO_OPERATOR,
        "vector_proj": _NO_OPERATOR,
    }
)


def bare_meaning(name: str) -> str | None:
    """Return what a bare name means, None if it means nothing.

    `adv20` is the mean dollar volume of 20 sessions, as Alpha101 defines it; BRAIN's `adv20` counts
    shares.
    """
    days = re.fullmatch(r"adv(\d+)", name)
    return f"TS_MEAN($close * $volume, {days[1]})" if days else BARE.get(name)
