"""Fitness on train: what it measures, and what it cannot see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from miner.fitness import (
    Training,
    build_training,
    measure,
    percentile_ranks,
    residual_ranks,
)
from miner.split import Split, split
from signals.errors import DataError
from signals.grammar import parse
from signals.ic import ic
from signals.panel import Panel
from tests.miner.market import market


def parts_of(panel: Panel) -> Split:
    return split(panel.n_sessions, lag=1, horizon=1, train=200, valid=80)


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
    alone = build_training(panel, parts_of(panel), [])
    beside = build_training(panel, parts_of(panel), [planted])
    assert measure([planted], alone)[0].t > 8
    assert abs(measure([planted], beside)[0].ic) < 1e-3


def test_turnover_and_coverage() -> None:
    """Independent values turn over by 1, slow ones less; coverage counts from the lookback on."""
    panel = market(3)
    volume = panel.fields["volume"].copy()
    volume[:, :30] = np.nan
    half = replace(panel, fields={**panel.fields, "volume": volume})
    training = build_training(half, parts_of(panel), [], min_assets=20)
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
    parts = parts_of(panel)
    later = {name: values.copy() for name, values in panel.fields.items()}
    for values in later.values():
        values[parts.valid.start :] = np.random.default_rng(9).lognormal(
            3, 1, values[parts.valid.start :].shape
        )
    one, two = (
        build_training(p, parts, [parse("TS_MEAN($volume, 5) / $volume")])
        for p in (panel, replace(panel, fields=later))
    )
    assert one.panel.n_sessions == parts.train.stop
    np.testing.assert_array_equal(one.target, two.target)
    assert np.isfinite(one.target[-1]).all()


def test_a_panel_that_ends_too_early_for_the_labels_is_refused() -> None:
    """A label of train that is not realised before validation is a DataError, not a NaN."""
    panel = market(5)
    parts = parts_of(panel)
    with pytest.raises(DataError, match="labels of train end"):
        build_training(panel.rows(0, parts.train.stop), parts, [])


def test_measuring_alone_or_in_company_is_the_same() -> None:
    """Sharing sub-expressions with others changes no bit."""
    panel = market(6)
    training: Training = build_training(panel, parts_of(panel), [])
    texts = ("TS_RANK($volume, 10)", "TS_CORR($high / $low, $volume, 10)", "RANK($high / $low)")
    together = measure([parse(text) for text in texts], training)
    for text, expected in zip(texts, together, strict=True):
        (got,) = measure([parse(text)], training)
        assert (got.ic, got.t, got.turnover) == (expected.ic, expected.t, expected.turnover)
