"""Who proposes: the offline proposer, or agents in front of it where a model is configured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import structlog

from daemon.clock import Clock, SystemClock
from daemon.llm.budget import ANSWERED, Budget
from daemon.llm.settings import LlmSettings
from miner.agents import AgentsProposer, Event
from miner.complexity import ComplexityLimits
from miner.proposer import Proposer
from signals.errors import ConfigError
from storage import model_usage
from storage.database import Database
from storage.model_usage import NO_JOB

log = structlog.get_logger()


def asks_model(settings: LlmSettings, *, replaying: bool) -> bool:
    """Return whether a model is asked; in replay and demo only where that is forced."""
    return settings.is_on and (settings.in_replay or not replaying)


def require_extra() -> None:
    """Raise a ConfigError where the packages that ask a model are not installed."""
    if find_spec("pydantic_ai") is None or find_spec("openai") is None:
        raise ConfigError(
            "llm.base_url is set, but the packages that ask a model are not installed",
            rule="a language model needs the extra `llm`",
            hint="pip install 'alphad[llm]', or remove llm.base_url and llm.model",
        )


def open_proposer(
    settings: LlmSettings,
    offline: Proposer,
    *,
    database: Database,
    market: str,
    job: int = NO_JOB,
    replaying: bool = False,
    limits: ComplexityLimits | None = None,
    on_event: Callable[[Event], None] | None = None,
    clock: Clock | None = None,
) -> Proposer:
    """Return the proposer of a run.

    Parameters
    ----------
    settings : LlmSettings
        Endpoint and budgets.
    offline : Proposer
        Proposes where no model does.
    database : Database
        Where requests are written.
    market, job : str, int
        The run; without a job its budget begins now.
    replaying : bool
        Whether the run is of a replay or demo; see `account`.
    limits : ComplexityLimits, optional
        What the gates of the search let through, for the prompts.
    on_event : callable, optional
        Told of every failure of the model, after it was logged.
    clock : Clock, optional
        By default the machine's, in a replay too: money is spent today.

    Raises
    ------
    ConfigError
        A model is configured and the extra `llm` is not installed.
    """
    if not asks_model(settings, replaying=replaying):
        return offline
    require_extra()
    from daemon.llm.client import EndpointModel

    clock = clock or SystemClock()
    since = clock.now() if job == NO_JOB else None
    budget = Budget(database, clock, settings, market, job, since)
    agents = settings.agents()

    def tell(event: Event) -> None:
        log.warning(
            "language model failed",
            market=market,
            job=job,
            round=event.round,
            what=event.message,
            then=event.turn.value,
        )
        if on_event is not None:
            on_event(event)

    return AgentsProposer(
        model=EndpointModel(settings, budget),
        offline=offline,
        settings=agents if limits is None else replace(agents, limits=limits),
        on_event=tell,
    )


def account(
    proposer: Proposer, database: Database, market: str, job: int, *, replaying: bool
) -> dict[str, Any]:
    """Return what a job's result says about the model; empty where none was ever asked.

    Parameters
    ----------
    proposer : Proposer
        What `open_proposer` has returned.
    database : Database
        Where requests are written; those of a former process of the job count.
    market, job : str, int
        The run.
    replaying : bool
        Whether what a model has answered makes the result `contaminated`.
    """
    with database.read() as connection:
        spent = model_usage.of_run(connection, market, job)
        asked = model_usage.requests(connection, market, job)
    if not asked:
        return {}
    heard = any(request.outcome in (None, ANSWERED) for request in asked)
    agents = proposer if isinstance(proposer, AgentsProposer) else None
    return {
        "contaminated": replaying and heard,
        "requests": spent.requests,
        "tokens": spent.tokens,
        "cost": spent.cost,
        "proposed": 0 if agents is None else agents.n_proposed,
        "failures": [] if agents is None else [event.message for event in agents.events][-5:],
        "offline_because": None if agents is None else agents.ended,
    }
