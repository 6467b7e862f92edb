"""Price limits of A shares, as the stand-ins' own market obeys them: whole fen, rounded half up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_CHINEXT_REFORM = np.datetime64("2020-08-24", "D")
_ST_REFORM = np.datetime64("2026-07-06", "D")


def percents(session: np.datetime64, assets: Sequence[str], st: BoolArray) -> npt.NDArray[np.int64]:
    """Return the limit of each asset on a session in percent, shape (n_assets,)."""
    codes = np.array(assets)
    chinext = np.char.startswith(codes, "30")
    star = np.char.startswith(codes, "68")
    usual = np.where(star | (chinext & bool(session >= _CHINEXT_REFORM)), 20, 10)
    narrow = st & (usual == 10) & ~chinext & bool(session < _ST_REFORM)
    return np.where(narrow, 5, usual)


def bounds(reference: FloatArray, percent: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest price; NaN where there is no reference."""
    with np.errstate(invalid="ignore"):
        fen = np.floor(reference * 100.0 + 0.5 + 1e-6)
        low = np.floor((fen * (100 - percent) + 50) / 100) / 100
        high = np.floor((fen * (100 + percent) + 50) / 100) / 100
    return low, high


def limit_flags(
    close: FloatArray,
    reference: FloatArray,
    sessions: npt.NDArray[np.datetime64],
    assets: Sequence[str],
    st: BoolArray,
) -> tuple[BoolArray, BoolArray]:
    """Return where the close is the highest and where it is the lowest price allowed.

    Parameters
    ----------
    close, reference : ndarray of shape (n_sessions, n_assets)
        As traded, and the close before after that session's events.
    """
    up, down = np.zeros(close.shape, dtype=np.bool_), np.zeros(close.shape, dtype=np.bool_)
    for row, session in enumerate(sessions):
        low, high = bounds(reference[row], percents(session, assets, st[row]))
        up[row] = np.abs(close[row] - high) < 0.005
        down[row] = np.abs(close[row] - low) < 0.005
    return up, down
