"""One run against a loopback endpoint, for all tests of this folder."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from daemon.clock import ReplayClock
from daemon.llm.budget import Budget
from daemon.llm.client import EndpointModel
from daemon.llm.opening import open_proposer
from daemon.llm.settings import LlmSettings
from miner.agents import AgentsProposer, Event, Question
from miner.memory import Memory
from miner.proposer import GrammarProposer
from miner.records import Candidate
from signals.errors import ModelError
from storage import model_usage
from storage.database import Database
from storage.tables import ModelUsage
from tests.standins.openai import OpenAIStandIn

KEY = "sk-loopback-0123456789"
FIELDS = ("close", "high", "low", "open", "volume")
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
QUESTION = Question("You look for factors.", "State one new hypothesis.")


@dataclasses.dataclass
class Run:
    """One run against an endpoint."""

    database: Database
    endpoint: OpenAIStandIn
    clock: ReplayClock = dataclasses.field(default_factory=lambda: ReplayClock(NOON))
    events: list[Event] = dataclasses.field(default_factory=list)

    def settings(self, **given: Any) -> LlmSettings:
        stated = {"base_url": self.endpoint.url, "model": "m", "api_key": KEY, "ideas_per_round": 1}
        return LlmSettings(**{**stated, **given})

    def model(self, *, job: int = 1, **given: Any) -> EndpointModel:
        settings = self.settings(**given)
        return EndpointModel(settings, Budget(self.database, self.clock, settings, "us", job))

    def proposer(self, *, job: int = 1, **given: Any) -> AgentsProposer:
        opened = open_proposer(
            self.settings(**given),
            GrammarProposer(),
            database=self.database,
            clock=self.clock,
            market="us",
            job=job,
            on_event=self.events.append,
        )
        assert isinstance(opened, AgentsProposer)
        return opened

    def requests(self, job: int = 1) -> list[ModelUsage]:
        with self.database.read() as connection:
            return model_usage.requests(connection, "us", job)

    def refusal(self, **given: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            self.model(**given).idea(QUESTION)
        return caught.value


def proposed(agents: AgentsProposer, number: int = 1, n: int = 8) -> list[Candidate]:
    memory = Memory(number, FIELDS, (), {})
    return agents.propose(n, memory, np.random.default_rng(number))


def by_model(candidates: list[Candidate]) -> int:
    return sum(candidate.origin == "llm" for candidate in candidates)
