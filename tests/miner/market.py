"""A small market for the tests of the miner: returns follow a planted factor of exogenous bars."""

from __future__ import annotations

import numpy as np

from signals.evaluate import evaluate
from signals.expression import Expression
from signals.panel import Panel

#: The label of the tests: known at t, traded at t + 1, held to t + 2.
REACH = 2


def market(
    seed: int,
    *,
    n_sessions: int = 400,
    n_assets: int = 60,
    planted: Expression | None = None,
    strength: float = 0.0,
) -> Panel:
    """Return a market with fat tails, volatility clusters and a common factor.

    Bar shapes and volumes do not depend on returns, so a planted expression of `$volume`, or of the
    prices of one session, is known before returns are drawn. `strength` is the correlation of the
    planted ranks with an asset's own noise.
    """
    rng = np.random.default_rng([seed, 7919])
    shape = (n_sessions, n_assets)
    up, down, gap = (np.abs(rng.standard_t(5, shape)) * 0.006 + 1e-4 for _ in range(3))
    activity = np.zeros(shape)
    for t in range(1, n_sessions):
        activity[t] = 0.8 * activity[t - 1] + 0.4 * rng.standard_normal(n_assets)
    volume = np.exp(activity + rng.normal(13, 1, n_assets))
    still = _panel(np.ones(shape), up, down, gap, volume)
    own = rng.standard_t(5, shape) / np.sqrt(5 / 3)
    if planted is not None:
        values = evaluate([planted], still)[0]
        ranks = np.argsort(np.argsort(values, axis=1), axis=1) / (n_assets - 1) - 0.5
        signal = np.where(np.isfinite(values), ranks * np.sqrt(12), 0)
        own[REACH:] += strength * signal[:-REACH]
    cluster = np.exp(0.3 * np.sin(np.arange(n_sessions) / 15 + seed))[:, None]
    common = 0.008 * cluster * rng.standard_normal((n_sessions, 1))
    returns = common * rng.uniform(0.6, 1.4, n_assets) + own * cluster * rng.uniform(
        0.01, 0.02, n_assets
    )
    close = 50 * np.exp(np.cumsum(np.clip(returns, -0.4, 0.4), axis=0))
    return _panel(close, up, down, gap, volume)


def _panel(
    close: np.ndarray, up: np.ndarray, down: np.ndarray, gap: np.ndarray, volume: np.ndarray
) -> Panel:
    n_sessions, n_assets = close.shape
    low, high = close * (1 - down), close * (1 + up)
    fields = {
        "open": np.clip(close * (1 + gap - 0.005), low, high),
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
    }
    return Panel(
        sessions=np.datetime64("2020-01-01") + np.arange(n_sessions),
        assets=tuple(f"A{i:03d}" for i in range(n_assets)),
        fields=fields,
        universe=np.ones(close.shape, dtype=bool),
    )
