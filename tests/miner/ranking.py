"""Whether two expressions rank the assets of each session alike, found by evaluating them."""

from __future__ import annotations

import numpy as np

from signals.evaluate import evaluate
from signals.expression import Expression
from signals.panel import FloatArray, Panel

N_SESSIONS, N_ASSETS = 60, 40


def build_panel(missing_share: float) -> Panel:
    """Return bars that at times trade nothing, halt, and list late where anything is missing."""
    rng = np.random.default_rng(11)
    shape = (N_SESSIONS, N_ASSETS)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.03, shape), axis=0))
    others = {name: close * np.exp(rng.normal(0, 0.02, shape)) for name in ("open", "vwap")}
    high = np.maximum(close, others["open"]) * np.exp(rng.exponential(0.01, shape))
    low = np.minimum(close, others["open"]) * np.exp(-rng.exponential(0.01, shape))
    volume = np.round(np.exp(rng.normal(10, 1, shape)))
    volume[rng.random(shape) < 0.05] = 0.0
    fields = {"close": close, **others, "high": high, "low": low, "volume": volume}
    fields["amount"] = volume * others["vwap"]
    missing = rng.random(shape) < missing_share
    missing[:20, :3] |= missing_share > 0
    sessions = np.datetime64("2021-01-01") + np.arange(N_SESSIONS)
    assets = tuple(f"A{i:02d}" for i in range(N_ASSETS))
    return Panel(
        sessions,
        assets,
        {name: np.where(missing, np.nan, values) for name, values in fields.items()},
        np.ones(shape, dtype=bool),
    )


WHOLE, ROUGH = build_panel(0.0), build_panel(0.02)


def values_of(expression: Expression, panel: Panel) -> FloatArray:
    values: FloatArray = evaluate([expression], panel)[0].astype(np.float64)
    return values


def ranks_alike(
    one: Expression, other: Expression, panel: Panel = ROUGH, *, ties: float = 0.01
) -> bool:
    """Return whether both have values at the same places, and order them alike or contrarily.

    Of all pairs of assets, a share of `ties` may be told apart by one of the two only: RANK takes
    values for equal that agree in 20 bits, and 1 + 1e-20 is 1.
    """
    left, right = (_rounded(values_of(x, panel)) for x in (one, other))
    if not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return False
    a, b = _order_of_pairs(left), _order_of_pairs(right)
    alike, contrary = float(np.sum(a * b > 0)), float(np.sum(a * b < 0))
    told_by_one = float(np.sum((a == 0) != (b == 0)))
    pairs = max(alike + contrary + told_by_one, 1.0)
    return min(alike, contrary) <= 0.001 * pairs and told_by_one <= ties * pairs


def _order_of_pairs(values: FloatArray) -> FloatArray:
    """Return -1, 0 or 1 for each two assets of each session; 0 where either has no value."""
    signs: FloatArray = np.sign(values[:, :, None] - values[:, None, :])
    return np.nan_to_num(signs)


def _rounded(values: FloatArray) -> FloatArray:
    """Return values to 33 bits, ten digits, so that rounding decides no order.

    A session whose values are all equal ranks nothing: it is NaN, as ZSCORE makes it.
    """
    fraction, exponent = np.frexp(values)
    rounded: FloatArray = np.ldexp(np.round(fraction * 2.0**33), exponent - 33)
    high = np.max(rounded, axis=1, initial=-np.inf, where=np.isfinite(rounded))
    low = np.min(rounded, axis=1, initial=np.inf, where=np.isfinite(rounded))
    rounded[high <= low] = np.nan
    return rounded
