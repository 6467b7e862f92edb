"""The two tests over one factor, and the one verdict of both."""

from __future__ import annotations

import json

import numpy as np
import pytest

from signals.decay import Verdict, start_monitor
from signals.errors import DataError
from signals.panel import FloatArray
from signals.residual import Basis
from signals.watch import SILENT, Watch, start_watch, strain, suspend, update, with_threshold

NAN = float("nan")


def started(threshold: float = 1260.0) -> Watch:
    rng = np.random.default_rng(1)
    monitored: FloatArray = 0.03 + 0.06 * rng.standard_normal(500)
    raw: FloatArray = 0.03 + 0.1 * rng.standard_normal(500)
    basis = Basis(styles=("size",), t_raw=6.0, t_freed=11.0)
    return start_watch(monitored, start_monitor(raw), basis, threshold=threshold)


def test_both_tests_together_keep_the_budget() -> None:
    """The rates of false alarms of both thresholds add up to that of the book's."""
    watch = started(500.0)
    rates = 1 / watch.monitored.threshold + 1 / watch.raw.threshold
    assert rates == pytest.approx(1 / 500.0)
    assert watch.raw.threshold == pytest.approx(10 * watch.monitored.threshold)
    other = with_threshold(watch, 900.0)
    assert 1 / other.monitored.threshold + 1 / other.raw.threshold == pytest.approx(1 / 900.0)


def test_the_monitored_series_alone_can_decide() -> None:
    """A factor that lost its own part is decayed though the market lifts its raw RankIC."""
    watch = started()
    for _ in range(120):
        watch = update(watch, -0.03, 0.06)
    assert watch.verdict is Verdict.DECAYED
    assert watch.raw.standing is Verdict.HEALTHY
    assert watch.leading is watch.monitored
    assert "raw" in watch.reason


def test_a_factor_that_dies_with_its_family_is_found_by_the_plain_test() -> None:
    """The monitored RankIC stands relative to its peers; the raw one is gone."""
    watch = started()
    for _ in range(400):
        watch = update(watch, 0.03, -0.05)
    assert watch.monitored.standing is Verdict.HEALTHY
    assert watch.verdict is Verdict.DECAYED
    assert watch.leading is watch.raw
    assert strain(watch.raw) >= 1


def test_missing_values_leave_their_own_test_alone() -> None:
    """A NaN moves nothing; the other test goes on."""
    watch = started()
    after = update(watch, NAN, 0.1)
    assert after.monitored is watch.monitored
    assert after.raw.n == watch.raw.n + 1


def test_suspension_is_said_and_ends_with_the_next_value() -> None:
    """The reason stands in the verdict's place; no number moves."""
    watch = suspend(started(), "coverage 0.5")
    assert watch.verdict is Verdict.SUSPENDED
    assert watch.reason == "coverage 0.5"
    assert watch.standing is Verdict.HEALTHY
    assert update(watch, 0.03, 0.03).verdict is Verdict.HEALTHY


def test_watch_survives_json() -> None:
    """A stored watch comes back equal, and goes on to the same verdicts."""
    watch = update(started(), 0.01, 0.02)
    again = Watch.from_json(json.loads(json.dumps(watch.to_json())))
    assert again == watch
    assert update(again, -0.1, 0.0) == update(watch, -0.1, 0.0)


def test_a_state_of_another_version_is_refused() -> None:
    """What is no watch is an error that says what to do."""
    with pytest.raises(DataError, match="state_dir"):
        Watch.from_json({"verdict": "healthy"})


def test_a_factor_without_rank_ics_is_not_called_healthy() -> None:
    """Twenty sessions of silence suspend judgement; the first RankIC ends that."""
    watch = started()
    for _ in range(SILENT - 1):
        watch = update(watch, NAN, NAN)
    assert watch.verdict is Verdict.HEALTHY
    watch = update(watch, NAN, NAN)
    assert (watch.verdict, watch.reason) == (Verdict.SUSPENDED, "no RankIC for 20 sessions")
    watch = update(watch, NAN, 0.04)
    assert (watch.verdict, watch.silent) == (Verdict.HEALTHY, 0)
