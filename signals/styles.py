"""Common styles and the reference set: what moves the IC of a factor without being the factor.

Styles are what most of a market's cross-section moves by; a factor's exposures are freed of them
before its IC is monitored. References are factors of other families, fixed for ever and never part
of a book: what their ICs do in a session beyond their own means is what the session did to
everybody, and is taken off as far as the factor's IC has followed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from signals.expression import Expression
from signals.grammar import parse

_RETURN = "TS_PCTCHANGE($close, 1)"

#: Size has no shares outstanding here: traded value stands for it. Beta is to the mean return of
#: the assets; liquidity is Amihud's (2002) ratio.
STYLES: Mapping[str, str] = {
    "size": "LOG(TS_MEAN($close * $volume, 120))",
    "beta": f"REGBETA({_RETURN}, MEAN({_RETURN}), 120)",
    "volatility": f"TS_STD({_RETURN}, 60)",
    "reversal": "TS_PCTCHANGE($close, 20)",
    "liquidity": f"TS_MEAN(ABS({_RETURN}) / ($close * $volume), 60)",
}

#: Momentum (Jegadeesh and Titman 1993), reversal, Alpha101 3, 6, 12 and 101 (Kakushadze 2016), and
#: KMID, KLOW and VSTD of qlib's Alpha158.
REFERENCES: Mapping[str, str] = {
    "momentum_12_1": "DELAY($close, 21) / DELAY($close, 252)",
    "reversal_20": "-1 * TS_PCTCHANGE($close, 20)",
    "alpha101_003": "-1 * TS_CORR(RANK($open), RANK($volume), 10)",
    "alpha101_006": "-1 * TS_CORR($open, $volume, 10)",
    "alpha101_012": "SIGN(DELTA($volume, 1)) * (-1 * DELTA($close, 1))",
    "alpha101_101": "($close - $open) / ($high - $low + 0.001)",
    "kmid": "($close - $open) / $open",
    "klow": "(MIN($open, $close) - $low) / $open",
    "vstd_20": "TS_STD($volume, 20) / TS_MEAN($volume, 20)",
}

#: Styles that a reference itself is; the others are regressed out of it.
OWN_STYLES: Mapping[str, frozenset[str]] = {"reversal_20": frozenset({"reversal"})}


@cache
def style_expressions() -> tuple[Expression, ...]:
    """Return the styles, parsed, in the order of `STYLES`."""
    return tuple(parse(text) for text in STYLES.values())


@cache
def reference_expressions() -> tuple[Expression, ...]:
    """Return the reference set, parsed, in the order of `REFERENCES`."""
    return tuple(parse(text) for text in REFERENCES.values())
