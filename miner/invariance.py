"""Whether a factor's values depend on the scale of an asset's prices or volumes, by evaluating it.

On bars that arrive back-adjusted every earlier price of an asset has been divided by what it paid
and split *later*. A factor whose values move when all prices of one asset are multiplied by a
constant therefore reads the future there, and everywhere it compares quotes that have no common
measure. `miner.units` tells so from the expression's units, cheaply, for every candidate; here the
values themselves are looked at, so that nothing the units take for granted goes unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from miner.units import FIELD_UNITS
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.operators import lookback
from signals.panel import FloatArray, Panel

#: Rows looked at beyond the lookback.
SESSIONS = 20
#: Constants are 2^-20 .. 2^20: a power of two changes no digit of a number, so that what has no
#: scale gives the same values to the last bit nearly everywhere; so far apart that a price may
#: come to exceed a volume.
MAX_EXPONENT = 20
#: Relative difference from which a value has changed.
TOLERANCE = 1e-6
#: Share of changed values that is put down to rounding where sums nearly cancel.
TOLERATED = 1e-3

#: What is multiplied, by which exponents of `miner.units`.
QUOTES: Mapping[str, int] = {"prices": 0, "volumes": 1}


def changes_when_rescaled(expression: Expression, panel: Panel, rng: Generator) -> str | None:
    """Return what is wrong with `expression`, None where its values do not depend on scale.

    Half of the assets, drawn at random, get their prices (open, high, low, close, vwap and amount
    with them) multiplied by a constant each; then, apart from that, their volumes (and amount).
    Every value of every asset must stay as it is, in float64.

    Parameters
    ----------
    expression : Expression
        Canonical.
    panel : Panel
        Its last rows are read: the lookback and 20 more.
    rng : Generator
        Draws assets and constants.

    Raises
    ------
    ExpressionError
        If a field is not in the panel.
    """
    rows = lookback(expression) + SESSIONS
    tail = panel.rows(panel.n_sessions - rows, panel.n_sessions)
    first = max(0, tail.n_sessions - SESSIONS)
    before = evaluate([expression], tail, first=first)[0]
    for what, place in QUOTES.items():
        constants = _constants(tail.n_assets, rng)
        after = evaluate([expression], rescaled(tail, place, constants), first=first)[0]
        share = _changed(before, after)
        if share > TOLERATED:
            return (
                f"{share:.0%} of its values change when {what} of single assets are multiplied by "
                "a constant: on back-adjusted bars that is a look-ahead"
            )
    return None


def rescaled(panel: Panel, place: int, constants: FloatArray) -> Panel:
    """Return `panel` with each asset's quotes multiplied by its constant.

    Parameters
    ----------
    panel : Panel
        Fields whose unit is not known stay.
    place : int
        0 multiplies what is measured in prices, 1 what is measured in shares.
    constants : ndarray of shape (n_assets,)
        Above 0.
    """
    fields = {
        name: np.asarray(values, dtype=np.float64)
        * constants ** FIELD_UNITS.get(name, (0, 0))[place]
        for name, values in panel.fields.items()
    }
    return replace(panel, fields=fields)


def _constants(n_assets: int, rng: Generator) -> FloatArray:
    """Return a power of four for a random half of the assets, 1 for the others."""
    exponents = 2 * rng.integers(1, MAX_EXPONENT // 2 + 1, n_assets)
    exponents *= rng.choice([-1, 1], n_assets)
    exponents[rng.permutation(n_assets)[: n_assets // 2]] = 0
    constants: FloatArray = np.exp2(exponents.astype(np.float64))
    return constants


def _changed(before: FloatArray, after: FloatArray) -> float:
    """Return the share of values that differ, of those that are known before or after."""
    known = np.isfinite(before) | np.isfinite(after)
    same = np.isclose(after, before, rtol=TOLERANCE, atol=0.0) | ~known
    return float((~same).sum()) / max(int(known.sum()), 1)
