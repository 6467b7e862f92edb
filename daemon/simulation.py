"""A simulated market with planted alphas whose strength is a known function of time.

Session s, for asset i (t₅ draws have unit variance):

    x[s, i] = β[i] σm[s] t₅ + σ[s, i] (b[s, i] + sqrt(1 - var b) t₅)       close-to-close log return
    b[s]    = Z C⁻¹ (κ · strength)                                         the planted part

Z are the standardised ranks of the planted expressions at the close of s - 2 (known there, traded
at the close of s - 1: lag 1, horizon 1), C their correlation that day, and strength the profile of
each alpha at s - 2. C⁻¹ keeps what one alpha earns out of the others, so that `true_strength` is,
within 5 %, the RankIC that each has. σm and σ follow GARCH(1, 1), volume is an AR(1) in logarithms
that answers to the size of the return, gap and range are drawn so that low ≤ open, close ≤ high.

A longer simulation begins with the shorter one, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from signals.blend import exposures
from signals.errors import DataError
from signals.evaluate import evaluate
from signals.grammar import parse
from signals.operators import lookback
from signals.panel import FloatArray, Panel

#: κ: shift of a standardised return per unit of RankIC; measured over 14 seeds of 1512 sessions.
SHIFT_PER_RANK_IC = 0.90
#: Sessions from knowing a factor to the end of the return it moves (lag 1 + horizon 1).
DELAY = 2
FIELDS = ("open", "high", "low", "close", "volume")

_DAILY_VOLATILITY = 0.017  # median of an asset's own part
_MARKET_VOLATILITY = 0.007
_GARCH = (0.06, 0.90)  # weight of the last square, and of the last variance


@dataclass(frozen=True, slots=True)
class PlantedAlpha:
    """An expression that earns a return, and how much at which time.

    Parameters
    ----------
    name : str
        For stories and reports.
    expression : str
        Oriented so that a high value earns a high return.
    strength : tuple of (int, float)
        Knots (session number from 0, RankIC), ascending; linear between, constant outside them.
    """

    name: str
    expression: str
    strength: tuple[tuple[int, float], ...]


def true_strength(alpha: PlantedAlpha, session: int) -> float:
    """Return the expected RankIC of the values that `alpha` has on session number `session`."""
    numbers, strengths = zip(*alpha.strength, strict=True)
    return float(np.interp(session, numbers, strengths))


def default_alphas(*, death: int = 996, birth: int = 760) -> tuple[PlantedAlpha, ...]:
    """Return the demo's three alphas: one that dies, one that stays, one that is born.

    Parameters
    ----------
    death : int
        Session number at which the dying one starts to fade, over 20 sessions.
    birth : int
        Session number at which the new one starts to grow, over 60 sessions.
    """
    return (
        PlantedAlpha(
            "reversal", "-1 * TS_PCTCHANGE($close, 5)", ((death, 0.045), (death + 20, 0.0))
        ),
        PlantedAlpha("calm", "-1 * TS_STD(TS_PCTCHANGE($close, 1), 20)", ((0, 0.03),)),
        PlantedAlpha(
            "newcomer", "($high - $close) / ($high - $low)", ((birth, 0.0), (birth + 60, 0.05))
        ),
    )


class Market:
    """The simulated market, lengthened as it is asked for.

    Parameters
    ----------
    seed : int
        Equal seeds (and alphas) give equal bars.
    n_assets : int
        Columns.
    alphas : sequence of PlantedAlpha
        What earns a return.
    """

    def __init__(self, seed: int, n_assets: int, alphas: Sequence[PlantedAlpha]) -> None:
        self.assets = tuple(f"SIM{number:04d}" for number in range(n_assets))
        self.n_sessions = 0
        self._alphas = tuple(alphas)
        self._expressions = [parse(alpha.expression) for alpha in alphas]
        self._rows_needed = 1 + max(map(lookback, self._expressions), default=0)
        self._rng = rng = np.random.Generator(np.random.PCG64(seed))
        n = n_assets
        self._beta = np.clip(1.0 + 0.25 * rng.standard_normal(n), 0.3, 1.9)
        self._level = (_DAILY_VOLATILITY * np.exp(0.25 * rng.standard_normal(n))) ** 2
        self._variance = self._level.copy()
        self._market_variance = _MARKET_VOLATILITY**2
        self._close = np.round(np.exp(rng.normal(np.log(60.0), 0.7, n)), 4)
        self._usual_volume = rng.normal(np.log(2e6), 0.9, n)
        self._volume = np.zeros(n)
        self._planted: list[FloatArray] = [np.zeros(n)] * DELAY
        self._bars = {name: np.empty((256, n)) for name in FIELDS}

    def bars(self, first: int, stop: int) -> dict[str, FloatArray]:
        """Return open, high, low, close and volume of sessions `first` to `stop`, half-open.

        Returns
        -------
        dict of str to ndarray of float64, shape (stop - first, n_assets)
            Prices rounded to 1e-4, volumes to whole shares; views, not to be written to.
        """
        if not 0 <= first <= stop:
            raise DataError(
                f"sessions {first} to {stop} were asked for",
                rule="session numbers begin at 0 and ascend",
            )
        while self.n_sessions < stop:
            self._step()
        return {name: values[first:stop] for name, values in self._bars.items()}

    def _step(self) -> None:
        """Simulate one session more. The number of draws never depends on anything."""
        rng, n = self._rng, len(self.assets)
        shocks = _t5(rng, n)
        market = float(_t5(rng, 1)[0])
        gap, up, down, noise = rng.standard_normal((4, n))

        shift = self._planted.pop(0)
        rest = math.sqrt(1.0 - shift @ shift / n)
        volatility = np.sqrt(self._variance)
        own = volatility * (shift + rest * shocks)
        common = math.sqrt(self._market_variance) * market
        returns = np.clip(self._beta * common + own, -0.4, 0.4)
        self._update_variance(volatility * shocks, common)
        self._volume = 0.7 * self._volume + 0.25 * noise + 0.25 * (np.abs(shocks) - 0.74)

        opened = self._close * np.exp(0.3 * returns + 0.25 * volatility * gap)
        close = self._close * np.exp(returns)
        row = {
            "open": np.round(opened, 4),
            "high": np.round(np.maximum(opened, close) * np.exp(0.35 * volatility * abs(up)), 4),
            "low": np.round(np.minimum(opened, close) * np.exp(-0.35 * volatility * abs(down)), 4),
            "close": np.round(close, 4),
            "volume": np.round(np.exp(self._usual_volume + self._volume)),
        }
        self._close = row["close"]
        if self.n_sessions == len(self._bars["close"]):
            for name, values in self._bars.items():
                self._bars[name] = np.concatenate([values, np.empty_like(values)])
        for name, values in row.items():
            self._bars[name][self.n_sessions] = values
        self.n_sessions += 1
        self._planted.append(self._plant())

    def _update_variance(self, own: FloatArray, common: float) -> None:
        last, before = _GARCH
        level = _MARKET_VOLATILITY**2
        self._variance = np.clip(
            (1.0 - last - before) * self._level + last * own**2 + before * self._variance,
            0.2 * self._level,
            12.0 * self._level,
        )
        variance = (1.0 - last - before) * level + last * common**2 + before * self._market_variance
        self._market_variance = float(np.clip(variance, 0.2 * level, 12.0 * level))

    def _plant(self) -> FloatArray:
        """Return b: what the planted alphas, valued at the newest close, will add."""
        number = self.n_sessions - 1
        strengths = np.array([true_strength(alpha, number) for alpha in self._alphas])
        if not strengths.any():
            return np.zeros(len(self.assets))
        first = max(self.n_sessions - self._rows_needed, 0)
        panel = Panel(
            sessions=np.arange(first, self.n_sessions).astype("datetime64[D]"),
            assets=self.assets,
            fields={name: values[first : self.n_sessions] for name, values in self._bars.items()},
            universe=np.ones((self.n_sessions - first, len(self.assets)), dtype=bool),
            origin=first,
        )
        rows = evaluate(self._expressions, panel, first=panel.n_sessions - 1)
        ranks = exposures(np.concatenate(rows), panel.universe[0])
        known = np.isfinite(ranks).any(axis=1)
        ranks = np.nan_to_num(ranks[known])
        correlation = ranks @ ranks.T / len(self.assets) + 1e-9 * np.eye(len(ranks))
        weights = np.linalg.solve(correlation, SHIFT_PER_RANK_IC * strengths[known])
        return np.asarray(weights @ ranks, dtype=np.float64)


def _t5(rng: np.random.Generator, n: int) -> FloatArray:
    """Return draws of Student's t with 5 degrees of freedom, scaled to unit variance."""
    return rng.standard_t(5.0, n) * math.sqrt(3.0 / 5.0)
