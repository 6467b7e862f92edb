from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from apscheduler.events import EVENT_JOB_ERROR, JobExecutionEvent

from daemon.logs import configure_logging, log_uncaught, speaking_of
from daemon.ownership import owned
from daemon.reconcile import Reconciler
from daemon.redaction import HIDDEN, REDACTOR, Redactor
from daemon.reminers import InlineReminer
from daemon.settings import Settings, load_settings
from daemon.supervisor import Daemon
from signals.errors import FeedError
from storage import alerts, ledger
from tests.daemon.small import FIRST, MARKET, SESSIONS, TroubledFeed, living

#: Every secret there may be, none of which may be said.
SECRETS = {
    "database": "db p@ss/w0rd",
    "llm": "sk-abcdefgh12345678",
    "feed": "tiingo0123456789",
    "web": "web-token-0123456789",
    "ops": "json://ops:hunter2-ops@127.0.0.1:9/T0KENpart/x",
    "slack": "slack://T1JJ3T3L2A/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "ping": "https://127.0.0.1:9/0f1e2d3c-dead-man",
    "file": "tgram://123456789:AABBccdd_filed/chat",
}
#: Parts of them that would do harm too.
PARTS = ("db%20p%40ss%2Fw0rd", "hunter2-ops", "T0KENpart", "TIiajkdnlazkcOXrIdevi7FQ", "T1JJ3T3L2A",
         "0f1e2d3c-dead-man", "AABBccdd_filed")  # fmt: skip


def all_set(tmp_path: Path) -> Settings:
    """Return settings with every secret there is."""
    urls = tmp_path / "urls.toml"
    urls.write_text(f'filed = "{SECRETS["file"]}"\n')
    urls.chmod(0o600)
    file = tmp_path / "alphad.toml"
    file.write_text(
        f"state_dir = '{tmp_path / 'state'}'\npublish_dir = '{tmp_path / 'published'}'\n"
        "database_url = 'postgresql+psycopg://alphad:db%20p%40ss%2Fw0rd@127.0.0.1:1/alphad'\n"
        f"[notify]\nurls_file = '{urls}'\n"
        "[llm]\nbase_url = 'http://127.0.0.1:1/v1'\nmodel = 'm'\n"
        "[markets.us]\nuniverse = { index = 'sp500' }\n"
        "feed = { kind = 'yahoo', fallback = 'tiingo' }\n"
    )
    return load_settings(file, environment())


def environment() -> dict[str, str]:
    return {
        "ALPHAD_LLM__API_KEY": SECRETS["llm"],
        "ALPHAD_MARKETS__US__FEED__API_KEY": SECRETS["feed"],
        "ALPHAD_WEB__TOKEN": SECRETS["web"],
        "ALPHAD_NOTIFY__CHANNELS__OPS": SECRETS["ops"],
        "ALPHAD_NOTIFY__CHANNELS__SLACK": SECRETS["slack"],
        "ALPHAD_NOTIFY__DEAD_MAN_URL": SECRETS["ping"],
    }


def said_in(text: str) -> list[str]:
    """Return the secrets that a text says."""
    return [secret for secret in (*SECRETS.values(), *PARTS) if secret in text]


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Put every hook of logging back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what was logged, as JSON."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


class TestRedactor:
    """What is secret is known from the settings."""

    def test_every_secret(self, tmp_path: Path) -> None:
        """Each is hidden as it is written, as it is sent, and in part."""
        redactor = Redactor()
        redactor.learn(all_set(tmp_path))
        redactor.learn_all([SECRETS["file"]])
        whole = "; ".join([*SECRETS.values(), *PARTS])
        assert said_in(redactor.text(f"it failed: {whole}")) == []
        assert redactor.text("nothing is secret here") == "nothing is secret here"

    def test_password_of_any_url(self) -> None:
        """A password in a URL is hidden, whoever put it there and whatever is in it."""
        text = Redactor().text("proxy http://me:p@ss@proxy:3128 and https://host:443/a@b failed")
        assert text == f"proxy http://me:{HIDDEN}@proxy:3128 and https://host:443/a@b failed"

    def test_values(self) -> None:
        """Structures are gone through; what is no plain value becomes its text."""
        redactor = Redactor()
        redactor.learn_all(["hunter2"])
        found = redactor.value(
            {"a": ["hunter2", 1], "b": FeedError("hunter2"), "c": SESSIONS[0], "hunter2": None}
        )
        assert found == {
            "a": [HIDDEN, 1], "b": HIDDEN, "c": SESSIONS[0].isoformat(), HIDDEN: None,
        }  # fmt: skip

    def test_words_are_no_secrets(self, tmp_path: Path) -> None:
        """What of a secret URL is a plain word stays readable elsewhere."""
        redactor = Redactor()
        redactor.learn(all_set(tmp_path))
        assert redactor.text("the market slack fell at 127.0.0.1") == (
            "the market slack fell at 127.0.0.1"
        )


@pytest.mark.usefixtures("unlogged")
class TestPipeline:
    """One pipeline for whatever is said."""

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_no_secret_comes_through(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
    ) -> None:
        """Not as a value, in a text, in an error and its causes, nor from another library."""
        settings = all_set(tmp_path)
        settings = settings.model_copy(
            update={"log": settings.log.model_copy(update={"format": form})}
        )
        configure_logging(settings)
        REDACTOR.learn_all([SECRETS["file"]])
        log_uncaught()
        whole = " ".join([*SECRETS.values(), *PARTS])
        log = structlog.get_logger()
        text = f"text {whole}"
        log.error(text, value=whole, nested={"deep": [whole]})
        try:
            try:
                raise ValueError(whole)
            except ValueError as error:
                raise FeedError(f"fact {whole}", hint=whole) from error
        except FeedError as error:
            log.exception("it failed", error=error)
        logging.getLogger("apprise").error("posting to %s failed", whole)
        logging.getLogger("yfinance").warning("key", extra={"token": whole})
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(whole, UserWarning, stacklevel=1)
        thread = threading.Thread(target=lambda: log_and_die(whole))
        thread.start()
        thread.join()
        said = capsys.readouterr().err
        assert said_in(said) == []
        for expected in ("it failed", "FeedError", "ValueError", "apprise", "yfinance",
                         "UserWarning", "an error nobody foresaw", "RuntimeError"):  # fmt: skip
            assert expected in said

    def test_lines_of_a_stage(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Each line of a stage says of which run, market, session and stage it is."""
        with living(tmp_path) as alive:
            run = configure_logging(alive.context.settings)
            logging.getLogger("a library").debug("unheard")
            Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        found = [line for line in lines(capsys) if line["event"] == "stage done"]
        assert [line["stage"] for line in found] == ["ingest", "observe", "publish"]
        for line in found:
            assert (line["run"], line["market"]) == (run, MARKET)
            assert line["session"] == SESSIONS[FIRST].isoformat()

    def test_level_and_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What is below the level is left out; a child goes on under its parent's run."""
        settings = load_settings(None, {"ALPHAD_LOG__LEVEL": "warning"})
        assert configure_logging(settings, run="abc") == "abc"
        log = structlog.get_logger()
        with speaking_of("us", stage="remine"):
            log.info("left out")
            logging.getLogger("library").warning("heard %d times", 2)
        [line] = lines(capsys)
        told = {name: line[name] for name in ("run", "market", "stage", "event", "logger")}
        assert told == {
            "run": "abc", "market": "us", "stage": "remine", "event": "heard 2 times",
            "logger": "library",
        }  # fmt: skip

    def test_what_is_stored(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """An error that carries every secret leaves none in log, ledger or alerts."""
        settings = all_set(tmp_path)
        whole = " ".join([*SECRETS.values(), *PARTS])

        class Telling(TroubledFeed):
            def fetch(self, request: object) -> Any:  # noqa: ARG002
                raise FeedError(f"asked with {whole}", hint=whole)

        with living(tmp_path / "home", Telling()) as alive, owned(alive.context) as ours:
            configure_logging(settings)
            REDACTOR.learn_all([SECRETS["file"]])
            reconciler = Reconciler(ours, InlineReminer(ours))
            daemon = Daemon(ours, reconciler, threading.Event(), {})
            daemon.tick(MARKET)
            daemon.failed(
                JobExecutionEvent(
                    EVENT_JOB_ERROR, f"reconcile:{MARKET}", "default",
                    alive.clock.now() + timedelta(), exception=RuntimeError(whole),
                    traceback=f"Traceback: {whole}",
                )
            )  # fmt: skip
            with ours.database.read() as conn:
                [run] = ledger.history(conn, MARKET)
                messages = [alert.message for alert in alerts.open_alerts(conn, MARKET)]
        assert "asked with" in str(run.error)
        assert said_in(str(run.error)) == []
        assert len(messages) >= 2
        assert said_in("".join(messages)) == []
        assert said_in(capsys.readouterr().err) == []


def log_and_die(text: str) -> None:
    raise RuntimeError(text)


@pytest.mark.timeout(120)
def test_daemon_that_cannot_start(tmp_path: Path) -> None:
    """A run with every secret set, whose database refuses it, says none of them."""
    all_set(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "run", "--config", str(tmp_path / "alphad.toml")],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 74
    assert "alphad: database postgresql+psycopg://alphad:***@127.0.0.1:1/alphad" in done.stderr
    assert said_in(done.stdout + done.stderr) == []
