"""What can be traded after a session, and scores that nobody could act on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from signals.errors import DataError
from signals.panel import FLAGS, Panel
from signals.tradability import unbuyable, unsellable, withhold
from tests.signals.reference import random_panel

SHAPE = (6, 9)
BASE = random_panel(3, *SHAPE)
FLAGGED = arrays.arrays(np.uint8, SHAPE, elements=st.integers(0, 15))
SCORES = arrays.arrays(
    np.float64, SHAPE, elements=st.one_of(st.just(np.nan), st.just(0.0), st.floats(-3, 3))
)


def panel(flags: np.ndarray | None) -> Panel:
    return replace(BASE, flags=flags)


def test_bits_are_the_flags_in_their_order() -> None:
    """A value of 1, 2, 4, 8 says suspended, ST, upper limit, lower limit; nothing says nothing."""
    flags = np.zeros(SHAPE, dtype=np.uint8)
    flags[2, :4] = (1, 2, 4, 8)
    said = [np.argwhere(panel(flags).flagged(name)).tolist() for name in FLAGS]
    assert said == [[[2, 0]], [[2, 1]], [[2, 2]], [[2, 3]]]
    assert not panel(None).flagged("st").any()


def test_rows_of_a_panel_keep_their_flags() -> None:
    """A tail is flagged as the whole is."""
    flags = np.arange(54, dtype=np.uint8).reshape(SHAPE) % 16
    tail = panel(flags).rows(4, 6)
    assert (tail.flagged("limit_up") == panel(flags).flagged("limit_up")[4:6]).all()


def test_flags_of_another_shape_are_refused() -> None:
    """They are (n_sessions, n_assets), as every field is."""
    with pytest.raises(DataError, match="flags"):
        panel(np.zeros((2, 2), dtype=np.uint8))


@given(FLAGGED, SCORES)
def test_no_score_that_the_flags_exclude(flags: np.ndarray, score: np.ndarray) -> None:
    """What stays can be acted on: no purchase at an upper limit, no sale at a lower one."""
    whole = panel(flags)
    left = withhold(score, whole)
    stays = np.isfinite(left)
    assert not (stays & whole.flagged("suspended")).any()
    assert not (stays & (left > 0) & unbuyable(whole)).any()
    assert not (stays & (left < 0) & unsellable(whole)).any()


@given(FLAGGED, SCORES)
def test_what_can_be_traded_keeps_its_score(flags: np.ndarray, score: np.ndarray) -> None:
    """A risk warning alone withholds nothing, and neither does the limit on the other side."""
    whole = panel(flags)
    left = withhold(score, whole)
    closed = ~np.isfinite(left) & np.isfinite(score)
    asked = np.where(score > 0, unbuyable(whole), unsellable(whole))
    assert (closed <= (asked | (unbuyable(whole) & unsellable(whole)))).all()
    assert (left[~closed & np.isfinite(score)] == score[~closed & np.isfinite(score)]).all()


@given(FLAGGED, FLAGGED, SCORES, st.integers(0, SHAPE[0] - 1))
def test_flags_of_other_sessions_do_not_count(
    flags: np.ndarray, others: np.ndarray, score: np.ndarray, row: int
) -> None:
    """Scores of a session are withheld by its own flags, whatever came before or comes after."""
    others = others.copy()
    others[row] = flags[row]
    mine, theirs = (withhold(score, panel(each))[row] for each in (flags, others))
    assert np.array_equal(mine, theirs, equal_nan=True)
    alone = withhold(score[row], panel(flags).rows(0, row + 1))
    assert np.array_equal(mine, alone, equal_nan=True)


def test_without_flags_nothing_is_withheld() -> None:
    """A panel of bars that tell none leaves every score as it is."""
    score = np.linspace(-1, 1, SHAPE[1])
    assert (withhold(score, panel(None)) == score).all()
