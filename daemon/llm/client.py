"""A model at an OpenAI-compatible endpoint, asked through pydantic-ai; one question, one request.

Imported only where a model is asked: it needs the extra `llm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from openai import APIStatusError, AsyncOpenAI
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelQuotaExceededError,
    ModelTimeoutError,
    UnexpectedModelBehavior,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.run import AgentRunResult
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RunUsage

from daemon.llm.budget import ANSWERED, Budget, Reserved
from daemon.llm.endpoint import open_client
from daemon.llm.settings import LlmSettings
from miner.agents import Question
from miner.answers import Answer, Factors, Idea, Judgement, plain
from signals.errors import ModelError
from storage.model_usage import Spent

AnswerT = TypeVar("AnswerT", bound=Answer)

_MODES = {"prompted": PromptedOutput, "tool": ToolOutput, "native": NativeOutput}
#: Bytes of a request beside the question: the schema of the answer and the words around it.
OVERHEAD = 4_000
#: Characters of the endpoint's own words that are repeated in an error.
WORDS = 200
#: Statuses that a later request may not meet.
PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})


@dataclass
class EndpointModel:
    """A `miner.agents.Model` behind an endpoint.

    Each question is one request: no library repeats it. What cannot be used, whatever it is,
    becomes a ModelError whose text holds neither key nor more than a few words of the answer.

    Parameters
    ----------
    settings : LlmSettings
        Endpoint, model, deadline and bounds.
    budget : Budget
        Asked before each request.
    """

    settings: LlmSettings
    budget: Budget
    #: Monotonic time before which the endpoint has asked not to be asked.
    _not_before: float = field(default=0.0, init=False)

    def idea(self, question: Question) -> Idea:
        """Return a hypothesis."""
        return self._ask("idea", Idea, question)

    def factors(self, question: Question) -> Factors:
        """Return factors that measure a hypothesis."""
        return self._ask("factors", Factors, question)

    def repair(self, question: Question) -> Factors:
        """Return better versions of refused factors."""
        return self._ask("repair", Factors, question)

    def judge(self, question: Question) -> Judgement:
        """Return how well factors agree with their hypothesis."""
        return self._ask("judge", Judgement, question)

    def _ask(self, kind: str, answer: type[AnswerT], question: Question) -> AnswerT:
        wait = self._not_before - monotonic()
        if wait > 0:
            raise ModelError(
                f"the endpoint asks not to be asked for another {wait:.0f} s", retryable=True
            )
        # a token has one byte at least
        size = len(question.system.encode()) + len(question.text.encode()) + OVERHEAD
        reserved = self.budget.reserve(kind, size)
        usage, started = RunUsage(), monotonic()
        try:
            said = asyncio.run(self._exchange(answer, question, reserved.seconds, usage))
        except Exception as exc:  # noqa: BLE001 - an endpoint can make its client fail in any way
            failure = self._failure(exc, reserved.seconds)
            self._settle(reserved, usage, monotonic() - started, failure)
            # the cause may hold the answer, and a request with its key
            raise failure.error from None
        self._settle(reserved, usage, monotonic() - started, None)
        return said

    async def _exchange(
        self, answer: type[AnswerT], question: Question, seconds: float, usage: RunUsage
    ) -> AnswerT:
        async with open_client(
            self.settings.key, seconds, self.settings.max_response_bytes
        ) as http:
            agent = Agent(
                self._model(http, seconds),
                output_type=_MODES[self.settings.output](answer),
                instructions=question.system,
                retries=0,
                model_settings=self._model_settings(),
            )
            async with asyncio.timeout(seconds):
                result: AgentRunResult[AnswerT] = await agent.run(question.text, usage=usage)
        return result.output

    def _model(self, http: httpx2.AsyncClient, seconds: float) -> OpenAIChatModel:
        openai = AsyncOpenAI(
            base_url=self.settings.base_url,
            api_key=self.settings.key
            or "none",  # it wants one; what is sent is decided by the client
            http_client=http,
            timeout=seconds,
            max_retries=0,
        )
        host = urlsplit(self.settings.base_url or "").hostname or ""
        profile = OpenAIModelProfile(
            # endpoints that know `json_object` and endpoints that refuse it are about as many
            supports_json_object_output=False,
            supports_json_schema_output=True,
            # chat templates of local models take one system message, at the beginning
            openai_chat_supports_multiple_system_messages=False,
            # `max_tokens` is understood by all but its inventor
            openai_chat_supports_max_completion_tokens=host.endswith((".openai.com", ".azure.com")),
        )
        provider = OpenAICompatibleProvider("endpoint", openai_client=openai, profile=profile)
        return OpenAIChatModel(self.settings.model or "", provider=provider)

    def _model_settings(self) -> ModelSettings:
        settings = ModelSettings(max_tokens=self.settings.max_output_tokens)
        if self.settings.temperature is not None:
            settings["temperature"] = self.settings.temperature
        return settings

    def _settle(
        self, reserved: Reserved, usage: RunUsage, seconds: float, error: _Failure | None
    ) -> None:
        """Write what a request has used up; one that was refused has used up no tokens."""
        if error is not None and error.unpaid:
            spent = Spent(requests=1, seconds=seconds)
        else:
            spent = self.budget.spent(reserved, usage.input_tokens, usage.output_tokens, seconds)
        self.budget.settle(reserved, spent, ANSWERED if error is None else error.outcome)

    def _failure(self, exc: Exception, seconds: float) -> _Failure:
        """Return what a failed request comes to, whoever's exception it is."""
        own = next((e for e in _chain(exc) if isinstance(e, ModelError)), None)
        if own is not None:
            return _Failure("refused", own)
        if isinstance(exc, TimeoutError | ModelTimeoutError):
            fact = f"the endpoint did not answer within {seconds:g} s"
            return _Failure("timeout", ModelError(fact, retryable=True))
        status = next((e for e in _chain(exc) if isinstance(e, APIStatusError)), None)
        if status is not None:
            return self._status(status.status_code, exc)
        if isinstance(exc, ModelConnectionError):
            fact = f"the endpoint cannot be reached: {type([*_chain(exc)][-1]).__name__}"
            unsent = exc.phase in ("pool", "connect")
            return _Failure("unreachable", ModelError(fact, retryable=True), unpaid=unsent)
        if isinstance(exc, ModelAPIError | UnexpectedModelBehavior | ValueError):
            fact = f"the model's answer is of no use: {self._words(exc.__cause__ or exc)}"
            return _Failure("nonsense", ModelError(fact, retryable=True, answered=True))
        fact = f"the model's answer broke its client: {type(exc).__name__}"
        return _Failure("nonsense", ModelError(fact, retryable=True, answered=True))

    def _status(self, status: int, exc: Exception) -> _Failure:
        passing = status in PASSING and not isinstance(exc, ModelQuotaExceededError)
        wait = getattr(exc, "retry_after", None)
        if wait is not None and wait > 0:
            self._not_before = monotonic() + wait
        error = ModelError(
            f"the endpoint answered with status {status}: {self._words(getattr(exc, 'body', ''))}",
            hint="" if passing else "check llm.base_url, llm.model and the key",
            retryable=passing,
        )
        return _Failure(f"status {status}", error, unpaid=True)

    def _words(self, said: object) -> str:
        """Return the beginning of what was said, without the key."""
        key = self.settings.key or ""
        text = plain(str(said)[: 4 * WORDS + len(key)], 4 * WORDS + len(key))
        return plain(text.replace(key, "***") if key else text, WORDS)


@dataclass(frozen=True)
class _Failure:
    """How a request ended, as what it is told, and whether an endpoint charges nothing for it."""

    outcome: str
    error: ModelError
    unpaid: bool = False


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those behind it."""
    for _ in range(20):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__ or exc.__context__
