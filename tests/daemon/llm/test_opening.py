"""Who proposes, what a job says about it, and which settings are refused."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.llm import opening
from daemon.llm.opening import account, asks_model, open_proposer
from daemon.llm.settings import LlmSettings
from miner.agents import AgentsProposer
from miner.proposer import GrammarProposer
from signals.errors import ConfigError
from tests.daemon.llm.run import KEY, QUESTION, Run, proposed


class TestOpening:
    """Who proposes."""

    def opened(self, run: Run, *, replaying: bool = False, **given: Any) -> object:
        settings = LlmSettings(**given)
        offline = GrammarProposer()
        opened = open_proposer(
            settings,
            offline,
            database=run.database,
            clock=run.clock,
            market="us",
            replaying=replaying,
        )
        return "offline" if opened is offline else type(opened)

    def test_without_an_endpoint_no_model_is_asked(self, run: Run) -> None:
        """The defaults are offline."""
        assert self.opened(run) == "offline"
        assert not LlmSettings().is_on

    def test_a_replay_is_offline_unless_forced(self, run: Run) -> None:
        """Forced, it asks, and its results are contaminated."""
        given: dict[str, Any] = {"base_url": run.endpoint.url, "model": "m"}
        assert self.opened(run, **given) is AgentsProposer
        assert self.opened(run, replaying=True, **given) == "offline"
        assert self.opened(run, replaying=True, in_replay=True, **given) is AgentsProposer

    @pytest.mark.parametrize(
        ("on", "forced", "replaying", "asks"),
        [
            (True, False, False, True),
            (True, False, True, False),
            (True, True, True, True),
            (True, True, False, True),
            (False, True, True, False),
        ],
    )
    def test_when_a_model_is_asked(
        self, *, on: bool, forced: bool, replaying: bool, asks: bool
    ) -> None:
        """Of the past, which it has read about, only where that is forced."""
        where = {"base_url": "http://localhost/v1", "model": "m"} if on else {}
        settings = LlmSettings(in_replay=forced, **where)  # type: ignore[arg-type]
        assert asks_model(settings, replaying=replaying) == asks

    def test_a_missing_extra_is_named(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where pydantic-ai is not installed the error says what to install."""
        monkeypatch.setattr(opening, "find_spec", lambda _: None)
        with pytest.raises(ConfigError, match=r"alphad\[llm\]"):
            self.opened(run, base_url=run.endpoint.url, model="m")


def test_a_job_s_result_says_what_the_model_has_done(run: Run) -> None:
    """Requests and tokens of the job, what was proposed, and why it went offline."""
    agents = run.proposer(requests_per_run=3)
    for number in (1, 2):
        proposed(agents, number)
    told = account(agents, run.database, "us", 1, replaying=True)
    assert (told["requests"], told["tokens"], told["proposed"]) == (3, 4_500, 3)
    assert "requests_per_run" in told["offline_because"]
    assert told["contaminated"]


def test_what_a_former_process_asked_contaminates_too(run: Run) -> None:
    """The account of a resumed job counts what is on record, also if it now goes on offline."""
    run.model().idea(QUESTION)
    offline = GrammarProposer()
    told = account(offline, run.database, "us", 1, replaying=True)
    assert (told["requests"], told["contaminated"]) == (1, True)
    assert account(offline, run.database, "us", 2, replaying=True) == {}


def test_a_model_that_never_answered_contaminates_nothing(run: Run) -> None:
    """Errors of the endpoint leave a replay as it is."""
    run.endpoint.way = "500"
    run.refusal()
    told = account(GrammarProposer(), run.database, "us", 1, replaying=True)
    assert (told["requests"], told["contaminated"]) == (1, False)


class TestSettings:
    """What is refused before anything starts."""

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"base_url": "http://h/v1"}, "model is not"),
            ({"model": "m"}, "base_url is not"),
            ({"base_url": "ftp://h/v1", "model": "m"}, "http or https"),
            ({"base_url": "h/v1", "model": "m"}, "http or https"),
            ({"base_url": "http://h:99999/v1", "model": "m"}, "no URL"),
            ({"base_url": "http://u:p@h/v1", "model": "m"}, "host and path"),
            ({"base_url": "http://h/v1?key=p", "model": "m"}, "host and path"),
            ({"cost_per_run": 1.0}, "without prices"),
            ({"api_key": ""}, "printable ASCII"),
            ({"api_key": "a\nb"}, "printable ASCII"),
            ({"unknown": 1}, "Extra inputs"),
        ],
    )
    def test_contradictions_are_refused(self, given: dict[str, Any], told: str) -> None:
        """The message says what does not fit."""
        with pytest.raises(ValueError, match=told):
            LlmSettings(**given)

    def test_a_key_that_is_a_number_is_not_repeated(self) -> None:
        """TOML without quotes: the error is told by its message alone."""
        with pytest.raises(ValueError, match="quotes") as caught:
            LlmSettings(api_key=123456789)  # type: ignore[arg-type]
        assert caught.value.errors()[0]["type"] == "value_error"  # type: ignore[attr-defined]

    def test_every_setting_is_described(self) -> None:
        """Each field has a description for the documentation."""
        assert all(field.description for field in LlmSettings.model_fields.values())

    def test_the_key_is_never_dumped(self) -> None:
        """No file, hash or child's settings can hold it."""
        settings = LlmSettings(base_url="http://h/v1/", model="m", api_key=KEY)  # type: ignore[arg-type]
        assert "api_key" not in settings.model_dump()
        assert settings.base_url == "http://h/v1"
