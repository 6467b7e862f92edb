from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import build_parser
from storage import ledger
from storage.database import Database
from storage.reader import read_latest
from tests.daemon.small import DYING, FIRST, MARKET, SESSIONS, Home, alphad, changed, market_bars

COMMANDS = ("run", "demo", "replay", "status", "explain", "factors", "mine", "health", "verify",
            "kernels")  # fmt: skip
DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "commands.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    """docs/commands.md and --help know every command."""
    assert f"| `alphad {command}" in DOCUMENTED.read_text()
    assert f"    {command}" in build_parser().format_help()


def test_command_is_a_process() -> None:
    """The command starts as a process of its own, prints help and leaves with 0."""
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "The daemon that keeps alpha factors alive." in done.stdout


def test_date_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A date of another form is refused with the form that is meant."""
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(
            ["replay", "--market", "us", "--bars", "b", "--from", "01/02/2023"]
        )
    assert caught.value.code == 2
    assert "'01/02/2023' is no date; write YYYY-MM-DD" in capsys.readouterr().err


class TestReplay:
    """A replay writes, tells what it wrote, and goes on."""

    def test_what_it_leaves(self, first_home: Home) -> None:
        """One publication for each session, a summary and a report beside them."""
        sessions = sorted(path.name for path in (first_home.published / "sessions").iterdir())
        assert sessions == [day.isoformat() for day in SESSIONS[FIRST : FIRST + 5]]
        summary = json.loads((first_home.out / "summary.json").read_text())
        assert (summary["sessions_due"], summary["sessions_published"]) == (5, 5)
        assert (first_home.out / "report.html").stat().st_size > 100_000

    def test_a_finished_replay_changes_nothing(self, home: Home) -> None:
        """The same command once more publishes nothing and says the same."""
        before = home.files()
        finished = home.replay(FIRST, FIRST + 4)
        assert finished.code == 0
        assert "us: 5 of 5 sessions published, 0 twice; 5 final" in finished.out
        assert home.files() == before

    def test_a_longer_span_goes_on(self, home: Home) -> None:
        """A later --to publishes what is missing and leaves what is there."""
        before = home.files()
        assert "7 of 7 sessions" in home.replay(FIRST, FIRST + 6).out
        after = home.files()
        assert {name: after[name] for name in before if name != "latest.json"} == {
            name: data for name, data in before.items() if name != "latest.json"
        }

    def test_in_two_parts_or_in_one(self, tmp_path: Path) -> None:
        """Two replays one after the other end in the bytes of a single one."""
        home = Home(tmp_path).write(market_bars())
        assert home.replay(FIRST, FIRST + 1).code == 0
        assert home.replay(FIRST, FIRST + 3).code == 0
        parts = home.files()
        shutil.rmtree(home.out)
        assert home.replay(FIRST, FIRST + 3).code == 0
        assert home.files() == parts

    def test_market_known_by_name_needs_no_settings(self, tmp_path: Path) -> None:
        """`us` without a settings file takes its calendar, its book and the defaults."""
        home = Home(tmp_path).write(market_bars())
        day = SESSIONS[FIRST].isoformat()
        finished = alphad("replay", "--market", "us", "--bars", home.bars, "--out", home.out,
                          "--from", day, "--to", day)  # fmt: skip
        assert finished.code == 0, finished.err
        [row] = alphad("status", "--config", home.config, "--json").json()
        assert row["factors"]["candidate"] >= 8

    def test_settings_from_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a settings file the environment counts, and the market keeps its own calendar."""
        home = Home(tmp_path).write(market_bars())
        day = SESSIONS[FIRST].isoformat()
        with monkeypatch.context() as patched:
            patched.setenv("ALPHAD_MARKETS__US__LABEL__HORIZON", "3")
            finished = alphad("replay", "--market", "us", "--bars", home.bars, "--out", home.out,
                              "--from", day, "--to", day)  # fmt: skip
        assert finished.code == 0, finished.err
        assert "horizon = 3" in home.config.read_text()

    def test_calendar_of_a_known_market_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A setting of `cn` that is no calendar does not move it to New York."""
        home = Home(tmp_path).write(market_bars())
        with monkeypatch.context() as patched:
            patched.setenv("ALPHAD_MARKETS__CN__LABEL__HORIZON", "3")
            finished = alphad("replay", "--market", "cn", "--bars", home.bars, "--out", home.out,
                              "--from", "2023-05-26", "--to", "2023-05-26")  # fmt: skip
        assert finished.code == 65
        assert "which is no session" in finished.err
        assert 'calendar = "XSHG"' in home.config.read_text()

    def test_membership_of_the_settings_is_kept(self, tmp_path: Path) -> None:
        """A membership that the settings name counts without the option."""
        home = Home(tmp_path).write(market_bars())
        file = tmp_path / "members.csv"
        rows = [f"SIM{number:04d},2020-01-01," for number in range(30)]
        file.write_text("\n".join(["asset,start_date,end_date", *rows]) + "\n")
        feed = f'[markets.us.feed]\nkind = "parquet"\npath = "{home.bars}"\n'
        text = home.settings.read_text() + feed
        home.settings.write_text(
            text.replace("[markets.us]", f'[markets.us]\nmembership = "{file}"', 1)
        )
        assert home.replay(FIRST, FIRST).code == 0
        [found] = home.published.glob("sessions/*/*/manifest.json")
        assert json.loads(found.read_text())["universe"]["n"] == 30


class TestLooking:
    """Commands that look change nothing."""

    def test_status(self, dead_home: Home) -> None:
        """What was published last, how, and what is open."""
        [row] = alphad("status", "--config", dead_home.config, "--json").json()
        assert row["session"] == SESSIONS[FIRST + 40].isoformat()
        assert row["publish_id"] == "00000041"
        assert row["status"] == "degraded"
        assert row["bars"]["last_session"] == row["session"]
        said = alphad("status", "--config", dead_home.config).out
        assert f"us: {SESSIONS[FIRST + 40]} published as 00000041, degraded" in said
        assert "  because: no factor is live" in said
        assert "  alert: us " in said

    def test_factors(self, dead_home: Home) -> None:
        """Every factor with its state, as a table and as JSON."""
        rows = alphad("factors", "--config", dead_home.config, "--json").json()
        states = {row["id"]: row["state"] for row in rows}
        assert (states["continuation"], states["reversal"]) == ("rejected", "retired")
        assert "retired" in alphad("factors", "--config", dead_home.config, "--market", "us").out

    def test_explain_a_factor(self, dead_home: Home) -> None:
        """Where it comes from, what was seen, and every change with its reason."""
        said = alphad("explain", "reversal", "--config", dead_home.config)
        assert said.code == 0
        assert "-1 * TS_PCTCHANGE($close, 5)" in said.out
        assert "what fell comes back" in said.out
        assert "verdict: decayed" in said.out
        assert "half-life" in said.out
        for event in ("new → candidate", "candidate → live", "warning → decayed", "live → retired"):
            assert event in said.out

    def test_explain_a_factor_without_monitor(self, dead_home: Home) -> None:
        """A rejected factor has a life and no verdict."""
        said = alphad("explain", "continuation", "--config", dead_home.config).out
        assert "candidate → rejected" in said
        assert "verdict" not in said

    def test_explain_an_unknown_factor(self, dead_home: Home) -> None:
        """The ids there are stand in the answer."""
        finished = alphad("explain", "magic", "--config", dead_home.config)
        assert finished.code == 65
        assert "us has no factor 'magic'" in finished.err
        assert "continuation, reversal" in finished.err

    @pytest.mark.parametrize(
        ("day", "said"),
        [
            (SESSIONS[FIRST].isoformat(), "ingest (revision 0): succeeded"),
            ("2023-05-27", "2023-05-27 is no session of XNYS: nothing is due."),
            (SESSIONS[FIRST - 1].isoformat(), "it lies before the first session of this state"),
        ],
    )
    def test_explain_a_session(self, dead_home: Home, day: str, said: str) -> None:
        """Its stages and their details, or why there are none."""
        finished = alphad("explain", day, "--config", dead_home.config)
        assert finished.code == 0
        assert said in finished.out

    def test_explain_a_failed_session(self, tmp_path: Path) -> None:
        """The error that stopped a session is told again, later."""
        bars = changed(market_bars(), SESSIONS[FIRST + 1], "close", -1.0, 3)
        home = Home(tmp_path).write(bars)
        assert home.replay(FIRST, FIRST + 1).code == 65
        said = alphad("explain", SESSIONS[FIRST + 1].isoformat(), "--config", home.config).out
        assert "ingest (revision 0): failed" in said
        assert "prices are above zero" in said

    def test_mine(self, dead_home: Home) -> None:
        """A search shows what it tried and joins nothing; the next one pays for its look."""
        before = alphad("factors", "--config", dead_home.config, "--json").out
        first, again = (
            alphad("mine", "--config", dead_home.config, "--json", "--seed", "3") for _ in range(2)
        )
        assert first.code == again.code == 0
        assert first.json()["counts"]["measured"] > 0
        assert again.json()["n_heard"] >= first.json()["n_heard"]
        assert again.json()["n_trials"] > first.json()["n_trials"]
        shown = alphad("mine", "--config", dead_home.config)
        assert "measured on train" in shown.out
        assert "round 1 of 2" in shown.err
        assert alphad("factors", "--config", dead_home.config, "--json").out == before

    def test_health_of_a_daemon_that_is_not_there(self, dead_home: Home) -> None:
        """Without a daemon the exit code is 1, in words and in JSON."""
        finished = alphad("health", "--config", dead_home.config, "--json")
        assert finished.code == 1
        assert finished.json()["alive"] is False
        assert "NOT ALIVE, BEHIND" in alphad("health", "--config", dead_home.config).out

    @pytest.mark.parametrize("command", [("status",), ("factors",), ("health",), ("verify",),
                                         ("mine",), ("explain", "x")])  # fmt: skip
    def test_without_state(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
    ) -> None:
        """Nothing configured, or no daemon that has run: exit code 78, and nothing is created."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("ALPHAD_CONFIG", raising=False)
        nothing = alphad(*command)
        assert nothing.code == 78
        assert "no market is configured" in nothing.err
        Path("alphad.toml").write_text("[markets.us]\n")  # is found without being named
        fresh = alphad(*command)
        assert fresh.code == 78
        assert "there is no state in out/state" in fresh.err
        assert not Path("out").exists()

    def test_settings_named_by_the_environment(
        self, dead_home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """ALPHAD_CONFIG stands in for --config."""
        monkeypatch.setenv("ALPHAD_CONFIG", str(dead_home.config))
        assert alphad("status").code == 0

    def test_unknown_market(self, dead_home: Home) -> None:
        """A market that is not configured is told with those that are."""
        finished = alphad("factors", "--config", dead_home.config, "--market", "uk")
        assert finished.code == 78
        assert "market 'uk' is not configured" in finished.err

    def test_one_of_several_markets_has_to_be_named(self, home: Home) -> None:
        """A command about one market does not choose among several."""
        home.config.write_text(home.config.read_text() + "\n[markets.cn]\ncalendar = 'XSHG'\n")
        finished = alphad("mine", "--config", home.config)
        assert finished.code == 78
        assert "name it with --market" in finished.err
        nothing = alphad("mine", "--config", home.config, "--market", "cn")
        assert nothing.code == 65
        assert "cn has no bars yet" in nothing.err
        assert "cn: nothing published yet" in alphad("status", "--config", home.config).out


class TestVerify:
    """Damage is found wherever it is."""

    def test_whole(self, dead_home: Home) -> None:
        """A tree alone, or with its database and bars."""
        assert alphad("verify", "--config", dead_home.config).out == "whole\n"
        tree = alphad("verify", dead_home.out / "published", "--json")
        assert (tree.code, tree.json()) == (0, [])

    @pytest.mark.parametrize(
        "name", ["signals.parquet", "signals.csv", "manifest.json", "_SUCCESS"]
    )
    def test_damaged_publication(self, home: Home, name: str) -> None:
        """Any file of a publication that is changed or gone is found, with exit code 1."""
        file = next(home.published.glob(f"sessions/*/*/{name}"))
        file.unlink() if name == "_SUCCESS" else file.write_bytes(file.read_bytes() + b" ")
        finished = alphad("verify", "--config", home.config, "--json")
        assert finished.code == 1
        assert any(str(file.parent.name) in finding["path"] for finding in finished.json())
        assert "findings" in alphad("verify", home.out / "published").out

    def test_damaged_bars(self, home: Home) -> None:
        """A vintage that is changed is found."""
        file = next((home.out / "state").rglob("*.parquet"))
        file.write_bytes(file.read_bytes()[:-1])
        finished = alphad("verify", "--config", home.config)
        assert finished.code == 1
        assert "the vintage's file has changed" in finished.out

    def test_no_directory(self, tmp_path: Path) -> None:
        """A directory that is none is refused with what is meant."""
        finished = alphad("verify", tmp_path / "absent")
        assert finished.code == 65
        assert "Way out: " in finished.err


def remine(home: Home, job: int) -> subprocess.CompletedProcess[str]:
    """Start the child as the daemon does, with this process as the one it dies with."""
    command = [sys.executable, "-m", "daemon.cli", "remine", "--config", str(home.config)]
    command += ["--market", MARKET, "--job", str(job), "--parent", str(os.getpid())]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class TestRemine:
    """The daemon's own child process."""

    def test_carries_out_a_stored_job(self, tmp_path: Path) -> None:
        """A job that a replay left open is carried out by the child."""
        home = Home(tmp_path).write(market_bars(DYING), mining={"enabled": False})
        assert home.replay(FIRST, FIRST + 5).code == 0
        from datetime import UTC, datetime

        from storage import jobs

        database = Database.file(home.out / "state" / "alphad.db")
        with database.transaction() as conn:
            day = ledger.last_session(conn, MARKET, "publish")
            assert day is not None
            job = jobs.open_job(conn, MARKET, day, {"reason": "asked"}, 5, datetime.now(UTC))
        done = remine(home, job.id)
        assert done.returncode == 0, done.stderr
        with database.read() as conn:
            stored = jobs.get(conn, MARKET, job.id)
        database.close()
        assert stored is not None
        assert stored.status == "succeeded"

    def test_unknown_job(self, dead_home: Home) -> None:
        """A job that is not stored is an error."""
        done = remine(dead_home, 99)
        assert done.returncode == 65
        assert "us has no re-mining 99" in done.stderr


def test_what_a_consumer_reads(first_home: Home) -> None:
    """The packaged reader takes the signals of the last session, and refuses them when expired."""
    from datetime import UTC, datetime, time

    day = SESSIONS[FIRST + 4]
    now = datetime.combine(day, time(23), UTC)
    signals = read_latest(first_home.out / "published", MARKET, now=now)
    assert signals.session == day
    assert len(signals.scores) == 40
