"""Labels: the forward return that a factor value of session t is judged by."""

from __future__ import annotations

import numpy as np

from signals.errors import DataError
from signals.panel import FloatArray


def realised_after(*, lag: int = 1, horizon: int = 1) -> int:
    """Return how many sessions after t the label of session t is known: `lag + horizon`.

    Raises
    ------
    DataError
        If `lag` is negative or `horizon` is below 1.
    """
    if lag < 0 or horizon < 1:
        raise DataError(
            f"a label with lag {lag} and horizon {horizon}",
            rule="lag >= 0 and horizon >= 1 session",
            hint="use lag 1 and horizon 1: known at a close, traded at the next, held one session",
        )
    return lag + horizon


def forward_returns(close: FloatArray, *, lag: int = 1, horizon: int = 1) -> FloatArray:
    """Return the label of each session and asset: the return earned after it.

    Row t is ``close[t + lag + horizon] / close[t + lag] - 1``.

    Parameters
    ----------
    close : ndarray of shape (n_sessions, n_assets)
        Closing prices adjusted forward; a price that is not finite or not above 0 is missing.
    lag : int
        Sessions between knowing the factor and trading on it.
    horizon : int
        Sessions held.

    Returns
    -------
    ndarray of shape (n_sessions, n_assets)
        Fractions (0.01 is 1 %), of the dtype of `close`; NaN in the last `lag + horizon` rows
        and where either price is missing.

    Raises
    ------
    DataError
        If `lag` is negative or `horizon` is below 1.
    """
    reach = realised_after(lag=lag, horizon=horizon)
    label = np.full_like(close, np.nan)
    if reach >= len(close):
        return label
    price = np.where(np.isfinite(close) & (close > 0), close, np.nan)
    label[:-reach] = price[reach:] / price[lag : len(close) - horizon] - 1
    return label
