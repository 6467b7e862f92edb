"""Units: only what does not change with the scale of prices or volumes may become a factor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from miner.units import is_scale_free, unit
from signals.evaluate import evaluate
from signals.grammar import parse
from tests.miner.market import market


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$close", (1, 0)),
        ("$close * $volume", (1, 1)),
        ("$amount / $volume", (1, 0)),
        ("TS_STD($close, 10) / $close", (0, 0)),
        ("TS_VAR($close, 10)", (2, 0)),
        ("TS_CORR($close, $volume, 10)", (0, 0)),
        ("TS_COVARIANCE($close, $volume, 10)", (1, 1)),
        ("REGBETA($close, $volume, 10)", (1, -1)),
        ("REGBETA($close, SEQUENCE(10), 10)", (1, 0)),
        ("REGRESI($close, $volume, 10)", (1, 0)),
        ("MAX(DELTA($close, 1), 0)", (1, 0)),
        ("$close > DELAY($close, 5) ? $volume : 0", (0, 1)),
        ("$close > DELAY($close, 5) && $volume > 0", (0, 0)),
        ("$close > 1", None),
        ("$close ? $volume : 0", None),
        ("$close > $open ? $volume : $close", None),
        ("GROUP_RANK(TS_PCTCHANGE($close, 5), $industry)", (0, 0)),
        ("SCALE($close)", None),
        ("$close + $volume", None),
        ("RANK($close)", None),
        ("LOG($volume)", None),
        ("$somewhere / $close", None),
    ],
)
def test_unit_follows_from_the_arguments(text: str, expected: tuple[int, int] | None) -> None:
    """The unit of a call follows from those of its arguments, and some calls have none."""
    assert unit(parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "TS_CORR($close, $volume, 10) * ($close - $low) / ($high - $low)",
        "TS_RANK($volume, 10) - SIGN(DELTA($close, 3))",
        "RANK(TS_PCTCHANGE($close, 5)) * TS_ZSCORE($volume, 10)",
        "TS_COVARIANCE($close, $volume, 10) / ($close * $volume)",
        "TS_SUM($close > DELAY($close, 1) ? $volume : 0, 10) / TS_SUM($volume, 10)",
        "TS_SKEW($close, 10) + TS_MEDIAN($volume, 10) / TS_MAD($volume, 10)",
    ],
)
def test_scale_free_values_do_not_move_when_an_asset_is_rescaled(text: str) -> None:
    """Multiplying one asset's prices by 4 and its volume by 8 changes no value."""
    expression, panel = parse(text), market(1, n_sessions=60, n_assets=40)
    scaled = {name: values.copy() for name, values in panel.fields.items()}
    for name, values in scaled.items():
        values[:, 3] *= 8 if name == "volume" else 4
    assert is_scale_free(expression)
    before, after = (evaluate([expression], p)[0] for p in (panel, replace(panel, fields=scaled)))
    np.testing.assert_allclose(after, before, rtol=1e-9)
