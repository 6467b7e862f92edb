"""What can be traded at the open after a session, by what is flagged on that session alone.

A suspended asset can neither be bought nor sold. One that closed at its upper limit has buyers that
were not served: it can be sold, and hardly bought; at the lower limit it is the other way round.
"""

from __future__ import annotations

import numpy as np

from signals.errors import DataError
from signals.panel import BoolArray, FloatArray, Panel


def unbuyable(panel: Panel) -> BoolArray:
    """Return where an asset cannot be bought at the next open; (n_sessions, n_assets)."""
    return panel.flagged("suspended") | panel.flagged("limit_up")


def unsellable(panel: Panel) -> BoolArray:
    """Return where an asset cannot be sold at the next open; (n_sessions, n_assets)."""
    return panel.flagged("suspended") | panel.flagged("limit_down")


def withhold(score: FloatArray, panel: Panel) -> FloatArray:
    """Return scores without those that nobody could act on.

    A score above zero asks to buy and one below it to sell: it is withheld where that direction is
    closed, and stays where the other one is. A score that stays is not changed.

    Parameters
    ----------
    score : ndarray of shape (n_assets,) or (n_sessions, n_assets)
        Of the last row of the panel, or of all of them; NaN where there is none.
    panel : Panel
        Its flags of a row concern the scores of that row alone.

    Returns
    -------
    ndarray of the shape of `score`
        A copy; NaN where withheld.

    Raises
    ------
    DataError
        The shapes do not agree.
    """
    closed_up, closed_down = unbuyable(panel), unsellable(panel)
    if score.ndim == 1:
        closed_up, closed_down = closed_up[-1], closed_down[-1]
    if score.shape != closed_up.shape:
        raise DataError(
            f"scores of shape {score.shape} beside a panel of {closed_up.shape}",
            rule="a score stands beside the flags of its own session",
        )
    with np.errstate(invalid="ignore"):
        gone = ((score > 0) & closed_up) | ((score < 0) & closed_down) | (closed_up & closed_down)
    return np.where(gone, np.nan, score)
