"""The monitored RankIC on a panel: less noise, the same day by day, nothing of the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from signals.grammar import parse
from signals.monitored import Surroundings, factor_values, reach, surroundings
from signals.panel import FloatArray, Panel

FACTOR = parse("-1 * $volume / TS_MEAN($volume, 20)")
N_SESSIONS, N_ASSETS = 480, 80


@pytest.fixture(scope="module")
def panel() -> Panel:
    """Return a market that pays and punishes beta at random; unusual volume foretells a fall."""
    rng = np.random.default_rng(11)
    volume = np.exp(12 + 0.3 * rng.standard_normal((N_SESSIONS, N_ASSETS)))
    unusual: FloatArray = np.asarray(FACTOR_RANKS(volume))
    beta = rng.uniform(0.2, 2.0, N_ASSETS)
    # volume runs high where beta is high on some sessions: the factor is then a bet on beta
    volume *= np.exp(0.4 * rng.standard_normal((N_SESSIONS, 1)) * (beta - beta.mean()))
    returns = 0.02 * rng.standard_normal((N_SESSIONS, 1)) * beta
    returns = returns + 0.01 * rng.standard_normal((N_SESSIONS, N_ASSETS))
    returns[2:] += 0.004 * unusual[:-2]
    close = 50 * np.exp(np.cumsum(returns, axis=0))
    opened = close * np.exp(0.003 * rng.standard_normal(close.shape))
    fields = {
        "open": opened,
        "high": np.maximum(opened, close) * 1.002,
        "low": np.minimum(opened, close) * 0.998,
        "close": close,
        "volume": volume,
    }
    days = np.datetime64("2015-01-01") + np.arange(N_SESSIONS)
    names = tuple(f"A{number:03d}" for number in range(N_ASSETS))
    return Panel(days, names, fields, np.ones(close.shape, dtype=bool))


def FACTOR_RANKS(volume: FloatArray) -> FloatArray:  # noqa: N802 - a constant of the market
    """Minus the standardised logarithm of volume: what the market pays for."""
    logs = np.log(volume)
    ranks: FloatArray = (logs.mean(axis=1, keepdims=True) - logs) / logs.std(axis=1, keepdims=True)
    return ranks


def of(panel: Panel, first: int, stop: int, horizon: int = 1) -> Surroundings:
    return surroundings(panel, first, stop, lag=1, horizon=horizon)


def test_freeing_of_styles_lowers_the_noise(panel: Panel) -> None:
    """On a factor that bets on beta at random, the freed RankIC varies far less, mean kept."""
    around = of(panel, 260, 470)
    values = factor_values([FACTOR], around)[0]
    basis, freed = around.begin(values)
    raw = around.rank_ics(around.exposures_of(values), ())
    assert "beta" in basis.styles
    assert np.nanstd(freed) < 0.85 * np.nanstd(raw)
    assert np.nanmean(freed) > 0.8 * np.nanmean(raw) > 0


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_day_alone_gives_what_the_whole_span_gives(panel: Panel, horizon: int) -> None:
    """Today's row from the lookback alone is bit-equal to the batch."""
    around = of(panel, 300, 460, horizon)
    values = factor_values([FACTOR], around)[0]
    basis, _ = around.begin(values)
    whole = around.monitored(basis, values)
    behind = max(reach(horizon), 30)
    for row in (320, 401, 459):
        tail = panel.rows(row - behind, row + 3)
        day = of(tail, behind, behind + 1, horizon)
        alone = day.monitored(basis, factor_values([FACTOR], day)[0])
        assert alone.tolist() == [whole[row - 300]]


def test_no_bar_after_the_label_has_a_say(panel: Panel) -> None:
    """Bars after session t + lag + 1 change nothing at or before t."""
    around = of(panel, 300, 400)
    basis, _ = around.begin(factor_values([FACTOR], around)[0])
    before = around.monitored(basis, factor_values([FACTOR], around)[0])
    fields = {name: values.copy() for name, values in panel.fields.items()}
    for values in fields.values():
        values[402:] *= 1.7
        values[402:, ::3] = np.nan
    changed = of(replace(panel, fields=fields), 300, 400)
    after = changed.monitored(basis, factor_values([FACTOR], changed)[0])
    assert np.array_equal(before, after)


def test_a_label_that_has_not_ended_has_no_rank_ic(panel: Panel) -> None:
    """The last lag + 1 sessions of a panel are not realised."""
    around = of(panel, N_SESSIONS - 5, N_SESSIONS)
    basis, _ = of(panel, 300, 400).begin(factor_values([FACTOR], of(panel, 300, 400))[0])
    series = around.monitored(basis, factor_values([FACTOR], around)[0])
    assert np.isfinite(series).tolist() == [True, True, True, False, False]


def test_a_style_the_factor_is_stays_in(panel: Panel) -> None:
    """A factor that is a style is not freed of it."""
    around = of(panel, 260, 460)
    values = factor_values([parse("TS_PCTCHANGE($close, 20)")], around)[0]
    basis, _ = around.begin(values)
    assert "reversal" not in basis.styles
    assert "reversal_20" not in basis.loadings
