"""Settings of the language model that re-mining may ask; without a URL and a name none is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from daemon.group import Group, Positive
from miner.agents import AgentSettings

#: The environment name of the key; the only setting that a child is given in its environment.
KEY_VARIABLE = "ALPHAD_LLM__API_KEY"

_AGENTS = AgentSettings()


def _key(value: Any) -> Any:
    """Refuse what is no key, without repeating it."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None:
        return None
    if not isinstance(text, str) or not text or not all("!" <= c <= "~" for c in text):
        raise ValueError("a key is printable ASCII without blanks; put it in quotes")
    return value


class LlmSettings(Group):
    """A language model at an OpenAI-compatible endpoint. Budgets stop asking, never the search."""

    base_url: str | None = Field(
        default=None, description="endpoint, up to and without `/chat/completions`"
    )
    model: str | None = Field(
        default=None, min_length=1, max_length=200, description="name of the model there"
    )
    # never dumped: no file, no hash and no child's settings hold it
    api_key: Annotated[SecretStr | None, BeforeValidator(_key)] = Field(
        default=None, exclude=True, description="key of the endpoint; better in the environment"
    )
    output: Literal["prompted", "tool", "native"] = Field(
        default="prompted",
        description="how JSON is asked for: in the prompt, as a tool call, or by schema",
    )
    in_replay: bool = Field(
        default=False,
        description="ask the model in a replay too; such results are `contaminated`",
    )
    timeout_seconds: float = Field(
        default=120.0, ge=0.1, le=3600.0, description="deadline of one request, answer included"
    )
    max_response_bytes: int = Field(
        default=262_144, ge=1024, le=16_777_216, description="largest answer that is read"
    )
    max_output_tokens: int = Field(
        default=4_000, ge=64, description="tokens of one answer, reasoning included"
    )
    temperature: float | None = Field(
        default=None, ge=0.0, le=2.0, description="sampling temperature; without it the endpoint's"
    )
    ideas_per_round: Positive = Field(
        default=_AGENTS.ideas_per_round, description="hypotheses asked for in a round"
    )
    factors_per_idea: int = Field(
        default=_AGENTS.factors_per_idea, ge=1, le=8, description="factors of one hypothesis"
    )
    max_repairs: int = Field(
        default=_AGENTS.max_repairs,
        ge=0,
        le=10,
        description="times the refused factors of a hypothesis go back to the model",
    )
    max_failures: Positive = Field(
        default=_AGENTS.max_failures,
        description="failures in a row after which a run goes on without the model",
    )
    requests_per_run: Positive = Field(default=100, description="requests of one re-mining")
    tokens_per_run: Positive = Field(
        default=1_000_000, description="tokens of one re-mining, both directions"
    )
    cost_per_run: float | None = Field(
        default=None, gt=0.0, description="money of one re-mining; needs the prices"
    )
    seconds_per_run: float = Field(
        default=900.0, gt=0.0, description="seconds one re-mining waits for answers"
    )
    requests_per_day: Positive = Field(default=500, description="requests of a UTC day")
    tokens_per_day: Positive = Field(default=5_000_000, description="tokens of a UTC day")
    cost_per_day: float | None = Field(
        default=None, gt=0.0, description="money of a UTC day; needs the prices"
    )
    price_input: float = Field(
        default=0.0, ge=0.0, description="price of a million tokens sent, in your currency"
    )
    price_output: float = Field(
        default=0.0, ge=0.0, description="price of a million tokens received"
    )

    @property
    def is_on(self) -> bool:
        """Whether there is a model to ask."""
        return self.base_url is not None

    @property
    def key(self) -> str | None:
        """The key in plain text, for the request and for a child's environment."""
        return None if self.api_key is None else self.api_key.get_secret_value()

    def agents(self) -> AgentSettings:
        """Return what the proposer is told."""
        names = ("ideas_per_round", "factors_per_idea", "max_repairs", "max_failures")
        return AgentSettings(**{name: getattr(self, name) for name in names})

    @field_validator("base_url")
    @classmethod
    def _is_plain(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:
            raise ValueError("base_url is no URL; write it as https://host/v1") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
            raise ValueError("base_url is no http or https URL; write it as https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("base_url holds more than host and path; give the key as api_key")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.base_url is None) != (self.model is None):
            given, missing = ("base_url", "model") if self.base_url else ("model", "base_url")
            raise ValueError(f"{given} is set and {missing} is not; set both, or neither")
        limited = self.cost_per_run is not None or self.cost_per_day is not None
        if limited and not (self.price_input or self.price_output):
            raise ValueError(
                "a limit of money without prices limits nothing; "
                "set price_input and price_output, or remove cost_per_run and cost_per_day"
            )
        return self
