"""Elementwise operators: one pass over memory each, in the dtype of the result.

An argument is an array of the result's shape or a Python float, which is cast to the result's dtype
and stands for every session and asset; at least one is an array. Inputs are finite or NaN. A NaN
gives NaN, and so does a result that is not finite in the result's dtype.
"""

from __future__ import annotations

import numpy as np

from signals.jit import jit
from signals.keys import sort_key
from signals.panel import FloatArray

#: What `_arithmetic` gives.
ADD, SUBTRACT, MULTIPLY, DIVIDE = range(4)

#: What `_compare` gives.
GREATER, EQUAL = range(2)

#: What `_logical` gives.
AND, OR = range(2)

#: What `_single` gives.
ABSOLUTE, SIGN, SQUARE_ROOT, FLOOR, FINITE = range(5)

#: Sessions that numpy works on at a time: few enough to be in the cache still when checked.
_CHUNK = 32


@jit
def _finite(v: float) -> float:
    """Return v, NaN if it is not finite; -0 stays -0."""
    return v - (v - v)


@jit
def _arithmetic(operation: int, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    """Combine two arrays, of which one may be a single row that stands for all."""
    for t in range(len(out)):
        left, right, target = x[min(t, len(x) - 1)], y[min(t, len(y) - 1)], out[t]
        if operation == ADD:
            for a in range(target.size):
                target[a] = _finite(left[a] + right[a])
        elif operation == SUBTRACT:
            for a in range(target.size):
                target[a] = _finite(left[a] - right[a])
        elif operation == MULTIPLY:
            for a in range(target.size):
                target[a] = _finite(left[a] * right[a])
        else:
            for a in range(target.size):
                target[a] = _finite(left[a] / right[a])


@jit
def _extreme(sign: float, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    """Take the larger of sign × x and sign × y; NaN if either is."""
    turn = out.dtype.type(sign)
    for t in range(len(out)):
        left, right, target = x[min(t, len(x) - 1)], y[min(t, len(y) - 1)], out[t]
        for a in range(target.size):
            first = turn * left[a] > turn * right[a] or left[a] != left[a]
            target[a] = left[a] if first else right[a]


@jit
def _compare(
    question: int,
    negated: bool,  # noqa: FBT001
    x: FloatArray,
    y: FloatArray,
    out: FloatArray,
) -> None:
    """Answer 1 or 0 by keys; a NaN has a key too, so x - x and y - y are added: 0 or NaN."""
    for t in range(len(out)):
        left, right, target = x[min(t, len(x) - 1)], y[min(t, len(y) - 1)], out[t]
        if question == GREATER:
            for a in range(target.size):
                yes = (sort_key(left[a]) > sort_key(right[a])) != negated
                target[a] = yes + ((left[a] - left[a]) + (right[a] - right[a]))
        else:
            for a in range(target.size):
                yes = (sort_key(left[a]) == sort_key(right[a])) != negated
                target[a] = yes + ((left[a] - left[a]) + (right[a] - right[a]))


@jit
def _logical(operation: int, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    for t in range(len(out)):
        left, right, target = x[min(t, len(x) - 1)], y[min(t, len(y) - 1)], out[t]
        if operation == AND:
            for a in range(target.size):
                yes = (left[a] != 0.0) & (right[a] != 0.0)
                target[a] = yes + ((left[a] - left[a]) + (right[a] - right[a]))
        else:
            for a in range(target.size):
                yes = (left[a] != 0.0) | (right[a] != 0.0)
                target[a] = yes + ((left[a] - left[a]) + (right[a] - right[a]))


@jit
def _where(condition: FloatArray, x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    for t in range(len(out)):
        chosen = condition[min(t, len(condition) - 1)]
        left, right, target = x[min(t, len(x) - 1)], y[min(t, len(y) - 1)], out[t]
        for a in range(target.size):
            v = left[a] if chosen[a] != 0.0 else right[a]
            target[a] = v if chosen[a] == chosen[a] else chosen[a]


@jit
def _single(operation: int, x: FloatArray, out: FloatArray) -> None:
    one, zero = out.dtype.type(1.0), out.dtype.type(0.0)
    for t in range(len(out)):
        row, target = x[t], out[t]
        if operation == ABSOLUTE:
            for a in range(target.size):
                target[a] = abs(row[a])
        elif operation == SIGN:
            for a in range(target.size):
                v = row[a]
                target[a] = one if v > zero else (-one if v < zero else v - v)
        elif operation == SQUARE_ROOT:
            for a in range(target.size):
                target[a] = np.sqrt(row[a])
        elif operation == FLOOR:
            for a in range(target.size):
                target[a] = np.floor(row[a])
        else:
            for a in range(target.size):
                target[a] = _finite(row[a])


@jit
def _magnitude(x: FloatArray, out: FloatArray) -> None:
    """Write |x|, 1 for 0 and NaN: numpy's vectorised functions are slow on what has no answer."""
    one = out.dtype.type(1.0)
    for t in range(len(out)):
        row, target = x[min(t, len(x) - 1)], out[t]
        for a in range(target.size):
            v = abs(row[a])
            target[a] = v if v > 0.0 else one


@jit
def _finish_logarithm(x: FloatArray, out: FloatArray) -> None:
    """Take back the logarithm of what was not positive."""
    nan = out.dtype.type(np.nan)
    for t in range(len(out)):
        row, target = x[t], out[t]
        for a in range(target.size):
            target[a] = target[a] if row[a] > 0.0 else nan


@jit
def _finish_power(x: FloatArray, y: FloatArray, out: FloatArray) -> None:
    """Give a power of |x| its sign, and powers of 0 and NaN their value."""
    zero, one, half = out.dtype.type(0.0), out.dtype.type(1.0), out.dtype.type(0.5)
    nan = out.dtype.type(np.nan)
    for t in range(len(out)):
        left, right, target = x[min(t, len(x) - 1)], y[min(t, len(y) - 1)], out[t]
        for a in range(target.size):
            base, exponent, v = left[a], right[a], target[a]
            turned = -v if np.floor(half * exponent) != half * exponent else v
            turned = turned if np.floor(exponent) == exponent else nan
            v = turned if base < zero else v
            at_zero = zero if exponent > zero else (one if exponent == zero else nan)
            v = at_zero if base == zero else v
            target[a] = v - (v - v) + ((base - base) + (exponent - exponent))


def _rows(x: FloatArray | float, out: FloatArray) -> FloatArray:
    """Return an array as it is, a number as one row; NaN if the dtype of `out` cannot hold it."""
    if isinstance(x, np.ndarray):
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.float64(x).astype(out.dtype)
        return np.full((1, out.shape[1]), value - (value - value), dtype=out.dtype)


#: Exponents that are a few multiplications.
_WHOLE = frozenset(range(1, 17))


@jit
def _whole_power(x: FloatArray, exponent: int, out: FloatArray) -> None:
    """Multiply x with itself, row by row: what is squared, and what of it is part of the result."""
    square = np.empty(x.shape[1], dtype=x.dtype)
    for t in range(len(x)):
        row, target = x[t], out[t]
        for a in range(row.size):
            square[a] = row[a]
            target[a] = 1.0
        left = exponent
        while True:
            if left & 1:
                for a in range(row.size):
                    target[a] *= square[a]
            left >>= 1
            if left == 0:
                break
            for a in range(row.size):
                square[a] *= square[a]
        for a in range(row.size):
            v = target[a]
            target[a] = v - (v - v)


def add(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return x + y."""
    _arithmetic(ADD, _rows(x, out), _rows(y, out), out)
    return out


def subtract(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return x - y."""
    _arithmetic(SUBTRACT, _rows(x, out), _rows(y, out), out)
    return out


def multiply(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return x · y."""
    _arithmetic(MULTIPLY, _rows(x, out), _rows(y, out), out)
    return out


def divide(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return x / y; NaN where y is 0."""
    _arithmetic(DIVIDE, _rows(x, out), _rows(y, out), out)
    return out


def maximum(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return the larger of two; NaN if either is."""
    _extreme(1.0, _rows(x, out), _rows(y, out), out)
    return out


def minimum(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return the smaller of two; NaN if either is."""
    _extreme(-1.0, _rows(x, out), _rows(y, out), out)
    return out


def power(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return x to the power of y; NaN where x < 0 and y is not whole, and where x is 0 and y < 0.

    As in IEEE 754, but a NaN gives NaN even in NaN⁰ and 1^NaN.
    """
    if isinstance(x, np.ndarray) and not isinstance(y, np.ndarray) and y in _WHOLE:
        _whole_power(x, int(y), out)
        return out
    base, exponent = _rows(x, out), _rows(y, out)
    with np.errstate(all="ignore"):
        for start in range(0, len(out), _CHUNK):
            rows = slice(start, start + _CHUNK)
            left = base[rows] if isinstance(x, np.ndarray) else base
            right = exponent[rows] if isinstance(y, np.ndarray) else exponent
            # one number, however many rows: numpy takes the root for a single 0.5, and is faster
            number = right if isinstance(y, np.ndarray) else right[:, :1]
            _magnitude(left, out[rows])
            np.power(out[rows], number, out=out[rows])
            _finish_power(left, right, out[rows])
    return out


def absolute(x: FloatArray, *, out: FloatArray) -> FloatArray:
    """Return |x|."""
    _single(ABSOLUTE, x, out)
    return out


def sign(x: FloatArray, *, out: FloatArray) -> FloatArray:
    """Return -1, 0 or 1."""
    _single(SIGN, x, out)
    return out


def square_root(x: FloatArray, *, out: FloatArray) -> FloatArray:
    """Return √x; NaN where x < 0."""
    _single(SQUARE_ROOT, x, out)
    return out


def floor(x: FloatArray, *, out: FloatArray) -> FloatArray:
    """Return the largest whole number that is not above x."""
    _single(FLOOR, x, out)
    return out


def logarithm(x: FloatArray, *, out: FloatArray) -> FloatArray:
    """Return the natural logarithm; NaN where x ≤ 0."""
    for start in range(0, len(out), _CHUNK):
        rows = slice(start, start + _CHUNK)
        _magnitude(x[rows], out[rows])
        np.log(out[rows], out=out[rows])
        _finish_logarithm(x[rows], out[rows])
    return out


def exponential(x: FloatArray, *, out: FloatArray) -> FloatArray:
    """Return e to the power of x; NaN where that is too large for the dtype."""
    with np.errstate(all="ignore"):
        for start in range(0, len(out), _CHUNK):
            rows = slice(start, start + _CHUNK)
            np.exp(x[rows], out=out[rows])
            _single(FINITE, out[rows], out[rows])
    return out


def greater(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return 1 where x > y, else 0, after rounding to 20 significant bits (`signals.keys`)."""
    _compare(GREATER, False, _rows(x, out), _rows(y, out), out)  # noqa: FBT003
    return out


def greater_equal(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return 1 where x ≥ y, else 0, after rounding to 20 significant bits (`signals.keys`)."""
    _compare(GREATER, True, _rows(y, out), _rows(x, out), out)  # noqa: FBT003
    return out


def equal(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return 1 where x = y, else 0, after rounding to 20 significant bits (`signals.keys`)."""
    _compare(EQUAL, False, _rows(x, out), _rows(y, out), out)  # noqa: FBT003
    return out


def not_equal(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return 1 where x ≠ y, else 0, after rounding to 20 significant bits (`signals.keys`)."""
    _compare(EQUAL, True, _rows(x, out), _rows(y, out), out)  # noqa: FBT003
    return out


def logical_and(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return 1 where neither x nor y is 0, else 0; NaN if either is."""
    _logical(AND, _rows(x, out), _rows(y, out), out)
    return out


def logical_or(x: FloatArray | float, y: FloatArray | float, *, out: FloatArray) -> FloatArray:
    """Return 1 where x or y is not 0, else 0; NaN if either is."""
    _logical(OR, _rows(x, out), _rows(y, out), out)
    return out


def where(
    condition: FloatArray | float,
    x: FloatArray | float,
    y: FloatArray | float,
    *,
    out: FloatArray,
) -> FloatArray:
    """Return x where the condition is not 0, else y; NaN where the condition or the chosen is."""
    _where(_rows(condition, out), _rows(x, out), _rows(y, out), out)
    return out
