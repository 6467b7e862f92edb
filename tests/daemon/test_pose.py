"""What a re-mining is told, and that `alphad mine` leaves a trace in the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from daemon.inputs import check_inputs
from daemon.mining import keep
from daemon.replay import drive
from daemon.stages.pose import first_judged_session, pose, with_heard
from miner.conclusion import conclude
from miner.outcome import Outcome
from miner.proposer import GrammarProposer
from miner.search import search
from signals.errors import ConfigError, ExpressionError
from signals.grammar import parse
from storage import jobs, registry
from storage.jobs import TrialRow
from storage.tables import FactorState, JobStatus
from tests.daemon.small import FIRST, MARKET, SESSIONS, Living, TroubledFeed, living

SESSION = SESSIONS[FIRST + 5]


@contextmanager
def lived(path: Path, last: int = FIRST + 5, **tables: Mapping[str, Any]) -> Iterator[Living]:
    """Yield a market that has lived up to session number `last` and opened no re-mining."""
    mining = {"enabled": False, **tables.pop("mining", {})}
    with living(path, TroubledFeed(), mining=mining, **tables) as alive:
        sessions = SESSIONS[FIRST : last + 1]
        drive(alive.context, alive.market, sessions, alive.clock, lambda *_: None, None)
        yield alive


def earlier_search(alive: Living, opened: date, *rows: TrialRow, by: str = "decay") -> None:
    """Write a finished re-mining that tried `rows`."""
    with alive.context.database.transaction() as conn:
        trigger = {"reason": "test", "by": by}
        job = jobs.start(conn, jobs.open_job(conn, MARKET, opened, trigger, 1, alive.clock.now()))
        jobs.record_trials(conn, job, rows)
        result = {
            "tried": 50,
            "trained_until": SESSIONS[10].isoformat(),
            "tallies": {"reversal": {"measured": 50, "survived": 2, "best": 3.5}},
        }
        jobs.finish(conn, job, JobStatus.SUCCEEDED, alive.clock.now(), result=result)


def retire(alive: Living, name: str, expression: str, session: date) -> None:
    """Register a factor that lived and was retired at `session`."""
    now = alive.clock.now()
    with alive.context.database.transaction() as conn:
        registry.add(
            conn,
            MARKET,
            name,
            expression,
            origin="mined",
            session=SESSIONS[0],
            now=now,
            hypothesis={"mechanism": "reversal"},
        )
        for state, rule in ((FactorState.LIVE, "proved"), (FactorState.RETIRED, "RankIC gone")):
            registry.transition(
                conn, MARKET, name, state, session=session, rule=rule, now=now, evidence=None
            )


class TestPose:
    """Bars up to the session, and what may be known then."""

    def test_finalists_heard_on_this_validation_count_again(self, tmp_path: Path) -> None:
        """Those an earlier search looked at do; those it only measured, or heard long ago, not."""
        with lived(tmp_path) as alive:
            earlier_search(alive, SESSIONS[2], TrialRow(1, "TS_MEAN($volume, 9)", "validation"))
            earlier_search(
                alive,
                SESSIONS[FIRST],
                TrialRow(1, "TS_RANK($close, 9)", "validation"),
                TrialRow(2, "TS_RANK($close, 12)", "accepted"),
                TrialRow(3, "TS_RANK($close, 15)", "measured", {"t": 2.0}),
                TrialRow(4, "TS_RANK($close, 18)", "weak", {"t": 2.0}),
            )
            problem, settings = pose(alive.context, alive.market, SESSION)
            problem = with_heard(alive.context, alive.market, problem, settings)
        assert [str(e) for e in problem.heard] == ["TS_RANK($close, 9)", "TS_RANK($close, 12)"]
        assert problem.earlier_trials == 50
        assert problem.experience["reversal"].measured == 100
        assert problem.experience["reversal"].best == 3.5

    def test_the_recently_retired_are_told_with_why(self, tmp_path: Path) -> None:
        """A factor that died lately is compared by value; one long dead by its tree alone."""
        with lived(tmp_path, book={"revival_sessions": 30}) as alive:
            retire(alive, "old", "TS_STD($close, 9) / $close", SESSIONS[5])
            retire(alive, "late", "TS_ZSCORE($close, 9)", SESSIONS[FIRST - 5])
            retire(alive, "later", "TS_ZSCORE($volume, 9)", SESSIONS[FIRST + 9])
            problem, _ = pose(alive.context, alive.market, SESSION)
        assert set(problem.retired) == {"late"}
        assert "old" in problem.references
        assert problem.decayed == []

    def test_why_a_factor_died_is_told_unless_it_did_on_the_rows_that_judge(
        self, tmp_path: Path
    ) -> None:
        """Of a death on validation the proposer knows nothing: it would be that outcome."""
        with lived(tmp_path) as alive:
            problem, settings = pose(alive.context, alive.market, SESSION)
            first = first_judged_session(problem, settings)
            number = SESSIONS.index(first)
            retire(alive, "before", "TS_STD($close, 9) / $close", SESSIONS[number - 1])
            retire(alive, "within", "TS_ZSCORE($close, 9)", first)
            problem, _ = pose(alive.context, alive.market, SESSION)
        [dead] = problem.decayed
        assert (dead.mechanism, dead.why) == ("reversal", "RankIC gone")
        assert str(dead.expression).startswith("TS_STD")
        assert set(problem.retired) == {"before", "within"}

    def test_zoos_are_references_by_name(self, tmp_path: Path) -> None:
        """The packaged ones by default, and a file of the user's own."""
        zoo = tmp_path / "ours.toml"
        zoo.write_text('source = "ours"\n[factors]\nslow = "EMA($close, 50) / $close"\n')
        with lived(tmp_path, mining={"zoo": str(zoo)}) as alive:
            problem, _ = pose(alive.context, alive.market, SESSION)
        assert problem.references["ours slow"] == parse("EMA($close, 50) / $close")
        assert sum(name.startswith("alpha101 ") for name in problem.references) > 50
        assert sum(name.startswith("alpha158 ") for name in problem.references) > 100

    def test_nothing_after_the_session_is_told(self, tmp_path: Path) -> None:
        """The last row of the panel is the session the search was opened at, however late it is."""
        with lived(tmp_path, FIRST + 8) as alive:
            problem, _ = pose(alive.context, alive.market, SESSION)
            late = SESSIONS[FIRST + 8]
            latest, _ = pose(alive.context, alive.market, late)
        assert problem.panel.sessions[-1].item() == SESSION
        assert latest.panel.sessions[-1].item() == late

    @pytest.mark.parametrize(
        ("text", "error", "said"),
        [
            (None, ConfigError, "cannot be read"),
            ("source = 'x'\n[factors]\na = 'NOT_ONE($close)'\n", ExpressionError, "entry 'a'"),
        ],
    )
    def test_a_broken_zoo_stops_the_start(
        self, tmp_path: Path, text: str | None, error: type[Exception], said: str
    ) -> None:
        """The error names the file or the entry; no session is begun with half a zoo."""
        zoo = tmp_path / "ours.toml"
        if text is not None:
            zoo.write_text(text)
        with (
            lived(tmp_path, mining={"zoo": str(zoo)}) as alive,
            pytest.raises(error, match=said),
        ):
            check_inputs(alive.market)


def searched(alive: Living) -> Outcome:
    """Search once at `SESSION`."""
    problem, settings = pose(alive.context, alive.market, SESSION)
    *_, last = search(problem, GrammarProposer(), settings, seed=4)
    return conclude(with_heard(alive.context, alive.market, problem, settings), last, settings)


def test_what_an_operator_looked_at_counts_and_is_no_job(tmp_path: Path) -> None:
    """Its finalists are heard in the next search; the daemon's own pause is not begun by it."""
    with lived(tmp_path) as alive:
        outcome = searched(alive)
        keep(alive.context, alive.market, SESSION, 4, outcome, {})
        with alive.context.database.read() as conn:
            [job] = jobs.jobs(conn, MARKET)
            assert jobs.last_job(conn, MARKET) is None
            assert job.status == "succeeded"
            assert len(jobs.trials(conn, MARKET, job.id)) == len(outcome.trials)
        problem, settings = pose(alive.context, alive.market, SESSION)
        problem = with_heard(alive.context, alive.market, problem, settings)
        heard = {t.expression for t in outcome.trials if t.decision in ("validation", "accepted")}
        assert {str(e) for e in problem.heard} >= heard
        assert searched(alive).n_heard >= len(heard) > 0
