"""`alphad explain`: what it says first, what it says then, and that it waits on nobody."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.clock import SystemClock
from daemon.context import open_context
from daemon.explain import patience
from daemon.factor_story import FactorStory, baseline_rows, factor_stories, leading_of, told
from daemon.inspection import only, opened
from daemon.settings import load_settings
from daemon.wording import facts_of, headline, since
from signals.decay import start_monitor
from signals.residual import Basis
from signals.watch import SHARED, start_watch
from signals.watch import update as update_watch
from storage.history import ICSeries as Series
from storage.history import MonitoredSeries as Freed
from storage.tables import Factor, FactorEvent, MonitorRecord, RemineJob
from tests.daemon.small import FIRST, SESSIONS, Home, alphad


@pytest.fixture(scope="module")
def dead(dead_home: Home) -> FactorStory:
    """Return the story of the factor that decayed and was retired."""
    context = opened(dead_home.config)
    [story] = factor_stories(context, only(context, None), ["reversal"])
    return story


def living_one(story: FactorStory, verdict: str, **changed: Any) -> FactorStory:
    """Return the same factor while it was live, with another verdict."""
    factor = Factor(**{**story.factor.model_dump(), "state": "live"})
    return replace(story, factor=factor, verdict=verdict, **changed)


def job(status: str, **values: Any) -> RemineJob:
    return RemineJob.model_construct(id=3, status=status, trigger={}, **values)


def test_first_line_says_what_is_the_matter(dead_home: Home) -> None:
    """The first words name the factor, what happened and when, by which rule, and its weight."""
    said = alphad("explain", "reversal", "--config", dead_home.config)
    assert said.code == 0
    first = " ".join(said.out.split())
    assert first.startswith("reversal was retired on 2023-0")
    assert "evidence of decay above 100 thresholds. It weighs nothing." in first


def test_explanation_has_every_part(dead_home: Home) -> None:
    """Evidence, onset, means, half-life, picture, horizons, turnover and the life stand in it."""
    said = alphad("explain", "reversal", "--config", dead_home.config).out
    for part in (
        "verdict: decayed", "monitored RankIC, which the verdict rests on", "decayed at 69",
        "onset between 2023-", "(80 %), in the middle", "mean before", "mean since",
        "sessions (80 %); 0 is a step", "RankIC, mean of the last 60 sessions", "┊",
        "evidence of decay / threshold", "D decayed", "sessions held", "turnover per session",
        "rank autocorrelation", "candidate → live",
    ):  # fmt: skip
        assert part in " ".join(said.split()) or part in said, part


def test_rejected_factor_is_explained_too(dead_home: Home) -> None:
    """A factor that was never watched has its reason, its horizons and its turnover."""
    said = alphad("explain", "continuation", "--config", dead_home.config)
    assert said.code == 0
    assert said.out.startswith("continuation was rejected on 2023-05-26: baseline RankIC")
    assert "sessions held" in said.out
    assert "verdict:" not in said.out


def test_json_has_the_same_facts(dead_home: Home) -> None:
    """--json is strict JSON with headline, tests, onset sessions, horizons, turnover, events."""
    said = alphad("explain", "reversal", "--config", dead_home.config, "--json")
    facts = json.loads(said.out, parse_constant=pytest.fail)
    assert facts["headline"].startswith("reversal was retired on")
    test = facts["tests"]["raw"]
    assert test["onset_sessions"] == sorted(test["onset_sessions"])
    assert test["evidence"] > test["threshold"]
    assert len(test["half_life"]) == 2
    assert [row["horizon"] for row in facts["rank_ic_by_horizon"]] == [1, 2, 3, 5, 10, 20]
    assert 0 < facts["turnover"]["top"] < 1
    assert [event["event"] for event in facts["events"]][-1] == "live → retired"


def test_session_as_json(dead_home: Home) -> None:
    """A session's stages are told as JSON too, and a holiday has none."""
    day = SESSIONS[FIRST].isoformat()
    facts = alphad("explain", day, "--config", dead_home.config, "--json").json()
    assert {run["stage"] for run in facts["runs"]} >= {"ingest", "observe", "publish"}
    facts = alphad("explain", "2023-05-27", "--config", dead_home.config, "--json").json()
    assert (facts["due"], facts["runs"]) == (None, [])


def test_it_works_while_the_daemon_runs(dead_home: Home, tmp_path: Path) -> None:
    """A daemon that owns the state directory is not in the way."""
    home = dead_home.copy(tmp_path / "busy")
    with open_context(load_settings(home.config, {}), SystemClock()):
        assert alphad("explain", "reversal", "--config", home.config).code == 0


@pytest.mark.parametrize(
    ("verdict", "opened_job", "said"),
    [
        ("decayed", None, "its weight is cut to 10%, and no re-mining was opened yet."),
        ("decayed", job("queued"), "re-mining 3 waits to look for a successor."),
        ("decayed", job("running"), "re-mining 3 is looking for a successor."),
        ("decayed", job("succeeded", result={"accepted": ["a", "b"]}), "found 2 challengers."),
        ("decayed", job("succeeded", result={"accepted": []}), "found nothing good enough."),
        ("decayed", job("failed"), "re-mining 3 has failed."),
        ("warning", None, "reversal is weakening: its weight is cut to 50%"),
        ("suspended", None, "reversal is not judged now: "),
        ("healthy", None, "reversal is healthy and has its full weight."),
    ],
)
def test_headline_of_a_live_factor(
    dead: FactorStory, verdict: str, opened_job: RemineJob | None, said: str
) -> None:
    """What is the matter, and what alphad did about it, stand in one line."""
    line = headline(living_one(dead, verdict, job=opened_job))
    assert said in line
    assert "\n" not in line


def test_headline_of_a_decayed_factor_has_no_bare_date(dead: FactorStory) -> None:
    """When it began is said as an interval with its certainty."""
    assert "reversal has decayed (began between 2023-" in headline(living_one(dead, "decayed"))
    assert since(dead.leading).endswith(", 80 %)")
    assert since(None) == ""


def test_headline_says_that_re_mining_is_off(dead: FactorStory) -> None:
    """Where nobody looks for a successor the operator is told why."""
    mining = dead.settings.mining.model_copy(update={"enabled": False})
    settings = dead.settings.model_copy(update={"mining": mining})
    line = headline(living_one(dead, "decayed", settings=settings, job=None))
    assert "re-mining is off (mining.enabled)." in line


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("shadow", "is on trial in shadow since "),
        ("candidate", "waits for its baseline: "),
    ],
)
def test_headline_before_a_factor_is_live(dead: FactorStory, state: str, said: str) -> None:
    """A factor on trial says what it waits for."""
    factor = Factor(**{**dead.factor.model_dump(), "state": state})
    assert said in headline(replace(dead, factor=factor))


def watched(basis: Basis, monitored_mean: float) -> tuple[MonitorRecord, Series, Freed]:
    """Return a stored watch, 100 sessions old, whose raw RankIC has held."""
    rng = np.random.default_rng(3)
    sessions = np.arange(np.datetime64("2023-01-01"), np.datetime64("2023-01-01") + 160)
    raw = np.r_[rng.normal(0.05, 0.1, 60), rng.normal(0.09, 0.1, 100)]
    monitored = np.r_[rng.normal(0.05, 0.05, 60), rng.normal(monitored_mean, 0.05, 100)]
    watch = start_watch(monitored[:60], start_monitor(raw[:60]), basis, threshold=63.0)
    for one, other in zip(monitored[60:].tolist(), raw[60:].tolist(), strict=True):
        watch = update_watch(watch, one, other)
    record = MonitorRecord.model_construct(state=watch.to_json(), session=sessions[-1].item())
    return record, Series(sessions, raw, raw, np.full(160, 40)), Freed(sessions, monitored)


def test_two_tests_stand_side_by_side(dead_home: Home) -> None:
    """Of a watch each test is told by its own series, the monitored one with its onset's dates."""
    market = only(opened(dead_home.config), None)
    raw, monitored, reading = told(market, *watched(Basis(styles=("size",)), -0.03))
    assert monitored is not None
    assert monitored.onset is not None
    assert monitored.onset[0] >= date(2023, 3, 2)  # the first session that was watched
    assert monitored.onset[0] <= monitored.onset[1] <= monitored.onset[2]
    assert raw.onset is None
    assert "nothing points to decay" in " ".join(facts_of(raw))
    assert reading is not None
    assert "the raw RankIC still holds" in reading
    assert leading_of([monitored, raw]) is monitored


def test_a_factor_monitored_as_it_is_has_one_test(dead_home: Home) -> None:
    """Where nothing is freed the same series is not told twice, and the reader learns why."""
    market = only(opened(dead_home.config), None)
    raw, monitored, reading = told(market, *watched(Basis(), -0.03))
    assert monitored is None
    assert raw.explanation.threshold == pytest.approx(SHARED * 63.0)  # of the verdict's own test
    assert leading_of([raw]) is raw
    assert reading is not None
    assert "no clearer" in reading


def test_baseline_is_what_was_known_when_it_was_judged(dead: FactorStory, dead_home: Home) -> None:
    """The rows end with the last one realised at the judgement, and have the baseline's length."""
    context = opened(dead_home.config)
    market = only(context, None)
    sessions = np.array(SESSIONS, dtype="datetime64[D]")
    rows = baseline_rows(dead.factor, dead.moves, sessions, market)
    live = SESSIONS.index(dead.moves[-3].session)
    assert rows == slice(live + 1 - 2 - 60, live + 1 - 2)
    assert dead.factor.live_session == SESSIONS[live]
    never = Factor(**{**dead.factor.model_dump(), "live_session": None, "joined_session": None,
                      "baseline_start": SESSIONS[30]})  # fmt: skip
    moves = [FactorEvent.model_construct(session=SESSIONS[80])]
    assert baseline_rows(never, moves, sessions, market) == slice(30, 79)


def test_a_quick_answer_says_nothing_on_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    """What takes less than its time leaves stderr empty; what takes more says what it does."""
    with patience("measuring", seconds=5):
        pass
    assert capsys.readouterr().err == ""
    with patience("measuring", seconds=0.01):
        time.sleep(0.2)
    assert capsys.readouterr().err == "measuring …\n"


def test_progress_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """An error leaves no timer behind that would speak later."""
    with pytest.raises(ZeroDivisionError), patience("measuring", seconds=0.1):
        1 / 0  # noqa: B018
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
