from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import structlog

from daemon.course import trailing_mean
from daemon.logs import configure_logging
from daemon.report import Truth, render_report
from daemon.summary import Summary, all_events, by_year, summarise
from daemon.terminal import progress, round_note, statuses
from miner.records import Round
from storage.history import ICSeries
from storage.tables import FactorEvent, RemineJob, VerdictEvent
from tests.daemon.small import DYING, FIRST, MARKET, SESSIONS, Home, TroubledFeed, living


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """Return a market whose only factor decays, told to the end."""
    from daemon.replay import drive

    with living(tmp_path_factory.mktemp("told"), TroubledFeed(DYING)) as alive:
        sessions = SESSIONS[FIRST : FIRST + 30]
        drive(alive.context, alive.market, sessions, alive.clock, lambda *_: None, None)
        return summarise(alive.context, MARKET, sessions)


def test_sessions_are_counted(told: Summary) -> None:
    """Due, published, none twice; every publication has one status."""
    assert (told.sessions_due, told.sessions_published, told.published_twice) == (30, 30, 0)
    assert sum(told.statuses.values()) == 30
    assert statuses(told).endswith(" final")
    assert told.data_note == "troubled"


def test_factors_and_their_curves(told: Summary) -> None:
    """Every factor has a row; a curve only who has ever been live."""
    rows = {row.id: row for row in told.factors}
    assert (rows["reversal"].verdict, rows["continuation"].verdict) == ("decayed", None)
    assert rows["continuation"].state == "rejected"
    assert "reversal" in [curve.name for curve in told.curves]
    assert "continuation" not in [curve.name for curve in told.curves]


def test_events_are_in_order(told: Summary) -> None:
    """Moves, verdicts and re-minings stand in order of session, with their reasons."""
    assert [event.session for event in told.events] == sorted(e.session for e in told.events)
    kinds = [event.kind for event in told.events if event.subject == "reversal"]
    assert kinds[:3] == ["live", "warning", "decayed"]
    assert "remining" in {event.kind for event in told.events}
    assert all(event.why for event in told.events)


def test_year_of_the_score(told: Summary) -> None:
    """The published score's year has its RankIC within its interval, and its degraded sessions."""
    [year] = told.years
    assert (year.year, year.sessions) == (2023, 30)
    assert year.rank_ic == pytest.approx(float(np.nanmean(told.score_curve.rank_ic)))
    assert year.rank_ic is not None
    assert year.low is not None
    assert year.high is not None
    assert year.low < year.rank_ic < year.high < 0
    assert year.degraded == told.statuses["degraded"]


def test_json_is_strict_and_without_curves(told: Summary) -> None:
    """The summary is plain JSON without NaN, and without the long curves."""
    said = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert not any("curve" in key for key in said)
    assert said["factors"][0]["id"] == "continuation"


def test_years_without_enough_sessions_have_no_interval() -> None:
    """One realised session, or none, is no mean: the year says nothing instead of NaN."""
    days = np.array(["2022-12-30", "2023-01-03", "2023-01-04"], dtype="datetime64[D]")
    values = np.array([0.1, 0.2, 0.3])
    status = dict.fromkeys(days.tolist(), "final") | {date(2024, 1, 2): "degraded"}
    years = by_year(ICSeries(days, values, values, np.full(3, 40)), status, 1)
    assert [(year.year, year.sessions, year.degraded) for year in years] == [
        (2022, 1, 0), (2023, 2, 0), (2024, 1, 1),
    ]  # fmt: skip
    assert [year.rank_ic for year in years] == [None, pytest.approx(0.25), None]
    json.dumps([vars(year) for year in years], allow_nan=False)


def test_declaration_is_no_event_and_recovery_is_said() -> None:
    """That a factor was declared is not news; that it came back from decay is."""
    day, at = SESSIONS[0], None
    moves = [
        FactorEvent.model_construct(factor="a", session=day, from_state=None,
                                    to_state="candidate", rule="declared", at=at),
        FactorEvent.model_construct(factor="a", session=day, from_state="candidate",
                                    to_state="live", rule="proved", at=at),
    ]  # fmt: skip
    verdicts = [
        VerdictEvent.model_construct(factor="a", session=SESSIONS[5], from_verdict="decayed",
                                     to_verdict="healthy", evidence={"reason": "Q"}),
        VerdictEvent.model_construct(factor="b", session=SESSIONS[6], from_verdict="decayed",
                                     to_verdict="suspended", evidence=None),
    ]  # fmt: skip
    job = RemineJob.model_construct(
        id=3, opened_session=SESSIONS[2], trigger={"reason": "1 decayed"}
    )
    events = all_events(moves, verdicts, [job], [])
    assert [(event.subject, event.text) for event in events] == [
        ("a", "becomes live"), ("re-mining 3", "opened"), ("a", "recovered: healthy"),
        ("b", "suspended"),
    ]  # fmt: skip


def test_trailing_mean() -> None:
    """The mean of the last values skips NaN and waits for half of them."""
    values = np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan, np.nan])
    expected = [np.nan, np.nan, 2.0, 3.0, 4.0, 4.0, np.nan]
    np.testing.assert_allclose(trailing_mean(values, 4), expected)
    assert trailing_mean(np.empty(0)).shape == (0,)


def test_report_is_one_page_of_its_own(told: Summary) -> None:
    """The page has story, factors and truth, loads nothing from anywhere, and escapes text."""
    truth = Truth("secret alpha", [SESSIONS[0].isoformat()], np.array([0.25]))
    page = render_report(told, story=["<b>it died</b>"], truths=[truth]).decode()
    assert "&lt;b&gt;it died&lt;/b&gt;" in page
    assert "planted: secret alpha" in page
    assert "reversal" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_report_has_a_section_for_each_factor_that_was_live(told: Summary) -> None:
    """Headline, facts and a figure of its own; none for a factor that was never live."""
    page = render_report(told).decode()
    assert '<div id="factor-reversal"' in page
    assert 'id="factor-continuation"' not in page
    assert "onset between 2023-" in page
    assert "turnover per session" in page
    assert page.count("plotly.js v") == render_report(replace(told, stories=[])).decode().count(
        "plotly.js v"
    )


def test_equal_replays_give_equal_reports(tmp_path: Path, first_home: Home) -> None:
    """Report and summary of the same replay are the same bytes."""
    home = first_home.copy(tmp_path / "again")
    before = [(home.out / name).read_bytes() for name in ("summary.json", "report.html")]
    assert home.replay(FIRST, FIRST + 4).code == 0
    after = [(home.out / name).read_bytes() for name in ("summary.json", "report.html")]
    assert before[0] == after[0]
    assert len(before[1]) == len(after[1])


def test_round_note_of_a_first_round() -> None:
    """A round without survivors has a note too."""
    note = round_note(Round(number=1, seed=1, survivors=(), trials=(), counts={"measured": 7}))
    assert note == "re-mining: round 1, 7 candidates measured, best |t| 0.0"


def test_progress_off_a_terminal_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """A log file gets no bar, and nothing at all in the first seconds."""
    with progress("replay us") as (on_session, on_round):
        on_session(SESSIONS[0], 1, 2)
        on_round(Round(number=1, seed=1, survivors=(), trials=(), counts={}))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("quiet", "lines"), [(False, 2), (True, 1)])
def test_logs_are_json_off_a_terminal(
    capsys: pytest.CaptureFixture[str], quiet: bool, lines: int
) -> None:
    """Without a terminal a log line is JSON on stderr; quiet leaves the errors."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    try:
        configure_logging(quiet=quiet)
        log = structlog.get_logger()
        log.info("running", markets=["us"])
        log.error("alert", key="disk")
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
    said = capsys.readouterr()
    assert said.out == ""
    written = [json.loads(line) for line in said.err.splitlines()]
    assert len(written) == lines
    assert (written[-1]["event"], written[-1]["level"], written[-1]["key"]) == (
        "alert", "error", "disk",
    )  # fmt: skip
    assert written[-1]["timestamp"].endswith("Z")
