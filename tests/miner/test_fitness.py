"""Fitness on train: what it measures, and what it cannot see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from miner.fitness import Measured, Training, build_training, cost_drag, fitness, measure
from miner.problem import Problem, SearchSettings
from miner.ranks import percentile_ranks, residual_ranks
from signals.errors import DataError
from signals.expression import Expression
from signals.grammar import parse
from signals.ic import ic
from signals.panel import Panel
from tests.miner.market import market

SETTINGS = SearchSettings(train_sessions=200, valid_sessions=80)


def training_of(panel: Panel, **known: Expression) -> Training:
    return build_training(Problem(panel, book=known), SETTINGS)


def test_without_a_book_the_ic_of_ranks_is_the_rank_ic() -> None:
    """It equals pandas' Spearman correlation, ties and missing labels included."""
    rng = np.random.default_rng(0)
    factor = rng.integers(0, 9, (6, 50)).astype(float)
    label = rng.standard_t(4, (6, 50))
    factor[:, 45:] = label[:, 45:] = np.nan
    universe = np.ones(label.shape, dtype=bool)
    got = ic(percentile_ranks(factor, universe), residual_ranks(label, universe, []))
    for row, value in enumerate(got):
        ranks = pd.DataFrame({"x": factor[row], "y": label[row]}).rank()
        assert value == pytest.approx(ranks.corr().iloc[0, 1], abs=1e-12)


def test_the_target_is_the_least_squares_residual_on_the_book() -> None:
    """Each session's label ranks are freed of the ranks of every book factor by regression."""
    rng = np.random.default_rng(1)
    label, a, b = (rng.normal(size=(4, 60)) for _ in range(3))
    universe = np.ones(label.shape, dtype=bool)
    got = residual_ranks(label, universe, [a, b])
    for row in range(4):
        ranks = [pd.Series(v[row]).rank(pct=True).to_numpy() for v in (label, a, b)]
        x = np.column_stack([np.ones(60), *ranks[1:]])
        beta, *_ = np.linalg.lstsq(x, ranks[0], rcond=None)
        np.testing.assert_allclose(got[row], ranks[0] - x @ beta, atol=1e-6)


def test_a_copy_of_a_book_factor_is_worth_nothing() -> None:
    """The planted factor has a high t without a book, and none once the book holds it."""
    planted = parse("($close - $low) / ($high - $low)")
    panel = market(2, planted=planted, strength=0.2)
    alone = training_of(panel)
    beside = training_of(panel, planted=planted)
    assert measure([planted], alone)[0].t > 8
    assert abs(measure([planted], beside)[0].ic) < 1e-3


def test_turnover_and_coverage() -> None:
    """Independent values turn over by 1, slow ones less; coverage counts from the lookback on."""
    panel = market(3)
    volume = panel.fields["volume"].copy()
    volume[:, :30] = np.nan
    half = replace(panel, fields={**panel.fields, "volume": volume})
    training = build_training(Problem(half), replace(SETTINGS, min_assets=20))
    fast, slow, gaps = measure(
        [
            parse("($close - $low) / ($high - $low)"),
            parse("$close / DELAY($close, 40)"),
            parse("TS_MEAN($volume, 40) / $volume"),
        ],
        training,
    )
    assert fast.turnover == pytest.approx(1, abs=0.05)
    assert slow.turnover < 0.3
    assert (slow.coverage, gaps.coverage) == (1.0, 0.5)


def test_training_holds_no_row_that_validation_is_made_of() -> None:
    """The panel ends with train; whatever comes from validation on leaves all bits as they are."""
    panel = market(4)
    parts = Problem(panel).split(SETTINGS)
    later = {name: values.copy() for name, values in panel.fields.items()}
    for values in later.values():
        values[parts.valid.start :] = np.random.default_rng(9).lognormal(
            3, 1, values[parts.valid.start :].shape
        )
    known = parse("TS_MEAN($volume, 5) / $volume")
    one, two = (training_of(p, known=known) for p in (panel, replace(panel, fields=later)))
    assert one.panel.n_sessions == parts.train.stop
    np.testing.assert_array_equal(one.target, two.target)
    assert np.isfinite(one.target[-1]).all()
    assert one.span.last == panel.sessions[parts.train.stop - 1].item()
    assert one.span.closes == panel.sessions[parts.train.stop + 1].item()
    assert one.judged.first == panel.sessions[parts.valid.start].item()


def test_arrays_of_other_dates_cannot_become_training() -> None:
    """A target or a panel with a row more or less, or a train that reaches validation."""
    panel = market(5)
    training = training_of(panel)
    longer = panel.rows(0, training.panel.n_sessions + 1)
    with pytest.raises(DataError, match="what is fitted to has 200 rows and 201 sessions"):
        replace(training, panel=longer)
    with pytest.raises(DataError, match="what is fitted to has 199 rows"):
        replace(training, target=training.target[1:])
    with pytest.raises(DataError, match="asked for are 200"):
        replace(training, panel=panel.rows(1, training.panel.n_sessions + 1))
    with pytest.raises(DataError, match="validation is"):
        replace(training, judged=training.span)


def test_measuring_alone_or_in_company_is_the_same() -> None:
    """Sharing sub-expressions with others changes no bit."""
    panel = market(6)
    training: Training = training_of(panel)
    texts = ("TS_RANK($volume, 10)", "TS_CORR($high / $low, $volume, 10)", "RANK($high / $low)")
    together = measure([parse(text) for text in texts], training)
    for text, expected in zip(texts, together, strict=True):
        (got,) = measure([parse(text)], training)
        assert (got.ic, got.t, got.turnover) == (expected.ic, expected.t, expected.turnover)


def measured(**known: float) -> Measured:
    values = {"ic": 0.03, "t": 6.0, "icir": 0.3, "stability": 1.0, "turnover": 1.0}
    values |= {"coverage": 1.0, "drag": 0.0, "spread": 1.0} | known
    return Measured(**values, fingerprint=np.zeros(1, np.float32))


def test_fitness_is_t_net_of_cost_instability_and_the_regulariser() -> None:
    """Each takes its share: cost in proportion to what it leaves of the RankIC, either sign."""
    free = SearchSettings(cost_bps=0.0, penalty=0.5)
    assert fitness(measured(), 0.4, free) == pytest.approx(6 - 0.5 * 0.4)
    assert fitness(measured(stability=0.5), 0.4, free) == pytest.approx(6 - 2 * 0.25 - 0.2)
    dear = replace(free, cost_bps=2.0)
    assert fitness(measured(drag=0.003), 0.0, dear) == pytest.approx(6 * (1 - 0.006 / 0.03))
    turned = measured(ic=-0.03, t=-6.0, drag=0.003)
    assert fitness(turned, 0.0, dear) == fitness(measured(drag=0.003), 0.0, dear)
    assert fitness(measured(ic=float("nan"), t=0.0), 0.0, dear) == 0.0


@pytest.mark.parametrize("horizon", [1, 5])
def test_at_the_cost_that_takes_all_a_portfolio_by_ranks_earns_nothing(horizon: int) -> None:
    """Traded by rank weights, what is earned per label equals what its trades cost."""
    rng = np.random.default_rng(4)
    n_sessions, n_assets, dispersion = 400, 500, 0.02
    factor = rng.normal(size=(n_sessions, n_assets))
    label = dispersion * (0.1 * factor + np.sqrt(1 - 0.01) * rng.normal(size=factor.shape))
    ranks = np.argsort(np.argsort(factor, axis=1), axis=1) / n_assets
    weights = ranks - ranks.mean(axis=1, keepdims=True)
    weights /= np.abs(weights).sum(axis=1, keepdims=True)
    earned = (weights * label).sum(axis=1).mean()
    traded = np.abs(np.diff(weights, axis=0)).sum(axis=1).mean()
    rank_ic = np.mean([np.corrcoef(r, y)[0, 1] for r, y in zip(ranks, label, strict=True)])
    break_even_bps = rank_ic / cost_drag(1.0, dispersion, horizon)
    assert break_even_bps * 1e-4 * traded == pytest.approx(earned, rel=0.03)


def test_slow_factors_pay_less_and_nothing_is_charged_without_labels() -> None:
    """Half the turnover, half the drag; over four sessions wandering ranks move twice as far."""
    fast = cost_drag(1.0, 0.02, 1)
    assert cost_drag(0.5, 0.02, 1) == pytest.approx(fast / 2)
    assert cost_drag(0.1, 0.02, 4) == pytest.approx(2 * cost_drag(0.1, 0.02, 1))
    assert cost_drag(1.0, 0.02, 4) == fast
    assert cost_drag(1.0, float("nan"), 1) == 0.0


def test_dispersion_is_the_cross_sectional_spread_of_labels() -> None:
    """In the median session of train, as pandas gives it."""
    panel = market(8)
    training = training_of(panel)
    rows = Problem(panel).split(SETTINGS).train
    label = pd.DataFrame(Problem(panel).labels[rows])
    assert training.dispersion == pytest.approx(label.std(axis=1).median())
