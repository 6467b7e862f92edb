from __future__ import annotations

import numpy as np
import pytest

from daemon.simulation import Market, PlantedAlpha, default_alphas, true_strength
from miner.books import seed_book
from signals.errors import DataError
from signals.evaluate import evaluate
from signals.grammar import parse
from signals.ic import rank_ic
from signals.labels import forward_returns
from signals.panel import FloatArray, Panel

ALPHAS = (
    PlantedAlpha("early", "-1 * TS_PCTCHANGE($close, 5)", ((400, 0.06), (420, 0.0))),
    PlantedAlpha("late", "($high - $close) / ($high - $low)", ((400, 0.0), (420, 0.06))),
)
N_SESSIONS = 800


@pytest.fixture(scope="module")
def panel() -> Panel:
    market = Market(5, 300, ALPHAS)
    return Panel(
        sessions=np.arange(N_SESSIONS).astype("datetime64[D]"),
        assets=market.assets,
        fields=market.bars(0, N_SESSIONS),
        universe=np.ones((N_SESSIONS, 300), dtype=bool),
    )


def measured(panel: Panel, expression: str) -> FloatArray:
    (values,) = evaluate([parse(expression)], panel)
    return rank_ic(values, forward_returns(panel.fields["close"], lag=1, horizon=1))


@pytest.mark.parametrize("alpha", ALPHAS, ids=lambda alpha: alpha.name)
@pytest.mark.parametrize("span", [(20, 400), (420, N_SESSIONS - 2)])
def test_measured_rank_ic_is_the_planted_strength(
    panel: Panel, alpha: PlantedAlpha, span: tuple[int, int]
) -> None:
    """While an alpha lives its mean RankIC is its strength, and zero while it does not."""
    series = measured(panel, alpha.expression)[slice(*span)]
    standard_error = series.std() / np.sqrt(len(series))
    wanted = true_strength(alpha, span[0])
    assert abs(series.mean() - wanted) < 3.5 * standard_error + 0.05 * wanted


def test_strength_is_linear_between_knots() -> None:
    """The profile is constant outside its knots and linear between them."""
    alpha = PlantedAlpha("x", "$close", ((100, 0.0), (200, 0.05)))
    assert [true_strength(alpha, s) for s in (0, 100, 150, 200, 900)] == [0, 0, 0.025, 0.05, 0.05]


def test_prefix_never_changes() -> None:
    """However a market is lengthened, its first sessions are bit for bit the same."""
    short = Market(9, 40, ALPHAS).bars(0, 300)
    long = Market(9, 40, ALPHAS)
    for stop in (1, 257, 700):
        long.bars(0, stop)
    for name, values in long.bars(0, 300).items():
        np.testing.assert_array_equal(values, short[name])


def test_seed_makes_the_market() -> None:
    """Another seed is another market."""
    first, second = (Market(seed, 40, ALPHAS).bars(0, 5)["close"] for seed in (1, 2))
    assert not np.any(first == second)


def test_nothing_is_planted_before_it_is_known() -> None:
    """A strength that begins on session 50 leaves all bars up to session 51 as without it."""
    without = Market(3, 40, ()).bars(0, 60)["close"]
    alpha = PlantedAlpha("x", "-1 * TS_PCTCHANGE($close, 1)", ((49, 0.0), (50, 0.3)))
    planted = Market(3, 40, (alpha,)).bars(0, 60)["close"]
    np.testing.assert_array_equal(planted[:52], without[:52])
    assert np.all(planted[52] != without[52])


def test_bars_are_consistent(panel: Panel) -> None:
    """Prices are positive and rounded, low and high enclose open and close, volumes are whole."""
    bars = panel.fields
    assert np.all(bars["low"] <= np.minimum(bars["open"], bars["close"]))
    assert np.all(bars["high"] >= np.maximum(bars["open"], bars["close"]))
    assert np.all(bars["low"] > 0)
    assert np.all(bars["close"] == np.round(bars["close"], 4))
    assert np.all((bars["volume"] > 0) & (bars["volume"] == np.round(bars["volume"])))


def test_returns_look_like_a_market(panel: Panel) -> None:
    """Tails are fat, volatility clusters, assets move together, volume answers to moves."""
    returns = np.diff(np.log(panel.fields["close"]), axis=0)
    centred = (returns - returns.mean(axis=0)) / returns.std(axis=0)
    assert np.mean(centred**4) > 4.5
    size = np.abs(centred)
    assert np.corrcoef(size[1:].ravel(), size[:-1].ravel())[0, 1] > 0.03
    assert np.corrcoef(returns.T).mean() > 0.05
    volume = np.log(panel.fields["volume"][1:])
    assert np.corrcoef((volume - volume.mean(axis=0)).ravel(), size.ravel())[0, 1] > 0.2


def test_one_alpha_twice_is_no_error() -> None:
    """Planting one expression twice leaves the market finite."""
    alpha = PlantedAlpha("x", "-1 * TS_PCTCHANGE($close, 1)", ((0, 0.03),))
    assert np.isfinite(Market(3, 40, (alpha, alpha)).bars(0, 30)["close"]).all()


def test_default_alphas_tell_a_story() -> None:
    """One dies, one stays and one is born, in that order of names."""
    reversal, calm, newcomer = default_alphas(death=996, birth=640)
    assert [true_strength(reversal, s) for s in (0, 996, 1016)] == [0.045, 0.045, 0.0]
    assert true_strength(calm, 1500) == 0.03
    assert [true_strength(newcomer, s) for s in (640, 700)] == [0.0, 0.05]


def test_only_the_newcomer_is_unknown_to_the_seed_book() -> None:
    """The dying and the lasting alpha are seeds of the simulated market, the new one is not."""
    book = {seed.expression for seed in seed_book("sim")}
    assert [parse(alpha.expression) in book for alpha in default_alphas()] == [True, True, False]


def test_session_numbers_begin_at_zero() -> None:
    """A negative session is a DataError."""
    with pytest.raises(DataError, match="session numbers begin at 0"):
        Market(1, 40, ()).bars(-1, 3)
