"""The formulas a search has to find: written down before any of it was tuned on planted markets.

Two to four levels of operators, scale-free, none of them (numbers aside) in a zoo, a seed book or
among the words the offline proposer starts from; `tests/miner/test_planted.py` holds that. What a
search is developed on are other formulas.
"""

from __future__ import annotations

#: One per seed, in this order, from the start again after the last.
FORMULAS = (
    "TS_MEAN($high / $low, 7)",
    "TS_CORR($high / $low, $volume, 12)",
    "TS_MAX($high, 15) / TS_MIN($low, 15)",
    "TS_STD($volume, 12) / TS_MAX($volume, 25)",
    "TS_MEAN(($open - $low) / ($high - $low), 6)",
    "DELTA($volume, 4) / TS_STD($volume, 18)",
    "TS_RANK($high - $low, 14)",
    "($close - TS_MIN($low, 12)) / TS_STD($close, 25)",
    "TS_CORR($open / DELAY($close, 1), $volume, 16)",
    "TS_MEAN(ABS(TS_PCTCHANGE($close, 1)) * ($high / $low), 12)",
    "TS_SKEW(TS_PCTCHANGE($close, 1), 22)",
    "TS_ZSCORE($open / DELAY($close, 1), 18)",
    "TS_STD($high / $low, 12) / TS_MEAN($high / $low, 24)",
    "RANK(TS_MEAN($volume, 4) / TS_MEAN($volume, 35)) - RANK(TS_PCTCHANGE($close, 7))",
    "TS_MEAN(SIGN($close - $open), 9)",
    "TS_ARGMAX($volume, 18) - TS_ARGMIN($close, 18)",
    "DECAYLINEAR($close / $open, 9)",
    "TS_COVARIANCE(TS_PCTCHANGE($volume, 1), TS_PCTCHANGE($close, 1), 14)",
    "TS_MEDIAN($close / DELAY($open, 1), 8)",
    "EMA($close - $open, 6) / TS_MEAN($high - $low, 24)",
    "TS_CORR($low, DELAY($volume, 1), 14)",
    "RANK($high / $close) * RANK($volume / TS_MEAN($volume, 12))",
    "TS_MAX($volume, 12) / TS_MEAN($volume, 36)",
    "TS_QUANTILE($close / $open, 16, 0.2)",
    "(TS_MEAN($close, 4) - TS_MEAN($close, 18)) / TS_STD($close, 18)",
    "TS_CORR(TS_PCTCHANGE($close, 1), DELAY(TS_PCTCHANGE($close, 1), 1), 22)",
    "TS_MEAN($close / $low, 14) - TS_MEAN($high / $close, 14)",
    "TS_PCTCHANGE(TS_MEAN($volume, 6), 8)",
    "TS_RANK(TS_STD($close, 8), 26)",
    "TS_STD(TS_PCTCHANGE($close, 1), 16) / TS_STD($high / $low, 16)",
    "DELTA(TS_CORR($close, $volume, 8), 4)",
    "TS_MEAN(MAX($open / DELAY($close, 1), 1), 12)",
    "TS_SUM(MAX($close, $open), 11) / TS_SUM($high, 11)",
    "TS_ZSCORE(TS_MEAN($volume, 4), 32)",
    "($high + $low) / TS_MEAN($open + $close, 8)",
    "TS_STD($open / DELAY($close, 1), 14) / TS_STD($close / $open, 14)",
    "TS_MEAN($volume * TS_RANK($close, 9), 5) / TS_MEAN($volume, 24)",
    "TS_MAD($close / $open, 16)",
    "RANK(TS_MIN($low, 9) / $close) * RANK(TS_STD($volume, 9) / TS_MEAN($volume, 9))",
    "REGBETA(TS_PCTCHANGE($close, 1), TS_PCTCHANGE($volume, 1), 18)",
)
