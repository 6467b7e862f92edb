"""The explanation of a verdict: onset and half-life as intervals, means before and after."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from signals.decay import MonitorState, Verdict, start_monitor, suspend, update, with_threshold
from signals.explanation import explain, explain_two
from signals.halflife import HALF_LIVES
from signals.panel import FloatArray

MEAN, SD = 0.035, 0.1


def ics(rng: np.random.Generator, mean: float, n: int) -> FloatArray:
    """ICs with the tails of a t with 5 degrees of freedom."""
    return mean + SD * math.sqrt(3 / 5) * rng.standard_t(5, n)


def fed(baseline: FloatArray, live: FloatArray, *, horizon: int = 1) -> MonitorState:
    state = start_monitor(baseline, horizon=horizon)
    for value in live.tolist():
        state = update(state, value)
    return state


@pytest.fixture(scope="module")
def stepped() -> tuple[MonitorState, FloatArray]:
    """Return a factor that turned after 150 live ICs, 80 ICs ago, of which 2 are missing."""
    rng = np.random.default_rng(14)
    baseline, live = ics(rng, MEAN, 500), np.r_[ics(rng, MEAN, 150), ics(rng, -0.02, 80)]
    live[::40] = np.nan
    return fed(baseline, live), np.r_[baseline, live]


def test_onset_is_an_interval_that_holds_the_step(
    stepped: tuple[MonitorState, FloatArray],
) -> None:
    """Earliest, middle and latest lie in order around the truth, 78 finite ICs ago."""
    told = explain(*stepped)
    assert told.verdict is Verdict.DECAYED
    assert told.evidence >= told.threshold > told.warning_level
    assert told.onset is not None
    assert told.onset.earliest >= 78 >= told.onset.latest
    assert told.onset.earliest > told.onset.middle > told.onset.latest >= 1


def test_means_are_split_in_the_middle_of_the_onset(
    stepped: tuple[MonitorState, FloatArray],
) -> None:
    """Every finite IC is before or after the onset, and the mean after it is lower."""
    told = explain(*stepped)
    assert told.onset is not None
    assert told.after.n == told.onset.middle
    assert told.before.n + told.after.n == np.isfinite(stepped[1]).sum()
    assert told.after.high < told.before.low


def test_explanation_is_strict_json(stepped: tuple[MonitorState, FloatArray]) -> None:
    """Verdict, onset and half-life are plain values."""
    said = json.loads(json.dumps(explain(*stepped).to_json(), allow_nan=False))
    assert said["verdict"] == "decayed"
    assert set(said["onset"]) == {"earliest", "middle", "latest"}
    assert len(said["half_life"]) == 2


def test_onset_stays_where_the_alarm_saw_it(stepped: tuple[MonitorState, FloatArray]) -> None:
    """What comes after an alarm moves the end of the series, not the sessions of the onset."""
    state, series = stepped
    first = explain(state, series)
    for value in (later := np.tile([0.03, -0.06], 60)).tolist():
        state = update(state, value)
    assert state.standing is Verdict.DECAYED
    again = explain(state, np.r_[series, later])
    assert first.onset is not None
    assert again.onset is not None
    moved = [
        getattr(again.onset, name) - 120 for name in ("earliest", "middle", "latest")
    ]  # fmt: skip
    assert moved == [first.onset.earliest, first.onset.middle, first.onset.latest]
    assert again.half_life == first.half_life


def test_onset_of_a_second_decay_is_not_that_of_the_first() -> None:
    """A factor that decayed, recovered and decays again is explained by its second decay."""
    rng = np.random.default_rng(3)
    baseline = ics(rng, MEAN, 500)
    parts = [(-0.03, 150), (0.06, 200), (-0.03, 100)]
    live = np.concatenate([ics(rng, mean, n) for mean, n in parts])
    state = fed(baseline, live)
    told = explain(state, np.r_[baseline, live])
    assert told.verdict is Verdict.DECAYED
    assert told.onset is not None
    assert told.onset.earliest < 300
    assert told.onset.latest <= 100


def test_onset_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Over the alarms on 80 steps to nothing the 80 % interval holds the step 7 times in 10."""
    rng = np.random.default_rng(8)
    held = alarms = 0
    for _ in range(80):
        baseline = ics(rng, MEAN, 500)
        live = np.r_[ics(rng, MEAN, 200), ics(rng, 0.0, 400)]
        state = start_monitor(baseline)
        number = 0
        while state.verdict is not Verdict.DECAYED and number < len(live):
            state = update(state, float(live[number]))
            number += 1
        if number <= 200 or state.verdict is not Verdict.DECAYED:
            continue
        told = explain(state, np.r_[baseline, live[:number]])
        assert told.onset is not None
        alarms += 1
        held += told.onset.earliest >= number - 200 >= told.onset.latest
    assert alarms >= 50
    assert held / alarms >= 0.7


def test_healthy_factor_has_no_onset_and_no_half_life() -> None:
    """While nothing fades the means are of the baseline and of the live ICs."""
    rng = np.random.default_rng(0)
    baseline, live = ics(rng, MEAN, 500), ics(rng, MEAN, 60)
    told = explain(fed(baseline, live), np.r_[baseline, live])
    assert told.verdict is Verdict.HEALTHY
    assert (told.onset, told.half_life) == (None, None)
    assert (told.before.n, told.after.n) == (500, 60)
    assert told.before.mean == pytest.approx(baseline.mean())
    nothing = explain(start_monitor(baseline), baseline)
    assert (nothing.before.n, nothing.after.n) == (500, 0)
    json.dumps(nothing.to_json(), allow_nan=False)


def test_suspended_factor_is_explained_by_what_its_evidence_says(
    stepped: tuple[MonitorState, FloatArray],
) -> None:
    """A data fault changes verdict and reason; onset and means stay."""
    state, series = stepped
    held, before = explain(suspend(state, "stale feed"), series), explain(state, series)
    assert (held.verdict, held.standing) == (Verdict.SUSPENDED, Verdict.DECAYED)
    assert held.reason == "stale feed"
    assert (held.onset, held.after) == (before.onset, before.after)


def test_half_life_is_an_interval_of_the_grid() -> None:
    """The interval's ends are members of the grid, for one single IC too."""
    state = with_threshold(start_monitor(ics(np.random.default_rng(0), MEAN, 500)), 1.5)
    told = explain(update(state, -0.1), np.array([-0.1]))
    assert told.half_life is not None
    assert set(told.half_life) <= set(HALF_LIVES)
    assert told.onset is not None
    assert (told.onset.earliest, told.onset.latest) == (1, 1)


@pytest.mark.parametrize(
    ("monitored", "raw", "said", "leading"),
    [
        (-0.02, -0.02, "both have weakened", None),
        (-0.02, MEAN, "the raw RankIC still holds", "monitored"),
        (MEAN, -0.02, "freed of styles and peers it holds", "raw"),
        (MEAN, MEAN, "both hold", None),
    ],
)
def test_two_tests_are_read_together(
    monitored: float, raw: float, said: str, leading: str | None
) -> None:
    """What has weakened, with styles and without, says what kind of weakness it is."""
    rng = np.random.default_rng(5)
    parts = []
    for mean in (monitored, raw):
        baseline, live = ics(rng, MEAN, 500), ics(rng, mean, 150)
        parts += [fed(baseline, live), np.r_[baseline, live]]
    told = explain_two(*parts)
    assert said in told.reading
    assert leading is None or told.leading is getattr(told, leading)
    assert json.loads(json.dumps(told.to_json(), allow_nan=False))["reading"] == told.reading
