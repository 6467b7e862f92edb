from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.context import Market
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from daemon.replay import drive
from daemon.stages import ingest, observe, publish
from daemon.stages.published import load_published
from daemon.stages.remine import run_job
from daemon.stages.stage import Result, fingerprint, perform
from miner.records import Round
from signals.errors import DataError, IntegrityError, ReservationError
from storage import alerts, history, jobs, ledger, registry
from storage.bars import vintages
from storage.reader import SignalRefused, read_latest
from storage.tables import FactorState
from tests.daemon.small import (
    BOOK,
    DYING,
    FIRST,
    MARKET,
    N_ASSETS,
    SESSIONS,
    Living,
    TroubledFeed,
    living,
    names,
)

#: Two alphas a quiet market has none of: everything that is declared is rejected.
HOPELESS = BOOK.replace("[factors.reversal]", "[factors.momentum]").replace(
    '"-1 * TS_PCTCHANGE($close, 5)"', '"TS_PCTCHANGE($close, 5)"'
)


def live_on(alive: Living, last: int) -> None:
    """Live from the session of the clock to session number `last`."""
    sessions = SESSIONS[FIRST : last + 1]
    drive(alive.context, alive.market, sessions, alive.clock, lambda *_: None, None)


def manifest(alive: Living, number: int) -> dict[str, Any]:
    home = alive.context.publisher.root / MARKET / "v1" / "sessions" / SESSIONS[number].isoformat()
    [folder] = home.iterdir()
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def detail(alive: Living, number: int, stage: str) -> dict[str, Any]:
    with alive.context.database.read() as conn:
        run = ledger.latest(conn, MARKET, SESSIONS[number], stage)
    assert run is not None
    return dict(run.detail or {})


class Idle:
    """Leaves jobs open."""

    def tend(self, market: Market) -> None:
        pass


class TestStage:
    """What every stage whose effects are in the database has in common."""

    def test_effects_and_success_are_one(self, tmp_path: Path) -> None:
        """A write that fails leaves no effect, and a failed run with the error's text."""
        with living(tmp_path) as alive:

            def write(conn: Any) -> None:
                alerts.raise_alert(conn, MARKET, "x", "error", "half", alive.clock.now())
                raise DataError("broken", rule="whole", hint="mend it")

            with pytest.raises(DataError, match="broken"):
                perform(alive.context, alive.market, SESSIONS[FIRST], "ingest", "h",
                        lambda: Result(write=write))  # fmt: skip
            with alive.context.database.read() as conn:
                assert alerts.open_alerts(conn, MARKET) == []
                [run] = ledger.history(conn, MARKET)
            assert (run.status, run.error) == (
                "failed",
                "broken\n  Rule: whole\n  Way out: mend it",
            )

    def test_same_inputs_succeed_once(self, tmp_path: Path) -> None:
        """A stage done with the same inputs is refused a second time."""
        with living(tmp_path) as alive:
            ingest.run(alive.context, alive.market, SESSIONS[FIRST])
            with pytest.raises(ReservationError, match="succeeded with the same input"):
                ingest.run(alive.context, alive.market, SESSIONS[FIRST])

    def test_fingerprint_does_not_depend_on_the_order_of_keys(self) -> None:
        """Equal inputs have equal hashes, other inputs another."""
        assert fingerprint({"a": 1, "b": None}) == fingerprint({"b": None, "a": 1})
        assert fingerprint(SESSIONS[0]) != fingerprint(SESSIONS[1])


class TestIngest:
    """Bars come in, past the gate, as vintages."""

    def test_first_session_brings_its_history(self, tmp_path: Path) -> None:
        """The history before the first session is one reconstructed vintage of its own."""
        with living(tmp_path) as alive:
            ingest.run(alive.context, alive.market, SESSIONS[FIRST])
            with alive.context.database.read() as conn:
                past, today = vintages(conn, MARKET)
            assert (past.cause, past.reconstructed) == ("backfill", True)
            assert (past.first_session, past.last_session) == (SESSIONS[0], SESSIONS[FIRST - 1])
            assert (today.cause, today.reconstructed) == ("session", False)
            assert (today.first_session, today.n_rows) == (SESSIONS[FIRST], N_ASSETS)
            assert detail(alive, FIRST, "ingest")["backfill"]["bars"] == FIRST * N_ASSETS

    def test_absent_assets_are_counted_and_named(self, tmp_path: Path) -> None:
        """An asset that had bars lately and has none now lowers the coverage, and is named."""
        feed = TroubledFeed()
        with living(tmp_path, feed) as alive:
            feed.absent[SESSIONS[FIRST + 1]] = 3
            live_on(alive, FIRST + 1)
            facts = detail(alive, FIRST + 1, "ingest")
        assert (facts["coverage"], facts["bars"]) == (37 / 40, 37)
        assert "3 expected assets without a bar (SIM0037, SIM0038, SIM0039)" in facts["warnings"][0]

    def test_members_alone_are_expected(self, tmp_path: Path) -> None:
        """With a membership only members count for the coverage, and make up the universe."""
        file = tmp_path / "members.csv"
        rows = [f"SIM{number:04d},2020-01-01,{SESSIONS[FIRST]}" for number in range(30)]
        rows += [f"SIM{number:04d},{SESSIONS[FIRST + 1]}," for number in range(10, 35)]
        file.write_text("\n".join(["asset,start_date,end_date", *rows]) + "\n")
        feed = TroubledFeed()
        with living(tmp_path / "small", feed) as alive:
            settings = alive.market.settings.model_copy(update={"membership": file})
            dated = alive.changed(replace(alive.market, settings=settings))
            feed.absent[SESSIONS[FIRST + 1]] = 5
            live_on(dated, FIRST + 1)
            assert detail(dated, FIRST + 1, "ingest")["coverage"] == 1.0
            first, second = (manifest(dated, number)["universe"] for number in (FIRST, FIRST + 1))
        assert (first["n"], second["n"]) == (30, 25)
        assert first["membership_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


class TestObserve:
    """RankICs are measured when they are realised, and judged."""

    def test_ics_are_realised_lag_and_horizon_later(self, tmp_path: Path) -> None:
        """At the close of t the last RankIC known is that of t - 2, for factors and the score."""
        with living(tmp_path) as alive:
            live_on(alive, FIRST + 2)
            with alive.context.database.read() as conn:
                every = history.book_ics(conn, MARKET)
                score = history.score_ics(conn, MARKET, SESSIONS[0], SESSIONS[-1])
            for series in every.values():
                assert series.sessions[-1].item() in SESSIONS[: FIRST + 1]
            assert every["reversal"].sessions[-1].item() == SESSIONS[FIRST]
            assert score.sessions.tolist() == [SESSIONS[FIRST]]
            assert detail(alive, FIRST, "observe")["ics"] == 2 * (FIRST - 1)
            assert detail(alive, FIRST + 1, "observe")["ics"] == 1

    def test_low_coverage_suspends_judgement(self, tmp_path: Path) -> None:
        """A data fault degrades its own session, and suspends every judgement its bars are in."""
        feed = TroubledFeed()
        with living(tmp_path, feed) as alive:
            feed.absent[SESSIONS[FIRST + 1]] = 4
            live_on(alive, FIRST + 4)
            found = [manifest(alive, number) for number in range(FIRST, FIRST + 5)]
            with alive.context.database.read() as conn:
                series = history.ics(conn, MARKET, "reversal")
                opened = names(alerts.open_alerts(conn, MARKET))
        verdicts = [row["factors"][0]["verdict"] for row in found]
        assert verdicts == ["healthy", "suspended", "suspended", "suspended", "healthy"]
        assert [row["reasons"] for row in found] == [[], ["coverage 0.900 below 0.980"], [], [], []]
        assert np.isfinite(series.rank_ic[-5:]).tolist() == [True, False, False, False, True]
        assert series.sessions[-1].item() == SESSIONS[FIRST + 2]
        assert opened == []

    def test_death_of_a_factor(self, tmp_path: Path) -> None:
        """An alpha that turns: an alert, equal weights, re-mining asked for, in the end retired."""
        with living(tmp_path, TroubledFeed(DYING)) as alive:
            live_on(alive, FIRST + 25)
            with alive.context.database.read() as conn:
                verdicts = history.verdict_events(conn, MARKET, "reversal")
                opened = alerts.open_alerts(conn, MARKET)
                [job, *_] = jobs.jobs(conn, MARKET)
            decayed = verdicts[-1]
            assert decayed.to_verdict == "decayed"
            assert "decayed:reversal" in names(opened)
            assert job.trigger == {
                "reason": "1 decayed",
                "decayed": ["reversal"],
                "book": ["reversal"],
            }
            assert job.opened_session == decayed.session
            number = SESSIONS.index(decayed.session)
            assert manifest(alive, number)["reasons"] == [
                "no live factor is healthy: weights are equal"
            ]
            live_on(alive, FIRST + 40)
            with alive.context.database.read() as conn:
                factor = registry.get(conn, MARKET, "reversal")
                opened = alerts.open_alerts(conn, MARKET)
            assert factor is not None
            assert factor.state == FactorState.RETIRED
            assert names(opened) == ["degraded"]
            assert manifest(alive, FIRST + 40)["reasons"] == [
                "no factor is live, and none is on trial: no scores"
            ]


class TestPublish:
    """A session's files."""

    def test_weights_of_a_healthy_book(self, tmp_path: Path) -> None:
        """The healthy live factor carries the score; the rejected one is not in it."""
        with living(tmp_path) as alive:
            live_on(alive, FIRST)
            found = manifest(alive, FIRST)
        assert (found["status"], found["reasons"]) == ("final", [])
        [factor] = found["factors"]
        assert (factor["id"], factor["state"], factor["verdict"]) == (
            "reversal", "live", "healthy",
        )  # fmt: skip
        assert found["universe"]["n"] == N_ASSETS

    def test_before_any_baseline_candidates_weigh_equally(self, tmp_path: Path) -> None:
        """While declared factors are on trial the session is published, degraded, and says so."""
        with living(tmp_path, monitor={"baseline_sessions": 120}) as alive:
            live_on(alive, FIRST)
            found = manifest(alive, FIRST)
        assert found["reasons"] == [
            "no factor is live yet: weights are equal, over declared factors on trial"
        ]
        assert {row["state"] for row in found["factors"]} == {"candidate"}
        assert len({abs(row["weight"]) for row in found["factors"]}) == 1

    def test_no_scores_by_setting(self, tmp_path: Path) -> None:
        """With degraded_scores = none a degraded session has files, and no score in them."""
        with living(
            tmp_path, monitor={"baseline_sessions": 120}, blend={"degraded_scores": "none"}
        ) as alive:
            live_on(alive, FIRST)
            found = manifest(alive, FIRST)
            published = load_published(alive.context, alive.market, SESSIONS[FIRST])
        assert found["reasons"] == ["no factor is live yet: no scores, by blend.degraded_scores"]
        assert found["factors"] == []
        assert published is not None
        assert published.instruments == ()

    def test_late_session_is_expired_at_once(self, tmp_path: Path) -> None:
        """What is published days late cannot be traded on; today's can, until tomorrow's is due."""
        with living(tmp_path) as alive:
            loop = Reconciler(alive.context, InlineReminer(alive.context))
            loop.tick(alive.market)
            alive.until(FIRST + 3)
            loop.tick(alive.market)
            late, now = manifest(alive, FIRST + 1), alive.clock.now()
            due = alive.market.calendar.finality(SESSIONS[FIRST + 2], 90)
            assert datetime.fromisoformat(late["as_of"]) == now
            assert datetime.fromisoformat(late["valid_until"]) == due + timedelta(hours=6)
            assert late["status"] == "degraded"
            assert late["reasons"] == ["published after the time it could be traded on"]
            assert manifest(alive, FIRST + 3)["status"] == "final"
            root = alive.context.publisher.root
            assert read_latest(root, MARKET, now=now).session == SESSIONS[FIRST + 3]
            with pytest.raises(SignalRefused, match="expired"):
                read_latest(root, MARKET, now=now + timedelta(days=2))

    def test_manifests_are_chained(self, tmp_path: Path) -> None:
        """Each manifest names the one before it, and the inputs it was made from."""
        with living(tmp_path) as alive:
            live_on(alive, FIRST + 1)
            first, second = manifest(alive, FIRST), manifest(alive, FIRST + 1)
        assert first["previous"] is None
        assert second["previous"]["publish_id"] == first["publish_id"]
        assert (first["data"]["vintage"], second["data"]["vintage"]) == (2, 3)
        assert first["code"]["config_sha256"] == second["code"]["config_sha256"]

    @pytest.mark.parametrize("left", [0, 100, None], ids=["empty", "torn", "gone"])
    def test_damaged_publication_is_alerted(self, tmp_path: Path, left: int | None) -> None:
        """A published score that cannot be read back is alerted, and stops no later session."""
        with living(tmp_path) as alive:
            live_on(alive, FIRST + 1)
            [file] = alive.context.publisher.root.glob(
                f"{MARKET}/v1/sessions/{SESSIONS[FIRST]}/*/signals.parquet"
            )
            data = file.read_bytes()
            file.unlink()
            if left is not None:
                file.write_bytes(data[:left])
            with pytest.raises(IntegrityError, match="alphad verify"):
                load_published(alive.context, alive.market, SESSIONS[FIRST])
            live_on(alive, FIRST + 2)
            with alive.context.database.read() as conn:
                [alert] = alerts.open_alerts(conn, MARKET)
            assert alert.key == "published-damaged"
            assert str(file) in alert.message
            assert manifest(alive, FIRST + 2)["status"] == "final"

    def test_nothing_published_is_no_error(self, tmp_path: Path) -> None:
        """A session before the first has no score to be judged."""
        with living(tmp_path) as alive:
            assert load_published(alive.context, alive.market, SESSIONS[0]) is None


class TestRemine:
    """A planted alpha nobody declared is found, proved and takes its place."""

    def test_life_of_a_challenger(self, tmp_path: Path) -> None:
        """Opened when the book is empty, accepted, in shadow from the next session, then live."""
        rounds: list[Round] = []
        with living(tmp_path, TroubledFeed()) as alive:
            (tmp_path / "book.toml").write_text(HOPELESS)
            sessions = SESSIONS[FIRST : FIRST + 40]
            drive(
                alive.context, alive.market, sessions, alive.clock, lambda *_: None, rounds.append
            )
            with alive.context.database.read() as conn:
                [job, *_] = jobs.jobs(conn, MARKET)
                mined = [f for f in registry.factors(conn, MARKET) if f.origin == "mined"]
                moves = registry.events(conn, MARKET, mined[0].id) if mined else []
                trials = jobs.trials(conn, MARKET, job.id)
            assert job.trigger["reason"] == "0 healthy, 1 wanted"
            assert [state.number for state in rounds][:2] == [1, 2]
            assert job.status == "succeeded"
            assert job.result is not None
            assert len(trials) >= job.result["tried"] > 0
            assert mined
            opened = SESSIONS.index(job.opened_session)
            assert job.joined_session == SESSIONS[opened + 1] == mined[0].joined_session
            assert [move.to_state for move in moves] == ["candidate", "shadow", "live"]
            assert "validated out of sample" in moves[1].rule
            found = manifest(alive, FIRST + 39)
            assert mined[0].id in {row["id"] for row in found["factors"]}
            assert found["status"] == "final"

    def test_resumes_from_its_last_round(self, tmp_path: Path) -> None:
        """A search that is killed after a round goes on from it, and ends the same."""

        class KilledError(Exception):
            pass

        def kill(state: Round) -> None:
            raise KilledError(state.number)

        outcomes = []
        for name, killed in (("whole", False), ("resumed", True)):
            with living(tmp_path / name, TroubledFeed()) as alive:
                (tmp_path / name / "book.toml").write_text(HOPELESS)
                Reconciler(alive.context, Idle()).tick(alive.market)
                alive.until(FIRST + 3)
                Reconciler(alive.context, Idle()).tick(alive.market)
                with alive.context.database.read() as conn:
                    [job] = jobs.jobs(conn, MARKET, open_only=True)
                if killed:
                    with pytest.raises(KilledError):
                        run_job(alive.context, alive.market, job, on_round=kill)
                    with alive.context.database.read() as conn:
                        [job] = jobs.jobs(conn, MARKET, open_only=True)
                    assert job.checkpoint is not None
                rounds: list[Round] = []
                outcome = run_job(alive.context, alive.market, job, on_round=rounds.append)
                assert [state.number for state in rounds] == ([2] if killed else [1, 2])
                outcomes.append(outcome.to_json())
                with alive.context.database.read() as conn:
                    stored = jobs.get(conn, MARKET, job.id)
                assert stored is not None
                assert outcome.accepted
                assert stored.joined_session == SESSIONS[FIRST + 4]
        assert outcomes[0] == outcomes[1]

    def test_has_one_deadline_over_all_attempts(self, tmp_path: Path) -> None:
        """A search that has used up its time before it is resumed judges what it has found."""

        class KilledError(Exception):
            pass

        def kill(state: Round) -> None:
            raise KilledError(state.number)

        with living(tmp_path, TroubledFeed()) as alive:
            (tmp_path / "book.toml").write_text(HOPELESS)
            Reconciler(alive.context, Idle()).tick(alive.market)
            alive.until(FIRST + 3)
            Reconciler(alive.context, Idle()).tick(alive.market)
            with alive.context.database.read() as conn:
                [job] = jobs.jobs(conn, MARKET, open_only=True)
            with pytest.raises(KilledError):
                run_job(alive.context, alive.market, job, on_round=kill)
            with alive.context.database.read() as conn:
                [job] = jobs.jobs(conn, MARKET, open_only=True)
            assert job.checkpoint is not None
            assert job.checkpoint["seconds"] > 0.0
            job.checkpoint = {**job.checkpoint, "seconds": 3600.0}
            rounds: list[Round] = []
            run_job(alive.context, alive.market, job, on_round=rounds.append, deadline=1800.0)
            assert rounds == []
            with alive.context.database.read() as conn:
                stored = jobs.get(conn, MARKET, job.id)
            assert stored is not None
            assert stored.status == "succeeded"

    def test_begins_again_under_other_settings(self, tmp_path: Path) -> None:
        """Survivors chosen under another split may have seen what judges now: they are dropped."""

        class KilledError(Exception):
            pass

        def kill(state: Round) -> None:
            raise KilledError(state.number)

        with living(tmp_path, TroubledFeed()) as alive:
            (tmp_path / "book.toml").write_text(HOPELESS)
            Reconciler(alive.context, Idle()).tick(alive.market)
            alive.until(FIRST + 3)
            Reconciler(alive.context, Idle()).tick(alive.market)
            with alive.context.database.read() as conn:
                [job] = jobs.jobs(conn, MARKET, open_only=True)
            with pytest.raises(KilledError):
                run_job(alive.context, alive.market, job, on_round=kill)
            with alive.context.database.read() as conn:
                [job] = jobs.jobs(conn, MARKET, open_only=True)
            settings = alive.market.settings
            other = settings.mining.model_copy(update={"finalists": 3})
            market = replace(alive.market, settings=settings.model_copy(update={"mining": other}))
            rounds: list[Round] = []
            run_job(alive.context, market, job, on_round=rounds.append)
            assert [state.number for state in rounds] == [1, 2]

    def test_mining_may_be_switched_off(self, tmp_path: Path) -> None:
        """With mining.enabled = false nothing is opened, whatever the book lacks."""
        with living(tmp_path, TroubledFeed(DYING), mining={"enabled": False}) as alive:
            live_on(alive, FIRST + 25)
            with alive.context.database.read() as conn:
                assert jobs.jobs(conn, MARKET) == []


def test_stages_are_run_one_by_one(tmp_path: Path) -> None:
    """The three stages by hand are what the loop does."""
    with living(tmp_path / "hand", TroubledFeed()) as alive:
        for stage in (ingest, observe, publish):
            stage.run(alive.context, alive.market, SESSIONS[FIRST])
        by_hand = manifest(alive, FIRST)
    with living(tmp_path / "loop", TroubledFeed()) as alive:
        live_on(alive, FIRST)
        looped = manifest(alive, FIRST)
    assert by_hand["files"] == looped["files"]
